//! Two sidecars that copy the same point at the same time, each by a journal of its own.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use outrigger::clock::Clock;
use outrigger::journal::{Journal, JournalSettings};
use outrigger::metrics::Metrics;
use outrigger::model::{Operation, PointKey, Subject};
use outrigger::stage::{Stage, Stages};
use outrigger::store::{Embedded, Rest, Store};
use outrigger::sync::{
    Claimed, Compared, Deeds, Direction, DirectionSettings, Leave, Ledger, Noted, Peer, Told,
};
use outrigger::task;
use serde_json::{Value, json};

use crate::support::folder::Folder;
use crate::support::story;

const PATIENCE: Duration = Duration::from_secs(20);
/// The modes are always the same.
const ALWAYS: Leave = Leave {
    epoch: 0,
    term: 0,
    until: None,
};

fn store(folder: &Folder, name: &str) -> Arc<dyn Store> {
    let engine = Embedded::open(&folder.path().join(name)).unwrap();
    Arc::new(Rest::new(Arc::new(engine), "1.18.3".to_owned()))
}

struct Drainer {
    direction: Arc<Direction>,
    stages: Stages,
    journal: Arc<Journal>,
}

/// Nothing at the follower is ours.
struct Nothing;

impl Deeds for Nothing {
    fn noted<'a>(&'a self, _collection: &'a str) -> Told<'a, Noted> {
        Box::pin(std::future::ready(Ok(Noted::default())))
    }

    fn claim<'a>(&'a self, _collection: &'a str) -> Told<'a, Claimed> {
        let (before, now) = (Noted::default(), Noted::default());
        Box::pin(std::future::ready(Ok(Claimed { before, now })))
    }

    fn lacks<'a>(&'a self, _why: &'a str) -> Told<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn lacking(&self) -> Told<'_, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn all_compared(&self) -> Told<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn take_over<'a>(&'a self, _collection: &'a str) -> Told<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn compared<'a>(&'a self, _collection: &'a str, _of: Compared) -> Told<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn part<'a>(&'a self, _collection: &'a str, _noted: Noted) -> Told<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drainer {
    fn new(folder: &Folder, name: &str, stores: &[Arc<dyn Store>; 2]) -> Self {
        let (clock, dir) = (Clock::system(), folder.path().join(name));
        let opened = Journal::open(&dir, JournalSettings::default(), &clock).unwrap();
        let (journal, stages) = (opened.journal, Stages::default());
        let direction = Direction::new(DirectionSettings {
            authority: Arc::clone(&stores[0]),
            follower: Arc::clone(&stores[1]),
            ledger: Arc::clone(&journal) as Arc<dyn Ledger>,
            deeds: Arc::new(Nothing),
            patience: PATIENCE,
            clock,
            metrics: Metrics::new().sync,
            follows: Box::new(|_| true),
            is_settled: Box::new(|| true),
            leave: Box::new(|| Some(ALWAYS)),
            permit: Box::new(|| Some(Box::new(()))),
            doubt: Duration::from_secs(1),
            stages: stages.clone(),
        });
        Self {
            direction: Arc::new(direction),
            stages,
            journal,
        }
    }

    fn round(&self) -> tokio::task::JoinHandle<u64> {
        let direction = Arc::clone(&self.direction);
        task::spawn("round", async move { direction.round().await.unwrap() })
    }

    async fn marks(&self) -> u64 {
        self.direction.waiting(None).await.unwrap()
    }

    async fn mark(&self) {
        let one = [Subject::Point(PointKey::Number(1))];
        self.journal.mark("docs", &one).await.unwrap();
    }
}

async fn ask(peer: &Peer, operation: Operation, method: Method, path: &str, body: Value) -> Value {
    let said = peer.ask(operation, method, path, body.to_string()).await;
    let outrigger::sync::Said::Done(reply) = said.unwrap() else {
        panic!("{path} was refused")
    };
    let answer: Value = peer.read(&reply).unwrap();
    answer["result"].clone()
}

async fn put(peer: &Peer, state: &str) {
    let points = json!({"points": [{"id": 1, "vector": [1.0, 2.0], "payload": {"s": state}}]});
    let path = "/collections/docs/points?wait=true";
    ask(peer, Operation::UpsertPoints, Method::PUT, path, points).await;
}

async fn state(peer: &Peer) -> Value {
    let (path, body) = (
        "/collections/docs/points",
        json!({"ids": [1], "with_payload": true}),
    );
    let found = ask(peer, Operation::GetPoints, Method::POST, path, body).await;
    found[0]["payload"]["s"].clone()
}

#[test]
fn of_two_drainers_on_one_point_the_slow_one_does_not_take_it_back() {
    story(async {
        let folder = Folder::new();
        let stores = [store(&folder, "one"), store(&folder, "other")];
        let slow = Drainer::new(&folder, "journal-slow", &stores);
        let quick = Drainer::new(&folder, "journal-quick", &stores);
        let [authority, follower] = stores.clone().map(|store| Peer::new(store, PATIENCE));
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        for peer in [&authority, &follower] {
            let path = "/collections/docs";
            ask(
                peer,
                Operation::CreateCollection,
                Method::PUT,
                path,
                made.clone(),
            )
            .await;
        }
        put(&authority, "S1").await;
        slow.mark().await;
        let mut read = slow.stages.stop(Stage::AfterRead);
        let first = slow.round();
        read.reached(1).await;

        // Written through the other sidecar, and brought along by it to the last mark.
        put(&authority, "S2").await;
        quick.mark().await;
        assert_eq!(quick.round().await.unwrap(), 1);
        assert_eq!(quick.marks().await, 0);
        assert_eq!(state(&follower).await, "S2");

        let mut applied = slow.stages.stop(Stage::AfterApply);
        read.go();
        applied.reached(1).await;
        assert_eq!(
            state(&follower).await,
            "S1",
            "it is taken back for the moment"
        );
        applied.go();
        first.await.unwrap();
        assert_eq!(slow.marks().await, 1, "what has moved keeps its mark");
        slow.round().await.unwrap();
        assert_eq!(state(&follower).await, "S2");
        assert_eq!((slow.marks().await, quick.marks().await), (0, 0));
    });
}

#[test]
fn a_point_deleted_through_another_sidecar_is_not_brought_back_by_a_slow_drainer() {
    story(async {
        let folder = Folder::new();
        let stores = [store(&folder, "one"), store(&folder, "other")];
        let slow = Drainer::new(&folder, "journal-slow", &stores);
        let quick = Drainer::new(&folder, "journal-quick", &stores);
        let [authority, follower] = stores.clone().map(|store| Peer::new(store, PATIENCE));
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        for peer in [&authority, &follower] {
            let path = "/collections/docs";
            ask(
                peer,
                Operation::CreateCollection,
                Method::PUT,
                path,
                made.clone(),
            )
            .await;
        }
        put(&authority, "S1").await;
        slow.mark().await;
        let mut read = slow.stages.stop(Stage::AfterRead);
        let first = slow.round();
        read.reached(1).await;
        let (path, gone) = (
            "/collections/docs/points/delete?wait=true",
            json!({"points": [1]}),
        );
        ask(
            &authority,
            Operation::DeletePoints,
            Method::POST,
            path,
            gone,
        )
        .await;
        quick.mark().await;
        assert_eq!(quick.round().await.unwrap(), 1);
        read.go();
        first.await.unwrap();
        assert_eq!(slow.marks().await, 1);
        slow.round().await.unwrap();
        assert_eq!(state(&follower).await, Value::Null);
        assert_eq!((slow.marks().await, quick.marks().await), (0, 0));
    });
}
