//! The way back from `cutover` that nobody asks for.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::cutover::spoil;
use super::gate::Fate;
use super::shadow::{Shadowed, best};
use super::{DOCS, Primary};
use crate::support::ask::Ask;
use crate::support::{story, until};

/// It looks five times a second, and few reads will do.
const WATCHED: &str = "cutover.guard = true\ncutover.guard_every = \"200ms\"\n\
                       cutover.guard_queries = 10\nshadow.workers = 4\n";
/// So many looks that anything would have come of them.
const LOOKS: Duration = Duration::from_secs(2);
const STEPS: &str = "outrigger_guard_steps_back_total";

impl Shadowed {
    async fn watched(more: &str) -> Self {
        let shadowed = Self::new(Primary::Embedded, &format!("{WATCHED}{more}")).await;
        shadowed.world.mode("cutover").await.ok();
        // What was read before its first look does not count.
        tokio::time::sleep(LOOKS / 4).await;
        shadowed
    }

    fn steps(&self) -> f64 {
        self.world.sidecar.metric(STEPS, &[])
    }

    async fn is_in(&self, mode: &str) -> bool {
        self.mode().await["mode"] == mode
    }

    /// The last line of the history.
    async fn last(&self) -> Value {
        let ask = Ask::get("/api/mode/history?limit=1");
        let told = self.world.sidecar.ask_admin(&ask).await.ok().json();
        told["history"][0].clone()
    }

    /// Reads that may fail.
    async fn try_times(&self, count: u32) {
        let ask = Ask::new("POST", &format!("{DOCS}/points/query")).json(&best(10));
        for _ in 0..count {
            self.world.sidecar.ask(&ask).await;
        }
    }

    /// The secondary refuses searches for now.
    fn fail(&self) {
        self.gate.rule(|method, path, _| {
            if *method == Method::POST && path.ends_with("/points/query") {
                Fate::Unavailable
            } else {
                Fate::Pass
            }
        });
    }
}

#[test]
fn bad_answers_lead_back_and_the_history_tells_why() {
    story(async {
        let shadowed = Shadowed::watched("").await;
        spoil(&shadowed);
        shadowed.search_times(10).await;
        until("it went back", async || shadowed.is_in("dual_read").await).await;
        let last = shadowed.last().await;
        assert_eq!(last["who"], "cutover.guard");
        assert_eq!(last["from"], "cutover");
        let why = last["why"].as_str().unwrap();
        let expected = "docs: top-1 match is 0.00% (at least 80%); docs: overlap@10 is 30.00%";
        assert!(why.starts_with(expected), "{why}");
        until("it is counted", async || shadowed.steps() == 1.0).await;
        // Nothing goes forwards by itself, and nothing further back.
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("dual_read").await);
        // Who goes forwards again is not held to what was read before.
        shadowed.world.mode("cutover").await.ok();
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("cutover").await);
        assert_eq!(shadowed.steps(), 1.0);
    });
}

#[test]
fn reads_that_fail_at_the_secondary_lead_back() {
    story(async {
        let shadowed = Shadowed::watched("").await;
        shadowed.fail();
        until("it went back", async || {
            shadowed.try_times(10).await;
            shadowed.is_in("dual_read").await
        })
        .await;
        let last = shadowed.last().await;
        assert_eq!(last["why"], "reads that fail are 100.00% (at most 1%)");
        assert_eq!(shadowed.search().await.len(), 10);
    });
}

#[test]
fn what_failed_once_and_is_over_leads_nowhere() {
    story(async {
        let shadowed = Shadowed::watched("").await;
        shadowed.fail();
        shadowed.try_times(10).await;
        shadowed.gate.pass();
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("cutover").await);
    });
}

#[test]
fn too_few_reads_lead_nowhere() {
    story(async {
        let shadowed = Shadowed::watched("").await;
        shadowed.fail();
        shadowed.try_times(9).await;
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("cutover").await);
    });
}

#[test]
fn where_all_is_well_nothing_goes_back() {
    story(async {
        // How fast either store answers is the machine's doing.
        let settings = "shadow.baseline = 1.0\ncutover.guard_latency = 1000\n";
        let shadowed = Shadowed::watched(settings).await;
        shadowed.search_times(120).await;
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("cutover").await);
        assert_eq!(shadowed.steps(), 0.0);
    });
}

#[test]
fn without_a_guard_nothing_goes_back() {
    story(async {
        let off = WATCHED.replace("guard = true", "guard = false");
        let shadowed = Shadowed::new(Primary::Embedded, &off).await;
        shadowed.world.mode("cutover").await.ok();
        spoil(&shadowed);
        shadowed.search_times(20).await;
        tokio::time::sleep(LOOKS).await;
        assert!(shadowed.is_in("cutover").await);
        assert_eq!(shadowed.steps(), 0.0);
    });
}

#[test]
fn a_collection_with_a_mode_of_its_own_goes_back_alone() {
    story(async {
        let shadowed = Shadowed::new(Primary::Embedded, WATCHED).await;
        for mode in ["dual_read", "cutover"] {
            let own = json!({"mode": mode, "collection": "docs"});
            shadowed.asked(own).await.ok();
        }
        shadowed.asked(json!({"mode": "cutover"})).await.ok();
        tokio::time::sleep(LOOKS / 4).await;
        shadowed.fail();
        until("it went back", async || {
            shadowed.try_times(10).await;
            shadowed.mode().await["collections"] == json!({"docs": "dual_read"})
        })
        .await;
        assert_eq!(shadowed.last().await["collection"], "docs");
        assert!(shadowed.is_in("cutover").await);
    });
}
