//! A sidecar that is killed in the middle of a write, and started again.

use std::net::SocketAddr;

use serde_json::json;

use super::gate::{Fate, Gate};
use super::{Plain, changing, in_sync, listening, points, upserting, write, writing};
use crate::support::folder::Folder;
use crate::support::process::Process;
use crate::support::{story, until};

/// A process over two stores, each with a gate before it.
pub(super) struct Rig {
    pub(super) process: Process,
    pub(super) primary: Plain,
    pub(super) secondary: Plain,
    pub(super) gates: [Gate; 2],
    pub(super) data: Folder,
    toml: String,
}

impl Rig {
    /// In `dual_write`, with a collection that both have.
    pub(super) async fn new() -> Self {
        let (primary, secondary) = (Plain::new().await, Plain::new().await);
        let gates = [
            Gate::before(primary.at()).await,
            Gate::before(secondary.at()).await,
        ];
        let data = Folder::new();
        let more = format!(
            "cache.enabled = false\nprimary.kind = \"qdrant\"\nprimary.url = \"{}\"\n\
             secondary.kind = \"qdrant\"\nsecondary.url = \"{}\"",
            gates[0].url(),
            gates[1].url()
        );
        let toml = listening(&data, &more);
        let rig = Self {
            process: Process::start(&toml, &[]).await,
            primary,
            secondary,
            gates,
            data,
            toml,
        };
        changing(rig.process.admin, "dual_write")
            .await
            .unwrap()
            .ok();
        let made = json!({"vectors": {"size": 2, "distance": "Dot"}});
        write(rig.process.proxy, "PUT", "", made).await;
        in_sync(rig.process.admin).await;
        rig
    }

    pub(super) fn proxy(&self) -> SocketAddr {
        self.process.proxy
    }

    pub(super) async fn upsert(&self, id: u64, n: u64) {
        let body = upserting(id, json!({"n": n}));
        write(self.proxy(), "PUT", "/points", body).await;
    }

    pub(super) async fn kill(&self) {
        self.process.signal("KILL");
        self.process.exit_code().await;
    }

    pub(super) async fn start(&mut self) {
        self.process = Process::start(&self.toml, &[]).await;
    }

    pub(super) async fn start_by_shell(&mut self, line: &str) {
        self.process = Process::by_shell(&self.toml, line).await;
    }

    pub(super) async fn is_equal(&self) -> bool {
        points(self.primary.at()).await == points(self.secondary.at()).await
    }

    pub(super) async fn equal(&self) {
        until("both stores are equal", async || self.is_equal().await).await;
    }

    pub(super) async fn n(&self, id: u64) -> Option<u64> {
        let there = points(self.secondary.at()).await;
        there.get(&id)?.payload["n"].as_u64()
    }
}

/// What was in the store's socket when the sidecar died.
#[derive(Clone, Copy, Debug)]
enum Later {
    IsLost,
    /// The store gets it when the new sidecar has long begun.
    Comes,
}

fn between_intent_and_send(later: Later) {
    story(async {
        let mut rig = Rig::new().await;
        rig.upsert(1, 1).await;
        in_sync(rig.process.admin).await;
        rig.gates[0].writes(Fate::HeldBefore);
        let unanswered = writing(
            rig.proxy(),
            "PUT",
            "/points",
            &upserting(1, json!({"n": 2})),
        );
        rig.gates[0].come(1).await;
        rig.kill().await;
        rig.gates[0].pass();
        rig.start().await;
        // It knows that something was under way, and has looked.
        rig.upsert(2, 2).await;
        until("the other is there", async || rig.n(2).await.is_some()).await;
        assert_eq!(rig.n(1).await, Some(1));
        match later {
            Later::IsLost => rig.gates[0].lose(),
            Later::Comes => {
                rig.gates[0].deliver();
                until("it has come", async || {
                    points(rig.primary.at()).await[&1].payload == json!({"n": 2})
                })
                .await;
            }
        }
        rig.equal().await;
        assert!(
            unanswered.await.is_err(),
            "nobody was told that it was done"
        );
    });
}

#[test]
fn killed_between_intent_and_send_the_stores_end_equal() {
    between_intent_and_send(Later::IsLost);
}

#[test]
fn a_write_that_comes_to_the_store_after_its_sidecar_was_killed_is_mirrored() {
    between_intent_and_send(Later::Comes);
}

#[test]
fn killed_between_the_stores_answer_and_its_own_the_write_is_mirrored() {
    story(async {
        let mut rig = Rig::new().await;
        rig.gates[0].writes(Fate::HeldAfter);
        // The follower is kept from it, so that it was not mirrored before the end.
        rig.gates[1].writes(Fate::Unavailable);
        drop(writing(
            rig.proxy(),
            "PUT",
            "/points",
            &upserting(1, json!({"n": 1})),
        ));
        rig.gates[0].come(1).await;
        rig.kill().await;
        rig.gates[0].pass();
        rig.gates[1].pass();
        rig.start().await;
        rig.equal().await;
        assert_eq!(rig.n(1).await, Some(1));
    });
}

/// Between the answer to the client and the clearing of the mark.
fn before_the_clear(held: Fate, later: Later) {
    story(async {
        let mut rig = Rig::new().await;
        rig.gates[1].writes(held);
        rig.upsert(1, 1).await;
        rig.gates[1].come(1).await;
        rig.kill().await;
        rig.gates[1].pass();
        rig.start().await;
        rig.equal().await;
        assert_eq!(rig.n(1).await, Some(1));
        rig.upsert(1, 2).await;
        until("the newer one is there", async || rig.n(1).await == Some(2)).await;
        match later {
            Later::IsLost => rig.gates[1].lose(),
            // The older one, written over the newer.
            Later::Comes => rig.gates[1].deliver(),
        }
        rig.equal().await;
        until("the newer one is there", async || rig.n(1).await == Some(2)).await;
    });
}

#[test]
fn killed_before_the_follower_has_it_the_write_is_mirrored() {
    before_the_clear(Fate::HeldBefore, Later::IsLost);
}

#[test]
fn killed_between_apply_and_clear_the_stores_end_equal() {
    before_the_clear(Fate::HeldAfter, Later::IsLost);
}

#[test]
fn what_a_killed_sidecar_sent_to_the_follower_does_not_stand_over_what_is_newer() {
    before_the_clear(Fate::HeldBefore, Later::Comes);
}
