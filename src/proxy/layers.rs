//! The layer stack, in one place, outermost first.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;

use tokio::sync::Semaphore;
use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use super::admit::{AdmitLayer, Keys};
use super::body::BodyLimits;
use super::front::FrontLayer;
use super::journey::Journey;
use super::mirrors::Mirrors;
use super::pass::Deadlines;
use super::shed::ShedLayer;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::mode::{Passage, Plan, Router, StandIn};
use crate::model::{Operation, Role};
use crate::net::Edge;
use crate::portability::Traffic;
use crate::shadow::Shadow;
use crate::sync::Rehearsal;
use crate::task::Group;

/// Requests in flight that need no key: probes, the version, the page, preflights.
const OPEN_REQUESTS_MAX: usize = 64;

/// Each may be as long as the longest that is kept.
pub const LARGE_ANSWERS_MAX: usize = 64;

/// What the proxy is made of.
pub struct ProxyParts {
    pub router: Arc<Router>,
    /// What every write goes through.
    pub passage: Arc<Passage>,
    /// What a write goes through in a mode that mirrors.
    pub mirrors: Mirrors,
    /// What a write is held against while nothing follows.
    pub rehearsal: Option<Arc<Rehearsal>>,
    /// What reads are compared by between the two stores, if there are two.
    pub shadow: Option<Arc<Shadow>>,
    /// What is told of every request that is let in.
    pub traffic: Arc<Traffic>,
    /// Who is asked whether a follower may answer reads, if it ever may.
    pub stand_in: Option<Arc<dyn StandIn>>,
    pub cache: Arc<Cache>,
    /// Owns what goes on after its client has gone.
    pub tasks: Group,
    pub clock: Clock,
    pub keys: Keys,
    pub bodies: BodyLimits,
    /// Of calls to the primary, and to the secondary.
    pub deadlines: [Deadlines; 2],
    pub requests_max: usize,
    pub metrics: Arc<Metrics>,
    /// How many answers beyond the usual length are gathered to be kept, at one time.
    pub large_answers: Semaphore,
    /// Tells this sidecar from every other one.
    pub instance: HeaderValue,
}

impl ProxyParts {
    /// How long the store that this plan asks may take.
    pub(super) fn patience(
        &self,
        plan: &Plan,
        operation: Operation,
        query: Option<&str>,
    ) -> Duration {
        self.patience_with(plan.authority_role, operation, query)
    }

    /// How long the store in this role may take.
    pub(super) fn patience_with(
        &self,
        role: Role,
        operation: Operation,
        query: Option<&str>,
    ) -> Duration {
        let [primary, secondary] = &self.deadlines;
        match role {
            Role::Primary => primary.of(operation, query),
            Role::Secondary => secondary.of(operation, query),
        }
    }
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
            instance: parts.instance.clone(),
        })
        .service(Journey {
            parts: Arc::clone(&parts),
        });
    BoxCloneSyncService::new(service)
}
