//! The outbox of a mirrored store: every change leaves its mark, whoever makes it and however, and
//! what was marked is lost to nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outrigger::model::{
    ASKED_FOR, Batch, DeadLetter, Mark, NEVER_COMPARED, OTHER_AUTHORITY, PERHAPS_DELETED, PointKey,
    Subject, reason_of_both,
};
use outrigger::net::client_tls;
use outrigger::store::{MirrorPlan, Outbox, Pgvector, PgvectorSettings};
use outrigger::task;
use serde_json::{Value, json};

use super::{Scene, make, ok};
use crate::support::dice::Dice;
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

const MANY: u64 = 1_000_000;

/// A store beside the sidecar's, as another sidecar has it.
fn store(scene: &Scene) -> Pgvector {
    let patience = Duration::from_secs(20);
    let settings = PgvectorSettings {
        url: scene.postgres.url(),
        tls: client_tls(None).unwrap(),
        has_authority: false,
        pool_size: 4,
        connect_timeout: patience,
        read_timeout: patience,
        write_timeout: patience,
        slow_timeout: patience,
        data_dir: scene.data.path().to_path_buf(),
        adopted: BTreeMap::new(),
        tells_by_redis: false,
    };
    Pgvector::new(settings).unwrap()
}

fn all() -> MirrorPlan {
    MirrorPlan {
        default: true,
        named: BTreeMap::new(),
    }
}

fn numbers(marks: &[Mark]) -> BTreeSet<u64> {
    let numbers = marks.iter().map(|mark| match mark.subject {
        Subject::Point(PointKey::Number(number)) => number,
        other @ (Subject::Point(PointKey::Uuid(_)) | Subject::Schema | Subject::Dropped) => {
            panic!("not a number: {other:?}")
        }
    });
    numbers.collect()
}

/// What is marked, in words: the numbers of points, or a barrier; all of it cleared.
async fn drained(outbox: &Outbox, collection: &str) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let batches = outbox.take(100).await.unwrap();
        let Some(batch) = batches.into_iter().find(|of| &*of.collection == collection) else {
            return said;
        };
        let words = batch.marks.iter().map(|mark| match mark.subject {
            Subject::Point(key) => key.to_string(),
            Subject::Schema => "schema".to_owned(),
            Subject::Dropped => "dropped".to_owned(),
        });
        let mut words: Vec<_> = words.collect();
        words.sort();
        said.append(&mut words);
        outbox.clear(collection, &batch.marks).await.unwrap();
    }
}

async fn write(sidecar: &Sidecar, method: &str, target: &str, body: Value) {
    let target = format!("/collections/docs{target}?wait=true");
    ok(sidecar, method, &target, &body).await;
}

fn point(id: u64, color: &str) -> Value {
    json!({"id": id, "payload": {"color": color, "text": "some words", "n": {"a": 1, "b": 2}},
        "vector": {"": [1.0, 2.0, 3.0, 4.0], "cos": [1.0, id], "rows": [[1.0, 2.0]],
        "words": {"indices": [1], "values": [1.0]}}})
}

/// Points 1 to 6, of which 1 to 3 are red; nothing is waiting.
async fn painted(scene: &Scene) -> (Sidecar, Outbox) {
    let store = store(scene);
    store.mirrored(all(), "a", 1).await.unwrap();
    let outbox = store.outbox(MANY);
    let sidecar = scene.sidecar().await;
    make(&sidecar, "docs").await;
    let points: Vec<_> = (1..=6)
        .map(|id| point(id, if id < 4 { "red" } else { "blue" }))
        .collect();
    write(&sidecar, "PUT", "/points", json!({"points": points})).await;
    let said = drained(&outbox, "docs").await;
    assert_eq!(said.join(" "), "schema 1 2 3 4 5 6".to_owned());
    (sidecar, outbox)
}

