//! Shadow reads: a sample of what clients read runs at the follower too, and both answers are held
//! against each other.
//!
//! The rules:
//!
//! - **Off the client's path.** What the client's request does here is to draw a lot and, when the
//!   answer is there, to put handles to the question and the answer into a queue. A full queue
//!   drops, and counts. Nothing is copied, nothing is waited for, and nothing that happens
//!   afterwards reaches the client or takes the store that it reads from away.
//! - **In quiet moments.** A comparison begins when no client waits, or a moment later: with clients
//!   all the time, fewer are made, and what finds no place is dropped.
//! - **Bounded.** In reads and in bytes that wait, in reads that are compared at a time, in how
//!   long a store may take, in what is kept of it all (`books`).
//! - **Looked at again before it is called a fault** (`look`): a store is asked twice and more, the
//!   points of the difference are fetched by id, and what sync has still to bring is no fault.
//! - **Nothing is written.** A point that is found apart is marked in the ledger of the direction
//!   that is followed; sync reads it at the authority and brings it to the follower. There is no
//!   way from here for anything to come from the follower to the authority.
//! - **Payloads stay hidden** in what is kept, told and logged, unless `keep_payloads` says not to.

mod books;
mod exact;
mod facing;
mod look;
mod round;
mod side;
mod told;
mod unpack;
mod watch;
mod worst;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_ENCODING;
use http::uri::PathAndQuery;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config;
use crate::metrics::{Gauge, ShadowMetrics, Uncompared};
use crate::mode::{Plan, Router};
use crate::model::{Class, Mode, Operation, Role};
use crate::store::{PassAnswer, PassCall, Store};
use crate::sync::Mirror;
use crate::task::{Group, Phase, Stop};
use books::Books;
pub use books::{Latencies, Shelf};
pub use facing::{Faced, FacedRow, Facing, rows};
use side::Question;
use told::Voice;
use watch::Watch;
pub use watch::{Lately, LatelyOf};
pub use worst::{Payloads, Worst};

/// The longest answer that is compared, and the longest question.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What waits may be as long together.
const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// So long a comparison waits for a moment without clients, and so often it looks for one.
const QUIET_WITHIN: Duration = Duration::from_millis(20);
const QUIET_LOOK: Duration = Duration::from_millis(1);

/// What shadow reads are made of.
pub struct ShadowParts {
    pub settings: config::Shadow,
    /// How long what was read in `cutover` is kept for a guard, if there is one.
    pub watched: Option<Duration>,
    pub router: Arc<Router>,
    /// The way of writes in each direction; by the role of the authority.
    pub mirrors: Vec<(Role, Arc<Mirror>)>,
    pub clock: Clock,
    pub metrics: ShadowMetrics,
    /// Requests of clients that are under way.
    pub in_flight: Gauge,
}

pub struct Shadow {
    settings: config::Shadow,
    router: Arc<Router>,
    mirrors: Vec<(Role, Arc<Mirror>)>,
    clock: Clock,
    metrics: ShadowMetrics,
    in_flight: Gauge,
    queue: Sender<Read>,
    /// What waits in it.
    queued_bytes: Arc<AtomicUsize>,
    books: Books,
    watch: Option<Watch>,
    voice: Voice,
}

/// A read that was drawn, before its answer is there.
pub struct Drawn {
    shadow: Arc<Shadow>,
    question: Question,
    collection: Box<str>,
    role: Role,
    stores: [Arc<dyn Store>; 2],
}

/// A read to be compared.
struct Read {
    question: Question,
    /// As the client names it.
    collection: Box<str>,
    /// Of the store that answered.
    role: Role,
    /// The authority, and its follower.
    stores: [Arc<dyn Store>; 2],
    status: u16,
    answer: Bytes,
    encoding: Option<HeaderValue>,
    took: Duration,
    _room: Room,
}

