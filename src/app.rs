//! The only file that knows every concrete type: it puts the parts together from `Settings`,
//! opens the listeners, and takes everything down again.
//!
//! Listeners are opened before anything is asked of a store, so that a taken port is told at once;
//! the process drains on `Running::stop`: no new connections, idle ones closed, what was begun is
//! finished within `shutdown_grace`, and who is late is named.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::admin;
use crate::cache::{Cache, CacheSettings, CollectionPolicy, Company, Policy, RedisSettings};
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::metrics::{Gauge, ListenerMetrics, Metrics};
use crate::mode::{Router, Stores};
use crate::model::{Mode, Role, StoreKind};
use crate::net::{self, Bound, Edge, Patience, Serve, ServerTls, Upstream, UpstreamSettings};
use crate::proxy::{self, BodyLimits, Deadlines, Keys, ProxyParts, respond};
use crate::store::{
    Absent, BreakerSettings, Embedded, Guarded, Qdrant, QdrantSettings, Rest, Store,
};
use crate::task::{Group, Phase, Stop, StopSender};

/// Qdrant's own limit on a JSON body.
const QDRANT_BODY_LIMIT: u64 = 32 * 1024 * 1024;
/// How long stores of our own may take to close in good order. What does not, is replayed at the
/// next start.
const CLOSE_GRACE: Duration = Duration::from_secs(10);
/// How often the certificate files are looked at.
const TLS_LOOK: Duration = Duration::from_secs(2);

/// A sidecar that is up.
pub struct Running {
    pub proxy: SocketAddr,
    pub admin: SocketAddr,
    tasks: Group,
    metrics: Arc<Metrics>,
    stop: StopSender,
    /// The desk stays open while the proxy drains, to say so.
    desk_tasks: Group,
    desk_stop: StopSender,
    grace: Duration,
    embedded: Vec<Arc<Embedded>>,
}

/// How long the desk's own connections may take to end.
const DESK_GRACE: Duration = Duration::from_millis(500);

/// Opens the listeners and begins to serve.
pub async fn start(settings: Settings) -> Result<Running> {
    let proxy_bound = net::bind(&settings.listen.to_string(), "--listen").await?;
    let admin_bound = net::bind(&settings.admin_listen.to_string(), "--admin-listen").await?;
    let (proxy_address, admin_address) = (proxy_bound.address, admin_bound.address);
    refuse_own_listener(&settings, [proxy_address, admin_address]).await?;

    let metrics = Arc::new(Metrics::new());
    let tasks = Group::default();
    let (stop_sender, stop) = StopSender::new();
    let desk_tasks = Group::default();
    let (desk_stop_sender, desk_stop) = StopSender::new();
    let making = Making {
        settings: &settings,
        metrics: &metrics,
        tasks: &tasks,
        stop: &stop,
        embedded: Mutex::default(),
    };
    let router = Arc::new(making.router()?);
    let embedded = making.embedded.into_inner();
    let mode = router.snapshot().mode;
    metrics.mode_in_force("*", mode);

    let listeners = Listeners {
        settings: &settings,
        tasks: &tasks,
        stop: &stop,
    };
    let desk_listeners = Listeners {
        settings: &settings,
        tasks: &desk_tasks,
        stop: &desk_stop,
    };
    let tls = listeners.tls(&metrics)?;
    let clock = Clock::system();
    let cache = Cache::new(cache_settings(&settings)?, metrics.cache.clone());
    let cache = Arc::new(cache);
    // With the desk's, which end last: what is written while the proxy drains is told.
    cache.start(&desk_tasks, &desk_stop);
    let proxy_edge = proxy::edge(ProxyParts {
        router: Arc::clone(&router),
        cache: Arc::clone(&cache),
        tasks: tasks.clone(),
        clock: clock.clone(),
        large_answers: Semaphore::new(proxy::LARGE_ANSWERS_MAX),
        keys: Keys::new(
            settings.auth.api_key.as_ref().map(config::Secret::expose),
            settings
                .auth
                .read_only_api_key
                .as_ref()
                .map(config::Secret::expose),
        ),
        bodies: BodyLimits::new(
            QDRANT_BODY_LIMIT,
            settings.max_body,
            settings.server.body_timeout,
            Arc::clone(&metrics),
        ),
        deadlines: Deadlines {
            read: settings.primary.read_timeout,
            write: settings.primary.write_timeout,
            slow: settings.primary.slow_timeout,
        },
        requests_max: settings.server.requests_max,
        metrics: Arc::clone(&metrics),
        instance: instance_name(),
    });
    let admin_edge = admin::edge(admin::Desk {
        router,
        cache,
        metrics: Arc::clone(&metrics),
        groups: [tasks.clone(), desk_tasks.clone()],
        stop: stop.clone(),
        started_at: clock.now_text(),
        clock,
        started: tokio::time::Instant::now(),
        listen: proxy_address.to_string(),
        token: settings
            .auth
            .admin_token
            .as_ref()
            .map(|t| Box::from(t.expose().as_bytes())),
    });
    listeners.open(
        "proxy",
        proxy_bound,
        proxy_edge,
        tls,
        metrics.listener("proxy"),
    );
    desk_listeners.open(
        "admin",
        admin_bound,
        admin_edge,
        None,
        metrics.listener("admin"),
    );
    info!(%mode, proxy = %proxy_address, admin = %admin_address, "outrigger is up");
    let grace = settings.shutdown_grace;
    Ok(Running {
        proxy: proxy_address,
        admin: admin_address,
        tasks,
        metrics,
        stop: stop_sender,
        desk_tasks,
        desk_stop: desk_stop_sender,
        grace,
        embedded,
    })
}

