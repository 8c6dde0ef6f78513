//! A comparison of a whole collection that is due.
//!
//! It is asked for when it is not known what differs, and answered by a sweep that began after it
//! was asked for. While nobody has been told of it (`told`), the sweep is still to begin, so that
//! what is written meanwhile need not be marked singly: that is a *spilled* collection.

use super::Now;
use crate::model::SweepDue;

pub(super) struct Sweep {
    pub(super) reason: Box<str>,
    pub(super) token: u64,
    pub(super) since_ms: u64,
    /// Marks of points are let go until somebody is told of the sweep.
    pub(super) is_spilled: bool,
    /// When it is due anew, since a write in doubt may be applied until then; 0 for never.
    pub(super) again_ms: u64,
    /// Done, but for `again_ms`.
    is_asleep: bool,
}

impl Sweep {
    pub(super) fn new(reason: &str, token: u64, now: Now) -> Self {
        Self::restored(reason, token, now.ms)
    }

    pub(super) fn restored(reason: &str, token: u64, since_ms: u64) -> Self {
        Self {
            reason: reason.into(),
            token,
            since_ms,
            is_spilled: false,
            again_ms: 0,
            is_asleep: false,
        }
    }

    /// Asked for anew: a sweep that began before does not answer it.
    pub(super) fn renew(&mut self, reason: &str, token: u64) {
        self.reason = reason.into();
        self.token = token;
        self.is_asleep = false;
    }

    /// What the one who sweeps is told. From now on it may have begun.
    pub(super) fn told(&mut self, collection: Option<&str>) -> Option<SweepDue> {
        if self.is_asleep {
            return None;
        }
        self.is_spilled = false;
        Some(SweepDue {
            collection: collection.map(Into::into),
            reason: self.reason.clone(),
            token: self.token,
            since_ms: self.since_ms,
        })
    }

    /// A sweep that began under `token` is done. Whether nothing more is due.
    pub(super) fn is_done(&mut self, token: u64) -> bool {
        if self.token != token || self.is_asleep {
            return false;
        }
        self.is_asleep = self.again_ms > 0;
        !self.is_asleep
    }

    /// Whether it has just become due again.
    pub(super) fn wake(&mut self, token: u64, now: Now) -> bool {
        let is_due = self.again_ms > 0 && self.again_ms <= now.ms;
        if is_due {
            self.again_ms = 0;
            self.is_asleep = false;
            self.token = token;
        }
        is_due
    }
}
