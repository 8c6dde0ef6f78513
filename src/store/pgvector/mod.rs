//! The store in PostgreSQL with pgvector: Qdrant's points in tables, answered from SQL.
//!
//! A points table a collection and a small table a vector beside it, so that a write of a payload
//! never touches an index for search; a catalogue of what there is. PostgreSQL keeps, filters and
//! finds candidates; arithmetic over the few is done here.
//!
//! No value of a request ever becomes part of a statement's text. Several sidecars may work on one
//! database at once: what one changes in the catalogue the others are told, and a write that comes
//! with an older copy is turned away in the database and made anew.

mod adopt;
mod ann;
mod catalog;
mod collections;
pub mod control;
mod count;
mod facet;
mod filter_sql;
mod floats;
mod frames;
mod ids;
mod index;
mod lent;
mod link;
mod listen;
mod names;
mod outbox;
mod payload;
mod pool;
mod prepared;
mod query;
mod read;
mod schema;
#[cfg(test)]
mod scratch;
mod scroll;
mod snapshot;
mod tls;
mod tokens;
mod vectors;
mod write;
mod writer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qdrant_edge::{
    CountRequest, FacetRequest, FacetResponse, PointId, QueryRequest, Record, ScoredPoint,
    ScrollRequest, UpdateOperation, WithPayloadInterface, WithVector,
};
use rustls::ClientConfig;
use tokio::sync::OnceCell;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::error::{Error, ErrorKind, Result};
use crate::metrics::StoreMetrics;
use crate::model::StoreKind;
use crate::store::Outside;
use crate::store::engine::{Collection, Condition, Engine, EngineFuture};
use crate::task::{Group, Phase, Stop};
use crate::wire::rest::CollectionConfig;

pub use adopt::{Proposal, propose};
pub use outbox::{Lead, MirrorPlan, Outbox};

use adopt::Adoptions;
use ann::{Abilities, Touched};
use catalog::Catalog;
use link::Fault;
use pool::{Limits, Pool};
use schema::Installed;

/// How often the connections are counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What the store is made from.
pub struct PgvectorSettings {
    /// `postgresql://…`, password and all.
    pub url: String,
    /// Trusts the authority that was named, or the system's.
    pub tls: ClientConfig,
    /// Whether an authority was named.
    pub has_authority: bool,
    pub pool_size: usize,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    pub write_timeout: Duration,
    pub slow_timeout: Duration,
    pub data_dir: PathBuf,
    /// Sidecars tell one another of their writes by Redis, and need not by PostgreSQL.
    pub tells_by_redis: bool,
    /// The settings of the collections that are tables of others, by name.
    pub adopted: BTreeMap<String, crate::config::Collection>,
}

/// The collections of one database.
pub struct Pgvector {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    catalog: Catalog,
    installed: OnceCell<Installed>,
    touched: Touched,
    conditions: read::Conditions,
    snapshots: PathBuf,
    adopted: Adoptions,
}

impl Pgvector {
    /// Asks nothing of the database yet.
    pub fn new(settings: PgvectorSettings) -> Result<Self> {
        let address = tls::address(&settings.url, settings.tls, settings.has_authority)?;
        let limits = Limits {
            own: match settings.tells_by_redis {
                true => "on".to_owned(),
                false => format!("{:032x}", rand::random::<u128>()),
            },
            connections_max: settings.pool_size,
            connect_timeout: settings.connect_timeout,
            read_timeout: settings.read_timeout,
            write_timeout: settings.write_timeout,
            slow_timeout: settings.slow_timeout,
        };
        let snapshots = settings.data_dir.join("snapshots");
        std::fs::create_dir_all(&snapshots).map_err(|error| {
            let text = format!(
                "the data folder {} cannot be used; make it writable, or name another with \
                 --data-dir",
                settings.data_dir.display()
            );
            Error::settings(text).with_source(error)
        })?;
        Ok(Self {
            shared: Arc::new(Shared {
                pool: Pool::new(address, limits)?,
                catalog: Catalog::new(settings.adopted.keys().cloned().collect()),
                adopted: settings.adopted,
                installed: OnceCell::new(),
                touched: Touched::default(),
                conditions: read::Conditions::default(),
                snapshots,
            }),
        })
    }

