//! Whole answers, kept in memory and served again without asking the store.
//!
//! What makes it safe stands in `generation`: the one rule of coherence. What tells questions
//! apart stands in `key`, what an answer depends on in `reach`, what is kept and for how long in
//! `policy`. Nothing is ever dropped by looking through what is kept: a write takes new tokens, and
//! what was kept under the old ones is not served any more.
//!
//! A second tier may stand in Redis (`shared`), with tokens that every sidecar sees.
//!
//! This room knows nothing of stores: who asks brings the answer.

mod entry;
mod flight;
mod generation;
mod ghost;
mod key;
mod names;
mod narrow;
mod narrowing;
mod near;
mod pin;
mod policy;
mod reach;
mod reckon;
mod scope;
mod second;
mod shared;
mod state;
mod tenant;
mod writing;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use tokio::time::Instant;

use crate::metrics::{CacheMetrics, Tier};
use crate::model::{Operation, Role};

use entry::{Entry, Heads};
use flight::{Arrived, Boarding, Flights, Passenger, Pilot};
use generation::{Generations, Seen};
use ghost::Ghost;
use names::Views;
use near::Near;
use scope::Scope;
use shared::{Ground, Shared};
use tenant::Tenants;

pub use generation::Outcome;
pub use ghost::{Estimate, EstimateRow};
pub use key::{Asker, Key, SharedKey};
pub use names::Names;
pub use narrow::Broad;
pub use narrowing::{BeforeTenancy, Narrowing};
pub use policy::{Bypass, CollectionPolicy, Policy, token_life};
pub use reckon::Asked;
pub use second::Look;
pub use shared::RedisSettings;
pub use state::{STALE_REASONS, Settings};
pub use tenant::Tenancy;
pub use writing::Writing;

/// What a cache is made from.
pub struct CacheSettings {
    pub policy: Policy,
    pub memory_bytes: u64,
    pub settle: Duration,
    pub stale_while_revalidate: Duration,
    pub stale_if_error: Duration,
    /// Whether other sidecars write to the same store.
    pub company: Company,
    /// Decimals to which query vectors are rounded, so that near questions hit.
    pub vector_rounding: Option<u32>,
    pub redis: Option<RedisSettings>,
}

/// Who else keeps answers of the same store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Company {
    Alone,
    /// Tokens are shared with them.
    Shared,
}

pub struct Cache {
    policy: Policy,
    entries: moka::sync::Cache<Key, Arc<Entry>>,
    generations: Arc<Generations>,
    flights: Flights,
    heads: Heads,
    views: Views,
    tenants: Arc<Tenants>,
    near: Option<Near>,
    ghost: Ghost,
    shared: Option<Arc<Shared>>,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    settings: Settings,
    metrics: CacheMetrics,
}

/// A kept answer.
pub struct Kept {
    entry: Arc<Entry>,
    pub age: Age,
}

/// How a kept answer stands to its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Age {
    Fresh,
    /// Past its time, and may be served while a new one is fetched.
    Stale,
    /// Past its time, and may be served if the store fails.
    LastResort,
}

/// A question that the store has to answer, with what its answer depends on as it is now.
#[derive(Clone)]
pub struct Question {
    key: Key,
    seen: Seen,
    ttl: Duration,
    /// In the second tier.
    second_ttl: Duration,
    ends: Option<Instant>,
    near: Option<Key>,
    /// What it is called in the second tier; without it, that is not asked.
    shared: Option<SharedKey>,
}

impl Question {
    #[must_use]
    pub fn with_shared(mut self, shared: Option<SharedKey>) -> Self {
        self.shared = shared;
        self
    }

    /// Found by near questions, too.
    #[must_use]
    pub fn with_near(mut self, near: Option<Key>) -> Self {
        self.near = near;
        self
    }
}

/// What the store has told the caller, as far as it can be had.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    pub names: Option<&'a Names>,
    pub tenancy: Option<&'a Tenancy>,
}

/// What to do with a question.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and taken apart at once"
)]
pub enum Turn {
    /// Ask the store.
    Ask(Asking),
    /// Somebody asks the same.
    Wait(Waiting),
}

/// The one who asks, for all who ask the same. Dropped without an answer, it leaves the others to
/// ask for themselves.
pub struct Asking {
    question: Question,
    pilot: Pilot,
    /// What the answer has to be recorded under in the second tier; without, it is not.
    ground: Option<Ground>,
}

pub struct Waiting(Passenger);

