//! The store in PostgreSQL from outside: what it keeps, what several sidecars see of one another,
//! what is left when the database goes away and comes back.

mod catalogue;
mod control;
mod limits;
mod outbox;
mod outside;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outrigger::error::ErrorKind;
use outrigger::{app, task};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::sidecar::{Sidecar, settings};
use crate::support::{story, until};

/// A database, and sidecars over it in this process.
struct Scene {
    postgres: Postgres,
    data: Folder,
}

impl Scene {
    fn new() -> Self {
        Self {
            postgres: Postgres::start(),
            data: Folder::new(),
        }
    }

    async fn sidecar(&self) -> Sidecar {
        self.sidecar_with("").await
    }

    async fn sidecar_with(&self, more: &str) -> Sidecar {
        Sidecar::with(&self.toml(more)).await
    }

    /// One whose cache is on.
    async fn caching(&self) -> Sidecar {
        let own = self.postgres.toml(&self.data);
        let listen = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
        Sidecar::with(&format!("{listen}{own}")).await
    }

    fn toml(&self, more: &str) -> String {
        format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ncache.enabled = false\n\
             {}{more}\n",
            self.postgres.toml(&self.data)
        )
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

/// A collection with a vector of each kind.
async fn make(sidecar: &Sidecar, name: &str) {
    let config = json!({
        "vectors": {
            "": {"size": 4, "distance": "Dot"},
            "cos": {"size": 2, "distance": "Cosine"},
            "rows": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {}},
        "metadata": {"made": "by a test"},
    });
    ok(sidecar, "PUT", &format!("/collections/{name}"), &config).await;
}

async fn get(sidecar: &Sidecar, ids: &[Value]) -> Value {
    let body = json!({"ids": ids, "with_payload": true, "with_vector": true});
    ok(sidecar, "POST", "/collections/docs/points", &body).await
}

#[test]
fn points_come_back_as_they_were_written() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "docs").await;
        let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let payload = json!({
            "text": "a\u{0}b", "n": u64::MAX, "i": i64::MIN, "f": 2.0, "g": 0.1, "none": null,
            "list": [1, [2], {"x": "y"}], "q\"uote'": "'; drop table qdc.state; --",
        });
        let points = json!({"points": [
            {"id": u64::MAX, "payload": payload, "vector": {
                "": [0.1, -2.5e-8, 16_777_217.0, 1e30], "cos": [3.0, 4.0],
                "rows": [[1.5, 2.0], [3.0, 4.0]],
                "words": {"indices": [4_294_967_295_u32, 7], "values": [0.25, -1.0]},
            }},
            {"id": 0, "vector": {}},
            {"id": uuid, "vector": [1.0, 2.0, 3.0, 4.0]},
        ]});
        let target = "/collections/docs/points?wait=true";
        let done = ok(&sidecar, "PUT", target, &points).await;
        assert_eq!(done, json!({"operation_id": 1, "status": "completed"}));

        let wanted = [
            json!(uuid),
            json!(5),
            json!(u64::MAX),
            json!(0),
            json!(uuid),
        ];
        let mut found = get(&sidecar, &wanted).await;
        let full = found[1]["vector"].take();
        assert_eq!(full[""], json!([0.1, -2.5e-8, 16_777_216.0, 1e30]));
        assert_eq!(full["cos"], json!([0.6, 0.8]));
        assert_eq!(full["rows"], json!([[1.5, 2.0], [3.0, 4.0]]));
        let words = json!({"indices": [7, 4_294_967_295_u32], "values": [-1.0, 0.25]});
        assert_eq!(full["words"], words);
        let expected = json!([
            {"id": uuid, "payload": {}, "vector": [1.0, 2.0, 3.0, 4.0]},
            {"id": u64::MAX, "payload": payload, "vector": null},
            {"id": 0, "payload": {}, "vector": {}},
        ]);
        assert_eq!(found, expected);
        let info = ok(&sidecar, "GET", "/collections/docs", &Value::Null).await;
        assert_eq!(info["points_count"], 3);
        assert_eq!(info["status"], "green");
    });
}

