//! Qdrant's REST API over any engine of ours: the semantics that are not storage.
//!
//! A request is parsed from its raw bytes into types of Qdrant's own shape (`wire::rest`), so that
//! the texts of its refusals are Qdrant's; checked in Qdrant's order (parse, validate, strict
//! mode, the collection's own rules); carried out through `Engine`; and answered in Qdrant's
//! envelope. A write runs in a task of its own: a client that hangs up leaves nothing half done.

mod aliases;
mod average;
mod batch;
mod cluster;
mod collections;
mod compress;
mod context;
mod examples;
mod exposition;
mod group;
mod groups;
mod indexes;
mod matrix;
mod novelty;
mod plan;
mod points;
mod process;
mod query;
mod rank;
mod reads;
mod resolve;
mod search;
mod service;
mod snapshots;
mod strict;
mod tally;
mod telemetry;
mod updates;
mod vector_names;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{PassAnswer, PassCall, Store, StoreFuture};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation, StoreKind};
use crate::store::engine::Engine;
use crate::task;
use crate::wire;

pub use updates::rehearse;

pub(crate) use context::{Asked, Reply, Served};

/// A store that answers Qdrant's REST API from an engine.
#[derive(Clone)]
pub struct Rest {
    served: Arc<Served>,
}

impl Rest {
    pub fn new(engine: Arc<dyn Engine>, qdrant_version: String) -> Self {
        Self::trying(engine, qdrant_version, None)
    }

    /// Searches that name no `hnsw_ef` try so hard.
    pub fn trying(
        engine: Arc<dyn Engine>,
        qdrant_version: String,
        ef_search: Option<usize>,
    ) -> Self {
        Self {
            served: Arc::new(Served::new(engine, qdrant_version, ef_search)),
        }
    }

    async fn answer(self, call: PassCall) -> Result<PassAnswer> {
        let (served, operation, began) = (Arc::clone(&self.served), call.operation, Instant::now());
        let encoding = compress::Encoding::wanted(&call.head.headers);
        let outcome = self.carry_out(call, began).await;
        let status = match &outcome {
            Ok(answer) => answer.status().as_u16(),
            Err(error) => tally::status_of(error),
        };
        served.tally.count(operation, status, began.elapsed());
        Ok(compress::apply(outcome?, encoding).await)
    }

    async fn carry_out(self, call: PassCall, began: Instant) -> Result<PassAnswer> {
        let PassCall {
            operation,
            head,
            body,
            ..
        } = call;
        if operation.class() == Class::SnapshotRead || operation.class() == Class::SnapshotWrite {
            // Snapshots stream; they read and write bodies of their own.
            return snapshots::answer(&self.served, operation, head, body, began).await;
        }
        let bytes = body.into_bytes().await.map_err(|error| {
            let text = "Outrigger: the request's body ended early";
            Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text).with_source(error)
        })?;
        let is_write = !operation.class().is_read();
        let work = async move { dispatch(&self.served, operation, &head, bytes).await };
        let reply = if is_write {
            task::spawn("write", work).await.map_err(|error| {
                let doing = "carry out a write";
                Error::new(
                    ErrorKind::Internal,
                    Origin::Proxy,
                    Retry::OutcomeUnknown,
                    doing,
                )
                .with_source(error)
            })??
        } else {
            work.await?
        };
        Ok(reply.into_answer(began.elapsed()))
    }
}

async fn dispatch(
    served: &Served,
    operation: Operation,
    head: &http::request::Parts,
    body: Bytes,
) -> Result<Reply> {
    let recognised = wire::recognise(&head.method, head.uri.path());
    let asked = Asked {
        operation,
        recognised: &recognised,
        query: head.uri.query(),
        body,
    };
    context::check_path(&recognised)?;
    // A family that does not know the operation hands the request on.
    if let Some(reply) = service::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = cluster::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = collections::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = indexes::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = vector_names::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = aliases::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = reads::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = query::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = search::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = groups::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = matrix::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = points::answer(served, &asked).await? {
        return Ok(reply);
    }
    if let Some(reply) = batch::answer(served, &asked).await? {
        return Ok(reply);
    }
    Ok(Reply::UnknownPath)
}

impl Store for Rest {
    fn kind(&self) -> StoreKind {
        self.served.engine.kind()
    }

    fn pass(&self, call: PassCall) -> StoreFuture<'_, PassAnswer> {
        Box::pin(self.clone().answer(call))
    }

    fn probe(&self, within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            match tokio::time::timeout(within, self.served.engine.probe()).await {
                Ok(result) => result,
                Err(_) => Err(Error::new(
                    ErrorKind::Timeout,
                    Origin::from(self.kind()),
                    Retry::Safe,
                    "the store did not answer in time",
                )),
            }
        })
    }
}
