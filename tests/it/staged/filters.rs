//! A write by a filter, and others that change which points the filter finds.

use outrigger::stage::Stage;
use serde_json::{Value, json};

use super::{Plain, Primary, World, changing, in_sync, listening, points, upserting, write};
use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::wire::Wire;

fn red() -> Value {
    json!({"must": [{"key": "color", "match": {"value": "red"}}]})
}

/// Each kind of write by a filter: to what it is sent, and with what beside the filter.
fn kinds() -> [(&'static str, Value); 3] {
    [
        ("/points/delete", json!({"filter": red()})),
        (
            "/points/payload",
            json!({"filter": red(), "payload": {"seen": true}}),
        ),
        (
            "/points/batch",
            json!({"operations": [
                {"set_payload": {"filter": red(), "payload": {"seen": true}}},
                {"set_payload": {"points": [2], "payload": {"named": true}}},
            ]}),
        ),
    ]
}

fn painted(color: &str) -> Value {
    json!({"color": color, "n": 1})
}

#[test]
fn writes_of_one_sidecar_wait_for_a_write_by_filter_that_has_found_its_points() {
    story(async {
        let world = World::mirrored(Primary::Embedded).await;
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        let made = Ask::new("PUT", "/collections/aside").json(&made);
        world.sidecar.ask(&made).await.ok();
        for (target, body) in kinds() {
            for (id, color) in [(1, "red"), (2, "red"), (3, "blue"), (4, "red")] {
                world.upsert(id, painted(color)).await;
            }
            let mut found = world.stages().stop(Stage::AfterResolve);
            let by_filter = world.writing("POST", target, &body);
            found.reached(1).await;
            // One comes to be found, one is changed so that it is, one so that it is not.
            let writes = [(5, "red"), (3, "red"), (4, "blue")]
                .map(|(id, color)| world.writing("PUT", "/points", &upserting(id, painted(color))));
            // Whoever does not wait is done before so many that come later.
            for _ in 0..30 {
                let aside = world.sidecar.proxy();
                let ask = Ask::new("PUT", "/collections/aside/points?wait=true");
                let ask = ask.json(&upserting(1, json!({})));
                ask.over(&mut Wire::connect(aside).await).await.ok();
            }
            assert!(writes.iter().all(|write| !write.is_finished()), "{target}");
            found.go();
            by_filter.await.unwrap().ok();
            for write in writes {
                write.await.unwrap().ok();
            }
            world.in_sync().await;
            let both = world.both().await;
            // They came after it, each of them.
            for (id, color) in [(3, "red"), (4, "blue"), (5, "red")] {
                assert_eq!(both[&id].payload, painted(color), "{target}");
            }
            world.delete(5).await;
        }
    });
}

/// A second sidecar over the same stores: nothing orders its writes and those of the first.
struct Two {
    world: World,
    other: Sidecar,
    _data: Folder,
}

impl Two {
    async fn new() -> Self {
        let world = World::alone(Primary::Qdrant).await;
        let data = Folder::new();
        let (primary, secondary) = (
            world.primary.as_ref().map(Plain::url),
            world.secondary.url(),
        );
        let more = format!(
            "cache.enabled = false\nprimary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{secondary}\"",
            primary.unwrap()
        );
        let other = Sidecar::with(&listening(&data, &more)).await;
        for admin in [world.sidecar.admin(), other.admin()] {
            changing(admin, "dual_write").await.unwrap().ok();
            in_sync(admin).await;
        }
        Self {
            world,
            other,
            _data: data,
        }
    }
}

#[test]
fn what_a_write_by_filter_changes_is_what_it_marks_whatever_others_write_meanwhile() {
    story(async {
        let Two {
            world,
            other,
            _data,
        } = Two::new().await;
        for (target, body) in kinds() {
            for (id, color) in [(1, "red"), (2, "red"), (3, "blue"), (4, "red")] {
                world.upsert(id, painted(color)).await;
            }
            world.delete(5).await;
            world.in_sync().await;
            let mut found = world.stages().stop(Stage::AfterResolve);
            let by_filter = world.writing("POST", target, &body);
            found.reached(1).await;
            for (id, color) in [(5, "red"), (3, "red"), (4, "blue")] {
                let other = other.proxy();
                write(other, "PUT", "/points", upserting(id, painted(color))).await;
            }
            // The other has brought its own along before the first goes on.
            in_sync(other.admin()).await;
            found.go();
            by_filter.await.unwrap().ok();
            world.in_sync().await;
            in_sync(other.admin()).await;
            let here = world.both().await;
            // Those that came to match were not found: nothing is changed that is not marked.
            for id in [3, 5] {
                assert_eq!(here[&id].payload, painted("red"), "{target}");
            }
            let is_touched = |id: u64| {
                here.get(&id)
                    .is_none_or(|point| point.payload.get("seen").is_some())
            };
            assert!([1, 2, 4].into_iter().all(is_touched), "{target}: {here:?}");
        }
    });
}

/// PostgreSQL orders what one statement sees; its triggers mark what it changed.
#[test]
fn a_write_by_filter_marks_in_an_outbox_what_it_changed_among_writes_at_the_same_time() {
    story(async {
        let world = World::mirrored(Primary::Pgvector).await;
        for round in 0..10 {
            for id in 1..=20 {
                let color = if id % 2 == 0 { "red" } else { "blue" };
                world.upsert(id, painted(color)).await;
            }
            let mut sent = world.stages().stop(Stage::AfterIntend);
            let mut writes = Vec::new();
            for (target, body) in kinds().into_iter().skip(round % 2) {
                writes.push(world.writing("POST", target, &body));
            }
            for id in 1..=30 {
                let color = if id % 3 == 0 { "red" } else { "blue" };
                let body = upserting(id, painted(color));
                writes.push(world.writing("PUT", "/points", &body));
            }
            let all = writes.len();
            sent.reached(all).await;
            // All at once.
            sent.go();
            for write in writes {
                // One of them names a point that another may have deleted.
                let status = write.await.unwrap().status();
                assert!([200, 404].contains(&status), "{status}");
            }
            world.in_sync().await;
            world.both().await;
        }
    });
}

#[test]
fn past_the_most_ids_a_write_by_filter_has_its_collection_swept() {
    story(async {
        let world = World::alone_with(Primary::Embedded, "filter_write_max_ids = 2").await;
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        for id in 1..=5 {
            world.upsert(id, painted("red")).await;
        }
        world.in_sync().await;
        let mut sweep = world.stages().stop(Stage::SweepBegins);
        let body = json!({"filter": red(), "payload": {"seen": true}});
        world.write("POST", "/points/payload", body).await;
        let told = world.sync().await;
        let due = &told["directions"][0]["sweeps"][0];
        assert_eq!(due["collection"], "docs", "{told}");
        assert_eq!(told["in_sync"], false, "{told}");
        sweep.reached(1).await;
        let there = points(world.secondary.at()).await;
        assert!(
            there
                .values()
                .all(|point| point.payload.get("seen").is_none())
        );
        sweep.go();
        world.in_sync().await;
        let both = world.both().await;
        let is_seen = |point: &super::Point| point.payload["seen"] == true;
        assert!(both.len() == 5 && both.values().all(is_seen));
    });
}

#[test]
fn a_refused_call_takes_no_sweep_away_that_was_owed_before() {
    story(async {
        let world = World::alone_with(Primary::Embedded, "").await;
        let _begins = world.stages().stop(Stage::SweepBegins);
        world.mode("dual_write").await.ok();
        let owed = async || world.sync().await["directions"][0]["sweeps"].clone();
        assert_eq!(owed().await[0]["reason"], "never compared");
        let unknown = Ask::new("POST", "/no/such/route");
        assert_eq!(world.sidecar.ask(&unknown).await.status(), 404);
        assert_eq!(owed().await[0]["reason"], "never compared");
    });
}
