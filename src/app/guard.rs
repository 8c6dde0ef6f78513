//! The way back from `cutover`, without anybody being asked (`cutover.guard`).
//!
//! It looks every so often at what was read lately. What is missed at two looks in a row is asked
//! to be undone as a person would ask: by a change to `dual_read`, with its checks and its fence,
//! under the name of the guard and with what was seen for its reason, and only while the modes are
//! those that were judged. A change that is refused is asked for again, after longer and longer: each
//! try may hold writes for as long as the fence does. Nothing here ever goes forwards, and what was seen before the
//! modes changed counts no more, so that a person who goes forwards again is given a new chance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::gate::limits;
use crate::compare::{Budgets, Watched, breaches};
use crate::config;
use crate::metrics::Metrics;
use crate::mode::{Changer, Snapshot, Wish};
use crate::model::Mode;
use crate::shadow::{Lately, Shadow};
use crate::task::{Group, Phase, Stop};

const WHO: &str = "cutover.guard";
/// At so many looks in a row something has to be missed.
const LOOKS: u32 = 2;
/// The longest that it is waited after a refusal.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// What is told of what is missed.
const TOLD_MAX: usize = 5;

/// What has a mode: all collections without one of their own, or one.
type Scope = Option<String>;

pub(super) struct Guard {
    shadow: Arc<Shadow>,
    changer: Arc<Changer>,
    metrics: Arc<Metrics>,
    budgets: Budgets,
    every: Duration,
}

/// Begins to watch, if that is asked for.
pub(super) fn watch(
    settings: &config::Cutover,
    (shadow, changer): (Option<&Arc<Shadow>>, &Arc<Changer>),
    metrics: &Arc<Metrics>,
    (tasks, stop): (&Group, &Stop),
) {
    let Some(shadow) = shadow.filter(|_| settings.guard) else {
        return;
    };
    let guard = Guard {
        shadow: Arc::clone(shadow),
        changer: Arc::clone(changer),
        metrics: Arc::clone(metrics),
        budgets: Budgets {
            agreement: limits(settings),
            queries_min: settings.guard_queries,
            errors_max: settings.guard_errors,
            latency_max: settings.guard_latency,
        },
        every: settings.guard_every,
    };
    let mut stop = stop.clone();
    tasks.spawn("cutover-guard", async move {
        tokio::select! {
            () = stop.reached(Phase::Draining) => (),
            () = guard.watch() => (),
        }
    });
}

impl Guard {
    async fn watch(&self) {
        let (mut epoch, mut missed, mut pauses) = (None, BTreeMap::new(), Pauses::default());
        loop {
            tokio::time::sleep(self.every).await;
            let snapshot = self.changer.fleet().router().snapshot();
            if epoch.replace(snapshot.epoch()) != Some(snapshot.epoch()) {
                missed.clear();
                pauses = Pauses::default();
                self.shadow.watch_anew();
                continue;
            }
            for (scope, why) in self.look(&snapshot, &mut missed) {
                if pauses.are_over(&scope) && !self.step_back(&snapshot, &scope, why).await {
                    pauses.refused(scope, self.every);
                }
            }
        }
    }

    /// What is to go back, and why.
    fn look(&self, snapshot: &Snapshot, missed: &mut BTreeMap<Scope, u32>) -> Vec<(Scope, String)> {
        let lately = self.shadow.lately();
        let mut found = Vec::new();
        for scope in scopes(snapshot) {
            let told = told(&scope, snapshot, &lately, &self.budgets);
            if told.is_empty() {
                missed.remove(&scope);
                continue;
            }
            let looks = missed.entry(scope.clone()).or_default();
            *looks += 1;
            let why = told.join("; ");
            if *looks >= LOOKS {
                found.push((scope, why));
            } else {
                let collection = scope.as_deref().unwrap_or("*");
                warn!(
                    collection,
                    why, "the secondary does not keep within its budgets"
                );
            }
        }
        found
    }

