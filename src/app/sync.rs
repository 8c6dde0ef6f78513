//! Sync, put together: a direction each way, who keeps its marks, and what the modes have to know
//! of it.
//!
//! The rule that keeps marks whole: a follower is never followed with before the marks of its
//! authority are made (`to_be_followed`, and at the start `begin`), and marks go on being made
//! until every sidecar goes by a mode without it. PostgreSQL is told with the epoch of the modes
//! that ask for it, so that a sidecar that is behind cannot switch off what a later one needs.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{error, warn};

use super::deeds::Facts;
use super::leave::{follows, leave, permit, plan};
use super::own_up::OwnedUp;
use super::places::Places;
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::journal::{Found, Journal, JournalSettings};
use crate::metrics::{Metrics, SyncMetrics};
use crate::mode::control::{Control, Proposal};
use crate::mode::{Fleet, Passage, Readiness as _, Router};
use crate::model::{Role, StoreKind};
use crate::proxy::Mirrors;
use crate::stage::Stages;
use crate::store::{Embedded, Pgvector};
use crate::sync::{
    Direction, DirectionSettings, Ledger, Mirror, Rehearsal, SharedOutbox, Way, hand_over,
};
use crate::task::{Group, Phase, Stop};

/// Past so many marks of a collection it is compared whole instead.
const MARKS_MAX: u64 = 1_000_000;
/// How often it is looked whether marks have been worked off.
pub(super) const LOOK: Duration = Duration::from_millis(20);
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// The name under which the control store says who it is.
const CONTROL_ID: &str = "control_id";
/// Why everything is compared where marks are lost.
pub(super) const LOST: &str = "the journal of writes was not there";

/// What sync is made from.
pub(super) struct Parts<'p> {
    pub(super) settings: &'p Settings,
    pub(super) router: &'p Arc<Router>,
    pub(super) passage: &'p Arc<Passage>,
    pub(super) control: &'p Arc<dyn Control>,
    pub(super) pgvector: &'p [(Role, Arc<Pgvector>)],
    pub(super) embedded: &'p [(Role, Arc<Embedded>)],
    pub(super) metrics: &'p Metrics,
    pub(super) clock: &'p Clock,
    pub(super) stages: &'p Stages,
}

/// The sidecars that go by the same modes, once this one has joined them.
type Joined = Arc<OnceLock<Arc<Fleet>>>;

/// Both directions, and what keeps them in step with the modes.
pub(super) struct Following {
    pub(super) router: Arc<Router>,
    pub(super) control: Arc<dyn Control>,
    pub(super) passage: Arc<Passage>,
    pub(super) mirrors: Mirrors,
    pub(super) pgvector: Vec<(Role, Arc<Pgvector>)>,
    /// The folders of the journals, by the authority.
    journals: Vec<(Role, PathBuf)>,
    /// `None`: there is only one store.
    pub(super) places: Option<Places>,
    pub(super) clock: Clock,
    metrics: SyncMetrics,
    pub(super) owned_up: Arc<OwnedUp>,
    pub(super) fleet: Joined,
    /// Other modes are in force.
    swapped: Notify,
    /// Whether each PostgreSQL, in the order of `pgvector`, makes the marks that the modes ask for.
    are_marked: Vec<watch::Sender<bool>>,
}

impl Following {
    /// Blocks: journals are read.
    pub(super) fn build(parts: &Parts<'_>) -> Result<Arc<Self>> {
        let are_marked = parts.pgvector.iter().map(|_| watch::Sender::new(false));
        let are_marked: Vec<_> = are_marked.collect();
        let fleet = Joined::default();
        let owned_up = Arc::new(OwnedUp::default());
        let mut mirrors = Mirrors::default();
        if parts.settings.secondary.is_some() {
            for role in Role::BOTH {
                let mirror = mirror(parts, role, &are_marked, (&fleet, &owned_up))?;
                match role {
                    Role::Primary => mirrors.primary = Some(Arc::new(mirror)),
                    Role::Secondary => mirrors.secondary = Some(Arc::new(mirror)),
                }
            }
        }
        let mut journals = Vec::new();
        for role in Role::BOTH {
            let mirror = mirrors.from(role);
            if mirror.is_some_and(|mirror| mirror.direction().ledger().journal_id().is_some()) {
                journals.push((role, journal_folder(&parts.settings.data_dir, role)));
            }
        }
        Ok(Arc::new(Self {
            journals,
            router: Arc::clone(parts.router),
            control: Arc::clone(parts.control),
            passage: Arc::clone(parts.passage),
            mirrors,
            pgvector: parts.pgvector.to_vec(),
            places: Places::of(parts.settings, parts.embedded),
            clock: parts.clock.clone(),
            metrics: parts.metrics.sync.clone(),
            owned_up,
            fleet,
            swapped: Notify::new(),
            are_marked,
        }))
    }

