//! A condition on a field: who answers it, an index or the payload.

use qdrant_edge::{
    AnyVariants, FieldCondition, Match, MatchAny, MatchValue, PayloadSchemaParams, ValueVariants,
};
use serde_json::Value;

use super::path::Path;
use super::{Compiler, Param, Scope, any};
use crate::store::pgvector::payload;

/// A longer list is compared value by value, without an index.
const ANY_MAX: usize = 64;

impl Compiler<'_> {
    pub(super) fn field(&mut self, scope: &Scope, field: &FieldCondition) -> String {
        let path = Path::of(&field.key);
        let index = self.index(scope, &field.key);
        let index = index.map(|(ino, schema)| (ino, schema.expand().into_owned()));
        if let Some((ino, schema)) = &index {
            if let Some(sql) = self.served(scope, &path, field, *ino, schema) {
                return sql;
            }
            // Every index has one of nulls beside it.
            if let Some(is_empty) = field.is_empty {
                return format!("({}) = {is_empty}", self.is_empty(scope, &path));
            }
            if let Some(is_null) = field.is_null {
                return format!("({}) = {is_null}", self.has_null(scope, &path));
            }
        } else if let Some(sql) = self.words_inside(scope, &path, field) {
            return sql;
        }
        match only_match(field) {
            Some(matched) => self.matched(scope, &path, matched, field),
            None => self.check(scope, &path, field),
        }
    }

    /// The same as `check`, said so that an index on the path helps, and fast without one.
    fn matched(
        &mut self,
        scope: &Scope,
        path: &Path,
        matched: &Match,
        field: &FieldCondition,
    ) -> String {
        match matched {
            Match::Value(MatchValue { value }) => {
                let held = self.holds(scope, path, &value.to_value());
                match value {
                    ValueVariants::String(_) | ValueVariants::Bool(_) => held,
                    // To jsonb, 5.0 is 5.
                    ValueVariants::Integer(_) => {
                        format!("({held} and {})", self.check(scope, path, field))
                    }
                }
            }
            Match::Any(MatchAny {
                any: AnyVariants::Strings(strings),
            }) => self.any_string(scope, path, strings.iter()),
            Match::Any(_)
            | Match::Except(_)
            | Match::Text(_)
            | Match::TextAny(_)
            | Match::Phrase(_) => self.check(scope, path, field),
        }
    }

    /// Whether a path leads to a scalar, or to an array with it.
    pub(super) fn holds(&mut self, scope: &Scope, path: &Path, value: &Value) -> String {
        let value = payload::encode_value(value);
        if path.is_plain() {
            let value = self.params.push(Param::Json(value));
            return format!("{} @> {value}", path.arrows(&scope.root));
        }
        let all = path.gathered(&scope.root);
        let bare = self.params.push(Param::Json(format!("[{value}]")));
        let in_array = self.params.push(Param::Json(format!("[[{value}]]")));
        format!("({all} @> {bare} or {all} @> {in_array})")
    }

    /// Whether a path leads to one of a number of strings.
    pub(super) fn any_string<'s>(
        &mut self,
        scope: &Scope,
        path: &Path,
        strings: impl ExactSizeIterator<Item = &'s String>,
    ) -> String {
        if strings.len() <= ANY_MAX {
            return self.holds_any(scope, path, strings.map(|text| Value::from(text.as_str())));
        }
        let strings = strings.map(|text| payload::escape(text).into_owned());
        let strings = self.params.push(Param::Texts(strings.collect()));
        self.each(scope, path, |_, e| format!("qd.str({e}) = any({strings})"))
    }

    fn holds_any(
        &mut self,
        scope: &Scope,
        path: &Path,
        values: impl Iterator<Item = Value>,
    ) -> String {
        let held = values.map(|value| self.holds(scope, path, &value));
        any(held.collect())
    }

    /// As `holds_any` for integers of which 5.0 is one, if the list is not too long.
    pub(super) fn holds_any_integer(
        &mut self,
        scope: &Scope,
        path: &Path,
        integers: &[i64],
    ) -> Option<String> {
        // More than one number counts as the greatest.
        if integers.len() > ANY_MAX || integers.contains(&i64::MAX) {
            return None;
        }
        let integers = integers.iter().map(|number| Value::from(*number));
        Some(self.holds_any(scope, path, integers))
    }
}

/// The operator of a condition that has no other than `match`.
fn only_match(field: &FieldCondition) -> Option<&Match> {
    let FieldCondition {
        key: _,
        r#match,
        range: None,
        geo_bounding_box: None,
        geo_radius: None,
        geo_polygon: None,
        values_count: None,
        is_empty: None,
        is_null: None,
    } = field
    else {
        return None;
    };
    r#match.as_ref()
}

/// Whether an integer index answers `match`, and whether ranges.
pub(in crate::store::pgvector) fn abilities(schema: &PayloadSchemaParams) -> (bool, bool) {
    match schema {
        PayloadSchemaParams::Integer(integer) => (
            integer.lookup.unwrap_or(true),
            integer.range.unwrap_or(true),
        ),
        PayloadSchemaParams::Keyword(_)
        | PayloadSchemaParams::Bool(_)
        | PayloadSchemaParams::Uuid(_) => (true, false),
        PayloadSchemaParams::Float(_) | PayloadSchemaParams::Datetime(_) => (false, true),
        PayloadSchemaParams::Geo(_) | PayloadSchemaParams::Text(_) => (false, false),
    }
}