#[test]
fn every_kind_of_write_marks_the_points_that_it_changes_and_no_others() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        let red = json!({"must": [{"key": "color", "match": {"value": "red"}}]});
        let two = json!({"must": [{"has_id": [2]}]});
        let vector = |id: u64| json!({"id": id, "vector": {"cos": [2.0, id]}});
        let writes: Vec<(&str, &str, Value, &str)> = vec![
            (
                "PUT",
                "/points",
                json!({"points": [point(7, "red"), point(1, "red")]}),
                "1 7",
            ),
            (
                "PUT",
                "/points",
                json!({"batch": {"ids": [8], "vectors": {"cos": [[1.0, 1.0]]}}}),
                "8",
            ),
            (
                "PUT",
                "/points",
                json!({"points": [point(1, "red"), point(2, "red")],
                "update_filter": two}),
                "2",
            ),
            (
                "PUT",
                "/points",
                json!({"points": [point(1, "red"), point(9, "red")],
                "update_mode": "insert_only"}),
                "9",
            ),
            (
                "PUT",
                "/points",
                json!({"points": [point(1, "red"), point(10, "red")],
                "update_mode": "update_only"}),
                "1",
            ),
            ("POST", "/points/delete", json!({"points": [9, 99]}), "9"),
            (
                "POST",
                "/points/delete",
                json!({"filter": {"must": [{"has_id": [7, 99]}]}}),
                "7",
            ),
            (
                "PUT",
                "/points/vectors",
                json!({"points": [vector(3), vector(4)]}),
                "3 4",
            ),
            (
                "PUT",
                "/points/vectors",
                json!({"points": [vector(2), vector(4)],
                "update_filter": two}),
                "2",
            ),
            (
                "POST",
                "/points/vectors/delete",
                json!({"points": [5], "vector": ["cos"]}),
                "5",
            ),
            (
                "POST",
                "/points/vectors/delete",
                json!({"filter": red, "vector": ["rows"]}),
                "1 2 3",
            ),
            (
                "POST",
                "/points/payload",
                json!({"payload": {"x": 1}, "points": [4]}),
                "4",
            ),
            (
                "POST",
                "/points/payload",
                json!({"payload": {"x": 1}, "filter": red}),
                "1 2 3",
            ),
            (
                "POST",
                "/points/payload",
                json!({"payload": {"x": 1}, "key": "n", "points": [5]}),
                "5",
            ),
            (
                "PUT",
                "/points/payload",
                json!({"payload": {"color": "red"}, "points": [6]}),
                "6",
            ),
            (
                "PUT",
                "/points/payload",
                json!({"payload": {"color": "red"}, "filter": red}),
                "1 2 3 6",
            ),
            (
                "POST",
                "/points/payload/delete",
                json!({"keys": ["x"], "points": [4]}),
                "4",
            ),
            (
                "POST",
                "/points/payload/delete",
                json!({"keys": ["x"], "filter": two}),
                "2",
            ),
            ("POST", "/points/payload/clear", json!({"points": [5]}), "5"),
            ("POST", "/points/payload/clear", json!({"filter": two}), "2"),
            (
                "POST",
                "/points/batch",
                json!({"operations": [
                {"delete": {"points": [5]}}, {"set_payload": {"payload": {"y": 1}, "points": [4]}},
                {"upsert": {"points": [point(11, "blue")]}}]}),
                "11 4 5",
            ),
            // The words of a text index follow in a transaction of more than one round trip.
            (
                "PUT",
                "/index",
                json!({"field_name": "text", "field_schema": "text"}),
                "schema",
            ),
            ("PUT", "/points", json!({"points": [point(1, "red")]}), "1"),
            (
                "POST",
                "/points/payload",
                json!({"payload": {"text": "a"}, "filter": two}),
                "2",
            ),
            ("DELETE", "/index/text", json!({}), "schema"),
            (
                "PUT",
                "/vectors/more",
                json!({"dense": {"size": 2, "distance": "Dot"}}),
                "schema",
            ),
            (
                "PUT",
                "/points/vectors",
                json!({"points": [{"id": 4, "vector": {"more": [1, 2]}}]}),
                "4",
            ),
            ("DELETE", "/vectors/more", json!({}), "schema"),
            (
                "PATCH",
                "",
                json!({"optimizers_config": {"indexing_threshold": 5}}),
                "schema",
            ),
        ];
        for (method, target, body, expected) in writes {
            write(&sidecar, method, target, body.clone()).await;
            let said = drained(&outbox, "docs").await;
            assert_eq!(said.join(" "), expected, "{method} {target} {body}");
        }
    });
}

