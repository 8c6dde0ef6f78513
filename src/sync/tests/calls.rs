//! Calls of clients whose effect is not known beforehand, and what has to be compared for them.

use std::path::Path;

use http::Request;

use super::answers::{Before, NEVER_SENT, Rule};
use super::*;
use crate::error::{ErrorKind, Result};
use crate::journal::{Journal, JournalSettings};
use crate::net::Body;
use crate::stage::Stage;
use crate::store::{PassAnswer, PassCall};
use crate::sync::{Mirror, Way};
use crate::task;

/// A mirror with a journal; past one point a write by a filter has its collection swept.
struct Mirrored {
    mirror: Arc<Mirror>,
    journal: Arc<Journal>,
    rule: Arc<Mutex<Box<Rule>>>,
    stages: Stages,
    /// Goes when the stores have gone.
    _folder: Folder,
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn journal(folder: &Path) -> Arc<Journal> {
    let settings = JournalSettings::default();
    let opened = Journal::open(folder, settings, &Clock::system());
    opened.unwrap().journal
}

impl Mirrored {
    async fn new(name: &str) -> Self {
        let unique = format!("outrigger-calls-{name}-{:x}", rand::random::<u64>());
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir(&folder).unwrap();
        let passes: Box<Rule> = Box::new(|_, _| None);
        let rule = Arc::new(Mutex::new(passes));
        let before = Before {
            store: store(folder.join("one")),
            rule: Arc::clone(&rule),
        };
        let (journal, stages) = (journal(&folder.join("journal")), Stages::default());
        let direction = Direction::new(DirectionSettings {
            authority: Arc::new(before),
            follower: store(folder.join("other")),
            ledger: Arc::clone(&journal) as Arc<dyn Ledger>,
            deeds: Arc::new(Known::default()),
            patience: Duration::from_secs(20),
            // A sweep that was asked for a moment ago has been due for long.
            clock: Clock::fixed(Clock::system().since_epoch() + Duration::from_secs(600)),
            metrics: Metrics::new().sync,
            follows: Box::new(|_| true),
            is_settled: Box::new(|| true),
            leave: Box::new(|| {
                Some(Leave {
                    epoch: 0,
                    term: 0,
                    until: None,
                })
            }),
            permit: Box::new(|| Some(Box::new(()) as SweepPermit)),
            doubt: DOUBT,
            stages: stages.clone(),
        });
        let way = Way::Journal(Arc::clone(&journal));
        let mirror = Arc::new(Mirror::new(Arc::new(direction), way, 1, false));
        let mirrored = Self {
            mirror,
            journal,
            rule,
            stages,
            _folder: Folder(folder),
        };
        let config: Value = serde_json::from_str(COSINE).unwrap();
        mirrored.sent("PUT /collections/c", config).await;
        let points: Vec<Value> = (1..=4)
            .map(|id| point(id, [1.0, 2.0], json!({"color": "red"})))
            .collect();
        let points = json!({ "points": points });
        mirrored.sent("PUT /collections/c/points", points).await;
        mirrored.drained().await;
        mirrored.sweep().await;
        assert_eq!(mirrored.at_follower().await, 4);
        assert_eq!(mirrored.due().await, vec![]);
        mirrored
    }

    /// Instead of what the authority says to calls of these methods, but for a scroll.
    fn says(&self, status: u16) {
        *self.rule.lock() = Box::new(move |method, path| {
            let is_meant = method != Method::GET && !path.ends_with("/scroll");
            is_meant.then(|| (status, json!({"status": {"error": "no"}}).to_string()))
        });
    }

    fn pass(&self) {
        *self.rule.lock() = Box::new(|_, _| None);
    }

    async fn sent(&self, call: &str, body: Value) -> PassAnswer {
        send(&self.mirror, call, body).await.unwrap()
    }

    async fn drained(&self) {
        while self.mirror.direction().round().await.unwrap() > 0 {}
    }

    async fn sweep(&self) {
        self.mirror.direction().sweep_once().await.unwrap();
    }

    async fn due(&self) -> Vec<SweepDue> {
        self.journal.sweeps().await.unwrap()
    }

