//! What is owed stays owed until it was compared, and is compared where pages are small.

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde_json::{Value, json};

use super::faulty::Fate;
use super::{COSINE, World, ids, point};
use crate::model::{ASKED_FOR, NEVER_COMPARED, OTHER_AUTHORITY, PERHAPS_DELETED, Subject};
use crate::stage::Stage;

impl World {
    async fn wants(&self, collection: Option<&str>, reason: &str) {
        use super::Ledger as _;
        self.ledger.want_sweep(collection, reason).await.unwrap();
        self.direction.sweep_once().await.unwrap();
    }

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

/// `a` came from the authority, `theirs` did not.
async fn with_theirs(name: &str) -> World {
    let world = World::with_collections(name, &["a"]).await;
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.follower("PUT /collections/theirs", config).await;
    let points = json!({"points": [point(9, [1.0, 0.0], json!({}))]});
    let path = "PUT /collections/theirs/points?wait=true";
    world.follower(path, points).await;
    world.wants(None, "a test").await;
    world.drained().await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_takes_what_came_from_the_authority_and_nothing_else() {
    let world = with_theirs("dropped").await;
    world.authority("DELETE /collections/a", Value::Null).await;
    for name in ["a", "theirs"] {
        world.ledger.put(name, &[Subject::Dropped]);
    }
    world.drained().await;
    assert_eq!(world.there().await, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_namesake_goes_with_what_it_follows() {
    let world = World::new("empty");
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.follower("PUT /collections/a", config.clone()).await;
    world.authority("PUT /collections/a", config).await;
    world.ledger.put("a", &[Subject::Schema]);
    world.drained().await;
    world.authority("DELETE /collections/a", Value::Null).await;
    world.ledger.put("a", &[Subject::Dropped]);
    world.drained().await;
    assert!(world.there().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_of_what_the_authority_has_not_takes_nothing_for_ours() {
    let world = with_theirs("no-claim").await;
    for reason in ["a test", PERHAPS_DELETED, ASKED_FOR] {
        world.wants(Some("theirs"), reason).await;
        assert_eq!(world.owed(), [], "{reason}");
        // The next sweep of all would delete it.
        world.wants(None, reason).await;
        assert_eq!(world.there().await, ["a", "theirs"], "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_have_been_deleted_goes_where_it_has_been_and_only_then() {
    let world = with_theirs("perhaps").await;
    world.wants(Some("a"), PERHAPS_DELETED).await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    world.authority("DELETE /collections/a", Value::Null).await;
    // Nobody deleted it through us.
    world.wants(Some("a"), "a test").await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    world.wants(Some("a"), PERHAPS_DELETED).await;
    assert_eq!(world.there().await, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_has_lost_everything_is_not_followed_unasked() {
    let world = with_theirs("lost").await;
    world.authority("DELETE /collections/a", Value::Null).await;
    world.wants(None, "the journal was broken").await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    // It waits, whatever comes to be there.
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/a", config).await;
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    let waits = world.ledger.sweeps.lock()[0].reason.to_string();
    assert!(waits.starts_with(OTHER_AUTHORITY), "{waits}");
    let count = "POST /collections/a/points/count";
    let there = world.follower(count, json!({})).await;
    assert_eq!(there["count"], 1);
    world.wants(None, ASKED_FOR).await;
    world.drained().await;
    let there = world.follower(count, json!({})).await;
    assert_eq!(there["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_compared_begins_with_nothing_gone_where_nothing_is_left() {
    let world = with_theirs("never").await;
    world.authority("DELETE /collections/a", Value::Null).await;
    world.wants(None, NEVER_COMPARED).await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    let waits = world.ledger.sweeps.lock()[0].reason.to_string();
    assert!(waits.starts_with(OTHER_AUTHORITY), "{waits}");
    // What somebody asked for before that was known does not count.
    let reason = format!("{ASKED_FOR}; the disk was full");
    world.wants(None, &reason).await;
    assert_eq!(world.there().await, ["a", "theirs"]);
    world.wants(None, ASKED_FOR).await;
    assert_eq!(world.there().await, ["theirs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_loses_everything_amid_a_sweep_takes_nothing_with_it() {
    use super::Ledger as _;
    let world = World::with_collections("amid", &["a", "b"]).await;
    world.wants(None, "a test").await;
    world.drained().await;
    let mut stop = world.stages.stop(Stage::SweepBegins);
    world.ledger.want_sweep(None, "a test").await.unwrap();
    let loses = async {
        stop.reached(1).await;
        for name in ["a", "b"] {
            let drop = format!("DELETE /collections/{name}");
            world.authority(&drop, Value::Null).await;
        }
        stop.go();
    };
    let (swept, ()) = tokio::join!(world.direction.sweep_once(), loses);
    swept.unwrap_err();
    assert_eq!(world.there().await, ["a", "b"]);
    let waits = world.ledger.sweeps.lock()[0].reason.to_string();
    assert!(waits.starts_with(OTHER_AUTHORITY), "{waits}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_goes_while_it_is_compared_is_not_noted_as_compared() {
    use super::Ledger as _;
    let world = World::with_collections("goes", &["a"]).await;
    world.wants(None, "a test").await;
    let mut stop = world.stages.stop(Stage::SweepRead);
    world.ledger.want_sweep(Some("a"), "a test").await.unwrap();
    let goes = async {
        stop.reached(1).await;
        world.authority("DELETE /collections/a", Value::Null).await;
        world.ledger.put("a", &[Subject::Dropped]);
        world.drained().await;
        stop.go();
    };
    let (swept, ()) = tokio::join!(world.direction.sweep_once(), goes);
    swept.unwrap();
    assert!(!world.direction.are_paired("a").await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_a_sweep_of_everything_has_begun_is_compared_by_another() {
    use super::Ledger as _;
    let world = with_theirs("after").await;
    let mut stop = world.stages.stop(Stage::SweepBegins);
    world.ledger.want_sweep(None, "a test").await.unwrap();
    let comes = async {
        stop.reached(1).await;
        let config: Value = serde_json::from_str(COSINE).unwrap();
        world.authority("PUT /collections/theirs", config).await;
        world.ledger.put("theirs", &[Subject::Schema]);
        world.drained().await;
        stop.go();
    };
    let (swept, ()) = tokio::join!(world.direction.sweep_once(), comes);
    swept.unwrap();
    assert_eq!(world.owed(), [Some("theirs".to_owned())]);
    world.direction.sweep_once().await.unwrap();
    world.drained().await;
    let count = "POST /collections/theirs/points/count";
    let there = world.follower(count, json!({})).await;
    assert_eq!(there["count"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namesake_that_is_found_before_it_is_compared_with_all_is_compared_once() {
    use super::Ledger as _;
    for (stage, owed) in [(Stage::SweepBegins, 0), (Stage::SweepRead, 1)] {
        let world = with_theirs("once").await;
        world.modes.unfollowed.lock().insert("a".to_owned());
        let config: Value = serde_json::from_str(COSINE).unwrap();
        world.authority("PUT /collections/theirs", config).await;
        let mut stop = world.stages.stop(stage);
        world.ledger.want_sweep(None, ASKED_FOR).await.unwrap();
        let found = async {
            stop.reached(1).await;
            world.ledger.put("theirs", &[Subject::Schema]);
            world.drained().await;
            assert_eq!(world.owed().len(), 2);
            stop.go();
        };
        let (swept, ()) = tokio::join!(world.direction.sweep_once(), found);
        swept.unwrap();
        assert_eq!(world.owed().len(), owed, "{stage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sidecar_has_found_out_of_the_authority_holds_for_all() {
    let world = with_theirs("found-out").await;
    world.authority("DELETE /collections/a", Value::Null).await;
    world.direction.deeds.lacks(OTHER_AUTHORITY).await.unwrap();
    for reason in ["the disk was full", NEVER_COMPARED] {
        world.wants(None, reason).await;
        assert_eq!(world.there().await, ["a", "theirs"], "{reason}");
    }
    world.wants(None, ASKED_FOR).await;
    assert_eq!(world.there().await, ["theirs"]);
    assert_eq!(world.direction.deeds.lacking().await.unwrap(), None);
}
