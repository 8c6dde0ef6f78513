//! What is owed stays owed until it was compared, and is compared where pages are small.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::{COSINE, World, point};

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
