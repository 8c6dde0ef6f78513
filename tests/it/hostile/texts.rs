//! Names, keys and values of which a store might make something else than what they are: text of a
//! statement, the end of a string, a number that is none.

use serde_json::{Value, json};

use super::Victim;

const TEXTS: [&str; 16] = [
    "'; drop schema qdc cascade; --",
    "\"; drop table qd_data.c1; --",
    "') or 1=1 --",
    "$1",
    "%s%n{}",
    "\\'; select pg_sleep(60); --",
    "E'\\x00'",
    "a\\",
    "\u{0}",
    "a\u{0}b",
    "\u{F8FF}\u{F8FA}",
    "\u{202e}\u{feff}",
    "😀",
    "a\nb\tc",
    "$.a ? (@ == 1)",
    " ",
];

/// In a path everything is written as its bytes.
fn in_path(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The path of a payload that means a key of just this text.
fn quoted(text: &str) -> String {
    format!("\"{text}\"")
}

async fn bears(victim: &Victim, method: &str, target: &str, body: &Value) -> u16 {
    let answer = victim.ask(method, target, body).await;
    let status = answer.status();
    if status != 200 {
        // 501 is an honest no; all else is a fault of the client's.
        assert!(
            (400..500).contains(&status),
            "{method} {target} {body}: {}",
            answer.text()
        );
        answer.refusal(status);
    }
    status
}

pub(super) async fn in_every_name(victim: &Victim) {
    for text in TEXTS {
        let target = format!("/collections/{}", in_path(text));
        let config = json!({
            "vectors": {text: {"size": 2, "distance": "Dot"}},
            "sparse_vectors": {format!("{text}2"): {"modifier": "idf"}},
            "metadata": {text: text},
        });
        let alias = json!({"actions": [
            {"create_alias": {"collection_name": "docs", "alias_name": text}},
        ]});
        let is_made = bears(victim, "PUT", &target, &config).await == 200;
        let index = json!({"field_name": quoted(text), "field_schema": "keyword"});
        let point = json!({"points": [{
            "id": 1, "payload": {text: text, "in": {text: [text]}},
            "vector": {text: [1.0, 2.0], format!("{text}2"): {"indices": [1], "values": [1.0]}},
        }]});
        bears(victim, "PUT", &format!("{target}/index?wait=true"), &index).await;
        bears(victim, "PUT", &format!("{target}/points?wait=true"), &point).await;
        let using = json!({"query": [1.0, 1.0], "using": text, "with_vector": [text]});
        bears(victim, "POST", &format!("{target}/points/query"), &using).await;
        let name = in_path(text);
        let late = json!({"dense": {"size": 3, "distance": "Euclid"}});
        bears(victim, "PUT", &format!("{target}/vectors/{name}3"), &late).await;
        bears(
            victim,
            "DELETE",
            &format!("{target}/vectors/{name}3"),
            &Value::Null,
        )
        .await;
        if is_made {
            let all = json!({"ids": [1], "with_payload": true, "with_vector": true});
            let found = victim.ok("POST", &format!("{target}/points"), &all).await;
            assert_eq!(
                found[0]["payload"],
                json!({text: text, "in": {text: [text]}})
            );
            assert_eq!(found[0]["vector"][text], json!([1.0, 2.0]), "{text:?}");
            let hits = victim
                .ok("POST", &format!("{target}/points/query"), &using)
                .await;
            assert_eq!(hits["points"][0]["score"], json!(3.0), "{text:?}");
            let listed = victim.ok("GET", "/collections", &Value::Null).await;
            assert!(
                listed["collections"].to_string().contains("docs"),
                "{listed}"
            );
            let info = victim.ok("GET", &target, &Value::Null).await;
            assert_eq!(info["config"]["metadata"], json!({text: text}));
            victim.ok("DELETE", &target, &Value::Null).await;
        }
        if bears(victim, "POST", "/collections/aliases", &alias).await == 200 {
            let listed = victim.ok("GET", "/aliases", &Value::Null).await;
            let expected = json!([{"alias_name": text, "collection_name": "docs"}]);
            assert_eq!(listed["aliases"], expected);
            let delete = json!({"actions": [{"delete_alias": {"alias_name": text}}]});
            victim.ok("POST", "/collections/aliases", &delete).await;
        }
        for path in ["aliases", "exists", "snapshots", "cluster"] {
            bears(
                victim,
                "GET",
                &format!("/collections/{name}/{}", in_path(path)),
                &Value::Null,
            )
            .await;
        }
    }
}

/// A point under each text, found by it again and by nothing else.
pub(super) async fn in_every_value(victim: &Victim) {
    let config = json!({"vectors": {"size": 1, "distance": "Dot"}});
    victim.ok("PUT", "/collections/texts", &config).await;
    let points: Vec<Value> = (1..).zip(TEXTS).map(|(id, text)| {
        let long = text.repeat(1 + 3000 / text.len());
        json!({"id": id, "vector": [1.0], "payload": {"k": text, text: id, "long": long, "o": [{text: text}]}})
    }).collect();
    let points = json!({ "points": points });
    victim
        .ok("PUT", "/collections/texts/points?wait=true", &points)
        .await;
    for round in 0..2 {
        if round == 1 {
            for (field, schema) in [
                ("k", json!("keyword")),
                ("long", json!({"type": "text", "tokenizer": "whitespace"})),
                ("o[].k", json!("keyword")),
            ] {
                let index = json!({"field_name": field, "field_schema": schema});
                victim
                    .ok("PUT", "/collections/texts/index?wait=true", &index)
                    .await;
            }
        }
        for (id, text) in (1..).zip(TEXTS) {
            let count = async |filter: Value| {
                let body = json!({"filter": filter, "exact": true});
                let found = victim
                    .ok("POST", "/collections/texts/points/count", &body)
                    .await;
                found["count"].as_u64().unwrap()
            };
            let said = format!("round {round} {text:?}");
            let matched = json!({"must": [{"key": "k", "match": {"value": text}}]});
            assert_eq!(count(matched.clone()).await, 1, "{said}");
            let any = json!({"must": [{"key": "k", "match": {"any": [text, "none"]}}]});
            assert_eq!(count(any).await, 1, "{said}");
            let except = json!({"must": [{"key": "k", "match": {"except": [text]}}]});
            assert_eq!(count(except).await, TEXTS.len() as u64 - 1, "{said}");
            let path = quoted(text);
            // A path has no way to write a key with these in it.
            if !text.contains(['"', '\\']) {
                let by_key = json!({"must": [{"key": path, "match": {"value": id}}]});
                assert_eq!(count(by_key).await, 1, "{said}");
                let nested = json!({"must": [{"nested": {"key": "o", "filter": {"must": [
                    {"key": path, "match": {"value": text}},
                ]}}}]});
                assert_eq!(count(nested).await, 1, "{said}");
            }

            let collection = "/collections/texts";
            for (path, body) in [
                (
                    "points/scroll",
                    json!({"filter": matched, "with_payload": [path]}),
                ),
                (
                    "points/scroll",
                    json!({"filter": {"must": [{"key": text, "match": {"text": text}}]}}),
                ),
                (
                    "points/scroll",
                    json!({"filter": {"must": [{"key": "long", "match": {"phrase": text}}]}}),
                ),
                (
                    "points/scroll",
                    json!({"filter": {"must": [{"has_vector": text}]}}),
                ),
                (
                    "points/scroll",
                    json!({"filter": {"must": [{"has_id": [text]}]}}),
                ),
                (
                    "points/scroll",
                    json!({"filter": {"must": [{"key": "k", "range": {"lt": text}}]}}),
                ),
                (
                    "points/scroll",
                    json!({"order_by": {"key": path, "start_from": text}}),
                ),
                ("points/scroll", json!({"order_by": text})),
                ("points/scroll", json!({"offset": text})),
                (
                    "points/scroll",
                    json!({"with_payload": {"exclude": [text]}, "with_vector": [text]}),
                ),
                ("points/scroll", json!({"shard_key": text})),
                ("points", json!({"ids": [text]})),
                ("points/delete", json!({"points": [text]})),
                (
                    "points/vectors/delete",
                    json!({"points": [1], "vector": [text]}),
                ),
                (
                    "points/payload/delete?wait=true",
                    json!({"points": [999], "keys": [text, path]}),
                ),
                (
                    "points/payload?wait=true",
                    json!({"payload": {}, "points": [1], "key": text}),
                ),
                ("facet", json!({"key": text})),
                ("facet", json!({"key": path})),
                ("points/query", json!({"query": text})),
                ("points/query", json!({"query": {"fusion": text}})),
                (
                    "points/query",
                    json!({"query": {"formula": text, "defaults": {text: 1.0}}}),
                ),
                (
                    "points/query",
                    json!({"query": {"formula": {"sum": ["$score", path]}}, "prefetch": {"query": [1.0]}}),
                ),
                ("points/query", json!({"query": [1.0], "using": text})),
                (
                    "points/query",
                    json!({"query": 1, "lookup_from": {"collection": text, "vector": text}}),
                ),
                (
                    "points/query/groups",
                    json!({"query": [1.0], "group_by": path}),
                ),
                (
                    "points/query/groups",
                    json!({"query": [1.0], "group_by": text, "with_lookup": text}),
                ),
                (
                    "points/search",
                    json!({"vector": {"name": text, "vector": [1.0]}, "limit": 1}),
                ),
            ] {
                bears(victim, "POST", &format!("{collection}/{path}"), &body).await;
            }
        }
    }
    let counted = victim
        .ok("POST", "/collections/texts/points/count", &json!({}))
        .await;
    assert_eq!(counted["count"], TEXTS.len());
}

/// A million characters, wherever characters may stand.
pub(super) async fn a_megabyte_of_text(victim: &Victim) {
    let long = "not-for-the-log ".repeat(65_536);
    let solid = "x".repeat(1 << 20);
    for (field, schema) in [("big", json!("keyword")), ("words", json!("text"))] {
        let index = json!({"field_name": field, "field_schema": schema});
        victim
            .ok("PUT", "/collections/docs/index?wait=true", &index)
            .await;
    }
    for text in [&long, &solid] {
        let payload = json!({"big": text, "words": text, text: 1});
        let points = json!({"points": [{"id": 1, "vector": {}, "payload": payload}]});
        let target = "/collections/docs/points";
        bears(victim, "PUT", &format!("{target}?wait=true"), &points).await;
        let found = victim.ok("GET", &format!("{target}/1"), &Value::Null).await;
        assert!(found["payload"] == payload, "it comes back otherwise");
        for (field, operator) in [("big", "value"), ("words", "text")] {
            let filter = json!({"must": [{"key": field, "match": {operator: text}}]});
            let body = json!({"filter": filter, "exact": true});
            let found = victim.ok("POST", &format!("{target}/count"), &body).await;
            assert_eq!(found["count"], 1, "{field} {operator}");
        }
        let by_key = json!({"must": [{"key": quoted(text), "match": {"value": 1}}]});
        for (path, body) in [
            ("points/count", json!({"filter": by_key})),
            (
                "points/scroll",
                json!({"filter": {"must": [{"key": "date", "range": {"gt": text}}]}}),
            ),
            (
                "points/scroll",
                json!({"filter": {"must": [{"has_vector": text}]}}),
            ),
            ("points/scroll", json!({"order_by": text})),
            ("facet", json!({"key": "big"})),
            ("facet", json!({"key": text})),
            (
                "points/query/groups",
                json!({"query": [1.0, 0.0, 0.0, 0.0], "group_by": "big"}),
            ),
            ("points/query", json!({"query": [1.0], "using": text})),
        ] {
            bears(victim, "POST", &format!("/collections/docs/{path}"), &body).await;
        }
        let index = json!({"field_name": quoted(text), "field_schema": "integer"});
        bears(victim, "PUT", "/collections/docs/index?wait=true", &index).await;
        let config = json!({"vectors": {text: {"size": 2, "distance": "Dot"}}});
        if bears(victim, "PUT", "/collections/long", &config).await == 200 {
            victim.ok("DELETE", "/collections/long", &Value::Null).await;
        }
        let metadata = json!({"metadata": {"long": text}});
        bears(victim, "PATCH", "/collections/docs", &metadata).await;
    }
}

pub(super) async fn deep_values(victim: &Victim) {
    let target = "/collections/docs/points";
    for depth in [50, 100, 1000, 100_000] {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let value = format!("{}1{}", open.repeat(depth), close.repeat(depth));
            let read = serde_json::from_str::<Value>(&value).unwrap_or_default();
            let upsert = format!(
                "{{\"points\":[{{\"id\":1,\"vector\":{{}},\"payload\":{{\"deep\":{value}}}}}]}}"
            );
            let set = format!("{{\"points\":[1],\"payload\":{{\"deep\":{value}}}}}");
            for (method, path, body) in [
                ("PUT", "?wait=true", upsert),
                ("POST", "/payload?wait=true", set.clone()),
                ("PUT", "/payload?wait=true", set),
            ] {
                let answer = victim
                    .ask_raw(method, &format!("{target}{path}"), body)
                    .await;
                let status = answer.status();
                assert!(status < 500, "{depth}: {}", answer.text());
                // What a parser of requests takes has to come back.
                let found = victim.ok("GET", &format!("{target}/1"), &Value::Null).await;
                assert!(status != 200 || found["payload"]["deep"] == read, "{depth}");
            }
        }
        let path = vec!["a"; depth].join(".");
        let arrays = "[]".repeat(depth);
        for key in [format!("deep.{path}"), format!("deep{arrays}")] {
            for (path, body) in [
                (
                    "points/count",
                    json!({"filter": {"must": [{"key": key, "match": {"value": 1}}]}}),
                ),
                (
                    "points/payload?wait=true",
                    json!({"payload": {"x": 1}, "points": [40], "key": key}),
                ),
                (
                    "points/payload/delete?wait=true",
                    json!({"keys": [key], "points": [40]}),
                ),
                ("points/scroll", json!({"with_payload": [key], "limit": 1})),
            ] {
                bears(victim, "POST", &format!("/collections/docs/{path}"), &body).await;
            }
            let index = json!({"field_name": key, "field_schema": "integer"});
            bears(victim, "PUT", "/collections/docs/index?wait=true", &index).await;
        }
    }
}

