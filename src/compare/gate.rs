//! Whether the other store may become the one that is read.
//!
//! A decision and nothing else: what was measured on the one hand, the limits on the other, a table
//! of rows as the answer. What was not measured does not hold. The defaults of the limits are those
//! that Qdrant publishes for a migration.

use std::time::Duration;

use super::window::{Spread, Summary};

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub queries_min: u64,
    /// How long the reads go back.
    pub age_min: Duration,
    pub top1_min: f64,
    pub overlap_min: f64,
    pub recall_mean_min: f64,
    pub recall_median_min: f64,
    pub recall_p5_min: f64,
    /// It has to be above this.
    pub spearman_above: f64,
    pub validation_age_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queries_min: 500,
            age_min: Duration::from_secs(3600),
            top1_min: 0.80,
            overlap_min: 0.70,
            recall_mean_min: 0.85,
            recall_median_min: 0.90,
            recall_p5_min: 0.60,
            spearman_above: 0.8,
            validation_age_max: Duration::from_secs(24 * 3600),
        }
    }
}

/// The last validation of the collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validation {
    pub passed: bool,
    /// How long ago it ended.
    pub age: Duration,
}

/// What a store says of the indexes of a collection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Indexes {
    Finished,
    Building,
    /// They are not built until something else happens.
    Waiting,
    Broken,
    /// It has no such collection.
    Missing,
    /// It does not say.
    Refused,
    Unknown,
}

impl Indexes {
    fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Building => "being built",
            Self::Waiting => "grey: it waits for a write or an optimisation",
            Self::Broken => "red",
            Self::Missing => "not there",
            Self::Refused => "not told",
            Self::Unknown => "in a state that is not known here",
        }
    }
}

/// All that the gate judges by.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'e> {
    pub summary: &'e Summary,
    /// At the read store and at the other. Where the read store has none there is nothing to compare
    /// by reading.
    pub points: [u64; 2],
    pub validation: Option<Validation>,
    /// At the read store and at the other.
    pub indexes: [Indexes; 2],
    /// How many marks wait for the other store, sweeps and dead letters included.
    pub lag: u64,
}

/// One condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Row {
    pub what: &'static str,
    pub needed: String,
    pub found: String,
    pub holds: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    pub fn new(evidence: &Evidence<'_>, limits: &Limits) -> Self {
        let mut rows = match evidence.points {
            [0, 0] => Vec::new(),
            [0, other] => vec![Row {
                what: "points of the other store",
                needed: "0, as the read store".to_owned(),
                found: other.to_string(),
                holds: false,
            }],
            [_, _] => of_reads(evidence.summary, limits),
        };
        let [one, other] = evidence.indexes;
        rows.extend([
            validated(evidence.validation, limits.validation_age_max),
            indexed("index of the read store", one),
            indexed("index of the other store", other),
            Row {
                what: "lag",
                needed: "0".to_owned(),
                found: evidence.lag.to_string(),
                holds: evidence.lag == 0,
            },
        ]);
        Self { rows }
    }

    /// Whether all rows hold.
    pub fn passes(&self) -> bool {
        self.rows.iter().all(|row| row.holds)
    }

    /// What is missing.
    pub fn missing(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.holds)
    }
}

fn of_reads(summary: &Summary, limits: &Limits) -> Vec<Row> {
    let mut rows = vec![
        Row {
            what: "queries",
            needed: format!("at least {}", limits.queries_min),
            found: summary.queries.to_string(),
            holds: summary.queries >= limits.queries_min,
        },
        Row {
            what: "window",
            needed: format!("at least {}", span(limits.age_min)),
            found: span(summary.age),
            holds: summary.age >= limits.age_min,
        },
    ];
    rows.extend(of_rows(summary, limits));
    rows.extend(of_recall(summary, limits));
    rows.push(of_order(summary, limits));
    rows
}

/// A single row is in no order: an application that only ever asks for the first has none to lose.
fn of_order(summary: &Summary, limits: &Limits) -> Row {
    let has_none = summary.queries > 0 && summary.lists == 0;
    let is_above = |found: f64| found > limits.spearman_above + ROUNDING;
    Row {
        what: "spearman",
        needed: format!("above {:.2}", limits.spearman_above),
        found: match summary.spearman {
            None if has_none => "none: no answer has two rows".to_owned(),
            found => told(found, |found| format!("{found:.4}")),
        },
        holds: summary.spearman.map_or(has_none, is_above),
    }
}

/// How far both stores give the same rows.
pub(super) fn of_rows(summary: &Summary, limits: &Limits) -> [Row; 2] {
    [
        percent("top-1 match", summary.top1, limits.top1_min),
        percent("overlap@10", summary.overlap, limits.overlap_min),
    ]
}

