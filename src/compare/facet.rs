//! Values of a payload, and how many points have them.
//!
//! The order among values that as many points have is chance, and so is which of them are shown at
//! the end of a list that was cut: see [`Ties`](super::Ties).

use std::collections::HashMap;

use super::difference::{Apart, share};
use super::lists::Lists;
use super::ranking::Hit;

/// A value of a payload that is counted or grouped by.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Value {
    Bool(bool),
    Integer(i128),
    Text(String),
    /// Anything else, as it is written.
    Other(String),
}

impl Value {
    pub(super) fn read(value: &serde_json::Value) -> Self {
        let unsigned = value.as_u64().map(i128::from);
        if let Some(integer) = value.as_i64().map(i128::from).or(unsigned) {
            Self::Integer(integer)
        } else if let Some(told) = value.as_bool() {
            Self::Bool(told)
        } else if let Some(text) = value.as_str() {
            Self::Text(text.to_owned())
        } else {
            Self::Other(value.to_string())
        }
    }
}

pub(super) fn facet_apart(lists: &Lists<Value>) -> Apart {
    let found = lists.apart();
    let counts = |hits: &[Hit<Value>]| -> HashMap<Value, f64> {
        let hits = hits.iter();
        hits.map(|hit| (hit.id.clone(), hit.score)).collect()
    };
    // What a list does not show it may have as often as its last, if there was no room for more.
    let floor = |hits: &[Hit<Value>]| match (hits.last(), lists.asked) {
        (Some(last), Some(asked)) if hits.len() >= asked => last.score,
        (Some(_) | None, _) => 0.0,
    };
    let (ones, others) = (counts(&lists.one), counts(&lists.other));
    let (one_floor, other_floor) = (floor(&lists.one), floor(&lists.other));
    let (mut most, mut both, mut all) = (0.0_f64, 0.0, 0.0);
    for value in ones
        .keys()
        .chain(others.keys().filter(|value| !ones.contains_key(*value)))
    {
        let one = ones.get(value).copied();
        let other = others.get(value).copied();
        let (one, other) = match (one, other) {
            (Some(one), other) => (one, other.unwrap_or(one.min(other_floor))),
            (None, Some(other)) => (other.min(one_floor), other),
            (None, None) => (0.0, 0.0),
        };
        most = most.max((one - other).abs());
        both += one.min(other);
        all += one.max(other);
    }
    Apart {
        // A value that is not shown though there was room may differ by less than can be told.
        number: if found.is_none() { 0.0 } else { most.max(1.0) },
        tied: found.tied,
        overlap: share(both, all),
        rows: lists.one.len().max(lists.other.len()),
        ..Apart::default()
    }
}
