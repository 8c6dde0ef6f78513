//! Two answers side by side, row by row: for the worst reads, and for whoever asks both stores now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;

use super::round::{Judged, Pair};
use super::side::Question;
use super::worst::Payloads;
use super::{Shadow, Shelf};
use crate::compare::{Answers, Class, Difference, Hit, Order, Summary, Value};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::metrics::Uncompared;
use crate::mode::Snapshot;
use crate::model::{Operation, PointKey, Role, StoreKind};
use crate::store::Statement;

/// What both stores said to one question now.
pub struct Facing {
    /// The collection itself.
    pub collection: Box<str>,
    pub authority: Role,
    pub kinds: [StoreKind; 2],
    pub status: [u16; 2],
    pub took: [Duration; 2],
    /// What a side that is in PostgreSQL asked of it.
    pub statements: [Option<Vec<Statement>>; 2],
    /// The marks of the collection that wait.
    pub waiting: u64,
    pub questions: Vec<Faced>,
    /// What they said word by word, where that may be shown.
    pub payloads: Option<Payloads>,
}

pub struct Faced {
    pub seen: Difference,
    pub class: Class,
    /// The authority's overlap with its own exact answer, and the follower's with that.
    pub own: Option<f64>,
    pub recall: Option<f64>,
    pub dirty: HashSet<PointKey>,
    /// Points that are not the same at both stores, and that nothing has marked.
    pub faulty: Vec<PointKey>,
}

/// One row of two answers.
#[derive(Clone, Debug, PartialEq)]
pub struct FacedRow {
    /// An id, or a value that is counted; none where values are not shown.
    pub name: Option<String>,
    /// The value that the group has, of rows in groups.
    pub group: Option<String>,
    /// Its place, from 1, and its score.
    pub one: Option<(usize, f64)>,
    pub other: Option<(usize, f64)>,
    pub changed: bool,
    pub dirty: bool,
}

impl Shadow {
    /// What is known of each collection.
    pub fn shelves(&self) -> Vec<Shelf> {
        self.books.shelves()
    }

    /// The searches of the window of a collection, by its own name, while this store was the
    /// authority. What was read longer ago than `within` is of another collection of this name, and
    /// left out. `None`: none was compared.
    pub fn summary(
        &self,
        collection: &str,
        authority: Role,
        within: Option<Duration>,
    ) -> Option<Summary> {
        self.books.summary(collection, authority, within)
    }

    /// Other modes are in force. Of what is not followed any more nothing counts when it is
    /// followed again: nobody knows what was written in between.
    pub fn settle(&self, snapshot: &Snapshot) {
        let is_followed = |name: &str| snapshot.plan(Some(name)).follower.is_some();
        self.books.retain(is_followed);
    }

    /// Whether what was asked and answered may be shown word by word.
    pub fn shows_payloads(&self) -> bool {
        self.settings.keep_payloads
    }

    pub fn settings(&self) -> &crate::config::Shadow {
        &self.settings
    }

    /// Asks both stores now, in whatever mode. Nothing is marked by it, nor counted.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn face(
        &self,
        collection: &str,
        (operation, method, target): (Operation, Method, PathAndQuery),
        body: Bytes,
    ) -> Result<Facing> {
        let question = Question {
            operation,
            method,
            target,
            body,
        };
        let role = self.router.snapshot().plan(None).authority_role;
        let mirror = self.mirror(role).ok_or_else(lacks)?;
        let real = mirror.real_name(collection).await?;
        let plan = Arc::clone(self.router.snapshot().plan(Some(&real)));
        let role = plan.authority_role;
        let mirror = self.mirror(role).ok_or_else(lacks)?;
        let follower = self.router.stores().get(role.other()).ok_or_else(lacks)?;
        let pair = Pair {
            authority: &plan.authority,
            follower,
            mirror,
            real: &real,
            patience: self.settings.timeout,
        };
        let exact = Pair::exact_form(&question);
        let answers = pair.ask(&question, exact.as_ref()).await.map_err(silent)?;
        let own = || self.own(&real, role);
        let judged = pair.judge(&question, &answers, own, &HashSet::new()).await;
        let questions = judged
            .map_err(silent)?
            .into_iter()
            .map(Faced::from)
            .collect();
        let payloads = self.settings.keep_payloads.then(|| Payloads {
            question: question.body.clone(),
            one: answers.one.body.clone(),
            other: answers.other.body.clone(),
        });
        let statements = pair.statements(&question).await;
        Ok(Facing {
            statements,
            authority: role,
            kinds: pair.kinds(),
            status: [answers.one.status, answers.other.status],
            took: [answers.one.took, answers.other.took],
            waiting: pair.lag(&[]).await?.waiting,
            questions,
            payloads,
            collection: real.clone(),
        })
    }
}

impl From<Judged> for Faced {
    fn from(of: Judged) -> Self {
        Self {
            own: of.sample.and_then(|sample| sample.own),
            recall: of.sample.and_then(|sample| sample.recall),
            seen: of.seen,
            class: of.class,
            dirty: of.dirty,
            faulty: of.faulty,
        }
    }
}

fn lacks() -> Error {
    let text = "there is no second store to compare with";
    Error::new(ErrorKind::Conflict, Origin::Client, Retry::Never, text)
}

fn silent(reason: Uncompared) -> Error {
    let text = match reason {
        Uncompared::FollowerSilent => "the follower did not answer in time",
        Uncompared::AuthoritySilent => "the authority did not answer in time",
        Uncompared::TooLarge => "an answer is longer than is compared",
        Uncompared::Packed | Uncompared::ModeChanged | Uncompared::GivenUp => {
            "the answers could not be compared"
        }
    };
    Error::new(ErrorKind::Unavailable, Origin::Proxy, Retry::Safe, text)
}