/// How much of what is right the other store finds.
fn of_recall(summary: &Summary, limits: &Limits) -> [Row; 3] {
    let recall = |of: fn(&Spread) -> f64| summary.recall.as_ref().map(of);
    let (mean, median) = (recall(|told| told.mean), recall(|told| told.median));
    [
        at_least("recall@10 mean", mean, limits.recall_mean_min),
        at_least("recall@10 median", median, limits.recall_median_min),
        at_least("recall@10 p5", recall(|told| told.p5), limits.recall_p5_min),
    ]
}

/// A mean of tenths is off by its last bits, and must not fail at its bound for them.
const ROUNDING: f64 = 1e-9;

fn at_least(what: &'static str, found: Option<f64>, min: f64) -> Row {
    Row {
        what,
        needed: format!("at least {min:.2}"),
        found: told(found, |found| format!("{found:.4}")),
        holds: found.is_some_and(|found| found >= min - ROUNDING),
    }
}

pub(super) fn percent(what: &'static str, found: Option<f64>, min: f64) -> Row {
    Row {
        needed: format!("at least {:.0}%", min * 100.0),
        found: told(found, |found| format!("{:.2}%", found * 100.0)),
        ..at_least(what, found, min)
    }
}

fn indexed(what: &'static str, found: Indexes) -> Row {
    Row {
        what,
        needed: Indexes::Finished.as_str().to_owned(),
        found: found.as_str().to_owned(),
        holds: found == Indexes::Finished,
    }
}

fn validated(last: Option<Validation>, age_max: Duration) -> Row {
    Row {
        what: "validation",
        needed: format!("passed within {}", span(age_max)),
        found: told(last, |last| {
            let word = if last.passed { "passed" } else { "failed" };
            format!("{word} {} ago", span(last.age))
        }),
        holds: last.is_some_and(|last| last.passed && last.age <= age_max),
    }
}

fn told<T>(found: Option<T>, tell: impl FnOnce(T) -> String) -> String {
    found.map_or_else(|| "none".to_owned(), tell)
}

