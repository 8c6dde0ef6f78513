//! Two embedded stores, one following the other.

mod answers;
mod calls;
mod faulty;
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
use super::deeds::Deeds;
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

    fn has_led(&self, lead: u64) -> Told<'_, bool> {
        now(self.lead.load(Ordering::Relaxed) == lead)
    }
}

#[derive(Default)]
struct Known(Mutex<HashSet<String>>);

impl Deeds for Known {
    fn compared<'a>(&'a self, _collection: &'a str, _of: super::Compared) -> Told<'a, ()> {
        now(())
    }

    fn is_ours<'a>(&'a self, collection: &'a str) -> Told<'a, bool> {
        now(self.0.lock().contains(collection))
    }

    fn set_ours<'a>(&'a self, collection: &'a str, is_ours: bool) -> Told<'a, ()> {
        let mut known = self.0.lock();
        if is_ours {
            known.insert(collection.to_owned());
        } else {
            known.remove(collection);
        }
        now(())
    }

    fn are_paired<'a>(&'a self, collection: &'a str) -> Told<'a, bool> {
        self.is_ours(collection)
    }

    fn part<'a>(&'a self, collection: &'a str) -> Told<'a, ()> {
        self.set_ours(collection, false)
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

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_becomes_what_the_authority_is_where_marks_point() {
    let world = World::new("copy");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config).await;
    let points = [
        point(1, [3.0, 4.0], json!({"a": 1})),
        point(2, [1.0, 0.0], json!({"b": [1, null, "x"]})),
        point(3, [0.0, 0.0], json!({})),
    ];
    world
        .authority(
            "PUT /collections/c/points?wait=true",
            json!({"points": points}),
        )
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([1, 2, 9]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(
        there.as_array().unwrap().len(),
        2,
        "only what was marked: {there}"
    );
    world.ledger.put("c", &ids([3]));
    let gone = json!({"points": [2]});
    world
        .authority("POST /collections/c/points/delete?wait=true", gone)
        .await;
    world.ledger.put("c", &ids([2]));
    world.drained().await;
    let here = json!({"with_vector": true, "with_payload": true, "limit": 1000});
    let mut here = world
        .authority("POST /collections/c/points/scroll", here)
        .await;
    assert_eq!(world.follower_points().await, here["points"].take());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_what_is_missing_extra_and_different() {
    let world = World::new("sweep");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config).await;
    let points: Vec<Value> = (0..700)
        .map(|id| point(id, [1.0, id as f64], json!({"n": id})))
        .collect();
    let all = json!({"points": points});
    world
        .authority("PUT /collections/c/points?wait=true", all)
        .await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    assert_eq!(world.follower_points().await.as_array().unwrap().len(), 700);
    assert_eq!(world.ledger.sweeps().await.unwrap(), vec![]);
    // The follower is changed behind everybody's back.
    world
        .follower(
            "POST /collections/c/points/delete?wait=true",
            json!({"points": [5, 400]}),
        )
        .await;
    let extra = json!({"points": [point(900, [1.0, 1.0], json!({}))]});
    world
        .follower("PUT /collections/c/points?wait=true", extra)
        .await;
    let other = json!({"payload": {"n": -1}, "points": [77]});
    world
        .follower("POST /collections/c/points/payload?wait=true", other)
        .await;
    world.ledger.want_sweep(Some("c"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    let marked = world.ledger.marks.lock().get("c").unwrap().len();
    assert_eq!(marked, 4, "just what differs is marked");
    world.drained().await;
    let here = json!({"with_vector": true, "with_payload": true, "limit": 1000});
    let mut here = world
        .authority("POST /collections/c/points/scroll", here)
        .await;
    assert_eq!(world.follower_points().await, here["points"].take());
    // And nothing is found once they are equal, although vectors were normalised twice.
    world.ledger.want_sweep(Some("c"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.direction.waiting(None).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_point_that_is_refused_holds_up_no_other() {
    let world = World::new("dead");
    let rows = json!({"vectors": {"a": {"size": 2, "distance": "Dot",
        "multivector_config": {"comparator": "max_sim"}}}});
    world.authority("PUT /collections/c", rows.clone()).await;
    world.follower("PUT /collections/c", rows).await;
    let strict = json!({"strict_mode_config": {"enabled": true,
        "multivector_config": {"a": {"max_vectors": 2}}}});
    world.follower("PATCH /collections/c", strict).await;
    let point = |id: u64| {
        let rows = vec![[1.0, 2.0]; if id == 7 { 3 } else { 2 }];
        json!({"id": id, "vector": {"a": rows}, "payload": {"n": id}})
    };
    let points: Vec<Value> = (0..20).map(point).collect();
    let points = json!({ "points": points });
    world
        .authority("PUT /collections/c/points?wait=true", points)
        .await;
    world.ledger.put("c", &ids(0..20));
    world.drained().await;
    let dead = world.ledger.dead.lock().clone();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].id, PointKey::Number(7));
    assert!(dead[0].reason.contains("2"), "{dead:?}");
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 19);
    assert_eq!(world.direction.waiting(None).await.unwrap(), 0);
    // What hindered it is gone.
    let gone = json!({"strict_mode_config": {"multivector_config": {"a": {"max_vectors": 9}}}});
    world.follower("PATCH /collections/c", gone).await;
    assert_eq!(world.ledger.revive(None).await.unwrap(), 1);
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_at_the_follower_gives_way_and_what_is_not_stays() {
    let world = World::new("ours");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    for name in ["ours", "gone"] {
        let path = format!("PUT /collections/{name}");
        world.authority(&path, config.clone()).await;
    }
    world.follower("PUT /collections/theirs", config).await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    // Both of these behind everybody's back: no mark tells of it.
    world
        .authority("DELETE /collections/gone", Value::Null)
        .await;
    world
        .authority("DELETE /collections/ours", Value::Null)
        .await;
    let other = json!({"vectors": {"a": {"size": 3, "distance": "Dot"}}});
    world.authority("PUT /collections/ours", other).await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    let there = world.follower("GET /collections", Value::Null).await;
    let expected = json!({"collections": [{"name": "ours"}, {"name": "theirs"}]});
    assert_eq!(there, expected);
    let ours = world.follower("GET /collections/ours", Value::Null).await;
    assert_eq!(ours["config"]["params"]["vectors"]["a"]["size"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_dropped_and_made_again_is_another_one() {
    let world = World::new("drop");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config.clone()).await;
    let old = json!({"points": [point(1, [1.0, 0.0], json!({})), point(2, [1.0, 0.0], json!({}))]});
    world
        .authority("PUT /collections/c/points?wait=true", old.clone())
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([1, 2]));
    world.drained().await;
    world.authority("DELETE /collections/c", Value::Null).await;
    world.authority("PUT /collections/c", config).await;
    let new = json!({"points": [point(1, [0.0, 1.0], json!({"new": true}))]});
    world
        .authority("PUT /collections/c/points?wait=true", new)
        .await;
    world.ledger.put("c", &[Subject::Dropped]);
    world.ledger.put("c", &ids([1]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    assert_eq!(there[0]["payload"], json!({"new": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_vectors_settings_and_aliases_are_brought_along() {
    let world = World::new("schema");
    let config = json!({
        "vectors": {"a": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "hnsw_config": {"m": 24}, "metadata": {"who": "we"},
    });
    world.authority("PUT /collections/c", config).await;
    let tenant = json!({"field_name": "u", "field_schema": {"type": "keyword", "is_tenant": true}});
    world
        .authority("PUT /collections/c/index?wait=true", tenant)
        .await;
    world
        .authority(
            "PUT /collections/c/index?wait=true",
            json!({"field_name": "n", "field_schema": "integer"}),
        )
        .await;
    let alias = json!({"actions": [{"create_alias": {"alias_name": "x", "collection_name": "c"}}]});
    world.authority("POST /collections/aliases", alias).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let told = |mut of: Value| {
        let schema = of["payload_schema"].take();
        json!([of["config"].take(), schema])
    };
    let describe = "GET /collections/c";
    let here = told(world.authority(describe, Value::Null).await);
    assert_eq!(told(world.follower(describe, Value::Null).await), here);
    let aliases = world.follower("GET /aliases", Value::Null).await;
    assert_eq!(aliases["aliases"][0]["alias_name"], "x");
    // Taken away again.
    world
        .authority("DELETE /collections/c/index/n?wait=true", Value::Null)
        .await;
    world
        .authority(
            "PUT /collections/c/vectors/b?wait=true",
            json!({"dense": {"size": 3, "distance": "Cosine"}}),
        )
        .await;
    world
        .authority("PATCH /collections/c", json!({"hnsw_config": {"m": 8}}))
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let here = told(world.authority(describe, Value::Null).await);
    assert_eq!(told(world.follower(describe, Value::Null).await), here);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_other_vectors_is_left_alone_and_told_of() {
    let world = World::new("blocked");
    world
        .authority("PUT /collections/c", serde_json::from_str(COSINE).unwrap())
        .await;
    world
        .follower(
            "PUT /collections/c",
            json!({"vectors": {"size": 3, "distance": "Cosine"}}),
        )
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let report = world.direction.report().await.unwrap();
    assert_eq!(report.blocked.len(), 1, "{report:?}");
    assert_eq!(world.direction.waiting(None).await.unwrap(), 1);
    let there = world.follower("GET /collections/c", Value::Null).await;
    assert_eq!(there["config"]["params"]["vectors"]["size"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_under_a_name_that_has_become_an_alias_touches_no_other_collection() {
    let world = World::new("alias");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    for name in ["c", "other"] {
        let path = format!("PUT /collections/{name}");
        world.authority(&path, config.clone()).await;
    }
    let points = json!({"points": [point(1, [1.0, 0.0], json!({"of": "c"}))]});
    let path = "PUT /collections/c/points?wait=true";
    world.authority(path, points).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("other", &[Subject::Schema]);
    world.ledger.put("c", &ids([1]));
    let to = |name: &str| json!({"actions": [{"create_alias": {"alias_name": "live", "collection_name": name}}]});
    world.authority("POST /collections/aliases", to("c")).await;
    world.ledger.put("*", &[Subject::Schema]);
    world.drained().await;
    // The alias has moved, which the follower has not been told yet, and a write by its name that
    // came to nothing has left a mark.
    let moved = to("other");
    world.authority("POST /collections/aliases", moved).await;
    world.ledger.put("live", &ids([1]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    // A collection has the name that the follower still knows as an alias.
    let gone = json!({"actions": [{"delete_alias": {"alias_name": "live"}}]});
    world.authority("POST /collections/aliases", gone).await;
    world.authority("PUT /collections/live", config).await;
    let points = json!({"points": [point(2, [1.0, 0.0], json!({"of": "live"}))]});
    let path = "PUT /collections/live/points?wait=true";
    world.authority(path, points).await;
    world.ledger.put("live", &[Subject::Schema]);
    world.ledger.put("live", &ids([2]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    let count = "POST /collections/live/points/count";
    let live = world.follower(count, json!({})).await;
    assert_eq!(live["count"], 1);
}