#[test]
fn what_is_written_in_sql_is_marked_and_what_is_rolled_back_is_not() {
    let scene = Scene::new();
    story(async {
        let (_sidecar, outbox) = painted(&scene).await;
        let client = scene.postgres.client().await;
        let key = |id: u64| format!("'\\x00{id:016x}'::bytea");
        let table = |letter: &str| {
            let like = format!("c1\\_{letter}%");
            let client = &client;
            async move {
                let sql = "select relname::text from pg_class where relname like $1 and relkind = 'r' \
                           order by 1 limit 1";
                client
                    .query_one(sql, &[&like])
                    .await
                    .unwrap()
                    .get::<_, String>(0)
            }
        };
        let (dense, sparse) = (table("v").await, table("s").await);
        let pid = |id: u64| format!("(select pid from qd_data.c1 where id = {})", key(id));
        let statements = [
            (
                format!(
                    "update qd_data.c1 set payload = '{{}}' where id = {}",
                    key(2)
                ),
                "2",
            ),
            (
                "update qd_data.c1 set payload = '{}' where false".to_owned(),
                "",
            ),
            (
                format!(
                    "update qd_data.c1 set id = {} where id = {}",
                    key(20),
                    key(2)
                ),
                "2 20",
            ),
            (
                format!("insert into qd_data.c1 (id, ver) values ({}, 1)", key(21)),
                "21",
            ),
            (
                format!("delete from qd_data.c1 where id = {}", key(21)),
                "21",
            ),
            (
                format!("delete from qd_data.{dense} where pid = {}", pid(3)),
                "3",
            ),
            (
                format!(
                    "update qd_data.{sparse} set val = '{{2}}' where pid = {}",
                    pid(4)
                ),
                "4",
            ),
            (
                format!(
                    "insert into qd_data.{dense} values ({}, '[1,2,3,4]')",
                    pid(3)
                ),
                "3",
            ),
            (
                format!(
                    "begin; delete from qd_data.c1 where id = {}; rollback",
                    key(1)
                ),
                "",
            ),
            ("truncate qd_data.c1".to_owned(), "dropped schema"),
        ];
        for (sql, expected) in statements {
            client.batch_execute(&sql).await.unwrap();
            let said = drained(&outbox, "docs").await;
            assert_eq!(said.join(" "), expected, "{sql}");
        }
        assert!(outbox.sweeps().await.unwrap().is_empty());
        let sql = format!("truncate qd_data.{dense}");
        client.batch_execute(&sql).await.unwrap();
        let due = outbox.sweeps().await.unwrap();
        assert_eq!(due[0].collection.as_deref(), Some("docs"));
    });
}

/// One who may write to a table, and has no right on anything else of ours.
#[test]
fn a_writer_without_any_right_on_the_outbox_leaves_marks_and_cannot_bend_them() {
    let scene = Scene::new();
    story(async {
        let (_sidecar, outbox) = painted(&scene).await;
        let client = scene.postgres.client().await;
        client
            .batch_execute(
                "create role stranger; grant usage on schema qd_data to stranger; \
                 grant all on qd_data.c1 to stranger; create schema evil authorization stranger; \
                 set role stranger; \
                 create function evil.int4(text) returns int4 language sql as 'select 1 / 0'; \
                 create table evil.changed (id bytea); create temp table changed (id bytea); \
                 set search_path = evil, pg_catalog; \
                 update qd_data.c1 set payload = '{}' where pid = 1",
            )
            .await
            .unwrap();
        assert_eq!(drained(&outbox, "docs").await, ["1"]);
        assert!(client.query("select 1 from qdc.outbox", &[]).await.is_err());
    });
}

