//! Wall-clock time, for what people and other programs read: logs, start times, certificate
//! dates. Durations are measured with `tokio::time::Instant`, so that tests can pause time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, Default)]
pub struct Clock {
    fixed: Option<Duration>,
}

impl Clock {
    pub fn system() -> Self {
        Self { fixed: None }
    }

    /// A clock that stands still, for tests.
    pub fn fixed(since_epoch: Duration) -> Self {
        Self {
            fixed: Some(since_epoch),
        }
    }

    pub fn since_epoch(&self) -> Duration {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the clock everyone else asks"
        )]
        let now = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        };
        self.fixed.unwrap_or_else(now)
    }

    /// RFC 3339 in UTC, to the second.
    pub fn now_text(&self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + self.since_epoch()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_utc_to_the_second() {
        let clock = Clock::fixed(Duration::from_millis(1_700_000_000_900));
        assert_eq!(clock.now_text(), "2023-11-14T22:13:20Z");
    }
}
