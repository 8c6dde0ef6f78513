//! Tenant-wise invalidation: a write for one tenant leaves the other tenants' kept answers alone,
//! and never one that it changed.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::story;

const POINTS: &str = "points?wait=true";

struct Docs {
    sidecar: Sidecar,
    _folder: Folder,
}

fn hit(answer: &Answer) -> bool {
    match answer.head.field("x-outrigger-cache").as_deref() {
        Some("hit-l1") => true,
        Some("miss") => false,
        other => panic!("neither hit nor miss: {other:?}"),
    }
}

fn point(id: u64, user: impl Into<Value>) -> Value {
    let x = (id % 7) as f64 + 1.0;
    let vector = json!({"": [x, 1.0], "bm25": {"indices": [id % 3], "values": [1.0]}});
    let user: Value = user.into();
    json!({"id": id, "vector": vector, "payload": {"user_id": user, "doc": id % 4}})
}

fn of_user(user: impl Into<Value>) -> Value {
    let user: Value = user.into();
    json!({"must": [{"key": "user_id", "match": {"value": user}}]})
}

fn query(filter: &Value) -> Value {
    json!({"query": {"nearest": [1.0, 0.5]}, "using": "", "filter": filter, "limit": 100,
        "with_payload": true, "params": {"exact": true}})
}

impl Docs {
    /// Points 1 to 4 are a's, 11 to 14 are b's.
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
        let config = json!({"vectors": {"": {"size": 2, "distance": "Dot"}},
            "sparse_vectors": {"bm25": {"modifier": "idf"}}});
        docs.ok("PUT", "", &config).await;
        let points = [1, 2, 3, 4].map(|id| point(id, "a"));
        let others = [11, 12, 13, 14].map(|id| point(id, "b"));
        let points: Vec<Value> = points.into_iter().chain(others).collect();
        docs.ok("PUT", POINTS, &json!({ "points": points })).await;
        docs
    }

    async fn configured() -> Self {
        Self::new("collections.docs.tenant_key = \"user_id\"").await
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        let target = format!("/collections/docs/{path}");
        let target = target.trim_end_matches('/');
        self.sidecar.ask(&Ask::new(method, target).json(body)).await
    }

    async fn ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status(), 200, "{method} {path}: {}", answer.text());
        answer.json()["result"].clone()
    }

    /// Whether the read was answered from what is kept; its answer is checked against a fresh one.
    async fn read(&self, path: &str, body: &Value) -> bool {
        let target = format!("/collections/docs/{path}");
        let ask = Ask::new("POST", &target).json(body);
        let answer = self.sidecar.ask(&ask).await.ok();
        let fresh = ask.with("cache-control", "no-cache");
        let fresh = self.sidecar.ask(&fresh).await.ok();
        assert_eq!(
            answer.json()["result"],
            fresh.json()["result"],
            "{path} {body}"
        );
        hit(&answer)
    }

    async fn kept(&self, user: &str) -> bool {
        self.read("points/query", &query(&of_user(user))).await
    }

    /// Sees to it that both tenants' answers are kept.
    async fn warm(&self) {
        for user in ["a", "b"] {
            self.kept(user).await;
            assert!(self.kept(user).await, "{user}'s answer is not kept");
        }
    }

    async fn left(&self) -> (bool, bool) {
        (self.kept("a").await, self.kept("b").await)
    }
}

/// Whether a's and b's answers are still kept after a write.
async fn check(docs: &Docs, method: &str, path: &str, body: Value, left: (bool, bool)) {
    docs.warm().await;
    docs.ok(method, path, &body).await;
    assert_eq!(docs.left().await, left, "{method} {path} {body}");
}

