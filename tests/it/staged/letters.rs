//! A follower that refuses one point for good.

use http::Method;
use memchr::memmem;
use serde_json::{Value, json};

use super::gate::{Fate, Gate};
use super::{Plain, Primary, World, points};
use crate::support::process::{Run, run};
use crate::support::{story, until};

fn refuses_two(gate: &Gate) {
    gate.rule(|method, _, body| {
        let is_of_it = memmem::find(body, b"\"id\":2,").is_some();
        if *method == Method::PUT && is_of_it {
            Fate::Refused
        } else {
            Fate::Pass
        }
    });
}

async fn command(world: &World, words: &[&str]) -> Run {
    let admin = world.sidecar.admin().to_string();
    run(
        &[&["sync"], words, &["--admin-listen", &admin]].concat(),
        &[],
    )
    .await
}

fn refused(kind: Primary) {
    story(async {
        let secondary = Plain::new().await;
        let gate = Gate::before(secondary.at()).await;
        let world = World::before(kind, secondary, &gate.url(), "").await;
        world.mode("dual_write").await.ok();
        world.in_sync().await;
        refuses_two(&gate);
        let of = |id: u64| json!({"id": id, "vector": [1.0, id], "payload": {"n": id}});
        let all: Vec<Value> = (0..50).map(of).collect();
        world.write("PUT", "/points", json!({"points": all})).await;
        let settled = async || {
            let told = world.sync().await;
            let told = &told["directions"][0];
            told["waiting"] == 0 && told["dead_letters"] == 1
        };
        until("one is a dead letter and the others are there", settled).await;
        let there = points(world.secondary.at()).await;
        assert!(there.len() == 49 && !there.contains_key(&2), "{there:?}");
        assert_eq!(world.sync().await["in_sync"], false);
        let status = command(&world, &["status"]).await;
        assert_eq!(status.code, Some(1), "{status:?}");
        let dead = command(&world, &["dead", "--json"]).await;
        assert_eq!(dead.code, Some(0), "{dead:?}");
        let dead: Value = serde_json::from_str(&dead.out).unwrap();
        let letter = &dead["dead_letters"][0];
        assert_eq!(
            (&letter["collection"], &letter["id"]),
            (&json!("docs"), &json!("2"))
        );
        assert!(
            letter["reason"].as_str().unwrap().contains("not this one"),
            "{letter}"
        );
        let told = command(&world, &["dead"]).await;
        assert!(
            told.out.contains("docs") && told.out.contains("not this one"),
            "{told:?}"
        );

        // Others go on, and trying again does not help as long as it is refused.
        world.upsert(60, json!({"n": 60})).await;
        let retried = command(&world, &["retry"]).await;
        assert_eq!(retried.code, Some(0), "{retried:?}");
        until("it is a dead letter again", settled).await;
        assert!(points(world.secondary.at()).await.contains_key(&60));

        gate.pass();
        let retried = command(&world, &["retry", "--collection", "docs"]).await;
        assert_eq!(retried.code, Some(0), "{retried:?}");
        world.in_sync().await;
        assert_eq!(world.both().await.len(), 51);
        let dead = command(&world, &["dead", "--json"]).await;
        assert!(!dead.out.contains("docs"), "{dead:?}");

        // A write of the point has it tried again as well.
        refuses_two(&gate);
        world.upsert(2, json!({"n": "new"})).await;
        until("it is refused once more", settled).await;
        gate.pass();
        world.upsert(2, json!({"n": "newer"})).await;
        world.in_sync().await;
        assert_eq!(world.both().await[&2].payload, json!({"n": "newer"}));
        let status = command(&world, &["status"]).await;
        assert_eq!(status.code, Some(0), "{status:?}");
    });
}

#[test]
fn a_point_that_the_follower_refuses_is_a_dead_letter_until_it_is_tried_again() {
    refused(Primary::Embedded);
}

#[test]
fn a_point_of_an_outbox_that_the_follower_refuses_is_a_dead_letter() {
    refused(Primary::Pgvector);
}
