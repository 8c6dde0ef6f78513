//! What is owed stays owed until it was compared, and is compared where pages are small.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::{Value, json};

use super::faulty::Fate;
use super::{COSINE, World, ids, point};

impl World {
    pub(super) async fn ledger_wants_a_sweep(&self) {
        use super::Ledger as _;
        self.ledger.want_sweep(None, "a test").await.unwrap();
    }

    /// What is owed, of what is followed or not.
    fn owed(&self) -> Vec<Option<String>> {
        let sweeps = self.ledger.sweeps.lock();
        let of = sweeps.iter().map(|due| due.collection.as_deref());
        let mut owed: Vec<_> = of.map(|of| of.map(str::to_owned)).collect();
        owed.sort();
        owed
    }

    async fn with_collections(name: &str, collections: &[&str]) -> Self {
        let world = Self::new(name);
        for collection in collections {
            let config: Value = serde_json::from_str(COSINE).unwrap();
            let path = format!("PUT /collections/{collection}");
            world.authority(&path, config).await;
            let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
            let path = format!("PUT /collections/{collection}/points?wait=true");
            world.authority(&path, points).await;
        }
        world
    }

    async fn there(&self) -> Vec<String> {
        let there = self.follower("GET /collections", Value::Null).await;
        let names = there["collections"].as_array().unwrap().iter();
        let mut names: Vec<String> = names
            .map(|of| of["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_a_collection_that_is_not_followed_yet_stays_owed() {
    use super::Ledger as _;
    let world = World::with_collections("one", &["a", "b"]).await;
    world.modes.unfollowed.lock().insert("b".to_owned());
    world
        .ledger
        .want_sweep(Some("b"), "it will be")
        .await
        .unwrap();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.owed(), [Some("b".to_owned())]);
    assert_eq!(world.direction.sweeps().await.unwrap(), []);
    // Nor does a sweep of all take it away.
    world.ledger_wants_a_sweep().await;
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.owed(), [Some("b".to_owned())]);
    assert_eq!(world.there().await, ["a"]);
    world.modes.unfollowed.lock().clear();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.owed(), []);
    assert_eq!(world.there().await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_all_is_owed_to_the_rest_while_only_some_are_followed() {
    let world = World::with_collections("rest", &["a", "b"]).await;
    // `a` has a mode of its own.
    let rest = ["b", ""].map(str::to_owned);
    world.modes.unfollowed.lock().extend(rest);
    world.ledger_wants_a_sweep().await;
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.there().await, ["a"]);
    assert_eq!(world.owed(), [None]);
    assert_eq!(world.direction.sweeps().await.unwrap(), [], "but not now");
    let asked = world.modes.asked.load(Ordering::Relaxed);
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.modes.asked.load(Ordering::Relaxed), asked, "once");
    world.modes.unfollowed.lock().clear();
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.there().await, ["a", "b"]);
    assert_eq!(world.owed(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_goes_on_in_smaller_pages_where_large_ones_are_refused() {
    let world = World::with_collections("pages", &["c"]).await;
    let points: Vec<Value> = (0..50).map(|id| point(id, [1.0, 0.0], json!({}))).collect();
    let path = "PUT /collections/c/points?wait=true";
    world.authority(path, json!({ "points": points })).await;
    let strict = json!({"strict_mode_config": {"enabled": true, "max_query_limit": 10}});
    world.authority("PATCH /collections/c", strict).await;
    world.ledger_wants_a_sweep().await;
    world.direction.sweep_once().await.unwrap();
    assert_eq!(world.owed(), []);
    assert_eq!(world.direction.waiting(None).await.unwrap(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_403_of_strict_mode_is_a_refusal_and_any_other_passes() {
    let strict = "Limit exceeded 256 > 10 for \"limit\". Help: Reduce the \"limit\" parameter to or below 10.";
    for (why, buries) in [(strict, true), ("Global access is required", false)] {
        let world = World::with_collections("strict", &["c"]).await;
        let config: Value = serde_json::from_str(COSINE).unwrap();
        world.follower("PUT /collections/c", config).await;
        world.faults.rule(move |call| {
            if call.head.uri.path().ends_with("/points") {
                Fate::IsRefused(StatusCode::FORBIDDEN, why)
            } else {
                Fate::Passes
            }
        });
        world.ledger.put("c", &ids([1]));
        assert_eq!(world.direction.round().await.is_ok(), buries);
        assert_eq!(world.ledger.dead.lock().len(), usize::from(buries));
    }
}
