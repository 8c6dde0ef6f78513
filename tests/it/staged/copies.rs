//! One point, copied while it is written.

use outrigger::stage::Stage;
use serde_json::{Value, json};

use super::{Primary, World, points, upserting, write};
use crate::support::{story, until};

/// Where the drainer is between taking a mark and clearing it.
const DRAINER: [Stage; 4] = [
    Stage::AfterTake,
    Stage::AfterRead,
    Stage::AfterApply,
    Stage::BeforeClear,
];

/// The follower differs in every point; a sweep finds that, and wherever it and the drainer are,
/// each kind of write comes in between.
fn a_live_write_wins(kind: Primary) {
    story(async {
        let world = World::alone(kind).await;
        for id in 1..=4 {
            world.upsert(id, json!({"at": "first", "kept": id})).await;
        }
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        let stages = [Stage::SweepBegins, Stage::SweepRead];
        for stage in stages.into_iter().chain(DRAINER) {
            world.upsert(3, json!({"at": "again"})).await;
            world.in_sync().await;
            for id in 1..=4 {
                let old = upserting(id, json!({"at": "of another time"}));
                write(world.secondary.at(), "PUT", "/points", old).await;
            }
            let mut stop = world.stages().stop(stage);
            world.sweep().await;
            stop.reached(1).await;
            let at = format!("{stage:?}");
            world.upsert(1, json!({"at": at})).await;
            let set = json!({"points": [2], "payload": {"at": at}});
            world.write("POST", "/points/payload", set).await;
            world.delete(3).await;
            stop.go();
            world.in_sync().await;
            let both = world.both().await;
            assert_eq!(both[&1].payload, json!({"at": at}));
            assert_eq!(both[&2].payload, json!({"at": at, "kept": 2}));
            assert!(!both.contains_key(&3), "{at}");
            assert_eq!(both[&4].payload, json!({"at": "first", "kept": 4}), "{at}");
        }
    });
}

#[test]
fn a_live_write_wins_over_a_backfill_wherever_it_comes_between() {
    a_live_write_wins(Primary::Embedded);
}

#[test]
fn a_live_write_wins_over_a_backfill_of_an_outbox() {
    a_live_write_wins(Primary::Pgvector);
}

/// What becomes of a point at two stages of its own copying.
fn each_order(kind: Primary) {
    story(async {
        let world = World::mirrored(kind).await;
        let mut at = 0;
        for (place, first) in DRAINER.into_iter().enumerate() {
            for second in DRAINER.into_iter().skip(place) {
                for is_deleted_first in [true, false] {
                    at += 1;
                    world.upsert(1, json!({"n": 0})).await;
                    world.in_sync().await;
                    let mut stop = world.stages().stop(first);
                    // What is copied when it comes to the stage.
                    if is_deleted_first {
                        world.upsert(1, json!({"n": "old"})).await;
                    } else {
                        world.delete(1).await;
                    }
                    stop.reached(1).await;
                    step(&world, is_deleted_first, at).await;
                    if second != first {
                        let mut next = world.stages().stop(second);
                        stop.go();
                        next.reached(1).await;
                        stop = next;
                    }
                    step(&world, !is_deleted_first, at).await;
                    stop.go();
                    world.in_sync().await;
                    let both = world.both().await;
                    let found = both.get(&1).map(|point| &point.payload);
                    let wanted = json!({"n": at});
                    let wanted = is_deleted_first.then_some(&wanted);
                    assert_eq!(found, wanted, "{first:?} {second:?} {is_deleted_first}");
                }
            }
        }
    });
}

async fn step(world: &World, is_deletion: bool, at: u64) {
    if is_deletion {
        world.delete(1).await;
    } else {
        world.upsert(1, json!({"n": at})).await;
    }
}

#[test]
fn a_point_deleted_and_made_again_around_a_copy_ends_as_it_is_at_the_authority() {
    each_order(Primary::Embedded);
}

#[test]
fn a_point_deleted_and_made_again_around_a_copy_of_an_outbox_ends_as_it_is() {
    each_order(Primary::Pgvector);
}

/// A collection deleted and made again while a point of the old one is copied.
fn another_collection(kind: Primary) {
    story(async {
        let world = World::mirrored(kind).await;
        for stage in DRAINER {
            world.upsert(1, json!({"of": "the old one"})).await;
            world.upsert(2, json!({"of": "the old one"})).await;
            world.in_sync().await;
            let mut stop = world.stages().stop(stage);
            world.upsert(1, json!({"of": "the old one still"})).await;
            stop.reached(1).await;
            world.write("DELETE", "", json!({})).await;
            let made = json!({"vectors": {"size": 2, "distance": "Euclid"}});
            world.write("PUT", "", made).await;
            world.upsert(1, json!({"of": "the new one"})).await;
            stop.go();
            world.in_sync().await;
            let both = world.both().await;
            assert_eq!(both.len(), 1, "{stage:?}: {both:?}");
            assert_eq!(both[&1].payload, json!({"of": "the new one"}));
        }
    });
}

#[test]
fn a_collection_deleted_and_made_again_around_a_copy_keeps_nothing_of_the_old_one() {
    another_collection(Primary::Embedded);
}

#[test]
fn a_collection_deleted_and_made_again_around_a_copy_of_an_outbox_keeps_nothing() {
    another_collection(Primary::Pgvector);
}

/// `set_payload` mirrored as an operation would find nothing there, and be lost under the copy.
fn not_reached(kind: Primary) {
    story(async {
        let world = World::alone(kind).await;
        for id in 1..=3 {
            world.upsert(id, json!({"kept": id})).await;
        }
        let mut sweep = world.stages().stop(Stage::SweepBegins);
        let mut read = world.stages().stop(Stage::SweepRead);
        world.mode("dual_write").await.ok();
        sweep.reached(1).await;
        let set = |value: &str| json!({"points": [2], "payload": {"set": value}});
        world.write("POST", "/points/payload", set("early")).await;
        let there = async || points(world.secondary.at()).await;
        until("the point is there", async || there().await.len() == 1).await;
        let found = there().await;
        assert_eq!(found[&2].payload, json!({"kept": 2, "set": "early"}));
        assert_eq!(found[&2].vector, [1.0, 2.0]);

        // Again once it has read them, and before it marks what it found.
        sweep.go();
        read.reached(1).await;
        let of_one = json!({"points": [1], "payload": {"set": "between"}});
        world.write("POST", "/points/payload", of_one).await;
        read.go();
        world.in_sync().await;
        let both = world.both().await;
        let payload = |id: u64| both[&id].payload.clone();
        let wanted: [Value; 3] = [
            json!({"kept": 1, "set": "between"}),
            json!({"kept": 2, "set": "early"}),
            json!({"kept": 3}),
        ];
        assert_eq!([1, 2, 3].map(payload), wanted);
    });
}

#[test]
fn a_payload_set_on_a_point_that_the_backfill_has_not_reached_is_not_lost() {
    not_reached(Primary::Embedded);
}

#[test]
fn a_payload_set_before_the_backfill_of_an_outbox_is_not_lost() {
    not_reached(Primary::Pgvector);
}
