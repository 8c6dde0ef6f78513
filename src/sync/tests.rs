//! Two embedded stores, one following the other.

mod answers;
mod calls;
mod deeds;
mod faulty;
mod follows;
mod leave;
mod names;
mod others;
mod suspects;
mod sweeps;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::Method;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::faulty::Faulty;
use super::deeds::{Claimed, Deeds, Note, Noted};
use super::direction::{Direction, DirectionSettings};
use super::leave::{Leave, SweepPermit};
use super::ledger::{Ledger, Told};
use super::peer::{Peer, Said};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::{
    Backlog, Batch, DeadLetter, Mark, Marked, Operation, PointKey, Subject, SweepDue,
};
use crate::stage::Stages;
use crate::store::{Embedded, Rest, Store};
use crate::wire;

/// Marks in memory, by the same rules.
#[derive(Default)]
struct InMemory {
    marks: Mutex<BTreeMap<Box<str>, Vec<Mark>>>,
    dead: Mutex<Vec<DeadLetter>>,
    sweeps: Mutex<Vec<SweepDue>>,
    token: AtomicU64,
    /// Another is another lead.
    lead: AtomicU64,
    /// How often others were let have the lead.
    gave_way: AtomicU64,
    /// What every mark is said to be, in milliseconds.
    age_ms: AtomicU64,
    is_shared: bool,
}

impl InMemory {
    fn token(&self) -> u64 {
        self.token.fetch_add(1, Ordering::Relaxed)
    }

    fn put(&self, collection: &str, subjects: &[Subject]) {
        let mut marks = self.marks.lock();
        let marks = marks.entry(collection.into()).or_default();
        for subject in subjects {
            marks.retain(|mark| mark.subject != *subject);
            let token = self.token();
            marks.push(Mark {
                token,
                subject: *subject,
            });
        }
    }
}

fn now<'a, T: Send + 'a>(value: T) -> Told<'a, T> {
    async move { Ok(value) }.boxed()
}

impl Ledger for InMemory {
    fn mark<'a>(&'a self, collection: &'a str, subjects: &'a [Subject]) -> Told<'a, ()> {
        self.put(collection, subjects);
        now(())
    }

    fn take<'a>(&'a self, marks_max: usize, busy: &'a [Box<str>]) -> Told<'a, Vec<Batch>> {
        let marks = self.marks.lock();
        let batches = marks
            .iter()
            .filter(|(name, marks)| !marks.is_empty() && !busy.contains(name));
        let batches = batches.map(|(collection, marks)| {
            let is_barrier = marks[0].subject.is_barrier();
            let before = |mark: &&Mark| !mark.subject.is_barrier();
            let taken = if is_barrier {
                marks[..1].to_vec()
            } else {
                marks
                    .iter()
                    .take_while(before)
                    .take(marks_max)
                    .copied()
                    .collect()
            };
            Batch {
                collection: collection.clone(),
                marks: taken,
                age: Duration::from_millis(self.age_ms.load(Ordering::Relaxed)),
            }
        });
        now(batches.collect())
    }

    fn clear<'a>(&'a self, collection: &'a str, marks: &'a [Mark]) -> Told<'a, ()> {
        if let Some(kept) = self.marks.lock().get_mut(collection) {
            kept.retain(|mark| !marks.contains(mark));
        }
        now(())
    }

    fn backlog(&self) -> Told<'_, Vec<(Box<str>, Backlog)>> {
        let marks = self.marks.lock();
        let waiting = marks.iter().filter(|(_, marks)| !marks.is_empty());
        let waiting = waiting.map(|(collection, marks)| {
            let backlog = Backlog {
                marks: marks.len() as u64,
                age: None,
            };
            (collection.clone(), backlog)
        });
        now(waiting.collect())
    }

    fn marked<'a>(&'a self, collection: &'a str, points: &'a [PointKey]) -> Told<'a, Marked> {
        let marks = self.marks.lock();
        let marks = marks.get(collection).map_or(&[][..], |marks| &**marks);
        let is_marked = |subject| marks.iter().any(|mark| mark.subject == subject);
        let points = points.iter().copied();
        now(Marked {
            points: points.filter(|id| is_marked(Subject::Point(*id))).collect(),
            is_barrier: marks.iter().any(|mark| mark.subject.is_barrier()),
        })
    }

    fn bury<'a>(&'a self, letters: &'a [DeadLetter]) -> Told<'a, ()> {
        self.dead.lock().extend_from_slice(letters);
        now(())
    }

    fn applied<'a>(&'a self, _collection: &'a str, ids: &'a [PointKey]) -> Told<'a, ()> {
        self.dead.lock().retain(|letter| !ids.contains(&letter.id));
        now(())
    }

    fn dead<'a>(&'a self, _collection: Option<&'a str>, _max: usize) -> Told<'a, Vec<DeadLetter>> {
        now(self.dead.lock().clone())
    }

    fn dead_count(&self) -> Told<'_, Vec<(Box<str>, u64)>> {
        now(vec![("c".into(), self.dead.lock().len() as u64)])
    }

    fn revive<'a>(&'a self, _collection: Option<&'a str>) -> Told<'a, u64> {
        let dead = std::mem::take(&mut *self.dead.lock());
        for letter in &dead {
            self.put(&letter.collection, &[Subject::Point(letter.id)]);
        }
        now(dead.len() as u64)
    }

    fn want_sweep<'a>(&'a self, collection: Option<&'a str>, reason: &'a str) -> Told<'a, ()> {
        let mut sweeps = self.sweeps.lock();
        sweeps.retain(|due| due.collection.as_deref() != collection);
        sweeps.push(SweepDue {
            collection: collection.map(Into::into),
            reason: reason.into(),
            token: self.token(),
            since_ms: 0,
        });
        now(())
    }

    fn sweeps(&self) -> Told<'_, Vec<SweepDue>> {
        now(self.sweeps.lock().clone())
    }

    fn swept<'a>(&'a self, due: &'a SweepDue) -> Told<'a, ()> {
        self.sweeps.lock().retain(|kept| kept.token != due.token);
        now(())
    }

    fn forget(&self) -> Told<'_, ()> {
        self.marks.lock().clear();
        now(())
    }

    fn woken(&self, _within: Duration) -> BoxFuture<'_, ()> {
        tokio::time::sleep(Duration::from_millis(5)).boxed()
    }

    fn poke(&self) {}

    fn others_may_drain(&self) -> bool {
        self.is_shared
    }

    fn leads(&self) -> Told<'_, Option<u64>> {
        now(Some(self.lead.load(Ordering::Relaxed)))
    }

    fn give_way(&self) {
        self.gave_way.fetch_add(1, Ordering::Relaxed);
    }

    fn has_led(&self, lead: u64) -> Told<'_, bool> {
        now(self.lead.load(Ordering::Relaxed) == lead)
    }
}

