//! Every task has a name and an owner.
//!
//! A `Group` owns the tasks started through it: it counts them by name, and at shutdown waits for
//! them and names the ones that are late. `spawn` is for work that its caller awaits itself.
//! `Stop` tells tasks in which phase of shutdown the process is.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, debug_span};

/// Starts a task whose handle the caller keeps.
#[expect(clippy::disallowed_methods, reason = "this is the named way to spawn")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(debug_span!("task", name)))
}

/// Runs work that blocks, or that computes for a millisecond or more, off the async threads.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the named way to spawn blocking work"
)]
pub fn spawn_blocking<F, T>(name: &'static str, work: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let span = debug_span!("blocking", name);
    tokio::task::spawn_blocking(move || span.in_scope(work))
}

/// Owner of many tasks. Clones share the same group.
#[derive(Clone, Default)]
pub struct Group {
    shared: Arc<GroupShared>,
}

#[derive(Default)]
struct GroupShared {
    live: Mutex<BTreeMap<&'static str, usize>>,
    one_ended: Notify,
}

impl Group {
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let member = self.join(name);
        // The handle is dropped on purpose: the group is the owner and waits through `member`.
        #[expect(
            clippy::disallowed_methods,
            reason = "the group names and owns the task"
        )]
        drop(tokio::spawn(async move {
            let _member = member;
            future.await;
        }));
    }

    fn join(&self, name: &'static str) -> Member {
        *self.shared.live.lock().entry(name).or_default() += 1;
        Member {
            name,
            shared: Arc::clone(&self.shared),
        }
    }

    /// How many tasks of each name are alive.
    pub fn live(&self) -> BTreeMap<&'static str, usize> {
        self.shared
            .live
            .lock()
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(k, n)| (*k, *n))
            .collect()
    }

    /// The same over several groups.
    pub fn live_in(groups: &[Self]) -> BTreeMap<&'static str, usize> {
        let mut live = BTreeMap::new();
        for (name, count) in groups.iter().flat_map(Self::live) {
            *live.entry(name).or_default() += count;
        }
        live
    }

    pub fn count(&self) -> usize {
        self.shared.live.lock().values().sum()
    }

    /// Waits until every task has ended, at most `grace`. What is returned is still alive.
    ///
    /// Cancel safety: safe, it only waits.
    pub async fn wait(&self, grace: Duration) -> BTreeMap<&'static str, usize> {
        let all_ended = async {
            loop {
                let one_ended = self.shared.one_ended.notified();
                if self.count() == 0 {
                    return;
                }
                one_ended.await;
            }
        };
        // A time-out is not an error here: the caller gets the names of the late.
        drop(tokio::time::timeout(grace, all_ended).await);
        self.live()
    }
}

struct Member {
    name: &'static str,
    shared: Arc<GroupShared>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(count) = self.shared.live.lock().get_mut(self.name) {
            *count -= 1;
        }
        self.shared.one_ended.notify_waiters();
    }
}

/// How far the shutdown has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
pub enum Phase {
    Running,
    /// Finish what was begun, begin nothing new.
    Draining,
    /// The grace is over: let go.
    Ending,
}

/// The sending side: one per process. Not `Clone`: who ends the process is decided in one place.
pub struct StopSender {
    phase: watch::Sender<Phase>,
}

impl StopSender {
    pub fn new() -> (Self, Stop) {
        let (phase, seen) = watch::channel(Phase::Running);
        (Self { phase }, Stop { phase: seen })
    }

    pub fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let forward = to > *phase;
            if forward {
                *phase = to;
            }
            forward
        });
    }
}

/// The receiving side. Clones see the same phase.
#[derive(Clone)]
pub struct Stop {
    phase: watch::Receiver<Phase>,
}

impl Stop {
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns once the phase is `at_least`, or the process is on its way out.
    ///
    /// Cancel safety: safe.
    pub async fn reached(&mut self, at_least: Phase) {
        // A dropped sender means that the process is ending.
        drop(self.phase.wait_for(|phase| *phase >= at_least).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_group_names_who_is_late() {
        let group = Group::default();
        group.spawn("quick", async {});
        group.spawn("stuck", std::future::pending());
        let late = group.wait(Duration::from_secs(1)).await;
        assert_eq!(late.into_iter().collect::<Vec<_>>(), [("stuck", 1)]);
    }

    #[tokio::test]
    async fn a_task_that_panics_leaves_its_group() {
        let group = Group::default();
        group.spawn("doomed", async { panic!("on purpose") });
        assert!(group.wait(Duration::from_secs(5)).await.is_empty());
    }

    #[tokio::test]
    async fn phases_only_move_forward() {
        let (sender, mut stop) = StopSender::new();
        sender.advance(Phase::Ending);
        sender.advance(Phase::Draining);
        stop.reached(Phase::Draining).await;
        assert_eq!(stop.phase(), Phase::Ending);
    }
}
