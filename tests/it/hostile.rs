//! Requests at which a Qdrant falls, or takes the machine with it. Each store of ours answers them
//! with a refusal, takes no memory to speak of for it, and lives.
//!
//! Every story is told once for each store of ours: a new one is one more module in `stores!`.

mod texts;

use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::postgres::Postgres;
use crate::support::process::Process;
use crate::support::story;
use crate::support::wire::Wire;

/// Settings of a sidecar over a store of ours, as TOML, without its listeners; and what the store
/// stands on, for as long as the story lasts.
type Ground = (String, Option<Postgres>);

fn embedded() -> Ground {
    ("primary.kind = \"embedded\"".to_owned(), None)
}

fn pgvector() -> Ground {
    let postgres = Postgres::start();
    let url = postgres
        .url()
        .replace("postgres@", &format!("postgres:{SECRET}@"));
    let toml = format!("primary.kind = \"pgvector\"\nprimary.url = \"{url}\"");
    (toml, Some(postgres))
}

/// The password of the database, and what points hold: nobody reads these in a log.
const SECRET: &str = "not-for-the-log";

/// What a story may add to the most memory that the process ever had. The store itself sets much
/// aside for a collection; a request here asks for a hundred times as much.
const MEMORY_KIB_MAX: u64 = 128 * 1024;

/// As many points as the stories need.
const POINTS: u64 = 40;

macro_rules! stores {
    ($($store:ident: $ground:path),* => $stories:tt) => {
        $(stores! { @ $store, $ground, $stories })*
    };
    (@ $store:ident, $ground:path, { $($name:ident: $told:path),* $(,)? }) => {
        mod $store {
            $(
                #[test]
                fn $name() {
                    super::told_on($ground(), async |sidecar| $told(sidecar).await);
                }
            )*
        }
    };
}

stores! {
    embedded: super::embedded, pgvector: super::pgvector => {
        groups_of_two_billion_points_are_refused: super::huge_groups,
        limits_beyond_all_bounds_take_no_memory: super::huge_limits,
        a_prefetch_nested_too_deep_is_refused: super::deep_prefetch,
        a_body_nested_too_deep_is_refused: super::deep_bodies,
        a_filter_as_deep_as_a_body_may_be_is_answered: super::deep_filters,
        an_empty_list_of_shard_keys_is_refused: super::empty_shard_keys,
        names_that_lead_out_of_the_folder_are_refused: super::odd_names,
        a_name_is_as_long_as_it_may_be_and_no_longer: super::long_names,
        half_a_vector_update_is_not_done: super::half_updates,
        a_body_is_read_before_the_collection_is_looked_for: super::body_first,
        what_is_said_twice_is_refused: super::said_twice,
        numbers_and_vectors_beyond_all_bounds_are_answered: super::odd_values,
        a_name_is_nothing_but_a_name: super::texts::in_every_name,
        a_value_is_nothing_but_a_value: super::texts::in_every_value,
        a_million_characters_are_kept_or_refused: super::texts::a_megabyte_of_text,
        values_nested_too_deep_are_refused_and_others_come_back: super::texts::deep_values,
        what_is_no_number_is_refused: super::texts::no_numbers,
    }
}

/// A sidecar with one small collection.
struct Victim {
    process: Process,
}

impl Victim {
    async fn ask(&self, method: &str, target: &str, body: &Value) -> Answer {
        self.ask_raw(method, target, body.to_string()).await
    }

    async fn ask_raw(&self, method: &str, target: &str, body: impl Into<Vec<u8>>) -> Answer {
        let ask = Ask::new(method, target)
            .with("content-type", "application/json")
            .body(body);
        ask.over(&mut Wire::connect(self.process.proxy).await).await
    }

    /// The text of a refusal: a status of the client's fault, in Qdrant's envelope.
    async fn refused(&self, method: &str, target: &str, body: &Value) -> String {
        let answer = self.ask(method, target, body).await;
        refusal(&answer, &format!("{method} {target}"))
    }

    async fn ok(&self, method: &str, target: &str, body: &Value) -> Value {
        let answer = self.ask(method, target, body).await;
        assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
        answer.json()["result"].clone()
    }
}

fn refusal(answer: &Answer, asked: &str) -> String {
    let status = answer.status();
    assert!(
        (400..500).contains(&status),
        "{asked}: {status} {}",
        answer.text()
    );
    answer.refusal(status)
}