    pub(super) fn mirrors(&self) -> &Mirrors {
        &self.mirrors
    }

    pub(super) fn journal_of(&self, role: Role) -> Option<PathBuf> {
        let mut journals = self.journals.iter();
        let found = journals.find(|(of, _)| *of == role);
        found.map(|(_, folder)| folder.clone())
    }

    pub(super) fn knows_what_to_compare(&self) -> bool {
        self.owned_up.ever()
    }

    /// Other modes are in force.
    pub(super) fn swapped(&self) {
        self.swapped.notify_one();
    }

    /// Begins to mirror by the modes in force.
    pub(super) async fn begin(
        self: &Arc<Self>,
        fleet: &Arc<Fleet>,
        tasks: &Group,
        stop: &Stop,
    ) -> Result<()> {
        drop(self.fleet.set(Arc::clone(fleet)));
        if self.mirrors.primary.is_none() {
            return Ok(());
        }
        // Where it cannot be asked now, `own_up` asks again before anything is noted.
        self.check_company(&self.moved().await.unwrap_or_default())
            .await?;
        self.keep_journals(tasks, stop).await?;
        if let Err(error) = self.settle().await {
            warn!(error = %error.chain(), "mirrored writes wait until PostgreSQL marks them");
        }
        if let Err(error) = self.own_up().await {
            warn!(error = %error.chain(), "it is not known yet what has to be compared");
        }
        self.spawn(tasks, stop, "mirror-modes", |own| async move {
            own.keep_in_step().await;
        });
        self.spawn(tasks, stop, "mirror-places", |own| async move {
            own.keep_owning_up().await;
        });
        self.spawn(tasks, stop, "mirror-left", |own| async move {
            loop {
                if let Err(error) = own.hand_over().await {
                    warn!(error = %error.chain(), "marks of another mode are not handed over yet");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        self.spawn(tasks, stop, "mirror-lag", |own| async move {
            own.tell_lag().await;
        });
        for role in Role::BOTH {
            let Some(mirror) = self.mirrors.from(role) else {
                continue;
            };
            let direction = Arc::clone(mirror.direction());
            self.spawn(tasks, stop, "mirror", |_| async move {
                direction.drain().await;
            });
            let direction = Arc::clone(mirror.direction());
            self.spawn(tasks, stop, "sweep", |_| async move {
                direction.sweep().await;
            });
        }
        Ok(())
    }

    fn spawn<W: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        tasks: &Group,
        stop: &Stop,
        name: &'static str,
        work: impl FnOnce(Arc<Self>) -> W,
    ) {
        let (work, mut stop) = (work(Arc::clone(self)), stop.clone());
        tasks.spawn(name, async move {
            tokio::select! {
                () = stop.reached(Phase::Ending) => (),
                () = work => (),
            }
        });
    }

    /// What is left in the journal of a store that only follows now.
    async fn hand_over(&self) -> Result<()> {
        for role in Role::BOTH {
            let (left, taking) = (self.mirrors.from(role), self.mirrors.from(role.other()));
            if let (Some(left), Some(taking)) = (left, taking) {
                let snapshot = self.router.snapshot();
                let is_followed = |name: &str| {
                    let plan = snapshot.plan(Some(name));
                    plan.is_followed_from(role.other())
                };
                hand_over(left.direction(), taking.direction(), is_followed).await?;
            }
        }
        Ok(())
    }

    async fn keep_in_step(&self) {
        loop {
            let are_marked = self
                .are_marked
                .iter()
                .all(|are_marked| *are_marked.borrow());
            if are_marked {
                self.swapped.notified().await;
            }
            if let Err(error) = self.settle().await {
                warn!(error = %error.chain(), "PostgreSQL was not told what to mark; it is told again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Tells the metrics how far the followers are behind, whether or not they answer.
    async fn tell_lag(&self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let snapshot = self.router.snapshot();
            let (mut backlog, mut dead) = (Vec::new(), 0);
            let mut is_known = true;
            for role in Role::BOTH {
                let Some(mirror) = self.mirrors.from(role) else {
                    continue;
                };
                if !snapshot.follows_from(role) {
                    continue;
                }
                let ledger = mirror.direction().ledger();
                match (ledger.backlog().await, ledger.dead_count().await) {
                    (Ok(waiting), Ok(refused)) => {
                        backlog.extend(waiting);
                        dead += refused.iter().map(|(_, count)| count).sum::<u64>();
                    }
                    // The marks are where the authority is; what was told last stands.
                    (Err(_), _) | (_, Err(_)) => is_known = false,
                }
            }
            if is_known {
                self.metrics.lag(&backlog, dead);
            }
        }
    }

    /// Has each PostgreSQL make the marks that the modes in force ask for. One that is not there
    /// holds up no other: writes wait for that of their authority only.
    async fn settle(&self) -> Result<()> {
        if self.pgvector.is_empty() {
            return Ok(());
        }
        // What comes in the meantime is found out the next time.
        let snapshot = self.router.snapshot();
        let id = self.control_id().await?;
        let stores = self.pgvector.iter().zip(&self.are_marked);
        let told = stores.map(async |((role, store), are_marked)| {
            let plan = plan(snapshot.table(), *role);
            store.mirrored(plan, &id, snapshot.epoch()).await?;
            are_marked.send_replace(true);
            Ok(())
        });
        join_all(told).await.into_iter().collect()
    }

    /// Epochs of one control store are not those of another.
    pub(super) async fn control_id(&self) -> Result<String> {
        if let Some(id) = self.control.fact(CONTROL_ID).await? {
            return Ok(id);
        }
        let id = format!("{:016x}", rand::random::<u64>());
        self.control.put_fact(CONTROL_ID, &id).await?;
        // Somebody else may have been as early.
        Ok(self.control.fact(CONTROL_ID).await?.unwrap_or(id))
    }

    /// The direction in which a collection is mirrored now.
    pub(super) fn direction(&self, collection: Option<&str>) -> Option<&Arc<Direction>> {
        let snapshot = self.router.snapshot();
        let plan = snapshot.plan(collection);
        plan.follower.as_ref()?;
        Some(self.mirrors.from(plan.authority_role)?.direction())
    }

    /// Whether marks of this name are among those asked about.
    pub(super) fn is_asked(&self, asked: Option<&str>, name: &str) -> bool {
        match asked {
            Some(asked) => asked == name,
            None => !self.router.snapshot().has_own(name),
        }
    }

    pub(super) async fn waiting(
        &self,
        direction: &Direction,
        collection: Option<&str>,
    ) -> Result<u64> {
        let backlog = direction.ledger().backlog().await?;
        let asked = backlog
            .iter()
            .filter(|(name, _)| self.is_asked(collection, name));
        Ok(asked.map(|(_, of)| of.marks).sum())
    }

    /// Whether nothing waits, now or in a moment.
    async fn is_drained(&self, direction: &Direction, collection: Option<&str>) -> bool {
        let until = Instant::now() + LOOK * 2;
        loop {
            let waiting = self.waiting(direction, collection).await;
            if waiting.is_ok_and(|count| count == 0) {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK / 4).await;
        }
    }

    /// Whether this sidecar may say that it is armed: its own marks are worked off. Those in
    /// PostgreSQL are everybody's, and whoever leads the change sees to them.
    pub(super) async fn is_done(&self, proposal: &Proposal) -> bool {
        let stays = proposal.from.authority() == proposal.to.authority();
        if stays && proposal.is_forced {
            return true;
        }
        let is_known =
            self.knows_what_to_compare() && self.moved().await.is_ok_and(|moved| moved.is_empty());
        if !is_known && !proposal.is_forced {
            // This one's stores are not those that the others mean, as far as it knows.
            return false;
        }
        let name = proposal.collection.as_deref();
        let Some(direction) = self.direction(name) else {
            return true;
        };
        if !direction.ledger().others_may_drain() {
            return true;
        }
        let is_sound = proposal.is_forced
            || self
                .standing(name)
                .await
                .is_ok_and(|of| of.sweeps.is_empty() && of.dead_letters == 0);
        is_sound && self.is_drained(direction, name).await
    }
}

/// The dry run, where it is asked for and there is a store to hold writes against.
pub(super) fn rehearsal(
    settings: &Settings,
    router: &Router,
    metrics: &Metrics,
    (tasks, stop): (&Group, &Stop),
) -> Option<Arc<Rehearsal>> {
    let follower = router.stores().secondary.as_ref()?;
    let patience = settings.secondary.as_ref()?.read_timeout;
    settings.mirror.dry_run.then(|| {
        let metrics = metrics.sync.clone();
        Rehearsal::start(Arc::clone(follower), patience, metrics, tasks, stop)
    })
}

fn mirror(
    parts: &Parts<'_>,
    role: Role,
    are_marked: &[watch::Sender<bool>],
    (fleet, owned_up): (&Joined, &Arc<OwnedUp>),
) -> Result<Mirror> {
    let stores = parts.router.stores();
    let lacks = || Error::settings("mirroring needs two stores");
    let authority = stores.get(role).ok_or_else(lacks)?;
    let follower = stores.get(role.other()).ok_or_else(lacks)?;
    let (ledger, way): (Arc<dyn Ledger>, Way) = match authority.kind() {
        StoreKind::Pgvector => {
            let mut stores = parts.pgvector.iter().zip(are_marked);
            let of = stores.find(|((of, _), _)| *of == role);
            let ((_, store), are_marked) = of.ok_or_else(lacks)?;
            let outbox = SharedOutbox::new(store.outbox(MARKS_MAX));
            (Arc::new(outbox), Way::Outbox(are_marked.subscribe()))
        }
        StoreKind::Qdrant | StoreKind::Embedded => {
            let folder = journal_folder(&parts.settings.data_dir, role);
            // Whether there should have been one is found out later (`own_up`), and may be by the
            // next process.
            let settings = JournalSettings {
                fresh: Some(LOST),
                doubt: match authority.kind() {
                    // What it has begun has ended when this process has.
                    StoreKind::Embedded => Duration::ZERO,
                    StoreKind::Qdrant | StoreKind::Pgvector => parts.settings.mirror.doubt,
                },
                ..JournalSettings::default()
            };
            let opened = Journal::open(&folder, settings, parts.clock)?;
            if let Found::Broken(why) = &opened.found {
                error!(folder = %folder.display(), %why, "the journal of writes is damaged");
            }
            let journal = opened.journal;
            (
                Arc::clone(&journal) as Arc<dyn Ledger>,
                Way::Journal(journal),
            )
        }
    };
    let of = |role: Role| parts.settings.store(role);
    let patience = [role, role.other()].into_iter().filter_map(of);
    let patience = patience.map(|of: &config::Store| of.read_timeout).max();
    let fleet = Arc::clone(fleet);
    let direction = Direction::new(DirectionSettings {
        authority: Arc::clone(authority),
        follower: Arc::clone(follower),
        ledger,
        deeds: Arc::new(Facts::new(parts.control, role.other(), parts.clock)),
        patience: patience.unwrap_or(Duration::from_secs(60)),
        clock: parts.clock.clone(),
        metrics: parts.metrics.sync.clone(),
        follows: follows(parts, role),
        is_settled: Box::new(move || {
            let look = fleet.get().and_then(|fleet| fleet.looks().borrow().clone());
            look.is_some_and(|look| look.change.is_none())
        }),
        leave: leave(parts, owned_up),
        permit: permit(parts),
        doubt: parts.settings.mirror.doubt,
        stages: parts.stages.clone(),
    });
    let ids_max = parts.settings.filter_write_max_ids;
    let waits_for_both = parts.settings.mirror.ack == config::Ack::Both;
    Ok(Mirror::new(
        Arc::new(direction),
        way,
        ids_max,
        waits_for_both,
    ))
}

fn journal_folder(data_dir: &Path, role: Role) -> PathBuf {
    data_dir.join("journal").join(role.as_str())
}