/// To the second, rounded down: what falls short must not look as if it did not.
fn span(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Class, Sample, Window};

    const HOUR: Duration = Duration::from_secs(3600);

    /// Everything exactly at its bound.
    fn summary() -> Summary {
        let mut summary = Window::new(HOUR).summary(HOUR);
        summary.queries = 500;
        summary.age = HOUR;
        summary.top1 = Some(0.80);
        summary.overlap = Some(0.70);
        summary.spearman = Some(0.800_001);
        summary.recall = Some(Spread {
            count: 25,
            mean: 0.85,
            median: 0.90,
            p5: 0.60,
        });
        summary
    }

    fn evidence(summary: &Summary) -> Evidence<'_> {
        Evidence {
            summary,
            points: [3, 3],
            validation: Some(Validation {
                passed: true,
                age: 24 * HOUR,
            }),
            indexes: [Indexes::Finished; 2],
            lag: 0,
        }
    }

    fn table(evidence: &Evidence<'_>) -> Table {
        Table::new(evidence, &Limits::default())
    }

    #[test]
    fn everything_at_its_bound_passes() {
        let summary = summary();
        let table = table(&evidence(&summary));
        assert!(table.passes(), "{:?}", table.missing().collect::<Vec<_>>());
        assert_eq!(table.rows.len(), 12);
    }

    fn fails(what: &str, table: &Table, needed: &str, found: &str) {
        let missing: Vec<_> = table.missing().collect();
        let told: Vec<_> = missing
            .iter()
            .map(|row| (row.what, row.needed.as_str(), row.found.as_str()))
            .collect();
        assert_eq!(told, [(what, needed, found)]);
        assert!(!table.passes());
    }

    #[test]
    fn each_figure_just_short_of_its_bound_fails_alone() {
        let check = |change: fn(&mut Summary), what, needed, found| {
            let mut summary = summary();
            change(&mut summary);
            fails(what, &table(&evidence(&summary)), needed, found);
        };
        check(|of| of.queries = 499, "queries", "at least 500", "499");
        let short = |of: &mut Summary| of.age = HOUR - Duration::from_millis(1);
        check(short, "window", "at least 1h", "59m 59s");
        check(
            |of| of.top1 = Some(0.7999),
            "top-1 match",
            "at least 80%",
            "79.99%",
        );
        check(
            |of| of.overlap = Some(0.6999),
            "overlap@10",
            "at least 70%",
            "69.99%",
        );
        check(
            |of| of.spearman = Some(0.8),
            "spearman",
            "above 0.80",
            "0.8000",
        );
        check(
            |of| of.recall.as_mut().unwrap().mean = 0.8499,
            "recall@10 mean",
            "at least 0.85",
            "0.8499",
        );
        check(
            |of| of.recall.as_mut().unwrap().median = 0.8999,
            "recall@10 median",
            "at least 0.90",
            "0.8999",
        );
        check(
            |of| of.recall.as_mut().unwrap().p5 = 0.5999,
            "recall@10 p5",
            "at least 0.60",
            "0.5999",
        );
    }

    #[test]
    fn each_fact_that_is_not_so_fails_alone() {
        let check = |change: fn(&mut Evidence<'_>), what, needed, found| {
            let summary = summary();
            let mut evidence = evidence(&summary);
            change(&mut evidence);
            fails(what, &table(&evidence), needed, found);
        };
        check(|of| of.lag = 1, "lag", "0", "1");
        let (finished, built) = ("finished", "being built");
        let (one, other) = ("index of the read store", "index of the other store");
        let not_one = |of: &mut Evidence<'_>| of.indexes[0] = Indexes::Building;
        check(not_one, one, finished, built);
        check(
            |of| of.indexes[1] = Indexes::Building,
            other,
            finished,
            built,
        );
        check(
            |of| of.indexes[1] = Indexes::Missing,
            other,
            finished,
            "not there",
        );
        check(
            |of| of.indexes[1] = Indexes::Refused,
            other,
            finished,
            "not told",
        );
        check(|of| of.indexes[0] = Indexes::Broken, one, finished, "red");
        let grey = "grey: it waits for a write or an optimisation";
        check(|of| of.indexes[0] = Indexes::Waiting, one, finished, grey);
        let needed = "passed within 1day";
        check(|of| of.validation = None, "validation", needed, "none");
        let failed = |of: &mut Evidence<'_>| {
            of.validation = Some(Validation {
                passed: false,
                age: Duration::ZERO,
            });
        };
        check(failed, "validation", needed, "failed 0s ago");
        let old = |of: &mut Evidence<'_>| {
            of.validation = Some(Validation {
                passed: true,
                age: 24 * HOUR + Duration::from_secs(1),
            });
        };
        check(old, "validation", needed, "passed 1day 1s ago");
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        let empty = Window::new(HOUR).summary(HOUR);
        let table = table(&evidence(&empty));
        let missing: Vec<_> = table.missing().map(|row| row.what).collect();
        let measured = [
            "queries",
            "window",
            "top-1 match",
            "overlap@10",
            "recall@10 mean",
            "recall@10 median",
            "recall@10 p5",
            "spearman",
        ];
        assert_eq!(missing, measured);
    }

    #[test]
    fn where_only_single_rows_are_asked_for_no_order_is_missing() {
        let mut summary = summary();
        (summary.spearman, summary.lists) = (None, 0);
        let of = table(&evidence(&summary));
        assert!(of.passes(), "{:?}", of.missing().collect::<Vec<_>>());
        summary.lists = 1;
        fails(
            "spearman",
            &table(&evidence(&summary)),
            "above 0.80",
            "none",
        );
    }

    #[test]
    fn of_an_empty_collection_only_what_is_not_read_counts() {
        let summary = summary();
        let evidence = Evidence {
            points: [0, 0],
            ..evidence(&summary)
        };
        let rows = table(&evidence).rows;
        let told: Vec<_> = rows.iter().map(|row| (row.what, row.holds)).collect();
        let (one, other) = ("index of the read store", "index of the other store");
        let expected = ["validation", one, other, "lag"].map(|what| (what, true));
        assert_eq!(told, expected);
        let behind = Evidence { lag: 3, ..evidence };
        fails("lag", &table(&behind), "0", "3");
        let stray = Evidence {
            points: [0, 7],
            ..evidence
        };
        let what = "points of the other store";
        fails(what, &table(&stray), "0, as the read store", "7");
    }

    #[test]
    fn a_figure_that_is_no_number_does_not_hold() {
        let mut summary = summary();
        summary.overlap = Some(f64::NAN);
        summary.spearman = Some(f64::NAN);
        assert_eq!(table(&evidence(&summary)).missing().count(), 2);
    }

    #[test]
    fn a_mean_of_tenths_at_its_bound_holds() {
        let mut window = Window::new(2 * HOUR);
        for read in 0..1000_u32 {
            let overlap = if read % 2 == 0 { 0.9 } else { 0.5 };
            let sample = Sample {
                class: Class::Noise,
                top1: true,
                overlap,
                spearman: Some(0.9),
                is_list: true,
                own: Some(1.0),
                recall: Some(0.9),
            };
            window.add(Duration::from_secs(4) * read, sample);
        }
        let summary = window.summary(Duration::from_secs(4000));
        let table = table(&evidence(&summary));
        assert!(table.passes(), "{:?}", table.missing().collect::<Vec<_>>());
    }
}
