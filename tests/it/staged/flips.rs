//! The authority moves while writes are under way, and the change breaks off inside the fence.

use outrigger::stage::Stage;
use serde_json::json;

use super::{DOCS, Primary, World, upserting};
use crate::support::ask::{Answer, Ask};
use crate::support::wire::Wire;
use crate::support::{story, until};

const HELD: &str = "outrigger_mode_held_writes_total";

fn store(answer: &Answer) -> Option<String> {
    answer.head.field("x-outrigger-store")
}

/// Sends writes until one of them waits before the fence; all of them.
async fn one_held(
    world: &World,
    from: u64,
    come: impl Fn() -> usize,
) -> Vec<tokio::task::JoinHandle<Answer>> {
    let mut sent = Vec::new();
    let before = world.sidecar.metric(HELD, &[]);
    let held = || world.sidecar.metric(HELD, &[]) > before;
    for id in from.. {
        let through = come();
        let body = upserting(id, json!({"probe": true}));
        let write = world.writing("PUT", "/points", &body);
        let is_over = async || held() || come() > through || write.is_finished();
        until("the write is held or goes on", is_over).await;
        sent.push(write);
        if held() {
            break;
        }
    }
    sent
}

fn under_way(kind: Primary) {
    story(async {
        let world = World::mirrored(kind).await;
        world.upsert(1, json!({"n": 1})).await;
        world.in_sync().await;
        // One that the authority has answered, and one that was not sent yet.
        let mut answered = world.stages().stop(Stage::AfterAnswer);
        let first = world.writing("PUT", "/points", &upserting(2, json!({"n": 2})));
        answered.reached(1).await;
        let mut unsent = world.stages().stop(Stage::AfterIntend);
        let second = world.writing("PUT", "/points", &upserting(3, json!({"n": 3})));
        unsent.reached(1).await;
        let change = world.changing("cutover");
        let probes = one_held(&world, 100, || unsent.come()).await;
        let held = probes.last().unwrap();
        let through = unsent.come();
        // Whoever does not wait for them is over by then.
        world.sidecar.looks(5).await;
        assert!(!change.is_finished() && !first.is_finished() && !second.is_finished());

        // Those not sent go to the old authority, and are waited for like the other.
        unsent.go();
        answered.reached(1 + through).await;
        world.sidecar.looks(5).await;
        assert!(!change.is_finished() && !held.is_finished());
        let told = world.sync().await;
        assert_eq!(told["directions"][0]["followed"], true, "{told}");
        answered.go();
        change.await.unwrap().ok();
        for write in [first, second] {
            let answer = write.await.unwrap().ok();
            assert_eq!(store(&answer).as_deref(), Some("primary"));
        }
        let count = 3 + probes.len();
        let mut probes = probes;
        let held = probes.pop().unwrap().await.unwrap().ok();
        assert_eq!(store(&held).as_deref(), Some("secondary"));
        for probe in probes {
            probe.await.unwrap().ok();
        }
        world.in_sync().await;
        assert_eq!(world.both().await.len(), count);
        if let Some(primary) = &world.primary {
            let there = super::points(primary.at()).await;
            assert_eq!(there, super::points(world.secondary.at()).await);
        }
        // And the way back, for stores that cannot be read by themselves.
        world.mode("dual_write").await.ok();
        assert_eq!(world.both().await.len(), count);
    });
}

#[test]
fn a_flip_waits_for_writes_under_way_and_nothing_is_lost() {
    under_way(Primary::Qdrant);
}

#[test]
fn a_flip_from_an_embedded_store_waits_for_writes_under_way() {
    under_way(Primary::Embedded);
}

#[test]
fn a_flip_from_an_outbox_waits_for_writes_under_way() {
    under_way(Primary::Pgvector);
}