#[test]
fn a_point_is_replaced_as_a_whole_and_deleted_with_all_that_is_its() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "docs").await;
        let target = "/collections/docs/points?wait=true";
        let full = json!({"points": [{"id": 1, "payload": {"a": 1}, "vector": {
            "cos": [0.0, 1.0], "words": {"indices": [1], "values": [1.0]},
        }}]});
        ok(&sidecar, "PUT", target, &full).await;
        let twice = json!({"points": [
            {"id": 1, "payload": {"b": 1}, "vector": {"cos": [1.0, 0.0]}},
            {"id": 1, "vector": {"": [1.0, 1.0, 1.0, 1.0]}},
        ]});
        ok(&sidecar, "PUT", target, &twice).await;
        let found = get(&sidecar, &[json!(1)]).await;
        let expected = json!([{"id": 1, "payload": {}, "vector": [1.0, 1.0, 1.0, 1.0]}]);
        assert_eq!(found, expected);

        let delete = json!({"points": [1, 2]});
        let target = "/collections/docs/points/delete?wait=true";
        ok(&sidecar, "POST", target, &delete).await;
        assert_eq!(get(&sidecar, &[json!(1)]).await, json!([]));
        let client = scene.postgres.client().await;
        let sql = "select (select count(*) from qd_data.c1) + (select count(*) from qd_data.c1_v1) \
                   + (select count(*) from qd_data.c1_v2) + (select count(*) from qd_data.c1_s4)";
        let left: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
    });
}

#[test]
fn collections_and_aliases_are_made_and_dropped() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "docs").await;
        make(&sidecar, "other").await;
        let again = ask(&sidecar, "PUT", "/collections/docs", &json!({})).await;
        assert_eq!(
            again.refusal(409),
            "Wrong input: Collection `docs` already exists!"
        );
        let alias = json!({"actions": [
            {"create_alias": {"collection_name": "docs", "alias_name": "now"}},
        ]});
        ok(&sidecar, "POST", "/collections/aliases", &alias).await;
        let info = ok(&sidecar, "GET", "/collections/now", &Value::Null).await;
        assert_eq!(info["config"]["metadata"], json!({"made": "by a test"}));
        let change = json!({"metadata": {"more": 1}, "params": {"on_disk_payload": false}});
        ok(&sidecar, "PATCH", "/collections/now", &change).await;
        let info = ok(&sidecar, "GET", "/collections/docs", &Value::Null).await;
        assert_eq!(
            info["config"]["metadata"],
            json!({"made": "by a test", "more": 1})
        );
        let vector = json!({"dense": {"size": 3, "distance": "Euclid"}});
        ok(&sidecar, "PUT", "/collections/docs/vectors/late", &vector).await;
        ok(
            &sidecar,
            "DELETE",
            "/collections/docs/vectors/cos",
            &Value::Null,
        )
        .await;
        let index = json!({"field_name": "a.b", "field_schema": "keyword"});
        ok(&sidecar, "PUT", "/collections/docs/index?wait=true", &index).await;
        let info = ok(&sidecar, "GET", "/collections/docs", &Value::Null).await;
        let vectors = info["config"]["params"]["vectors"].as_object().unwrap();
        assert_eq!(vectors.keys().collect::<Vec<_>>(), ["", "late", "rows"]);
        assert_eq!(info["payload_schema"]["a.b"]["data_type"], "keyword");

        assert_eq!(
            ok(&sidecar, "DELETE", "/collections/docs", &Value::Null).await,
            true
        );
        assert_eq!(
            ok(&sidecar, "DELETE", "/collections/docs", &Value::Null).await,
            false
        );
        let gone = ask(&sidecar, "GET", "/collections/now", &Value::Null).await;
        assert_eq!(
            gone.refusal(404),
            "Not found: Collection `now` doesn't exist!"
        );
        let names = ok(&sidecar, "GET", "/collections", &Value::Null).await;
        assert_eq!(names, json!({"collections": [{"name": "other"}]}));
        let client = scene.postgres.client().await;
        let sql = "select count(*) from pg_class r join pg_namespace n on n.oid = relnamespace \
                   where nspname = 'qd_data' and (relname = 'c1' or relname like 'c1\\_%')";
        let left: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
    });
}

