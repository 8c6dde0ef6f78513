//! What a data folder remembers of the sidecars that ran from it.
//!
//! A sidecar that goes on without the control store is waited for until it leaves
//! (`control::Beat::lasts`), and one that was killed cannot leave. Whoever starts from its folder
//! after it does that for it: the folder is held by one process at a time, so whoever holds it knows
//! that those before have ended. Where the folder is shared by several processes nothing is
//! remembered, and a killed one has to be forgotten by hand.

use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Write as _};
use std::path::{Path, PathBuf};

use super::control::SidecarId;
use crate::error::{Error, Result};

const NAME: &str = "sidecar";
const NEW: &str = "sidecar.new";
const LOCK: &str = "sidecar.lock";

pub struct Home {
    folder: PathBuf,
    before: Vec<SidecarId>,
    _lock: File,
}

impl Home {
    /// `None`: another process has it. Blocks.
    pub fn take(folder: &Path) -> Result<Option<Self>> {
        Self::try_take(folder).map_err(|error| {
            let path = folder.join(NAME);
            let path = path.display();
            Error::settings(format!("open {path}, which says who ran here before"))
                .with_source(error)
        })
    }

    fn try_take(folder: &Path) -> io::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        let kept = match fs::read_to_string(folder.join(NAME)) {
            Ok(kept) => kept,
            Err(error) if error.kind() == Io::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        // What is no id was torn off, and what tore it never got as far as the control store.
        let ids = kept.lines().map(|line| SidecarId::from_str_radix(line, 16));
        Ok(Some(Self {
            folder: folder.to_path_buf(),
            before: ids.filter_map(std::result::Result::ok).collect(),
            _lock: lock,
        }))
    }

    /// Those that ran here and have ended, in good order or not.
    pub fn before(&self) -> &[SidecarId] {
        &self.before
    }

    /// Writes down that this is who runs here now, and nobody else any more. Durable on return.
    /// Blocks.
    pub fn remember(&self, id: SidecarId) -> Result<()> {
        let write = || -> io::Result<()> {
            let new = self.folder.join(NEW);
            let mut file = File::create(&new)?;
            file.write_all(format!("{id:016x}\n").as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, self.folder.join(NAME))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| {
            let path = self.folder.join(NAME);
            Error::settings(format!("write {}", path.display())).with_source(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_after_knows_who_was_before_and_nobody_comes_meanwhile() {
        let folder = std::env::temp_dir().join(format!("outrigger-{}", uuid::Uuid::new_v4()));
        let first = Home::take(&folder).unwrap().unwrap();
        assert!(first.before().is_empty());
        first.remember(7).unwrap();
        assert!(Home::take(&folder).unwrap().is_none());
        drop(first);
        let second = Home::take(&folder).unwrap().unwrap();
        assert_eq!(second.before(), [7]);
        second.remember(8).unwrap();
        drop(second);
        let third = Home::take(&folder).unwrap().unwrap();
        assert_eq!(third.before(), [8]);
        fs::remove_dir_all(folder).unwrap();
    }
}
