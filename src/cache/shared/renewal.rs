//! The slots whose tokens this process has renewed, and which of them Redis has confirmed.
//!
//! A slot counts as unshared from before a write renews it until Redis has taken a token that was
//! made after that. What is still to be sent is a set of slots: it is bounded by their number, and
//! many writes to one slot are one renewal.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::health::Health;
use crate::cache::scope::{SLOTS, Slot};
use crate::metrics::{Counter, Gauge};

/// How long the answer to a write waits for Redis to know of it. Past that it goes out, and this
/// process alone knows that Redis is not to be trusted with these slots.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Renewals that are sent at once.
const BATCH_MAX: usize = 1024;

pub(in crate::cache) struct Renewals {
    states: Box<[State]>,
    due: Mutex<Due>,
    health: Arc<Health>,
    /// How many slots are unshared.
    unshared: Gauge,
    /// Counts the answers to writes that left before Redis knew of them.
    untold: Counter,
    came: Notify,
    confirmed: Notify,
}

#[derive(Default)]
struct State {
    /// Counts what was asked for.
    wanted: AtomicU64,
    /// The latest of them that Redis has.
    confirmed: AtomicU64,
}

#[derive(Default)]
struct Due {
    /// With how long nothing that depends on it is to be kept anywhere.
    slots: HashMap<Slot, Duration>,
    /// To be renewed once more when the effect of a write has come for sure: other sidecars may
    /// have kept what they read before it.
    settling: HashMap<Slot, Instant>,
}

/// Waits until Redis knows of a write.
#[must_use]
pub(in crate::cache) struct Ticket {
    renewals: Arc<Renewals>,
    renewed: Vec<(Slot, u64)>,
}

/// Some slots on their way. Dropped before it is done, they are to be sent again.
pub(super) struct Batch {
    renewals: Arc<Renewals>,
    pub(super) renewed: Vec<Renewed>,
}

pub(super) struct Renewed {
    pub(super) slot: Slot,
    pub(super) hold: Duration,
    number: u64,
}

impl Renewals {
    pub(in crate::cache) fn new(health: Health, unshared: Gauge, untold: Counter) -> Arc<Self> {
        Arc::new(Self {
            states: (0..SLOTS).map(|_| State::default()).collect(),
            due: Mutex::default(),
            health: Arc::new(health),
            unshared,
            untold,
            came: Notify::new(),
            confirmed: Notify::new(),
        })
    }

    pub(super) fn health(&self) -> &Arc<Health> {
        &self.health
    }

    /// Whether what other sidecars renew is heard here.
    pub(in crate::cache) fn hears(&self) -> bool {
        self.health.serves()
    }

    fn state(&self, slot: Slot) -> &State {
        self.states
            .get(slot.index())
            .expect("there is a state for every number of a slot")
    }

    pub(super) fn is_shared(&self, slot: Slot) -> bool {
        let state = self.state(slot);
        state.confirmed.load(Ordering::SeqCst) == state.wanted.load(Ordering::SeqCst)
    }

    pub(super) fn all_shared(&self, slots: &[Slot]) -> bool {
        slots.iter().all(|slot| self.is_shared(*slot))
    }

    /// Has slots renewed in Redis. `hold`: how long the effect of a write may still be to come.
    pub(in crate::cache) fn want(self: &Arc<Self>, slots: &[Slot], hold: Duration) -> Ticket {
        let mut due = self.due.lock();
        let renewed = slots.iter().map(|slot| {
            let state = self.state(*slot);
            let before = state.wanted.fetch_add(1, Ordering::SeqCst);
            if state.confirmed.load(Ordering::SeqCst) == before {
                self.unshared.inc();
            }
            let held = due.slots.entry(*slot).or_default();
            *held = hold.max(*held);
            if !hold.is_zero() {
                due.settling.insert(*slot, Instant::now() + hold);
            }
            (*slot, before + 1)
        });
        let renewed = renewed.collect();
        drop(due);
        self.came.notify_one();
        Ticket {
            renewals: Arc::clone(self),
            renewed,
        }
    }

    /// Renews once more what has settled by now.
    pub(super) fn settle(self: &Arc<Self>) {
        let now = Instant::now();
        let mut settled = Vec::new();
        self.due.lock().settling.retain(|slot, at| {
            let waits = *at > now;
            if !waits {
                settled.push(*slot);
            }
            waits
        });
        if !settled.is_empty() {
            let _nobody_waits = self.want(&settled, Duration::ZERO);
        }
    }

    /// Returns when there may be something to send.
    ///
    /// Cancel safety: safe.
    pub(super) async fn come(&self) {
        self.came.notified().await;
    }

    /// What is to be sent next.
    pub(super) fn take(self: &Arc<Self>) -> Option<Batch> {
        let mut due = self.due.lock();
        let slots: Vec<Slot> = due.slots.keys().copied().take(BATCH_MAX).collect();
        let renewed: Vec<Renewed> = slots
            .into_iter()
            .map(|slot| Renewed {
                slot,
                hold: due.slots.remove(&slot).unwrap_or_default(),
                number: self.state(slot).wanted.load(Ordering::SeqCst),
            })
            .collect();
        let more = !due.slots.is_empty();
        drop(due);
        if more {
            self.came.notify_one();
        }
        (!renewed.is_empty()).then(|| Batch {
            renewals: Arc::clone(self),
            renewed,
        })
    }

