//! What an operator is told of the cache, and how it is emptied.

use serde_json::{Value, json};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::process::run;
use crate::support::sidecar::Sidecar;
use crate::support::story;

struct Docs {
    sidecar: Sidecar,
    _folder: Folder,
}

const OFF: &str = "cache.enabled = false";
const ON: &str = "cache.enabled = true";

impl Docs {
    async fn new(more: &str) -> Self {
        let folder = Folder::new();
        let data = folder.path().display();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\nprimary.kind = \"embedded\"\n\
             data_dir = \"{data}\"\n{more}\n"
        );
        let sidecar = Sidecar::with(&toml).await;
        let docs = Self {
            sidecar,
            _folder: folder,
        };
        for name in ["docs", "other"] {
            let config = json!({"vectors": {"size": 2, "distance": "Dot"}});
            let ask = Ask::new("PUT", &format!("/collections/{name}")).json(&config);
            docs.sidecar.ask(&ask).await.ok();
        }
        docs
    }

    async fn write(&self, id: u64, user: &str) {
        let point = json!({"id": id, "vector": [1.0, 1.0], "payload": {"user_id": user}});
        let ask = Ask::new("PUT", "/collections/docs/points?wait=true");
        let ask = ask.json(&json!({ "points": [point] }));
        self.sidecar.ask(&ask).await.ok();
    }

    /// What the cache did.
    async fn read(&self, collection: &str, user: &str) -> String {
        let filter = json!({"must": [{"key": "user_id", "match": {"value": user}}]});
        let query = json!({"query": [1.0, 0.5], "filter": filter});
        let target = format!("/collections/{collection}/points/query");
        let answer = self
            .sidecar
            .ask(&Ask::new("POST", &target).json(&query))
            .await;
        answer.ok().head.field("x-outrigger-cache").unwrap()
    }

    async fn desk(&self, method: &str, path: &str) -> Value {
        self.sidecar
            .ask_admin(&Ask::new(method, path))
            .await
            .ok()
            .json()
    }
}

#[test]
fn what_is_kept_and_what_came_of_it_is_told() {
    story(async {
        let docs = Docs::new("cache.enabled = true\ncollections.docs.ttl = \"30s\"").await;
        for wanted in ["miss", "hit-l1", "hit-l1"] {
            assert_eq!(docs.read("docs", "a").await, wanted);
        }
        let told = docs.desk("GET", "/api/cache").await;
        assert_eq!(told["enabled"], true);
        assert_eq!(told["tiers"]["l1"]["entries"], 1);
        assert_eq!(told["tiers"]["l1"]["hits"], 2);
        assert_eq!(told["misses"], 1);
        assert!(
            told["tiers"]["l1"]["bytes"].as_u64().unwrap() > 300,
            "{told}"
        );
        assert_eq!(told["settings"]["collections"]["docs"]["ttl"], "30s");
    });
}

#[test]
fn one_collection_or_everything_is_let_go_of() {
    story(async {
        let docs = Docs::new(ON).await;
        let warm = async || {
            for name in ["docs", "other"] {
                docs.read(name, "a").await;
                assert_eq!(docs.read(name, "a").await, "hit-l1");
            }
        };
        warm().await;
        docs.desk("DELETE", "/api/cache?collection=docs").await;
        assert_eq!(docs.read("docs", "a").await, "miss");
        assert_eq!(docs.read("other", "a").await, "hit-l1");
        warm().await;
        docs.desk("DELETE", "/api/cache").await;
        let told = docs.desk("GET", "/api/cache").await;
        assert_eq!(told["tiers"]["l1"]["entries"], 0);
        for name in ["docs", "other"] {
            assert_eq!(docs.read(name, "a").await, "miss");
        }
    });
}

#[test]
fn clearing_a_collection_by_an_alias_reaches_what_is_kept_under_its_name() {
    story(async {
        let docs = Docs::new(ON).await;
        let alias = json!({"actions": [{"create_alias":
            {"collection_name": "docs", "alias_name": "live"}}]});
        let ask = Ask::new("POST", "/collections/aliases").json(&alias);
        docs.sidecar.ask(&ask).await.ok();
        docs.read("docs", "a").await;
        docs.desk("DELETE", "/api/cache?collection=live").await;
        assert_eq!(docs.read("docs", "a").await, "miss");
    });
}

/// The hit rate at 128 MiB and five minutes.
fn rate(estimate: &Value, tenant_wise: bool) -> f64 {
    let is = |row: &&Value| {
        row["memory_mb"] == 128 && row["ttl"] == "5m" && row["tenant_wise"] == tenant_wise
    };
    let row = estimate["rows"].as_array().unwrap().iter().find(is);
    row.unwrap()["hit_rate"].as_f64().unwrap()
}

#[test]
fn what_a_cache_would_do_is_told_while_there_is_none_and_agrees_with_one() {
    story(async {
        for more in [
            OFF,
            "cache.enabled = true\ncollections.docs.tenant_key = \"user_id\"",
        ] {
            let docs = Docs::new(more).await;
            let mut hits = 0;
            for round in 0..20 {
                for user in ["a", "b", "c", "d"] {
                    hits += u32::from(docs.read("docs", user).await == "hit-l1");
                }
                // Every round one of them writes.
                docs.write(round, "a").await;
            }
            let estimate = docs.desk("GET", "/api/cache/estimate").await;
            assert_eq!(estimate["reads"], 80.0, "{estimate}");
            assert_eq!(rate(&estimate, false), 0.0);
            // All but the first reads, and those of the one who writes.
            assert_eq!(rate(&estimate, true), 57.0 / 80.0);
            assert_eq!(hits, if more == OFF { 0 } else { 57 });
        }
    });
}

#[test]
fn the_desk_asks_for_its_token() {
    story(async {
        let docs = Docs::new("auth.admin_token = \"the-token\"").await;
        for (method, path) in [
            ("GET", "/api/cache"),
            ("DELETE", "/api/cache"),
            ("GET", "/api/cache/estimate"),
        ] {
            let ask = Ask::new(method, path);
            assert_eq!(docs.sidecar.ask_admin(&ask).await.status(), 401, "{path}");
            let ask = ask.with("authorization", "Bearer the-token");
            docs.sidecar.ask_admin(&ask).await.ok();
        }
    });
}

#[test]
fn stats_shows_a_table_or_json_and_its_exit_code_tells() {
    story(async {
        let docs = Docs::new("auth.admin_token = \"the-token\"").await;
        docs.read("docs", "a").await;
        docs.read("docs", "a").await;
        let admin = docs.sidecar.admin().to_string();
        let token = [("OUTRIGGER_AUTH__ADMIN_TOKEN", "the-token")];
        let shown = run(&["stats", "--admin-listen", &admin], &token).await;
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(
            shown.out.contains("hits in memory          1"),
            "{}",
            shown.out
        );
        assert!(shown.out.contains("128 MiB"), "{}", shown.out);
        let shown = run(&["stats", "--json", "--admin-listen", &admin], &token).await;
        let told: Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!(told["cache"]["tiers"]["l1"]["hits"], 1);
        assert_eq!(told["estimate"]["reads"], 2.0);

        let refused = run(&["stats", "--admin-listen", &admin], &[]).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("admin_token"), "{}", refused.err);
        let nobody = run(&["stats", "--admin-listen", "127.0.0.1:1"], &[]).await;
        assert_eq!(nobody.code, Some(3), "{nobody:?}");
    });
}
