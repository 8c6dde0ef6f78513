//! The second tier: answers kept in Redis, for every sidecar of a fleet, and the tokens shared
//! through it.
//!
//! The rule of coherence is the one of `generation`, with tokens that all sidecars see. An entry in
//! Redis records the shared tokens it was read under; it is served only if they are the very ones
//! that stand in Redis when it is looked up, and both come in one round trip. A write renews them
//! before it is sent and when it ends (`renewal`), and tells the other sidecars (`keeper`). Its answer
//! waits until Redis has them, but not for long: past that, what others answer from Redis may be from
//! before the write until it has.
//!
//! - *A token is sent once and never again.* Sent twice, it could come back into force after
//!   another one, and with it what was read under it.
//! - *What this process has renewed and Redis has not confirmed is not looked up and not filled.*
//! - *An entry belongs to the run of the Redis it was written to.* One that was restarted or failed
//!   over may have gone back in time, tokens and all, and knows nothing of what it has lost: its
//!   run is another one, and nothing from before is found.
//!
//! Redis is only a help. Every call has a deadline, no request waits for a connection, and when
//! Redis is slow nobody asks it until it has proved quick again (`health`).

mod dial;
mod fill;
mod health;
mod keeper;
mod keys;
mod link;
mod record;
mod renewal;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use redis::Value;
use tokio::time::Instant;

use super::generation::Generations;
use super::key::SharedKey;
use super::scope::{Scope, Slot};
use crate::clock::Clock;
use crate::metrics::CacheMetrics;
use crate::task::{self, Group, Stop};

use fill::{Fill, Fills};
pub(super) use health::Health;
use keys::Keys;
use link::{Fault, Link, Open};
use record::{Found, Odd};

pub use dial::RedisSettings;
pub(super) use link::show_all;
pub(super) use renewal::{Renewals, Ticket};

/// For how long a look-up is waited for. A Redis nearby answers in a tenth of it; an answer that
/// comes later than this is worth less than asking the store at once.
const LOOK_UP_MAX: Duration = Duration::from_millis(20);
/// The channel counts as lost when nothing came back for so long: four heartbeats.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// For how long a sidecar counts as there after it was heard of.
const COMPANY_LASTS: Duration = Duration::from_secs(10);
/// A larger record is taken apart off the threads that serve.
const LARGE_BYTES: usize = 256 * 1024;

pub(super) struct Shared {
    settings: RedisSettings,
    keys: Keys,
    /// Tells the messages of this process from those of others.
    instance: u64,
    health: Arc<Health>,
    link: Link,
    renewals: Arc<Renewals>,
    generations: Arc<Generations>,
    fills: Fills,
    /// The shared token of the world as this process saw it last; 0 before the first.
    world: AtomicU64,
    began: Instant,
    /// When the heartbeat was sent that came back last, in milliseconds; 0: none, or the
    /// connection is lost.
    echo: AtomicU64,
    /// When another sidecar of the same stores was heard of last. 0: never.
    company: AtomicU64,
    answer_bytes_max: usize,
    clock: Clock,
    metrics: CacheMetrics,
}

/// What is in force in Redis: what an answer that is read now has to be recorded under.
#[derive(Clone)]
pub(super) struct Ground {
    tokens: Box<[(Slot, u64)]>,
    open: Arc<Open>,
}

pub(super) enum Looked {
    Kept(Found),
    /// To be asked of the store. Without a ground the answer is not for Redis.
    Ask(Option<Ground>),
}

impl Shared {
    pub(super) fn new(
        settings: RedisSettings,
        generations: Arc<Generations>,
        renewals: Arc<Renewals>,
        answer_bytes_max: usize,
        metrics: CacheMetrics,
    ) -> Arc<Self> {
        let health = Arc::clone(renewals.health());
        Arc::new(Self {
            keys: Keys::new(&settings.prefix),
            instance: rand::random(),
            link: Link::new(),
            health,
            renewals,
            generations,
            fills: Fills::new(metrics.clone()),
            world: AtomicU64::new(0),
            began: Instant::now(),
            echo: AtomicU64::new(0),
            company: AtomicU64::new(0),
            answer_bytes_max,
            clock: settings.clock.clone(),
            settings,
            metrics,
        })
    }

    /// Starts what keeps the connection and the channel.
    pub(super) fn start(self: &Arc<Self>, tasks: &Group, stop: &Stop) {
        tasks.spawn("cache-redis", Arc::clone(self).keep(stop.clone()));
        tasks.spawn("cache-fill", Arc::clone(self).fill_on(stop.clone()));
    }

    /// Whether another sidecar of the same stores was heard of a moment ago.
    pub(super) fn has_company(&self) -> bool {
        let heard = self.company.load(Ordering::SeqCst);
        heard != 0 && self.now().saturating_sub(heard) < millis(COMPANY_LASTS)
    }

    /// How long an answer may live here.
    pub(super) fn ttl(&self) -> Duration {
        self.settings.ttl
    }

    /// Whether writes of other sidecars may have gone unheard.
    pub(super) fn is_blind(&self) -> bool {
        let echo = self.echo.load(Ordering::SeqCst);
        echo == 0 || self.now().saturating_sub(echo) > millis(SILENCE_MAX)
    }

