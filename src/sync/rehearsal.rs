//! The dry run: every write that the authority has accepted is held against the store that is to
//! follow, before it does. Nothing is written there.
//!
//! It goes by what the follower declares of the collection. A collection that it has not would be
//! made as it is at the authority, so nothing is refused of it. Off the client's path: what finds
//! no place in the queue is counted and not checked.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;
use tracing::warn;

use super::peer::Peer;
use super::schema;
use crate::error::Result;
use crate::metrics::SyncMetrics;
use crate::model::{Class, Operation};
use crate::store::{Store, rehearse};
use crate::task::{Group, Phase, Stop, spawn_blocking};
use crate::wire::rest::CollectionConfig;

/// Writes that may wait. Their bodies are in memory, counted as those of requests are.
const QUEUE: usize = 256;
/// How long it is believed what the follower declares.
const BELIEVED: Duration = Duration::from_secs(5);
const REASONS_MAX: usize = 100;

/// What would be refused, and why.
#[derive(Clone, Debug)]
pub struct Reason {
    pub collection: Box<str>,
    pub operation: Operation,
    pub reason: Box<str>,
    pub count: u64,
}

/// What came of it so far.
#[derive(Clone, Debug, Default)]
pub struct Rehearsed {
    pub checked: u64,
    pub refused: u64,
    /// Found no place in the queue.
    pub unchecked: u64,
    pub reasons: Vec<Reason>,
}

struct Write {
    operation: Operation,
    collection: Box<str>,
    body: Bytes,
}

pub struct Rehearsal {
    queue: Sender<Write>,
    seen: Arc<Mutex<Seen>>,
    metrics: SyncMetrics,
}

#[derive(Default)]
struct Seen {
    checked: u64,
    refused: u64,
    unchecked: u64,
    reasons: BTreeMap<(Box<str>, &'static str, Box<str>), Reason>,
}

impl Rehearsal {
    pub fn start(
        follower: Arc<dyn Store>,
        patience: Duration,
        metrics: SyncMetrics,
        tasks: &Group,
        stop: &Stop,
    ) -> Arc<Self> {
        let (queue, writes) = channel(QUEUE);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stage = Stage {
            follower: Peer::new(follower, patience),
            declared: HashMap::new(),
            seen: Arc::clone(&seen),
            metrics: metrics.clone(),
        };
        let mut stop = stop.clone();
        tasks.spawn("dry-run", async move {
            tokio::select! {
                () = stop.reached(Phase::Draining) => (),
                () = stage.play(writes) => (),
            }
        });
        Arc::new(Self {
            queue,
            seen,
            metrics,
        })
    }

    /// A write that the authority has accepted.
    pub fn offer(&self, operation: Operation, collection: Option<&str>, body: Option<Bytes>) {
        let (Class::PointWrite, Some(collection)) = (operation.class(), collection) else {
            return;
        };
        let Some(body) = body else {
            return;
        };
        let write = Write {
            operation,
            collection: collection.into(),
            body,
        };
        if self.queue.try_send(write).is_err() {
            self.seen.lock().unchecked += 1;
            self.metrics.rehearsed("unchecked");
        }
    }

    pub fn so_far(&self) -> Rehearsed {
        let seen = self.seen.lock();
        let mut reasons: Vec<Reason> = seen.reasons.values().cloned().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        Rehearsed {
            checked: seen.checked,
            refused: seen.refused,
            unchecked: seen.unchecked,
            reasons,
        }
    }
}

struct Stage {
    follower: Peer,
    declared: HashMap<Box<str>, (Option<Arc<CollectionConfig>>, Instant)>,
    seen: Arc<Mutex<Seen>>,
    metrics: SyncMetrics,
}

impl Stage {
    async fn play(mut self, mut writes: Receiver<Write>) {
        while let Some(write) = writes.recv().await {
            let declared = match self.declared(&write.collection).await {
                Ok(declared) => declared,
                Err(error) => {
                    warn!(error = %error.chain(), "a write was not held against the follower");
                    self.seen.lock().unchecked += 1;
                    self.metrics.rehearsed("unchecked");
                    continue;
                }
            };
            let Some(config) = declared else {
                self.told(&write, None);
                continue;
            };
            let (operation, body) = (write.operation, write.body.clone());
            let judged = spawn_blocking("dry-run", move || rehearse(&config, operation, &body));
            match judged.await {
                Ok(Ok(())) => self.told(&write, None),
                Ok(Err(error)) => self.told(&write, Some(error.to_string())),
                Err(panic) => self.told(&write, Some(panic.to_string())),
            }
        }
    }

    fn told(&self, write: &Write, refusal: Option<String>) {
        let mut seen = self.seen.lock();
        seen.checked += 1;
        let Some(refusal) = refusal else {
            self.metrics.rehearsed("accepted");
            return;
        };
        self.metrics.rehearsed("refused");
        seen.refused += 1;
        let reason: Box<str> = refusal.into();
        let key = (
            write.collection.clone(),
            write.operation.as_str(),
            reason.clone(),
        );
        if seen.reasons.len() >= REASONS_MAX && !seen.reasons.contains_key(&key) {
            return;
        }
        let entry = seen.reasons.entry(key).or_insert_with(|| Reason {
            collection: write.collection.clone(),
            operation: write.operation,
            reason,
            count: 0,
        });
        entry.count += 1;
    }

    /// What the follower declares of the collection; nothing where it has none.
    async fn declared(&mut self, collection: &str) -> Result<Option<Arc<CollectionConfig>>> {
        let now = Instant::now();
        if let Some((declared, at)) = self.declared.get(collection)
            && now - *at < BELIEVED
        {
            return Ok(declared.clone());
        }
        let description = schema::describe(&self.follower, collection).await?;
        let config = description.map(|mut of: Value| of["config"].take());
        let config = config.and_then(|config| serde_json::from_value(config).ok());
        let config: Option<Arc<CollectionConfig>> = config.map(Arc::new);
        if self.declared.len() >= REASONS_MAX {
            self.declared.clear();
        }
        let kept = (config.clone(), now);
        self.declared.insert(collection.into(), kept);
        Ok(config)
    }
}