impl Running {
    /// Drains and ends. Returns once everything has ended or the grace is over.
    ///
    /// Cancel safety: dropping the future lets go of everything at once.
    pub async fn stop(self) {
        info!(connections = self.tasks.count(), grace = ?self.grace, "draining");
        self.stop.advance(Phase::Draining);
        let late = self.tasks.wait(self.grace).await;
        self.stop.advance(Phase::Ending);
        self.desk_stop.advance(Phase::Draining);
        self.desk_tasks.wait(DESK_GRACE).await;
        self.desk_stop.advance(Phase::Ending);
        if late.is_empty() {
            info!("drained");
        } else {
            warn!(
                ?late,
                "the shutdown grace is over; letting go of what is late"
            );
        }
        let embedded = self.embedded;
        let close = move || embedded.iter().for_each(|store| store.close(CLOSE_GRACE));
        if let Err(error) = crate::task::spawn_blocking("close", close).await {
            warn!(%error, "the store was not closed in good order");
        }
    }

    /// What is alive, by name; for tests that count leaks.
    pub fn tasks(&self) -> &Group {
        &self.tasks
    }

    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }
}

struct Listeners<'s> {
    settings: &'s Settings,
    tasks: &'s Group,
    stop: &'s Stop,
}

impl Listeners<'_> {
    fn open(
        &self,
        name: &'static str,
        bound: Bound,
        edge: Edge,
        tls: Option<Arc<ServerTls>>,
        metrics: ListenerMetrics,
    ) {
        let server = &self.settings.server;
        let serve = Serve {
            name,
            edge,
            refusal: respond::too_many_connections,
            tls,
            patience: Patience {
                header: server.header_timeout,
                body: server.body_timeout,
                idle: server.idle_timeout,
            },
            connections_max: server.connections_max,
            metrics,
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn("accept", net::serve(bound, serve));
    }

    /// The proxy's certificate, and the task that watches its files.
    fn tls(&self, metrics: &Arc<Metrics>) -> Result<Option<Arc<ServerTls>>> {
        let Some(files) = &self.settings.server.tls else {
            return Ok(None);
        };
        let tls = Arc::new(ServerTls::load(&files.cert, &files.key)?);
        let (watched, metrics, mut stop) =
            (Arc::clone(&tls), Arc::clone(metrics), self.stop.clone());
        self.tasks.spawn("tls-reload", async move {
            let mut ticks = tokio::time::interval(TLS_LOOK);
            loop {
                tokio::select! {
                    () = stop.reached(Phase::Draining) => return,
                    _ = ticks.tick() => reload(&watched, &metrics),
                }
            }
        });
        Ok(Some(tls))
    }
}

fn reload(tls: &ServerTls, metrics: &Metrics) {
    match tls.reload_if_changed() {
        Ok(false) => (),
        Ok(true) => {
            metrics.tls_reloaded(true);
            info!("a new certificate is in force");
        }
        Err(error) => {
            metrics.tls_reloaded(false);
            warn!(error = %error.chain(), "the changed certificate cannot be used; the old one stays");
        }
    }
}

/// An upstream that is one of our own listeners would answer itself for ever.
async fn refuse_own_listener(settings: &Settings, bound: [SocketAddr; 2]) -> Result<()> {
    let settings = settings.clone();
    let look = move || config::own_listener_check(&settings, &bound, resolve);
    let mistakes = crate::task::spawn_blocking("resolve", look)
        .await
        .map_err(|error| Error::settings("look the store's address up").with_source(error))?;
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(Error::settings(
        config::Mistakes::from(mistakes).to_string(),
    ))
}

/// What a name stands for. Blocks.
pub fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
    // A name that is not known yet is no mistake: a store may come up later.
    (host, port)
        .to_socket_addrs()
        .map(Iterator::collect)
        .unwrap_or_default()
}

/// What the stores are made from.
struct Making<'s> {
    settings: &'s Settings,
    metrics: &'s Metrics,
    tasks: &'s Group,
    stop: &'s Stop,
    /// To be closed when the process ends.
    embedded: Mutex<Vec<Arc<Embedded>>>,
}

