//! Triggers on an adopted table, where the settings ask for them: what is written to it is heard of
//! and marked, whoever writes; and they go when the setting does.

use std::collections::BTreeMap;
use std::time::Duration;

use outrigger::app;
use outrigger::error::ErrorKind;
use outrigger::model::Subject;
use outrigger::net::client_tls;
use outrigger::store::{MirrorPlan, Outbox, Pgvector, PgvectorSettings};
use serde_json::{Value, json};

use super::{Scene, ok};
use crate::support::ask::Ask;
use crate::support::sidecar::{Sidecar, settings};
use crate::support::{story, until};

const ONE: &str = "11111111-1111-4111-8111-111111111111";
const TWO: &str = "22222222-2222-4222-8222-222222222222";
const TABLE: &str = "create table mem0 (id uuid primary key, vector vector(2), payload jsonb); \
    insert into mem0 values ('11111111-1111-4111-8111-111111111111', '[3,4]', '{\"n\": 0}')";
const TOLD: &str = "[collections.mem0]\nadopt = \"mem0\"\nwritable = true\ntrigger = true\n";
const UNTOLD: &str = "[collections.mem0]\nadopt = \"mem0\"\nwritable = true\n";

/// The store as a sidecar with these settings has it; all of it is mirrored.
async fn mirrored(scene: &Scene, more: &str) -> Outbox {
    let patience = Duration::from_secs(20);
    let own = PgvectorSettings {
        url: scene.postgres.url(),
        tls: client_tls(None).unwrap(),
        has_authority: false,
        pool_size: 4,
        connect_timeout: patience,
        read_timeout: patience,
        write_timeout: patience,
        slow_timeout: patience,
        data_dir: scene.data.path().to_path_buf(),
        adopted: settings(&scene.toml(more)).adopted(),
        tells_by_redis: false,
    };
    let store = Pgvector::new(own).unwrap();
    let plan = MirrorPlan {
        default: true,
        named: BTreeMap::new(),
    };
    store.mirrored(plan, "a", 1).await.unwrap();
    let outbox = store.outbox(1_000_000);
    marks(&outbox).await;
    outbox
}

/// What is marked, sorted; all of it cleared.
async fn marks(outbox: &Outbox) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(batch) = outbox.take(100).await.unwrap().pop() {
        said.extend(batch.marks.iter().map(|mark| match mark.subject {
            Subject::Point(key) => key.to_string(),
            Subject::Schema => "schema".to_owned(),
            Subject::Dropped => "dropped".to_owned(),
        }));
        outbox.clear(&batch.collection, &batch.marks).await.unwrap();
    }
    said.sort();
    said
}

async fn triggers(scene: &Scene) -> usize {
    scene
        .rows(
            "select 1 from pg_trigger where tgname like 'outrigger%' \
                and tgrelid = 'mem0'::regclass",
        )
        .await
        .len()
}

async fn read(sidecar: &Sidecar) -> (Value, String) {
    let body = json!({"ids": [ONE], "with_payload": true});
    let ask = Ask::new("POST", "/collections/mem0/points").json(&body);
    let answer = sidecar.ask(&ask).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let did = answer.head.field("x-outrigger-cache").unwrap();
    (answer.json()["result"][0]["payload"]["n"].clone(), did)
}

#[test]
fn what_others_write_to_a_table_with_triggers_is_seen_though_answers_are_kept() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let sidecar = scene.sidecar(&format!("cache.ttl = \"1h\"\n{TOLD}")).await;
        for n in 1..=5 {
            until("answers are kept", async || {
                read(&sidecar).await.1 == "hit-l1"
            })
            .await;
            scene
                .run(&format!("update mem0 set payload = '{{\"n\": {n}}}'"))
                .await;
            until("the new one is read", async || read(&sidecar).await.0 == n).await;
        }
        scene.run("truncate mem0").await;
        until("none is read", async || read(&sidecar).await.0.is_null()).await;
    });
}

#[test]
fn what_is_written_to_a_mirrored_table_with_triggers_is_marked_whoever_writes() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let outbox = mirrored(&scene, TOLD).await;
        let writes = [
            (
                format!("insert into mem0 values ('{TWO}', '[1,2]', '{{}}')"),
                vec![TWO],
            ),
            (
                format!("update mem0 set payload = '{{}}' where id = '{TWO}'"),
                vec![TWO],
            ),
            (
                format!("update mem0 set id = '{ONE}' where id = '{TWO}'"),
                vec![ONE, TWO],
            ),
            ("begin; delete from mem0; rollback".to_owned(), vec![]),
            ("delete from mem0".to_owned(), vec![ONE]),
            ("truncate mem0".to_owned(), vec!["dropped", "schema"]),
        ];
        scene
            .run("delete from mem0; create role app; grant all on mem0 to app")
            .await;
        marks(&outbox).await;
        for (sql, expected) in writes {
            // It has no right on anything of ours.
            scene.run(&format!("set role app; {sql}")).await;
            assert_eq!(marks(&outbox).await, expected, "{sql}");
        }
        // The table becomes another: nobody is in the way, and nothing is forgotten.
        scene
            .run("alter table mem0 alter id type text; insert into mem0 values ('odd', '[1,2]', '{}')")
            .await;
        assert!(marks(&outbox).await.is_empty());
        let due = outbox.sweeps().await.unwrap();
        assert_eq!(due[0].collection.as_deref(), Some("mem0"));
    });
}

