//! Several sidecars with one Redis: what is shared through it, and that nothing that can befall a
//! Redis makes an answer wrong or a request fail.
//!
//! Told with a store that counts its writes and says the count in every answer to a read, so that
//! an answer from before a write is known by sight.

mod faults;
mod sharing;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;
use serde_json::json;

use crate::support::ask::Ask;
use crate::support::redis::Redis;
use crate::support::sidecar::Sidecar;
use crate::support::until;
use crate::support::upstream::{Seen, Upstream, qdrant_ok};

/// The first tier forgets at once, so that the second is asked.
const SHORT: &str = "cache.ttl = \"1ms\"";
const UP: &str = "outrigger_cache_tier_up";
const L1: &str = "tier=\"l1\"";
const L2: &str = "tier=\"l2\"";
const UNSHARED: &str = "outrigger_cache_unshared_scopes";
const UNTOLD: &str = "outrigger_cache_untold_writes_total";
const MESSAGES: &str = "outrigger_cache_messages_total";

/// A store, a Redis, and sidecars between them.
struct Fleet {
    redis: Redis,
    upstream: Upstream,
    writes: Arc<AtomicU64>,
    sidecars: Vec<Sidecar>,
}

/// An answer to a read: how many writes the store had seen, and what the sidecar did.
struct Told {
    writes: u64,
    by: String,
    body: Vec<u8>,
    fields: Vec<(String, String)>,
}

impl Fleet {
    async fn new(count: usize, more: &str) -> Self {
        Self::before(Redis::start().await, count, more).await
    }

    async fn before(redis: Redis, count: usize, more: &str) -> Self {
        let fleet = Self::unconnected(redis, count, more).await;
        for sidecar in &fleet.sidecars {
            up(sidecar).await;
        }
        fleet
    }

    /// Does not wait for the sidecars to reach Redis.
    async fn unconnected(redis: Redis, count: usize, more: &str) -> Self {
        let writes = Arc::new(AtomicU64::new(0));
        let own = Arc::clone(&writes);
        let upstream = Upstream::answering(move |seen| {
            if seen.target == "/aliases" {
                return qdrant_ok(&json!({"aliases": []}));
            }
            if seen.method == Method::PUT {
                own.fetch_add(1, Ordering::SeqCst);
                return qdrant_ok(&json!({"operation_id": 1, "status": "completed"}));
            }
            if seen.method == Method::GET {
                return qdrant_ok(&json!({"payload_schema": {}}));
            }
            let asked = String::from_utf8_lossy(&seen.body).into_owned();
            let fill = if asked.contains("long") {
                "x".repeat(20_000)
            } else {
                String::new()
            };
            let writes = own.load(Ordering::SeqCst);
            qdrant_ok(&json!({"writes": writes, "asked": asked, "fill": fill}))
        })
        .await;
        let mut fleet = Self {
            redis,
            upstream,
            writes,
            sidecars: Vec::new(),
        };
        for _ in 0..count {
            fleet.join(more).await;
        }
        fleet
    }

    /// One sidecar more.
    async fn join(&mut self, more: &str) {
        let url = if more.contains("redis_url") {
            String::new()
        } else {
            format!("cache.redis_url = \"{}\"\n", self.redis.url())
        };
        let more = format!("cache.enabled = true\n{url}{more}");
        let sidecar = Sidecar::before(&self.upstream.url(), &more).await;
        self.sidecars.push(sidecar);
    }

    /// Asks one sidecar a question, and expects an answer of this moment.
    async fn ask(&self, at: usize, question: &str) -> Told {
        let told = self.ask_loosely(at, question).await;
        let now = self.writes.load(Ordering::SeqCst);
        assert_eq!(
            told.writes, now,
            "an answer from before a write, by {}",
            told.by
        );
        told
    }

    async fn ask_loosely(&self, at: usize, question: &str) -> Told {
        let answer = self.sidecars[at].ask(&search(question)).await.ok();
        let writes = answer.json()["result"]["writes"].as_u64().unwrap();
        let by = answer.head.field("x-outrigger-cache").unwrap();
        let fields = ["content-type", "x-outrigger-store"];
        let fields = fields.map(|name| (name.to_owned(), answer.head.field(name).unwrap()));
        Told {
            writes,
            by,
            body: answer.body,
            fields: fields.into(),
        }
    }

    async fn write(&self, at: usize) {
        self.sidecars[at].ask(&upsert()).await.ok();
    }

    /// Writes, and says whether Redis knew of it when the answer left. Where that took too long it
    /// returns when Redis knows: until then the others may answer as before.
    async fn write_that_is_told(&self, at: usize) -> bool {
        let sidecar = &self.sidecars[at];
        let untold = sidecar.metric(UNTOLD, &[]);
        self.write(at).await;
        let told = sidecar.metric(UNTOLD, &[]) == untold;
        if !told {
            let known = async || sidecar.metric(UNSHARED, &[]) == 0.0;
            until("Redis knows of the write", known).await;
        }
        told
    }

    /// Writes at one sidecar, and returns when another has heard that the write began and that it
    /// has ended. At once they might be told as one.
    async fn is_heard_to_write(&self, at: usize, write: &Ask, by: usize) {
        let is_write = |seen: &Seen| seen.method == Method::PUT;
        let seen = usize::try_from(self.writes.load(Ordering::SeqCst)).unwrap();
        let other = &self.sidecars[by];
        let heard = other.metric(MESSAGES, &[]);
        self.upstream.hold_only(is_write);
        let meanwhile = async {
            self.upstream.saw_of(is_write, seen + 1).await;
            other.until_metric(MESSAGES, &[], heard + 1.0).await;
            self.upstream.release();
        };
        let (answer, ()) = tokio::join!(self.sidecars[at].ask(write), meanwhile);
        answer.ok();
        other.until_metric(MESSAGES, &[], heard + 2.0).await;
    }

    /// Has Redis keep an answer, by way of a sidecar that forgets it at once. The first answer is
    /// not kept there if a token has to be made first, and filling takes its time.
    async fn keep(&self, at: usize, question: &str) -> Told {
        let hit = async || self.ask(at, question).await.by == "hit-l2";
        until("Redis has the answer", hit).await;
        loop {
            let told = self.ask(at, question).await;
            if told.by == "hit-l2" {
                return told;
            }
        }
    }

    /// Has one sidecar find in Redis what another has put there, and returns the question. Where
    /// that took too long it is a miss, and another one is asked.
    async fn find(&self, keeper: usize, finder: usize) -> String {
        let mut number = 0;
        loop {
            number += 1;
            let question = format!("found {number}");
            self.keep(keeper, &question).await;
            if self.ask(finder, &question).await.by == "hit-l2" {
                return question;
            }
        }
    }

    async fn entries(&self) -> usize {
        self.redis.keys("outrigger:e:*").await.len()
    }
}

async fn up(sidecar: &Sidecar) {
    until("both tiers serve", async || {
        sidecar.metric(UP, &[L1]) >= 1.0 && sidecar.metric(UP, &[L2]) >= 1.0
    })
    .await;
}

async fn down(sidecar: &Sidecar) {
    until("Redis is found lost", async || {
        sidecar.metric(UP, &[L2]) < 1.0
    })
    .await;
}

/// The same words are the same question.
fn search(question: &str) -> Ask {
    let body = json!({"query": [0.1, 0.2], "with_payload": [question]});
    Ask::post("/collections/docs/points/query", body.to_string())
}

fn upsert() -> Ask {
    let body = r#"{"points": [{"id": 1, "vector": [0.1, 0.2]}]}"#;
    Ask::put("/collections/docs/points?wait=true", body)
}
