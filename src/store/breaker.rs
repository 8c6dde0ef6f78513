//! A circuit breaker: after some failures in a row, calls are refused at once for a while instead
//! of each waiting for its own time-out.
//!
//! Two signals count as failure: no connection, and no answer. An error *answer* is an answer. One
//! success closes the breaker and forgets the failures. While it is open nothing is sent; when
//! the wait is over one call is let through as a probe, and the wait doubles, up to a bound, if
//! the probe fails too. A probe that is given up by its caller hands its place to the next.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::metrics::Gauge;

#[derive(Clone, Copy, Debug)]
pub struct BreakerSettings {
    /// This many failures in a row open it.
    pub failures: u32,
    /// How long it stays open the first time.
    pub open: Duration,
    /// How long it stays open at most.
    pub open_max: Duration,
}

pub(super) struct Breaker {
    settings: BreakerSettings,
    state: Mutex<State>,
    gauge: Gauge,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        wait: Duration,
    },
    /// One call is under way to see. Should it take long, another goes when `until` has passed.
    HalfOpen {
        until: Instant,
        wait: Duration,
    },
}

impl State {
    fn as_metric(self) -> i64 {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }
}

/// Leave to make one call. Dropped without a verdict, it says nothing about the target.
pub(super) struct Permit<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
    settled: bool,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings, gauge: Gauge) -> Self {
        gauge.set(0);
        Self {
            settings,
            state: Mutex::new(State::Closed { failures: 0 }),
            gauge,
        }
    }

    /// Leave to call, or how long to wait.
    pub(super) fn admit(&self) -> Result<Permit<'_>, Duration> {
        let mut state = self.state.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, wait } | State::HalfOpen { until, wait } => {
                let left = until.saturating_duration_since(Instant::now());
                if !left.is_zero() {
                    return Err(left);
                }
                let until = Instant::now() + wait;
                self.enter(&mut state, State::HalfOpen { until, wait });
                true
            }
        };
        Ok(Permit {
            breaker: self,
            is_probe,
            settled: false,
        })
    }

    fn enter(&self, state: &mut State, next: State) {
        *state = next;
        self.gauge.set(next.as_metric());
    }

    fn succeeded(&self) {
        let mut state = self.state.lock();
        // The common case touches nothing that others read.
        if !matches!(*state, State::Closed { failures: 0 }) {
            self.enter(&mut state, State::Closed { failures: 0 });
        }
    }

    /// `true` when this failure opened the breaker.
    fn failed(&self) -> bool {
        let mut state = self.state.lock();
        let wait = match *state {
            State::Closed { failures } if failures + 1 < self.settings.failures => {
                self.enter(
                    &mut state,
                    State::Closed {
                        failures: failures + 1,
                    },
                );
                return false;
            }
            State::Closed { .. } => self.settings.open,
            State::HalfOpen { wait, .. } => (wait * 2).min(self.settings.open_max),
            // A call that was under way when the breaker opened adds nothing.
            State::Open { .. } => return false,
        };
        self.enter(
            &mut state,
            State::Open {
                until: Instant::now() + wait,
                wait,
            },
        );
        true
    }

    fn probe_given_up(&self) {
        let mut state = self.state.lock();
        if let State::HalfOpen { wait, .. } = *state {
            self.enter(
                &mut state,
                State::Open {
                    until: Instant::now(),
                    wait,
                },
            );
        }
    }
}

impl Permit<'_> {
    pub(super) fn succeeded(mut self) {
        self.settled = true;
        self.breaker.succeeded();
    }

    /// `true` when this failure opened the breaker.
    pub(super) fn failed(mut self) -> bool {
        self.settled = true;
        self.breaker.failed()
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.settled {
            self.breaker.probe_given_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        let settings = BreakerSettings {
            failures: 3,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(3),
        };
        Breaker::new(settings, Gauge::default())
    }

    fn open(breaker: &Breaker) {
        for _ in 0..3 {
            breaker.admit().ok().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn opens_after_failures_in_a_row_only() {
        let breaker = breaker();
        for _ in 0..5 {
            breaker.admit().ok().unwrap().failed();
            breaker.admit().ok().unwrap().failed();
            breaker.admit().ok().unwrap().succeeded();
        }
        assert!(breaker.admit().is_ok());
        open(&breaker);
        assert_eq!(breaker.admit().err(), Some(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_goes_through_and_failing_doubles_the_wait_up_to_the_bound() {
        let breaker = breaker();
        open(&breaker);
        for wait in [2, 3, 3] {
            tokio::time::advance(Duration::from_secs(4)).await;
            let probe = breaker.admit().ok().unwrap();
            assert!(breaker.admit().is_err(), "a second probe went through");
            assert!(probe.failed());
            assert_eq!(breaker.admit().err(), Some(Duration::from_secs(wait)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_takes_long_does_not_keep_everybody_out() {
        let breaker = breaker();
        open(&breaker);
        tokio::time::advance(Duration::from_secs(1)).await;
        let slow = breaker.admit().ok().unwrap();
        assert!(breaker.admit().is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        breaker.admit().ok().unwrap().succeeded();
        assert!(breaker.admit().is_ok());
        slow.succeeded();
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_does_not_shut_the_breaker_for_good() {
        let breaker = breaker();
        open(&breaker);
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(breaker.admit().ok().unwrap());
        breaker.admit().ok().unwrap().succeeded();
        assert!(breaker.admit().is_ok());
    }
}
