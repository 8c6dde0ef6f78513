//! Which stores a journal is of, written down beside it.
//!
//! What waits in a journal is to be read at one store and written to another. Which two these are, the
//! control store notes for all (`places`); a sidecar that was away while others went on with other stores
//! finds nothing wrong there. It does here.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

const NAME: &str = "stores";
const NEW: &str = "stores.new";

/// `None`: it was never written.
pub(super) fn read(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(NAME)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Durable on return.
pub(super) fn write(folder: &Path, text: &str) -> io::Result<()> {
    if read(folder)?.as_deref() == Some(text) {
        return Ok(());
    }
    let new = folder.join(NEW);
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(NAME))?;
    File::open(folder)?.sync_all()
}
