//! Whether Redis is worth asking: the breaker of the second tier.
//!
//! No request is ever sent to find out. While Redis is away or slow nobody asks it and no write
//! waits for it; the heartbeat of `keeper` tells when it has come back or is quick again.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::metrics::Gauge;

/// Calls in a row that took too long until nobody asks any more.
const SLOW_MAX: u32 = 3;

pub(in crate::cache) struct Health {
    up: AtomicBool,
    resting: AtomicBool,
    slow: AtomicU32,
    gauge: Gauge,
}

impl Health {
    pub(in crate::cache) fn new(gauge: Gauge) -> Self {
        gauge.set(0);
        Self {
            up: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            slow: AtomicU32::new(0),
            gauge,
        }
    }

    pub(super) fn serves(&self) -> bool {
        self.up.load(Ordering::SeqCst) && !self.resting.load(Ordering::SeqCst)
    }

    pub(super) fn connected(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
        self.resting.store(false, Ordering::SeqCst);
        self.slow.store(0, Ordering::SeqCst);
        self.show();
    }

    pub(super) fn was_slow(&self) {
        if self.slow.fetch_add(1, Ordering::SeqCst) + 1 >= SLOW_MAX {
            self.rest();
        }
    }

    pub(super) fn was_quick(&self) {
        // The common case writes nothing that others read.
        if self.slow.load(Ordering::Relaxed) != 0 {
            self.slow.store(0, Ordering::SeqCst);
        }
    }

    /// A write has waited in vain.
    pub(super) fn rest(&self) {
        self.resting.store(true, Ordering::SeqCst);
        self.show();
    }

    /// A heartbeat was answered as quickly as a look-up has to be.
    pub(super) fn rested(&self) {
        if self.resting.load(Ordering::SeqCst) {
            self.slow.store(0, Ordering::SeqCst);
            self.resting.store(false, Ordering::SeqCst);
            self.show();
        }
    }

    fn show(&self) {
        self.gauge.set(i64::from(self.serves()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_some_slow_calls_in_a_row_nobody_asks_until_a_heartbeat_is_quick() {
        let health = Health::new(Gauge::default());
        assert!(!health.serves());
        health.connected(true);
        for _ in 0..4 {
            health.was_slow();
            health.was_slow();
            health.was_quick();
        }
        assert!(health.serves());
        for _ in 0..SLOW_MAX {
            health.was_slow();
        }
        assert!(!health.serves());
        health.rested();
        assert!(health.serves());
        health.connected(false);
        health.rested();
        assert!(!health.serves());
    }
}
