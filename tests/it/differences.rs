//! Where the stores of ours knowingly answer otherwise than Qdrant. Each difference stands in the
//! README's table of them, and here is what it looks like.

use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::process::Process;
use crate::support::story;
use crate::support::wire::Wire;

const TOML: &str =
    "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n";
const POINTS: u64 = 20;

struct Docs(Process);

impl Docs {
    /// A collection of a few points, of which every second is the same but for its id.
    async fn new() -> Self {
        let docs = Self(Process::start(TOML, &[]).await);
        let config = json!({"vectors": {
            "": {"size": 2, "distance": "Dot"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        }});
        docs.ok("PUT", "/collections/docs", &config).await;
        let index = json!({"field_name": "kind", "field_schema": "keyword"});
        docs.ok("PUT", "/collections/docs/index?wait=true", &index)
            .await;
        let points: Vec<Value> = (1..=POINTS)
            .map(|id| json!({"id": id, "vector": [1.0, id / 2], "payload": {"kind": "a"}}))
            .collect();
        docs.write("PUT", "points", &json!({ "points": points }))
            .await;
        docs
    }

    async fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        let ask = Ask::new(method, target).json(body);
        ask.over(&mut Wire::connect(self.0.proxy).await).await
    }

    async fn ok(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.ask(method, target, body).await;
        assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
        answer.json()["result"].clone()
    }

    async fn write(&self, method: &str, path: &str, body: &Value) -> Value {
        let target = format!("/collections/docs/{path}?wait=true");
        self.ok(method, &target, body).await
    }

    async fn read(&self, path: &str, body: &Value) -> Value {
        let target = format!("/collections/docs/{path}");
        self.ok("POST", &target, body).await
    }

    async fn refused(&self, path: &str, body: &Value) -> String {
        let target = format!("/collections/docs/{path}");
        self.ask("POST", &target, body).await.refusal(400)
    }
}

#[test]
fn a_value_that_no_point_has_any_more_is_not_counted_with_nought() {
    story(async {
        let docs = Docs::new().await;
        let payload = json!({"payload": {"kind": "b"}, "points": [1]});
        docs.write("POST", "points/payload", &payload).await;
        let back = json!({"payload": {"kind": "a"}, "points": [1]});
        docs.write("POST", "points/payload", &back).await;
        let facet = docs
            .read("facet", &json!({"key": "kind", "exact": true}))
            .await;
        assert_eq!(facet["hits"], json!([{"value": "a", "count": POINTS}]));
    });
}

#[test]
fn an_offset_past_a_limit_that_means_everything_does_not_wrap_around() {
    story(async {
        let docs = Docs::new().await;
        let query = json!({"query": [1.0, 0.0], "limit": u64::MAX, "offset": 5});
        let found = docs.read("points/query", &query).await;
        let found = found["points"].as_array().unwrap();
        assert_eq!(found.len() as u64, POINTS - 5);
    });
}

#[test]
fn of_equal_ranks_in_a_fusion_any_may_be_the_one_that_is_kept() {
    story(async {
        let docs = Docs::new().await;
        let prefetch = json!([
            {"query": [0.0, 1.0], "limit": 5},
            {"query": [0.0, -1.0], "limit": 5},
        ]);
        let query = json!({"prefetch": prefetch, "query": {"fusion": "rrf"}, "limit": 3});
        for _ in 0..20 {
            let found = docs.read("points/query", &query).await;
            let found = found["points"].as_array().unwrap();
            let scores: Vec<f64> = found
                .iter()
                .map(|hit| hit["score"].as_f64().unwrap())
                .collect();
            let near = |(score, wanted): (&f64, f64)| (score - wanted).abs() < 1e-6;
            assert!(
                scores.iter().zip([0.5, 0.5, 1.0 / 3.0]).all(near),
                "{found:?}"
            );
        }
    });
}

#[test]
fn payloads_are_weighed_as_they_stand_and_not_as_they_lie_on_disk() {
    story(async {
        let docs = Docs::new().await;
        let strict = json!({"strict_mode_config": {
            "enabled": true, "max_collection_payload_size_bytes": 4096,
        }});
        docs.ok("PATCH", "/collections/docs", &strict).await;
        // Each of these takes a block of Qdrant's disk, and 36 of them its limit.
        for round in 0..100 {
            let payload = json!({"payload": {"round": round}, "points": [1]});
            docs.write("POST", "points/payload", &payload).await;
        }
    });
}

#[test]
fn groups_of_more_points_than_memory_holds_are_refused() {
    story(async {
        let docs = Docs::new().await;
        let groups = json!({
            "query": [1.0, 0.0], "group_by": "kind", "limit": 65_536, "group_size": 65_536,
        });
        let text = docs.refused("points/query/groups", &groups).await;
        assert!(text.contains("group_size times limit"), "{text}");
    });
}

#[test]
fn rows_of_ones_and_noughts_under_the_name_of_a_multi_vector_are_rows() {
    story(async {
        let docs = Docs::new().await;
        let point = json!({"id": 1, "vector": {"rows": [[1, 0], [0, 1]]}});
        docs.write("PUT", "points", &json!({"points": [point]}))
            .await;
        let found = docs
            .read("points", &json!({"ids": [1], "with_vector": ["rows"]}))
            .await;
        assert_eq!(found[0]["vector"]["rows"], json!([[1.0, 0.0], [0.0, 1.0]]));
    });
}

#[test]
fn a_kept_answer_does_not_count_towards_a_limit_on_reads() {
    story(async {
        let docs = Docs::new().await;
        let strict = json!({"strict_mode_config": {"enabled": true, "read_rate_limit": 1}});
        docs.ok("PATCH", "/collections/docs", &strict).await;
        let scroll = json!({"limit": 3});
        let first = docs.read("points/scroll", &scroll).await;
        // The store is not asked, so it has nothing to count.
        assert_eq!(docs.read("points/scroll", &scroll).await, first);
        let answer = docs
            .ask(
                "POST",
                "/collections/docs/points/scroll",
                &json!({"limit": 4}),
            )
            .await;
        assert_eq!(answer.status(), 429, "{}", answer.text());
    });
}