#[test]
fn a_mark_that_is_made_after_the_taking_stays_when_what_was_taken_is_cleared() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        for _ in 0..3 {
            write(
                &sidecar,
                "PUT",
                "/points",
                json!({"points": [point(1, "red"), point(2, "red")]}),
            )
            .await;
        }
        let taken = outbox.take(100).await.unwrap().remove(0);
        assert_eq!(numbers(&taken.marks), BTreeSet::from([1, 2]));
        // Committed late, with a number that came before those that were taken.
        let client = scene.postgres.client().await;
        let sql = "insert into qdc.outbox (seq, cid, id) overriding system value \
                   select 1, cid, id from qdc.outbox where cid = 1 order by seq limit 1";
        client.batch_execute(sql).await.unwrap();
        write(
            &sidecar,
            "PUT",
            "/points",
            json!({"points": [point(2, "red")]}),
        )
        .await;
        outbox.clear("docs", &taken.marks).await.unwrap();
        assert_eq!(drained(&outbox, "docs").await, ["1", "2"]);
        let left: i64 = client
            .query_one("select count(*) from qdc.outbox", &[])
            .await
            .unwrap()
            .get(0);
        assert_eq!(left, 0);
    });
}

#[test]
fn what_concerns_a_whole_collection_is_marked_with_its_name() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        make(&sidecar, "other").await;
        assert_eq!(drained(&outbox, "other").await, ["schema"]);
        let alias = |name: &str| {
            json!({"actions": [{"create_alias":
            {"alias_name": "a", "collection_name": name}}]})
        };
        let aliases = "/collections/aliases";
        ok(&sidecar, "POST", aliases, &alias("docs")).await;
        assert_eq!(drained(&outbox, "docs").await, ["schema"]);
        assert!(drained(&outbox, "other").await.is_empty());
        ok(&sidecar, "POST", aliases, &alias("other")).await;
        assert_eq!(drained(&outbox, "docs").await, ["schema"]);
        assert_eq!(drained(&outbox, "other").await, ["schema"]);
        let gone = json!({"actions": [{"delete_alias": {"alias_name": "a"}}]});
        ok(&sidecar, "POST", aliases, &gone).await;
        assert!(drained(&outbox, "docs").await.is_empty());
        assert_eq!(drained(&outbox, "other").await, ["schema"]);
        // Made anew under its name: what was marked of the one before is of nobody.
        write(
            &sidecar,
            "PUT",
            "/points",
            json!({"points": [point(1, "red")]}),
        )
        .await;
        ok(&sidecar, "DELETE", "/collections/docs", &Value::Null).await;
        make(&sidecar, "docs").await;
        write(
            &sidecar,
            "PUT",
            "/points",
            json!({"points": [point(2, "red")]}),
        )
        .await;
        assert_eq!(drained(&outbox, "docs").await, ["dropped", "schema", "2"]);
        assert!(outbox.backlog().await.unwrap().is_empty());
    });
}

#[test]
fn a_recovered_snapshot_is_another_life_and_to_be_compared_whole() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        let made = ok(&sidecar, "POST", "/collections/docs/snapshots", &json!({})).await;
        let file = scene
            .data
            .path()
            .join("snapshots/docs")
            .join(made["name"].as_str().unwrap());
        let body = json!({"location": format!("file://{}", file.display())});
        let target = "/collections/docs/snapshots/recover?wait=true";
        ok(&sidecar, "PUT", target, &body).await;
        assert_eq!(drained(&outbox, "docs").await, ["dropped", "schema"]);
        let due = outbox.sweeps().await.unwrap();
        assert_eq!((due.len(), due[0].collection.as_deref()), (1, Some("docs")));
        // Its tables mark.
        write(
            &sidecar,
            "PUT",
            "/points",
            json!({"points": [point(1, "red")]}),
        )
        .await;
        assert_eq!(drained(&outbox, "docs").await, ["1"]);
        // One that was asked for anew is not answered by what began before.
        outbox.want_sweep(Some("docs"), "again").await.unwrap();
        outbox.swept(&due[0]).await.unwrap();
        let again = outbox.sweeps().await.unwrap();
        assert_eq!(&*again[0].reason, "again");
        outbox.swept(&again[0]).await.unwrap();
        outbox.want_sweep(None, "all").await.unwrap();
        assert_eq!(outbox.sweeps().await.unwrap()[0].collection, None);
        // Which reason stays is the same as in a journal.
        let reasons = [
            "another",
            NEVER_COMPARED,
            "asked for (but for collections with a mode of their own)",
            OTHER_AUTHORITY,
            PERHAPS_DELETED,
            ASKED_FOR,
            "one more",
            "another (but for collections with a mode of their own)",
        ];
        for before in reasons {
            for now in reasons {
                outbox.forget().await.unwrap();
                outbox.want_sweep(None, before).await.unwrap();
                outbox.want_sweep(None, now).await.unwrap();
                let due = outbox.sweeps().await.unwrap();
                assert_eq!(
                    *due[0].reason,
                    *reason_of_both(before, now),
                    "{before}, {now}"
                );
            }
        }
        outbox.forget().await.unwrap();
        assert!(outbox.sweeps().await.unwrap().is_empty());
    });
}

