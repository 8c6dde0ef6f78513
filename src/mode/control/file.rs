//! The control store of a sidecar that is alone: `control.json` in the data folder.
//!
//! It is written whole beside the old one, made durable, and put in its place in one step, so that
//! whatever ends the process, one of the two is there whole. A file that cannot be read ends the
//! start: a mode that is forgotten is a cutover rolled back.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind as Io, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::state::{Kept, State};
use super::{Beat, Begun, Control, ControlFuture, Entry, Flip, Look, Proposal, SidecarId, record};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::table::Table;
use crate::model::Role;
use crate::task;

const NAME: &str = "control.json";
const NEW: &str = "control.json.new";
const LOCK: &str = "control.lock";

pub struct FileControl {
    inner: Arc<Inner>,
}

struct Inner {
    folder: PathBuf,
    state: Mutex<State>,
    clock: Clock,
    /// Held as long as this may write.
    lock: Mutex<Option<File>>,
}

impl FileControl {
    /// Reads what there is. Blocks. Nothing is made until something is to be kept.
    pub fn open(folder: &Path, clock: Clock) -> Result<Self> {
        let path = folder.join(NAME);
        let kept = match fs::read(&path) {
            Ok(bytes) => record::read(&bytes).map_err(|problem| {
                let path = path.display();
                Error::settings(format!(
                    "{path} {problem}; it says which mode is in force, so nothing is served \
                     without it: put it back from a copy, or remove it to start from `mode` of \
                     the settings"
                ))
            })?,
            Err(error) if error.kind() == Io::NotFound => Kept::default(),
            Err(error) => return Err(reading(&path, error)),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                folder: folder.to_path_buf(),
                state: Mutex::new(State::of(kept)),
                clock,
                lock: Mutex::new(None),
            }),
        })
    }

    /// Takes the folder for this process, which is about to have modes to keep. Blocks.
    pub fn take(&self) -> Result<()> {
        let folder = &self.inner.folder;
        let path = folder.join(LOCK);
        let made = fs::create_dir_all(folder).and_then(|()| File::create(&path));
        let file = made.map_err(|error| reading(&path, error))?;
        match file.try_lock() {
            Ok(()) => {
                *self.inner.lock.lock() = Some(file);
                Ok(())
            }
            Err(TryLockError::Error(error)) => Err(reading(&path, error)),
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                Err(Error::settings(format!(
                    "{path} is held by another sidecar; without a PostgreSQL to keep the mode in \
                     there is one sidecar to a pair of stores: stop it, or set control.url"
                )))
            }
        }
    }

    /// Decides off the async threads: to decide may be to write.
    fn decide<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> ControlFuture<'_, T> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move {
            let deciding = task::spawn_blocking("control", move || work(&inner));
            deciding
                .await
                .map_err(|error| fault("keep the mode").with_source(error))?
        })
    }
}

impl Inner {
    /// What is decided is in force once it is durable, and not before.
    fn keeping<T>(&self, decide: impl FnOnce(&mut State, u64) -> T) -> Result<T> {
        let mut state = self.state.lock();
        let at_ms = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
        let mut next = state.clone();
        let decided = decide(&mut next, at_ms);
        if next.kept != state.kept
            && let Err(error) = self.write(&next.kept)
        {
            // Whatever of it has arrived, the old one is put back.
            drop(self.write(&state.kept));
            return Err(error);
        }
        *state = next;
        Ok(decided)
    }

    fn write(&self, kept: &Kept) -> Result<()> {
        let Some(bytes) = record::write(kept) else {
            return Ok(());
        };
        let (new, path) = (self.folder.join(NEW), self.folder.join(NAME));
        let put = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let mut file = File::create(&new)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        put().map_err(|error| fault(format!("write {}", path.display())).with_source(error))
    }
}

impl Control for FileControl {
    fn lease(&self) -> Option<Duration> {
        None
    }

    fn keeper(&self) -> Option<Role> {
        None
    }

    fn forget<'a>(&'a self, name: &'a str, silent: Duration) -> ControlFuture<'a, bool> {
        let name = name.to_owned();
        self.decide(move |inner| Ok(inner.state.lock().forget(&name, silent)))
    }

    fn initialise<'a>(&'a self, table: &'a Table, who: &'a str) -> ControlFuture<'a, Table> {
        let (table, who) = (table.clone(), who.to_owned());
        self.decide(move |inner| {
            inner.keeping(|state, at_ms| state.initialise(&table, &who, at_ms))
        })
    }

    fn table(&self) -> ControlFuture<'_, Option<Table>> {
        self.decide(|inner| Ok(inner.state.lock().kept.table.clone()))
    }

    fn beat(&self, beat: Beat) -> ControlFuture<'_, Look> {
        self.decide(|inner| Ok(inner.state.lock().beat(beat, None)))
    }

    fn leave(&self, id: SidecarId) -> ControlFuture<'_, ()> {
        self.decide(move |inner| {
            inner.state.lock().leave(id);
            Ok(())
        })
    }

    fn begin(&self, proposal: Proposal) -> ControlFuture<'_, Begun> {
        self.decide(|inner| Ok(inner.state.lock().begin(proposal)))
    }

    fn flip(&self, change: u64) -> ControlFuture<'_, Flip> {
        self.decide(move |inner| inner.keeping(|state, at_ms| state.flip(change, at_ms)))
    }

    fn finish(&self, change: u64) -> ControlFuture<'_, bool> {
        self.decide(move |inner| Ok(inner.state.lock().finish(change)))
    }

    fn abandon(&self, change: u64) -> ControlFuture<'_, bool> {
        self.decide(move |inner| Ok(inner.state.lock().abandon(change)))
    }

    fn history(&self, limit: usize) -> ControlFuture<'_, Vec<Entry>> {
        self.decide(move |inner| Ok(inner.state.lock().history(limit)))
    }

    fn fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, Option<String>> {
        let name = name.to_owned();
        self.decide(move |inner| Ok(inner.state.lock().kept.facts.get(&name).cloned()))
    }

    fn facts<'a>(&'a self, prefix: &'a str) -> ControlFuture<'a, Vec<(String, String)>> {
        let prefix = prefix.to_owned();
        self.decide(move |inner| Ok(inner.state.lock().facts(&prefix)))
    }

    fn drop_fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, ()> {
        let name = name.to_owned();
        self.decide(move |inner| {
            inner.keeping(|state, _at_ms| {
                state.kept.facts.remove(&name);
            })
        })
    }

    fn put_fact<'a>(&'a self, name: &'a str, value: &'a str) -> ControlFuture<'a, ()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.decide(move |inner| {
            inner.keeping(|state, _at_ms| {
                state.kept.facts.insert(name, value);
            })
        })
    }

    fn replace_fact<'a>(
        &'a self,
        name: &'a str,
        was: Option<&'a str>,
        value: &'a str,
    ) -> ControlFuture<'a, bool> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let was = was.map(str::to_owned);
        self.decide(move |inner| {
            inner.keeping(|state, _at_ms| state.replace_fact(&name, was.as_deref(), &value))
        })
    }

    fn woken(&self) -> ControlFuture<'_, ()> {
        Box::pin(std::future::pending())
    }
}

fn reading(path: &Path, error: std::io::Error) -> Error {
    let path = path.display();
    Error::settings(format!("open {path}, which says which mode is in force")).with_source(error)
}

fn fault(doing: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(
        ErrorKind::Internal,
        Origin::Proxy,
        Retry::OutcomeUnknown,
        doing,
    )
}

#[cfg(test)]
mod tests;
