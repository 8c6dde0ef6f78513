//! The follower becomes what the authority is, and what is not ours stays.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_becomes_what_the_authority_is_where_marks_point() {
    let world = World::new("copy");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config).await;
    let points = [
        point(1, [3.0, 4.0], json!({"a": 1})),
        point(2, [1.0, 0.0], json!({"b": [1, null, "x"]})),
        point(3, [0.0, 0.0], json!({})),
    ];
    world
        .authority(
            "PUT /collections/c/points?wait=true",
            json!({"points": points}),
        )
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([1, 2, 9]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(
        there.as_array().unwrap().len(),
        2,
        "only what was marked: {there}"
    );
    world.ledger.put("c", &ids([3]));
    let gone = json!({"points": [2]});
    world
        .authority("POST /collections/c/points/delete?wait=true", gone)
        .await;
    world.ledger.put("c", &ids([2]));
    world.drained().await;
    let here = json!({"with_vector": true, "with_payload": true, "limit": 1000});
    let mut here = world
        .authority("POST /collections/c/points/scroll", here)
        .await;
    assert_eq!(world.follower_points().await, here["points"].take());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_finds_what_is_missing_extra_and_different() {
    let world = World::new("sweep");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config).await;
    let points: Vec<Value> = (0..700)
        .map(|id| point(id, [1.0, id as f64], json!({"n": id})))
        .collect();
    let all = json!({"points": points});
    world
        .authority("PUT /collections/c/points?wait=true", all)
        .await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    assert_eq!(world.follower_points().await.as_array().unwrap().len(), 700);
    assert_eq!(world.ledger.sweeps().await.unwrap(), vec![]);
    // The follower is changed behind everybody's back.
    world
        .follower(
            "POST /collections/c/points/delete?wait=true",
            json!({"points": [5, 400]}),
        )
        .await;
    let extra = json!({"points": [point(900, [1.0, 1.0], json!({}))]});
    world
        .follower("PUT /collections/c/points?wait=true", extra)
        .await;
    let other = json!({"payload": {"n": -1}, "points": [77]});
    world
        .follower("POST /collections/c/points/payload?wait=true", other)
        .await;
    world.ledger.want_sweep(Some("c"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    let marked = world.ledger.marks.lock().get("c").unwrap().len();
    assert_eq!(marked, 4, "just what differs is marked");
    world.drained().await;
    let here = json!({"with_vector": true, "with_payload": true, "limit": 1000});
    let mut here = world
        .authority("POST /collections/c/points/scroll", here)
        .await;
    assert_eq!(world.follower_points().await, here["points"].take());
    // And nothing is found once they are equal, although vectors were normalised twice.
    world.ledger.want_sweep(Some("c"), "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.direction.waiting(None).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_point_that_is_refused_holds_up_no_other() {
    let world = World::new("dead");
    let rows = json!({"vectors": {"a": {"size": 2, "distance": "Dot",
        "multivector_config": {"comparator": "max_sim"}}}});
    world.authority("PUT /collections/c", rows.clone()).await;
    world.follower("PUT /collections/c", rows).await;
    let strict = json!({"strict_mode_config": {"enabled": true,
        "multivector_config": {"a": {"max_vectors": 2}}}});
    world.follower("PATCH /collections/c", strict).await;
    let point = |id: u64| {
        let rows = vec![[1.0, 2.0]; if id == 7 { 3 } else { 2 }];
        json!({"id": id, "vector": {"a": rows}, "payload": {"n": id}})
    };
    let points: Vec<Value> = (0..20).map(point).collect();
    let points = json!({ "points": points });
    world
        .authority("PUT /collections/c/points?wait=true", points)
        .await;
    world.ledger.put("c", &ids(0..20));
    world.drained().await;
    let dead = world.ledger.dead.lock().clone();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].id, PointKey::Number(7));
    assert!(dead[0].reason.contains("2"), "{dead:?}");
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 19);
    assert_eq!(world.direction.waiting(None).await.unwrap(), 0);
    // What hindered it is gone.
    let gone = json!({"strict_mode_config": {"multivector_config": {"a": {"max_vectors": 9}}}});
    world.follower("PATCH /collections/c", gone).await;
    assert_eq!(world.ledger.revive(None).await.unwrap(), 1);
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_at_the_follower_gives_way_and_what_is_not_stays() {
    let world = World::new("ours");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    for name in ["ours", "gone"] {
        let path = format!("PUT /collections/{name}");
        world.authority(&path, config.clone()).await;
    }
    world.follower("PUT /collections/theirs", config).await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    // Both of these behind everybody's back: no mark tells of it.
    world
        .authority("DELETE /collections/gone", Value::Null)
        .await;
    world
        .authority("DELETE /collections/ours", Value::Null)
        .await;
    let other = json!({"vectors": {"a": {"size": 3, "distance": "Dot"}}});
    world.authority("PUT /collections/ours", other).await;
    world.ledger.want_sweep(None, "a test").await.unwrap();
    world.direction.sweep_once().await.unwrap();
    let there = world.follower("GET /collections", Value::Null).await;
    let expected = json!({"collections": [{"name": "ours"}, {"name": "theirs"}]});
    assert_eq!(there, expected);
    let ours = world.follower("GET /collections/ours", Value::Null).await;
    assert_eq!(ours["config"]["params"]["vectors"]["a"]["size"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_was_dropped_and_made_again_is_another_one() {
    let world = World::new("drop");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config.clone()).await;
    let old = json!({"points": [point(1, [1.0, 0.0], json!({})), point(2, [1.0, 0.0], json!({}))]});
    world
        .authority("PUT /collections/c/points?wait=true", old.clone())
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("c", &ids([1, 2]));
    world.drained().await;
    world.authority("DELETE /collections/c", Value::Null).await;
    world.authority("PUT /collections/c", config).await;
    let new = json!({"points": [point(1, [0.0, 1.0], json!({"new": true}))]});
    world
        .authority("PUT /collections/c/points?wait=true", new)
        .await;
    world.ledger.put("c", &[Subject::Dropped]);
    world.ledger.put("c", &ids([1]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    assert_eq!(there[0]["payload"], json!({"new": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_vectors_settings_and_aliases_are_brought_along() {
    let world = World::new("schema");
    let config = json!({
        "vectors": {"a": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}},
        "sparse_vectors": {"s": {"modifier": "idf"}},
        "hnsw_config": {"m": 24}, "metadata": {"who": "we"},
    });
    world.authority("PUT /collections/c", config).await;
    let tenant = json!({"field_name": "u", "field_schema": {"type": "keyword", "is_tenant": true}});
    world
        .authority("PUT /collections/c/index?wait=true", tenant)
        .await;
    world
        .authority(
            "PUT /collections/c/index?wait=true",
            json!({"field_name": "n", "field_schema": "integer"}),
        )
        .await;
    let alias = json!({"actions": [{"create_alias": {"alias_name": "x", "collection_name": "c"}}]});
    world.authority("POST /collections/aliases", alias).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let told = |mut of: Value| {
        let schema = of["payload_schema"].take();
        json!([of["config"].take(), schema])
    };
    let describe = "GET /collections/c";
    let here = told(world.authority(describe, Value::Null).await);
    assert_eq!(told(world.follower(describe, Value::Null).await), here);
    let aliases = world.follower("GET /aliases", Value::Null).await;
    assert_eq!(aliases["aliases"][0]["alias_name"], "x");
    // Taken away again.
    world
        .authority("DELETE /collections/c/index/n?wait=true", Value::Null)
        .await;
    world
        .authority(
            "PUT /collections/c/vectors/b?wait=true",
            json!({"dense": {"size": 3, "distance": "Cosine"}}),
        )
        .await;
    world
        .authority("PATCH /collections/c", json!({"hnsw_config": {"m": 8}}))
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let here = told(world.authority(describe, Value::Null).await);
    assert_eq!(told(world.follower(describe, Value::Null).await), here);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_other_vectors_is_left_alone_and_told_of() {
    let world = World::new("blocked");
    world
        .authority("PUT /collections/c", serde_json::from_str(COSINE).unwrap())
        .await;
    world
        .follower(
            "PUT /collections/c",
            json!({"vectors": {"size": 3, "distance": "Cosine"}}),
        )
        .await;
    world.ledger.put("c", &[Subject::Schema]);
    world.drained().await;
    let report = world.direction.report().await.unwrap();
    assert_eq!(report.blocked.len(), 1, "{report:?}");
    assert_eq!(world.direction.waiting(None).await.unwrap(), 1);
    let there = world.follower("GET /collections/c", Value::Null).await;
    assert_eq!(there["config"]["params"]["vectors"]["size"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_under_a_name_that_has_become_an_alias_touches_no_other_collection() {
    let world = World::new("alias");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    for name in ["c", "other"] {
        let path = format!("PUT /collections/{name}");
        world.authority(&path, config.clone()).await;
    }
    let points = json!({"points": [point(1, [1.0, 0.0], json!({"of": "c"}))]});
    let path = "PUT /collections/c/points?wait=true";
    world.authority(path, points).await;
    world.ledger.put("c", &[Subject::Schema]);
    world.ledger.put("other", &[Subject::Schema]);
    world.ledger.put("c", &ids([1]));
    let to = |name: &str| json!({"actions": [{"create_alias": {"alias_name": "live", "collection_name": name}}]});
    world.authority("POST /collections/aliases", to("c")).await;
    world.ledger.put("*", &[Subject::Schema]);
    world.drained().await;
    // The alias has moved, which the follower has not been told yet, and a write by its name that
    // came to nothing has left a mark.
    let moved = to("other");
    world.authority("POST /collections/aliases", moved).await;
    world.ledger.put("live", &ids([1]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    // A collection has the name that the follower still knows as an alias.
    let gone = json!({"actions": [{"delete_alias": {"alias_name": "live"}}]});
    world.authority("POST /collections/aliases", gone).await;
    world.authority("PUT /collections/live", config).await;
    let points = json!({"points": [point(2, [1.0, 0.0], json!({"of": "live"}))]});
    let path = "PUT /collections/live/points?wait=true";
    world.authority(path, points).await;
    world.ledger.put("live", &[Subject::Schema]);
    world.ledger.put("live", &ids([2]));
    world.drained().await;
    let there = world.follower_points().await;
    assert_eq!(there.as_array().unwrap().len(), 1, "{there}");
    let count = "POST /collections/live/points/count";
    let live = world.follower(count, json!({})).await;
    assert_eq!(live["count"], 1);
}