/// The points that a writer has changed.
async fn scribble(sidecar: &Sidecar, seed: u64, until: &AtomicBool) -> BTreeSet<u64> {
    let mut dice = Dice::new(seed);
    let mut changed = BTreeSet::new();
    while !until.load(Ordering::Acquire) {
        let mut ids: Vec<u64> = (0..1 + dice.below(5))
            .map(|_| 1 + dice.any() % 12)
            .collect();
        match dice.below(3) {
            0 => {
                let points: Vec<_> = ids.iter().map(|id| point(*id, "red")).collect();
                write(sidecar, "PUT", "/points", json!({"points": points})).await;
            }
            1 => {
                let filter = json!({"must": [{"has_id": ids}]});
                write(
                    sidecar,
                    "POST",
                    "/points/payload",
                    json!({"payload": {"s": seed}, "filter": filter}),
                )
                .await;
            }
            _ => {
                ids = vec![ids[0] + 100];
                write(
                    sidecar,
                    "PUT",
                    "/points",
                    json!({"points": [point(ids[0], "red")]}),
                )
                .await;
                write(sidecar, "POST", "/points/delete", json!({"points": ids})).await;
            }
        }
        changed.extend(ids);
    }
    changed
}

#[test]
fn writers_and_whoever_works_off_neither_lose_a_mark_nor_wait_in_a_circle() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        let sidecar = Arc::new(sidecar);
        let over = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (1..=4)
            .map(|seed| {
                let (sidecar, over) = (Arc::clone(&sidecar), Arc::clone(&over));
                task::spawn(
                    "writer",
                    async move { scribble(&sidecar, seed, &over).await },
                )
            })
            .collect();
        // Each mark that is worked off copies the version of its point, as a follower would.
        let client = scene.postgres.client().await;
        let mut copied: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        let sql = "select id, ver from qd_data.c1 where id = any($1)";
        let mut rounds = 0;
        let mut is_last = false;
        let mut seen = BTreeSet::new();
        loop {
            let batches: Vec<Batch> = outbox.take(5).await.unwrap();
            rounds += 1;
            if rounds >= 150 && seen.len() > 20 {
                over.store(true, Ordering::Release);
            }
            if batches.is_empty() && is_last {
                break;
            }
            is_last = writers.iter().all(|writer| writer.is_finished());
            for batch in batches {
                let keys: Vec<Vec<u8>> = numbers(&batch.marks)
                    .into_iter()
                    .map(|number| [&[0], &number.to_be_bytes()[..]].concat())
                    .collect();
                let rows = client.query(sql, &[&keys]).await.unwrap();
                for key in &keys {
                    copied.remove(key);
                }
                seen.extend(keys.iter().cloned());
                copied.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
                outbox.clear("docs", &batch.marks).await.unwrap();
            }
        }
        let mut changed = BTreeSet::new();
        for writer in writers {
            changed.extend(writer.await.unwrap());
        }
        assert!(changed.len() > 20, "{changed:?}");
        let rows = client
            .query("select id, ver from qd_data.c1", &[])
            .await
            .unwrap();
        let there: BTreeMap<Vec<u8>, i64> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        copied.retain(|key, _| there.contains_key(key) || key[8] >= 100);
        let touched = |key: &Vec<u8>| changed.contains(&u64::from(key[8]));
        let there: BTreeMap<_, _> = there.into_iter().filter(|(key, _)| touched(key)).collect();
        copied.retain(|key, _| touched(key));
        assert_eq!(copied, there);
    });
}

