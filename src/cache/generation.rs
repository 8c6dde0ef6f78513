//! Generations, and the rule that keeps a cache coherent. It is stated here and nowhere else:
//!
//! *A kept answer may be served as long as every token it depends on is still in force. The tokens
//! are read before the store is asked. A write takes new ones before it is sent and again when it
//! ends, however it ends.*
//!
//! So an answer from before a write is never served here after the write was answered, and a read that
//! began before a write and ended after it keeps an answer that nobody will be given. Tokens are
//! random: whatever is lost, restored or restarted, an old one never comes to be in force again.
//!
//! Where answers are also kept in Redis, whatever is renewed here is renewed there, too.
//! What that promises at other sidecars stands in `shared`.
//!
//! While a write is under way, and for a while after one whose effect may still be to come, what it
//! touches is not kept: such an answer would be dropped at its end, or be one from before it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::scope::{SLOTS, Scope, Slot};
use super::shared::{Renewals, Ticket};

/// The tokens of all slots.
pub(super) struct Generations {
    slots: Box<[State]>,
    began: Instant,
    settle: Duration,
    /// Tells the other sidecars.
    shared: Option<Arc<Renewals>>,
}

struct State {
    token: AtomicU64,
    writes: AtomicU32,
    /// Milliseconds since `began`.
    held_until: AtomicU64,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is done, or it never will be.
    Settled,
    /// It may take effect later: it was only acknowledged, or nobody knows.
    Unsettled,
}

/// The tokens that an answer depends on, as they were before it was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Seen {
    tokens: Box<[(Slot, u64)]>,
    /// The effect of a write could still be to come: what is read now is not worth keeping, however
    /// late it arrives.
    unsettled: bool,
}

impl Seen {
    /// Whether no write was known whose effect could still be to come.
    pub(super) fn is_settled(&self) -> bool {
        !self.unsettled
    }

    pub(super) fn slots(&self) -> Vec<Slot> {
        self.tokens.iter().map(|(slot, _)| *slot).collect()
    }

    /// What was seen of one slot only.
    pub(super) fn of(&self, slot: Slot) -> Self {
        let own = self.tokens.iter().filter(|(other, _)| *other == slot);
        Self {
            tokens: own.copied().collect(),
            unsettled: self.unsettled,
        }
    }

    /// What it takes in memory beside itself.
    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.tokens)
    }
}

/// Why what was read now is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unfit {
    /// A write is under way, or one came in between.
    Written,
    /// The effect of a write may still be to come.
    Unsettled,
}

impl Generations {
    #[cfg(test)]
    pub(super) fn new(settle: Duration) -> Arc<Self> {
        Self::shared(settle, None)
    }

    pub(super) fn shared(settle: Duration, shared: Option<Arc<Renewals>>) -> Arc<Self> {
        let state = |_| State {
            token: AtomicU64::new(rand::random()),
            writes: AtomicU32::new(0),
            held_until: AtomicU64::new(0),
        };
        Arc::new(Self {
            slots: (0..SLOTS).map(state).collect(),
            began: Instant::now(),
            settle,
            shared,
        })
    }

    fn state(&self, slot: Slot) -> &State {
        self.slots
            .get(slot.index())
            .expect("there is a state for every number of a slot")
    }

    pub(super) fn see(&self, slots: &[Slot]) -> Seen {
        let seen = |slot: &Slot| (*slot, self.state(*slot).token.load(Ordering::SeqCst));
        let tokens = slots.iter().map(seen).collect();
        // After the tokens: a write that ends in between has changed them.
        let now = self.now();
        let held = |slot: &Slot| self.state(*slot).held_until.load(Ordering::SeqCst) > now;
        let unsettled = slots.iter().any(held);
        Seen { tokens, unsettled }
    }

    pub(super) fn in_force(&self, seen: &Seen) -> bool {
        let holds =
            |(slot, token): &(Slot, u64)| self.state(*slot).token.load(Ordering::SeqCst) == *token;
        seen.tokens.iter().all(holds)
    }

    /// Whether an answer that was read under `seen` is worth keeping.
    pub(super) fn fit(&self, seen: &Seen) -> Result<(), Unfit> {
        for (slot, token) in &seen.tokens {
            let state = self.state(*slot);
            if state.writes.load(Ordering::SeqCst) > 0
                || state.token.load(Ordering::SeqCst) != *token
            {
                return Err(Unfit::Written);
            }
        }
        if seen.unsettled {
            return Err(Unfit::Unsettled);
        }
        Ok(())
    }

    /// Whether nobody else has begun, ended or left anything to come in what `seen` holds. `own`
    /// is what the asker itself has begun, each slot once. Who does not hear the other sidecars
    /// cannot know.
    pub(super) fn undisturbed(&self, seen: &Seen, own: &[Slot]) -> bool {
        if self.shared.as_ref().is_some_and(|shared| !shared.hears()) {
            return false;
        }
        let now = self.now();
        seen.tokens.iter().all(|(slot, token)| {
            let state = self.state(*slot);
            state.writes.load(Ordering::SeqCst) == u32::from(own.contains(slot))
                && state.token.load(Ordering::SeqCst) == *token
                && state.held_until.load(Ordering::SeqCst) <= now
        })
    }

    /// Puts new tokens in force, here and at the other sidecars.
    pub(super) fn renew(&self, slots: &[Slot]) {
        let _nobody_waits = self.tell(slots, Duration::ZERO);
        self.renew_here(slots);
    }

    pub(super) fn renew_all(&self) {
        // Every answer depends on the world.
        let _nobody_waits = self.tell(&[Scope::World.slot()], Duration::ZERO);
        self.forget_all();
    }