    /// Sets the database up, begins to listen to it and to look after its indexes. A database that does not answer yet is
    /// waited for by the calls that need it; one that cannot be used fails the start.
    ///
    /// `outside` is told of what others change.
    pub async fn start(
        &self,
        tasks: &Group,
        stop: Stop,
        outside: Arc<dyn Outside>,
        metrics: StoreMetrics,
    ) -> Result<()> {
        match self.shared.ready().await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Settings => return Err(error),
            Err(error) => {
                warn!(error = %error.chain(), "PostgreSQL does not answer; it is asked again when it is needed");
            }
        }
        listen::start(Arc::clone(&self.shared), outside, tasks, stop.clone());
        self.count_connections(metrics, tasks, stop.clone());
        ann::start(Arc::clone(&self.shared), tasks, stop);
        Ok(())
    }

    fn count_connections(&self, metrics: StoreMetrics, tasks: &Group, mut stop: Stop) {
        let shared = Arc::clone(&self.shared);
        tasks.spawn("pg-count", async move {
            let mut ticks = interval(COUNT_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    () = stop.reached(Phase::Draining) => return,
                    _ = ticks.tick() => {}
                }
                let gauges = [&metrics.connections, &metrics.in_use, &metrics.waiting];
                for (gauge, count) in gauges.into_iter().zip(shared.pool.census()) {
                    gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
                }
            }
        });
    }
}

impl Shared {
    /// The database is set up. What one call has found, the others need not look for.
    async fn ready(&self) -> Result<()> {
        self.installed().await.map(drop)
    }

    /// Fails where the name is that of an adopted table.
    fn not_adopted(&self, name: &str, why: &str) -> Result<()> {
        match self.adopted.contains_key(name) {
            true => Err(adopt::fixed(name, why)),
            false => Ok(()),
        }
    }

    async fn installed(&self) -> Result<&Installed> {
        let made = self.installed.get_or_try_init(async || {
            let found = schema::install(&self.pool).await?;
            schema::warn_of_strangers(&self.pool).await?;
            adopt::settle(&self.pool, &self.adopted).await?;
            info!(
                server = found.server,
                pgvector = found.extension,
                "PostgreSQL is set up"
            );
            Ok(found)
        });
        made.await
    }
}

/// A read of a collection as it is known. Where the tables turn out to be newer, or the connection
/// is lost, it is made anew, once.
macro_rules! reading {
    ($shared:expr, $name:expr, |$known:ident| $work:expr) => {{
        let mut is_first = true;
        loop {
            let $known = $shared.catalog.get(&$shared.pool, $name).await?;
            match $work {
                Err(fault) if is_first && (fault.is_stale() || fault.is_lost()) => {
                    is_first = false;
                    $shared.pool.learn(&fault);
                    $shared.catalog.doubt();
                }
                other => break other.map_err(Fault::into_error),
            }
        }
    }};
}

impl Engine for Pgvector {
    fn kind(&self) -> StoreKind {
        StoreKind::Pgvector
    }