    async fn at_follower(&self) -> u64 {
        let count = "POST /collections/c/points/count";
        let follower = &self.mirror.direction().follower;
        let told = ask(follower, count, json!({})).await;
        told["count"].as_u64().unwrap()
    }
}

async fn send(mirror: &Mirror, call: &str, body: Value) -> Result<PassAnswer> {
    let (method, path) = call.split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    let operation = wire::recognise(&method, path).operation;
    let request = Request::builder().method(method).uri(path);
    let call = PassCall {
        operation,
        head: request.body(()).unwrap().into_parts().0,
        body: Body::full(body.to_string()),
        deadline: Instant::now() + Duration::from_secs(20),
    };
    let collection = path.strip_prefix("/collections/");
    let collection = collection.and_then(|rest| rest.split('/').next());
    let collection = collection.map(|name| name.replace("%2F", "/"));
    mirror.send(call, collection.as_deref()).await
}

fn red() -> Value {
    json!({"filter": {"must": [{"key": "color", "match": {"value": "red"}}]}})
}

const DROP: &str = "DELETE /collections/c";
const DELETE: &str = "POST /collections/c/points/delete";

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_is_not_swept_for_a_call_that_is_still_under_way() {
    let world = Mirrored::new("early").await;
    let mut stop = world.stages.stop(Stage::AfterIntend);
    let mirror = Arc::clone(&world.mirror);
    let sending = task::spawn("send", async move { send(&mirror, DELETE, red()).await });
    stop.reached(1).await;
    // It has not been sent, so there is nothing to be found yet.
    world.sweep().await;
    assert_eq!(world.due().await.len(), 1);
    stop.go();
    assert!(sending.await.unwrap().unwrap().status().is_success());
    world.sweep().await;
    assert_eq!(world.due().await, vec![]);
    world.drained().await;
    assert_eq!(world.at_follower().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_has_its_collection_swept_and_swept_again() {
    let world = Mirrored::new("given-up").await;
    let mut stop = world.stages.stop(Stage::AfterAnswer);
    let mirror = Arc::clone(&world.mirror);
    let sending = task::spawn("send", async move { send(&mirror, DELETE, red()).await });
    stop.reached(1).await;
    sending.abort();
    assert!(sending.await.is_err());
    world.sweep().await;
    world.drained().await;
    assert_eq!(world.at_follower().await, 0);
    assert_eq!(world.due().await.len(), 1, "it may have more effect later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_after_which_something_may_be_done_takes_no_sweep_away() {
    let world = Mirrored::new("refused").await;
    // 408 is what a Qdrant says that goes on, 429 what one shard of many may say.
    for (status, is_owed) in [(408, true), (429, true), (503, true), (400, false)] {
        world.says(status);
        let answer = world.sent(DELETE, red()).await;
        assert_eq!(answer.status(), status);
        world.pass();
        assert_eq!(world.due().await.len(), usize::from(is_owed), "{status}");
        world.journal.forget().await.unwrap();
    }
    // What stood before the one that is refused is done.
    let wrong = json!({"points": [{"id": 9, "vector": [1.0]}]});
    let batch = json!({"operations": [{"delete": red()}, {"upsert": wrong}]});
    let answer = send(&world.mirror, "POST /collections/c/points/batch", batch).await;
    let refused = answer.map(drop).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::BadInput);
    assert_eq!(world.due().await.len(), 1);
    world.sweep().await;
    world.drained().await;
    assert_eq!(world.at_follower().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upsert_so_long_that_it_goes_in_parts_is_looked_for_though_it_is_refused() {
    let world = Mirrored::new("long").await;
    for (length, is_owed) in [(10, false), (5_000_000, true)] {
        let text = "x".repeat(length);
        let good = point(9, [1.0, 2.0], json!({"text": text}));
        let wrong = json!({"id": "abc", "vector": [1.0, 2.0]});
        let points = json!({"points": [good, wrong]});
        let answer = send(&world.mirror, "PUT /collections/c/points", points).await;
        assert_eq!(answer.map(drop).unwrap_err().kind(), ErrorKind::BadInput);
        assert_eq!(world.due().await.len(), usize::from(is_owed), "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_not_said_to_be_done_takes_nothing_from_the_follower() {
    let world = Mirrored::new("deletion").await;
    let answers = [
        (408, true),
        (429, true),
        (503, true),
        (301, true),
        (400, false),
        (NEVER_SENT, false),
    ];
    for (status, waits) in answers {
        world.says(status);
        let answer = send(&world.mirror, DROP, Value::Null).await;
        assert_eq!(answer.is_err(), status == NEVER_SENT, "{status}");
        world.pass();
        let waiting = world.mirror.direction().waiting(None).await.unwrap();
        assert_eq!(waiting > 0, waits, "{status}");
        assert_eq!(world.due().await.len(), usize::from(waits), "{status}");
        world.drained().await;
        world.sweep().await;
        world.drained().await;
        assert_eq!(world.at_follower().await, 4, "{status}");
        world.journal.forget().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_that_is_done_but_not_said_to_be_is_found_out() {
    let world = Mirrored::new("unsaid").await;
    world.says(503);
    world.sent(DROP, Value::Null).await;
    world.pass();
    let direction = world.mirror.direction();
    ask(&direction.authority, DROP, Value::Null).await;
    world.drained().await;
    world.sweep().await;
    let there = ask(&direction.follower, "GET /collections/c", Value::Null).await;
    assert_eq!(there, json!("no collection"));
    assert!(!direction.are_paired("c").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_nobody_knows_and_that_are_refused_leave_nothing_to_be_swept() {
    let world = Mirrored::new("unknown").await;
    for method in ["GET", "HEAD", "OPTIONS"] {
        let mut stop = world.stages.stop(Stage::AfterIntend);
        let mirror = Arc::clone(&world.mirror);
        let call = format!("{method} /no/such/route");
        let sending = task::spawn("send", async move {
            send(&mirror, &call, Value::Null).await.map(drop)
        });
        stop.reached(1).await;
        assert_eq!(world.due().await, vec![], "{method}");
        stop.go();
        drop(sending.await.unwrap());
    }
    world.says(404);
    let mut stop = world.stages.stop(Stage::AfterIntend);
    let sending = [(); 3].map(|()| {
        let mirror = Arc::clone(&world.mirror);
        task::spawn("send", async move {
            send(&mirror, "POST /no/such/route", Value::Null).await
        })
    });
    stop.reached(3).await;
    assert_eq!(world.due().await.len(), 1);
    stop.go();
    for sending in sending {
        assert_eq!(sending.await.unwrap().unwrap().status(), 404);
    }
    assert_eq!(world.due().await, vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_no_collection_can_have_leaves_no_mark() {
    let world = Mirrored::new("names").await;
    let long = "x".repeat(256);
    for name in [long.as_str(), "a%2Fb"] {
        for (method, of) in [("PUT", ""), ("PUT", "/points"), ("DELETE", "")] {
            let call = format!("{method} /collections/{name}{of}");
            let body = json!({"points": [{"id": 1, "vector": [1.0, 2.0]}]});
            let answer = send(&world.mirror, &call, body).await;
            answer.map(drop).unwrap_err();
            // Nobody would ever say that there is no such collection.
            let waiting = world.mirror.direction().waiting(None).await.unwrap();
            assert_eq!(waiting, 0, "{call}");
        }
    }
}
