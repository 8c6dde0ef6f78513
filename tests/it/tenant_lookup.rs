//! The look at whose points a write is about to touch, as a Qdrant sees it.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::{Seen, Upstream, qdrant_ok};

const MORE: &str = "cache.enabled = true\ncollections.docs.tenant_key = \"user_id\"";

fn is_look_up(seen: &Seen) -> bool {
    seen.method == Method::POST && seen.target == "/collections/docs/points?consistency=majority"
}

/// A Qdrant whose only point, 1, is a's, and that answers a look-up with `status`.
async fn qdrant(status: StatusCode) -> Upstream {
    Upstream::answering(move |seen| {
        let info = json!({"config": {"params": {}}, "payload_schema": {}});
        match (seen.method.as_str(), seen.target.as_str()) {
            (_, "/aliases") => qdrant_ok(&json!({"aliases": []})),
            ("GET", "/collections/docs") => qdrant_ok(&info),
            ("POST", "/collections/docs/points/query") => qdrant_ok(&json!({"points": []})),
            _ if is_look_up(seen) => {
                let found = json!([{"id": 1, "payload": {"user_id": "a"}}]);
                let mut answer: Response<_> = qdrant_ok(&found);
                *answer.status_mut() = status;
                answer
            }
            _ => qdrant_ok(&json!({"operation_id": 1, "status": "completed"})),
        }
    })
    .await
}

async fn is_kept(sidecar: &Sidecar, user: &str) -> bool {
    let filter = json!({"must": [{"key": "user_id", "match": {"value": user}}]});
    let query: Value = json!({"query": [0.5], "filter": filter});
    let ask = Ask::new("POST", "/collections/docs/points/query").json(&query);
    let answer = sidecar.ask(&ask.with("api-key", "mine")).await.ok();
    answer.head.field("x-outrigger-cache").as_deref() == Some("hit-l1")
}

/// Whether the answers of a, b and c are still kept after b was given point 1.
async fn left_by_a_write(sidecar: &Sidecar) -> [bool; 3] {
    for user in ["a", "b", "c"] {
        is_kept(sidecar, user).await;
        assert!(is_kept(sidecar, user).await);
    }
    let point = json!({"id": 1, "vector": [0.5], "payload": {"user_id": "b"}});
    let ask = Ask::new("PUT", "/collections/docs/points?wait=true");
    let ask = ask
        .json(&json!({ "points": [point] }))
        .with("api-key", "mine");
    sidecar.ask(&ask).await.ok();
    [
        is_kept(sidecar, "a").await,
        is_kept(sidecar, "b").await,
        is_kept(sidecar, "c").await,
    ]
}

#[test]
fn whose_the_points_are_is_asked_with_the_callers_key_before_the_write_is_sent() {
    story(async {
        let upstream = qdrant(StatusCode::OK).await;
        let sidecar = Sidecar::before(&upstream.url(), MORE).await;
        assert_eq!(left_by_a_write(&sidecar).await, [false, false, true]);
        let seen = upstream.seen();
        let at = seen.iter().position(is_look_up).unwrap();
        assert_eq!(seen[at].field("api-key").as_deref(), Some("mine"));
        let asked: Value = serde_json::from_slice(&seen[at].body).unwrap();
        let wanted = json!({"ids": [1], "with_payload": ["user_id"], "with_vector": false});
        assert_eq!(asked, wanted);
        assert_eq!(seen[at + 1].method, Method::PUT);
        assert_eq!(seen.iter().filter(|seen| is_look_up(seen)).count(), 1);
    });
}

#[test]
fn a_store_that_does_not_say_whose_they_are_makes_the_write_touch_everybody() {
    story(async {
        for status in [StatusCode::FORBIDDEN, StatusCode::INTERNAL_SERVER_ERROR] {
            let upstream = qdrant(status).await;
            let sidecar = Sidecar::before(&upstream.url(), MORE).await;
            assert_eq!(left_by_a_write(&sidecar).await, [false; 3]);
            let reason = &["reason=\"look_up\""];
            assert_eq!(
                sidecar.metric("outrigger_cache_broad_writes_total", reason),
                1.0
            );
        }
    });
}

#[test]
fn two_writes_of_one_point_that_looked_at_one_time_touch_everybody() {
    story(async {
        for (other_id, left) in [(1, false), (2, true)] {
            let upstream = qdrant(StatusCode::OK).await;
            let sidecar = Sidecar::before(&upstream.url(), MORE).await;
            is_kept(&sidecar, "d").await;
            assert!(is_kept(&sidecar, "d").await);
            let write = async |id: u64, user: &str| {
                let point = json!({"id": id, "vector": [0.5], "payload": {"user_id": user}});
                let ask = Ask::new("PUT", "/collections/docs/points?wait=true");
                let ask = ask
                    .json(&json!({ "points": [point] }))
                    .with("api-key", "mine");
                sidecar.ask(&ask).await.ok();
            };
            let before = upstream.seen().len();
            upstream.hold();
            let both_look = async {
                upstream.saw(before + 2).await;
                upstream.release();
            };
            tokio::join!(write(1, "b"), write(other_id, "c"), both_look);
            assert_eq!(
                upstream
                    .seen()
                    .iter()
                    .filter(|seen| is_look_up(seen))
                    .count(),
                2
            );
            assert_eq!(is_kept(&sidecar, "d").await, left, "{other_id}");
        }
    });
}
