//! One history: some clients write, all of them read, one moves the names; then everything comes to
//! rest and is looked at; and again.

use std::collections::HashMap;
use std::fmt;
use std::ops::AddAssign;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::World;
use super::read::{Read, Time, decoded};
use super::reference::{POINTS, Reference, References, Tick};
use super::write::{CLIENTS, Writer, own};
use crate::support::ask::{Answer, Ask};
use crate::support::wire::Wire;

const KEYS: [&str; 2] = ["full", "reading"];
const ROUNDS: usize = 3;
const STEPS: usize = 24;
/// Questions that come again and again in a history.
const FAVOURITES: usize = 6;
/// Those that only read.
const READERS: usize = 2;

/// More than a client needs in a round. All of them stay so small that the product of two is exact in
/// a score.
const NUMBERS: u64 = 120;

/// Chance, told by a seed.
pub(super) struct Dice {
    state: u64,
    numbers: i64,
}

impl Dice {
    pub(super) fn new(seed: u64, client: usize) -> Self {
        let client = u64::try_from(client).unwrap();
        let mut dice = Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (client << 32),
            numbers: i64::try_from(client * NUMBERS).unwrap(),
        };
        dice.any();
        dice
    }

    pub(super) fn fresh() -> Self {
        Self::new(rand::random(), 0)
    }

    pub(super) fn any(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.any() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// One that nothing else in the history has, and small.
    pub(super) fn next_number(&mut self) -> i64 {
        self.numbers += 1;
        self.numbers
    }
}

/// What the collections of a history are called: like those of no other in this run.
pub(super) struct Names {
    pub(super) own: [String; 2],
    pub(super) alias: String,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) reads: usize,
    /// Answered without asking the store.
    pub(super) hits: usize,
    writes: usize,
    abandoned: usize,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.reads += other.reads;
        self.hits += other.hits;
        self.writes += other.writes;
        self.abandoned += other.abandoned;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.hits * 100 / self.reads.max(1);
        let Self {
            reads,
            hits,
            writes,
            abandoned,
        } = self;
        write!(
            f,
            "{reads} reads, {hits} of them hits ({percent}%), {writes} writes, {abandoned} abandoned"
        )
    }
}

struct History<'w> {
    world: &'w World,
    names: Names,
    favourites: Vec<Read>,
    references: Mutex<References>,
    tally: Mutex<Tally>,
    /// How often each question was put with each key.
    asked: Mutex<HashMap<(usize, Vec<u8>), usize>>,
}

struct Client {
    number: usize,
    wire: Wire,
    dice: Dice,
}

/// Plays it to its end; whoever is told what cannot have been so ends the test.
pub(super) async fn play(world: &World, seed: u64) -> Tally {
    let unique: u32 = rand::random();
    let mut dice = Dice::new(seed, usize::from(u8::MAX));
    let favourites = (0..FAVOURITES).map(|_| Read::any(&mut dice));
    let history = History {
        world,
        names: Names {
            own: [format!("a-{unique}"), format!("b-{unique}")],
            alias: format!("live-{unique}"),
        },
        favourites: favourites.collect(),
        references: Mutex::new(References::new(world.fronts.len())),
        tally: Mutex::default(),
        asked: Mutex::default(),
    };
    match history.play(seed).await {
        Ok(()) => *history.tally.lock(),
        Err(reason) => panic!("OUTRIGGER_MODEL_SEED={seed}: {reason}"),
    }
}

