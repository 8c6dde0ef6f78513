//! The operator's desk: health, metrics and the JSON API, on a listener of its own.
//!
//! `/healthz` says that the process runs; `/readyz` that the authority answers, the mode is known
//! and the process is not on its way out. A follower that is down never makes `/readyz` fail.
//! Health is open to anyone who reaches the port; the rest asks for the admin token when one is
//! set.

mod cache;
mod mode;
mod portability;
mod shadow;
mod status;
mod sync;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{Method, Response};
use serde_json::json;
use subtle::ConstantTimeEq;
use tower::service_fn;
use tower::util::BoxCloneSyncService;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::{self, Metrics};
use crate::mode::{Changer, Router};
use crate::net::{Arrival, Body, Edge};
use crate::portability::Traffic;
use crate::proxy::Mirrors;
use crate::proxy::respond::{self, Health};
use crate::shadow::Shadow;
use crate::sync::Rehearsal;
use crate::task::{Group, Phase, Stop};

/// How long a probe of a store may take. Probes of Kubernetes give up after a second.
const PROBE_WITHIN: Duration = Duration::from_millis(900);

/// What the desk shows.
pub struct Desk {
    pub router: Arc<Router>,
    pub changer: Arc<Changer>,
    pub mirrors: Mirrors,
    pub rehearsal: Option<Arc<Rehearsal>>,
    pub shadow: Option<Arc<Shadow>>,
    pub traffic: Arc<Traffic>,
    pub cache: Arc<Cache>,
    pub metrics: Arc<Metrics>,
    /// Whose tasks are shown.
    pub groups: [Group; 2],
    pub stop: Stop,
    pub clock: Clock,
    pub started_at: String,
    pub started: tokio::time::Instant,
    pub listen: String,
    pub token: Option<Box<[u8]>>,
}

/// The edge service of the admin listener.
pub fn edge(desk: Desk) -> Edge {
    let desk = Arc::new(desk);
    BoxCloneSyncService::new(service_fn(move |arrival: Arrival| {
        let desk = Arc::clone(&desk);
        Box::pin(async move { Ok(desk.answer(arrival).await) })
            as Pin<Box<dyn Future<Output = Result<_, Infallible>> + Send>>
    }))
}

impl Desk {
    async fn answer(&self, arrival: Arrival) -> Response<Body> {
        let request = &arrival.request;
        let path = request.uri().path().trim_end_matches('/').to_owned();
        let path = path.as_str();
        let is_get = request.method() == Method::GET;
        match path {
            "/healthz" if is_get => return respond::health(Health::Well, "outrigger runs"),
            "/readyz" if is_get => return self.ready().await,
            _ => (),
        }
        if let Err(error) = self.check_token(&arrival) {
            return respond::error(&error).response;
        }
        match path {
            "/metrics" if is_get => respond::page(
                metrics::CONTENT_TYPE,
                self.metrics.render(&Group::live_in(&self.groups)),
            ),
            "/api/status" if is_get => respond::json(&self.status().await),
            "/api/mode" if is_get => respond::json(&mode::state(&self.changer)),
            "/api/mode" if request.method() == Method::PUT => {
                mode::set(&self.changer, arrival.request).await
            }
            "/api/mode/check" if is_get => mode::check(&self.changer, request.uri().query()).await,
            "/api/mode/history" if is_get => {
                mode::history(&self.changer, request.uri().query()).await
            }
            "/api/cache" if is_get => {
                respond::json(&cache::state(&self.cache, &self.metrics.cache))
            }
            "/api/cache" if request.method() == Method::DELETE => {
                respond::json(&cache::clear(&self.cache, request.uri().query()))
            }
            "/api/cache/estimate" if is_get => respond::json(&cache::estimate(&self.cache)),
            "/api/shadow" if is_get => respond::json(&shadow::state(
                self.shadow.as_deref(),
                request.uri().query(),
            )),
            "/api/report/portability" if is_get => {
                respond::json(&portability::report(&self.traffic, &self.router))
            }
            "/api/compare" if request.method() == Method::POST => {
                // In a box of its own: a comparison is far larger than anything else here.
                match Box::pin(shadow::compare(self.shadow.as_deref(), arrival.request)).await {
                    Ok(value) => respond::json(&value),
                    Err(error) => respond::error(&error).response,
                }
            }
            path if path.starts_with("/api/sync") => {
                let asked = (request.method(), path, request.uri().query());
                match self.sync(asked).await {
                    Some(Ok(value)) => respond::json(&value),
                    Some(Err(error)) => respond::error(&error).response,
                    None => Self::unknown(),
                }
            }
            _ => Self::unknown(),
        }
    }

    async fn sync(
        &self,
        (method, path, query): (&Method, &str, Option<&str>),
    ) -> Option<Result<serde_json::Value>> {
        let mirrors = &self.mirrors;
        match (method, path) {
            (&Method::GET, "/api/sync") => Some(Ok(sync::state(
                mirrors,
                &self.router,
                self.rehearsal.as_deref(),
            )
            .await)),
            (&Method::GET, "/api/sync/dead") => Some(sync::dead(mirrors, query).await),
            (&Method::POST, "/api/sync/retry") => Some(sync::retry(mirrors, query).await),
            (&Method::POST, "/api/sync/sweep") => {
                Some(sync::ask_sweep(mirrors, self.changer.fleet(), query).await)
            }
            _ => None,
        }
    }

    fn unknown() -> Response<Body> {
        let text = "Not found: the admin side serves GET /healthz, /readyz, /metrics, /api/status, \
                    /api/mode (also PUT), /api/mode/check, /api/mode/history, /api/sync, /api/sync/dead, /api/cache \
                    (also DELETE), /api/cache/estimate, /api/shadow and \
                    /api/report/portability, and POST /api/compare, /api/sync/retry and /api/sync/sweep";
        let error = Error::new(ErrorKind::NotFound, Origin::Client, Retry::Never, text);
        respond::error(&error).response
    }

    fn check_token(&self, arrival: &Arrival) -> Result<()> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = arrival.request.headers().get(AUTHORIZATION);
        let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let refuse = |text: &'static str| {
            Err(Error::new(
                ErrorKind::Unauthorized,
                Origin::Client,
                Retry::Never,
                text,
            ))
        };
        match given {
            Some(given) if token.ct_eq(given).into() => Ok(()),
            Some(_) => refuse("Invalid admin token"),
            None => refuse("Must provide the admin token as an Authorization bearer token"),
        }
    }

    async fn ready(&self) -> Response<Body> {
        if self.stop.phase() > Phase::Running {
            return respond::health(Health::Unwell, "shutting down");
        }
        let plan = Arc::clone(self.router.snapshot().plan(None));
        match plan.authority.probe(PROBE_WITHIN).await {
            Ok(()) => respond::health(Health::Well, format!("ready, mode {}", plan.mode)),
            Err(error) => respond::health(Health::Unwell, format!("not ready: {}", error.chain())),
        }
    }

    async fn status(&self) -> serde_json::Value {
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "started_at": self.started_at,
            "now": self.clock.now_text(),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "listen": self.listen,
            "mode": mode::state(&self.changer),
            "stores": status::stores(self.router.stores(), PROBE_WITHIN).await,
            "requests_in_flight": self.metrics.in_flight.get(),
            "tasks": Group::live_in(&self.groups),
        })
    }
}
