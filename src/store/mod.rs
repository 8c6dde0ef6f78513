//! The stores: places where points live, behind one trait.
//!
//! `qdrant` passes calls through; `rest` answers them over an engine of ours, `embedded` or
//! `pgvector`. `Guarded` wraps any store with a breaker and metrics.

mod breaker;
mod check;
mod declared;
mod embedded;
pub mod engine;
mod explain;
mod guarded;
mod listed;
mod outside;
mod pgvector;
mod qdrant;
mod refused;
mod rest;
mod vector_size;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use http::request::Parts;
use tokio::time::Instant;

use crate::error::Result;
use crate::model::{Operation, StoreKind};
use crate::net::Body;

pub use breaker::BreakerSettings;
pub use embedded::Embedded;
pub use explain::{Statement, explained};
pub use guarded::Guarded;
pub use outside::Outside;
pub use pgvector::control;
pub use pgvector::{Lead, MirrorPlan, Outbox, Pgvector, PgvectorSettings, Proposal, propose};
pub use qdrant::{Qdrant, QdrantSettings};
pub use rest::{Rest, rehearse};
pub use vector_size::check_vector_size;

pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A call to be handed to a store as it came: the parts as the client sent them.
pub struct PassCall {
    pub operation: Operation,
    pub head: Parts,
    pub body: Body,
    /// The head of the answer is there by then, or the call has failed.
    pub deadline: Instant,
}

pub type PassAnswer = http::Response<Body>;

/// A store.
///
/// Calls run in parallel and in no order: whoever needs order keeps it above. `Ok` means that the
/// store has answered, whatever it said: an answer of Qdrant's with an error status is an answer.
/// An error whose retry is `OutcomeUnknown` may have done its work. Dropping a future ends the
/// call as far as it can be ended; a write may still be applied.
pub trait Store: Send + Sync {
    fn kind(&self) -> StoreKind;

    /// Serves a call, streaming both ways.
    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer>;

    /// Whether the store answers at all.
    fn probe(&self, within: Duration) -> StoreFuture<'_, ()>;
}