#[test]
fn every_write_that_begins_once_a_collection_is_mirrored_is_marked() {
    let scene = Scene::new();
    story(async {
        let sidecar = Arc::new(scene.sidecar().await);
        make(&sidecar, "docs").await;
        let store = store(&scene);
        let outbox = store.outbox(MANY);
        let client = scene.postgres.client().await;
        // Somebody has written and goes on for a while.
        client
            .batch_execute(
                "begin; insert into qd_data.c1 (id, ver) values ('\\x000000000000000500', 1)",
            )
            .await
            .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let after = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4_u64)
            .map(|writer| {
                let sidecar = Arc::clone(&sidecar);
                let (over, after) = (Arc::clone(&over), Arc::clone(&after));
                task::spawn("writer", async move {
                    let mut to_be_marked = BTreeSet::new();
                    let mut id = 1000 * (writer + 1);
                    while !over.load(Ordering::Acquire) {
                        id += 1;
                        let is_after = after.load(Ordering::Acquire);
                        write(
                            &sidecar,
                            "PUT",
                            "/points",
                            json!({"points": [point(id, "red")]}),
                        )
                        .await;
                        if is_after {
                            to_be_marked.insert(id);
                        }
                    }
                    to_be_marked
                })
            })
            .collect();
        let mirrored = async {
            store.mirrored(all(), "a", 1).await.unwrap();
            after.store(true, Ordering::Release);
        };
        let written = async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert!(
                !after.load(Ordering::Acquire),
                "an earlier write has not ended"
            );
            client.batch_execute("commit").await.unwrap();
        };
        tokio::join!(mirrored, written);
        tokio::time::sleep(Duration::from_millis(500)).await;
        over.store(true, Ordering::Release);
        let mut to_be_marked = BTreeSet::new();
        for writer in writers {
            to_be_marked.extend(writer.await.unwrap());
        }
        assert!(to_be_marked.len() > 8, "{}", to_be_marked.len());
        let mut marked = BTreeSet::new();
        while let Some(batch) = outbox.take(50).await.unwrap().pop() {
            marked.extend(numbers(&batch.marks));
            outbox.clear("docs", &batch.marks).await.unwrap();
        }
        assert!(marked.is_superset(&to_be_marked));
    });
}

#[test]
fn while_a_collection_is_not_mirrored_nothing_of_it_is_marked_and_nothing_is_left_on_its_tables() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        make(&sidecar, "later").await;
        drained(&outbox, "later").await;
        let client = scene.postgres.client().await;
        let triggers = async || {
            let sql = "select count(*) from pg_trigger where tgname like 'outrigger_mark%'";
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        let both = triggers().await;
        let store = store(&scene);
        let mut plan = all();
        plan.named.insert("docs".to_owned(), false);
        store.mirrored(plan.clone(), "a", 1).await.unwrap();
        assert_eq!(triggers().await, both / 2);
        let all_of_it = async || {
            write(
                &sidecar,
                "PUT",
                "/points",
                json!({"points": [point(1, "red")]}),
            )
            .await;
            write(
                &sidecar,
                "PUT",
                "/index",
                json!({"field_name": "n", "field_schema": "integer"}),
            )
            .await;
            ok(&sidecar, "DELETE", "/collections/docs", &Value::Null).await;
            make(&sidecar, "docs").await;
            write(
                &sidecar,
                "PUT",
                "/points",
                json!({"points": [point(1, "red")]}),
            )
            .await;
        };
        all_of_it().await;
        assert!(drained(&outbox, "docs").await.is_empty());
        ok(&sidecar, "DELETE", "/collections/later", &Value::Null).await;
        assert_eq!(drained(&outbox, "later").await, ["dropped"]);
        store.mirrored(MirrorPlan::default(), "a", 1).await.unwrap();
        assert_eq!(triggers().await, 0);
        store.mirrored(all(), "a", 1).await.unwrap();
        all_of_it().await;
        assert_eq!(drained(&outbox, "docs").await, ["dropped", "schema", "1"]);
    });
}

