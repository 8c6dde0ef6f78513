//! The gate before `cutover`: what is known of both stores, collection by collection, held against
//! the limits of the settings.
//!
//! What was read is known to this sidecar alone, and since its start: its own shadow reads. What
//! waits for the follower is asked of the ledger, the last validation of the control store, the
//! indexes of the stores. What cannot be asked is an error, and the gate stays shut.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;

use tracing::warn;

use super::sync::Following;
use crate::clock::Clock;
use crate::compare::{Evidence, Indexes, Limits, Summary, Table, Validation, Window};
use crate::config::{self, Settings};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::validations::{self, Validated};
use crate::mode::{Checked, Gate, ModeFuture};
use crate::model::Role;
use crate::shadow::Shadow;
use crate::sync::{Behind, Condition, Direction, Said};

/// Collections that are asked about at one time.
const AT_ONCE: usize = 8;
/// As far the clocks of two sidecars may be apart.
const CLOCKS_APART: Duration = Duration::from_secs(60);

pub(super) struct Gatekeeper {
    following: Arc<Following>,
    shadow: Option<Arc<Shadow>>,
    is_in_force: bool,
    limits: Limits,
    clock: Clock,
}

/// The setting without which the gate never opens, if it is switched off.
fn lacking(settings: &Settings) -> Option<&'static str> {
    let is_asked = settings.secondary.is_some() && settings.cutover.gate;
    match &settings.shadow {
        _ if !is_asked => None,
        shadow if shadow.sample <= 0.0 => Some("shadow.sample is 0"),
        shadow if shadow.baseline <= 0.0 => Some("shadow.baseline is 0"),
        _ => None,
    }
}

/// What the settings ask for.
pub(super) fn limits(of: &config::Cutover) -> Limits {
    Limits {
        queries_min: of.queries,
        age_min: of.window,
        top1_min: of.top1,
        overlap_min: of.overlap,
        recall_mean_min: of.recall_mean,
        recall_median_min: of.recall_median,
        recall_p5_min: of.recall_p5,
        spearman_above: of.spearman,
        validation_age_max: of.validated_within,
    }
}

impl Gatekeeper {
    pub(super) fn new(
        following: &Arc<Following>,
        shadow: Option<&Arc<Shadow>>,
        settings: &Settings,
        clock: &Clock,
    ) -> Arc<Self> {
        if let Some(lacking) = lacking(settings) {
            warn!(
                lacking,
                "cutover.gate will refuse every cutover: what it asks for is never measured; \
                 measure it, or set cutover.gate = false"
            );
        }
        let settings = &settings.cutover;
        Arc::new(Self {
            following: Arc::clone(following),
            shadow: shadow.map(Arc::clone),
            is_in_force: settings.gate,
            limits: limits(settings),
            clock: clock.clone(),
        })
    }

    async fn judge(&self, collection: Option<&str>) -> Result<Vec<Checked>> {
        let following = &self.following;
        let authority = following.router.snapshot().plan(collection).authority_role;
        let Some(direction) = following.direction(collection) else {
            return Ok(Vec::new());
        };
        if !following.knows_what_to_compare() {
            let doing = "know what has to be compared first";
            let (kind, retry) = (ErrorKind::Unavailable, Retry::Safe);
            return Err(Error::new(kind, Origin::Proxy, retry, doing));
        }
        let names = match collection {
            Some(name) => vec![name.to_owned()],
            None => {
                let mut names = direction.collections().await?;
                names.retain(|name| following.is_asked(None, name));
                names
            }
        };
        let behind = direction.behind().await?;
        let mut checked = Vec::new();
        for names in names.chunks(AT_ONCE) {
            let all = names.iter();
            let all = all.map(|name| self.judge_one(direction, authority, name, &behind));
            checked.extend(try_join_all(all).await?.into_iter().flatten());
        }
        if let (Some(name), true) = (collection, checked.is_empty()) {
            let text = format!("the store that is read has no collection `{name}`");
            let (kind, origin) = (ErrorKind::NotFound, Origin::Client);
            return Err(Error::new(kind, origin, Retry::Never, text));
        }
        Ok(checked)
    }

    /// `None`: it is gone.
    async fn judge_one(
        &self,
        direction: &Direction,
        authority: Role,
        name: &str,
        behind: &Behind,
    ) -> Result<Option<Checked>> {
        let conditions = direction.conditions(name).await?;
        if matches!(conditions, [Said::NoCollection, _]) {
            return Ok(None);
        }
        let points = conditions.each_ref().map(points);
        let known = validations::known(&*self.following.control, name).await?;
        let evidence = Evidence {
            summary: &self.summary(name, authority, known.voided_at_ms),
            points,
            validation: known.last.and_then(|of| self.validation(of)),
            indexes: conditions.each_ref().map(indexes),
            lag: behind.of(name),
        };
        Ok(Some(Checked {
            collection: name.to_owned(),
            is_empty: points == [0, 0],
            table: Table::new(&evidence, &self.limits),
        }))
    }

    fn summary(&self, name: &str, authority: Role, voided_at_ms: Option<u64>) -> Summary {
        let shadow = self.shadow.as_ref();
        let voided = voided_at_ms.map(|at_ms| {
            let now = self.clock.since_epoch();
            now.saturating_sub(Duration::from_millis(at_ms))
        });
        let summary = shadow.and_then(|shadow| shadow.summary(name, authority, voided));
        summary.unwrap_or_else(|| Window::new(Duration::ZERO).summary(Duration::ZERO))
    }

    fn validation(&self, last: Validated) -> Option<Validation> {
        let now = self.clock.since_epoch();
        Some(Validation {
            passed: last.passed,
            age: age(now, Duration::from_millis(last.at_ms))?,
        })
    }
}

/// What is not told is taken as many.
fn points(of: &Said<Condition>) -> u64 {
    match of {
        Said::Done(of) => of.points_count.unwrap_or(u64::MAX),
        Said::NoCollection => 0,
        Said::Refused(_) => u64::MAX,
    }
}

fn indexes(of: &Said<Condition>) -> Indexes {
    match of {
        Said::Done(of) => match &*of.status {
            "green" => Indexes::Finished,
            "yellow" => Indexes::Building,
            "grey" => Indexes::Waiting,
            "red" => Indexes::Broken,
            _ => Indexes::Unknown,
        },
        Said::NoCollection => Indexes::Missing,
        Said::Refused(_) => Indexes::Refused,
    }
}

/// How long ago it was. `None`: by a clock that was wrong, so that nobody knows.
fn age(now: Duration, at: Duration) -> Option<Duration> {
    (at <= now + CLOCKS_APART).then(|| now.saturating_sub(at))
}

impl Gate for Gatekeeper {
    fn is_in_force(&self) -> bool {
        self.is_in_force
    }

    fn check<'a>(&'a self, collection: Option<&'a str>) -> ModeFuture<'a, Result<Vec<Checked>>> {
        Box::pin(self.judge(collection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_validated_in_the_future_is_not_known_to_be_validated() {
        let ages = [900, 1000, 1060, 1061].map(|at| {
            let age = age(Duration::from_secs(1000), Duration::from_secs(at));
            age.map(|age| age.as_secs())
        });
        assert_eq!(ages, [Some(100), Some(0), Some(0), None]);
    }
}