#[test]
fn texts_and_numbers_of_a_table_are_marked_as_the_ids_that_they_are_shown_as() {
    story(async {
        let sql = "create table texts (id text primary key, v vector(2)); \
                   create table numbers (id int primary key, v vector(2))";
        let scene = Scene::with(sql).await;
        let more = "[collections.texts]\ntable = \"texts\"\ntrigger = true\n\
                    [collections.numbers]\ntable = \"numbers\"\ntrigger = true\n";
        let outbox = mirrored(&scene, more).await;
        scene
            .run(&format!(
                "insert into texts values ('odd', '[1,2]'), ('{ONE}', '[1,2]'); \
                 insert into numbers values (7, '[1,2]'), (-7, '[1,2]')"
            ))
            .await;
        let sidecar = scene.sidecar(more).await;
        let body = json!({"limit": 10});
        let target = "/collections/texts/points/scroll";
        let found = ok(&sidecar, "POST", target, &body).await;
        let ids = found["points"].as_array().unwrap().iter();
        let mut ids: Vec<_> = ids
            .map(|of| of["id"].as_str().unwrap().to_owned())
            .collect();
        ids.push("7".to_owned());
        ids.sort();
        assert_eq!(marks(&outbox).await, ids);
    });
}

#[test]
fn what_is_written_through_us_to_a_mirrored_table_without_triggers_is_marked() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let outbox = mirrored(&scene, UNTOLD).await;
        let sidecar = scene.sidecar(UNTOLD).await;
        let n = json!({"must": [{"key": "n", "match": {"value": 0}}]});
        let writes = [
            (
                "PUT",
                "",
                json!({"points": [{"id": TWO, "vector": [1.0, 2.0]}]}),
                vec![TWO],
            ),
            (
                "POST",
                "/payload",
                json!({"payload": {"x": 1}, "filter": n}),
                vec![ONE],
            ),
            (
                "PUT",
                "/vectors",
                json!({"points": [{"id": TWO, "vector": [2.0, 2.0]}]}),
                vec![TWO],
            ),
            (
                "POST",
                "/vectors/delete",
                json!({"points": [ONE], "vector": [""]}),
                vec![ONE],
            ),
            ("POST", "/delete", json!({"points": [TWO]}), vec![TWO]),
            ("POST", "/delete", json!({"filter": n}), vec![ONE]),
        ];
        for (method, way, body, expected) in writes {
            let target = format!("/collections/mem0/points{way}?wait=true");
            ok(&sidecar, method, &target, &body).await;
            assert_eq!(marks(&outbox).await, expected, "{method} {way}");
        }
        assert_eq!(triggers(&scene).await, 0);
    });
}

#[test]
fn the_triggers_of_a_table_go_when_the_setting_does() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let outbox = mirrored(&scene, TOLD).await;
        assert_eq!(triggers(&scene).await, 5);
        drop(scene.sidecar(TOLD).await);
        assert_eq!(triggers(&scene).await, 5);
        scene.sidecar(UNTOLD).await;
        assert_eq!(triggers(&scene).await, 0);
        scene.run("update mem0 set payload = '{}'").await;
        assert_eq!(marks(&outbox).await, ["schema"]);
    });
}

#[test]
fn a_table_that_is_made_anew_gets_its_triggers_again_and_is_compared_whole() {
    story(async {
        let scene = Scene::with(TABLE).await;
        let outbox = mirrored(&scene, TOLD).await;
        let sidecar = scene.sidecar(&format!("cache.ttl = \"1h\"\n{TOLD}")).await;
        until("answers are kept", async || {
            read(&sidecar).await.1 == "hit-l1"
        })
        .await;
        scene
            .run(&format!("drop table mem0; {}", TABLE.replace(": 0", ": 9")))
            .await;
        until("the new one is read", async || read(&sidecar).await.0 == 9).await;
        assert_eq!(triggers(&scene).await, 5);
        let due = outbox.sweeps().await.unwrap();
        assert_eq!(due[0].collection.as_deref(), Some("mem0"));
    });
}

#[test]
fn who_may_make_no_triggers_is_told_so_at_the_start() {
    story(async {
        let scene = Scene::with(TABLE).await;
        scene
            .run(
                "create role app login; grant create on database postgres to app; \
                  grant select on mem0 to app",
            )
            .await;
        let toml = scene.toml(TOLD).replace("postgres@", "app@");
        let error = app::start(settings(&toml)).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Settings);
        let said = error.to_string();
        assert!(
            said.contains("grant trigger on \"public\".\"mem0\" to ROLE"),
            "{said}"
        );
        scene.run("grant trigger on mem0 to app").await;
        app::start(settings(&toml)).await.unwrap();
        assert_eq!(triggers(&scene).await, 1);
    });
}
