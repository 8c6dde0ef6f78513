//! The second tier as the cache uses it: looked into on the way to the store, filled on the way
//! back, and heeded by the first while the other sidecars are not heard.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::entry::Entry;
use super::flight::Arrived;
use super::generation::Generations;
use super::policy::Bypass;
use super::shared::{Health, Looked, Renewals, Shared};
use super::{Age, Asking, Cache, CacheSettings, Kept};
use crate::metrics::{CacheMetrics, Tier};
use crate::task::{Group, Stop};

/// What the second tier says to a question.
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and taken apart at once"
)]
pub enum Look {
    Kept(Kept),
    /// It has no answer: ask the store.
    Ask(Asking),
}

impl Cache {
    /// Connects to Redis, if there is to be one, and stays connected until `stop`. Does not wait:
    /// without it the store is asked.
    pub fn start(&self, tasks: &Group, stop: &Stop) {
        if let Some(shared) = &self.shared {
            shared.start(tasks, stop);
        }
    }

    /// Whether another sidecar of the same stores was heard of a moment ago.
    pub fn has_company(&self) -> bool {
        let shared = self.shared.as_ref();
        shared.is_some_and(|shared| shared.has_company())
    }

    /// Looks into the second tier, for all who ask the same.
    ///
    /// Cancel safety: safe; dropped, it leaves the others to ask for themselves.
    pub async fn look_up(&self, mut asking: Asking) -> Look {
        let question = &asking.question;
        let Some(shared) = &self.shared else {
            return Look::Ask(asking);
        };
        let Some(key) = question.shared.filter(|_| question.seen.is_settled()) else {
            return Look::Ask(asking);
        };
        if question.second_ttl.is_zero() {
            return Look::Ask(asking);
        }
        let slots = question.seen.slots();
        let found = match shared.look_up(key, &slots).await {
            Looked::Kept(found) => found,
            Looked::Ask(ground) => {
                asking.ground = ground;
                return Look::Ask(asking);
            }
        };
        let Some(head) = self.heads.kept(&found.head) else {
            return Look::Ask(asking);
        };
        self.metrics.hit(Tier::L2);
        let now = Instant::now();
        let Asking {
            question, pilot, ..
        } = asking;
        let entry = Arc::new(Entry {
            seen: question.seen.clone(),
            head,
            body: found.body,
            kept_at: now,
            fresh_until: now + self.life_here(question.ttl.min(found.left)),
            ends: question.ends,
        });
        if let Err(reason) = self.fits(&entry) {
            self.bypassed(reason);
        } else {
            self.insert(&question, &entry);
        }
        pilot.land(Arrived::Answer(Arc::clone(&entry)));
        let age = Age::Fresh;
        Look::Kept(Kept { entry, age })
    }

    /// Leaves an answer that fits for the second tier.
    pub(super) fn fill_second(&self, asking: &mut Asking, entry: &Entry) {
        let question = &asking.question;
        let (Some(shared), Some(key), Some(ground)) =
            (&self.shared, question.shared, asking.ground.take())
        else {
            return;
        };
        let now = Instant::now();
        let left = question
            .ends
            .map(|ends| ends.saturating_duration_since(now));
        let life = left.map_or(question.second_ttl, |left| left.min(question.second_ttl));
        let fits = self.generations.fit(&entry.seen).is_ok();
        if fits && !life.is_zero() {
            shared.fill(key, ground, &entry.head.fields, &entry.body, life);
        }
    }

    /// Whether an answer may be kept in the process.
    pub(super) fn fits(&self, entry: &Entry) -> Result<(), Bypass> {
        if self.life_here(Duration::MAX).is_zero() {
            return Err(Bypass::Blind);
        }
        Ok(self.generations.fit(&entry.seen)?)
    }

    /// How much of its time an answer has in the process, as things are.
    pub(super) fn life_here(&self, ttl: Duration) -> Duration {
        match &self.shared {
            Some(shared) if shared.is_blind() => ttl.min(shared.ttl_when_blind()),
            Some(_) | None => ttl,
        }
    }

    /// Whether what others may have written since is too long ago for this one.
    pub(super) fn is_too_old_when_blind(&self, entry: &Entry, now: Instant) -> bool {
        self.shared.as_ref().is_some_and(|shared| {
            let age = now.saturating_duration_since(entry.kept_at);
            shared.is_blind() && age >= shared.ttl_when_blind()
        })
    }
}

/// The tokens, and the second tier if there is one.
pub(super) fn made(
    settings: &CacheSettings,
    metrics: &CacheMetrics,
) -> (Arc<Generations>, Option<Arc<Shared>>) {
    let redis = settings.redis.clone().filter(|_| settings.policy.enabled);
    let Some(redis) = redis else {
        metrics.l1_up.set(i64::from(settings.policy.enabled));
        return (Generations::shared(settings.settle, None), None);
    };
    let health = Health::new(metrics.l2_up.clone());
    let renewals = Renewals::new(health, metrics.unshared.clone(), metrics.untold.clone());
    let generations = Generations::shared(settings.settle, Some(Arc::clone(&renewals)));
    let bytes_max = settings.policy.entry_bytes_max;
    let all = Arc::clone(&generations);
    let shared = Shared::new(redis, all, renewals, bytes_max, metrics.clone());
    (generations, Some(shared))
}