    fn probe(&self) -> EngineFuture<'_, ()> {
        Box::pin(async {
            self.shared.ready().await?;
            let asked = self.shared.pool.query("ask PostgreSQL", "select 1", &[]);
            asked.await?;
            Ok(())
        })
    }

    fn names(&self) -> EngineFuture<'_, Vec<String>> {
        Box::pin(async {
            self.shared.ready().await?;
            self.shared.catalog.names(&self.shared.pool).await
        })
    }

    fn collection(&self, name: &str) -> EngineFuture<'_, Option<Arc<Collection>>> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            let found = self.shared.catalog.find(&self.shared.pool, &name).await?;
            Ok(found.map(|known| Arc::clone(&known.declared)))
        })
    }

    fn create(&self, name: &str, config: CollectionConfig) -> EngineFuture<'_, ()> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared.create(&name, &config).await
        })
    }

    fn configure(
        &self,
        name: &str,
        before: Arc<Collection>,
        config: CollectionConfig,
    ) -> EngineFuture<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared.configure(&name, &before.config, &config).await
        })
    }

    fn delete(&self, name: &str) -> EngineFuture<'_, bool> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            let why = "it is not dropped through Qdrant's API; take it out of the settings";
            self.shared.not_adopted(&name, why)?;
            self.shared.delete(&name).await
        })
    }

    fn aliases(&self) -> EngineFuture<'_, Arc<BTreeMap<String, String>>> {
        Box::pin(async {
            self.shared.ready().await?;
            self.shared.catalog.aliases(&self.shared.pool).await
        })
    }

    fn set_aliases(
        &self,
        before: Arc<BTreeMap<String, String>>,
        aliases: BTreeMap<String, String>,
    ) -> EngineFuture<'_, bool> {
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared.set_aliases(&before, &aliases).await
        })
    }

    fn condition(&self, name: &str) -> EngineFuture<'_, Condition> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            reading!(self.shared, &name, |known| {
                self.shared.conditions.of(&self.shared.pool, &known).await
            })
        })
    }

    fn apply(&self, name: &str, operation: UpdateOperation) -> EngineFuture<'_, u64> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared.apply(&name, operation).await
        })
    }

    fn retrieve(
        &self,
        name: &str,
        ids: Vec<PointId>,
        payload: WithPayloadInterface,
        vector: WithVector,
    ) -> EngineFuture<'_, Vec<Record>> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            reading!(self.shared, &name, |known| {
                read::retrieve(&self.shared.pool, &known, &ids, &payload, &vector).await
            })
        })
    }

    fn scroll(
        &self,
        name: &str,
        request: ScrollRequest,
    ) -> EngineFuture<'_, (Vec<Record>, Option<PointId>)> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            reading!(self.shared, &name, |known| {
                let mut client = self.shared.pool.lend().await?;
                let answered = scroll::scroll(&mut client, &known, request.clone()).await;
                client.back(&answered);
                answered
            })
        })
    }

    fn count(&self, name: &str, request: CountRequest) -> EngineFuture<'_, usize> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            reading!(self.shared, &name, |known| {
                let mut client = self.shared.pool.lend().await?;
                let answered = count::count(&mut client, &known, request.clone()).await;
                client.back(&answered);
                answered
            })
        })
    }

    fn facet(&self, name: &str, request: FacetRequest) -> EngineFuture<'_, FacetResponse> {
        let name = name.to_owned();
        Box::pin(async move {
            self.shared.ready().await?;
            reading!(self.shared, &name, |known| {
                let mut client = self.shared.pool.lend().await?;
                let answered = facet::facet(&mut client, &known, request.clone()).await;
                client.back(&answered);
                answered
            })
        })
    }

    fn query(&self, name: &str, request: QueryRequest) -> EngineFuture<'_, Vec<ScoredPoint>> {
        let name = name.to_owned();
        Box::pin(async move {
            let installed = self.shared.installed().await?;
            let abilities = Abilities::of_version(&installed.extension);
            reading!(self.shared, &name, |known| {
                let mut client = self.shared.pool.lend().await?;
                let answered = query::query(&mut client, &known, abilities, request.clone()).await;
                client.back(&answered);
                answered
            })
        })
    }

    fn snapshot(&self, name: &str, into: &Path) -> EngineFuture<'_, ()> {
        let (name, into) = (name.to_owned(), into.to_path_buf());
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared.not_adopted(&name, "back it up with pg_dump")?;
            self.shared.snapshot(&name, &into).await
        })
    }

    fn restore(&self, name: &str, from: &Path) -> EngineFuture<'_, ()> {
        let (name, from) = (name.to_owned(), from.to_path_buf());
        Box::pin(async move {
            self.shared.ready().await?;
            self.shared
                .not_adopted(&name, "restore it with pg_restore")?;
            self.shared.restore(&name, &from).await
        })
    }

    fn snapshots_folder(&self) -> &Path {
        &self.shared.snapshots
    }
}