#[test]
fn too_many_marks_of_a_collection_become_one_sweep() {
    let scene = Scene::new();
    story(async {
        let (sidecar, _) = painted(&scene).await;
        let outbox = store(&scene).outbox(10);
        let upsert = async |from: u64| {
            let points: Vec<_> = (from..from + 4).map(|id| point(id, "red")).collect();
            write(&sidecar, "PUT", "/points", json!({"points": points})).await;
        };
        upsert(1).await;
        upsert(1).await;
        let backlog = outbox.backlog().await.unwrap();
        assert_eq!((&*backlog[0].0, backlog[0].1.marks), ("docs", 8));
        assert!(backlog[0].1.age.is_some());
        upsert(1).await;
        assert!(outbox.backlog().await.unwrap().is_empty());
        let due = outbox.sweeps().await.unwrap();
        assert_eq!(due[0].collection.as_deref(), Some("docs"));
        upsert(8).await;
        assert_eq!(drained(&outbox, "docs").await, ["10", "11", "8", "9"]);
    });
}

#[test]
fn a_dead_letter_becomes_a_mark_when_it_is_revived_and_goes_when_its_point_is_written() {
    let scene = Scene::new();
    story(async {
        let (sidecar, outbox) = painted(&scene).await;
        let upsert = async || {
            write(
                &sidecar,
                "PUT",
                "/points",
                json!({"points": [point(1, "red")]}),
            )
            .await;
        };
        let letter = DeadLetter {
            collection: "docs".into(),
            id: PointKey::Number(1),
            reason: "it is refused".into(),
            since_ms: 0,
        };
        let bury = async || {
            let taken = outbox.take(10).await.unwrap().remove(0);
            outbox.bury(std::slice::from_ref(&letter)).await.unwrap();
            // Taken again before it was cleared, as by one who was interrupted.
            outbox.take(10).await.unwrap();
            outbox.clear("docs", &taken.marks).await.unwrap();
        };
        upsert().await;
        bury().await;
        let dead = outbox.dead(None, 10).await.unwrap();
        assert_eq!(
            (dead.len(), &dead[0].reason, dead[0].id),
            (1, &letter.reason, letter.id)
        );
        assert!(dead[0].since_ms > 1_600_000_000_000);
        assert_eq!(outbox.dead_count().await.unwrap()["docs"], 1);
        assert!(outbox.dead(Some("other"), 10).await.unwrap().is_empty());
        assert!(outbox.take(10).await.unwrap().is_empty());
        assert_eq!(outbox.revive(None).await.unwrap(), 1);
        assert!(outbox.dead(None, 10).await.unwrap().is_empty());
        bury().await;
        upsert().await;
        assert_eq!(drained(&outbox, "docs").await, ["1"]);
        assert!(outbox.dead(None, 10).await.unwrap().is_empty());
    });
}

#[test]
fn what_is_marked_by_hand_is_taken_as_what_is_marked_by_a_write() {
    let scene = Scene::new();
    story(async {
        let (_sidecar, outbox) = painted(&scene).await;
        let uuid = PointKey::Uuid(0x550e_8400_e29b_41d4_a716_4466_5544_0000);
        let subjects = [
            Subject::Point(uuid),
            Subject::Point(PointKey::Number(u64::MAX)),
            Subject::Schema,
        ];
        outbox.mark("docs", &subjects).await.unwrap();
        outbox.woken().await;
        let said = drained(&outbox, "docs").await;
        assert_eq!(said[0], "schema");
        assert!(said.contains(&uuid.to_string()) && said.contains(&u64::MAX.to_string()));
        outbox
            .mark("nowhere", &[Subject::Point(uuid)])
            .await
            .unwrap();
        assert!(outbox.backlog().await.unwrap().is_empty());
    });
}

#[test]
fn one_has_the_lead_and_loses_it_with_its_connection() {
    let scene = Scene::new();
    story(async {
        let (one, two) = (store(&scene).outbox(MANY), store(&scene).outbox(MANY));
        let lead = one.try_lead().await.unwrap().unwrap();
        assert!(two.try_lead().await.unwrap().is_none());
        assert!(lead.is_held());
        let client = scene.postgres.client().await;
        let end =
            "select pg_terminate_backend(pid) from pg_locks where classid = 20820 and granted";
        client.query(end, &[]).await.unwrap();
        lead.lost().await;
        assert!(!lead.is_held());
        let lead = two.try_lead().await.unwrap().unwrap();
        assert!(one.try_lead().await.unwrap().is_none());
        drop(lead);
        until("it is free", async || {
            one.try_lead().await.unwrap().is_some()
        })
        .await;
    });
}
