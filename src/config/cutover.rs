//! When the other store may become the one that is read, and when it is to be left again.

use std::time::Duration;

use super::mistake::Mistake;
use super::read::Section;
use super::settings::Settings;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What the gate before `cutover` asks for, and what is kept watch over behind it.
#[derive(Clone, Debug)]
pub struct Cutover {
    /// Whether the rows below have to hold before the authority moves to the secondary.
    pub gate: bool,
    /// Reads that were compared, of each collection.
    pub queries: u64,
    /// How far they have to go back.
    pub window: Duration,
    pub top1: f64,
    pub overlap: f64,
    pub recall_mean: f64,
    pub recall_median: f64,
    pub recall_p5: f64,
    /// It has to be above this.
    pub spearman: f64,
    pub validated_within: Duration,
    /// Whether the mode goes back by itself where the secondary does not do.
    pub guard: bool,
    /// The reads that the guard judges by: those of this time,
    pub guard_window: Duration,
    /// and at least so many.
    pub guard_queries: u64,
    /// How often it looks.
    pub guard_every: Duration,
    /// The share of reads that may fail.
    pub guard_errors: f64,
    /// How many times slower than the old store the new one may be.
    pub guard_latency: f64,
}

pub(super) fn cutover(mut section: Section<'_, '_>) -> Cutover {
    Cutover {
        gate: section.switch("gate"),
        queries: section.whole("queries", "of reads", 0..=1_000_000_000),
        window: section.duration("window", Duration::ZERO..=30 * DAY),
        top1: section.share("top1"),
        overlap: section.share("overlap"),
        recall_mean: section.share("recall_mean"),
        recall_median: section.share("recall_median"),
        recall_p5: section.share("recall_p5"),
        spearman: section.share("spearman"),
        validated_within: section.duration("validated_within", Duration::from_secs(1)..=365 * DAY),
        guard: section.switch("guard"),
        guard_window: section.duration("guard_window", Duration::from_secs(1)..=DAY),
        guard_queries: section.whole("guard_queries", "of reads", 1..=1_000_000_000),
        guard_every: section.duration("guard_every", Duration::from_millis(100)..=DAY),
        guard_errors: section.share("guard_errors"),
        guard_latency: section.number("guard_latency", 1.0..=1000.0),
    }
}

/// What could never hold.
pub(super) fn check(settings: &Settings, is_right: impl Fn(&[&str]) -> bool) -> Vec<Mistake> {
    let (of, shadow) = (&settings.cutover, &settings.shadow);
    let mut found = Vec::new();
    if settings.secondary.is_none() {
        return found;
    }
    let mut add = |key: &str, problem: String, cure: &str| {
        let origin = settings.given.get(key).cloned();
        found.push(Mistake::new(key, problem).origin(origin).hint(cure));
    };
    let windows = ["cutover.window", "shadow.window", "cutover.gate"];
    if of.gate && of.window > shadow.window && is_right(&windows) {
        let problem = "goes further back than what shadow.window keeps, so the gate would never \
                       open";
        let cure = "make it shorter, or shadow.window longer";
        add("cutover.window", problem.to_owned(), cure);
    }
    let compares = shadow.cutover && shadow.sample > 0.0;
    let keys = ["cutover.guard", "shadow.cutover", "shadow.sample"];
    if of.guard && !compares && is_right(&keys) {
        let lacking = match shadow.cutover {
            true => "shadow.sample is 0",
            false => "shadow.cutover is false",
        };
        let problem = format!("judges by reads that are compared in cutover, and {lacking}");
        let cure = "set shadow.cutover = true and shadow.sample above 0, or guard = false";
        add("cutover.guard", problem, cure);
    }
    found
}