    /// Whoever waits need not any longer: Redis cannot be told now.
    pub(super) fn let_go(&self) {
        self.confirmed.notify_waiters();
    }
}

impl Batch {
    /// Redis has them.
    pub(super) fn done(mut self) {
        let one_at_a_time = self.renewals.due.lock();
        for renewed in std::mem::take(&mut self.renewed) {
            let state = self.renewals.state(renewed.slot);
            let before = state.confirmed.fetch_max(renewed.number, Ordering::SeqCst);
            let wanted = state.wanted.load(Ordering::SeqCst);
            if before < wanted && renewed.number == wanted {
                self.renewals.unshared.dec();
            }
        }
        drop(one_at_a_time);
        self.renewals.confirmed.notify_waiters();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let mut due = self.renewals.due.lock();
        for renewed in &self.renewed {
            let held = due.slots.entry(renewed.slot).or_default();
            *held = renewed.hold.max(*held);
        }
    }
}

impl Ticket {
    /// Returns when Redis knows, or when it is no use to wait for that.
    ///
    /// Cancel safety: safe, it only waits.
    pub(in crate::cache) async fn known(self) {
        let renewals = &self.renewals;
        let confirmed = async {
            loop {
                let mut one_more = std::pin::pin!(renewals.confirmed.notified());
                one_more.as_mut().enable();
                if self.is_known() || !renewals.health.serves() {
                    return;
                }
                one_more.await;
            }
        };
        if tokio::time::timeout(WAIT_MAX, confirmed).await.is_err() {
            renewals.health.rest();
            renewals.let_go();
        }
        if !self.is_known() {
            renewals.untold.inc();
        }
    }

    fn is_known(&self) -> bool {
        self.renewed.iter().all(|(slot, number)| {
            self.renewals.state(*slot).confirmed.load(Ordering::SeqCst) >= *number
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::cache::Writing;
    use crate::cache::generation::{Generations, Outcome, Seen};
    use crate::cache::scope::Scope;

    fn renewals() -> (Arc<Renewals>, [Slot; 1]) {
        let health = Health::new(Gauge::default());
        health.connected(true);
        (
            Renewals::new(health, Gauge::default(), Counter::default()),
            [Scope::Points("a").slot()],
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_unshared_until_redis_has_its_last_renewal() {
        let (renewals, slots) = renewals();
        let _first = renewals.want(&slots, Duration::ZERO);
        let begun = renewals.take().unwrap();
        let second = renewals.want(&slots, Duration::ZERO);
        begun.done();
        assert!(!renewals.all_shared(&slots) && !second.is_known());
        assert_eq!(renewals.unshared.get(), 1);
        renewals.take().unwrap().done();
        assert!(renewals.all_shared(&slots));
        assert_eq!(renewals.unshared.get(), 0);
        second.known().await;
        assert_eq!(renewals.untold.get(), 0);
        assert!(renewals.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_confirmed_is_sent_again() {
        let (renewals, slots) = renewals();
        let ticket = renewals.want(&slots, Duration::from_secs(1));
        drop(renewals.take().unwrap());
        let again = renewals.take().unwrap();
        assert_eq!(again.renewed.first().unwrap().hold, Duration::from_secs(1));
        again.done();
        assert!(ticket.is_known());
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_waits_no_longer_than_its_bound_and_the_next_not_at_all() {
        let (renewals, slots) = renewals();
        let began = Instant::now();
        renewals.want(&slots, Duration::ZERO).known().await;
        assert_eq!(began.elapsed(), WAIT_MAX);
        renewals.want(&slots, Duration::ZERO).known().await;
        assert_eq!(began.elapsed(), WAIT_MAX);
        assert!(!renewals.all_shared(&slots));
        assert_eq!(renewals.untold.get(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_still_come_is_renewed_once_more_after_its_time() {
        let (renewals, slots) = renewals();
        let _nobody_waits = renewals.want(&slots, Duration::from_secs(1));
        renewals.take().unwrap().done();
        renewals.settle();
        assert!(renewals.take().is_none());
        tokio::time::advance(Duration::from_millis(1001)).await;
        renewals.settle();
        renewals.take().unwrap().done();
        assert!(renewals.all_shared(&slots));
        renewals.settle();
        assert!(renewals.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_answer_to_a_write_leaves_when_redis_has_its_last_renewal() {
        let (renewals, slots) = renewals();
        let generations = Generations::shared(Duration::ZERO, Some(Arc::clone(&renewals)));
        generations.begin(&slots);
        renewals.take().unwrap().done();
        let writing = Writing {
            generations,
            slots: slots.into(),
            names_hold_while: Seen::default(),
            watch: None,
        };
        let mut ended = std::pin::pin!(writing.end(Outcome::Settled));
        assert!(ended.as_mut().now_or_never().is_none());
        renewals.take().unwrap().done();
        assert!(ended.as_mut().now_or_never().is_some());
    }
}