/// Tells one story, and looks that the process lives and has not grown.
fn told_on((store, _ground): Ground, told: impl AsyncFn(&Victim)) {
    story(async {
        let toml = format!("listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{store}\n");
        let process = Process::start(&toml, &[]).await;
        let victim = Victim { process };
        let config = json!({
            "vectors": {"": {"size": 4, "distance": "Dot"}, "other": {"size": 2, "distance": "Dot"}},
            "sparse_vectors": {"words": {}},
        });
        victim.ok("PUT", "/collections/docs", &config).await;
        let points: Vec<Value> = (1..=POINTS)
            .map(|id| {
                let vectors = json!({
                    "": [id, 1.0, 2.0, 3.0],
                    "other": [1.0, id],
                    "words": {"indices": [id], "values": [1.0]},
                });
                json!({"id": id, "vector": vectors, "payload": {"n": id, "kind": "even"}})
            })
            .collect();
        let all = json!({ "points": points });
        victim
            .ok("PUT", "/collections/docs/points?wait=true", &all)
            .await;
        // Once as a person would ask, so that what is made at the first search is there.
        let usual = json!({"vector": [1.0, 0.0, 0.0, 0.0], "limit": 3});
        victim
            .ok("POST", "/collections/docs/points/search", &usual)
            .await;
        let before = victim.process.memory_peak_kib();

        told(&victim).await;

        // As the kernel counts it, the most may become a little less.
        let grown = victim.process.memory_peak_kib().saturating_sub(before);
        assert!(grown < MEMORY_KIB_MAX, "it took {grown} KiB");
        let found = victim
            .ok("POST", "/collections/docs/points/search", &usual)
            .await;
        assert_eq!(found.as_array().unwrap().len(), 3, "{found}");
        let counted = victim
            .ok("POST", "/collections/docs/points/count", &json!({}))
            .await;
        assert_eq!(counted["count"], POINTS);
        let log = victim.process.said();
        assert!(!log.contains("\"panic\"") && !log.contains(SECRET), "{log}");
    });
}

async fn huge_groups(victim: &Victim) {
    let search = json!({"vector": [1.0, 0.0, 0.0, 0.0], "group_by": "kind", "limit": 3});
    let query = json!({"query": [1.0, 0.0, 0.0, 0.0], "group_by": "kind", "limit": 3});
    let recommend = json!({"positive": [1], "group_by": "kind", "limit": 3});
    for (path, body) in [
        ("search/groups", search),
        ("query/groups", query),
        ("recommend/groups", recommend),
    ] {
        let target = format!("/collections/docs/points/{path}");
        for size in [2_147_483_648_u64, 4_294_967_295, u64::MAX] {
            let mut body = body.clone();
            body["group_size"] = size.into();
            let text = victim.refused("POST", &target, &body).await;
            assert!(!text.is_empty(), "{path} {size}");
        }
    }
}

async fn huge_limits(victim: &Victim) {
    let vector = json!([1.0, 0.0, 0.0, 0.0]);
    let sparse = json!({"indices": [1, 2], "values": [1.0, 1.0]});
    for limit in [2_147_483_648_u64, 4_294_967_295, u64::MAX] {
        let prefetch = json!([
            {"query": vector, "limit": limit},
            {"query": sparse, "using": "words", "limit": limit},
        ]);
        let mmr = json!({
            "nearest": vector, "mmr": {"diversity": 0.5, "candidates_limit": limit},
        });
        for (path, body) in [
            ("points/search", json!({"vector": vector, "limit": limit})),
            (
                "points/search",
                json!({"vector": vector, "limit": 1, "offset": limit}),
            ),
            (
                "points/search",
                json!({"vector": vector, "limit": limit, "offset": limit}),
            ),
            ("points/recommend", json!({"positive": [1], "limit": limit})),
            (
                "points/discover",
                json!({"target": 1, "context": [], "limit": limit}),
            ),
            (
                "points/query",
                json!({"query": vector, "limit": limit, "offset": limit}),
            ),
            (
                "points/query",
                json!({"query": sparse, "using": "words", "limit": limit}),
            ),
            (
                "points/query",
                json!({"query": {"sample": "random"}, "limit": limit}),
            ),
            ("points/query", json!({"query": mmr, "limit": 2})),
            (
                "points/query",
                json!({"prefetch": prefetch, "query": {"fusion": "rrf"}, "limit": limit}),
            ),
            (
                "points/query",
                json!({"prefetch": prefetch, "query": {"fusion": "dbsf"}, "limit": 2}),
            ),
            (
                "points/query",
                json!({"query": vector, "params": {"hnsw_ef": limit}}),
            ),
            (
                "points/query/groups",
                json!({"query": vector, "group_by": "kind", "limit": limit}),
            ),
            (
                "points/search/groups",
                json!({"vector": vector, "group_by": "kind", "limit": limit, "group_size": 1}),
            ),
            (
                "points/search/matrix/pairs",
                json!({"sample": limit, "limit": 3}),
            ),
            (
                "points/search/matrix/pairs",
                json!({"sample": 3, "limit": limit}),
            ),
            (
                "points/search/matrix/offsets",
                json!({"sample": limit, "limit": limit}),
            ),
            ("points/scroll", json!({"limit": limit})),
            ("facet", json!({"key": "kind", "limit": limit})),
        ] {
            let target = format!("/collections/docs/{path}");
            let answer = victim.ask("POST", &target, &body).await;
            // Some of these Qdrant bears and answers; what counts is that nothing falls.
            let status = answer.status();
            assert!(status < 500, "{path} {body}: {status} {}", answer.text());
        }
    }
}

