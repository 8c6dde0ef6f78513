//! What the log is told of a difference. Faults are warned of, a line a second at most; the lines
//! that were left out are counted in the next.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::round::Judged;
use crate::compare::{Answers, Class, Difference};
use crate::model::Operation;

const A_LINE_EVERY: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Voice(Mutex<Said>);

#[derive(Default)]
struct Said {
    last: Option<Instant>,
    unsaid: u64,
}

impl Voice {
    pub(super) fn say(&self, collection: &str, operation: Operation, of: &Judged) {
        let (operation, class) = (operation.as_str(), of.class.as_str());
        let kind = of.seen.apart().kind().as_str();
        match of.class {
            Class::Equal | Class::Tie => {}
            Class::Lagging | Class::Noise | Class::Short | Class::Index => {
                let overlap = overlap(&of.seen);
                debug!(
                    collection,
                    operation, class, kind, "search result mismatch: {overlap}"
                );
            }
            Class::Real => {
                if let Some(unsaid) = self.may_speak(Instant::now()) {
                    let overlap = overlap(&of.seen);
                    warn!(
                        collection,
                        operation, class, kind, unsaid, "search result mismatch: {overlap}"
                    );
                }
            }
        }
    }

    /// How many lines were left out since the last, if there may be another now.
    fn may_speak(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock();
        if said.last.is_some_and(|last| now - last < A_LINE_EVERY) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

/// `overlap=8/10 (80.0%)`: of the rows of the longer answer, those that both have; of two counts, the
/// smaller of the larger.
pub(super) fn overlap(seen: &Difference) -> String {
    let apart = seen.apart();
    let (both, all) = match &seen.answers {
        Answers::Number { one, other } => (*one.min(other) as f64, *one.max(other) as f64),
        Answers::Points(_) | Answers::Groups(_) | Answers::Facet(_) | Answers::Failed { .. } => {
            let rows = apart.rows.max(1) as f64;
            ((apart.overlap * rows).round(), rows)
        }
    };
    format!("overlap={both:.0}/{all:.0} ({:.1}%)", apart.overlap * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Questions, Reply, compare};

    fn told(operation: Operation, one: &str, other: &str) -> String {
        let questions = Questions::read(operation, br#"{"vector":[1.0],"limit":10}"#).unwrap();
        let reply = |body: &'static str| Reply {
            status: 200,
            body: body.as_bytes(),
        };
        let leak = |text: &str| &*Box::leak(text.to_owned().into_boxed_str());
        let found = compare(&questions, reply(leak(one)), reply(leak(other)));
        overlap(found.first().unwrap())
    }

    fn hits(ids: impl Iterator<Item = u64>) -> String {
        let hit = |id: u64| format!(r#"{{"id":{id},"score":{}}}"#, 1.0 / (id as f64 + 1.0));
        let hits: Vec<String> = ids.map(hit).collect();
        format!(r#"{{"result":[{}]}}"#, hits.join(","))
    }

    #[test]
    fn the_line_says_how_many_of_how_many() {
        let search = Operation::SearchPoints;
        let eight = hits((0..8).chain(20..22));
        assert_eq!(told(search, &hits(0..10), &eight), "overlap=8/10 (80.0%)");
        assert_eq!(
            told(search, &hits(0..3), &hits(0..2)),
            "overlap=2/3 (66.7%)"
        );
        let count = |count: u64| format!(r#"{{"result":{{"count":{count}}}}}"#);
        let counts = told(Operation::CountPoints, &count(41), &count(42));
        assert_eq!(counts, "overlap=41/42 (97.6%)");
        assert_eq!(told(search, &hits(0..3), "nothing"), "overlap=0/1 (0.0%)");
    }

    #[tokio::test(start_paused = true)]
    async fn there_is_a_line_a_second_and_none_is_forgotten() {
        let voice = Voice::default();
        assert_eq!(voice.may_speak(Instant::now()), Some(0));
        for _ in 0..3 {
            assert_eq!(voice.may_speak(Instant::now()), None);
        }
        tokio::time::advance(A_LINE_EVERY).await;
        assert_eq!(voice.may_speak(Instant::now()), Some(3));
        tokio::time::advance(A_LINE_EVERY).await;
        assert_eq!(voice.may_speak(Instant::now()), Some(0));
    }
}