#[derive(Default)]
struct Known {
    notes: Mutex<BTreeMap<String, Note>>,
    claims: AtomicU64,
    lacking: Mutex<Option<String>>,
}

impl Known {
    fn of(&self, collection: &str) -> Noted {
        Noted {
            there: self.notes.lock().get(collection).copied(),
            here: None,
        }
    }
}

impl Deeds for Known {
    fn noted<'a>(&'a self, collection: &'a str) -> Told<'a, Noted> {
        now(self.of(collection))
    }

    fn claim<'a>(&'a self, collection: &'a str) -> Told<'a, Claimed> {
        let before = self.of(collection);
        let note = Note {
            is_ours: true,
            number: self.claims.fetch_add(1, Ordering::Relaxed),
        };
        self.notes.lock().insert(collection.to_owned(), note);
        now(Claimed {
            before,
            now: self.of(collection),
        })
    }

    fn take_over<'a>(&'a self, collection: &'a str) -> Told<'a, ()> {
        let note = Note {
            is_ours: false,
            number: 0,
        };
        self.notes
            .lock()
            .entry(collection.to_owned())
            .or_insert(note);
        now(())
    }

    fn compared<'a>(&'a self, _collection: &'a str, _of: super::Compared) -> Told<'a, ()> {
        now(())
    }

    fn lacks<'a>(&'a self, why: &'a str) -> Told<'a, ()> {
        *self.lacking.lock() = Some(why.to_owned());
        now(())
    }

    fn lacking(&self) -> Told<'_, Option<String>> {
        now(self.lacking.lock().clone())
    }

    fn all_compared(&self) -> Told<'_, ()> {
        *self.lacking.lock() = None;
        now(())
    }

    fn part<'a>(&'a self, collection: &'a str, noted: Noted) -> Told<'a, ()> {
        if let Some(note) = self.notes.lock().get_mut(collection)
            && noted.there == Some(*note)
        {
            note.is_ours = false;
        }
        now(())
    }
}

/// How long a call whose reply was lost may still be carried out.
const DOUBT: Duration = Duration::from_secs(1);