/// What a read takes of the queue's bytes until it is done with.
struct Room {
    bytes: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Shadow {
    /// Begins to compare what is offered.
    pub fn start(parts: ShadowParts, tasks: &Group, stop: &Stop) -> Arc<Self> {
        let (queue, reads) = channel(parts.settings.queue);
        let shadow = Arc::new(Self {
            books: Books::new(parts.settings.window, parts.settings.worst),
            watch: parts.watched.map(Watch::new),
            settings: parts.settings,
            router: parts.router,
            mirrors: parts.mirrors,
            clock: parts.clock,
            metrics: parts.metrics,
            in_flight: parts.in_flight,
            queue,
            queued_bytes: Arc::default(),
            voice: Voice::default(),
        });
        let (own, group, mut ends) = (Arc::clone(&shadow), tasks.clone(), stop.clone());
        let stop = stop.clone();
        tasks.spawn("shadow", async move {
            tokio::select! {
                () = ends.reached(Phase::Draining) => (),
                () = own.compare_all(reads, &group, &stop) => (),
            }
        });
        shadow
    }

    /// Whether reads of this kind may be compared under this plan: their questions are worth to be
    /// read whole.
    pub fn may_compare(&self, plan: &Plan, operation: Operation) -> bool {
        let is_read = matches!(operation.class(), Class::PointRead | Class::SearchRead);
        self.settings.sample > 0.0
            && plan.follower.is_some()
            && self.is_compared(plan.mode)
            && is_read
    }

    fn is_compared(&self, mode: Mode) -> bool {
        match mode {
            Mode::DualRead => true,
            Mode::Cutover => self.settings.cutover,
            Mode::PrimaryOnly | Mode::DualWrite | Mode::SecondaryOnly => false,
        }
    }

    /// Draws the lot for a read that is about to be sent.
    pub fn draw(
        self: &Arc<Self>,
        plan: &Plan,
        collection: Option<&str>,
        call: &PassCall,
    ) -> Option<Drawn> {
        if !self.may_compare(plan, call.operation) || !falls(self.settings.sample) {
            return None;
        }
        let (collection, follower) = (collection?, plan.follower.as_ref()?);
        let body = call.body.as_bytes();
        let fits = |body: &Bytes| body.len() <= ANSWER_BYTES_MAX;
        let Some(body) = body.filter(fits) else {
            self.metrics.skipped(Uncompared::TooLarge);
            return None;
        };
        if call.head.headers.contains_key(CONTENT_ENCODING) {
            self.metrics.skipped(Uncompared::Packed);
            return None;
        }
        let target = call.head.uri.path_and_query().cloned();
        Some(Drawn {
            shadow: Arc::clone(self),
            question: Question {
                operation: call.operation,
                method: call.head.method.clone(),
                target: target.unwrap_or(PathAndQuery::from_static("/")),
                body,
            },
            collection: collection.into(),
            role: plan.authority_role,
            stores: [Arc::clone(&plan.authority), Arc::clone(follower)],
        })
    }

    async fn compare_all(self: Arc<Self>, mut reads: Receiver<Read>, tasks: &Group, stop: &Stop) {
        let places = Arc::new(Semaphore::new(self.settings.workers));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let Some(read) = reads.recv().await else {
                return;
            };
            let (own, mut stop) = (Arc::clone(&self), stop.clone());
            tasks.spawn("shadow-read", async move {
                let given_up = GivenUp(Some(Arc::clone(&own)));
                tokio::select! {
                    () = stop.reached(Phase::Draining) => (),
                    () = own.in_a_quiet_moment(read) => given_up.forget(),
                }
                drop(place);
            });
        }
    }
}

impl Shadow {
    async fn in_a_quiet_moment(&self, read: Read) {
        quiet(&self.in_flight).await;
        self.compare(read).await;
    }
}

/// Waits until no client waits for an answer, though never for long: comparing is work for the same
/// processors, and for the same stores.
async fn quiet(in_flight: &Gauge) {
    let until = Instant::now() + QUIET_WITHIN;
    while in_flight.get() > 0 && Instant::now() < until {
        tokio::time::sleep(QUIET_LOOK).await;
    }
}

/// Counts a read whose comparison did not come to its end.
struct GivenUp(Option<Arc<Shadow>>);

impl GivenUp {
    fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if let Some(shadow) = &self.0 {
            shadow.metrics.skipped(Uncompared::GivenUp);
        }
    }
}

impl Drawn {
    /// The answer that the client is about to get. Never waits.
    pub fn offer(self, answer: &PassAnswer, took: Duration) {
        // What the authority refuses was refused to the client; there is nothing to compare.
        if !answer.status().is_success() {
            return;
        }
        let shadow = self.shadow;
        let whole = answer.body().as_bytes();
        let Some(body) = whole.filter(|body| body.len() <= ANSWER_BYTES_MAX) else {
            shadow.metrics.skipped(Uncompared::TooLarge);
            return;
        };
        let bytes = self.question.body.len() + body.len();
        let before = shadow.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Room {
            bytes,
            of: Arc::clone(&shadow.queued_bytes),
        };
        if before + bytes > QUEUE_BYTES_MAX {
            shadow.metrics.dropped.inc();
            return;
        }
        let read = Read {
            question: self.question,
            collection: self.collection,
            role: self.role,
            stores: self.stores,
            status: answer.status().as_u16(),
            answer: body,
            encoding: answer.headers().get(CONTENT_ENCODING).cloned(),
            took,
            _room: room,
        };
        if shadow.queue.try_send(read).is_err() {
            shadow.metrics.dropped.inc();
        }
    }
}

/// Whether a lot with this chance is drawn.
fn falls(chance: f64) -> bool {
    chance >= 1.0 || rand::random::<f64>() < chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_comparison_waits_for_a_quiet_moment_and_not_for_long() {
        let (gauge, began) = (Gauge::default(), Instant::now());
        quiet(&gauge).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        gauge.inc();
        quiet(&gauge).await;
        assert!(began.elapsed() >= QUIET_WITHIN && began.elapsed() < QUIET_WITHIN * 2);
        let (began, clients) = (Instant::now(), gauge.clone());
        let ends = async {
            tokio::time::sleep(QUIET_WITHIN / 2).await;
            clients.dec();
        };
        tokio::join!(quiet(&gauge), ends);
        assert!(began.elapsed() < QUIET_WITHIN);
    }
}
