//! Near hits: off unless asked for, lossy only where they say so, and never across callers.

use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

struct Docs {
    sidecar: Sidecar,
    _folder: Folder,
}

impl Docs {
    async fn new(more: &str) -> Self {
        let folder = Folder::new();
        let data = folder.path().display();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n\
             data_dir = \"{data}\"\ncache.enabled = true\n{more}\n"
        );
        let sidecar = Sidecar::with(&toml).await;
        let docs = Self {
            sidecar,
            _folder: folder,
        };
        let config = json!({"vectors": {"size": 2, "distance": "Dot"}});
        docs.put("/collections/docs", &config).await;
        docs.write(1).await;
        docs
    }

    async fn put(&self, target: &str, body: &Value) {
        let ask = Ask::new("PUT", target).json(body);
        self.sidecar.ask(&ask).await.ok();
    }

    async fn write(&self, id: u64) {
        let points = json!({"points": [{"id": id, "vector": [1.0, 1.0]}]});
        self.put("/collections/docs/points?wait=true", &points)
            .await;
    }

    async fn asks(&self, x: f64, key: &str) -> (String, Value) {
        let query = json!({"query": [x, 0.5], "limit": 5, "score_threshold": 0.1});
        let ask = Ask::new("POST", "/collections/docs/points/query").json(&query);
        let answer = self.sidecar.ask(&ask.with("api-key", key)).await.ok();
        let status = answer.head.field("x-outrigger-cache").unwrap();
        (status, answer.json()["result"].clone())
    }
}

const X: f64 = 0.300_000_01;
const NEAR_X: f64 = 0.300_000_02;

#[test]
fn a_near_question_hits_and_says_so() {
    story(async {
        let docs = Docs::new("cache.vector_rounding = 5").await;
        let (first, answer) = docs.asks(X, "a").await;
        assert_eq!(first, "miss");
        assert_eq!(
            docs.asks(NEAR_X, "a").await,
            ("hit-l1; near".to_owned(), answer.clone())
        );
        assert_eq!(docs.asks(X, "a").await, ("hit-l1".to_owned(), answer));
        assert_eq!(docs.asks(0.3001, "a").await.0, "miss");
        assert_eq!(
            docs.sidecar.metric("outrigger_cache_near_hits_total", &[]),
            1.0
        );
    });
}

#[test]
fn a_near_hit_is_for_the_same_caller_only() {
    story(async {
        let docs = Docs::new("cache.vector_rounding = 5").await;
        docs.asks(X, "a").await;
        assert_eq!(docs.asks(NEAR_X, "b").await.0, "miss");
    });
}

#[test]
fn a_near_hit_is_never_from_before_a_write() {
    story(async {
        let docs = Docs::new("cache.vector_rounding = 5").await;
        docs.asks(X, "a").await;
        docs.write(2).await;
        let (status, answer) = docs.asks(NEAR_X, "a").await;
        assert_eq!(status, "miss");
        assert_eq!(answer["points"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn unless_asked_for_nothing_is_near() {
    story(async {
        let docs = Docs::new("").await;
        docs.asks(X, "a").await;
        assert_eq!(docs.asks(NEAR_X, "a").await.0, "miss");
    });
}

#[test]
fn a_near_hit_is_no_older_than_any_other() {
    story(async {
        let more =
            "cache.vector_rounding = 5\ncache.ttl = \"100ms\"\ncache.stale_if_error = \"1h\"";
        let docs = Docs::new(more).await;
        docs.asks(X, "a").await;
        let again = async || docs.asks(NEAR_X, "a").await.0 == "miss";
        until("its time is over", again).await;
    });
}
