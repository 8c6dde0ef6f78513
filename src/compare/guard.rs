//! Whether the store that is read since a cutover is to be left again.
//!
//! The gate, looked at from behind: what was not measured is no reason to go back, and neither is
//! what was measured too seldom to say anything. The store that is read is the new one here, the
//! other is the old one. So how much the other store finds of the read store's exact answer is not
//! asked here: that is the recall of the store that would be gone back to. And where the other store
//! itself often has no answer, nothing is held against it: its figures are those of its best moments.

use std::time::Duration;

use super::gate::{Limits, Row, of_rows, percent};
use super::window::Summary;

/// Latencies that a p99 is judged by: the slowest one of fewer would be it.
const LATENCIES_MIN: u64 = 100;
/// A store that is faster than this counts as taking so long: three times next to nothing is no
/// reason to go back.
const NOTICED: Duration = Duration::from_millis(5);

/// What has to be kept within.
#[derive(Clone, Debug, PartialEq)]
pub struct Budgets {
    /// How far both stores have to agree.
    pub agreement: Limits,
    /// Fewer reads than these say nothing.
    pub queries_min: u64,
    /// The share of reads that may fail.
    pub errors_max: f64,
    /// How many times slower than the other store the read store may be.
    pub latency_max: f64,
}

/// What was seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched<'w> {
    /// Of one collection.
    pub summary: Option<&'w Summary>,
    /// Reads, and how many of them failed.
    pub reads: u64,
    pub failed: u64,
    /// Those of the failed that were not there at the last look: what was over by then is not held
    /// against the store a second time.
    pub fresh: u64,
    /// The p99 of the read store and of the other one, and of how many reads.
    pub p99: [Duration; 2],
    pub timed: u64,
    /// Reads that the other store was asked too, and those that it refused or was silent about.
    pub asked: u64,
    pub unanswered: u64,
}

impl Watched<'_> {
    /// Whether there is enough of the other store to hold the read store against.
    fn has_other(&self, budgets: &Budgets) -> bool {
        self.unanswered as f64 <= self.asked as f64 * budgets.errors_max
    }
}

/// The rows that do not hold.
pub fn breaches(seen: &Watched<'_>, budgets: &Budgets) -> Vec<Row> {
    let mut rows = Vec::new();
    let limits = &budgets.agreement;
    let has_other = seen.has_other(budgets);
    let summary = seen.summary.filter(|_| has_other);
    if let Some(summary) = summary.filter(|of| of.queries >= budgets.queries_min) {
        rows.extend(of_rows(summary, limits));
    }
    if seen.reads >= budgets.queries_min.max(1) && seen.fresh > 0 {
        let share = seen.failed as f64 / seen.reads as f64;
        let row = percent("reads that fail", Some(share), budgets.errors_max);
        rows.push(Row {
            needed: format!("at most {}%", budgets.errors_max * 100.0),
            holds: share <= budgets.errors_max,
            ..row
        });
    }
    if has_other && seen.timed >= budgets.queries_min.max(LATENCIES_MIN) {
        let [own, other] = seen.p99;
        let most = other.max(NOTICED).mul_f64(budgets.latency_max);
        rows.push(Row {
            what: "p99",
            needed: format!("at most {}", millis(most)),
            found: millis(own),
            holds: own <= most,
        });
    }
    rows.retain(|row| !row.holds);
    rows
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Spread, Window};

    const HOUR: Duration = Duration::from_secs(3600);

    fn budgets() -> Budgets {
        Budgets {
            agreement: Limits::default(),
            queries_min: 50,
            errors_max: 0.01,
            latency_max: 3.0,
        }
    }

    /// Everything exactly at its bound.
    fn summary() -> Summary {
        let mut summary = Window::new(HOUR).summary(HOUR);
        summary.queries = 50;
        summary.top1 = Some(0.80);
        summary.overlap = Some(0.70);
        summary
    }

    fn missed(seen: &Watched<'_>) -> Vec<&'static str> {
        let rows = breaches(seen, &budgets());
        rows.iter().map(|row| row.what).collect()
    }

    fn agreeing(change: impl FnOnce(&mut Summary)) -> Vec<&'static str> {
        let mut summary = summary();
        change(&mut summary);
        missed(&Watched {
            summary: Some(&summary),
            ..Watched::default()
        })
    }

    #[test]
    fn each_measure_of_agreement_below_its_bound_is_a_breach() {
        assert_eq!(agreeing(|_| ()), [""; 0]);
        assert_eq!(agreeing(|of| of.top1 = Some(0.79)), ["top-1 match"]);
        assert_eq!(agreeing(|of| of.overlap = Some(0.69)), ["overlap@10"]);
    }

    #[test]
    fn the_recall_of_the_store_that_was_left_is_no_reason_to_go_back_to_it() {
        let found_nothing = |of: &mut Summary| {
            of.recall = Some(Spread {
                count: 1000,
                mean: 0.0,
                median: 0.0,
                p5: 0.0,
            });
        };
        assert_eq!(agreeing(found_nothing), [""; 0]);
    }

    #[test]
    fn what_was_not_measured_or_too_seldom_is_none() {
        assert_eq!(missed(&Watched::default()), [""; 0]);
        let few = |of: &mut Summary| (of.queries, of.top1, of.overlap) = (49, Some(0.0), Some(0.0));
        assert_eq!(agreeing(few), [""; 0]);
        let failing = Watched {
            reads: 49,
            failed: 49,
            fresh: 49,
            ..Watched::default()
        };
        assert_eq!(missed(&failing), [""; 0]);
    }

    #[test]
    fn more_failures_than_their_share_are_a_breach() {
        let seen = |failed| Watched {
            reads: 200,
            failed,
            fresh: 1,
            ..Watched::default()
        };
        let over = Watched {
            fresh: 0,
            ..seen(200)
        };
        assert_eq!(missed(&over), [""; 0]);
        assert_eq!(missed(&seen(2)), [""; 0]);
        assert_eq!(missed(&seen(3)), ["reads that fail"]);
        let rows = breaches(&seen(3), &budgets());
        let told: Vec<_> = rows.iter().map(|row| (&*row.needed, &*row.found)).collect();
        assert_eq!(told, [("at most 1%", "1.50%")]);
    }

    #[test]
    fn nothing_is_held_against_a_store_that_often_has_no_answer() {
        let mut summary = summary();
        summary.top1 = Some(0.0);
        let seen = |unanswered| Watched {
            summary: Some(&summary),
            reads: 200,
            failed: 200,
            fresh: 1,
            p99: [30, 1].map(Duration::from_millis),
            timed: 200,
            asked: 200,
            unanswered,
        };
        let all = ["top-1 match", "reads that fail", "p99"];
        assert_eq!(missed(&seen(2)), all);
        assert_eq!(missed(&seen(3)), ["reads that fail"]);
    }

    #[test]
    fn a_slow_read_store_is_a_breach_unless_nobody_would_notice() {
        let seen = |own, other, timed| Watched {
            p99: [own, other].map(Duration::from_micros),
            timed,
            ..Watched::default()
        };
        assert_eq!(missed(&seen(30_000, 10_000, 100)), [""; 0]);
        assert_eq!(missed(&seen(30_001, 10_000, 100)), ["p99"]);
        assert_eq!(missed(&seen(30_001, 10_000, 99)), [""; 0]);
        assert_eq!(missed(&seen(2_000, 500, 100)), [""; 0]);
        assert_eq!(missed(&seen(15_001, 500, 100)), ["p99"]);
    }
}
