//! Nothing is changed at the follower by what was known of the modes before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::faulty::Fate;
use super::{COSINE, Modes, World, ids, point};
use crate::stage::Stage;
use crate::task;

const POINTS: &str = "PUT /collections/c/points?wait=true";

/// A collection that both have.
async fn world(name: &str) -> Arc<World> {
    filled(World::new(name)).await
}

async fn filled(world: World) -> Arc<World> {
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config.clone()).await;
    world.follower("PUT /collections/c", config).await;
    Arc::new(world)
}

async fn count(world: &World) -> usize {
    world.follower_points().await.as_array().unwrap().len()
}

fn round(world: &Arc<World>) -> tokio::task::JoinHandle<crate::error::Result<u64>> {
    let world = Arc::clone(world);
    task::spawn("round", async move { world.direction.round().await })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_the_modes_were_others_is_not_written_after() {
    type Change = fn(&Modes);
    let changes: [(&str, Change); 3] = [
        ("a gap in the lease", |modes| {
            modes.term.fetch_add(1, Ordering::Relaxed);
        }),
        ("another table", |modes| {
            modes.epoch.fetch_add(1, Ordering::Relaxed);
        }),
        ("a lease that has run out", |modes| {
            modes.is_unknown.store(true, Ordering::Relaxed);
        }),
    ];
    for (what, change) in changes {
        for stage in [Stage::AfterTake, Stage::AfterRead] {
            let world = world("read").await;
            let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
            world.authority(POINTS, points).await;
            world.ledger.put("c", &ids([1]));
            let mut stop = world.stages.stop(stage);
            let first = round(&world);
            stop.reached(1).await;
            change(&world.modes);
            stop.go();
            assert_eq!(first.await.unwrap().unwrap(), 0, "{what}");
            assert_eq!(count(&world).await, 0, "{what}");
            assert_eq!(world.direction.waiting(None).await.unwrap(), 1, "{what}");
            // Looked at again, once it is known.
            world.modes.is_unknown.store(false, Ordering::Relaxed);
            world.drained().await;
            assert_eq!(count(&world).await, 1, "{what}");
            assert_eq!(world.direction.waiting(None).await.unwrap(), 0, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_applied_before_the_modes_were_others_keeps_its_mark() {
    let world = world("applied").await;
    let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
    world.authority(POINTS, points).await;
    world.ledger.put("c", &ids([1]));
    let mut stop = world.stages.stop(Stage::BeforeClear);
    let first = round(&world);
    stop.reached(1).await;
    world.modes.term.fetch_add(1, Ordering::Relaxed);
    stop.go();
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert_eq!(world.direction.waiting(None).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_does_not_know_the_modes_stands_still() {
    let world = world("still").await;
    let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
    world.authority(POINTS, points).await;
    world.ledger.put("c", &ids([1]));
    world.ledger_wants_a_sweep().await;
    world.modes.is_unknown.store(true, Ordering::Relaxed);
    assert_eq!(world.direction.round().await.unwrap(), 0);
    world.direction.sweep_once().await.unwrap();
    assert_eq!(count(&world).await, 0);
    assert_eq!(world.direction.sweeps().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stands_still_for_long_lets_others_have_the_lead() {
    let world = world("way").await;
    let gave_way = || world.ledger.gave_way.load(Ordering::Relaxed);
    world.modes.is_unknown.store(true, Ordering::Relaxed);
    let for_long = || {
        let state = &world.direction.state;
        state.goes_on();
        let since = Instant::now().checked_sub(Duration::from_mins(1)).unwrap();
        state.stands_still(since);
    };
    assert_eq!(world.direction.round().await.unwrap(), 0);
    assert_eq!(gave_way(), 0, "not at once");
    for_long();
    assert_eq!(world.direction.round().await.unwrap(), 0);
    assert_eq!(gave_way(), 1);
    // Who has gone on meanwhile begins anew.
    world.modes.is_unknown.store(false, Ordering::Relaxed);
    for_long();
    world.direction.round().await.unwrap();
    world.modes.is_unknown.store(true, Ordering::Relaxed);
    world.direction.round().await.unwrap();
    assert_eq!(gave_way(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_what_is_applied_asks_for_leave() {
    let world = world("parts").await;
    let large = |id: u64| point(id, [1.0, 0.0], json!({"large": "x".repeat(5 << 20)}));
    for id in [1, 2] {
        let points = json!({"points": [large(id)]});
        world.authority(POINTS, points).await;
    }
    world.ledger.put("c", &ids([1, 2]));
    let modes = Arc::clone(&world.modes);
    world.faults.rule(move |call| {
        if call.head.method == Method::PUT {
            modes.term.fetch_add(1, Ordering::Relaxed);
        }
        Fate::Passes
    });
    assert_eq!(world.direction.round().await.unwrap(), 0);
    assert_eq!(count(&world).await, 1, "one was on its way");
    assert_eq!(world.direction.waiting(None).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_the_follower_ends_before_the_lease_and_goes_on_if_that_is_renewed() {
    let world = world("ends").await;
    let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
    world.authority(POINTS, points).await;
    world.ledger.put("c", &ids([1]));
    let (lets_go, is_open) = watch::channel(false);
    world.faults.rule(move |call| match call.head.method {
        Method::PUT => Fate::IsHeld(is_open.clone()),
        _ => Fate::Passes,
    });
    let until = |lasts| *world.modes.until.lock() = Some(Instant::now() + lasts);
    // Of which one is kept back.
    until(Duration::from_millis(1500));
    let begun = Instant::now();
    assert_eq!(world.direction.round().await.unwrap(), 0);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{begun:?}");
    assert_eq!(world.direction.waiting(None).await.unwrap(), 1);

    until(Duration::from_millis(1500));
    let second = round(&world);
    world.faults.met(2).await;
    until(Duration::from_secs(60));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!second.is_finished());
    lets_go.send_replace(true);
    second.await.unwrap().unwrap();
    assert_eq!(count(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_changes_nothing_at_what_has_become_the_authority() {
    let world = world("sweep").await;
    let config: Value = serde_json::from_str(COSINE).unwrap();
    for call in ["PUT /collections/d", "PUT /collections/e"] {
        world.authority(call, config.clone()).await;
    }
    world.follower("PUT /collections/d", config).await;
    world.ledger_wants_a_sweep().await;
    let mut stop = world.stages.stop(Stage::SweepBegins);
    let sweeping = {
        let world = Arc::clone(&world);
        task::spawn("sweep", async move { world.direction.sweep_once().await })
    };
    stop.reached(1).await;
    // By force, while it goes on: what is written first is the other store now.
    world.modes.epoch.fetch_add(1, Ordering::Relaxed);
    let all = ["c", "d", "e", "*", ""].map(str::to_owned);
    world.modes.unfollowed.lock().extend(all.clone());
    let index = json!({"field_name": "n", "field_schema": "integer"});
    world
        .follower("PUT /collections/d/index?wait=true", index)
        .await;
    stop.go();
    assert!(sweeping.await.unwrap().is_err(), "it has not ended");
    let there = world.follower("GET /collections/d", Value::Null).await;
    assert!(there["payload_schema"]["n"].is_object(), "{there}");
    let names = world.follower("GET /collections", Value::Null).await;
    assert_eq!(names["collections"].as_array().unwrap().len(), 2, "{names}");
    // Followed again, it is still owed.
    world.modes.unfollowed.lock().clear();
    assert_eq!(world.direction.sweeps().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_waits_while_the_fence_is_closed() {
    let world = world("fence").await;
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/d", config).await;
    world.ledger_wants_a_sweep().await;
    world.modes.is_closed.store(true, Ordering::Relaxed);
    let sweeping = {
        let world = Arc::clone(&world);
        task::spawn("sweep", async move { world.direction.sweep_once().await })
    };
    while world.modes.asked.load(Ordering::Relaxed) < 5 {
        tokio::task::yield_now().await;
    }
    let names = world.follower("GET /collections", Value::Null).await;
    assert_eq!(names["collections"].as_array().unwrap().len(), 1, "{names}");
    world.modes.is_closed.store(false, Ordering::Relaxed);
    sweeping.await.unwrap().unwrap();
    let names = world.follower("GET /collections", Value::Null).await;
    assert_eq!(names["collections"].as_array().unwrap().len(), 2, "{names}");
}