#[test]
fn an_alias_may_be_renamed_to_the_name_of_a_collection_as_in_qdrant() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "one").await;
        make(&sidecar, "two").await;
        let target = "/collections/aliases";
        let create = json!({"create_alias": {"alias_name": "kept", "collection_name": "one"}});
        ok(&sidecar, "POST", target, &json!({"actions": [create]})).await;
        let rename = json!({"rename_alias": {"old_alias_name": "kept", "new_alias_name": "two"}});
        ok(&sidecar, "POST", target, &json!({"actions": [rename]})).await;
        let aliases = ok(&sidecar, "GET", "/aliases", &Value::Null).await;
        let expected = json!([{"alias_name": "two", "collection_name": "one"}]);
        assert_eq!(aliases["aliases"], expected);
    });
}

#[test]
fn a_lost_database_is_told_and_found_again() {
    let mut scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar_with("primary.breaker_failures = 1000").await;
        make(&sidecar, "docs").await;
        let target = "/collections/docs/points?wait=true";
        let point = json!({"points": [{"id": 1, "vector": {}, "payload": {"a": 1}}]});
        ok(&sidecar, "PUT", target, &point).await;
        scene.postgres.stop();
        let answer = ask(&sidecar, "PUT", target, &point).await;
        assert_eq!(answer.status(), 502, "{}", answer.text());
        scene.postgres.start_again();
        // Reads first: whatever stood in the pool is dead, and no client is to see that.
        let found = get(&sidecar, &[json!(1)]).await;
        assert_eq!(found[0]["payload"], json!({"a": 1}));
        ok(&sidecar, "PUT", target, &point).await;
        until("it listens again", async || {
            let client = scene.postgres.client().await;
            let sql = "select count(*) from pg_stat_activity where query like 'listen qd%'";
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;
    });
}

#[test]
fn a_write_without_an_answer_is_not_sent_twice_and_may_have_been_done() {
    let scene = Scene::new();
    story(async {
        let lossy = Lossy::before(scene.postgres.port()).await;
        let more = format!("primary.url = \"{}\"", scene.postgres.url_at(lossy.port));
        let toml = scene.toml("").replace(
            &format!("primary.url = \"{}\"", scene.postgres.url()),
            &more,
        );
        let sidecar = Sidecar::with(&toml).await;
        make(&sidecar, "docs").await;
        let target = "/collections/docs/points?wait=true";
        let point = |a: u32| json!({"points": [{"id": 1, "vector": {}, "payload": {"a": a}}]});
        ok(&sidecar, "PUT", target, &point(1)).await;
        lossy.loses.store(true, Ordering::Relaxed);
        let answer = ask(&sidecar, "PUT", target, &point(2)).await;
        assert_eq!(answer.status(), 502, "{}", answer.text());
        assert_eq!(lossy.lost.load(Ordering::Relaxed), 1);
        lossy.loses.store(false, Ordering::Relaxed);
        let found = get(&sidecar, &[json!(1)]).await;
        assert_eq!(found[0]["payload"], json!({"a": 2}));
        let done = ok(&sidecar, "PUT", target, &point(3)).await;
        assert_eq!(done["operation_id"], 3);
    });
}

