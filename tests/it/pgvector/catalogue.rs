//! The catalogue under several sidecars: changes that meet one another, and a database that is put
//! back behind their backs.

use std::time::Duration;

use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{Scene, ask, make, ok};
use crate::support::sidecar::Sidecar;
use crate::support::{story, until};

async fn put(sidecar: &Sidecar, collection: &str, payload: Value) {
    let point = json!({"points": [{"id": 7, "vector": {}, "payload": payload}]});
    let target = format!("/collections/{collection}/points?wait=true");
    ok(sidecar, "PUT", &target, &point).await;
}

async fn payload(sidecar: &Sidecar, collection: &str) -> Value {
    let body = json!({"ids": [7], "with_payload": true});
    let target = format!("/collections/{collection}/points");
    let found = ok(sidecar, "POST", &target, &body).await;
    found[0]["payload"].clone()
}

async fn names(sidecar: &Sidecar) -> Vec<String> {
    let answer = ask(sidecar, "GET", "/collections", &Value::Null).await;
    let answer = if answer.status() == 200 {
        answer.json()
    } else {
        Value::Null
    };
    let found = answer["result"]["collections"].as_array().cloned();
    let name = |found: Value| found["name"].as_str().unwrap().to_owned();
    found.unwrap_or_default().into_iter().map(name).collect()
}

/// As after a standby took over that had not got the last change: another change in its place has
/// the same number of a collection.
#[test]
fn a_change_that_a_put_back_database_has_lost_is_not_taken_for_another() {
    let mut scene = Scene::new();
    story(async {
        let patient = "primary.breaker_failures = 1000";
        let one = scene.sidecar_with(patient).await;
        make(&one, "base").await;
        scene.postgres.stop();
        scene.postgres.keep();
        scene.postgres.start_again();
        until("it is back", async || names(&one).await == ["base"]).await;
        make(&one, "invoices").await;
        put(&one, "invoices", json!({"of": "invoices"})).await;

        scene.postgres.stop();
        scene.postgres.put_back();
        scene.postgres.start_again();
        let two = scene.sidecar_with(patient).await;
        assert_eq!(names(&two).await, ["base"]);
        make(&two, "medical").await;
        put(&two, "medical", json!({"of": "medical"})).await;

        until("the other is seen", async || {
            names(&one).await == ["base", "medical"]
        })
        .await;
        let point = json!({"points": [{"id": 7, "vector": {}}]});
        let target = "/collections/invoices/points?wait=true";
        let refused = ask(&one, "PUT", target, &point).await.refusal(404);
        assert_eq!(refused, "Not found: Collection `invoices` doesn't exist!");
        for sidecar in [&one, &two] {
            let found = payload(sidecar, "medical").await;
            assert_eq!(found, json!({"of": "medical"}));
        }
    });
}

#[test]
fn no_alias_that_was_acknowledged_is_lost_between_two_sidecars() {
    const EACH: usize = 25;
    let scene = Scene::new();
    story(async {
        let sidecars = [scene.sidecar().await, scene.sidecar().await];
        make(&sidecars[0], "docs").await;
        let creators = sidecars
            .iter()
            .zip(["a", "b"])
            .map(|(sidecar, letter)| async move {
                for number in 0..EACH {
                    let actions = json!({"actions": [{"create_alias": {
                        "collection_name": "docs", "alias_name": format!("{letter}{number}"),
                    }}]});
                    ok(sidecar, "POST", "/collections/aliases", &actions).await;
                }
            });
        join_all(creators).await;
        for sidecar in &sidecars {
            let found = ok(sidecar, "GET", "/aliases", &Value::Null).await;
            assert_eq!(found["aliases"].as_array().unwrap().len(), 2 * EACH);
        }
    });
}

#[test]
fn of_a_collection_and_an_alias_of_one_name_one_is_made() {
    let scene = Scene::new();
    story(async {
        let (one, two) = (scene.sidecar().await, scene.sidecar().await);
        make(&one, "docs").await;
        for round in 0..20 {
            let name = format!("x{round}");
            let actions = json!({"actions": [
                {"create_alias": {"collection_name": "docs", "alias_name": name}},
            ]});
            let target = format!("/collections/{name}");
            let config = json!({"vectors": {}});
            let (collection, alias) = join(
                ask(&one, "PUT", &target, &config),
                ask(&two, "POST", "/collections/aliases", &actions),
            )
            .await;
            let statuses = [collection.status(), alias.status()];
            assert!(
                [[200, 409], [400, 200]].contains(&statuses),
                "round {round}: {} {}",
                collection.text(),
                alias.text()
            );
        }
    });
}