/// What whoever waited for somebody else's answer has at the end.
pub enum Waited {
    Answer(Kept),
    /// What came is not for others: everyone asks for themselves.
    NothingToShare,
    /// Who asked went away.
    Abandoned,
}

impl Kept {
    pub fn answer<B>(&self, body: impl FnOnce(Bytes) -> B) -> Response<B> {
        self.entry.answer(body)
    }
}

impl Cache {
    pub fn new(settings: CacheSettings, metrics: CacheMetrics) -> Self {
        state::show_all(&metrics);
        let (generations, shared) = second::made(&settings, &metrics);
        let evicted = metrics.evictions.clone();
        let stale = settings.stale_while_revalidate.max(settings.stale_if_error);
        let entries = moka::sync::Cache::builder()
            .max_capacity(settings.memory_bytes)
            .weigher(|_key, entry: &Arc<Entry>| entry.weight())
            .time_to_live(settings.policy.ttl_max() + stale)
            .eviction_listener(move |_key, _entry, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    evicted.inc();
                }
            })
            .build();
        Self {
            policy: settings.policy,
            entries,
            generations,
            shared,
            flights: Flights::default(),
            heads: Heads::default(),
            views: Views::default(),
            tenants: Arc::new(Tenants::new(match settings.company {
                Company::Alone => Duration::ZERO,
                Company::Shared => tenant::LEARNED_BY_ALL,
            })),
            ghost: Ghost::default(),
            near: settings
                .vector_rounding
                .map(|decimals| Near::new(decimals, settings.memory_bytes)),
            stale_while_revalidate: settings.stale_while_revalidate,
            stale_if_error: settings.stale_if_error,
            settings: Settings {
                memory_bytes: settings.memory_bytes,
                settle: settings.settle,
                stale_while_revalidate: settings.stale_while_revalidate,
                stale_if_error: settings.stale_if_error,
                vector_rounding: settings.vector_rounding,
            },
            metrics,
        }
    }

    pub fn is_on(&self) -> bool {
        self.policy.enabled
    }

    /// Whether this read goes by the cache at all, told from its head.
    pub fn admits(&self, operation: Operation, fields: &HeaderMap) -> Result<(), Bypass> {
        if !self.policy.enabled {
            return Err(Bypass::Off);
        }
        debug_assert!(Policy::keeps(operation), "{operation} is not kept");
        if policy::asks_for_fresh(fields) {
            return Err(Bypass::Asked);
        }
        Ok(())
    }

    /// The kept answer to a question, if it may be served.
    pub fn find(&self, key: Key) -> Option<Kept> {
        let entry = self.entries.get(&key)?;
        if !self.generations.in_force(&entry.seen) {
            return None;
        }
        let now = Instant::now();
        if entry.ends.is_some_and(|ends| ends <= now) || self.is_too_old_when_blind(&entry, now) {
            return None;
        }
        let over = now.saturating_duration_since(entry.fresh_until);
        let age = if over.is_zero() {
            self.metrics.hit(Tier::L1);
            Age::Fresh
        } else if over < self.stale_while_revalidate {
            Age::Stale
        } else if over < self.stale_if_error {
            Age::LastResort
        } else {
            return None;
        };
        Some(Kept { entry, age })
    }

    /// Makes a question of a request that found no kept answer. To be made before the store is
    /// asked: it holds what is in force now.
    pub fn question(
        &self,
        key: Key,
        operation: Operation,
        collection: Option<&str>,
        told: Told<'_>,
        body: &[u8],
        ends: Option<Instant>,
    ) -> Result<Question, Bypass> {
        let Told { names, tenancy } = told;
        let real = names
            .zip(collection)
            .map(|(names, name)| names.collection(name));
        let second = self
            .shared
            .as_ref()
            .map_or(Duration::ZERO, |shared| shared.ttl());
        let ttls = self.policy.ttls(operation, [collection, real], second)?;
        let pinned = match (collection, names, tenancy) {
            (Some(name), Some(names), Some(tenancy)) => {
                self.pinned(operation, names.collection(name), tenancy, body)
            }
            (_, _, None) | (_, None, _) | (None, _, _) => None,
        };
        let slots = match pinned {
            Some(slots) => slots,
            None => reach::of_read(operation, collection, names, body)?,
        };
        let seen = self.generations.see(&slots);
        // After what is in force was taken down: a name that moved before that leads elsewhere by
        // now, and one that moves later takes what was taken down out of force.
        if names.is_some_and(|names| !self.generations.in_force(&names.hold_while)) {
            return Err(Bypass::Written);
        }
        Ok(Question {
            key,
            seen,
            ttl: ttls.here,
            second_ttl: ttls.second,
            ends,
            near: None,
            shared: None,
        })
    }

    /// The store is asked, because nothing is kept.
    pub fn missed(&self) {
        self.metrics.misses.inc();
    }

    pub fn board(&self, question: &Question) -> Turn {
        match self.flights.board(question.key, &question.seen) {
            Boarding::Asks(pilot) => {
                let question = question.clone();
                let ground = None;
                Turn::Ask(Asking {
                    question,
                    pilot,
                    ground,
                })
            }
            Boarding::Waits(passenger) => Turn::Wait(Waiting(passenger)),
        }
    }

    /// Keeps an answer if it may be, and gives it to all who wait for it.
    pub fn land(&self, mut asking: Asking, status: StatusCode, head: &HeaderMap, body: &Bytes) {
        if status != StatusCode::OK {
            return self.land_nothing(asking, Bypass::Status);
        }
        if body.len() > self.policy.entry_bytes_max {
            return self.land_nothing(asking, Bypass::AnswerTooLarge);
        }
        let Some(head) = self.heads.kept(head) else {
            return self.land_nothing(asking, Bypass::Head);
        };
        let now = Instant::now();
        let question = &asking.question;
        let entry = Arc::new(Entry {
            seen: question.seen.clone(),
            head,
            // A copy of its own: the answer may be a part of a much larger buffer.
            body: Bytes::copy_from_slice(body),
            kept_at: now,
            fresh_until: now + self.life_here(question.ttl),
            ends: question.ends,
        });
        match self.fits(&entry) {
            Ok(()) => self.insert(question, &entry),
            Err(reason) => self.bypassed(reason),
        }
        self.fill_second(&mut asking, &entry);
        asking.pilot.land(Arrived::Answer(entry));
    }

    fn insert(&self, question: &Question, entry: &Arc<Entry>) {
        self.entries.insert(question.key, Arc::clone(entry));
        if let (Some(near), Some(key)) = (&self.near, question.near) {
            near.put(key, question.key);
        }
        let bytes = i64::try_from(self.entries.weighted_size()).unwrap_or(i64::MAX);
        self.metrics.bytes.set(bytes);
    }

    /// The answer is for the one who asked only.
    pub fn land_nothing(&self, asking: Asking, reason: Bypass) {
        self.bypassed(reason);
        asking.pilot.land(Arrived::NothingToShare);
    }

    /// The longest answer that is kept.
    pub fn entry_bytes_max(&self) -> usize {
        self.policy.entry_bytes_max
    }

    /// An answer was shared with somebody who waited for it.
    pub fn served_coalesced(&self) {
        self.metrics.coalesced.inc();
    }

    pub fn bypassed(&self, reason: Bypass) {
        self.metrics.bypassed(reason.as_str());
    }

    /// The aliases as this caller was told them by a store, if that still holds. Inside, `None`: they cannot
    /// be had.
    pub fn names(&self, asker: Asker, store: Role) -> Option<Option<Arc<Names>>> {
        self.views
            .get((asker, store), |seen| self.generations.in_force(seen))
    }

    /// What has to be in force for a list of aliases to hold; to be taken before it is asked for.
    pub fn before_names(&self) -> BeforeNames {
        let slots = [Scope::World.slot(), Scope::Catalog.slot()];
        BeforeNames(self.generations.see(&slots))
    }

    pub fn remember(
        &self,
        (asker, store): (Asker, Role),
        names: Option<Names>,
        before: BeforeNames,
    ) -> Option<Arc<Names>> {
        let seen = before.0;
        let names = names.map(|mut names| {
            names.hold_while = seen.clone();
            Arc::new(names)
        });
        self.views.put((asker, store), names.clone(), seen);
        names
    }
}

/// See [`Cache::before_names`].
pub struct BeforeNames(Seen);

impl Waiting {
    /// Cancel safety: safe.
    pub async fn arrives(self) -> Waited {
        match self.0.arrives().await {
            Some(Arrived::Answer(entry)) => {
                let age = Age::Fresh;
                Waited::Answer(Kept { entry, age })
            }
            Some(Arrived::NothingToShare) => Waited::NothingToShare,
            None => Waited::Abandoned,
        }
    }
}