#[test]
fn a_read_that_nobody_waits_for_ends_at_the_server_and_holds_no_place() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar_with("primary.pool_size = 1").await;
        make(&sidecar, "docs").await;
        make(&sidecar, "held").await;
        let mut client = scene.postgres.client().await;
        let hold = client.transaction().await.unwrap();
        hold.batch_execute("lock table qd_data.c2").await.unwrap();
        // Each in its own way stops waiting: the client's own time limit, and a client that hangs up.
        for target in ["count?timeout=1", "scroll?timeout=1", "query?timeout=1"] {
            let target = format!("/collections/held/points/{target}");
            let body = json!({"query": [1, 2, 3, 4]});
            let body = if target.contains("query") {
                body
            } else {
                json!({})
            };
            ask(&sidecar, "POST", &target, &body).await;
        }
        let ask_points = json!({"ids": [1]});
        let waits = ask(&sidecar, "POST", "/collections/held/points", &ask_points);
        let hung_up = tokio::time::timeout(Duration::from_millis(500), waits).await;
        assert!(hung_up.is_err());
        // The only connection is free for others, and nothing of the above waits at the server.
        assert_eq!(get(&sidecar, &[json!(1)]).await, json!([]));
        until("nothing waits for the lock", async || {
            let sql = "select count(*) from pg_locks where not granted";
            hold.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    });
}

#[test]
fn what_one_sidecar_changes_the_others_see() {
    let scene = Scene::new();
    story(async {
        let (one, two) = (scene.sidecar().await, scene.sidecar().await);
        make(&one, "docs").await;
        let target = "/collections/docs/points?wait=true";
        let with = json!({"points": [{"id": 1, "vector": {"late": [1.0, 2.0, 3.0]}}]});
        let without = json!({"points": [{"id": 1, "vector": {}}]});
        ok(&two, "PUT", target, &without).await;
        // Each round the other one writes by what it knew before, if it was not told.
        for round in 0..10 {
            let vector = json!({"dense": {"size": 3, "distance": "Euclid"}});
            ok(&one, "PUT", "/collections/docs/vectors/late", &vector).await;
            ok(&one, "PUT", target, &with).await;
            ok(&two, "PUT", target, &without).await;
            let found = get(&one, &[json!(1)]).await;
            assert_eq!(found[0]["vector"], json!({}), "round {round}");
            ok(
                &two,
                "DELETE",
                "/collections/docs/vectors/late",
                &Value::Null,
            )
            .await;
            let refused = ask(&one, "PUT", target, &with).await.refusal(400);
            assert_eq!(refused, "Wrong input: Not existing vector name error: late");
            ok(&one, "DELETE", "/collections/docs", &Value::Null).await;
            make(&one, "docs").await;
            ok(&two, "PUT", target, &without).await;
            let found = get(&two, &[json!(1)]).await;
            assert_eq!(found, json!([{"id": 1, "payload": {}, "vector": {}}]));
        }
    });
}

/// Writers of every kind at the same few points. Each writes the same number into the payload and
/// into a vector, or no vector at all: a point that shows two writers' work was torn.
#[test]
fn writes_that_race_leave_whole_points_and_nothing_else() {
    const WRITERS: u64 = 8;
    const ROUNDS: u64 = 40;
    let scene = Scene::new();
    story(async {
        let sidecars = [scene.sidecar().await, scene.sidecar().await];
        make(&sidecars[0], "docs").await;
        let writers = (0..WRITERS).map(|writer| {
            let sidecar = &sidecars[usize::try_from(writer % 2).unwrap()];
            async move {
                for round in 0..ROUNDS {
                    race(sidecar, writer, round).await;
                }
            }
        });
        futures_util::future::join_all(writers).await;

        let ids: Vec<Value> = (1..=6).map(|id| json!(id)).collect();
        let found = get(&sidecars[0], &ids).await;
        for point in found.as_array().unwrap() {
            let stamp = &point["payload"]["stamp"];
            let expected = if point["payload"]["has"] == true {
                json!({"cos": [1.0, 0.0], "words": {"indices": [stamp], "values": [1.0]}})
            } else {
                json!({})
            };
            assert_eq!(point["vector"], expected, "{point}");
        }
        let client = scene.postgres.client().await;
        for table in ["c1_v1", "c1_v2", "c1_m3", "c1_s4"] {
            let sql = format!(
                "select count(*) from qd_data.{table} where pid not in (select pid from qd_data.c1)"
            );
            let left: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
            assert_eq!(left, 0, "{table}");
        }
        let sql = "select deadlocks from pg_stat_database where datname = 'postgres'";
        let deadlocks: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(deadlocks, 0);
    });
}