#[test]
fn a_write_for_one_tenant_leaves_the_answers_of_the_others_alone() {
    story(async {
        let docs = Docs::configured().await;
        let of_b = (true, false);
        let upsert = |points: Value| json!({ "points": points });
        check(&docs, "PUT", POINTS, upsert(json!([point(15, "b")])), of_b).await;
        check(&docs, "PUT", POINTS, upsert(json!([point(15, "b")])), of_b).await;
        let batch = json!({"batch": {"ids": [16], "vectors": {"": [[1.0, 2.0]]},
            "payloads": [{"user_id": "b"}]}});
        check(&docs, "PUT", POINTS, batch, of_b).await;
        let kind = json!({"payload": {"kind": 1}, "points": [15]});
        check(
            &docs,
            "POST",
            "points/payload?wait=true",
            kind.clone(),
            of_b,
        )
        .await;
        let filter = json!({"payload": {"kind": 2}, "filter": of_user("b")});
        check(&docs, "POST", "points/payload?wait=true", filter, of_b).await;
        let keys = json!({"keys": ["kind"], "points": [15]});
        check(&docs, "POST", "points/payload/delete?wait=true", keys, of_b).await;
        let vectors = json!({"points": [{"id": 15, "vector": {"": [3.0, 3.0]}}]});
        check(&docs, "PUT", "points/vectors?wait=true", vectors, of_b).await;
        let vectors = json!({"points": [15], "vector": ["bm25"]});
        check(
            &docs,
            "POST",
            "points/vectors/delete?wait=true",
            vectors,
            of_b,
        )
        .await;
        let steps = json!({"operations": [{"upsert": {"points": [point(17, "b")]}},
            {"delete": {"points": [16]}}]});
        check(&docs, "POST", "points/batch?wait=true", steps, of_b).await;
        let clear = json!({"points": [15]});
        check(&docs, "POST", "points/payload/clear?wait=true", clear, of_b).await;
        let ids = json!({"points": [17]});
        check(&docs, "POST", "points/delete?wait=true", ids, of_b).await;
        let filter = json!({"filter": of_user("b")});
        check(&docs, "POST", "points/delete?wait=true", filter, of_b).await;
        let narrow = docs
            .sidecar
            .metric("outrigger_cache_narrow_writes_total", &[]);
        // The first one was the filling.
        assert_eq!(narrow, 13.0);
        let broad = docs
            .sidecar
            .metric("outrigger_cache_broad_writes_total", &[]);
        assert_eq!(broad, 0.0);
    });
}

#[test]
fn a_point_that_changes_hands_is_dropped_from_the_answers_of_both() {
    story(async {
        let docs = Docs::configured().await;
        let both = (false, false);
        let upsert = json!({"points": [point(1, "b")]});
        check(&docs, "PUT", POINTS, upsert, both).await;
        let set = json!({"payload": {"user_id": "a"}, "points": [11]});
        check(&docs, "POST", "points/payload?wait=true", set, both).await;
        let overwrite = json!({"payload": {"user_id": "b"}, "points": [2]});
        check(&docs, "PUT", "points/payload?wait=true", overwrite, both).await;
        let filter = json!({"payload": {"user_id": "b"}, "filter": of_user("a")});
        check(&docs, "POST", "points/payload?wait=true", filter, both).await;
        let steps = json!({"operations": [
            {"upsert": {"points": [point(20, "a")]}},
            {"set_payload": {"payload": {"user_id": "b"}, "points": [20]}}]});
        check(&docs, "POST", "points/batch?wait=true", steps, both).await;
        let broad = docs
            .sidecar
            .metric("outrigger_cache_broad_writes_total", &[]);
        assert_eq!(broad, 0.0);
    });
}

#[test]
fn a_filter_that_names_no_tenant_touches_those_whose_points_it_finds() {
    story(async {
        let docs = Docs::configured().await;
        let doc = |doc: u64| json!({"must": [{"key": "doc", "match": {"value": doc}}]});
        for (doc, id) in [(9, 12), (8, 3)] {
            let set = json!({"payload": {"doc": doc}, "points": [id]});
            docs.ok("POST", "points/payload?wait=true", &set).await;
        }
        let delete = json!({"filter": doc(9)});
        check(
            &docs,
            "POST",
            "points/delete?wait=true",
            delete,
            (true, false),
        )
        .await;
        let delete = json!({"filter": doc(8)});
        check(
            &docs,
            "POST",
            "points/delete?wait=true",
            delete,
            (false, true),
        )
        .await;
    });
}

