//! One history: clients write, things fail, the modes change; then all of that ends, the stores
//! become equal, and what they hold is looked at.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::call::{Outcome, ask};
use super::client::Client;
use super::draw::Shape;
use super::equal::{self, Contents};
use super::known::{Id, Known};
use super::world::World;
use crate::support::dice::Dice;
use crate::support::fault::Fault;

/// From when nothing fails any more.
const EQUAL_WITHIN: Duration = Duration::from_secs(30);
/// A sidecar that died is counted with until its lease is over.
const MODE_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// The points that each client has to itself, and those that all write to.
pub(super) const OWN: usize = 12;
pub(super) const SHARED: usize = 16;

#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) acknowledged: usize,
    pub(super) unknown: usize,
    pub(super) refused: usize,
    /// Reads whose answer was checked.
    pub(super) reads: usize,
    pub(super) faults: usize,
    /// Calls and connections that a fault has spoilt.
    pub(super) spoilt: usize,
    pub(super) kills: usize,
    pub(super) redis_kills: usize,
    pub(super) modes: usize,
    pub(super) modes_refused: usize,
    pub(super) sweeps: usize,
    pub(super) retried: usize,
    pub(super) compared: usize,
    /// To set the scene, of turmoil, until the stores were equal, to look at them.
    times: [Duration; 4],
    /// Why writes and changes of mode were not done.
    reasons: BTreeMap<String, usize>,
}

impl Tally {
    pub(super) fn reason(&mut self, of: &str, outcome: &Outcome) {
        let told = outcome.told();
        let shape = |at: char| if at.is_ascii_digit() { '#' } else { at };
        let mut told: String = told.chars().skip(3).map(shape).collect();
        while told.contains("##") {
            told = told.replace("##", "#");
        }
        let status = outcome.told().chars().take(3).collect::<String>();
        let reason = format!(
            "{of}: {status}{}",
            told.chars().take(110).collect::<String>()
        );
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// The commonest first.
    pub(super) fn reasons(&self) -> String {
        let mut all: Vec<_> = self.reasons.iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let lines = all
            .iter()
            .take(25)
            .map(|(why, count)| format!("{count:>7} {why}\n"));
        lines.collect()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.reads += other.reads;
        self.faults += other.faults;
        self.spoilt += other.spoilt;
        self.kills += other.kills;
        self.redis_kills += other.redis_kills;
        self.modes += other.modes;
        self.modes_refused += other.modes_refused;
        self.sweeps += other.sweeps;
        self.retried += other.retried;
        self.compared += other.compared;
        for (own, more) in self.times.iter_mut().zip(other.times) {
            *own += more;
        }
        for (why, count) in other.reasons {
            *self.reasons.entry(why).or_default() += count;
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "writes: {} acknowledged, {} unknown, {} refused; {} reads checked; {} faults ({} calls \
             spoilt), {} sidecars and {} Redis killed; modes: {} changed, {} refused; {} sweeps \
             asked for, {} dead letters retried; {} points compared; {:.1?} of scene, turmoil, \
             settling, looking",
            self.acknowledged,
            self.unknown,
            self.refused,
            self.reads,
            self.faults,
            self.spoilt,
            self.kills,
            self.redis_kills,
            self.modes,
            self.modes_refused,
            self.sweeps,
            self.retried,
            self.compared,
            self.times
        )
    }
}

/// What went wrong, and with which point.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) id: Option<Id>,
    pub(super) text: String,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            id: None,
            text: text.into(),
        }
    }

    pub(super) fn of(id: &Id, text: impl Into<String>) -> Self {
        Self {
            id: Some(id.clone()),
            text: text.into(),
        }
    }
}

struct Line {
    from: Duration,
    to: Duration,
    text: String,
    /// Every point may be meant.
    is_for_all: bool,
}

pub(super) struct History<'w> {
    pub(super) world: &'w World,
    /// The one that stays, and the one that comes and goes.
    pub(super) names: [String; 2],
    pub(super) alias: String,
    pub(super) shapes: Mutex<[Shape; 2]>,
    pub(super) shared: Vec<Id>,
    pub(super) tally: Mutex<Tally>,
    began: Instant,
    log: Mutex<Vec<Line>>,
    over: watch::Sender<bool>,
    /// A follower was taken on, and nobody has asked for a sweep since.
    pub(super) is_unswept: AtomicBool,
    is_spoilt: bool,
}

/// Plays it to its end; whatever is wrong ends the test.
pub(super) async fn play(world: &World, seed: u64, is_spoilt: bool) -> Tally {
    let mut dice = Dice::new(seed);
    let unique: u32 = rand::random();
    let shape = Shape::any(&mut dice);
    let history = History {
        world,
        names: [format!("stay-{unique}"), format!("come-{unique}")],
        alias: format!("live-{unique}"),
        shapes: Mutex::new([shape; 2]),
        shared: (900..900 + SHARED).map(Id::new).collect(),
        tally: Mutex::default(),
        began: Instant::now(),
        log: Mutex::default(),
        over: watch::Sender::new(false),
        is_unswept: AtomicBool::new(false),
        is_spoilt,
    };
    world.forget_said();
    if let Err(failure) = history.play(&mut dice).await {
        panic!("{}", history.report(seed, &failure));
    }
    history.tally.into_inner()
}

