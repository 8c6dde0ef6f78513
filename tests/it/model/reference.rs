//! What is known of the store: for everything that can be seen, which values it may have had when.
//!
//! A write that was sent and is not answered may have had its effect or not. One whose client went
//! away may have it at any later time, until everything has come to rest.

use std::fmt::Debug;

use serde_json::{Map, Value};

/// A moment. Every beginning and every end has one of its own.
pub(super) type Tick = u64;

pub(super) const POINTS: usize = 9;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Point {
    /// The vector `a` is `[n, 1]`.
    pub(super) a: Option<i64>,
    pub(super) b: Option<i64>,
    pub(super) payload: Map<String, Value>,
}

/// A value, and when it may have been the present one.
#[derive(Clone, Debug)]
struct Span<T> {
    value: T,
    from: Tick,
    until: Option<Tick>,
    /// Its client went away: it may come to be at any later time.
    adrift: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Timeline<T>(Vec<Span<T>>);

impl<T: Clone + Debug + PartialEq> Timeline<T> {
    pub(super) fn new(value: T) -> Self {
        Self(vec![Span {
            value,
            from: 0,
            until: None,
            adrift: false,
        }])
    }

    /// A write was sent.
    pub(super) fn begin(&mut self, value: T, from: Tick) {
        self.put(value, from, false);
    }

    /// A write was sent, and nobody will hear of it.
    pub(super) fn set_adrift(&mut self, value: T, from: Tick) {
        self.put(value, from, true);
    }

    fn put(&mut self, value: T, from: Tick, adrift: bool) {
        self.0.push(Span {
            value,
            from,
            until: None,
            adrift,
        });
    }

    /// The write that began last was answered.
    pub(super) fn end(&mut self, at: Tick) {
        let last = self.0.len() - 1;
        for span in &mut self.0[..last] {
            if !span.adrift && span.until.is_none() {
                span.until = Some(at);
            }
        }
    }

    /// What it may have been at some moment between these two.
    pub(super) fn between(&self, began: Tick, ended: Tick) -> impl Iterator<Item = &T> + Clone {
        let could = move |span: &&Span<T>| {
            span.from <= ended && span.until.is_none_or(|until| until >= began)
        };
        self.0.iter().filter(could).map(|span| &span.value)
    }

    /// What it is, if only one thing is possible.
    pub(super) fn now(&self) -> Option<&T> {
        let mut open = self.0.iter().filter(|span| span.until.is_none());
        let first = open.next()?;
        open.next().is_none().then_some(&first.value)
    }

    /// Nothing is under way, and this is what it turned out to be.
    pub(super) fn turns_out(&mut self, value: T) -> Result<(), String> {
        let mut open = self.0.iter().filter(|span| span.until.is_none());
        if !open.any(|span| span.value == value) {
            return Err(format!(
                "the store has {value:?}, which is none of {self:?}"
            ));
        }
        *self = Self::new(value);
        Ok(())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Collection {
    pub(super) exists: Timeline<bool>,
    /// By id, less one.
    pub(super) points: Vec<Timeline<Option<Point>>>,
}

/// Two collections and an alias that leads to one of them, or nowhere.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) collections: [Collection; 2],
    pub(super) alias: Timeline<Option<usize>>,
}

/// What is known at each sidecar: of a write by another it need not have heard yet.
#[derive(Debug)]
pub(super) struct References {
    pub(super) at: Vec<Reference>,
    tick: Tick,
}

impl Reference {
    pub(super) fn new() -> Self {
        let empty = Collection {
            exists: Timeline::new(true),
            points: vec![Timeline::new(None); POINTS],
        };
        Self {
            collections: [empty.clone(), empty],
            alias: Timeline::new(Some(0)),
        }
    }
}

impl References {
    pub(super) fn new(sidecars: usize) -> Self {
        Self {
            at: (0..sidecars).map(|_| Reference::new()).collect(),
            tick: 0,
        }
    }

    pub(super) fn tick(&mut self) -> Tick {
        self.tick += 1;
        self.tick
    }
}