#[test]
fn two_sidecars_change_two_settings_of_a_collection_and_both_are_kept() {
    let scene = Scene::new();
    story(async {
        let (one, two) = (scene.sidecar().await, scene.sidecar().await);
        make(&one, "docs").await;
        for round in 0..20 {
            let threshold = json!({"optimizers_config": {"indexing_threshold": 1000 + round}});
            let effort = json!({"hnsw_config": {"ef_construct": 200 + round}});
            join(
                ok(&one, "PATCH", "/collections/docs", &threshold),
                ok(&two, "PATCH", "/collections/docs", &effort),
            )
            .await;
            let info = ok(&one, "GET", "/collections/docs", &Value::Null).await;
            let config = &info["config"];
            let found = [
                &config["optimizer_config"]["indexing_threshold"],
                &config["hnsw_config"]["ef_construct"],
            ];
            assert_eq!(found, [1000 + round, 200 + round], "round {round}");
        }
    });
}

#[test]
fn writes_wait_for_the_end_of_many_changes_of_their_collection() {
    let scene = Scene::new();
    story(async {
        let sidecars = [scene.sidecar().await, scene.sidecar().await];
        make(&sidecars[0], "docs").await;
        let client = scene.postgres.client().await;
        let changes = client.batch_execute(
            "do $$ declare till timestamptz := clock_timestamp() + interval '3 s'; begin \
             while clock_timestamp() < till loop perform qd.changed(1); commit; end loop; end $$",
        );
        let writes = async {
            sleep(Duration::from_millis(300)).await;
            let each =
                [0, 1, 0, 1].map(|sidecar: usize| put(&sidecars[sidecar], "docs", json!({})));
            join_all(each).await;
        };
        let (changed, ()) = join(changes, writes).await;
        changed.unwrap();
    });
}

#[test]
fn a_collection_is_dropped_while_an_index_of_it_is_built() {
    let scene = Scene::new();
    story(async {
        let one = scene.sidecar().await;
        let config = json!({
            "vectors": {"size": 32, "distance": "Dot"},
            "hnsw_config": {"m": 100, "ef_construct": 1000},
            "optimizers_config": {"indexing_threshold": 1000},
        });
        ok(&one, "PUT", "/collections/docs", &config).await;
        let client = scene.postgres.client().await;
        let fill = "insert into qd_data.c1 (id, ver) \
                    select '\\x00'::bytea || int8send(n), 1 from generate_series(1, 30000) n; \
                    insert into qd_data.c1_v1 (pid, v) select p.pid, (select array_agg(random() + n * 0) \
                    from generate_series(1, 32 + 0 * p.pid::int) n)::real[]::vector from qd_data.c1 p";
        client.batch_execute(fill).await.unwrap();
        // It looks at every collection when it starts.
        let two = scene.sidecar().await;
        let builds = async || {
            let sql = "select count(*) from pg_stat_progress_create_index";
            client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0)
        };
        until("an index is built", async || builds().await == 1).await;
        // It would go on for minutes.
        let deleted = ok(&one, "DELETE", "/collections/docs", &Value::Null);
        let deleted = timeout(Duration::from_secs(30), deleted).await;
        assert_eq!(deleted.unwrap(), true);
        assert_eq!(builds().await, 0);
        assert_eq!(names(&two).await, Vec::<String>::new());
    });
}

#[test]
fn a_sidecar_starts_while_the_catalogue_is_locked() {
    let scene = Scene::new();
    story(async {
        let one = scene.sidecar().await;
        make(&one, "docs").await;
        put(&one, "docs", json!({"a": 1})).await;
        let mut client = scene.postgres.client().await;
        let hold = client.transaction().await.unwrap();
        let lock = "select pg_advisory_xact_lock(20818, 0)";
        hold.execute(lock, &[]).await.unwrap();
        let two = timeout(Duration::from_secs(20), scene.sidecar()).await;
        assert_eq!(payload(&two.unwrap(), "docs").await, json!({"a": 1}));
    });
}
