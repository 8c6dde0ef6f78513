//! Writers who go past all sidecars, straight to PostgreSQL, and the cache.

use std::future::poll_fn;

use outrigger::task;
use serde_json::{Value, json};
use tokio_postgres::{AsyncMessage, Client, NoTls};

use super::{Scene, make, ok};
use crate::support::ask::Ask;
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

const LISTENERS: &str = "select pid from pg_stat_activity where query like 'listen qd%'";

/// What point 1 has under `n`, and what the cache did.
async fn read(sidecar: &Sidecar) -> (Value, String) {
    let body = json!({"ids": [1], "with_payload": true});
    let ask = Ask::new("POST", "/collections/docs/points").json(&body);
    let answer = sidecar.ask(&ask).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let did = answer.head.field("x-outrigger-cache").unwrap();
    (answer.json()["result"][0]["payload"]["n"].clone(), did)
}

async fn hits(sidecar: &Sidecar) {
    until("answers are kept", async || {
        read(sidecar).await.1 == "hit-l1"
    })
    .await;
}

async fn write(client: &Client, n: i32) {
    let sql = "update qd_data.c1 set payload = jsonb_build_object('n', $1::int)";
    assert_eq!(client.execute(sql, &[&n]).await.unwrap(), 1);
}

async fn sidecar_with_a_point(scene: &Scene) -> Sidecar {
    let sidecar = scene.caching().await;
    make(&sidecar, "docs").await;
    let point = json!({"points": [{"id": 1, "vector": {}, "payload": {"n": 0}}]});
    ok(
        &sidecar,
        "PUT",
        "/collections/docs/points?wait=true",
        &point,
    )
    .await;
    sidecar
}

#[test]
fn what_is_written_in_sql_is_seen_though_answers_are_kept() {
    let scene = Scene::new();
    story(async {
        let sidecar = sidecar_with_a_point(&scene).await;
        let client = scene.postgres.client().await;
        for n in 1..=20 {
            hits(&sidecar).await;
            write(&client, n).await;
            // The answer is kept for minutes.
            until("the new one is read", async || read(&sidecar).await.0 == n).await;
        }
        hits(&sidecar).await;
        client.batch_execute("truncate qd_data.c1").await.unwrap();
        until("none is read", async || read(&sidecar).await.0.is_null()).await;
    });
}

#[test]
fn a_write_through_one_sidecar_is_seen_at_another_without_redis() {
    let scene = Scene::new();
    story(async {
        let (one, two) = (sidecar_with_a_point(&scene).await, scene.caching().await);
        for n in 1..=20 {
            hits(&two).await;
            let point = json!({"points": [{"id": 1, "vector": {}, "payload": {"n": n}}]});
            ok(&one, "PUT", "/collections/docs/points?wait=true", &point).await;
            // The answer is kept for minutes.
            until("the new one is read", async || read(&two).await.0 == n).await;
        }
    });
}

#[test]
fn a_write_is_told_once_and_with_the_word_of_the_sidecar_that_made_it() {
    let scene = Scene::new();
    story(async {
        let (client, mut connection) = tokio_postgres::connect(&scene.postgres.url(), NoTls)
            .await
            .unwrap();
        let (told, mut heard) = tokio::sync::mpsc::channel(16);
        task::spawn("psql", async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(message) = message {
                    drop(told.try_send(message.payload().to_owned()));
                }
            }
        });
        let sidecar = sidecar_with_a_point(&scene).await;
        client.batch_execute("listen qd_rows").await.unwrap();
        let point = json!({"points": [{"id": 1, "payload": {"n": 7}, "vector": {}}]});
        ok(
            &sidecar,
            "PUT",
            "/collections/docs/points?wait=true",
            &point,
        )
        .await;
        write(&scene.postgres.client().await, 8).await;
        let word = heard.recv().await.unwrap();
        assert_eq!((word.len(), &word[..2]), (34, "1 "), "{word}");
        assert_eq!(heard.recv().await.unwrap(), "1 ");
        client.batch_execute("select 1").await.unwrap();
        assert!(heard.try_recv().is_err());
    });
}

#[test]
fn while_changes_by_others_are_not_heard_nothing_is_kept() {
    let scene = Scene::new();
    story(async {
        let sidecar = sidecar_with_a_point(&scene).await;
        let client = scene.postgres.client().await;
        hits(&sidecar).await;
        let closed = "alter database postgres with allow_connections false";
        let beside = scene.postgres.client_beside().await;
        beside.batch_execute(closed).await.unwrap();
        let ended = format!("select pg_terminate_backend(pid) from ({LISTENERS}) l");
        assert_eq!(client.query(&ended, &[]).await.unwrap().len(), 1);
        until("it is deaf", async || read(&sidecar).await.1 != "hit-l1").await;
        for n in 1..=20 {
            write(&client, n).await;
            let (found, did) = read(&sidecar).await;
            assert_eq!(found, n, "{did}");
            assert_ne!(did, "hit-l1");
        }
        let open = "alter database postgres with allow_connections true";
        beside.batch_execute(open).await.unwrap();
        hits(&sidecar).await;
    });
}
