//! How fast a collection may be read and written: a bucket for each, full at first, refilled all
//! the time.
//!
//! Buckets are this process's own, and begin anew when the limits of the collection change.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::store::engine::Collection;

/// The buckets of all collections that have limits.
#[derive(Default)]
pub(in crate::store::rest) struct Rates {
    buckets: Mutex<HashMap<String, Buckets>>,
}

#[derive(Default)]
struct Buckets {
    read: Option<Bucket>,
    write: Option<Bucket>,
}

struct Bucket {
    per_minute: usize,
    tokens: f64,
    filled: Instant,
}

impl Rates {
    pub(super) fn read(&self, collection: &Collection, cost: usize) -> Result<()> {
        let limit = collection
            .config
            .strict_mode()
            .and_then(|config| config.read_rate_limit);
        match limit {
            None => Ok(()),
            Some(limit) => {
                let mut all = self.buckets.lock();
                let bucket = &mut all.entry(collection.name.clone()).or_default().read;
                Bucket::of(bucket, limit).take(cost, "Read")
            }
        }
    }

    pub(super) fn write(&self, collection: &Collection, cost: usize) -> Result<()> {
        let limit = collection
            .config
            .strict_mode()
            .and_then(|config| config.write_rate_limit);
        match limit {
            None => Ok(()),
            Some(limit) => {
                let mut all = self.buckets.lock();
                let bucket = &mut all.entry(collection.name.clone()).or_default().write;
                Bucket::of(bucket, limit).take(cost, "Write")
            }
        }
    }

    /// Full buckets from now on: the collection is gone, or its strict mode was set anew.
    pub(in crate::store::rest) fn forget(&self, collection: &str) {
        self.buckets.lock().remove(collection);
    }
}

impl Bucket {
    fn of(place: &mut Option<Self>, per_minute: usize) -> &mut Self {
        if place
            .as_ref()
            .is_some_and(|bucket| bucket.per_minute != per_minute)
        {
            *place = None;
        }
        place.get_or_insert_with(|| Self {
            per_minute,
            tokens: count(per_minute),
            filled: Instant::now(),
        })
    }

    fn take(&mut self, cost: usize, what: &str) -> Result<()> {
        if cost > self.per_minute {
            return Err(limited(format!(
                "Rate limiting exceeded: {what} rate limit exceeded, request larger than rate \
                 limiter capacity, please try to split your request"
            )));
        }
        let now = Instant::now();
        let per_second = count(self.per_minute) / 60.0;
        let gained = per_second * now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + gained).min(count(self.per_minute));
        let wanted = count(cost);
        if self.tokens >= wanted {
            self.tokens -= wanted;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((wanted - self.tokens) / per_second);
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(limited(format!(
            "Rate limiting exceeded: {what} rate limit exceeded: Operation requires {cost} tokens \
             but only {:.1} were available. Retry after {seconds}s",
            self.tokens
        ))
        .with_retry_after(Duration::from_secs(seconds)))
    }
}

/// Limits are small numbers: what a float cannot hold exactly is no limit at all.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

fn limited(text: String) -> Error {
    Error::new(ErrorKind::RateLimited, Origin::Client, Retry::Safe, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_and_refills() {
        let mut place = None;
        assert!(Bucket::of(&mut place, 6).take(6, "Read").is_ok());
        let refused = Bucket::of(&mut place, 6).take(1, "Read").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "Rate limiting exceeded: Read rate limit exceeded: Operation requires 1 tokens but \
             only 0.0 were available. Retry after 10s"
        );
        assert_eq!(refused.retry_after(), Some(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(Bucket::of(&mut place, 6).take(1, "Read").is_ok());
        let too_large = Bucket::of(&mut place, 6).take(7, "Write").unwrap_err();
        assert!(
            too_large
                .to_string()
                .contains("Write rate limit exceeded, request larger")
        );
    }
}
