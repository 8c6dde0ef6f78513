//! Tables that were there before the sidecar, seen through it: what frameworks have written is what
//! their Qdrant providers would have written, and nothing of it is changed.

mod bootstrap;
mod frameworks;
mod mistakes;
mod odd;
mod triggers;
mod untouched;
mod written;

use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::sidecar::Sidecar;

/// A database with tables of others.
struct Scene {
    postgres: Postgres,
    data: Folder,
}

impl Scene {
    /// With what this SQL makes.
    async fn with(sql: &str) -> Self {
        let scene = Self {
            postgres: Postgres::start(),
            data: Folder::new(),
        };
        scene.run("create extension vector").await;
        scene.run(sql).await;
        scene
    }

    async fn run(&self, sql: &str) {
        let client = self.postgres.client().await;
        client.batch_execute(sql).await.unwrap();
    }

    /// The rows of a query, as text.
    async fn rows(&self, sql: &str) -> Vec<String> {
        let client = self.postgres.client().await;
        let sql = format!("select to_jsonb(r)::text from ({sql}) r");
        let rows = client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn toml(&self, more: &str) -> String {
        format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n{}{}{more}\n",
            if more.contains("cache.") {
                ""
            } else {
                "cache.enabled = false\n"
            },
            self.postgres.toml(&self.data)
        )
    }

    async fn sidecar(&self, more: &str) -> Sidecar {
        Sidecar::with(&self.toml(more)).await
    }
}

async fn ask(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> Answer {
    sidecar.ask(&Ask::new(method, target).json(body)).await
}

async fn ok(sidecar: &Sidecar, method: &str, target: &str, body: &Value) -> Value {
    let answer = ask(sidecar, method, target, body).await;
    assert_eq!(answer.status(), 200, "{method} {target}: {}", answer.text());
    answer.json()["result"].clone()
}

/// All points of a collection.
async fn scrolled(sidecar: &Sidecar, collection: &str) -> Vec<Value> {
    let body = json!({"limit": 1000, "with_vector": true});
    let target = format!("/collections/{collection}/points/scroll");
    let page = ok(sidecar, "POST", &target, &body).await;
    page["points"].as_array().unwrap().clone()
}

/// The same answers: numbers may differ in the last digit, and the version of a point is nobody's.
fn alike(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-5 * one.abs().max(1.0)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            let keys = |of: &serde_json::Map<String, Value>| {
                let keys = of.keys().filter(|key| *key != "version").cloned();
                keys.collect::<std::collections::BTreeSet<_>>()
            };
            keys(one) == keys(other) && keys(one).iter().all(|key| alike(&one[key], &other[key]))
        }
        _ => one == other,
    }
}
