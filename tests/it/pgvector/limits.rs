//! What one client, one server that stands still, or one setting of the database can do to others.

use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_postgres::Client;

use super::{Scene, ask, get, make, ok};
use crate::support::ask::Ask;
use crate::support::process::Process;
use crate::support::sidecar::Sidecar;
use crate::support::wire::Wire;
use crate::support::{story, until};

const POINTS: &str = "/collections/docs/points?wait=true";

fn point(id: u64, text: &str) -> Value {
    json!({"points": [{"id": id, "vector": {}, "payload": {"t": text}}]})
}

async fn wait_for_locks(client: &Client, count: i64) {
    let sql = "select count(distinct pid) from pg_locks where not granted";
    until("so many wait", async || {
        client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == count
    })
    .await;
}

#[test]
fn a_filter_of_too_many_conditions_is_refused_and_one_of_many_is_not() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "docs").await;
        ok(&sidecar, "PUT", POINTS, &point(1, "a")).await;
        let target = "/collections/docs/points/count";
        let filter = |count: usize| {
            let of = |at: usize| json!({"is_null": {"key": format!("k{at}")}});
            // At whatever depth.
            let inner: Vec<Value> = (1..count).map(of).collect();
            json!({"filter": {"must_not": [{"should": inner}]}})
        };
        let many = ok(&sidecar, "POST", target, &filter(2_000)).await;
        assert_eq!(many, json!({"count": 1}));
        for count in [2_001, 50_000] {
            let refused = ask(&sidecar, "POST", target, &filter(count)).await;
            assert_eq!(
                refused.refusal(400),
                "Bad request: the filter holds more than 2000 conditions; `any` takes many \
                 values in one"
            );
        }
        let key = "k".repeat(1 << 20);
        let long = json!({"filter": {"must": [{"is_null": {"key": key}}]}});
        let refused = ask(&sidecar, "POST", target, &long).await.refusal(400);
        assert_eq!(
            refused,
            "Bad request: the filter is too long; its keys are a part of its length"
        );
    });
}

/// A write that waits at the gate while a text index is made has to see the index afterwards.
#[test]
fn the_gate_holds_whatever_isolation_the_database_has_by_default() {
    let scene = Scene::new();
    story(async {
        let client = scene.postgres.client().await;
        for default in [
            "default_transaction_isolation = 'repeatable read'",
            "default_transaction_deferrable = on",
            "lock_timeout = 1",
        ] {
            let set = format!("alter database postgres set {default}");
            client.batch_execute(&set).await.unwrap();
        }
        let (one, two) = (scene.sidecar().await, scene.sidecar().await);
        make(&one, "docs").await;
        ok(&two, "PUT", POINTS, &point(1, "alpha")).await;
        let holder = scene.postgres.client().await;
        let hold = "begin; update qdc.state set version = version";
        holder.batch_execute(hold).await.unwrap();
        let index = json!({"field_name": "t", "field_schema": "text"});
        let target = "/collections/docs/index?wait=true";
        let late = point(2, "alpha");
        let changes = ok(&one, "PUT", target, &index);
        let writes = async {
            wait_for_locks(&client, 1).await;
            ok(&two, "PUT", POINTS, &late).await
        };
        let release = async {
            wait_for_locks(&client, 2).await;
            holder.batch_execute("rollback").await.unwrap();
        };
        tokio::join!(changes, writes, release);
        let filter = json!({"filter": {"must": [{"key": "t", "match": {"text": "alpha"}}]}});
        for sidecar in [&one, &two] {
            let target = "/collections/docs/points/count";
            let found = ok(sidecar, "POST", target, &filter).await;
            assert_eq!(found, json!({"count": 2}));
        }
    });
}

#[test]
fn writes_that_wait_leave_connections_to_reads() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar_with("primary.pool_size = 4").await;
        make(&sidecar, "docs").await;
        make(&sidecar, "other").await;
        let holder = scene.postgres.client().await;
        let hold = "begin; select pg_advisory_xact_lock(20818, 1)";
        holder.batch_execute(hold).await.unwrap();
        let bodies: Vec<Value> = (1..=8).map(|id| point(id, "a")).collect();
        let writes = bodies.iter().map(|body| ok(&sidecar, "PUT", POINTS, body));
        let reads = async {
            let client = scene.postgres.client().await;
            wait_for_locks(&client, 2).await;
            for name in ["docs", "other"] {
                let target = format!("/collections/{name}/points/count");
                let found = ok(&sidecar, "POST", &target, &json!({})).await;
                assert_eq!(found, json!({"count": 0}));
            }
            holder.batch_execute("rollback").await.unwrap();
        };
        let (written, ()) = tokio::join!(join_all(writes), reads);
        assert_eq!(written.len(), 8);
        let target = "/collections/docs/points/count";
        let found = ok(&sidecar, "POST", target, &json!({})).await;
        assert_eq!(found, json!({"count": 8}));
    });
}