/// What is known of the modes.
#[derive(Default)]
struct Modes {
    epoch: AtomicU64,
    term: AtomicU64,
    is_unknown: AtomicBool,
    until: Mutex<Option<Instant>>,
    unfollowed: Mutex<HashSet<String>>,
    /// The fence is closed.
    is_closed: AtomicBool,
    /// How often a permit was asked for.
    asked: AtomicU64,
}

impl Modes {
    fn leave(&self) -> Option<Leave> {
        let leave = Leave {
            epoch: self.epoch.load(Ordering::Relaxed),
            term: self.term.load(Ordering::Relaxed),
            until: *self.until.lock(),
        };
        (!self.is_unknown.load(Ordering::Relaxed)).then_some(leave)
    }

    fn permit(&self) -> Option<SweepPermit> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let is_open = !self.is_closed.load(Ordering::Relaxed);
        is_open.then(|| Box::new(()) as SweepPermit)
    }
}

struct World {
    folder: PathBuf,
    ledger: Arc<InMemory>,
    modes: Arc<Modes>,
    stages: Stages,
    faults: Arc<Faulty>,
    /// Without the faults, and whatever the modes are.
    at_follower: Peer,
    direction: Direction,
}

impl Drop for World {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn store(folder: PathBuf) -> Arc<dyn Store> {
    let engine = Arc::new(Embedded::open(&folder).unwrap());
    Arc::new(Rest::new(engine, "1.18.3".to_owned()))
}

impl World {
    fn new(name: &str) -> Self {
        Self::with(name, Duration::from_secs(20))
    }

    fn with(name: &str, patience: Duration) -> Self {
        let unique = format!("outrigger-sync-{name}-{:x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(unique);
        let ledger = Arc::new(InMemory {
            is_shared: true,
            ..InMemory::default()
        });
        let (modes, stages) = (Arc::new(Modes::default()), Stages::default());
        let follower = store(folder.join("other"));
        let faults = Arc::new(Faulty::new(Arc::clone(&follower)));
        let [followed, leave, permit] = [(); 3].map(|()| Arc::clone(&modes));
        let direction = Direction::new(DirectionSettings {
            authority: store(folder.join("one")),
            follower: Arc::clone(&faults) as Arc<dyn Store>,
            ledger: Arc::clone(&ledger) as Arc<dyn Ledger>,
            deeds: Arc::new(Known::default()),
            patience,
            clock: Clock::system(),
            metrics: Metrics::new().sync,
            follows: Box::new(move |name| !followed.unfollowed.lock().contains(name)),
            is_settled: Box::new(|| true),
            leave: Box::new(move || leave.leave()),
            permit: Box::new(move || permit.permit()),
            doubt: DOUBT,
            stages: stages.clone(),
        });
        Self {
            folder,
            ledger,
            modes,
            stages,
            faults,
            at_follower: Peer::new(follower, patience),
            direction,
        }
    }

    async fn authority(&self, call: &str, body: Value) -> Value {
        ask(&self.direction.authority, call, body).await
    }

    async fn follower(&self, call: &str, body: Value) -> Value {
        ask(&self.at_follower, call, body).await
    }

    async fn follower_points(&self) -> Value {
        let all = json!({"with_vector": true, "with_payload": true, "limit": 1000});
        self.follower("POST /collections/c/points/scroll", all)
            .await["points"]
            .take()
    }

    async fn drained(&self) {
        for _ in 0..100 {
            if self.direction.round().await.unwrap() == 0 {
                return;
            }
        }
        panic!("it never ends");
    }
}

async fn ask(peer: &Peer, call: &str, body: Value) -> Value {
    let (method, path) = call.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let plain = path.split('?').next().unwrap();
    let operation = wire::recognise(&method, plain).operation;
    assert_ne!(operation, Operation::Unknown, "{call}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    match peer.ask(operation, method, path, body).await.unwrap() {
        Said::Done(reply) => {
            let mut answer: Value = serde_json::from_slice(&reply.body).unwrap();
            answer["result"].take()
        }
        Said::NoCollection => json!("no collection"),
        Said::Refused(why) => json!(why),
    }
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<Subject> {
    let key = |number| Subject::Point(PointKey::Number(number));
    numbers.into_iter().map(key).collect()
}

fn point(id: u64, vector: [f64; 2], payload: Value) -> Value {
    json!({"id": id, "vector": vector, "payload": payload})
}

const COSINE: &str = r#"{"vectors":{"size":2,"distance":"Cosine"}}"#;