#[test]
fn a_slow_upload_keeps_no_flip_waiting_and_goes_by_the_mode_that_comes_out() {
    story(async {
        let world = World::mirrored(Primary::Embedded).await;
        let upload = Ask::put(&format!("{DOCS}/points?wait=true"), "")
            .with("content-type", "application/json")
            .with("expect", "100-continue")
            .json(&upserting(1, json!({"n": 1})));
        let mut wire = Wire::connect(world.sidecar.proxy()).await;
        wire.send(upload.head_bytes()).await;
        // It is being read from now on.
        assert_eq!(wire.head().await.unwrap().status(), 100);
        world.mode("cutover").await.ok();

        let head = upload.head_bytes().len();
        wire.send(&upload.bytes()[head..]).await;
        let answer = Answer::read(&mut wire, "PUT").await.unwrap().ok();
        assert_eq!(store(&answer).as_deref(), Some("secondary"));
        world.in_sync().await;
        assert_eq!(world.both().await.len(), 1);
    });
}

#[test]
fn a_panic_inside_the_fence_lets_writes_go_on_in_the_old_mode() {
    story(async {
        let world = World::mirrored(Primary::Embedded).await;
        for (round, stage) in [Stage::InsideFence, Stage::BeforeFlip]
            .into_iter()
            .enumerate()
        {
            let trap = world.stages().panic(stage);
            let before = world
                .sidecar
                .metric("outrigger_mode_fence_seconds_count", &[]);
            let refused = world.mode("cutover").await;
            assert_eq!(refused.status(), 409, "{}", refused.text());
            let reason = refused.json()["status"]["error"].to_string();
            assert!(
                reason.contains("a bug ended the change inside the fence"),
                "{reason}"
            );
            drop(trap);
            let up = world
                .sidecar
                .metric("outrigger_mode_fence_seconds_count", &[]);
            assert_eq!(up - before, 1.0, "the fence went up, and down");

            // Now with a write that waits for the fence.
            let mut inside = world.stages().stop(Stage::InsideFence);
            let change = world.changing("cutover");
            inside.reached(1).await;
            let id = 10 + u64::try_from(round).unwrap();
            let held = world.sidecar.metric(HELD, &[]);
            let write = world.writing("PUT", "/points", &upserting(id, json!({})));
            world.sidecar.until_metric(HELD, &[], held + 1.0).await;
            let trap = world.stages().panic(Stage::BeforeFlip);
            assert!(!write.is_finished());
            inside.go();
            assert_eq!(change.await.unwrap().status(), 409);
            let answer = write.await.unwrap().ok();
            assert_eq!(store(&answer).as_deref(), Some("primary"));
            drop(trap);
        }
        world.in_sync().await;
        assert_eq!(world.both().await.len(), 2);
        world.mode("cutover").await.ok();
        let answer = world.writing("PUT", "/points", &upserting(20, json!({})));
        let answer = answer.await.unwrap().ok();
        assert_eq!(store(&answer).as_deref(), Some("secondary"));
    });
}

/// With force the authority moves away from a follower that was never compared to its end. That is
/// not forgotten on the way back.
fn forced_too_early(kind: Primary) {
    story(async {
        let world = World::alone(kind).await;
        world.upsert(1, json!({})).await;
        let mut sweep = world.stages().stop(Stage::SweepBegins);
        world.mode("dual_write").await.ok();
        sweep.reached(1).await;
        let early = world.mode("cutover").await;
        assert_eq!(early.status(), 409, "{}", early.text());
        let forced = Ask::put(
            "/api/mode",
            json!({"mode": "cutover", "force": true}).to_string(),
        );
        world.sidecar.ask_admin(&forced).await.ok();
        world.mode("dual_write").await.ok();
        let early = world.mode("cutover").await;
        assert_eq!(early.status(), 409, "{}", early.text());
        sweep.go();
        world.in_sync().await;
        world.mode("cutover").await.ok();
        assert_eq!(world.both().await.len(), 1);
    });
}

#[test]
fn a_sweep_that_is_owed_is_not_forgotten_by_a_journal_over_a_forced_flip() {
    forced_too_early(Primary::Embedded);
}

#[test]
fn a_sweep_that_is_owed_is_not_forgotten_by_an_outbox_over_a_forced_flip() {
    forced_too_early(Primary::Pgvector);
}
