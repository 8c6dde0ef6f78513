//! What was sent to the follower may be carried out later than what was sent after it; and whoever
//! fails holds up no other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::faulty::Fate;
use super::{COSINE, World, ids, point};
use crate::task;

const POINTS: &str = "PUT /collections/c/points?wait=true";

async fn world(name: &str, patience: Duration) -> World {
    let world = World::with(name, patience);
    let config: Value = serde_json::from_str(COSINE).unwrap();
    world.authority("PUT /collections/c", config.clone()).await;
    world.follower("PUT /collections/c", config).await;
    world
}

impl World {
    /// Writes the point 1 and marks it.
    async fn writes(&self, state: &str) {
        let points = json!({"points": [point(1, [1.0, 0.0], json!({"s": state}))]});
        self.authority(POINTS, points).await;
        self.ledger.put("c", &ids([1]));
    }

    async fn state(&self) -> Value {
        let there = self.follower_points().await;
        there
            .get(0)
            .map_or(Value::Null, |of| of["payload"]["s"].clone())
    }

    async fn marks(&self) -> u64 {
        self.direction.waiting(None).await.unwrap()
    }

    /// Rounds until nothing waits.
    async fn until_nothing_waits(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.marks().await > 0 {
            assert!(tokio::time::Instant::now() < until, "in vain");
            self.direction.round().await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_reply_was_lost_is_carried_out_late_and_does_not_stay() {
    let world = world("late", Duration::from_secs(4)).await;
    world.writes("S1").await;
    let (lets_go, is_open) = watch::channel(false);
    world.faults.rule(move |call| match call.head.method {
        Method::PUT => Fate::IsHeld(is_open.clone()),
        _ => Fate::Passes,
    });
    assert!(world.direction.round().await.is_err(), "nobody answers");
    world.faults.pass_all();
    world.writes("S2").await;
    assert!(
        world
            .direction
            .state
            .is_blocked("c", tokio::time::Instant::now())
    );
    world.direction.state.unblock("c");
    world.direction.round().await.unwrap();
    assert_eq!(world.state().await, "S2");
    assert_eq!(world.marks().await, 1, "it sleeps");
    // And holds up nothing meanwhile.
    let other = json!({"points": [point(2, [1.0, 0.0], json!({}))]});
    world.authority(POINTS, other).await;
    world.ledger.put("c", &ids([2]));
    assert_eq!(world.direction.round().await.unwrap(), 1);
    assert_eq!(world.marks().await, 1);

    lets_go.send_replace(true);
    while world.state().await != "S1" {
        tokio::task::yield_now().await;
    }
    world.until_nothing_waits().await;
    assert_eq!(world.state().await, "S2");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_leader_may_have_sent_is_brought_twice() {
    let world = world("left", Duration::from_secs(20)).await;
    world.writes("S2").await;
    // It was marked before this process led.
    world.ledger.age_ms.store(60_000, Ordering::Relaxed);
    world.direction.round().await.unwrap();
    assert_eq!(world.state().await, "S2");
    assert_eq!(world.marks().await, 1, "it sleeps");
    let late = json!({"points": [point(1, [1.0, 0.0], json!({"s": "S1"}))]});
    world.follower(POINTS, late).await;
    world.until_nothing_waits().await;
    assert_eq!(world.state().await, "S2");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lead_marks_anew_what_it_has_sent() {
    for is_answered in [true, false] {
        let world = Arc::new(world("lead", Duration::from_secs(1)).await);
        world.writes("S1").await;
        let (lets_go, is_open) = watch::channel(false);
        world.faults.rule(move |call| match call.head.method {
            Method::PUT => Fate::IsHeld(is_open.clone()),
            _ => Fate::Passes,
        });
        let first = {
            let world = Arc::clone(&world);
            task::spawn("round", async move { world.direction.round().await })
        };
        world.faults.met(1).await;
        world.faults.pass_all();
        // Another leads: it has brought what is newer, and cleared it.
        world.ledger.lead.fetch_add(1, Ordering::Relaxed);
        world.writes("S2").await;
        let newer = json!({"points": [point(1, [1.0, 0.0], json!({"s": "S2"}))]});
        world.follower(POINTS, newer).await;
        world.ledger.marks.lock().clear();
        if is_answered {
            lets_go.send_replace(true);
            first.await.unwrap().unwrap();
            assert_eq!(world.state().await, "S1", "it is taken back for the moment");
        } else {
            assert!(first.await.unwrap().is_err());
            lets_go.send_replace(true);
            while world.state().await != "S1" {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(world.marks().await, 1);
        world.until_nothing_waits().await;
        assert_eq!(world.state().await, "S2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_hangs_or_fails_is_told_of_and_holds_up_no_other() {
    let (_lets_go, is_open) = watch::channel(false);
    let out = Fate::IsRefused(StatusCode::SERVICE_UNAVAILABLE, "out of service");
    for fate in [Fate::IsHeld(is_open), out] {
        let hangs = matches!(fate, Fate::IsHeld(_));
        let world = Arc::new(world("hangs", Duration::from_secs(60)).await);
        let config: Value = serde_json::from_str(COSINE).unwrap();
        world.authority("PUT /collections/d", config.clone()).await;
        world.follower("PUT /collections/d", config).await;
        world.faults.rule(move |call| {
            let is_of_d = call.head.uri.path().starts_with("/collections/d/points");
            if is_of_d { fate.clone() } else { Fate::Passes }
        });
        let points = json!({"points": [point(1, [1.0, 0.0], json!({}))]});
        let path = "PUT /collections/d/points?wait=true";
        world.authority(path, points).await;
        world.ledger.put("d", &ids([1]));
        let drain = {
            let world = Arc::clone(&world);
            task::spawn("drain", async move { world.direction.drain().await })
        };
        world.faults.met(1).await;
        for n in 0..5 {
            let state = format!("S{n}");
            world.writes(&state).await;
            let until = tokio::time::Instant::now() + Duration::from_secs(20);
            while world.state().await != state.as_str() {
                assert!(tokio::time::Instant::now() < until, "it is held up");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if !hangs {
            let report = world.direction.report().await.unwrap();
            let failing = report.failing.unwrap();
            assert!(failing.contains("out of service"), "{failing}");
        }
        drain.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_left_alone_for_a_while() {
    let world = world("pause", Duration::from_secs(20)).await;
    world.writes("S1").await;
    let refused = Fate::IsRefused(StatusCode::SERVICE_UNAVAILABLE, "out of service");
    world.faults.rule(move |call| match call.head.method {
        Method::PUT => refused.clone(),
        _ => Fate::Passes,
    });
    assert!(world.direction.round().await.is_err());
    assert_eq!(world.direction.round().await.unwrap(), 0, "not at once");
    assert_eq!(world.marks().await, 1);
    world.faults.pass_all();
    world.until_nothing_waits().await;
    assert_eq!(world.state().await, "S1");
}
