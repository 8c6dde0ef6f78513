//! How long this sidecar may act on what it knows of the mode.
//!
//! The control store counts a sidecar as live for a lease from when its heartbeat *arrived*; the
//! sidecar counts from before it *sent* it, by its own monotonic clock. So it believes itself
//! lapsed no later than others do, however long the way was and however long the process stood
//! still. What it may not do: count on a lease that it renewed after one had run out. Each such gap
//! begins a new term, and whoever began in an earlier term is told so.
//!
//! The clock of a machine that is suspended as a whole stands still with it (Linux's
//! `CLOCK_MONOTONIC`): there the lease runs out late. Sidecars belong on machines that stay up.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How long a call waits for one look at the control store.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

/// How long nobody else waits after one has waited in vain.
const FAILED_FOR: Duration = Duration::from_secs(5);

/// The time during which what is known counts. Another number means that there was a gap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Term(u64);

pub(super) struct Lease {
    state: Mutex<State>,
    /// Somebody waits for a look.
    wanted: Notify,
    looks: watch::Sender<u64>,
}

struct State {
    /// `None`: for ever, for there is nobody else.
    until: Option<Instant>,
    looked: Instant,
    /// When somebody waited for a look in vain, if the last one did.
    failed: Option<Instant>,
    term: u64,
}

impl Term {
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl Lease {
    /// Held by the only sidecar there can be.
    pub(super) fn for_ever() -> Self {
        Self::until(None)
    }

    /// Not held until it is renewed for the first time.
    pub(super) fn lapsed() -> Self {
        Self::until(Some(Instant::now()))
    }

    fn until(until: Option<Instant>) -> Self {
        Self {
            state: Mutex::new(State {
                until,
                looked: Instant::now(),
                failed: None,
                term: 0,
            }),
            wanted: Notify::new(),
            looks: watch::Sender::new(0),
        }
    }

    /// The term, as long as the lease holds.
    pub(super) fn term(&self) -> Option<Term> {
        self.held().map(|(term, _)| term)
    }

    /// The same, with when it ends unless it is renewed; `None` is never.
    pub(super) fn held(&self) -> Option<(Term, Option<Instant>)> {
        let state = self.state.lock();
        let holds = state.until.is_none_or(|until| Instant::now() < until);
        holds.then_some((Term(state.term), state.until))
    }

    /// What was seen at the control store is in force here. `sent`: from before it was asked.
    pub(super) fn renew(&self, sent: Instant, lasts: Option<Duration>) {
        {
            let mut state = self.state.lock();
            let now = Instant::now();
            if state.until.is_some_and(|until| until <= now) {
                state.term += 1;
            }
            let until = lasts.map(|lasts| sent + lasts);
            // Never shorter: an earlier beat may be answered later.
            state.until = match (state.until, until) {
                (Some(one), Some(other)) => Some(one.max(other)),
                (_, until) => until,
            };
            state.looked = state.looked.max(sent);
        }
        self.looks.send_modify(|count| *count += 1);
    }

    /// How old what is known here is.
    pub(super) fn age(&self) -> Duration {
        self.state.lock().looked.elapsed()
    }

    /// The same for a call that goes on whatever comes of it: not everybody waits anew for a control
    /// store that was asked in vain a moment ago.
    ///
    /// Cancel safety: safe.
    pub(super) async fn look_unless_in_vain(&self) {
        let failed = self.state.lock().failed;
        if failed.is_none_or(|at| at.elapsed() >= FAILED_FOR) {
            self.look().await;
        }
    }

    /// Asks for a look at the control store and waits for it, for a moment.
    ///
    /// Cancel safety: safe.
    pub(super) async fn look(&self) {
        let asked = Instant::now();
        let mut looks = self.looks.subscribe();
        let looked = async {
            loop {
                self.wanted.notify_one();
                if looks.changed().await.is_err() {
                    return;
                }
                // One that was sent before this may have been answered before the process stood
                // still.
                if self.state.lock().looked >= asked {
                    return;
                }
            }
        };
        // Whoever waits in vain goes on with what is known.
        let failed = tokio::time::timeout(LOOK_WITHIN, looked).await.is_err();
        self.state.lock().failed = failed.then(Instant::now);
    }

    /// Returns when somebody waits for a look.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const LASTS: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn it_is_counted_from_before_the_beat_was_sent() {
        let lease = Lease::lapsed();
        assert_eq!(lease.term(), None);
        let sent = Instant::now();
        tokio::time::advance(Duration::from_secs(4)).await;
        lease.renew(sent, Some(LASTS));
        tokio::time::advance(Duration::from_millis(5_999)).await;
        assert!(lease.term().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(lease.term(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_begins_another_term_and_an_unbroken_one_does_not() {
        let lease = Lease::lapsed();
        lease.renew(Instant::now(), Some(LASTS));
        let first = lease.term();
        tokio::time::advance(Duration::from_secs(9)).await;
        lease.renew(Instant::now(), Some(LASTS));
        assert_eq!(lease.term(), first);
        tokio::time::advance(Duration::from_secs(11)).await;
        lease.renew(Instant::now(), Some(LASTS));
        assert!(lease.term().is_some());
        assert_ne!(lease.term(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_began_before_it_was_asked_for_is_not_the_one() {
        let lease = Lease::lapsed();
        let early = Instant::now();
        tokio::time::advance(Duration::from_secs(11)).await;
        let mut look = std::pin::pin!(lease.look());
        assert!(look.as_mut().now_or_never().is_none());
        lease.renew(early, Some(LASTS));
        assert!(look.as_mut().now_or_never().is_none());
        lease.renew(Instant::now(), Some(LASTS));
        assert!(look.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_to_an_earlier_beat_takes_nothing_away() {
        let lease = Lease::lapsed();
        let early = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        lease.renew(Instant::now(), Some(LASTS));
        lease.renew(early, Some(LASTS));
        tokio::time::advance(Duration::from_secs(8)).await;
        assert!(lease.term().is_some());
    }
}