    /// Whether it was done.
    async fn step_back(&self, judged: &Snapshot, scope: &Scope, why: String) -> bool {
        let wish = Wish {
            to: Mode::DualRead,
            collection: scope.clone(),
            who: WHO.to_owned(),
            why: why.clone(),
            is_forced: false,
            gone: Vec::new(),
            only_at: Some(judged.epoch()),
        };
        let collection = scope.as_deref().unwrap_or("*");
        let made = self.changer.set(wish).await;
        let is_done = made.is_ok();
        match made {
            // Another sidecar was as watchful.
            Ok(done) if done.was_so => {}
            Ok(done) => {
                self.metrics.guard_steps_back.inc();
                warn!(
                    collection,
                    why,
                    epoch = done.epoch,
                    "the secondary did not do: the primary is read again, in dual_read; nothing goes \
                     forwards by itself"
                );
            }
            Err(not_done) => warn!(
                collection,
                why,
                reason = not_done.reason,
                "the secondary does not do, and cutover could not be left; it is tried again, later each time"
            ),
        }
        is_done
    }
}

/// How long nothing is asked for after it was refused.
#[derive(Default)]
struct Pauses(BTreeMap<Scope, (Instant, Duration)>);

impl Pauses {
    fn are_over(&self, scope: &Scope) -> bool {
        let pause = self.0.get(scope);
        pause.is_none_or(|(until, _)| *until <= Instant::now())
    }

    /// Twice as long as the last time.
    fn refused(&mut self, scope: Scope, every: Duration) {
        let last = self.0.get(&scope).map_or(every, |(_, last)| *last);
        let pause = (last * 2).min(PAUSE_MAX);
        self.0.insert(scope, (Instant::now() + pause, pause));
    }
}

/// Everything that is in `cutover`.
fn scopes(snapshot: &Snapshot) -> Vec<Scope> {
    let table = snapshot.table();
    let own = table.collections.iter();
    let own = own.map(|(name, mode)| (Some(name.clone()), *mode));
    let all = std::iter::once((None, table.mode)).chain(own);
    all.filter(|(_, mode)| *mode == Mode::Cutover)
        .map(|(scope, _)| scope)
        .collect()
}

/// What is missed, in words.
fn told(scope: &Scope, snapshot: &Snapshot, lately: &Lately, budgets: &Budgets) -> Vec<String> {
    let mut told = Vec::new();
    let tally = lately.tally(scope.as_deref());
    let all = Watched {
        reads: tally.reads,
        failed: tally.failed,
        fresh: tally.fresh,
        ..Watched::default()
    };
    for row in breaches(&all, budgets) {
        told.push(format!("{} are {} ({})", row.what, row.found, row.needed));
    }
    for of in &lately.collections {
        let name = &*of.collection;
        let is_meant = match scope {
            Some(own) => own == name,
            None => !snapshot.has_own(name),
        };
        if !is_meant {
            continue;
        }
        let seen = Watched {
            summary: Some(&of.summary),
            p99: of.p99,
            timed: of.timed,
            asked: of.asked,
            unanswered: of.unanswered,
            ..Watched::default()
        };
        for row in breaches(&seen, budgets) {
            told.push(format!(
                "{name}: {} is {} ({})",
                row.what, row.found, row.needed
            ));
        }
    }
    let more = told.len().saturating_sub(TOLD_MAX);
    told.truncate(TOLD_MAX);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_for_after_longer_and_longer() {
        let (mut pauses, own) = (Pauses::default(), Some("own".to_owned()));
        let mut waited = Vec::new();
        for _ in 0..8 {
            assert!(pauses.are_over(&None));
            pauses.refused(None, Duration::from_secs(10));
            assert!(pauses.are_over(&own));
            let began = Instant::now();
            while !pauses.are_over(&None) {
                tokio::time::advance(Duration::from_secs(10)).await;
            }
            waited.push(began.elapsed().as_secs());
        }
        assert_eq!(waited, [20, 40, 80, 160, 320, 600, 600, 600]);
    }
}