    /// Another sidecar has renewed a slot. `hold`: the effect of its write may still be to come.
    pub(super) fn heard(&self, slot: Slot, hold: Duration) {
        self.hold(&[slot], hold);
        self.renew_here(&[slot]);
    }

    /// What others have renewed is not known.
    pub(super) fn forget_all(&self) {
        for state in &self.slots {
            state.token.store(rand::random(), Ordering::SeqCst);
        }
    }

    /// Before what is told is in force here: from now on nothing of it is looked up in Redis.
    fn tell(&self, slots: &[Slot], hold: Duration) -> Option<Ticket> {
        let shared = self.shared.as_ref()?;
        Some(shared.want(slots, hold))
    }

    fn renew_here(&self, slots: &[Slot]) {
        for slot in slots {
            let state = self.state(*slot);
            state.token.store(rand::random(), Ordering::SeqCst);
        }
    }

    fn hold(&self, slots: &[Slot], hold: Duration) {
        if !hold.is_zero() {
            let until = self.now().saturating_add(millis(hold));
            for slot in slots {
                let state = self.state(*slot);
                state.held_until.fetch_max(until, Ordering::SeqCst);
            }
        }
    }

    /// A write is about to be sent.
    pub(super) fn begin(&self, slots: &[Slot]) {
        for slot in slots {
            self.state(*slot).writes.fetch_add(1, Ordering::SeqCst);
        }
        self.renew(slots);
    }

    /// The write has ended. The order matters: as long as it counts as under way nothing is kept,
    /// and what was kept before the tokens change is dropped by it. What it returns waits until
    /// Redis knows.
    pub(super) fn end(&self, slots: &[Slot], outcome: Outcome) -> Option<Ticket> {
        let hold = match outcome {
            Outcome::Settled => Duration::ZERO,
            Outcome::Unsettled => self.settle,
        };
        self.hold(slots, hold);
        let ticket = self.tell(slots, hold);
        self.renew_here(slots);
        for slot in slots {
            self.state(*slot).writes.fetch_sub(1, Ordering::SeqCst);
        }
        ticket
    }

    fn now(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::shared::Health;
    use super::*;
    use crate::metrics::{Counter, Gauge};

    const SETTLE: Duration = Duration::from_secs(1);

    fn parts() -> (Arc<Generations>, [Slot; 1]) {
        (Generations::new(SETTLE), [Scope::Points("a").slot()])
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_write_is_out_of_force_as_soon_as_it_begins() {
        let (generations, slots) = parts();
        let before = generations.see(&slots);
        generations.begin(&slots);
        assert!(!generations.in_force(&before));
        let during = generations.see(&slots);
        let _ticket = generations.end(&slots, Outcome::Settled);
        assert!(!generations.in_force(&during));
        assert!(generations.in_force(&generations.see(&slots)));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_while_a_write_is_under_way() {
        let (generations, slots) = parts();
        generations.begin(&slots);
        generations.begin(&slots);
        let _ticket = generations.end(&slots, Outcome::Settled);
        let during = generations.see(&slots);
        assert_eq!(generations.fit(&during), Err(Unfit::Written));
        let _ticket = generations.end(&slots, Outcome::Settled);
        assert_eq!(generations.fit(&generations.see(&slots)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_kept_until_an_unsettled_write_had_its_time() {
        let (generations, slots) = parts();
        generations.begin(&slots);
        let _ticket = generations.end(&slots, Outcome::Unsettled);
        let early = generations.see(&slots);
        assert_eq!(generations.fit(&early), Err(Unfit::Unsettled));
        tokio::time::advance(SETTLE + Duration::from_millis(1)).await;
        let late = generations.see(&slots);
        assert_eq!(generations.fit(&late), Ok(()));
        // It was read before the write took effect, however late it arrives.
        assert_eq!(generations.fit(&early), Err(Unfit::Unsettled));
    }

    #[tokio::test(start_paused = true)]
    async fn another_writer_disturbs_before_and_after_and_until_it_has_settled() {
        let (generations, slots) = parts();
        generations.begin(&slots);
        let seen = generations.see(&slots);
        assert!(generations.undisturbed(&seen, &slots));
        assert!(!generations.undisturbed(&seen, &[]));
        generations.begin(&slots);
        assert!(!generations.undisturbed(&generations.see(&slots), &slots));
        let _ticket = generations.end(&slots, Outcome::Unsettled);
        let seen = generations.see(&slots);
        assert!(!generations.undisturbed(&seen, &slots));
        tokio::time::advance(SETTLE + Duration::from_millis(1)).await;
        assert!(generations.undisturbed(&seen, &slots));
        generations.renew(&slots);
        assert!(!generations.undisturbed(&seen, &slots));
    }

    #[tokio::test(start_paused = true)]
    async fn other_slots_are_left_alone() {
        let (generations, slots) = parts();
        let other = generations.see(&[Scope::Points("b").slot()]);
        generations.begin(&slots);
        let _ticket = generations.end(&slots, Outcome::Unsettled);
        assert!(generations.in_force(&other));
        assert_eq!(generations.fit(&other), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_hear_the_others_cannot_know_that_nobody_disturbs() {
        let health = Health::new(Gauge::default());
        let renewals = Renewals::new(health, Gauge::default(), Counter::default());
        let generations = Generations::shared(SETTLE, Some(renewals));
        let seen = generations.see(&[Scope::Points("a").slot()]);
        assert!(generations.in_force(&seen) && !generations.undisturbed(&seen, &[]));
    }
}