impl History<'_> {
    async fn play(&self, dice: &mut Dice) -> Result<(), Failure> {
        let began = Instant::now();
        let start = dice.of(&["primary_only", "dual_write"]);
        self.come_to(&[start]).await?;
        for at in 0..2 {
            let collection = self.shapes.lock()[at].collection();
            self.surely(
                "PUT",
                &format!("/collections/{}", self.names[at]),
                &collection,
            )
            .await?;
        }
        let create = json!({"collection_name": self.names[0], "alias_name": self.alias});
        let actions = json!({"actions": [{"create_alias": create}]});
        self.surely("POST", "/collections/aliases", &actions)
            .await?;
        let begun = Instant::now();
        let known = self.turmoil(dice).await?;
        let over = Instant::now();
        self.ends(dice).await?;
        self.become_equal().await?;
        let equal = Instant::now();
        self.spoil(&known).await;
        self.look(&known).await?;
        self.tally.lock().times = [begun - began, over - begun, equal - over, equal.elapsed()];
        for name in &self.names {
            let target = format!("/collections/{name}");
            self.surely("DELETE", &target, &Value::Null).await?;
        }
        Ok(())
    }

    /// Until all clients are through.
    async fn turmoil(&self, dice: &mut Dice) -> Result<Vec<(usize, Known)>, Failure> {
        let count = 3 + dice.below(2);
        let clients = (0..count).map(|number| Client::new(self, number, dice.any()).play());
        let clients = join_all(clients.collect::<Vec<_>>());
        let clients = async {
            let played = clients.await;
            self.over.send_replace(true);
            played
        };
        let [faults, kills, modes] = [0; 3].map(|_: i32| Dice::new(dice.any()));
        let (played, (), (), ()) = tokio::join!(
            Box::pin(clients),
            Box::pin(self.faults(faults)),
            Box::pin(self.kills(kills)),
            Box::pin(self.modes(modes)),
        );
        let mut known = Vec::new();
        for one in played {
            known.extend(one?);
        }
        Ok(known)
    }

    /// Whether it is over before so much time has passed.
    pub(super) async fn is_over_within(&self, time: Duration) -> bool {
        let mut over = self.over.subscribe();
        let over = over.wait_for(|over| *over);
        tokio::time::timeout(time, over).await.is_ok()
    }

    /// Nothing fails any more, and a follower is followed.
    async fn ends(&self, dice: &mut Dice) -> Result<(), Failure> {
        for store in &self.world.stores {
            let gate = &store.proxy.gate;
            gate.set(Fault::None);
            gate.refuse_id(None);
            self.tally.lock().spoilt += gate.hits.swap(0, Ordering::SeqCst);
        }
        if self.world.pair.is_alone() {
            return Ok(());
        }
        self.note("the faults are over");
        self.come_to(&["dual_write", "dual_read", "cutover"])
            .await?;
        // Who takes a follower on compares it of his own accord; asked or not.
        if self.is_unswept.load(Ordering::SeqCst) && dice.one_in(2) {
            self.sweep(dice.below(2)).await;
        }
        Ok(())
    }

    pub(super) async fn sweep(&self, sidecar: usize) {
        let asked = self
            .world
            .desk(sidecar, "POST", "/api/sync/sweep", &Value::Null);
        let asked = asked.await;
        if asked.is_done() {
            self.is_unswept.store(false, Ordering::SeqCst);
            self.tally.lock().sweeps += 1;
        }
        self.note(format!(
            "sweep asked for at S{}: {}",
            sidecar + 1,
            asked.told()
        ));
    }

    /// Goes step by step to one of these modes, until both sidecars go by it.
    async fn come_to(&self, wanted: &[&str]) -> Result<(), Failure> {
        if self.world.pair.is_alone() {
            return Ok(());
        }
        let until = Instant::now() + MODE_WITHIN;
        let mut last = String::new();
        while Instant::now() < until {
            let modes = [self.world.mode(0).await, self.world.mode(1).await];
            let [Some(one), Some(other)] = &modes else {
                last = format!("{modes:?}");
                tokio::time::sleep(POLL).await;
                continue;
            };
            let is_there = one == other && wanted.contains(&one.as_str());
            if is_there {
                return Ok(());
            }
            if one == other {
                self.revive().await;
                let to = towards(one, wanted);
                let asked = self.world.set_mode(0, to).await;
                last = format!("from {one} to {to}: {}", asked.told());
                self.note(format!("{last}, on the way to {wanted:?}"));
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Failure::new(format!("no way to {wanted:?}: {last}")))
    }

    /// Has what was refused tried again.
    async fn revive(&self) {
        for sidecar in 0..2 {
            let state = self
                .world
                .desk(sidecar, "GET", "/api/sync", &Value::Null)
                .await;
            let Outcome::Said(200, state) = state else {
                continue;
            };
            let directions = state["directions"].as_array().cloned().unwrap_or_default();
            let dead = directions
                .iter()
                .filter_map(|of| of["dead_letters"].as_u64());
            if dead.sum::<u64>() > 0 {
                let retried = self
                    .world
                    .desk(sidecar, "POST", "/api/sync/retry", &Value::Null);
                let retried = retried.await;
                self.note(format!("dead letters retried at S{}", sidecar + 1));
                if let Outcome::Said(200, body) = retried {
                    let count = body["retried"].as_u64().unwrap_or(0);
                    self.tally.lock().retried += usize::try_from(count).unwrap();
                }
            }
        }
    }

    /// Waits until both sidecars say that the stores are.
    async fn become_equal(&self) -> Result<(), Failure> {
        if self.world.pair.is_alone() {
            return Ok(());
        }
        let until = Instant::now() + EQUAL_WITHIN;
        loop {
            let mut states = Vec::new();
            for sidecar in 0..2 {
                let state = self
                    .world
                    .desk(sidecar, "GET", "/api/sync", &Value::Null)
                    .await;
                states.push(state);
            }
            let says_so =
                |of: &Outcome| matches!(of, Outcome::Said(200, body) if body["in_sync"] == true);
            if states.iter().all(says_so) {
                self.note("both sidecars say that the stores are equal");
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Failure::new(format!(
                    "the stores do not become equal within {EQUAL_WITHIN:?}: {states:#?}"
                )));
            }
            self.revive().await;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where it is asked for, so that it is seen that the comparison fails: takes from the last store
    /// one point that is surely there.
    async fn spoil(&self, known: &[(usize, Known)]) {
        if !self.is_spoilt {
            return;
        }
        let store = self.world.stores.last().unwrap();
        for (at, known) in known {
            let Some(id) = known.ids().find(|id| known.doubts(id, &None).is_some()) else {
                continue;
            };
            let body = json!({"points": [id.json()]});
            let target = format!("/collections/{}/points/delete?wait=true", self.names[*at]);
            let gone = ask(store.direct, "POST", &target, &body).await;
            return self.note(format!("{} is taken away: {}", id.0, gone.told()));
        }
    }

    async fn look(&self, known: &[(usize, Known)]) -> Result<(), Failure> {
        let stores = &self.world.stores;
        let first = Contents::of(stores[0].direct, &self.names).await?;
        self.tally.lock().compared += first.points();
        for other in &stores[1..] {
            equal::agree(stores[0].direct, other.direct, &self.names).await?;
        }
        for (at, known) in known {
            first.is_as_known(&self.names[*at], known)?;
        }
        Ok(())
    }

    /// While nobody else writes: until it is done.
    async fn surely(&self, method: &str, target: &str, body: &Value) -> Result<(), Failure> {
        let until = Instant::now() + EQUAL_WITHIN;
        loop {
            let outcome = ask(self.world.proxy(0), method, target, body).await;
            self.note(format!("{method} {target}: {}", outcome.told()));
            if outcome.is_done() || matches!(&outcome, Outcome::Said(404 | 409, _)) {
                return Ok(());
            }
            if Instant::now() > until {
                let told = outcome.told();
                return Err(Failure::new(format!("{method} {target}: {told}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Something that concerns every point.
    pub(super) fn note(&self, text: impl Into<String>) {
        let now = self.now();
        self.noted(now, text.into(), true);
    }

    pub(super) fn noted(&self, from: Duration, text: String, is_for_all: bool) {
        self.log.lock().push(Line {
            from,
            to: self.now(),
            text,
            is_for_all,
        });
    }

    /// What a person needs who looks for the cause.
    fn report(&self, seed: u64, failure: &Failure) -> String {
        let pair = self.world.pair.name;
        let mut told = format!(
            "OUTRIGGER_CONVERGE_PAIR={pair} OUTRIGGER_CONVERGE_SEED={seed}\n{}\n\n\
             {} is [0], {} is [1], {} the alias. In ms, from and to:\n",
            failure.text, self.names[0], self.names[1], self.alias
        );
        let mut log = self.log.lock();
        log.sort_by_key(|line| line.from);
        for line in log.iter() {
            let concerns = match &failure.id {
                None => line.is_for_all,
                Some(id) => line.is_for_all || line.text.contains(&id.0),
            };
            if concerns {
                let (from, to) = (line.from.as_millis(), line.to.as_millis());
                told += &format!("{from:>6} {to:>6}  {}\n", line.text);
            }
        }
        told + "\nWhat the sidecars warned of:\n" + &self.world.said()
    }
}

/// The next mode on the way.
fn towards(from: &str, wanted: &[&str]) -> &'static str {
    match from {
        "primary_only" => "dual_write",
        "secondary_only" => "cutover",
        "dual_write" | "dual_read" if wanted.contains(&"primary_only") => "primary_only",
        _ => "dual_write",
    }
}
