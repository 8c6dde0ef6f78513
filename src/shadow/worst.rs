//! The worst reads of a collection, kept to be looked at side by side.
//!
//! Kept are the ids, the scores and the order of both answers, which is what they were judged by,
//! and of the question its shape. What was asked and answered word by word is kept only where the
//! settings allow it.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::side::Question;
use crate::compare::{Class, Difference};
use crate::model::{Operation, PointKey};

/// A longer question has no shape here, and question and answers are kept word by word only where
/// they are no longer together.
const KEPT_BYTES_MAX: usize = 64 * 1024;
/// What the worst of one collection may take together.
const ALL_BYTES_MAX: usize = 512 * 1024;
/// About what a row takes of an answer, and what a read does beside its rows.
const ROW_BYTES: usize = 64;
const READ_BYTES: usize = 512;

/// What was asked and answered, word by word.
#[derive(Clone, Debug)]
pub struct Payloads {
    pub question: Bytes,
    pub one: Bytes,
    pub other: Bytes,
}

/// One of the worst reads.
#[derive(Clone, Debug)]
pub struct Worst {
    /// When it was seen last.
    pub at: String,
    pub operation: Operation,
    /// Which question of a batch.
    pub class: Class,
    pub seen: Difference,
    pub dirty: HashSet<PointKey>,
    pub took: [Duration; 2],
    /// How often this very question was among the worst.
    pub times: u64,
    /// The question without its values.
    pub shape: Value,
    pub payloads: Option<Payloads>,
    pub(super) key: u64,
}

impl Worst {
    /// Whether a difference of this class is kept at all.
    pub(super) fn is_kept(class: Class) -> bool {
        match class {
            Class::Equal | Class::Tie => false,
            Class::Lagging | Class::Noise | Class::Short | Class::Index | Class::Real => true,
        }
    }

    pub(super) fn key(question: &Question, index: usize) -> u64 {
        let mut hasher = DefaultHasher::new();
        question.target.as_str().hash(&mut hasher);
        question.body.hash(&mut hasher);
        index.hash(&mut hasher);
        hasher.finish()
    }

    /// From the gravest class down, and in each from the least overlap up.
    fn rank(&self) -> (Class, f64) {
        (self.class, 1.0 - self.seen.apart().overlap)
    }

    /// About what it takes in memory.
    fn bytes(&self) -> usize {
        let rows = self.seen.apart().rows * 2 + self.dirty.len();
        let payloads = self.payloads.as_ref().map_or(0, Payloads::bytes);
        READ_BYTES + rows * ROW_BYTES + payloads
    }

    fn is_worse(&self, other: &Self) -> bool {
        let ((class, miss), (other_class, other_miss)) = (self.rank(), other.rank());
        class > other_class || (class == other_class && miss >= other_miss)
    }
}

impl Payloads {
    pub(super) fn kept(&self) -> Option<Self> {
        (self.bytes() <= KEPT_BYTES_MAX).then(|| self.clone())
    }

    fn bytes(&self) -> usize {
        let all = [&self.question, &self.one, &self.other];
        all.into_iter().map(Bytes::len).sum()
    }
}

/// Puts one among the worst, the worst first, of which there are at most so many. A question that
/// is among them already takes its own place.
pub(super) fn keep(all: &mut Vec<Worst>, mut one: Worst, most: usize) {
    if let Some(at) = all.iter().position(|kept| kept.key == one.key) {
        one.times += all.remove(at).times;
    }
    // The newer of equals stands before the older.
    let place = all.iter().position(|kept| one.is_worse(kept));
    all.insert(place.unwrap_or(all.len()), one);
    let mut bytes = 0;
    let fits = all.iter().take_while(|kept| {
        bytes += kept.bytes();
        bytes <= ALL_BYTES_MAX
    });
    let fits = fits.count();
    all.truncate(most.min(fits));
}

/// A question without its values: names of fields, kinds of values, how many numbers.
pub(super) fn shape(body: &[u8]) -> Value {
    if body.is_empty() || body.len() > KEPT_BYTES_MAX {
        return Value::Null;
    }
    serde_json::from_slice(body).map_or(Value::Null, |body: Value| outline(&body, ""))
}

