//! The only file that knows every concrete type: it puts the parts together from `Settings`,
//! opens the listeners, and takes everything down again.
//!
//! Listeners are opened before anything is asked of a store, so that a taken port is told at once;
//! the process drains on `Running::stop`: no new connections, idle ones closed, what was begun is
//! finished within `shutdown_grace`, and who is late is named.

mod deeds;
mod ears;
mod gate;
mod guard;
mod journals;
mod kept_for;
mod leave;
mod modes;
mod own_up;
mod places;
mod readiness;
mod shadow;
mod standin;
mod stores;
mod sync;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::admin;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::metrics::{ListenerMetrics, Metrics};
use crate::mode::{Changer, Fleet};
use crate::model::Role;
use crate::net::{self, Bound, Edge, Patience, Serve, ServerTls};
use crate::portability::Traffic;
use crate::proxy::{self, BodyLimits, Deadlines, Keys, ProxyParts, respond};
use crate::stage::Stages;
use crate::store::{Embedded, check_vector_size};
use crate::task::{Group, Phase, Stop, StopSender};
use ears::Ears;
use gate::Gatekeeper;
use stores::Making;

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
    embedded: Vec<(Role, Arc<Embedded>)>,
    changer: Arc<Changer>,
    #[cfg(any(debug_assertions, feature = "testing"))]
    stages: Stages,
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
        pgvector: Mutex::default(),
    };
    let clock = Clock::system();
    let (control, table) = modes::found(&settings, clock.clone(), &desk_tasks, &desk_stop).await?;
    let router = modes::router(making.both()?, table)?;
    let embedded = making.embedded.into_inner();
    let pgvector = making.pgvector.into_inner();
    let cache = Cache::new(stores::cache_settings(&settings)?, metrics.cache.clone());
    let cache = Arc::new(cache);
    let mut all_ears = Vec::new();
    for (role, store) in &pgvector {
        let ears = Ears::new(Arc::clone(&cache), Arc::clone(&router), *role);
        all_ears.push(Arc::clone(&ears));
        let handles = metrics.store(*role);
        store.start(&tasks, stop.clone(), ears, handles).await?;
    }
    if let Some(size) = settings.vector_size {
        for (_, store) in &embedded {
            check_vector_size(store.as_ref(), size).await?;
        }
        for (_, store) in &pgvector {
            check_vector_size(store.as_ref(), size).await?;
        }
    }
    let passage = modes::passage(&settings, control.as_ref(), &metrics);
    modes::show(&metrics, &router.snapshot());
    let stages = Stages::default();
    let following = sync::Following::build(&sync::Parts {
        settings: &settings,
        router: &router,
        passage: &passage,
        control: &control,
        pgvector: &pgvector,
        embedded: &embedded,
        metrics: &metrics,
        clock: &clock,
        stages: &stages,
    })?;
    let shadow = following.shadow(&settings, &metrics, &clock, (&tasks, &stop));
    let fleet = Fleet::new(
        control,
        Arc::clone(&router),
        Arc::clone(&passage),
        // On several machines it is the same address: who is said to be gone must be no other.
        format!("{admin_address}#{:08x}", rand::random::<u32>()),
        modes::on_swap(&cache, &metrics, all_ears, &following, shadow.as_ref()),
        modes::on_arm(&following),
    );
    let gate = Gatekeeper::new(&following, shadow.as_ref(), &settings, &clock);
    let changing = modes::Changing {
        settings: &settings,
        fleet,
        gate,
        cache: &cache,
        tasks: &desk_tasks,
        stop: &desk_stop,
        following: Arc::clone(&following),
        stages: &stages,
    };
    let changer = changing.join().await?;
    let mode = router.snapshot().table().mode;
    let watched = (shadow.as_ref(), &changer);
    guard::watch(&settings.cutover, watched, &metrics, (&tasks, &stop));

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
    let rehearsal = sync::rehearsal(&settings, &router, &metrics, (&tasks, &stop));
    let traffic = Traffic::start(metrics.report.clone(), &tasks, &stop);
    let tls = listeners.tls(&metrics)?;
    // With the desk's, which end last: what is written while the proxy drains is told.
    cache.start(&desk_tasks, &desk_stop);
    let proxy_edge = proxy::edge(ProxyParts {
        router: Arc::clone(&router),
        passage,
        mirrors: following.mirrors().clone(),
        rehearsal: rehearsal.clone(),
        shadow: shadow.clone(),
        traffic: Arc::clone(&traffic),
        stand_in: standin::StandIns::build(&settings, &following, &cache),
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
        deadlines: [
            deadlines(&settings.primary),
            deadlines(settings.secondary.as_ref().unwrap_or(&settings.primary)),
        ],
        requests_max: settings.server.requests_max,
        metrics: Arc::clone(&metrics),
        instance: instance_name(),
    });
    let admin_edge = admin::edge(admin::Desk {
        router,
        changer: Arc::clone(&changer),
        mirrors: following.mirrors().clone(),
        rehearsal,
        shadow,
        traffic,
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
        changer,
        #[cfg(any(debug_assertions, feature = "testing"))]
        stages,
    })
}

fn deadlines(of: &config::Store) -> Deadlines {
    Deadlines {
        read: of.read_timeout,
        write: of.write_timeout,
        slow: of.slow_timeout,
    }
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
        let close = move || {
            for (_, store) in &embedded {
                store.close(CLOSE_GRACE);
            }
        };
        if let Err(error) = crate::task::spawn_blocking("close", close).await {
            warn!(%error, "the store was not closed in good order");
        }
    }

    /// What the modes are changed with.
    pub fn changer(&self) -> &Arc<Changer> {
        &self.changer
    }

    /// Where a test may have it stop.
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub fn stages(&self) -> &Stages {
        &self.stages
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

/// What a request is marked with that has come through here.
fn instance_name() -> HeaderValue {
    let name = format!("{:016x}", rand::random::<u64>());
    HeaderValue::try_from(name).unwrap_or(HeaderValue::from_static("outrigger"))
}
