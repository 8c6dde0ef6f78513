//! What the follower had before it followed, and what it has of its own.

use serde_json::{Value, json};

use super::{COSINE, World, ids, point};
use crate::model::Subject;
use crate::sync::Ledger as _;

const PUT: &str = "PUT /collections/c/points?wait=true";

#[tokio::test(flavor = "multi_thread")]
async fn what_the_follower_had_of_that_name_before_is_not_taken_for_equal() {
    let world = World::new("namesake");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.follower("PUT /collections/c", config.clone()).await;
    let theirs = json!({"points": [point(1, [1.0, 0.0], json!({"theirs": true}))]});
    world.follower(PUT, theirs).await;
    world.authority("PUT /collections/c", config).await;
    let ours = json!({"points": [point(2, [0.0, 1.0], json!({}))]});
    world.authority(PUT, ours).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([2]));
    world.drained().await;

    assert!(!world.direction.is_equal(&["c".to_owned()]).await.unwrap());
    assert_eq!(world.ledger.sweeps.lock().len(), 1);
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    assert_eq!(there[0]["id"], 2);
    assert!(world.direction.is_equal(&["c".to_owned()]).await.unwrap());

    // Known to be the same from now on.
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    assert_eq!(world.ledger.sweeps.lock().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_what_does_not_follow_are_left_alone() {
    let world = World::new("aliases");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.modes.unfollowed.lock().insert("own".to_owned());
    world.authority("PUT /collections/c", config.clone()).await;
    world
        .authority("PUT /collections/own", config.clone())
        .await;
    world.follower("PUT /collections/own", config).await;
    let alias = |alias: &str, of: &str| json!({"actions": [{"create_alias": {"alias_name": alias, "collection_name": of}}]});
    let path = "POST /collections/aliases";
    for (name, of) in [("mine", "own"), ("taken", "own")] {
        world.follower(path, alias(name, of)).await;
    }
    for (name, of) in [("live", "c"), ("taken", "c"), ("elsewhere", "own")] {
        world.authority(path, alias(name, of)).await;
    }
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let expected = json!([["live", "c"], ["mine", "own"], ["taken", "c"]]);
    assert_eq!(aliases(&world).await, expected);

    // One that leads elsewhere by now, and that the follower cannot follow there.
    world.authority(path, alias("live", "own")).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    assert_eq!(
        aliases(&world).await,
        json!([["mine", "own"], ["taken", "c"]])
    );
}

async fn aliases(world: &World) -> Value {
    let told = world.follower("GET /aliases", Value::Null).await;
    let mut all: Vec<_> = told["aliases"].as_array().unwrap().iter().collect();
    all.sort_by_key(|of| of["alias_name"].to_string());
    let pair = |of: &&Value| json!([of["alias_name"], of["collection_name"]]);
    all.iter().map(pair).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_through_an_alias_to_what_does_not_follow() {
    let world = World::new("through");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.modes.unfollowed.lock().insert("own".to_owned());
    world.follower("PUT /collections/own", config.clone()).await;
    let theirs = json!({"points": [point(1, [1.0, 0.0], json!({"theirs": true}))]});
    let put = "PUT /collections/own/points?wait=true";
    world.follower(put, theirs).await;
    let alias =
        json!({"actions": [{"create_alias": {"alias_name": "c", "collection_name": "own"}}]});
    world.follower("POST /collections/aliases", alias).await;
    world.authority("PUT /collections/c", config).await;
    world
        .authority(
            "PUT /collections/c/index?wait=true",
            json!({"field_name": "n", "field_schema": "integer"}),
        )
        .await;
    let ours = json!({"points": [point(2, [0.0, 1.0], json!({}))]});
    world.authority(PUT, ours).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([2]));
    for _ in 0..5 {
        world.direction.round().await.unwrap();
    }
    world.ledger.want_sweep(Some("c"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap_err();

    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    assert_eq!(there[0]["id"], 1);
    let own = world.follower("GET /collections/own", Value::Null).await;
    assert_eq!(own["payload_schema"], json!({}));
    let blocked = world.direction.report().await.unwrap().blocked;
    assert!(blocked[0].reason.contains("alias"), "{blocked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_cannot_be_made_holds_up_no_other() {
    let world = World::new("stuck");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    let other = json!({"vectors": {"a": {"size": 3, "distance": "Dot"}}});
    world.follower("PUT /collections/a", other).await;
    for name in ["a", "c"] {
        let path = format!("PUT /collections/{name}");
        world.authority(&path, config.clone()).await;
    }
    let ours = json!({"points": [point(2, [0.0, 1.0], json!({}))]});
    world.authority(PUT, ours).await;
    for name in ["a", "c"] {
        world.ledger.want_sweep(Some(name), "a test").await.unwrap();
    }
    world.direction.sweep_once().await.unwrap_err();
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    assert_eq!(world.follower_points().await.as_array().unwrap().len(), 1);
    let left = world.ledger.sweeps.lock().clone();
    assert_eq!(left.len(), 1, "{left:?}");
    // Asked for anew it is tried at once.
    world.ledger.want_sweep(Some("a"), "again").await.unwrap();
    world.direction.sweep_once().await.unwrap_err();
}