/// What a pooler says at the commit when it has lost the server: PostgreSQL itself is made to say
/// it here.
#[test]
fn a_commit_whose_connection_was_lost_is_not_told_to_be_safe_to_repeat() {
    let scene = Scene::new();
    story(async {
        make(&scene.sidecar().await, "docs").await;
        let client = scene.postgres.client().await;
        let lost = "create function lost() returns trigger language plpgsql as $$ begin \
                    raise exception 'server conn crashed?' using errcode = '08P01'; end $$; \
                    create constraint trigger lost after insert on qd_data.c1 \
                    deferrable initially deferred for each row execute function lost()";
        client.batch_execute(lost).await.unwrap();
        let process = Process::start(&scene.toml(""), &[]).await;
        let put = Ask::new("PUT", POINTS).json(&point(1, "a"));
        let answer = put.over(&mut Wire::connect(process.proxy).await).await;
        assert_eq!(answer.status(), 502, "{}", answer.text());
        let line = process.says("a request failed").await;
        assert!(line.contains("OutcomeUnknown"), "{line}");
        // One that PostgreSQL refuses at the commit is undone, and known to be.
        let refused = "create or replace function lost() returns trigger language plpgsql as $$ \
                       begin raise exception 'no' using errcode = '53100'; end $$";
        client.batch_execute(refused).await.unwrap();
        let answer = put.over(&mut Wire::connect(process.proxy).await).await;
        assert_eq!(answer.status(), 502, "{}", answer.text());
        let line = process.says("(53100)").await;
        assert!(line.contains("Safe"), "{line}");
    });
}

/// Backends of PostgreSQL that stand still. They go on when this ends.
struct Frozen(Vec<i32>);

impl Frozen {
    /// All but that of `client`.
    async fn all(client: &Client) -> Self {
        let sql = "select pid from pg_stat_activity \
                   where backend_type = 'client backend' and pid <> pg_backend_pid()";
        let rows = client.query(sql, &[]).await.unwrap();
        let frozen = Self(rows.iter().map(|row| row.get(0)).collect());
        frozen.signal("STOP");
        frozen
    }

    fn signal(&self, signal: &str) {
        for pid in &self.0 {
            let line = format!("kill -{signal} {pid}");
            drop(Command::new("sh").args(["-c", &line]).status());
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.signal("CONT");
    }
}

async fn in_time(sidecar: &Sidecar, method: &str, target: &str, body: &Value) {
    // Its own limit, what its word takes, and much for a machine that is busy: it ends at all.
    let answer = timeout(Duration::from_secs(45), ask(sidecar, method, target, body))
        .await
        .expect("an answer in time");
    assert_eq!(answer.status(), 504, "{}", answer.text());
    assert!(
        answer.text().contains("PostgreSQL did not answer in time"),
        "{}",
        answer.text()
    );
}

#[test]
fn a_server_that_stands_still_is_not_waited_for_and_its_connections_are_let_go_of() {
    let scene = Scene::new();
    story(async {
        let more = "primary.pool_size = 1\nprimary.breaker_failures = 1000\n\
                    primary.read_timeout = \"1s\"\nprimary.write_timeout = \"1s\"";
        let sidecar = scene.sidecar_with(more).await;
        make(&sidecar, "docs").await;
        ok(&sidecar, "PUT", POINTS, &point(1, "before")).await;
        let client = scene.postgres.client().await;
        let one = [json!(1)];
        let by_ids = json!({"ids": one});
        let counted = json!({"filter": {"must": [{"key": "t", "match": {"value": "x"}}]}});
        {
            let _frozen = Frozen::all(&client).await;
            in_time(&sidecar, "PUT", POINTS, &point(1, "after")).await;
            // What was sent is still there for the server to read.
            assert_eq!(get(&sidecar, &one).await[0]["payload"]["t"], "before");
        }
        ok(&sidecar, "PUT", POINTS, &point(1, "after")).await;
        for (target, body) in [
            ("/collections/docs/points", by_ids),
            ("/collections/docs/points/count", counted),
        ] {
            let _frozen = Frozen::all(&client).await;
            in_time(&sidecar, "POST", target, &body).await;
            // On a connection that is new: PostgreSQL as a whole goes on.
            assert_eq!(get(&sidecar, &one).await[0]["payload"]["t"], "after");
        }
    });
}