/// What is no number, and what is past every number.
pub(super) async fn no_numbers(victim: &Victim) {
    for number in [
        "1e999",
        "-1e999",
        "\"NaN\"",
        "\"Infinity\"",
        "NaN",
        "1e39",
        "-1e308",
        "5e-324",
    ] {
        for (method, path, body) in [
            (
                "PUT",
                "points?wait=true",
                format!("{{\"points\":[{{\"id\":1,\"vector\":{{\"\":[{number},1,2,3]}}}}]}}"),
            ),
            (
                "PUT",
                "points?wait=true",
                format!(
                    "{{\"points\":[{{\"id\":1,\"vector\":{{\"words\":{{\"indices\":[1],\"values\":[{number}]}}}}}}]}}"
                ),
            ),
            (
                "PUT",
                "points?wait=true",
                format!(
                    "{{\"points\":[{{\"id\":1,\"vector\":{{}},\"payload\":{{\"n\":{number}}}}}]}}"
                ),
            ),
            (
                "POST",
                "points/payload?wait=true",
                format!("{{\"points\":[2],\"payload\":{{\"n\":{number}}}}}"),
            ),
            (
                "POST",
                "points/query",
                format!("{{\"query\":[{number},0,0,0]}}"),
            ),
            (
                "POST",
                "points/query",
                format!("{{\"query\":[1,0,0,0],\"score_threshold\":{number}}}"),
            ),
            (
                "POST",
                "points/query",
                format!(
                    "{{\"query\":{{\"indices\":[1],\"values\":[{number}]}},\"using\":\"words\"}}"
                ),
            ),
            (
                "POST",
                "points/query",
                format!(
                    "{{\"prefetch\":{{\"query\":[1,0,0,0]}},\"query\":{{\"formula\":{{\"mult\":[{number},\"$score\"]}}}}}}"
                ),
            ),
            (
                "POST",
                "points/query",
                format!(
                    "{{\"query\":{{\"nearest\":[1,0,0,0],\"mmr\":{{\"diversity\":{number}}}}}}}"
                ),
            ),
            (
                "POST",
                "points/scroll",
                format!(
                    "{{\"filter\":{{\"must\":[{{\"key\":\"n\",\"range\":{{\"gt\":{number}}}}}]}}}}"
                ),
            ),
            (
                "POST",
                "points/scroll",
                format!(
                    "{{\"filter\":{{\"must\":[{{\"key\":\"n\",\"match\":{{\"value\":{number}}}}}]}}}}"
                ),
            ),
            (
                "POST",
                "points/scroll",
                format!(
                    "{{\"filter\":{{\"must\":[{{\"key\":\"n\",\"geo_radius\":{{\"center\":{{\"lat\":{number},\"lon\":0}},\"radius\":{number}}}}}]}}}}"
                ),
            ),
            (
                "POST",
                "points/scroll",
                format!("{{\"order_by\":{{\"key\":\"n\",\"start_from\":{number}}}}}"),
            ),
            ("POST", "points/scroll", format!("{{\"limit\":{number}}}")),
            ("POST", "points/scroll", format!("{{\"offset\":{number}}}")),
        ] {
            let answer = victim
                .ask_raw(method, &format!("/collections/docs/{path}"), body.clone())
                .await;
            let status = answer.status();
            assert!(status < 500, "{body}: {}", answer.text());
            if status == 200 {
                answer.json();
            } else {
                answer.refusal(status);
            }
        }
    }
}
