//! Conditions that an index of the field answers: on the values that the index has.
//!
//! In front of the exact predicate stands one that PostgreSQL's own index on the field answers,
//! where the exact one does not itself.

use qdrant_edge::external::uuid::Uuid;
use qdrant_edge::{
    AnyVariants, FieldCondition, Match, MatchAny, MatchExcept, MatchValue, PayloadSchemaParams,
    Range, RangeInterface, ValueVariants,
};

use super::path::Path;
use super::{Compiler, Param, Scope, field, geo};
use crate::store::pgvector::payload;

impl Compiler<'_> {
    /// None when the index knows nothing of the operators of the condition.
    pub(super) fn served(
        &mut self,
        scope: &Scope,
        path: &Path,
        condition: &FieldCondition,
        ino: i32,
        schema: &PayloadSchemaParams,
    ) -> Option<String> {
        let matched = condition.r#match.as_ref();
        let range = condition.range.as_ref();
        match schema {
            PayloadSchemaParams::Keyword(_) => self.keyword(scope, path, matched?),
            PayloadSchemaParams::Integer(_) => {
                let (looks_up, ranges) = field::abilities(schema);
                let matched = matched.filter(|_| looks_up);
                let found = matched.and_then(|matched| self.integer(scope, path, matched));
                found.or_else(|| {
                    let range = integers(range.filter(|_| ranges)?);
                    let front = self.spanned(scope, path, "span", &range.map(float));
                    let exact = self.each(scope, path, |compiler, e| {
                        compiler.range(&format!("qd.i64x({e})"), &range, Param::Int)
                    });
                    Some(format!("({front} and {exact})"))
                })
            }
            PayloadSchemaParams::Float(_) => {
                let range = floats(range?);
                let front = self.spanned(scope, path, "span", &range);
                let exact = self.each(scope, path, |compiler, e| {
                    compiler.range(&format!("qd.f64({e})"), &range, Param::Float)
                });
                Some(format!("({front} and {exact})"))
            }
            PayloadSchemaParams::Datetime(_) => {
                let range = integers(range?);
                let front = self.spanned(scope, path, "dspan", &range.map(float));
                let exact = self.each(scope, path, |compiler, e| {
                    compiler.range(&format!("qd.micros(qd.str({e}))"), &range, Param::Int)
                });
                Some(format!("({front} and {exact})"))
            }
            PayloadSchemaParams::Bool(_) => match matched? {
                Match::Value(MatchValue {
                    value: value @ ValueVariants::Bool(_),
                }) => Some(self.holds(scope, path, &value.to_value())),
                Match::Value(_)
                | Match::Any(_)
                | Match::Except(_)
                | Match::Text(_)
                | Match::TextAny(_)
                | Match::Phrase(_) => None,
            },
            PayloadSchemaParams::Uuid(_) => self.uuid(scope, path, matched?),
            PayloadSchemaParams::Geo(_) => self.place(scope, path, condition),
            PayloadSchemaParams::Text(text) => self.words(&condition.key, ino, text, matched?),
        }
    }

    fn keyword(&mut self, scope: &Scope, path: &Path, matched: &Match) -> Option<String> {
        match matched {
            Match::Value(MatchValue {
                value: value @ ValueVariants::String(_),
            }) => Some(self.holds(scope, path, &value.to_value())),
            Match::Any(MatchAny {
                any: AnyVariants::Strings(strings),
            }) => Some(self.any_string(scope, path, strings.iter())),
            Match::Except(MatchExcept {
                except: AnyVariants::Strings(strings),
            }) => {
                let strings = strings
                    .iter()
                    .map(|text| payload::escape(text).into_owned());
                let strings = self.params.push(Param::Texts(strings.collect()));
                Some(self.except(scope, path, "str", &strings))
            }
            Match::Value(_)
            | Match::Any(_)
            | Match::Except(_)
            | Match::Text(_)
            | Match::TextAny(_)
            | Match::Phrase(_) => None,
        }
    }

    fn integer(&mut self, scope: &Scope, path: &Path, matched: &Match) -> Option<String> {
        let list = match matched {
            Match::Value(MatchValue {
                value: ValueVariants::Integer(number),
            }) => vec![*number],
            Match::Any(MatchAny {
                any: AnyVariants::Integers(numbers),
            }) => numbers.iter().copied().collect(),
            Match::Except(MatchExcept {
                except: AnyVariants::Integers(numbers),
            }) => {
                let numbers = self
                    .params
                    .push(Param::Ints(numbers.iter().copied().collect()));
                return Some(self.except(scope, path, "i64x", &numbers));
            }
            Match::Value(_)
            | Match::Any(_)
            | Match::Except(_)
            | Match::Text(_)
            | Match::TextAny(_)
            | Match::Phrase(_) => return None,
        };
        if let Some(held) = self.holds_any_integer(scope, path, &list) {
            return Some(held);
        }
        let list = self.params.push(Param::Ints(list));
        Some(self.each(scope, path, |_, e| format!("qd.i64x({e}) = any({list})")))
    }

    fn uuid(&mut self, scope: &Scope, path: &Path, matched: &Match) -> Option<String> {
        let parsed = |strings: &mut dyn Iterator<Item = &String>| -> Option<Vec<Uuid>> {
            strings.map(|text| Uuid::parse_str(text).ok()).collect()
        };
        let list = match matched {
            Match::Value(MatchValue {
                value: ValueVariants::String(text),
            }) => parsed(&mut std::iter::once(text))?,
            Match::Any(MatchAny {
                any: AnyVariants::Strings(strings),
            }) => parsed(&mut strings.iter())?,
            Match::Except(MatchExcept {
                except: AnyVariants::Strings(strings),
            }) => {
                let list = self.params.push(Param::Uuids(parsed(&mut strings.iter())?));
                return Some(self.except(scope, path, "uuid", &list));
            }
            Match::Value(_)
            | Match::Any(_)
            | Match::Except(_)
            | Match::Text(_)
            | Match::TextAny(_)
            | Match::Phrase(_) => return None,
        };
        let list = self.params.push(Param::Uuids(list));
        let (root, jsonpath) = (&scope.root, path.jsonpath());
        let front = format!("qd.uuids({root}, {jsonpath}) && {list}");
        let exact = self.each(scope, path, |_, e| format!("qd.uuid({e}) = any({list})"));
        Some(format!("({front} and {exact})"))
    }

    /// Whether one of the values that an index has is not in a list.
    fn except(&mut self, scope: &Scope, path: &Path, function: &str, list: &str) -> String {
        self.each(scope, path, |_, e| {
            let value = format!("qd.{function}({e})");
            format!("{value} is not null and {value} <> all({list})")
        })
    }

    fn place(&mut self, scope: &Scope, path: &Path, condition: &FieldCondition) -> Option<String> {
        let boxes;
        let exact;
        if let Some(circle) = &condition.geo_radius {
            boxes = geo::around_circle(circle);
            exact = self.each(scope, path, |compiler, e| {
                format!("qd.on_earth({e}) and {}", compiler.in_circle(circle, e))
            });
        } else if let Some(bounds) = &condition.geo_bounding_box {
            boxes = geo::around_box(bounds);
            exact = self.each(scope, path, |compiler, e| {
                format!("qd.on_earth({e}) and {}", compiler.in_box(bounds, e))
            });
        } else {
            let polygon = condition.geo_polygon.as_ref()?;
            boxes = geo::around_polygon(polygon);
            exact = self.each(scope, path, |compiler, e| {
                format!("qd.on_earth({e}) and {}", compiler.in_polygon(polygon, e))
            });
        }
        let front = self.near(scope, path, &boxes);
        Some(format!("({front} and {exact})"))
    }

    /// Whether the numbers of a field lie round a range.
    fn spanned(
        &mut self,
        scope: &Scope,
        path: &Path,
        function: &str,
        range: &Range<f64>,
    ) -> String {
        let greater = |a: f64, b: f64| if a > b { a } else { b };
        let lesser = |a: f64, b: f64| if a < b { a } else { b };
        let low = [range.gt, range.gte].into_iter().flatten().reduce(greater);
        let high = [range.lt, range.lte].into_iter().flatten().reduce(lesser);
        if let (Some(low), Some(high)) = (low, high)
            && low > high
        {
            return "false".to_owned();
        }
        let [low, high] = [low, high].map(|bound| match bound {
            Some(bound) => self.params.push(Param::Float(bound)),
            None => "null".to_owned(),
        });
        let (root, path) = (&scope.root, path.jsonpath());
        format!("qd.{function}({root}, {path}) && qd.f8range({low}, {high}, '[]')")
    }
}

/// A range as an index of integers has it: bounds between two integers are moved so that the same
/// integers are in it. Dates are integers there, microseconds.
#[expect(
    clippy::cast_possible_truncation,
    reason = "past the ends the nearest end is meant, as in Qdrant"
)]
fn integers(range: &RangeInterface) -> Range<i64> {
    match range {
        RangeInterface::Float(range) => Range {
            lt: range.lt.map(|bound| bound.0.ceil() as i64),
            gt: range.gt.map(|bound| bound.0.floor() as i64),
            gte: range.gte.map(|bound| bound.0.ceil() as i64),
            lte: range.lte.map(|bound| bound.0.floor() as i64),
        },
        RangeInterface::DateTime(range) => range.map(|bound| bound.timestamp()),
    }
}

/// A range as an index of floats has it. A date before 1970 becomes very late there.
#[expect(
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "Qdrant does the same"
)]
fn floats(range: &RangeInterface) -> Range<f64> {
    match range {
        RangeInterface::Float(range) => range.map(|bound| bound.0),
        RangeInterface::DateTime(range) => range.map(|bound| bound.timestamp() as u128 as f64),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "rounding keeps the order, and the bounds of a span are part of it"
)]
fn float(number: i64) -> f64 {
    number as f64
}
