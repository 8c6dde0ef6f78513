//! What waits to be written to Redis: answers, and tokens for slots that have none.
//!
//! The queue is bounded in items and in bytes. What does not fit is dropped and counted: the next
//! one who asks fills it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;
use redis::Cmd;
use tokio::sync::mpsc;

use super::keeper::TOKEN_LIFE;
use super::link::Fault;
use super::record::{self, Record};
use super::{Ground, LARGE_BYTES, Shared, link, millis, new_token};
use crate::cache::key::SharedKey;
use crate::cache::scope::Slot;
use crate::metrics::CacheMetrics;
use crate::task::{self, Phase, Stop};

const ITEMS_MAX: usize = 1024;
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Written in one round trip.
const BATCH_MAX: usize = 32;
const WRITE_MAX: Duration = Duration::from_secs(1);

/// An answer on its way.
pub(super) struct Fill {
    pub(super) key: SharedKey,
    pub(super) ground: Ground,
    pub(super) head: Arc<HeaderMap>,
    pub(super) body: Bytes,
    pub(super) written: Duration,
    pub(super) life: Duration,
}

enum Job {
    Fill(Fill),
    Mint(Vec<Slot>),
}

pub(super) struct Fills {
    queue: mpsc::Sender<Job>,
    /// Taken by the one task that writes.
    jobs: Mutex<Option<mpsc::Receiver<Job>>>,
    bytes: AtomicUsize,
    metrics: CacheMetrics,
}

impl Fills {
    pub(super) fn new(metrics: CacheMetrics) -> Self {
        let (queue, jobs) = mpsc::channel(ITEMS_MAX);
        Self {
            queue,
            jobs: Mutex::new(Some(jobs)),
            bytes: AtomicUsize::new(0),
            metrics,
        }
    }

    pub(super) fn put(&self, fill: Fill) {
        let length = fill.body.len();
        let before = self.bytes.fetch_add(length, Ordering::SeqCst);
        if before + length > BYTES_MAX || self.queue.try_send(Job::Fill(fill)).is_err() {
            self.bytes.fetch_sub(length, Ordering::SeqCst);
            self.metrics.fill_dropped(link::QUEUE_FULL);
        }
    }

    pub(super) fn mint(&self, slots: Vec<Slot>) {
        if self.queue.try_send(Job::Mint(slots)).is_err() {
            self.metrics.fill_dropped(link::QUEUE_FULL);
        }
    }
}

impl Shared {
    pub(super) async fn fill_on(self: Arc<Self>, mut stop: Stop) {
        let Some(mut jobs) = self.fills.jobs.lock().take() else {
            return;
        };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            tokio::select! {
                () = stop.reached(Phase::Draining) => return,
                taken = jobs.recv_many(&mut batch, BATCH_MAX) => if taken == 0 { return },
            }
            self.write(&mut batch).await;
        }
    }

    async fn write(&self, batch: &mut Vec<Job>) {
        let open = self.link.open();
        let mut commands = Vec::with_capacity(batch.len());
        let mut filled = 0;
        for job in batch.drain(..) {
            match job {
                Job::Mint(slots) => {
                    let minted = slots.into_iter().map(|slot| self.minted(slot));
                    commands.extend(minted);
                }
                Job::Fill(fill) => {
                    self.fills
                        .bytes
                        .fetch_sub(fill.body.len(), Ordering::SeqCst);
                    let place = &fill.ground.open.place;
                    if open.as_ref().is_none_or(|open| open.place != *place) {
                        self.metrics.fill_dropped(link::UNSHARED);
                    } else if let Some(command) = self.filled(fill).await {
                        commands.push(command);
                        filled += 1;
                    }
                }
            }
        }
        let Some(open) = open.filter(|_| !commands.is_empty()) else {
            return;
        };
        let asked = open.connection.ask_all(commands);
        let answers = match tokio::time::timeout(WRITE_MAX, asked).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                let fault = link::fault_of(&error);
                self.metrics.redis_error(fault.as_str());
                return self.link.tell(fault);
            }
            Err(_elapsed) => return self.metrics.redis_error(Fault::Timeout.as_str()),
        };
        let failed = answers.iter().filter_map(|answer| answer.as_ref().err());
        let mut refused = 0;
        for error in failed {
            let fault = link::fault_of(error);
            self.metrics.redis_error(fault.as_str());
            self.link.tell(fault);
            refused += 1;
        }
        self.metrics
            .fills
            .inc_by(u64::saturating_sub(filled, refused));
    }

    /// Only if there is none: whoever comes second must not put out what was filled since.
    fn minted(&self, slot: Slot) -> Cmd {
        let mut command = redis::cmd("SET");
        command.arg(self.keys.token(slot));
        command.arg(&new_token().to_le_bytes()[..]).arg("NX");
        command.arg("PX").arg(millis(TOKEN_LIFE));
        command
    }

    async fn filled(&self, fill: Fill) -> Option<Cmd> {
        let name = self.keys.entry(&fill.ground.open.place, fill.key);
        let life = millis(fill.life);
        let bytes = if fill.body.len() < LARGE_BYTES {
            record_of(&fill)
        } else {
            let work = move || record_of(&fill);
            task::spawn_blocking("cache-write", work).await.ok()?
        };
        let mut command = redis::cmd("SET");
        command.arg(name).arg(bytes?).arg("PX").arg(life.max(1));
        Some(command)
    }
}

fn record_of(fill: &Fill) -> Option<Vec<u8>> {
    record::write(&Record {
        key: fill.key,
        tokens: &fill.ground.tokens,
        head: &fill.head,
        body: &fill.body,
        written: fill.written,
        life: fill.life,
    })
}
