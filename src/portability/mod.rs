//! What of the traffic another store could serve: each shape of request that is seen, its share, and
//! what each kind of store would do with it.
//!
//! The rules:
//!
//! - **Next to nothing on a request's way.** A request leaves a handle to its body in a short queue
//!   if there is room, and is counted as passed over if there is none. One task takes one out of it
//!   every few milliseconds: what is counted is a sample, and no store is asked for it.
//! - **Shapes, never values** (`shape`): what is kept says of a request what every request of its
//!   kind has in common.
//! - **Bounded**: in what waits, in how long a body may be, in how many shapes are kept apart.

mod look;
mod shape;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{MissedTickBehavior, interval};

use crate::metrics::ReportMetrics;
use crate::model::{Access, Class, Operation};
use crate::task::{Group, Phase, Stop, spawn_blocking};
pub use look::shape;
pub use shape::{Feature, Shape};
pub use verdict::{Verdict, of as verdict};

/// Requests that may wait to be looked at.
const QUEUE: usize = 16;
/// A longer body is not looked at.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// A longer one is looked at off the async threads.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;
/// One request is looked at in so long: a body of common length takes a hundredth of it.
const PACE: Duration = Duration::from_millis(5);
/// Shapes that are kept apart; further ones are counted together.
const SHAPES_MAX: usize = 200;

struct Request {
    operation: Operation,
    query: Option<Box<str>>,
    body: Option<Bytes>,
}

/// The shapes seen so far, most frequent first.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub looked_at: u64,
    pub shapes: Vec<(Shape, u64)>,
    /// Of further shapes, together.
    pub others: u64,
}

#[derive(Default)]
struct Books {
    looked_at: u64,
    shapes: HashMap<Shape, u64>,
    others: u64,
}

pub struct Traffic {
    queue: Sender<Request>,
    books: Arc<Mutex<Books>>,
    metrics: ReportMetrics,
}

impl Traffic {
    /// Begins to look at what is offered.
    pub fn start(metrics: ReportMetrics, tasks: &Group, stop: &Stop) -> Arc<Self> {
        let (queue, requests) = channel(QUEUE);
        let books = Arc::new(Mutex::new(Books::default()));
        let (kept, looked, mut stop) = (Arc::clone(&books), metrics.clone(), stop.clone());
        tasks.spawn("shapes", async move {
            tokio::select! {
                () = stop.reached(Phase::Draining) => (),
                () = look_at_all(requests, &kept, &looked) => (),
            }
        });
        Arc::new(Self {
            queue,
            books,
            metrics,
        })
    }

    /// A request that is let in. `body` is `None` where it streams by. Never waits.
    pub fn offer(&self, operation: Operation, query: Option<&str>, body: Option<Bytes>) {
        if !is_counted(operation) {
            return;
        }
        let Ok(place) = self.queue.try_reserve() else {
            self.metrics.passed_over.inc();
            return;
        };
        place.send(Request {
            operation,
            query: query.map(Box::from),
            body: body.filter(|body| body.len() <= BODY_BYTES_MAX),
        });
    }

    pub fn seen(&self) -> Seen {
        let books = self.books.lock();
        let mut shapes: Vec<_> = books
            .shapes
            .iter()
            .map(|(of, count)| (*of, *count))
            .collect();
        let seen = (books.looked_at, books.others);
        drop(books);
        shapes.sort_by(|one, other| {
            let order = |of: &(Shape, u64)| (of.0.operation.as_str(), of.0.features().collect());
            let by_name = order(one).cmp(&order(other) as &(&str, Vec<Feature>));
            other.1.cmp(&one.1).then(by_name)
        });
        Seen {
            looked_at: seen.0,
            shapes,
            others: seen.1,
        }
    }

    pub fn passed_over(&self) -> u64 {
        self.metrics.passed_over.get()
    }
}

/// Probes and pages tell nothing of the data, and embeddings are no store's.
fn is_counted(operation: Operation) -> bool {
    operation.access() != Access::Open && operation.class() != Class::Embedding
}

async fn look_at_all(
    mut requests: Receiver<Request>,
    books: &Mutex<Books>,
    metrics: &ReportMetrics,
) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some(request) = requests.recv().await {
        let Request {
            operation,
            query,
            body,
        } = request;
        let is_long = body
            .as_ref()
            .is_some_and(|body| body.len() > AT_ONCE_BYTES_MAX);
        let look = move || shape(operation, query.as_deref(), body.as_deref());
        let shape = match is_long {
            true => spawn_blocking("shape", look).await.ok(),
            false => Some(look()),
        };
        match shape {
            Some(shape) => {
                books.lock().count(shape);
                metrics.looked_at.inc();
            }
            // It panicked, which is told where it is seen.
            None => drop(metrics.passed_over.inc()),
        }
        pace.tick().await;
    }
}

impl Books {
    fn count(&mut self, shape: Shape) {
        self.looked_at += 1;
        if self.shapes.len() >= SHAPES_MAX && !self.shapes.contains_key(&shape) {
            self.others += 1;
            return;
        }
        *self.shapes.entry(shape).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_past_the_bound_are_counted_together() {
        let mut books = Books::default();
        let mut made = 0;
        for one in Feature::ALL {
            for other in Feature::ALL.into_iter().take(6) {
                let mut shape = Shape::of(Operation::QueryPoints);
                shape.add(one);
                shape.add(other);
                books.count(shape);
                made += 1;
            }
        }
        assert_eq!(books.shapes.len(), SHAPES_MAX);
        let kept: u64 = books.shapes.values().sum();
        assert_eq!((kept + books.others, books.looked_at), (made, made));
        assert!(books.others > 0);
    }
}
