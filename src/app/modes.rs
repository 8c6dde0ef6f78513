//! The modes, put together: where their truth is kept, which are in force at the start, and who
//! is told when others are.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::ears::Ears;
use super::sync::Following;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::mode::control::{Control, FileControl, PostgresControl};
use crate::mode::{
    Changer, ChangerParts, Drain, Fleet, Gate, Home, LEASE, OnArm, OnSwap, Passage, Readiness,
    Router, Snapshot, Stores, Table,
};
use crate::model::{Mode, Role, StoreKind};
use crate::net;
use crate::shadow::Shadow;
use crate::stage::Stages;
use crate::store::control::{ControlSettings, ControlTables};
use crate::task::{self, Group, Stop};

/// How long one call of the control store may take.
const CONTROL_PATIENCE: Duration = Duration::from_secs(2);

/// Collections whose mode has a metric of its own; the others are told together.
const SHOWN_MAX: usize = 100;

const COMPANY: &str = "another sidecar of the same stores was heard of through Redis, and without a \
                       PostgreSQL to keep the mode in it would not hear of the change: stop it";

/// The modes that the settings ask for, where none were ever set.
fn wanted(settings: &Settings) -> Table {
    let mut table = Table::of(settings.mode.unwrap_or(Mode::PrimaryOnly));
    let own = settings.collections.iter();
    table.collections = own
        .filter_map(|(name, own)| Some((name.clone(), own.mode?)))
        .collect();
    table
}

/// Where the truth of the mode is kept: in PostgreSQL where there is one, else in a file. Blocks.
fn control(
    settings: &Settings,
    clock: Clock,
    (tasks, stop): (&Group, Stop),
) -> Result<Arc<dyn Control>> {
    if settings.secondary.is_some()
        && let Some(shared) = shared(settings)?
    {
        let shared = Arc::new(shared);
        shared.start(tasks, stop);
        return Ok(Arc::new(PostgresControl::new(
            shared,
            LEASE,
            keeper(settings),
        )));
    }
    let control = FileControl::open(&settings.data_dir, clock)?;
    if settings.secondary.is_some() {
        control.take()?;
    }
    Ok(Arc::new(control))
}

/// The store whose database the control store is in, unless it is set apart.
fn keeper(settings: &Settings) -> Option<Role> {
    if settings.control.url.is_some() {
        return None;
    }
    let is_kept_by = |role: &Role| {
        let store = settings.store(*role);
        store.is_some_and(|of| of.kind == StoreKind::Pgvector)
    };
    Role::BOTH.into_iter().find(is_kept_by)
}

/// The control store that is set, or else the store that is in PostgreSQL.
fn shared(settings: &Settings) -> Result<Option<ControlTables>> {
    let stores = Role::BOTH
        .into_iter()
        .filter_map(|role| settings.store(role));
    let store = stores.into_iter().find(|of| of.kind == StoreKind::Pgvector);
    let own = store.and_then(|of| of.url.as_ref());
    let Some(url) = settings.control.url.as_ref().or(own) else {
        return Ok(None);
    };
    let authority = match &settings.control.url {
        Some(_) => None,
        None => store.and_then(|of| of.tls_ca.as_deref()),
    };
    ControlTables::new(ControlSettings {
        url: url.expose().to_owned(),
        tls: net::client_tls(authority)?,
        has_authority: authority.is_some(),
        connect_timeout: CONTROL_PATIENCE,
        timeout: CONTROL_PATIENCE,
    })
    .map(Some)
}

/// The control store, and the modes that are in force.
pub(super) async fn found(
    settings: &Settings,
    clock: Clock,
    tasks: &Group,
    stop: &Stop,
) -> Result<(Arc<dyn Control>, Table)> {
    let own = settings.clone();
    let (tasks, stop) = (tasks.clone(), stop.clone());
    let opening = task::spawn_blocking("control", move || control(&own, clock, (&tasks, stop)));
    let opened = opening.await;
    let control =
        opened.map_err(|error| Error::settings("open the control store").with_source(error))??;
    let wanted = wanted(settings);
    let table = match control.table().await? {
        Some(kept) => {
            tell_who_wins(settings, &kept, &wanted);
            kept
        }
        // Nothing is kept until there is something to keep: who has not chosen yet may still do so
        // by the settings.
        None if wanted == Table::of(Mode::PrimaryOnly) => wanted,
        None => control.initialise(&wanted, "settings").await?,
    };
    if table.needs_secondary() && settings.secondary.is_none() {
        let mode = table.modes().find(|mode| mode.needs_secondary());
        return Err(Error::settings(format!(
            "the mode in force is {}, which needs a secondary store, and there is none; set \
             secondary.kind and what belongs to it",
            mode.unwrap_or(table.mode)
        )));
    }
    Ok((control, table))
}