async fn deep_prefetch(victim: &Victim) {
    for depth in [60, 100, 124, 1000, 100_000] {
        for (open, close) in [("{\"prefetch\":", "}"), ("{\"prefetch\":[", "]}")] {
            let innermost = "{\"query\":[1.0,0.0,0.0,0.0],\"limit\":1}";
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let body = format!("{open}{innermost}{close}");
            for path in ["query", "query/groups", "query/batch"] {
                let body = if path == "query/batch" {
                    format!("{{\"searches\":[{body}]}}")
                } else {
                    body.clone()
                };
                let target = format!("/collections/docs/points/{path}");
                let answer = victim.ask_raw("POST", &target, body).await;
                refusal(&answer, &format!("{path}, {depth} deep"));
            }
        }
    }
}

async fn deep_bodies(victim: &Victim) {
    for depth in [200, 100_000, 3_000_000] {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        for body in [
            format!("{{\"vector\":[1.0,0.0,0.0,0.0],\"limit\":1,\"unknown\":{open}{close}}}"),
            format!("{open}{close}"),
            open.clone(),
        ] {
            let answer = victim
                .ask_raw("POST", "/collections/docs/points/search", body)
                .await;
            let text = refusal(&answer, &format!("{depth} deep"));
            assert!(
                text.contains("recursion limit exceeded") || text.contains("invalid type"),
                "{depth}: {text}"
            );
        }
    }
}

async fn deep_filters(victim: &Victim) {
    for (open, close) in [
        ("{\"must\":[", "]}"),
        ("{\"must_not\":", "}"),
        ("{\"nested\":{\"key\":\"a\",\"filter\":{\"must\":", "}}}"),
    ] {
        for depth in [10, 30, 60, 110, 10_000] {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            let innermost = "{\"key\":\"n\",\"match\":{\"value\":1}}";
            let body = format!("{{\"filter\":{{\"must\":{open}{innermost}{close}}}}}");
            let answer = victim
                .ask_raw("POST", "/collections/docs/points/count", body)
                .await;
            let status = answer.status();
            assert!(status < 500, "{depth}: {status} {}", answer.text());
        }
    }
}

async fn empty_shard_keys(victim: &Victim) {
    let vector = json!([1.0, 0.0, 0.0, 0.0]);
    for (path, body) in [
        ("query", json!({"query": vector})),
        ("query/groups", json!({"query": vector, "group_by": "kind"})),
        (
            "search/groups",
            json!({"vector": vector, "group_by": "kind", "limit": 1, "group_size": 1}),
        ),
        ("search/matrix/pairs", json!({"sample": 3})),
        ("search/matrix/offsets", json!({"sample": 3})),
    ] {
        let mut body = body;
        body["shard_key"] = json!([]);
        let target = format!("/collections/docs/points/{path}");
        let answer = victim.ask("POST", &target, &body).await;
        assert_eq!(answer.status(), 400, "{path}: {}", answer.text());
    }
}

async fn odd_names(victim: &Victim) {
    let config = json!({"vectors": {"size": 4, "distance": "Dot"}});
    for name in [
        ".", "..", "%2E", "%2e%2E", "..%2Fout", "%2Fetc", "a%2Fb", "a%00b", "a%5Cb", "%20%3A", "",
    ] {
        let target = format!("/collections/{name}");
        for (method, body) in [
            ("PUT", &config),
            ("DELETE", &Value::Null),
            ("PATCH", &json!({})),
        ] {
            let answer = victim.ask(method, &target, body).await;
            let status = answer.status();
            // An empty name, or one that is no name, may be no path at all: 404.
            let nothing_done =
                (400..500).contains(&status) || answer.json()["result"] == json!(false);
            assert!(
                nothing_done,
                "{method} {target}: {status} {}",
                answer.text()
            );
        }
    }
    // Nothing was made or moved.
    let listed = victim.ok("GET", "/collections", &Value::Null).await;
    assert_eq!(listed["collections"], json!([{"name": "docs"}]));
}