/// The rows of both answers in the order of the authority's, then what only the follower has.
/// Values of payloads are left out unless `shows_values`: what is counted, what groups by, and what
/// orders.
pub fn rows(seen: &Difference, dirty: &HashSet<PointKey>, shows_values: bool) -> Vec<FacedRow> {
    let by_value = seen.asked.order == Order::ByValue;
    let scored = shows_values || !by_value;
    let score = |score: f64| if scored { score } else { f64::NAN };
    match &seen.answers {
        Answers::Points(points) => {
            let changed: HashSet<&PointKey> = points.changed.iter().collect();
            let row = |id: &PointKey| FacedRow {
                name: Some(id.to_string()),
                changed: changed.contains(id),
                dirty: dirty.contains(id),
                ..FacedRow::NONE
            };
            aligned(&points.lists.one, &points.lists.other, row, score)
        }
        Answers::Groups(groups) => {
            let changed: HashSet<&PointKey> = groups.changed.iter().collect();
            let flat = |groups: &[crate::compare::Group]| -> Vec<Hit<(Value, PointKey)>> {
                let rows = groups.iter().flat_map(|group| {
                    let hits = group.hits.iter();
                    hits.map(|hit| Hit {
                        id: (group.id.clone(), hit.id),
                        score: hit.score,
                    })
                });
                rows.collect()
            };
            let row = |(group, id): &(Value, PointKey)| FacedRow {
                name: Some(id.to_string()),
                group: shows_values.then(|| text(group)),
                changed: changed.contains(id),
                dirty: dirty.contains(id),
                ..FacedRow::NONE
            };
            aligned(&flat(&groups.one), &flat(&groups.other), row, score)
        }
        Answers::Facet(lists) => {
            let row = |value: &Value| FacedRow {
                name: shows_values.then(|| text(value)),
                ..FacedRow::NONE
            };
            // Counts are no values.
            aligned(&lists.one, &lists.other, row, |count| count)
        }
        Answers::Number { one, other } => vec![FacedRow {
            one: Some((1, *one as f64)),
            other: Some((1, *other as f64)),
            ..FacedRow::NONE
        }],
        Answers::Failed { .. } => Vec::new(),
    }
}

impl FacedRow {
    const NONE: Self = Self {
        name: None,
        group: None,
        one: None,
        other: None,
        changed: false,
        dirty: false,
    };
}

fn aligned<K: Clone + Eq + std::hash::Hash>(
    one: &[Hit<K>],
    other: &[Hit<K>],
    row: impl Fn(&K) -> FacedRow,
    score: impl Fn(f64) -> f64,
) -> Vec<FacedRow> {
    // An id that comes twice is a row of its own each time.
    let mut places: HashMap<&K, Vec<(usize, f64)>> = HashMap::new();
    for (place, hit) in other.iter().enumerate().rev() {
        let places = places.entry(&hit.id).or_default();
        places.push((place + 1, score(hit.score)));
    }
    let mut rows: Vec<FacedRow> = Vec::with_capacity(one.len());
    for (place, hit) in one.iter().enumerate() {
        rows.push(FacedRow {
            one: Some((place + 1, score(hit.score))),
            other: places.get_mut(&hit.id).and_then(Vec::pop),
            ..row(&hit.id)
        });
    }
    let left = places.into_iter().flat_map(|(id, places)| {
        let places = places.into_iter();
        places.map(move |place| (place, id))
    });
    let mut left: Vec<_> = left.collect();
    left.sort_by_key(|((place, _), _)| *place);
    rows.extend(left.into_iter().map(|(place, id)| FacedRow {
        other: Some(place),
        ..row(id)
    }));
    rows
}

fn text(value: &Value) -> String {
    match value {
        Value::Bool(told) => told.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Text(text) | Value::Other(text) => text.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Questions, Reply, compare};

    #[test]
    fn rows_stand_side_by_side_by_id() {
        let questions = Questions::read(Operation::SearchPoints, br#"{"vector":[1.0]}"#).unwrap();
        let reply = |body: &'static str| Reply {
            status: 200,
            body: body.as_bytes(),
        };
        let one = r#"{"result":[{"id":1,"score":0.9},{"id":2,"score":0.8},{"id":3,"score":0.7}]}"#;
        let other =
            r#"{"result":[{"id":9,"score":0.95},{"id":1,"score":0.9},{"id":3,"score":0.5}]}"#;
        let found = compare(&questions, reply(one), reply(other));
        let dirty = HashSet::from([PointKey::Number(9)]);
        let told = rows(found.first().unwrap(), &dirty, false);
        let told: Vec<_> = told
            .iter()
            .map(|row| (row.name.as_deref().unwrap(), row.one, row.other, row.dirty))
            .collect();
        let wanted = [
            ("1", Some((1, 0.9)), Some((2, 0.9)), false),
            ("2", Some((2, 0.8)), None, false),
            ("3", Some((3, 0.7)), Some((3, 0.5)), false),
            ("9", None, Some((1, 0.95)), true),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn values_of_payloads_are_not_among_the_rows_unless_allowed() {
        let questions = Questions::read(Operation::Facet, br#"{"key":"user"}"#).unwrap();
        let body = br#"{"result":{"hits":[{"value":"alice","count":3}]}}"#;
        let reply = Reply { status: 200, body };
        let found = compare(&questions, reply, reply);
        let told = |shows| rows(found.first().unwrap(), &HashSet::new(), shows);
        let names = |shows| told(shows).first().unwrap().name.clone();
        assert_eq!(names(false), None);
        assert_eq!(names(true), Some("alice".to_owned()));
        assert_eq!(told(false).first().unwrap().one, Some((1, 3.0)));
    }
}
