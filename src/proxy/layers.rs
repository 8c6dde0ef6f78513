//! The layer stack, in one place, outermost first.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use super::admit::{AdmitLayer, Keys};
use super::body::BodyLimits;
use super::front::FrontLayer;
use super::pass::{Deadlines, Journey};
use super::shed::ShedLayer;
use crate::metrics::Metrics;
use crate::mode::Router;
use crate::net::Edge;

/// Requests in flight that need no key: probes, the version, the page, preflights.
const OPEN_REQUESTS_MAX: usize = 64;

/// What the proxy is made of.
pub struct ProxyParts {
    pub router: Arc<Router>,
    pub keys: Keys,
    pub bodies: BodyLimits,
    pub deadlines: Deadlines,
    pub requests_max: usize,
    pub metrics: Arc<Metrics>,
    /// Tells this sidecar from every other one.
    pub instance: Arc<str>,
}

/// The edge service: clones of it serve the connections.
pub fn edge(parts: ProxyParts) -> Edge {
    let parts = Arc::new(parts);
    let metrics = || Arc::clone(&parts.metrics);
    let places = Arc::new(Semaphore::new(parts.requests_max));
    let open_places = Arc::new(Semaphore::new(OPEN_REQUESTS_MAX));
    let keys = Arc::new(parts.keys.clone());
    let service = ServiceBuilder::new()
        // Sees every answer, ours and the stores', and catches what panics below it.
        .layer(FrontLayer { metrics: metrics() })
        // Before the keys: a flood of wrong keys is a flood too.
        .layer(ShedLayer {
            places,
            open_places,
            metrics: metrics(),
        })
        // Before any body is read.
        .layer(AdmitLayer {
            keys,
            instance: Arc::clone(&parts.instance),
        })
        .service(Journey {
            parts: Arc::clone(&parts),
        });
    BoxCloneSyncService::new(service)
}
