//! A kept answer is byte for byte the one that was given first, for every call that is kept, told
//! with a store that really answers them.

use std::collections::BTreeMap;

use http::Method;
use outrigger::cache::Policy;
use outrigger::model::Operation;
use outrigger::wire;
use serde_json::{Value, json};

use super::says_cache;
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::story;

/// What belongs to the one answer.
const OF_ONE_ANSWER: [&str; 3] = ["date", "x-request-id", "x-outrigger-cache"];

async fn filled() -> (Folder, Sidecar) {
    let data = Folder::new();
    let toml = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n\
         data_dir = \"{}\"\n",
        data.path().display()
    );
    let sidecar = Sidecar::with(&toml).await;
    let points: Vec<Value> = (1..=30)
        .map(|id| {
            let text = "the payload of a point, long enough to be worth compressing ".repeat(5);
            let payload = json!({"user": format!("u{}", id % 3), "text": text});
            json!({"id": id, "vector": [id, 30 - id], "payload": payload})
        })
        .collect();
    let index = json!({"field_name": "user", "field_schema": "keyword"});
    let alias = json!({"actions": [
        {"create_alias": {"collection_name": "docs", "alias_name": "live"}},
    ]});
    for (method, target, body) in [
        (
            "PUT",
            "/collections/docs",
            json!({"vectors": {"size": 2, "distance": "Dot"}}),
        ),
        ("PUT", "/collections/docs/index?wait=true", index),
        (
            "PUT",
            "/collections/docs/points?wait=true",
            json!({ "points": points }),
        ),
        ("POST", "/collections/aliases", alias),
    ] {
        sidecar
            .ask(&Ask::new(method, target).json(&body))
            .await
            .ok();
    }
    (data, sidecar)
}

/// One request of every call that is kept.
fn asks() -> Vec<(&'static str, &'static str, Value)> {
    let by_user = json!({"must": [{"key": "user", "match": {"value": "u1"}}]});
    let query = json!({"query": [1.0, 0.5], "with_payload": true, "filter": by_user});
    let search = json!({"vector": [1.0, 0.5], "limit": 5, "with_payload": true});
    let groups = json!({"vector": [1.0, 0.5], "group_by": "user", "limit": 2, "group_size": 2});
    let recommend = json!({"positive": [1, 2], "negative": [3], "limit": 5});
    let discover = json!({"target": 1, "context": [{"positive": 2, "negative": 3}], "limit": 5});
    let query_groups = json!({"query": [1.0, 0.5], "group_by": "user"});
    let recommend_groups =
        json!({"positive": [1], "group_by": "user", "limit": 2, "group_size": 2});
    vec![
        ("GET", "/collections", Value::Null),
        ("GET", "/collections/docs", Value::Null),
        ("GET", "/collections/docs/exists", Value::Null),
        ("GET", "/collections/docs/aliases", Value::Null),
        ("GET", "/aliases", Value::Null),
        ("GET", "/collections/live/points/7", Value::Null),
        (
            "POST",
            "/collections/docs/points",
            json!({"ids": [1, 2], "with_payload": true}),
        ),
        (
            "POST",
            "/collections/docs/points/scroll",
            json!({"limit": 20, "filter": by_user}),
        ),
        (
            "POST",
            "/collections/docs/points/count",
            json!({"exact": true, "filter": by_user}),
        ),
        ("POST", "/collections/docs/facet", json!({"key": "user"})),
        ("POST", "/collections/live/points/query", query.clone()),
        (
            "POST",
            "/collections/docs/points/query/batch",
            json!({"searches": [query, {}]}),
        ),
        (
            "POST",
            "/collections/docs/points/query/groups",
            query_groups,
        ),
        ("POST", "/collections/docs/points/search", search.clone()),
        (
            "POST",
            "/collections/docs/points/search/batch",
            json!({"searches": [search]}),
        ),
        ("POST", "/collections/docs/points/search/groups", groups),
        (
            "POST",
            "/collections/docs/points/recommend",
            recommend.clone(),
        ),
        (
            "POST",
            "/collections/docs/points/recommend/batch",
            json!({"searches": [recommend]}),
        ),
        (
            "POST",
            "/collections/docs/points/recommend/groups",
            recommend_groups,
        ),
        (
            "POST",
            "/collections/docs/points/discover",
            discover.clone(),
        ),
        (
            "POST",
            "/collections/docs/points/discover/batch",
            json!({"searches": [discover]}),
        ),
    ]
}

fn without_its_own(answer: &Answer) -> BTreeMap<String, Vec<u8>> {
    let fields = answer.head.fields.iter().cloned();
    fields
        .filter(|(name, _)| !OF_ONE_ANSWER.contains(&&**name))
        .collect()
}

fn assert_same(first: &Answer, again: &Answer, what: &str) {
    assert_eq!(first.head.start, again.head.start, "{what}");
    assert_eq!(without_its_own(first), without_its_own(again), "{what}");
    assert_eq!(first.body, again.body, "{what}");
}

#[test]
fn the_table_has_every_call_that_is_kept() {
    let operations = asks().into_iter().map(|(method, target, _)| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        wire::recognise(&method, target).operation.as_str()
    });
    let mut operations: Vec<&str> = operations.collect();
    let kept = Operation::ALL
        .into_iter()
        .filter(|operation| Policy::keeps(*operation));
    let mut kept: Vec<&str> = kept.map(Operation::as_str).collect();
    operations.sort_unstable();
    kept.sort_unstable();
    assert_eq!(operations, kept);
}

#[test]
fn a_hit_is_byte_for_byte_the_miss_that_filled_it() {
    story(async {
        let (_data, sidecar) = filled().await;
        let mut compressed = 0;
        for (method, target, body) in asks() {
            for encoding in [None, Some("gzip"), Some("br"), Some("zstd")] {
                let mut ask = Ask::new(method, target);
                if !body.is_null() {
                    ask = ask.json(&body);
                }
                if let Some(encoding) = encoding {
                    ask = ask.with("accept-encoding", encoding);
                }
                let what = format!("{method} {target} {encoding:?}");
                let first = sidecar.ask(&ask).await.ok();
                assert_eq!(says_cache(&first), "miss", "{what}");
                let again = sidecar.ask(&ask).await.ok();
                assert_eq!(says_cache(&again), "hit-l1", "{what}");
                assert_same(&first, &again, &what);
                let field = first.head.field("content-encoding");
                assert!(field.is_none() || field.as_deref() == encoding, "{what}");
                compressed += usize::from(field.is_some());
            }
        }
        assert!(
            compressed > 9,
            "{compressed} of the answers were compressed"
        );
    });
}

#[test]
fn whoever_shares_an_answer_gets_it_byte_for_byte() {
    story(async {
        let (_data, sidecar) = filled().await;
        let (method, target, body) = asks().swap_remove(10);
        let ask = Ask::new(method, target).json(&body);
        let first = sidecar.ask(&ask).await.ok();
        let mut other = ask.clone();
        for _ in 0..20 {
            // Another question, to the same end: what comes of it is not of the first.
            other = other.with("accept-encoding", "identity");
            let answers = tokio::join!(sidecar.ask(&other), sidecar.ask(&other));
            assert_same(&answers.0, &answers.1, "together");
        }
        assert_same(&first, &sidecar.ask(&ask).await, "again");
    });
}
