//! The handles of shadow reads: how far the two stores agree, and what was not compared.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{Counter, ReasonLabel, histogram, names, put, put_with};

/// Where answers of ten rows fall, and finer at the top.
const RATIO_BUCKETS: [f64; 14] = [
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0,
];

/// The words of the classes of differences.
const CLASSES: [&str; 7] = ["equal", "tie", "lagging", "noise", "short", "index", "real"];

/// Why a sampled read was not compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Uncompared {
    /// It, or an answer to it, is longer than is kept.
    TooLarge,
    /// An answer came packed in a way that is not known here.
    Packed,
    /// The follower did not answer in time, or not with sense.
    FollowerSilent,
    /// The authority did not, when it was asked again, or keeps the marks and does not tell them.
    AuthoritySilent,
    /// Other modes came into force meanwhile.
    ModeChanged,
    /// It was being compared when the sidecar ended, or a bug ended it.
    GivenUp,
}

impl Uncompared {
    pub const ALL: [Self; 6] = [
        Self::TooLarge,
        Self::Packed,
        Self::FollowerSilent,
        Self::AuthoritySilent,
        Self::ModeChanged,
        Self::GivenUp,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::Packed => "packed",
            Self::FollowerSilent => "follower_silent",
            Self::AuthoritySilent => "authority_silent",
            Self::ModeChanged => "mode_changed",
            Self::GivenUp => "given_up",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SideLabel {
    side: &'static str,
}

#[derive(Clone)]
pub struct ShadowMetrics {
    reads: Family<ClassLabel, Counter>,
    pub overlap: Histogram,
    pub own_overlap: Histogram,
    pub rbo: Histogram,
    seconds: Family<SideLabel, Histogram>,
    pub dropped: Counter,
    skipped: Family<ReasonLabel, Counter>,
    pub marked: Counter,
}

impl ShadowMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let ratio = || Histogram::new(RATIO_BUCKETS);
        let metrics = Self {
            reads: put(registry, &names::SHADOW_READS),
            overlap: put_with(registry, &names::SHADOW_OVERLAP, ratio()),
            own_overlap: put_with(registry, &names::SHADOW_OWN, ratio()),
            rbo: put_with(registry, &names::SHADOW_RBO, ratio()),
            seconds: put_with(
                registry,
                &names::SHADOW_SECONDS,
                Family::new_with_constructor(histogram),
            ),
            dropped: put(registry, &names::SHADOW_DROPPED),
            skipped: put(registry, &names::SHADOW_SKIPPED),
            marked: put(registry, &names::SHADOW_MARKED),
        };
        // A family shows nothing until it has a member, and an alert needs a zero to start from.
        for class in CLASSES {
            metrics.count(class).inc_by(0);
        }
        for reason in Uncompared::ALL {
            metrics.count_skipped(reason).inc_by(0);
        }
        for side in ["authority", "follower"] {
            drop(metrics.seconds.get_or_create(&SideLabel { side }));
        }
        metrics
    }

    /// `class` is the word of a class of differences.
    pub fn compared(&self, class: &'static str) {
        self.count(class).inc();
    }

    pub fn skipped(&self, reason: Uncompared) {
        self.count_skipped(reason).inc();
    }

    pub fn took(&self, authority: Duration, follower: Duration) {
        for (side, took) in [("authority", authority), ("follower", follower)] {
            let seconds = self.seconds.get_or_create(&SideLabel { side });
            seconds.observe(took.as_secs_f64());
        }
    }

    fn count(&self, class: &'static str) -> Counter {
        self.reads.get_or_create_owned(&ClassLabel { class })
    }

    fn count_skipped(&self, reason: Uncompared) -> Counter {
        let reason = reason.as_str();
        self.skipped.get_or_create_owned(&ReasonLabel { reason })
    }
}
