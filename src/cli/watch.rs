//! The settings file, watched while the sidecar runs: a mode that is edited in it is asked for, as
//! by `outrigger mode set`. Everything else in it waits for the next start.
//!
//! What stood there at the start asks for nothing: it counts only where no mode was ever set. A
//! wish that is refused is not repeated until the file changes, or until SIGHUP says to look again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config::FileModes;
use crate::error::{Error, Result};
use crate::mode::{Changer, Wish};
use crate::task;

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(2);

pub(super) struct Watch {
    path: PathBuf,
    /// What it said when it was looked at last.
    text: Option<String>,
    /// What was asked for and came to be so, or stood there at the start.
    granted: FileModes,
    again: mpsc::Receiver<()>,
}

impl Watch {
    /// Before anything is served: an edit from now on counts.
    pub(super) fn begin(path: PathBuf) -> Result<Self> {
        let mut hangups = signal(SignalKind::hangup())
            .map_err(|error| Error::settings("listen for SIGHUP").with_source(error))?;
        let (tells, again) = mpsc::channel(1);
        drop(task::spawn("sighup", async move {
            while hangups.recv().await.is_some() {
                // One that waits already is enough.
                let _full = tells.try_send(());
            }
        }));
        let text = std::fs::read_to_string(&path).ok();
        let granted = text.as_deref().map(FileModes::parse);
        Ok(Self {
            path,
            granted: granted.and_then(Result::ok).unwrap_or_default(),
            text,
            again,
        })
    }

    /// Watches until it is dropped.
    pub(super) async fn keep(mut self, changer: Arc<Changer>) {
        loop {
            let is_told = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                told = self.again.recv() => told.is_some(),
            };
            let text = read(self.path.clone()).await;
            if is_told {
                info!(file = %self.path.display(), "SIGHUP: looking at the settings file again");
            } else if text == self.text {
                continue;
            }
            self.text = text;
            self.ask(&changer).await;
        }
    }

    async fn ask(&mut self, changer: &Arc<Changer>) {
        let Some(text) = &self.text else {
            return;
        };
        let modes = match FileModes::parse(text) {
            Ok(modes) => modes,
            Err(mistakes) => {
                let file = self.path.display();
                warn!(%file, %mistakes, "the changed settings file cannot be read");
                return;
            }
        };
        for (collection, to) in modes.asked_since(&self.granted) {
            let wish = Wish {
                to,
                collection: collection.clone(),
                who: "config file".to_owned(),
                why: format!("edited in {}", self.path.display()),
                is_forced: false,
                gone: Vec::new(),
                only_at: None,
            };
            // Refused, it is in the log already.
            if changer.set(wish).await.is_err() {
                continue;
            }
            match collection {
                None => self.granted.mode = Some(to),
                Some(name) => drop(self.granted.collections.insert(name, to)),
            }
        }
    }
}

async fn read(path: PathBuf) -> Option<String> {
    let reading = task::spawn_blocking("config-look", move || read_now(&path));
    reading.await.ok().flatten()
}

fn read_now(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
