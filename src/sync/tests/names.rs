//! Names that have become aliases since they were marked, and letters that have become void.

use super::*;

/// `c` at both, and the alias `live` for it at the authority.
async fn led() -> World {
    let world = World::new("led");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config).await;
    let points = json!({"points": [point(1, [1.0, 0.0], json!({"n": 1}))]});
    let path = "PUT /collections/c/points?wait=true";
    world.authority(path, points).await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    let alias = json!({"alias_name": "live", "collection_name": "c"});
    let alias = json!({"actions": [{"create_alias": alias}]});
    world.authority("POST /collections/aliases", alias).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_marked_under_a_name_that_is_an_alias_now_is_brought_where_it_leads() {
    let world = led().await;
    // Believed to be no alias, and on its way when it became one.
    let set = json!({"points": [1], "payload": {"n": 2}});
    let path = "POST /collections/live/points/payload?wait=true";
    world.authority(path, set).await;
    world.ledger.put("live", &ids([1]));
    world.drained().await;
    assert_eq!(world.follower_points().await[0]["payload"]["n"], 2);

    let index = json!({"field_name": "n", "field_schema": "integer"});
    let path = "PUT /collections/live/index?wait=true";
    world.authority(path, index).await;
    world.ledger.put("live", &[Subject::Schema]);
    world.drained().await;
    let there = world.follower("GET /collections/c", Value::Null).await;
    assert_eq!(there["payload_schema"]["n"]["data_type"], "integer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_is_due_under_an_alias_is_made_where_it_leads() {
    let world = led().await;
    let gone = json!({"points": [1]});
    let path = "POST /collections/live/points/delete?wait=true";
    world.authority(path, gone).await;
    let ledger = &world.ledger;
    ledger.want_sweep(Some("live"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(
        ledger.sweeps().await.unwrap()[0].collection,
        Some("c".into())
    );
    world.direction.sweep_once().await.unwrap();
    assert_eq!(ledger.sweeps().await.unwrap(), vec![]);
    world.drained().await;
    assert_eq!(world.follower_points().await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_a_point_that_the_follower_has_by_now_is_void() {
    let world = led().await;
    // Buried when the write that makes it void had left its mark.
    let letter = |id| DeadLetter {
        collection: "c".into(),
        id: PointKey::Number(id),
        reason: "no".into(),
        since_ms: 1,
    };
    world.ledger.put("c", &ids([1, 2]));
    world
        .ledger
        .bury(&[letter(1), letter(2), letter(3)])
        .await
        .unwrap();
    world.drained().await;
    assert_eq!(*world.ledger.dead.lock(), [letter(3)]);
}