    /// For how long an answer may be kept in the process while that is so.
    pub(super) fn ttl_when_blind(&self) -> Duration {
        self.settings.ttl_when_blind
    }

    /// Looks an answer up, together with what is in force.
    ///
    /// Cancel safety: safe.
    pub(super) async fn look_up(&self, key: SharedKey, slots: &[Slot]) -> Looked {
        if !self.health.serves() || !self.renewals.all_shared(slots) {
            return Looked::Ask(None);
        }
        let Some((open, _place)) = self.link.place() else {
            return Looked::Ask(None);
        };
        let mut command = redis::cmd("MGET");
        command.arg(self.keys.entry(&open.place, key));
        for slot in slots {
            command.arg(self.keys.token(*slot));
        }
        let asked = tokio::time::timeout(LOOK_UP_MAX, open.connection.ask(command)).await;
        let values = match asked {
            Ok(Ok(Value::Array(values))) if values.len() == slots.len() + 1 => values,
            Ok(Ok(_nonsense)) => {
                self.metrics.redis_error(link::NONSENSE);
                return Looked::Ask(None);
            }
            Ok(Err(error)) => {
                let fault = link::fault_of(&error);
                self.metrics.redis_error(fault.as_str());
                self.link.tell(fault);
                return Looked::Ask(None);
            }
            Err(_elapsed) => {
                self.metrics.redis_error(Fault::Timeout.as_str());
                self.health.was_slow();
                return Looked::Ask(None);
            }
        };
        self.health.was_quick();
        let mut values = values.into_iter();
        let entry = values.next();
        let tokens: Vec<Option<u64>> = values.map(|value| token_of(&value)).collect();
        let Some(tokens) = self.all_there(slots, &tokens) else {
            return Looked::Ask(None);
        };
        let same_world = self.is_same_world(&tokens);
        if let Some(Value::BulkString(bytes)) = entry
            && let Some(found) = self.read(bytes, key, &tokens).await
        {
            return Looked::Kept(found);
        }
        let ground = same_world.then_some(Ground { tokens, open });
        Looked::Ask(ground)
    }

    /// A missing token was evicted, or never was: a new one is put in its place, and what is read
    /// meanwhile is not recorded.
    fn all_there(&self, slots: &[Slot], tokens: &[Option<u64>]) -> Option<Box<[(Slot, u64)]>> {
        let pairs = slots.iter().zip(tokens);
        let there: Option<Box<[(Slot, u64)]>> = pairs
            .clone()
            .map(|(slot, token)| Some((*slot, (*token)?)))
            .collect();
        if there.is_none() {
            let missing = pairs.filter(|(_, token)| token.is_none());
            self.fills.mint(missing.map(|(slot, _)| *slot).collect());
        }
        there
    }

    /// Whether names lead where they did when this process looked last. If not, what it knows of
    /// them may be old though no message has come: a question that was made with it must not fill.
    fn is_same_world(&self, tokens: &[(Slot, u64)]) -> bool {
        let world = Scope::World.slot();
        let Some((_, token)) = tokens.iter().find(|(slot, _)| *slot == world) else {
            return false;
        };
        let same = self.world.swap(*token, Ordering::SeqCst) == *token;
        if !same {
            self.generations.heard(world, Duration::ZERO);
        }
        same
    }

    async fn read(&self, bytes: Vec<u8>, key: SharedKey, tokens: &[(Slot, u64)]) -> Option<Found> {
        let (now, most) = (self.clock.since_epoch(), self.answer_bytes_max);
        let read = if bytes.len() < LARGE_BYTES {
            record::read(&bytes, key, tokens, now, most)
        } else {
            let tokens = tokens.to_vec();
            let work = move || record::read(&bytes, key, &tokens, now, most);
            task::spawn_blocking("cache-read", work).await.ok()?
        };
        match read {
            Ok(found) => Some(found),
            Err(Odd::OutOfForce | Odd::Over) => None,
            Err(Odd::Garbage) => {
                self.metrics.redis_error(link::GARBAGE);
                None
            }
        }
    }

    /// Leaves an answer for Redis. Never waits: what does not fit is dropped.
    pub(super) fn fill(
        &self,
        key: SharedKey,
        ground: Ground,
        head: &Arc<HeaderMap>,
        body: &Bytes,
        life: Duration,
    ) {
        let mut slots = ground.tokens.iter().map(|(slot, _)| *slot);
        if !self.health.serves() || !slots.all(|slot| self.renewals.is_shared(slot)) {
            return self.metrics.fill_dropped(link::UNSHARED);
        }
        self.fills.put(Fill {
            key,
            ground,
            head: Arc::clone(head),
            body: body.clone(),
            written: self.clock.since_epoch(),
            life,
        });
    }

    /// Milliseconds since this began, and never 0.
    fn now(&self) -> u64 {
        millis(self.began.elapsed()) + 1
    }
}

fn token_of(value: &Value) -> Option<u64> {
    let Value::BulkString(bytes) = value else {
        return None;
    };
    let bytes: [u8; 8] = bytes.as_slice().try_into().ok()?;
    Some(u64::from_le_bytes(bytes)).filter(|token| *token != 0)
}

/// A token that nobody has seen before.
fn new_token() -> u64 {
    rand::random_range(1..=u64::MAX)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