async fn race(sidecar: &Sidecar, writer: u64, round: u64) {
    let stamp = writer * 1000 + round + 1;
    let target = "/collections/docs/points";
    // In another order for each, so that locks taken in the order of the request would cross.
    let mut ids: Vec<u64> = (1..=6).collect();
    ids.rotate_left(usize::try_from((writer + round) % 6).unwrap());
    if writer % 2 == 1 {
        ids.reverse();
    }
    ids.truncate(4);
    match (writer + round) % 8 {
        0 => {
            let body = json!({"points": ids});
            ok(
                sidecar,
                "POST",
                &format!("{target}/delete?wait=true"),
                &body,
            )
            .await;
        }
        7 => {
            let body = json!({"vector": ["", "rows"], "points": ids});
            let target = format!("{target}/vectors/delete?wait=true");
            let answer = ask(sidecar, "POST", &target, &body).await;
            assert!([200, 404].contains(&answer.status()), "{}", answer.text());
        }
        1 => {
            let body = json!({"payload": {"other": stamp}, "points": ids});
            let answer = ask(
                sidecar,
                "POST",
                &format!("{target}/payload?wait=true"),
                &body,
            )
            .await;
            assert!([200, 404].contains(&answer.status()), "{}", answer.text());
        }
        kind => {
            let has = kind % 2 == 0;
            let points: Vec<Value> = ids
                .iter()
                .map(|id| {
                    let words = json!({"indices": [stamp], "values": [1.0]});
                    let vector = if has {
                        json!({"cos": [1.0, 0.0], "words": words})
                    } else {
                        json!({})
                    };
                    json!({"id": id, "vector": vector, "payload": {"stamp": stamp, "has": has}})
                })
                .collect();
            let body = json!({ "points": points });
            ok(sidecar, "PUT", &format!("{target}?wait=true"), &body).await;
        }
    }
}

#[test]
fn a_vector_size_that_does_not_fit_stops_the_start() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        let config = json!({"vectors": {"size": 4, "distance": "Dot"}});
        ok(&sidecar, "PUT", "/collections/docs", &config).await;
        drop(scene.sidecar_with("vector_size = 4").await);
        let refused = app::start(settings(&scene.toml("vector_size = 5"))).await;
        let Err(error) = refused else {
            panic!("it starts")
        };
        assert_eq!(error.kind(), ErrorKind::Settings);
        let text = "VECTOR_SIZE is 5, and collection \"docs\" holds vectors of size 4; \
                    set vector_size to 4, or move the collection to a model of size 5 first";
        assert_eq!(error.to_string(), text);
    });
}