impl Making<'_> {
    fn router(&self) -> Result<Router> {
        let mode = self.settings.mode.unwrap_or(Mode::PrimaryOnly);
        if mode != Mode::PrimaryOnly {
            return Err(Error::settings(format!(
                "mode = \"{mode}\" is not served by this version of Outrigger; \
                 set mode = \"primary_only\""
            )));
        }
        let secondary = self.settings.secondary.as_ref();
        let stores = Stores {
            primary: self.store(&self.settings.primary, Role::Primary)?,
            secondary: secondary
                .map(|of| self.store(of, Role::Secondary))
                .transpose()?,
        };
        Router::new(stores, mode).ok_or_else(|| {
            Error::settings(format!("mode = \"{mode}\" needs a store that is not set"))
        })
    }

    fn store(&self, of: &config::Store, role: Role) -> Result<Arc<dyn Store>> {
        let handles = self.metrics.store(role);
        let inner: Arc<dyn Store> = match of.kind {
            StoreKind::Qdrant => {
                let upstream = self.upstream(of, handles.connections.clone())?;
                let own = qdrant_settings(of, self.settings)?;
                let splits = self.metrics.split_upserts.clone();
                Arc::new(Qdrant::new(upstream, own, handles.clone(), splits))
            }
            StoreKind::Embedded => {
                let engine = Arc::new(Embedded::open(&self.settings.data_dir)?);
                self.embedded.lock().push(Arc::clone(&engine));
                Arc::new(Rest::new(engine, self.settings.qdrant_version.clone()))
            }
            StoreKind::Pgvector => Arc::new(Absent::new(of.kind)),
        };
        let breaker = BreakerSettings {
            failures: of.breaker_failures,
            open: of.breaker_open,
            open_max: of.breaker_open_max,
        };
        Ok(Arc::new(Guarded::new(inner, role, breaker, handles)))
    }

    fn upstream(&self, of: &config::Store, open: Gauge) -> Result<Upstream> {
        let settings = UpstreamSettings {
            connect_timeout: of.connect_timeout,
            idle_timeout: of.idle_timeout,
            idle_connections_max: of.idle_connections_max,
            http2: of.http2,
            secure: of.url.as_ref().is_some_and(config::StoreUrl::is_tls),
            tls: net::client_tls(of.tls_ca.as_deref())?,
        };
        Ok(Upstream::new(
            &settings,
            open,
            self.tasks,
            self.stop.clone(),
        ))
    }
}

/// What a request is marked with that has come through here.
fn instance_name() -> HeaderValue {
    let name = format!("{:016x}", rand::random::<u64>());
    HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("outrigger"))
}

fn cache_settings(settings: &Settings) -> Result<CacheSettings> {
    let of = &settings.cache;
    let collections = settings.collections.iter().map(|(name, own)| {
        let policy = CollectionPolicy {
            enabled: own.cache,
            ttl: own.ttl,
            tenant_key: own.tenant_key.clone(),
        };
        (name.clone(), policy)
    });
    let kib = usize::try_from(of.max_entry_kb).unwrap_or(usize::MAX);
    let redis = of.redis_url.as_ref().map(|url| -> Result<_> {
        let redis = RedisSettings::new(url, of.redis_password.as_ref(), store_mark(settings))?;
        Ok(redis.keeping(of.redis_ttl, of.l1_ttl_when_blind))
    });
    Ok(CacheSettings {
        policy: Policy {
            enabled: of.enabled,
            ttl: of.ttl,
            entry_bytes_max: kib.saturating_mul(1024),
            collections: collections.collect(),
        },
        memory_bytes: of.memory_mb.saturating_mul(1024 * 1024),
        settle: of.settle,
        stale_while_revalidate: of.stale_while_revalidate.unwrap_or_default(),
        stale_if_error: of.stale_if_error.unwrap_or_default(),
        company: match of.redis_url {
            Some(_) => Company::Shared,
            None => Company::Alone,
        },
        vector_rounding: of.vector_rounding,
        redis: redis.transpose()?,
    })
}

/// What tells our stores from those of other sidecars that share a Redis.
fn store_mark(settings: &Settings) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("outrigger stores 1");
    for of in std::iter::once(&settings.primary).chain(&settings.secondary) {
        let url = of.url.as_ref().map_or("", config::StoreUrl::expose);
        let key = of.api_key.as_ref().map_or("", config::Secret::expose);
        for part in [of.kind.as_str(), url, key] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        if of.kind == StoreKind::Embedded {
            // It is this process's alone.
            hasher.update(&rand::random::<u128>().to_le_bytes());
        }
    }
    hasher.finalize().as_bytes().to_vec()
}

fn qdrant_settings(of: &config::Store, settings: &Settings) -> Result<QdrantSettings> {
    let url = of
        .url
        .as_ref()
        .ok_or_else(|| Error::settings("a qdrant store needs a url"))?;
    let authority = Authority::try_from(url.authority())
        .map_err(|error| Error::settings("use the store's url").with_source(error))?;
    let key = of
        .api_key
        .as_ref()
        .map(|key| HeaderValue::from_str(key.expose()))
        .transpose();
    let mut api_key =
        key.map_err(|error| Error::settings("use the store's api_key").with_source(error))?;
    if let Some(key) = &mut api_key {
        key.set_sensitive(true);
    }
    Ok(QdrantSettings {
        scheme: if url.is_tls() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        },
        authority,
        path_prefix: url.path_prefix().to_owned(),
        api_key,
        pause: settings.server.body_timeout,
        body_limit: QDRANT_BODY_LIMIT,
    })
}
