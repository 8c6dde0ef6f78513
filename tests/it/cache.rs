//! What the cache promises, from outside: what is asked of the store and what is not, and that no
//! client is ever told what was so before a write it could know of.
//!
//! Most of it is told with a store that numbers its answers, so that an old one is known by sight.

mod askers;
mod every_operation;
mod flights;
mod keeping;
mod names;
mod stale;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use outrigger::task;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::ask::{Answer, Ask};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::{Seen, Upstream, qdrant_ok};

/// Longer than a story.
const NEVER: &str = "cache.settle_ms = 3600000";
const AT_ONCE: &str = "cache.settle_ms = 0";

/// What the store says from now on.
struct Says {
    /// Pairs of alias and collection.
    aliases: Vec<(&'static str, &'static str)>,
    aliases_status: StatusCode,
    read_status: StatusCode,
    read_fields: HeaderMap,
    /// Bytes that an answer is filled up with.
    read_bytes: usize,
    write_status: StatusCode,
    write_result: Value,
}

/// A store that numbers its answers to reads, before a sidecar with a cache.
struct Scene {
    upstream: Upstream,
    sidecar: Sidecar,
    says: Arc<Mutex<Says>>,
    reads: watch::Receiver<usize>,
}

impl Scene {
    async fn new(more: &str) -> Self {
        let says = Arc::new(Mutex::new(Says {
            aliases: Vec::new(),
            aliases_status: StatusCode::OK,
            read_status: StatusCode::OK,
            read_fields: HeaderMap::new(),
            read_bytes: 0,
            write_status: StatusCode::OK,
            write_result: json!({"operation_id": 1, "status": "completed"}),
        }));
        let (count, reads) = watch::channel(0);
        let own = Arc::clone(&says);
        let upstream = Upstream::answering(move |seen| answer(&own.lock(), &count, seen)).await;
        let more = format!("cache.enabled = true\n{more}");
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        Self {
            upstream,
            sidecar,
            says,
            reads,
        }
    }

    /// How often the store was asked to read.
    fn reads(&self) -> usize {
        *self.reads.borrow()
    }

    async fn saw_reads(&self, count: usize) {
        let mut reads = self.reads.clone();
        reads.wait_for(|seen| *seen >= count).await.unwrap();
    }

    /// Waits until one more write has arrived at the store than `before`.
    async fn saw_write(&self, before: usize) {
        self.upstream.saw_of(is_write, before + 1).await;
    }

    /// How many writes have arrived at the store.
    fn writes(&self) -> usize {
        self.upstream
            .seen()
            .iter()
            .filter(|seen| is_write(seen))
            .count()
    }

    async fn ask(&self, ask: &Ask) -> Told {
        Told::of(&self.sidecar.ask(ask).await.ok())
    }

    /// Asks, and expects the store to have been asked.
    async fn miss(&self, ask: &Ask) -> Told {
        let before = self.reads();
        let told = self.ask(ask).await;
        assert_eq!((&*told.by, told.number), ("miss", before + 1));
        told
    }

    /// Asks, and expects an answer that was kept.
    async fn hit(&self, ask: &Ask) -> Told {
        let before = self.reads();
        let told = self.ask(ask).await;
        assert_eq!((&*told.by, self.reads()), ("hit-l1", before));
        told
    }

    /// Asks twice: what the store said is kept now.
    async fn keep(&self, ask: &Ask) {
        let told = self.miss(ask).await;
        assert_eq!(self.hit(ask).await.number, told.number);
    }

    /// Asks without waiting for the answer.
    async fn send(&self, ask: &Ask) -> JoinHandle<Answer> {
        let mut wire = self.sidecar.connect().await;
        wire.send(ask.bytes()).await;
        task::spawn("client", async move {
            Answer::read(&mut wire, "POST").await.unwrap()
        })
    }

    async fn write(&self, ask: &Ask) -> Answer {
        self.sidecar.ask(ask).await
    }

    fn bypassed(&self, reason: &str) -> f64 {
        let label = format!("reason=\"{reason}\"");
        self.sidecar
            .metric("outrigger_cache_bypasses_total", &[&label])
    }
}

/// An answer to a read: its number at the store, and what the sidecar did.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Told {
    number: usize,
    by: String,
}

impl Told {
    fn of(answer: &Answer) -> Self {
        let number = answer.json()["result"]["number"].as_u64().unwrap();
        Self {
            number: usize::try_from(number).unwrap(),
            by: says_cache(answer),
        }
    }
}

fn says_cache(answer: &Answer) -> String {
    answer.head.field("x-outrigger-cache").unwrap()
}

fn answer(says: &Says, reads: &watch::Sender<usize>, seen: &Seen) -> Response<Bytes> {
    if is_aliases(seen) {
        let aliases = says.aliases.iter();
        let aliases: Vec<Value> = aliases
            .map(|(alias, name)| json!({"alias_name": alias, "collection_name": name}))
            .collect();
        let mut answer = qdrant_ok(&json!({ "aliases": aliases }));
        *answer.status_mut() = says.aliases_status;
        return answer;
    }
    if is_description(seen) {
        return qdrant_ok(&json!({"payload_schema": {}}));
    }
    if is_write(seen) {
        let mut answer = qdrant_ok(&says.write_result);
        *answer.status_mut() = says.write_status;
        return answer;
    }
    let mut number = 0;
    reads.send_modify(|count| {
        *count += 1;
        number = *count;
    });
    let mut answer = qdrant_ok(&json!({"number": number, "fill": "x".repeat(says.read_bytes)}));
    *answer.status_mut() = says.read_status;
    answer.headers_mut().extend(says.read_fields.clone());
    answer
}

fn is_aliases(seen: &Seen) -> bool {
    seen.method == Method::GET && seen.target == "/aliases"
}

fn is_write(seen: &Seen) -> bool {
    let posted = [
        "/delete",
        "/payload",
        "/clear",
        "points/batch",
        "/aliases",
        "/route",
    ];
    let path = seen.target.split('?').next().unwrap_or_default();
    [Method::PUT, Method::PATCH, Method::DELETE].contains(&seen.method)
        || (seen.method == Method::POST && posted.iter().any(|end| path.ends_with(end)))
}

/// The sidecar asks what a collection is before it writes to it. A client that asks so writes a
/// question mark.
fn is_description(seen: &Seen) -> bool {
    let name = seen.target.strip_prefix("/collections/");
    seen.method == Method::GET && name.is_some_and(|name| !name.contains(['/', '?']))
}

fn is_read(seen: &Seen) -> bool {
    !is_aliases(seen) && !is_description(seen) && !is_write(seen)
}

fn search(collection: &str) -> Ask {
    let target = format!("/collections/{collection}/points/query");
    Ask::post(&target, r#"{"query": [0.1, 0.2]}"#)
}

fn upsert(collection: &str) -> Ask {
    let target = format!("/collections/{collection}/points?wait=true");
    Ask::put(&target, r#"{"points": [{"id": 1, "vector": [0.1, 0.2]}]}"#)
}

fn switch_aliases() -> Ask {
    Ask::post("/collections/aliases", r#"{"actions": []}"#)
}