#[test]
fn a_snapshot_holds_the_whole_collection_and_a_damaged_one_changes_nothing() {
    let scene = Scene::new();
    story(async {
        let sidecar = scene.sidecar().await;
        make(&sidecar, "docs").await;
        let target = "/collections/docs/points?wait=true";
        let points: Vec<Value> = (1..=200)
            .map(|id| {
                let words = json!({"indices": [id], "values": [0.5]});
                json!({"id": id, "payload": {"n": id, "t": "\u{0}x"}, "vector": {
                    "": [id, 0.1, 0.2, 0.3], "cos": [3.0, 4.0], "words": words,
                    "rows": [[1.0, 2.0], [3.0, 4.0]],
                }})
            })
            .collect();
        ok(&sidecar, "PUT", target, &json!({ "points": points })).await;
        let index = json!({"field_name": "n", "field_schema": "integer"});
        ok(&sidecar, "PUT", "/collections/docs/index?wait=true", &index).await;
        let alias = json!({"actions": [
            {"create_alias": {"collection_name": "docs", "alias_name": "now"}},
        ]});
        ok(&sidecar, "POST", "/collections/aliases", &alias).await;
        let ids: Vec<Value> = (0..=201).map(|id| json!(id)).collect();
        let before = get(&sidecar, &ids).await;
        let taken = ok(
            &sidecar,
            "POST",
            "/collections/docs/snapshots",
            &Value::Null,
        )
        .await;
        let name = taken["name"].as_str().unwrap();
        let file = scene.data.path().join("snapshots/docs").join(name);

        let all: Vec<u32> = (1..=200).collect();
        let delete = "/collections/docs/points/delete?wait=true";
        ok(&sidecar, "POST", delete, &json!({ "points": all })).await;
        let late = json!({"dense": {"size": 3, "distance": "Euclid"}});
        ok(&sidecar, "PUT", "/collections/docs/vectors/late", &late).await;
        let recover = json!({"location": format!("file://{}", file.display())});
        let path = "/collections/docs/snapshots/recover";
        assert_eq!(ok(&sidecar, "PUT", path, &recover).await, true);
        assert_eq!(get(&sidecar, &ids).await, before);
        let info = ok(&sidecar, "GET", "/collections/now", &Value::Null).await;
        assert_eq!(info["points_count"], 200);
        assert_eq!(info["payload_schema"]["n"]["data_type"], "integer");
        assert!(info["config"]["params"]["vectors"]["late"].is_null());
        // Numbers go on: what was written later wins over what was recovered.
        let one = json!({"points": [{"id": 1, "vector": {}}, {"id": 999, "vector": {}}]});
        let done = ok(&sidecar, "PUT", target, &one).await;
        assert!(done["operation_id"].as_u64().unwrap() > 2);

        let after = get(&sidecar, &ids).await;
        let whole = std::fs::read(&file).unwrap();
        for cut in [10, 40, whole.len() / 2, whole.len() - 40, whole.len() - 1] {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let refused = ask(&sidecar, "PUT", path, &recover).await.refusal(400);
            let said = "Bad request: the snapshot cannot be recovered: ";
            assert!(refused.starts_with(said), "{refused}");
        }
        let mut turned = whole.clone();
        let at = whole.len() / 2;
        turned[at] ^= 1;
        std::fs::write(&file, &turned).unwrap();
        let refused = ask(&sidecar, "PUT", path, &recover).await;
        assert!([400, 500].contains(&refused.status()), "{}", refused.text());
        assert_eq!(get(&sidecar, &ids).await, after);
        let client = scene.postgres.client().await;
        let sql = "select count(*) from pg_class r join pg_namespace n on n.oid = relnamespace \
                   where nspname = 'qd_data' and relkind = 'r'";
        let tables: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(tables, 5);
    });
}

/// Stands before PostgreSQL and, when told to, loses the answer to a commit and the connection.
struct Lossy {
    port: u16,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl Lossy {
    async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let (loses, lost) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (told, counted) = (Arc::clone(&loses), Arc::clone(&lost));
        task::spawn("lossy", async move {
            while let Ok((client, _)) = listener.accept().await {
                let (told, counted) = (Arc::clone(&told), Arc::clone(&counted));
                task::spawn("lossy one", async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    relay(client, server, &told, &counted).await;
                });
            }
        });
        Self {
            port: own,
            loses,
            lost,
        }
    }
}

async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    loses: &AtomicBool,
    lost: &AtomicUsize,
) {
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(count) if count > 0 => server.write_all(&up[..count]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(count) if count > 0 => {
                    let has_commit = down[..count].windows(7).any(|tag| tag == b"COMMIT\0");
                    if has_commit && loses.load(Ordering::Relaxed) {
                        lost.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    drop(client.write_all(&down[..count]).await);
                }
                _ => return,
            },
        }
    }
}