#[test]
fn a_point_of_several_tenants_is_everybodys() {
    story(async {
        let docs = Docs::configured().await;
        let shared = json!({"points": [point(30, json!(["a", "b"]))]});
        check(&docs, "PUT", POINTS, shared, (false, false)).await;
        let delete = json!({"filter": of_user("a")});
        check(
            &docs,
            "POST",
            "points/delete?wait=true",
            delete,
            (false, false),
        )
        .await;
    });
}

#[test]
fn a_field_with_an_index_for_tenants_needs_no_setting() {
    story(async {
        let docs = Docs::new("").await;
        let upsert = |user: &str| json!({"points": [point(15, user)]});
        check(&docs, "PUT", POINTS, upsert("b"), (false, false)).await;
        let index = json!({"field_name": "user_id",
            "field_schema": {"type": "keyword", "is_tenant": true}});
        docs.ok("PUT", "index?wait=true", &index).await;
        check(&docs, "PUT", POINTS, upsert("b"), (true, false)).await;
        docs.ok("DELETE", "index/user_id?wait=true", &Value::Null)
            .await;
        check(&docs, "PUT", POINTS, upsert("a"), (false, false)).await;
    });
}

#[test]
fn an_index_of_uuids_knows_no_spelling_and_neither_does_the_cache() {
    story(async {
        let docs = Docs::new("").await;
        let index = json!({"field_name": "user_id",
            "field_schema": {"type": "uuid", "is_tenant": true}});
        docs.ok("PUT", "index?wait=true", &index).await;
        let plain = "550e8400-e29b-41d4-a716-446655440000";
        let (bare, other) = (plain.replace('-', ""), plain.replace("0000", "0001"));
        for user in [plain, &other] {
            docs.kept(user).await;
            assert!(docs.kept(user).await);
        }
        let upsert = json!({"points": [point(40, bare)]});
        docs.ok("PUT", POINTS, &upsert).await;
        assert!(!docs.kept(plain).await && docs.kept(&other).await);
    });
}

#[test]
fn scores_that_depend_on_all_points_are_dropped_by_any_write() {
    story(async {
        let docs = Docs::configured().await;
        let sparse = json!({"query": {"indices": [1], "values": [1.0]}, "using": "bm25",
            "filter": of_user("a"), "limit": 5});
        docs.read("points/query", &sparse).await;
        assert!(docs.read("points/query", &sparse).await);
        let upsert = json!({"points": [point(15, "b")]});
        check(&docs, "PUT", POINTS, upsert, (true, false)).await;
        assert!(!docs.read("points/query", &sparse).await);
    });
}

#[test]
fn a_nested_field_and_every_name_of_the_collection_are_understood() {
    story(async {
        let docs = Docs::new("collections.docs.tenant_key = \"metadata.user_id\"").await;
        let alias = json!({"actions": [{"create_alias":
            {"collection_name": "docs", "alias_name": "live"}}]});
        let aliases = Ask::new("POST", "/collections/aliases").json(&alias);
        docs.sidecar.ask(&aliases).await.ok();
        let of =
            |user: &str| json!({"must": [{"key": "metadata.user_id", "match": {"value": user}}]});
        let point = |id: u64, user: &str| json!({"id": id, "vector": {"": [1.0, 1.0]}, "payload": {"metadata": {"user_id": user}}});
        for user in ["a", "b"] {
            docs.read("points/scroll", &json!({"filter": of(user)}))
                .await;
        }
        let ask = Ask::put(
            "/collections/live/points?wait=true",
            json!({"points": [point(50, "b")]}).to_string(),
        );
        docs.sidecar.ask(&ask).await.ok();
        assert!(
            docs.read("points/scroll", &json!({"filter": of("a")}))
                .await
        );
        assert!(
            !docs
                .read("points/scroll", &json!({"filter": of("b")}))
                .await
        );
    });
}