impl History<'_> {
    async fn play(&self, seed: u64) -> Result<(), String> {
        let mut wire = self.connect(0).await;
        for number in 0..2 {
            self.make(&mut wire, number).await?;
        }
        self.point_alias(&mut wire, 0, false).await?;
        drop(wire);
        for round in 0..ROUNDS {
            let mut clients = Vec::new();
            for number in 0..CLIENTS + READERS {
                let wire = self.connect(number).await;
                let dice = Dice::new(seed, number + round * (CLIENTS + READERS));
                clients.push(Client { number, wire, dice });
            }
            // While the names move nobody else writes.
            let moves = round == 1;
            let plays = clients
                .into_iter()
                .map(|client| self.take_part(client, moves));
            for played in join_all(plays).await {
                played?;
            }
            self.world.comes_to_rest().await;
            self.look().await?;
        }
        let mut wire = self.connect(0).await;
        for name in &self.names.own {
            let target = format!("/collections/{name}");
            self.change(&mut wire, &Ask::new("DELETE", &target)).await?;
        }
        Ok(())
    }

    async fn connect(&self, client: usize) -> Wire {
        let front = self.world.front_of(client);
        self.world.fronts[front].connect().await
    }

    /// A change that is about to be sent.
    fn begins(&self, begin: impl Fn(&mut Reference, Tick)) {
        let mut references = self.references.lock();
        let from = references.tick();
        for reference in &mut references.at {
            begin(reference, from);
        }
    }

    /// What the answer to a change makes so: at the sidecar that gave it now, and at the others when
    /// they have heard of it.
    async fn ends(&self, client: usize, end: impl Fn(&mut Reference, Tick)) {
        let front = self.world.front_of(client);
        {
            let mut references = self.references.lock();
            let at = references.tick();
            end(&mut references.at[front], at);
        }
        self.world.is_heard(front).await;
        let mut references = self.references.lock();
        let at = references.tick();
        for (other, reference) in references.at.iter_mut().enumerate() {
            if other != front {
                end(reference, at);
            }
        }
    }

    async fn take_part(&self, mut client: Client, names_move: bool) -> Result<(), String> {
        let (writes, moves) = (client.number < CLIENTS, client.number == 0);
        for _ in 0..STEPS {
            let acts = client.dice.one_in(6);
            match (acts, names_move) {
                (true, true) if moves => self.move_names(&mut client).await?,
                (true, false) if writes => self.write(&mut client).await?,
                _ => self.read(&mut client).await?,
            }
        }
        Ok(())
    }

    async fn read(&self, client: &mut Client) -> Result<(), String> {
        let read = if client.dice.one_in(10) {
            Read::any(&mut client.dice)
        } else {
            self.favourites[client.dice.below(FAVOURITES)].clone()
        };
        let key = client.dice.below(2);
        let ask = read.ask(&self.names).with("api-key", KEYS[key]);
        let question = (key, ask.bytes());
        *self.asked.lock().entry(question.clone()).or_default() += 1;
        let began = self.references.lock().tick();
        let answer = ask.over(&mut client.wire).await;
        let mut references = self.references.lock();
        let time = Time(began, references.tick());
        let reference = &references.at[self.world.front_of(client.number)];
        let by = answer.head.field("x-outrigger-cache").unwrap_or_default();
        let hit = by == "hit-l1" || by == "hit-l2" || by == "coalesced";
        {
            let mut tally = self.tally.lock();
            tally.reads += 1;
            tally.hits += usize::from(hit);
        }
        if hit && self.asked.lock()[&question] < 2 {
            return Err(format!("{read:?} was never put with the key {}", KEYS[key]));
        }
        // What the store tells amid a write is the store's own: it may miss a point that it is just
        // moving. Nothing is kept amid a write, so what was kept has no such excuse.
        if !by.starts_with("hit") {
            return Ok(());
        }
        let checked = read.check(&answer, reference, &self.names, time);
        checked.map_err(|reason| {
            format!(
                "client {} read {read:?} in {time:?}, {by}: {reason}\n{} {}\nalias {:?}",
                client.number,
                answer.status(),
                answer.text(),
                reference.alias,
            )
        })
    }

    async fn write(&self, client: &mut Client) -> Result<(), String> {
        let number = client.dice.below(2);
        let waits = !client.dice.one_in(3);
        let goes_away = client.dice.one_in(8);
        let by_alias = client.dice.one_in(3);
        let (write, name) = {
            let mut references = self.references.lock();
            let reference = &references.at[self.world.front_of(client.number)];
            let leads_here = reference.alias.now() == Some(&Some(number));
            let collection = &reference.collections[number];
            let own = own(client.number).map(|at| (at, collection.points[at].now().cloned()));
            let mut writer = Writer {
                client: client.number,
                own: own.collect(),
                dice: &mut client.dice,
            };
            let write = if goes_away {
                writer.regardless()
            } else {
                writer.any()
            };
            let from = references.tick();
            for (at, value) in &write.becomes {
                for reference in &mut references.at {
                    let point = &mut reference.collections[number].points[*at];
                    if goes_away {
                        point.set_adrift(value.clone(), from);
                    } else {
                        point.begin(value.clone(), from);
                    }
                }
            }
            let name = if by_alias && leads_here {
                self.names.alias.clone()
            } else {
                self.names.own[number].clone()
            };
            (write, name)
        };
        let ask = write.ask(&name, waits).with("api-key", KEYS[0]);
        if goes_away {
            self.tally.lock().abandoned += 1;
            let bytes = ask.bytes();
            let sent = if client.dice.one_in(4) {
                bytes.len() / 2
            } else {
                bytes.len()
            };
            let next = self.connect(client.number).await;
            let mut wire = std::mem::replace(&mut client.wire, next);
            wire.send(&bytes[..sent]).await;
            return Ok(());
        }
        self.tally.lock().writes += 1;
        let answer = ask.over(&mut client.wire).await;
        self.ends(client.number, |reference, at| {
            for (point, _) in &write.becomes {
                reference.collections[number].points[*point].end(at);
            }
        })
        .await;
        expect_done(&answer, &format!("{write:?}"))
    }

    async fn move_names(&self, client: &mut Client) -> Result<(), String> {
        let front = self.world.front_of(client.number);
        let alias = *self.references.lock().at[front].alias.now().unwrap();
        let number = client.dice.below(2);
        match client.dice.below(3) {
            0 => {
                let to = alias.map_or(number, |now| 1 - now);
                self.point_alias(&mut client.wire, to, alias.is_some())
                    .await
            }
            1 => {
                self.unmake(&mut client.wire, number).await?;
                self.make(&mut client.wire, number).await?;
                for _ in 0..3 {
                    self.write(client).await?;
                }
                Ok(())
            }
            _ => {
                let target = format!("/collections/{}/index", self.names.own[number]);
                let index = json!({"field_name": "p", "field_schema": "integer"});
                let make = Ask::new("PUT", &format!("{target}?wait=true")).json(&index);
                self.change(&mut client.wire, &make).await?;
                let unmake = Ask::new("DELETE", &format!("{target}/p?wait=true"));
                self.change(&mut client.wire, &unmake).await
            }
        }
    }

    async fn make(&self, wire: &mut Wire, number: usize) -> Result<(), String> {
        let target = format!("/collections/{}", self.names.own[number]);
        let vector = json!({"size": 2, "distance": "Dot"});
        let config = json!({"vectors": {"a": vector, "b": vector}});
        self.begins(|reference, from| reference.collections[number].exists.begin(true, from));
        self.change(wire, &Ask::new("PUT", &target).json(&config))
            .await?;
        self.ends(0, |reference, at| {
            reference.collections[number].exists.end(at);
        })
        .await;
        let index = json!({"field_name": "user", "field_schema": "keyword"});
        let ask = Ask::new("PUT", &format!("{target}/index?wait=true")).json(&index);
        self.change(wire, &ask).await
    }

    /// The alias goes with its collection.
    async fn unmake(&self, wire: &mut Wire, number: usize) -> Result<(), String> {
        let takes_alias = self.references.lock().at[0].alias.now() == Some(&Some(number));
        self.begins(|reference, from| {
            if takes_alias {
                reference.alias.begin(None, from);
            }
            let collection = &mut reference.collections[number];
            collection.exists.begin(false, from);
            for point in &mut collection.points {
                point.begin(None, from);
            }
        });
        let target = format!("/collections/{}", self.names.own[number]);
        self.change(wire, &Ask::new("DELETE", &target)).await?;
        self.ends(0, |reference, at| {
            if takes_alias {
                reference.alias.end(at);
            }
            let collection = &mut reference.collections[number];
            collection.exists.end(at);
            for point in &mut collection.points {
                point.end(at);
            }
        })
        .await;
        Ok(())
    }

    async fn point_alias(&self, wire: &mut Wire, to: usize, is_there: bool) -> Result<(), String> {
        let Names { own, alias } = &self.names;
        let mut actions = Vec::new();
        if is_there {
            actions.push(json!({"delete_alias": {"alias_name": alias}}));
        }
        let create = json!({"collection_name": own[to], "alias_name": alias});
        actions.push(json!({ "create_alias": create }));
        self.begins(|reference, from| reference.alias.begin(Some(to), from));
        let ask = Ask::new("POST", "/collections/aliases").json(&json!({ "actions": actions }));
        self.change(wire, &ask).await?;
        self.ends(0, |reference, at| reference.alias.end(at)).await;
        Ok(())
    }

    async fn change(&self, wire: &mut Wire, ask: &Ask) -> Result<(), String> {
        let ask = ask.clone().with("api-key", KEYS[0]);
        expect_done(&ask.over(wire).await, "a change")
    }

    /// What the store has now that nothing is under way; from here on it is known again.
    async fn look(&self) -> Result<(), String> {
        let mut wire = self.connect(0).await;
        for number in 0..2 {
            let target = format!("/collections/{}/points/scroll", self.names.own[number]);
            let all = json!({"limit": 100, "with_payload": true, "with_vector": true});
            let ask = Ask::new("POST", &target)
                .json(&all)
                .with("api-key", KEYS[0])
                .with("cache-control", "no-cache");
            let answer = ask.over(&mut wire).await;
            expect_done(&answer, "a look")?;
            let body = answer.json();
            let told = body["result"]["points"].as_array().ok_or("no points")?;
            let mut references = self.references.lock();
            for reference in &mut references.at {
                for at in 0..POINTS {
                    let point = told.iter().find(|point: &&Value| point["id"] == at + 1);
                    let timeline = &mut reference.collections[number].points[at];
                    timeline.turns_out(point.map(decoded))?;
                }
            }
        }
        Ok(())
    }
}

fn expect_done(answer: &Answer, what: &str) -> Result<(), String> {
    if answer.status() == 200 {
        return Ok(());
    }
    Err(format!("{what}: {} {}", answer.status(), answer.text()))
}