/// A mode that was set wins over the settings, and says so.
fn tell_who_wins(settings: &Settings, kept: &Table, wanted: &Table) {
    if settings.mode.is_some() && kept.mode != wanted.mode {
        let from = settings.given.get("mode").map(ToString::to_string);
        warn!(
            in_force = %kept.mode, asked = %wanted.mode, from = from.unwrap_or_default(),
            "the mode that was set last wins over the settings; change it with `outrigger mode set`"
        );
    } else {
        info!(mode = %kept.mode, epoch = kept.epoch, "the mode that was set last is in force");
    }
    for (name, mode) in &wanted.collections {
        if kept.mode_of(Some(name)) != *mode {
            warn!(
                collection = name, in_force = %kept.mode_of(Some(name)), asked = %mode,
                "the mode that was set last wins over the settings; change it with `outrigger mode set`"
            );
        }
    }
}

pub(super) fn router(stores: Stores, table: Table) -> Result<Arc<Router>> {
    let router = Router::new(stores, table);
    let lacks = || Error::settings("the mode in force needs a store that is not set");
    Ok(Arc::new(router.ok_or_else(lacks)?))
}

pub(super) fn passage(
    settings: &Settings,
    control: &dyn Control,
    metrics: &Arc<Metrics>,
) -> Arc<Passage> {
    match control.lease() {
        None => Passage::alone(settings.fence_timeout, Arc::clone(metrics)),
        Some(_) => Passage::shared(settings.fence_timeout, Arc::clone(metrics)),
    }
}

pub(super) fn show(metrics: &Metrics, snapshot: &Snapshot) {
    let table = snapshot.table();
    metrics.mode_in_force("*", table.mode);
    for (name, mode) in table.collections.iter().take(SHOWN_MAX) {
        metrics.mode_in_force(name, *mode);
    }
    let epoch = i64::try_from(table.epoch).unwrap_or(i64::MAX);
    metrics.mode_epoch.set(epoch);
}

/// Told of every table that comes into force.
pub(super) fn on_swap(
    cache: &Arc<Cache>,
    metrics: &Arc<Metrics>,
    ears: Vec<Arc<Ears>>,
    following: &Arc<Following>,
    shadow: Option<&Arc<Shadow>>,
) -> OnSwap {
    let (cache, metrics) = (Arc::clone(cache), Arc::clone(metrics));
    let (following, shadow) = (Arc::clone(following), shadow.map(Arc::clone));
    Box::new(move |snapshot| {
        cache.renew_all();
        ears.iter().for_each(|ears| ears.settle());
        show(&metrics, snapshot);
        if let Some(shadow) = &shadow {
            shadow.settle(snapshot);
        }
        following.swapped();
    })
}

/// Asked before this sidecar says that it is armed.
pub(super) fn on_arm(following: &Arc<Following>) -> OnArm {
    let following = Arc::clone(following);
    Box::new(move |proposal| {
        let following = Arc::clone(&following);
        Box::pin(async move { following.is_done(&proposal).await })
    })
}

/// What the modes are changed with.
pub(super) struct Changing<'a> {
    pub(super) settings: &'a Settings,
    pub(super) fleet: Arc<Fleet>,
    pub(super) gate: Arc<dyn Gate>,
    pub(super) cache: &'a Arc<Cache>,
    pub(super) tasks: &'a Group,
    pub(super) stop: &'a Stop,
    pub(super) following: Arc<Following>,
    pub(super) stages: &'a Stages,
}

impl Changing<'_> {
    /// Joins the others. The modes that are in force among them are in force here afterwards.
    pub(super) async fn join(self) -> Result<Arc<Changer>> {
        self.succeed().await?;
        self.fleet.join(self.tasks, self.stop.clone()).await?;
        self.following
            .begin(&self.fleet, self.tasks, self.stop)
            .await?;
        let is_shared = self.fleet.control().lease().is_some();
        let cache = Arc::clone(self.cache);
        let hindrance = move || (!is_shared && cache.has_company()).then(|| COMPANY.to_owned());
        let readiness: Arc<dyn Readiness> = Arc::clone(&self.following) as _;
        let drain: Arc<dyn Drain> = self.following;
        Ok(Changer::new(ChangerParts {
            fleet: self.fleet,
            readiness,
            drain,
            gate: self.gate,
            fence_timeout: self.settings.fence_timeout,
            hindrance: Box::new(hindrance),
            tasks: self.tasks.clone(),
            stages: self.stages.clone(),
        }))
    }

    /// Where a sidecar that was killed would be waited for, this one leaves for those who ran from
    /// its data folder, and is remembered for the next.
    async fn succeed(&self) -> Result<()> {
        if self.fleet.control().keeper().is_none() {
            return Ok(());
        }
        let (folder, id) = (self.settings.data_dir.clone(), self.fleet.id());
        let taking = task::spawn_blocking("home", move || Home::take(&folder));
        let failed = |error| Error::settings("open the data folder").with_source(error);
        let Some(home) = taking.await.map_err(failed)?? else {
            warn!(
                folder = %self.settings.data_dir.display(),
                "other sidecars share this data folder: one that is killed has to be told gone by \
                 hand (`outrigger mode set --gone`); give each a data_dir of its own"
            );
            return Ok(());
        };
        for before in home.before() {
            self.fleet.control().leave(*before).await?;
        }
        let remembering = task::spawn_blocking("home", move || {
            home.remember(id)?;
            Ok::<_, Error>(home)
        });
        let home = remembering.await.map_err(failed)??;
        self.fleet.live_in(home);
        Ok(())
    }
}