async fn long_names(victim: &Victim) {
    let config = json!({"vectors": {"size": 4, "distance": "Dot"}});
    for (name, is_taken) in [
        ("n".repeat(255), true),
        ("n".repeat(256), false),
        ("n".repeat(50_000), false),
        // 256 bytes, more than a file system takes.
        ("%C3%A9".repeat(128), false),
        ("aliases".to_owned(), true),
    ] {
        let target = format!("/collections/{name}");
        let answer = victim.ask("PUT", &target, &config).await;
        let status = answer.status();
        if is_taken {
            assert_eq!(status, 200, "{}", answer.text());
            victim.ok("DELETE", &target, &Value::Null).await;
        } else {
            assert!((400..500).contains(&status), "{status} {}", answer.text());
        }
    }
}

async fn half_updates(victim: &Victim) {
    let vectors_of = async |ids: Value| {
        let body = json!({"ids": ids, "with_vector": true, "with_payload": false});
        victim.ok("POST", "/collections/docs/points", &body).await
    };
    let before = vectors_of(json!([1, 2, 3])).await;
    let good = |id: u64| json!({"id": id, "vector": {"": [9.0, 9.0, 9.0, 9.0]}});
    for (bad, why) in [
        (
            json!({"id": 2, "vector": {"": [1.0, 2.0]}}),
            "a wrong dimension",
        ),
        (
            json!({"id": 2, "vector": {"nope": [1.0, 2.0]}}),
            "an unknown name",
        ),
        (
            json!({"id": 2, "vector": {"words": {"indices": [1, 1], "values": [1.0, 1.0]}}}),
            "an index twice",
        ),
        (
            json!({"id": 2, "vector": {"words": {"indices": [1, 2], "values": [1.0]}}}),
            "a value too few",
        ),
    ] {
        let body = json!({"points": [good(1), bad, good(3)]});
        victim
            .refused("PUT", "/collections/docs/points/vectors?wait=true", &body)
            .await;
        let upsert = json!({"points": [good(1), bad]});
        victim
            .refused("PUT", "/collections/docs/points?wait=true", &upsert)
            .await;
        assert_eq!(vectors_of(json!([1, 2, 3])).await, before, "{why}");
    }
    // A point that is not there is another matter: the others are written, as Qdrant does.
    let body = json!({"points": [good(99_999), good(1)]});
    let answer = victim
        .ask("PUT", "/collections/docs/points/vectors?wait=true", &body)
        .await;
    assert_eq!(answer.status(), 404, "{}", answer.text());
}

async fn body_first(victim: &Victim) {
    let text = victim
        .refused("POST", "/collections/nowhere/points/search", &json!({}))
        .await;
    assert!(text.contains("missing field"), "{text}");
    // What a GET carries besides is nobody's business.
    let answer = victim.ask_raw("GET", "/collections/docs", "{junk").await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
}

async fn said_twice(victim: &Victim) {
    for (target, body) in [
        (
            "/collections/docs/points/search",
            "{\"vector\":[1,0,0,0],\"limit\":1,\"limit\":2}",
        ),
        ("/collections/docs/points/scroll?timeout=1&timeout=2", "{}"),
        ("/collections/docs/points/delete?wait=1", "{\"points\":[1]}"),
        ("/collections/docs/points/delete?wait=", "{\"points\":[1]}"),
        ("/collections/docs/points/scroll?consistency=0", "{}"),
    ] {
        let answer = victim.ask_raw("POST", target, body).await;
        assert_eq!(answer.status(), 400, "{target}: {}", answer.text());
    }
    let none =
        json!({"vector": [1.0, 0.0, 0.0, 0.0], "group_by": "kind", "limit": 1, "group_size": 0});
    let answer = victim
        .ask("POST", "/collections/docs/points/search/groups", &none)
        .await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
}

async fn odd_values(victim: &Victim) {
    for (body, status) in [
        ("{\"vector\":[1e39,0,0,0],\"limit\":1}", 200),
        (
            "{\"vector\":[1,0,0,0],\"limit\":1,\"filter\":{\"must\":null}}",
            200,
        ),
        ("{\"vector\":[1,0,0],\"limit\":1}", 400),
        ("{\"vector\":[],\"limit\":1}", 400),
        ("{\"vector\":[NaN,0,0,0],\"limit\":1}", 400),
        ("{\"vector\":[1,0,0,0],\"limit\":-1}", 400),
        ("{\"vector\":[1,0,0,0],\"limit\":1e30}", 400),
        ("{\"vector\":[1,0,0,0],\"limit\":0}", 422),
        ("", 400),
        ("null", 400),
    ] {
        let answer = victim
            .ask_raw("POST", "/collections/docs/points/search", body)
            .await;
        assert_eq!(answer.status(), status, "{body}: {}", answer.text());
    }
    let ragged = json!({"query": [[1.0, 0.0], [1.0]], "limit": 1});
    victim
        .refused("POST", "/collections/docs/points/query", &ragged)
        .await;
}
