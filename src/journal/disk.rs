//! What the journal asks of a disk to be written. Reading goes to the disk as it is.
//!
//! A trait, so that the tests can have a disk that is full, tears a write or loses a sync.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

pub(super) trait Disk: Send + Sync {
    /// A file that was not there.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes what was created or removed in `folder` last.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes a file end at `at`, durably.
    fn cut(&self, path: &Path, at: u64) -> io::Result<()>;
}

pub(super) trait DiskFile: Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
}

pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = File::options().create_new(true).append(true).open(path)?;
        Ok(Box::new(file))
    }

    fn reopen(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().append(true).open(path)?))
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn cut(&self, path: &Path, at: u64) -> io::Result<()> {
        let file = File::options().write(true).open(path)?;
        file.set_len(at)?;
        file.sync_all()
    }
}

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
