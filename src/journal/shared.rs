//! What the journal, its intents and its writer share.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::Instant;

use super::JournalSettings;
use super::doubt::doubt_ms;
use super::marks::Marks;
use super::state::{Counts, State};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// Records that may gather before who makes them has to wait.
const GATHERED_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(super) struct Shared {
    pub(super) state: Mutex<Inner>,
    /// There is something to write, or the end has come.
    pub(super) work: Condvar,
    /// What had gathered was taken.
    pub(super) room: Notify,
    pub(super) woken: Notify,
    pub(super) health: watch::Sender<State>,
    pub(super) counts: Counts,
    pub(super) settings: JournalSettings,
    pub(super) opened: Instant,
    pub(super) opened_ms: u64,
}

pub(super) struct Inner {
    pub(super) marks: Marks,
    pub(super) waiters: Vec<oneshot::Sender<()>>,
    pub(super) is_failed: bool,
    pub(super) is_closing: bool,
}

/// The time, once per change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// Since 1970.
    pub(super) ms: u64,
    pub(super) opened_ms: u64,
    /// How long a write whose reply was lost may still be applied.
    pub(super) doubt: Duration,
}

impl Now {
    pub(super) fn doubt_ms(self) -> u64 {
        doubt_ms(self.doubt)
    }

    pub(super) fn seconds(self) -> u32 {
        u32::try_from(self.ms / 1000).unwrap_or(u32::MAX)
    }

    /// Tenths of a second since the journal was opened.
    pub(super) fn tenths(self) -> u32 {
        let tenths = self.ms.saturating_sub(self.opened_ms) / 100;
        u32::try_from(tenths).unwrap_or(u32::MAX)
    }

    pub(super) fn tenths_after(self, pause: Duration) -> u32 {
        let tenths = u32::try_from(pause.as_millis() / 100).unwrap_or(u32::MAX);
        self.tenths().saturating_add(tenths).saturating_add(1)
    }

    pub(super) fn until_tenths(self, tenths: u32) -> Duration {
        let due_ms = self.opened_ms + u64::from(tenths) * 100;
        Duration::from_millis(due_ms.saturating_sub(self.ms))
    }

    pub(super) fn since(self, ms: u64) -> Duration {
        Duration::from_millis(self.ms.saturating_sub(ms))
    }
}

impl Shared {
    pub(super) fn now(&self) -> Now {
        let passed = Instant::now().saturating_duration_since(self.opened);
        Now {
            ms: self.opened_ms + u64::try_from(passed.as_millis()).unwrap_or(u64::MAX / 2),
            opened_ms: self.opened_ms,
            doubt: self.settings.doubt,
        }
    }

    /// Changes the marks; what is to be written gathers for the writer.
    pub(super) fn change<R>(&self, work: impl FnOnce(&mut Marks) -> R) -> R {
        let mut state = self.state.lock();
        let was_empty = state.marks.out.is_empty();
        let done = work(&mut state.marks);
        let garbage = state.marks.keep_to_bound(self.now());
        if state.is_failed {
            // All that is live will be written when the disk works again.
            state.marks.out.clear();
        } else if was_empty && !state.marks.out.is_empty() {
            self.work.notify_one();
        }
        drop(state);
        drop(garbage);
        done
    }

    /// Waits until there is room for more records.
    ///
    /// Cancel safety: safe.
    pub(super) async fn has_room(&self) -> Result<()> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            {
                let state = self.state.lock();
                if state.is_closing {
                    let (kind, retry) = (ErrorKind::Unavailable, Retry::Safe);
                    return Err(Error::new(
                        kind,
                        Origin::Proxy,
                        retry,
                        "use a closed journal",
                    ));
                }
                if state.is_failed || state.marks.out.len() < GATHERED_BYTES_MAX {
                    return Ok(());
                }
            }
            room.await;
        }
    }

    /// Waits until all that was changed before is on disk. False when it cannot be.
    ///
    /// Cancel safety: safe.
    pub(super) async fn is_on_disk(&self) -> bool {
        let told = {
            let mut state = self.state.lock();
            if state.is_failed || state.is_closing {
                return false;
            }
            let (waiter, told) = oneshot::channel();
            state.waiters.push(waiter);
            self.work.notify_one();
            told
        };
        told.await.is_ok()
    }
}

impl Shared {
    pub(super) fn new(settings: JournalSettings, clock: &Clock) -> Self {
        let marks_max = settings.marks_max;
        Self {
            state: Mutex::new(Inner {
                marks: Marks::new(marks_max),
                waiters: Vec::new(),
                is_failed: false,
                is_closing: false,
            }),
            work: Condvar::new(),
            room: Notify::new(),
            woken: Notify::new(),
            health: watch::Sender::new(State::Sound),
            counts: Counts::default(),
            settings,
            opened: Instant::now(),
            opened_ms: u64::try_from(clock.since_epoch().as_millis()).unwrap_or(u64::MAX / 2),
        }
    }
}
