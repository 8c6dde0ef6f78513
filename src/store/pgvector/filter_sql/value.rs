//! The operators of a field condition on one value, as Qdrant checks them on a payload.

use std::fmt::Display;

use qdrant_edge::{
    AnyVariants, DateTimeWrapper, FieldCondition, Match, MatchAny, MatchExcept, MatchPhrase,
    MatchText, MatchTextAny, MatchValue, Range, RangeInterface, ValueVariants,
};

use super::{Compiler, Param, all, any};
use crate::store::pgvector::payload;

/// A second of `qd.moment`.
const SECOND: i128 = 2_000_000_000;

impl Compiler<'_> {
    /// Any of the operators.
    pub(super) fn operators(&mut self, field: &FieldCondition, e: &str) -> String {
        let mut either = Vec::new();
        if let Some(matched) = &field.r#match {
            either.push(self.matches(matched, e));
        }
        match &field.range {
            Some(RangeInterface::Float(range)) => {
                let number = format!("qd.f64({e})");
                let range = range.map(|bound| bound.0);
                either.push(self.range(&number, &range, Param::Float));
            }
            Some(RangeInterface::DateTime(range)) => {
                let moment = format!("qd.moment(qd.str({e}))");
                either.push(self.range(&moment, range, |bound| Param::Numeric(decimal(&bound))));
            }
            None => {}
        }
        if let Some(radius) = &field.geo_radius {
            either.push(self.in_circle(radius, e));
        }
        if let Some(bounds) = &field.geo_bounding_box {
            either.push(self.in_box(bounds, e));
        }
        if let Some(polygon) = &field.geo_polygon {
            either.push(self.in_polygon(polygon, e));
        }
        any(either)
    }

    fn matches(&mut self, matched: &Match, e: &str) -> String {
        match matched {
            Match::Value(MatchValue { value }) => match value {
                ValueVariants::String(_) | ValueVariants::Bool(_) => {
                    let value = payload::encode_value(&value.to_value());
                    let value = self.params.push(Param::Json(value));
                    format!("{e} = {value}")
                }
                ValueVariants::Integer(number) => {
                    let number = self.params.push(Param::Int(*number));
                    format!("qd.i64({e}) = {number}")
                }
            },
            Match::Text(MatchText { text }) | Match::Phrase(MatchPhrase { phrase: text }) => {
                let text = self
                    .params
                    .push(Param::Text(payload::escape(text).into_owned()));
                format!("strpos(qd.str({e}), {text}) > 0")
            }
            Match::TextAny(MatchTextAny { text_any }) => {
                let words = text_any.split_whitespace();
                let words = words.map(|word| payload::escape(word).into_owned());
                let words = self.params.push(Param::Texts(words.collect()));
                format!("exists(select 1 from unnest({words}) w where strpos(qd.str({e}), w) > 0)")
            }
            Match::Any(MatchAny { any }) => {
                let (value, list) = self.list(any, e);
                format!("{value} = any({list})")
            }
            Match::Except(MatchExcept { except }) => {
                let (value, list) = self.list(except, e);
                // Whatever is of another type is not in the list.
                format!("(jsonb_typeof({e}) <> 'null' and ({value} <> all({list})) is not false)")
            }
        }
    }

    fn list(&mut self, list: &AnyVariants, e: &str) -> (String, String) {
        match list {
            AnyVariants::Strings(strings) => {
                let strings = strings
                    .iter()
                    .map(|text| payload::escape(text).into_owned());
                let strings = self.params.push(Param::Texts(strings.collect()));
                (format!("qd.str({e})"), strings)
            }
            AnyVariants::Integers(numbers) => {
                let numbers = numbers.iter().copied().collect();
                (
                    format!("qd.i64({e})"),
                    self.params.push(Param::Ints(numbers)),
                )
            }
        }
    }

    /// Whether an expression has a value within a range.
    pub(super) fn range<T: Copy>(
        &mut self,
        value: &str,
        range: &Range<T>,
        param: impl Fn(T) -> Param,
    ) -> String {
        let Range { lt, gt, gte, lte } = range;
        let bounds = [("<", lt), (">", gt), (">=", gte), ("<=", lte)];
        let mut clauses = Vec::new();
        for (operator, bound) in bounds {
            if let Some(bound) = bound {
                let bound = self.params.push(param(*bound));
                clauses.push(format!("{value} {operator} {bound}"));
            }
        }
        if clauses.is_empty() {
            clauses.push(format!("{value} is not null"));
        }
        all(clauses)
    }
}

pub(super) fn decimal(bound: &DateTimeWrapper) -> String {
    let nanos = i128::from(bound.0.timestamp_subsec_nanos());
    let moment = i128::from(bound.0.timestamp()) * SECOND + nanos;
    let moment: &dyn Display = &moment;
    moment.to_string()
}
