//! One direction: an authority, its follower, and the marks between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::deeds::Deeds;
use super::ledger::Ledger;
use super::peer::Peer;
use super::state::{Report, State};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::SyncMetrics;
use crate::stage::Stages;
use crate::store::Store;

/// How often it is looked whether the follower has a write that waits for it.
const BOTH_LOOK: Duration = Duration::from_millis(5);
pub struct DirectionSettings {
    pub authority: Arc<dyn Store>,
    pub follower: Arc<dyn Store>,
    pub ledger: Arc<dyn Ledger>,
    pub deeds: Arc<dyn Deeds>,
    /// How long either store may take over one call.
    pub patience: Duration,
    pub clock: Clock,
    pub metrics: SyncMetrics,
    /// Whether a collection is mirrored in this direction.
    pub follows: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Whether every sidecar goes by the same modes, so that whatever is written is marked.
    pub is_settled: Box<dyn Fn() -> bool + Send + Sync>,
    pub stages: Stages,
}

pub struct Direction {
    pub(super) authority: Peer,
    pub(super) follower: Peer,
    pub(super) ledger: Arc<dyn Ledger>,
    pub(super) deeds: Arc<dyn Deeds>,
    pub(super) clock: Clock,
    pub(super) metrics: SyncMetrics,
    pub(super) state: State,
    pub(super) follows: Box<dyn Fn(&str) -> bool + Send + Sync>,
    pub(super) is_settled: Box<dyn Fn() -> bool + Send + Sync>,
    pub(super) stages: Stages,
}

impl Direction {
    pub fn new(settings: DirectionSettings) -> Self {
        let DirectionSettings {
            authority,
            follower,
            ledger,
            deeds,
            patience,
            clock,
            metrics,
            follows,
            is_settled,
            stages,
        } = settings;
        Self {
            authority: Peer::new(authority, patience),
            follower: Peer::new(follower, patience),
            ledger,
            deeds,
            clock,
            metrics,
            state: State::default(),
            follows,
            is_settled,
            stages,
        }
    }

    pub fn ledger(&self) -> &Arc<dyn Ledger> {
        &self.ledger
    }

    /// How many marks wait, of one collection or of all.
    pub async fn waiting(&self, collection: Option<&str>) -> Result<u64> {
        let backlog = self.ledger.backlog().await?;
        let ours = backlog
            .iter()
            .filter(|(name, _)| collection.is_none_or(|wanted| wanted == &**name));
        Ok(ours.map(|(_, backlog)| backlog.marks).sum())
    }

    /// Whether it is known that nothing waits and nothing has to be compared.
    pub async fn owes_nothing(&self) -> bool {
        let (waiting, dead) = (self.waiting(None).await, self.ledger.dead_count().await);
        let dues = self.ledger.sweeps().await;
        matches!(waiting, Ok(0))
            && dead.is_ok_and(|of| of.is_empty())
            && dues.is_ok_and(|of| of.is_empty())
    }

    /// Waits until the follower has all that was marked before `since`, of one collection or of all.
    ///
    /// Cancel safety: safe, it only waits.
    pub async fn has_all(
        &self,
        collection: Option<&str>,
        since: Instant,
        until: Instant,
    ) -> Result<()> {
        loop {
            self.ledger.poke();
            let backlog = self.ledger.backlog().await?;
            let mut ours = backlog
                .iter()
                .filter(|(name, _)| collection.is_none_or(|wanted| wanted == &**name));
            // What is younger came later. Of what sleeps in doubt no age is told.
            let passed = since.elapsed();
            if ours.all(|(_, of)| of.age.is_none_or(|age| age < passed)) {
                return Ok(());
            }
            if Instant::now() >= until {
                let doing = "the authority has this write, and the follower does not have it yet \
                             (mirror.ack = \"both\")";
                let (kind, retry) = (ErrorKind::Timeout, Retry::OutcomeUnknown);
                return Err(Error::new(kind, Origin::Proxy, retry, doing));
            }
            tokio::time::sleep(BOTH_LOOK).await;
        }
    }

    /// All that is known.
    pub async fn report(&self) -> Result<Report> {
        let backlog = self.ledger.backlog().await?;
        self.state.unblock_all_but(&backlog);
        Ok(Report {
            backlog,
            dead: self.ledger.dead_count().await?,
            sweeps: self.ledger.sweeps().await?,
            sweeping: self.state.sweeping(),
            blocked: self.state.blocked(),
            failing: self.state.failing(),
        })
    }

    pub(super) fn unreadable(&self, why: &str) -> Error {
        let doing = format!("read points at the {} store: {why}", self.authority.kind());
        let (kind, origin) = (ErrorKind::Unavailable, Origin::from(self.authority.kind()));
        Error::new(kind, origin, Retry::Safe, doing)
    }
}
