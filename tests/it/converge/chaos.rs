//! What befalls the world while clients write: stores fail, processes die, modes change.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::history::History;
use super::known::Id;
use super::world::Kind;
use crate::support::dice::Dice;
use crate::support::fault::Fault;

fn ms(dice: &mut Dice, least: usize, most: usize) -> Duration {
    let ms = least + dice.below(most - least);
    Duration::from_millis(u64::try_from(ms).unwrap())
}

impl History<'_> {
    /// One after the other, mostly at the follower. In some histories a store that speaks HTTP
    /// refuses one id until all is over.
    pub(super) async fn faults(&self, mut dice: Dice) {
        if dice.one_in(3) {
            let follower = &self.world.stores.last().unwrap();
            // A client's own, or one of those that all write to.
            let number = dice.of(&[1, 102, 900, 901, 903]);
            if follower.kind == Kind::Embedded {
                let id = Id::new(number).0;
                self.note(format!("the secondary refuses every write of {id}"));
                follower.proxy.gate.refuse_id(Some(id));
                self.tally.lock().faults += 1;
            }
        }
        // While the only store fails, nothing is written.
        let rest = if self.world.pair.is_alone() { 600 } else { 150 };
        loop {
            if self.is_over_within(ms(&mut dice, 10, rest)).await {
                return;
            }
            let (at, is_authority) = self.struck(&mut dice).await;
            let fault = match dice.below(5) {
                0 => Fault::Refuse,
                1 => Fault::Hang,
                2 => Fault::Unavailable,
                _ => Fault::LoseReply {
                    after: dice.below(2000),
                },
            };
            let lasts = ms(&mut dice, 10, if is_authority { 60 } else { 250 });
            let gate = &self.world.stores[at].proxy.gate;
            let from = self.now();
            gate.set(fault);
            self.tally.lock().faults += 1;
            let is_over = self.is_over_within(lasts).await;
            gate.set(Fault::None);
            let name = ["the primary", "the secondary"][at];
            self.noted(from, format!("{name} has the fault {fault:?}"), true);
            if is_over {
                return;
            }
        }
    }

    /// The store that is to fail, and whether it is the authority: now and then it is.
    async fn struck(&self, dice: &mut Dice) -> (usize, bool) {
        if self.world.pair.is_alone() {
            return (0, true);
        }
        let sidecar = dice.below(2);
        let mode = self.world.mode(sidecar).await;
        let leads = mode.is_some_and(|mode| mode == "cutover" || mode == "secondary_only");
        let authority = usize::from(leads);
        if dice.one_in(8) {
            return (authority, true);
        }
        (1 - authority, false)
    }

    /// At most two, and what was killed is there again when this returns.
    pub(super) async fn kills(&self, mut dice: Dice) {
        for _ in 0..dice.below(3) {
            if self.is_over_within(ms(&mut dice, 30, 500)).await {
                return;
            }
            let down = ms(&mut dice, 1, 150);
            let from = self.now();
            let victim = dice.below(3);
            if victim == 2 {
                self.world.restart_redis(down).await;
                self.tally.lock().redis_kills += 1;
                self.noted(from, "Redis is killed and started again".to_owned(), true);
                continue;
            }
            self.world.kill(victim).await;
            self.tally.lock().kills += 1;
            let name = format!("S{}", victim + 1);
            self.noted(from, format!("{name} is killed"), true);
            self.is_over_within(down).await;
            let from = self.now();
            self.world.start(victim).await;
            self.noted(from, format!("{name} is started again"), true);
        }
    }

    /// Along the allowed ways, and now and then along another.
    pub(super) async fn modes(&self, mut dice: Dice) {
        if self.world.pair.is_alone() {
            return;
        }
        loop {
            if self.is_over_within(ms(&mut dice, 10, 120)).await {
                return;
            }
            let sidecar = dice.below(2);
            if dice.one_in(6) {
                self.sweep(sidecar).await;
                continue;
            }
            let Some(from_mode) = self.world.mode(sidecar).await else {
                continue;
            };
            let to = next(&from_mode, &mut dice);
            let from = self.now();
            if from_mode.ends_with("_only") {
                self.is_unswept.store(true, Ordering::SeqCst);
            }
            let outcome = self.world.set_mode(sidecar, to).await;
            let told = outcome.told();
            let at = sidecar + 1;
            self.noted(
                from,
                format!("S{at}: mode {from_mode} to {to}: {told}"),
                true,
            );
            let mut tally = self.tally.lock();
            if outcome.is_done() {
                tally.modes += 1;
            } else {
                tally.modes_refused += 1;
                tally.reason("mode", &outcome);
            }
        }
    }
}

fn next(from: &str, dice: &mut Dice) -> &'static str {
    const ALL: [&str; 5] = [
        "primary_only",
        "dual_write",
        "dual_read",
        "cutover",
        "secondary_only",
    ];
    if dice.one_in(15) {
        return dice.of(&ALL);
    }
    match from {
        "primary_only" => "dual_write",
        "dual_write" => dice.of(&["dual_read", "cutover", "cutover", "cutover", "primary_only"]),
        "dual_read" => dice.of(&[
            "dual_write",
            "cutover",
            "cutover",
            "cutover",
            "primary_only",
        ]),
        "cutover" => dice.of(&["dual_write", "dual_read", "secondary_only"]),
        _ => "cutover",
    }
}