#[test]
fn a_write_of_more_points_than_are_looked_up_touches_the_collection() {
    story(async {
        let docs = Docs::configured().await;
        let points: Vec<Value> = (100..400).map(|id| point(id, "b")).collect();
        let upsert = json!({ "points": points });
        check(&docs, "PUT", POINTS, upsert, (false, false)).await;
        let delete = json!({"filter": of_user("b")});
        check(
            &docs,
            "POST",
            "points/delete?wait=true",
            delete,
            (false, false),
        )
        .await;
        let reason = &["reason=\"points\""];
        let broad = docs
            .sidecar
            .metric("outrigger_cache_broad_writes_total", reason);
        assert_eq!(broad, 2.0);
    });
}

/// One write of any kind, for a few points of three tenants.
fn any_write(rng: &mut StdRng) -> (&'static str, &'static str, Value) {
    let id = rng.random_range(1..12u64);
    let (users, doc) = (["a", "b", "c"], rng.random_range(0..4));
    let user = users[rng.random_range(0..3)];
    let of_doc = json!({"must": [{"key": "doc", "match": {"value": doc}}]});
    let chosen = [
        json!({"points": [id]}),
        json!({"filter": of_user(user)}),
        json!({ "filter": of_doc }),
    ];
    let mut chosen = chosen[rng.random_range(0..3)].clone();
    let given = [json!(user), json!(["a", user]), Value::Null];
    let given = given[[0, 0, 0, 1, 2][rng.random_range(0..5)]].clone();
    match rng.random_range(0..8) {
        0..3 => (
            "PUT",
            POINTS,
            json!({"points": [point(id, given), point(id + 1, user)]}),
        ),
        3 => ("POST", "points/delete?wait=true", chosen),
        4 => ("POST", "points/payload/clear?wait=true", chosen),
        5 => {
            chosen["payload"] = json!({"user_id": given});
            ("POST", "points/payload?wait=true", chosen)
        }
        6 => {
            chosen["keys"] = json!(["user_id"]);
            ("POST", "points/payload/delete?wait=true", chosen)
        }
        _ => {
            let steps = json!([{"delete": {"points": [id]}},
                {"upsert": {"points": [point(id, given)]}},
                {"set_payload": {"payload": {"user_id": user}, "points": [id + 2]}}]);
            (
                "POST",
                "points/batch?wait=true",
                json!({ "operations": steps }),
            )
        }
    }
}

#[test]
fn after_any_write_every_kept_answer_is_the_one_that_the_store_gives() {
    story(async {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let docs = Docs::configured().await;
        let any = json!({"must": [{"key": "user_id", "match": {"any": ["a", "c"]}}]});
        let filters = [of_user("a"), of_user("b"), of_user("c"), any, Value::Null];
        let (mut hits, mut reads) = (0, 0);
        for _ in 0..120 {
            let (method, path, body) = any_write(&mut rng);
            // Some are refused: what they name may be gone.
            docs.ask(method, path, &body).await;
            for filter in &filters {
                let count = json!({"filter": filter, "exact": true});
                for (path, body) in [("points/query", query(filter)), ("points/count", count)] {
                    hits += usize::from(docs.read(path, &body).await);
                    reads += 1;
                }
            }
        }
        assert!(
            hits * 10 > reads,
            "{hits} of {reads} were kept: nothing was tried"
        );
    });
}

#[test]
fn after_writes_that_crossed_each_other_every_kept_answer_is_the_one_that_the_store_gives() {
    story(async {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let docs = Docs::configured().await;
        let filters = [of_user("a"), of_user("b"), of_user("c")];
        for _ in 0..40 {
            let writes: Vec<_> = (0..5).map(|_| any_write(&mut rng)).collect();
            let asks = writes
                .iter()
                .map(|(method, path, body)| docs.ask(method, path, body));
            let sidecar = &docs.sidecar;
            let reads = filters.iter().cycle().take(9).map(|filter| {
                let query = query(filter);
                async move { fill(sidecar, &query).await }
            });
            tokio::join!(
                futures_util::future::join_all(asks),
                futures_util::future::join_all(reads),
            );
            for filter in &filters {
                docs.read("points/query", &query(filter)).await;
            }
        }
    });
}

/// Only to have it kept, if that may be.
async fn fill(sidecar: &Sidecar, query: &Value) {
    let ask = Ask::new("POST", "/collections/docs/points/query").json(query);
    sidecar.ask(&ask).await.ok();
}
