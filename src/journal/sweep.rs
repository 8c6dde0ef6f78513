//! A comparison of a whole collection that is due.
//!
//! It is asked for when it is not known what differs, and answered by a sweep that began after it
//! was asked for. While nobody has been told of it (`told`), the sweep is still to begin, so that
//! what is written meanwhile need not be marked singly: that is a *spilled* collection.
//!
//! It may be asked for by calls that are still under way (`owed`), and come back after one whose
//! outcome is not known. It is told all the same, since something may differ, and may not begin.

use std::borrow::Cow;

use super::record::Record;
use super::{Now, Outcome};
use crate::model::{SweepDue, reason_of_both};

/// Stands on disk for an end that is not known yet.
const UNDER_WAY: u64 = u64::MAX;

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
    /// Calls that are under way and have asked for it.
    calls: usize,
    /// Whether it is due whatever becomes of them.
    is_wanted: bool,
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
            calls: 0,
            is_wanted: true,
        }
    }

    /// For one call, so far.
    pub(super) fn owed(reason: &str, token: u64, now: Now) -> Self {
        Self {
            calls: 1,
            is_wanted: false,
            ..Self::new(reason, token, now)
        }
    }

    /// For one more. What began before it does not answer it.
    pub(super) fn owe(&mut self, token: u64) {
        self.calls += 1;
        self.token = token;
        self.is_asleep = false;
    }

    /// One of the calls has ended. Whether nothing is due any more.
    pub(super) fn paid(&mut self, outcome: Outcome, token: u64, now: Now) -> bool {
        self.calls = self.calls.saturating_sub(1);
        match outcome {
            Outcome::NothingDone => return self.calls == 0 && !self.is_wanted,
            Outcome::Settled => {}
            Outcome::Unknown => self.again_ms = now.ms + now.doubt_ms(),
        }
        self.is_wanted = true;
        self.is_asleep = false;
        self.token = token;
        false
    }

    pub(super) fn may_begin(&self) -> bool {
        self.calls == 0 && !self.is_asleep
    }

    /// Writes it down.
    pub(super) fn note(&self, collection: Option<&str>, out: &mut Vec<u8>) {
        self.note_as(collection, false, out);
    }

    /// The same, and that what was marked of the collection's points is let go.
    pub(super) fn note_spill(&self, collection: &str, out: &mut Vec<u8>) {
        self.note_as(Some(collection), true, out);
    }

    fn note_as(&self, collection: Option<&str>, spills: bool, out: &mut Vec<u8>) {
        let record = Record::SweepDue {
            collection: collection.map(Cow::Borrowed),
            reason: Cow::Borrowed(&self.reason),
            token: self.token,
            since_ms: self.since_ms,
            spills,
        };
        record.encode(out);
        let at_ms = if self.calls > 0 {
            UNDER_WAY
        } else {
            self.again_ms
        };
        if at_ms > 0 {
            let collection = collection.map(Cow::Borrowed);
            Record::SweepAgain { collection, at_ms }.encode(out);
        }
    }

    /// What was under way when the process ended, or in doubt, is in doubt from now on.
    pub(super) fn doubt_since(&mut self, now: Now) {
        self.again_ms = self.again_ms.min(now.ms + now.doubt_ms());
    }

    /// Asked for anew: a sweep that began before does not answer it.
    pub(super) fn renew(&mut self, reason: &str, token: u64) {
        self.reason = reason_of_both(&self.reason, reason).into();
        self.token = token;
        self.is_asleep = false;
        self.is_wanted = true;
    }

    /// What the one who sweeps is told. From now on it may have begun, if it may at all.
    pub(super) fn told(&mut self, collection: Option<&str>) -> SweepDue {
        self.is_spilled = false;
        SweepDue {
            collection: collection.map(Into::into),
            reason: self.reason.clone(),
            token: self.token,
            since_ms: self.since_ms,
        }
    }

    /// A sweep that began under `token` is done. Whether nothing more is due.
    pub(super) fn is_done(&mut self, token: u64) -> bool {
        if self.token != token || !self.may_begin() {
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