/// What these name is no value of anybody's: fields, vectors, collections, and how to search.
const NAMES: [&str; 8] = [
    "key",
    "using",
    "group_by",
    "order_by",
    "fusion",
    "strategy",
    "direction",
    "limit",
];

fn outline(value: &Value, under: &str) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(name, value)| (name.clone(), outline(value, name)));
            Value::Object(fields.collect())
        }
        Value::Array(all) if all.iter().all(Value::is_number) && !all.is_empty() => {
            json!(format!("{} numbers", all.len()))
        }
        Value::Array(all) => all.iter().map(|value| outline(value, under)).collect(),
        Value::Bool(_) | Value::Null => value.clone(),
        Value::String(_) | Value::Number(_) if NAMES.contains(&under) => value.clone(),
        Value::String(_) => json!("a text"),
        Value::Number(_) => json!("a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{Answers, Questions};

    fn worst(key: u64, class: Class, one: u64, other: u64) -> Worst {
        let questions = Questions::read(Operation::CountPoints, b"{}").unwrap();
        Worst {
            at: key.to_string(),
            operation: Operation::CountPoints,
            class,
            seen: Difference {
                index: 0,
                asked: *questions.each().first().unwrap(),
                answers: Answers::Number { one, other },
            },
            dirty: HashSet::new(),
            took: [Duration::ZERO; 2],
            times: 1,
            shape: Value::Null,
            payloads: None,
            key,
        }
    }

    fn kept(all: &[Worst]) -> Vec<(u64, u64)> {
        all.iter().map(|of| (of.key, of.times)).collect()
    }

    #[test]
    fn the_worst_stay_and_each_question_once() {
        let mut all = Vec::new();
        keep(&mut all, worst(1, Class::Noise, 10, 1), 3);
        keep(&mut all, worst(2, Class::Real, 10, 9), 3);
        keep(&mut all, worst(3, Class::Real, 10, 2), 3);
        assert_eq!(kept(&all), [(3, 1), (2, 1), (1, 1)]);
        keep(&mut all, worst(4, Class::Real, 10, 9), 3);
        assert_eq!(kept(&all), [(3, 1), (4, 1), (2, 1)]);
        keep(&mut all, worst(2, Class::Real, 10, 0), 3);
        assert_eq!(kept(&all), [(2, 2), (3, 1), (4, 1)]);
        keep(&mut all, worst(5, Class::Lagging, 10, 0), 3);
        assert_eq!(kept(&all), [(2, 2), (3, 1), (4, 1)]);
        keep(&mut all, worst(6, Class::Real, 10, 0), 0);
        assert!(all.is_empty());
    }

    #[test]
    fn what_is_kept_word_by_word_is_bounded() {
        let of = |bytes: usize| Payloads {
            question: Bytes::new(),
            one: vec![b' '; bytes].into(),
            other: Bytes::new(),
        };
        assert!(of(KEPT_BYTES_MAX).kept().is_some());
        assert!(of(KEPT_BYTES_MAX + 1).kept().is_none());
        let mut all = Vec::new();
        for key in 0..100 {
            let mut one = worst(key, Class::Real, 10, key);
            one.payloads = of(KEPT_BYTES_MAX).kept();
            keep(&mut all, one, 50);
        }
        assert_eq!(all.len(), ALL_BYTES_MAX / (KEPT_BYTES_MAX + READ_BYTES));
    }

    #[test]
    fn a_shape_has_no_values() {
        let body = json!({
            "query": [0.25, 0.5], "using": "title", "limit": 3,
            "filter": {"must": [
                {"key": "user_id", "match": {"value": "alice"}},
                {"key": "age", "range": {"gte": 77}},
                {"key": "at", "match": {"any": [41, 42]}},
            ]},
            "with_payload": true,
        });
        let wanted = json!({
            "query": "2 numbers", "using": "title", "limit": 3,
            "filter": {"must": [
                {"key": "user_id", "match": {"value": "a text"}},
                {"key": "age", "range": {"gte": "a number"}},
                {"key": "at", "match": {"any": "2 numbers"}},
            ]},
            "with_payload": true,
        });
        assert_eq!(shape(body.to_string().as_bytes()), wanted);
        assert_eq!(shape(b"no JSON"), Value::Null);
    }
}
