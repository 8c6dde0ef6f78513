//! Which payload index a filter or a formula would need and does not have.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use qdrant_edge::{
    AnyVariants, Condition, Expression, FieldCondition, Filter, JsonPath, Match,
    PayloadFieldSchema, PayloadSchemaParams, RangeInterface, ValueVariants,
};

/// The indexes of a collection, by the field they are of.
type Schema = HashMap<JsonPath, PayloadFieldSchema>;

/// A field without a fitting index, and the types of which one would do.
pub(super) struct Lack {
    key: JsonPath,
    types: BTreeSet<&'static str>,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let types: Vec<_> = self.types.iter().copied().collect();
        write!(
            f,
            "Index required but not found for \"{}\" of one of the following types: [{}]",
            self.key,
            types.join(", ")
        )
    }
}

/// What an index can answer.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Ability {
    IntegerMatch,
    IntegerRange,
    KeywordMatch,
    FloatRange,
    Text,
    Phrase,
    BoolMatch,
    UuidMatch,
    UuidRange,
    DatetimeRange,
    Geo,
}

impl Ability {
    /// All, for conditions that any index helps.
    const ANY: [Self; 11] = [
        Self::IntegerMatch,
        Self::IntegerRange,
        Self::KeywordMatch,
        Self::FloatRange,
        Self::Text,
        Self::Phrase,
        Self::BoolMatch,
        Self::UuidMatch,
        Self::UuidRange,
        Self::DatetimeRange,
        Self::Geo,
    ];

    fn index_type(self) -> &'static str {
        match self {
            Self::IntegerMatch | Self::IntegerRange => "integer",
            Self::KeywordMatch => "keyword",
            Self::FloatRange => "float",
            Self::Text => "text",
            Self::Phrase => "text (with phrase_matching: true)",
            Self::BoolMatch => "bool",
            Self::UuidMatch | Self::UuidRange => "uuid",
            Self::DatetimeRange => "datetime",
            Self::Geo => "geo",
        }
    }

    fn of(schema: &PayloadFieldSchema) -> Vec<Self> {
        match &*schema.expand() {
            PayloadSchemaParams::Keyword(_) => vec![Self::KeywordMatch],
            PayloadSchemaParams::Integer(params) => [
                params.lookup.unwrap_or(true).then_some(Self::IntegerMatch),
                params.range.unwrap_or(true).then_some(Self::IntegerRange),
            ]
            .into_iter()
            .flatten()
            .collect(),
            PayloadSchemaParams::Float(_) => vec![Self::FloatRange],
            PayloadSchemaParams::Geo(_) => vec![Self::Geo],
            PayloadSchemaParams::Text(params) => {
                let phrase = params.phrase_matching == Some(true);
                let phrase = phrase.then_some(Self::Phrase);
                [Self::Text].into_iter().chain(phrase).collect()
            }
            PayloadSchemaParams::Bool(_) => vec![Self::BoolMatch],
            PayloadSchemaParams::Datetime(_) => vec![Self::DatetimeRange],
            PayloadSchemaParams::Uuid(_) => vec![Self::UuidMatch, Self::UuidRange],
        }
    }
}

/// The first condition of `filter` that no index serves.
pub(super) fn lacking_in_filter(schema: &Schema, filter: &Filter) -> Option<Lack> {
    in_filter(schema, None, filter)
}

/// Something that a formula reads and no index serves.
pub(super) fn lacking_in_expression(schema: &Schema, formula: &Expression) -> Option<Lack> {
    let each = |parts: &[Expression]| {
        parts
            .iter()
            .find_map(|part| lacking_in_expression(schema, part))
    };
    match formula {
        Expression::Constant(_) | Expression::Datetime(_) => None,
        Expression::Variable(name) => {
            let key: JsonPath = name.parse().ok()?;
            if name.starts_with('$') {
                return None;
            }
            let needed = [
                Ability::IntegerMatch,
                Ability::IntegerRange,
                Ability::FloatRange,
            ];
            lacking(schema, key, &needed)
        }
        Expression::Condition(condition) => in_condition(schema, None, condition),
        Expression::GeoDistance { to, .. } => lacking(schema, to.clone(), &[Ability::Geo]),
        Expression::DatetimeKey(key) => lacking(schema, key.clone(), &[Ability::DatetimeRange]),
        Expression::Mult(parts) | Expression::Sum(parts) => each(parts),
        Expression::Neg(part)
        | Expression::Sqrt(part)
        | Expression::Exp(part)
        | Expression::Log10(part)
        | Expression::Ln(part)
        | Expression::Abs(part) => lacking_in_expression(schema, part),
        Expression::Div { left, right, .. } => {
            lacking_in_expression(schema, left).or_else(|| lacking_in_expression(schema, right))
        }
        Expression::Pow { base, exponent } => {
            lacking_in_expression(schema, base).or_else(|| lacking_in_expression(schema, exponent))
        }
        Expression::Decay { x, target, .. } => lacking_in_expression(schema, x).or_else(|| {
            let target = target.as_deref()?;
            lacking_in_expression(schema, target)
        }),
    }
}

fn in_filter(schema: &Schema, inside: Option<&JsonPath>, filter: &Filter) -> Option<Lack> {
    filter
        .iter_conditions()
        .find_map(|condition| in_condition(schema, inside, condition))
}

fn in_condition(schema: &Schema, inside: Option<&JsonPath>, condition: &Condition) -> Option<Lack> {
    let (key, needed) = match condition {
        Condition::Field(field) => (&field.key, needed_by(field)),
        Condition::IsEmpty(empty) => (&empty.is_empty.key, Ability::ANY.to_vec()),
        Condition::IsNull(null) => (&null.is_null.key, Ability::ANY.to_vec()),
        Condition::Filter(filter) => return in_filter(schema, inside, filter),
        Condition::Nested(nested) => {
            let inside = JsonPath::extend_or_new(inside, &nested.array_key());
            return in_filter(schema, Some(&inside), nested.filter());
        }
        Condition::HasId(_) | Condition::HasVector(_) | Condition::CustomIdChecker(_) => {
            return None;
        }
    };
    lacking(schema, JsonPath::extend_or_new(inside, key), &needed)
}

fn lacking(schema: &Schema, key: JsonPath, needed: &[Ability]) -> Option<Lack> {
    let there = schema.get(&key).map(Ability::of).unwrap_or_default();
    if needed.is_empty() || needed.iter().any(|ability| there.contains(ability)) {
        return None;
    }
    let types = needed.iter().map(|ability| ability.index_type()).collect();
    Some(Lack { key, types })
}

fn needed_by(field: &FieldCondition) -> Vec<Ability> {
    let mut needed = Vec::new();
    match &field.r#match {
        None => {}
        Some(Match::Value(value)) => match &value.value {
            ValueVariants::String(text) => needed.extend(for_texts([text.as_str()])),
            ValueVariants::Integer(_) => needed.push(Ability::IntegerMatch),
            ValueVariants::Bool(_) => needed.push(Ability::BoolMatch),
        },
        Some(Match::Text(_) | Match::TextAny(_)) => needed.push(Ability::Text),
        Some(Match::Phrase(_)) => needed.push(Ability::Phrase),
        Some(Match::Any(any)) => needed.extend(for_variants(&any.any)),
        Some(Match::Except(except)) => needed.extend(for_variants(&except.except)),
    }
    match &field.range {
        None => {}
        Some(RangeInterface::DateTime(_)) => needed.push(Ability::DatetimeRange),
        Some(RangeInterface::Float(_)) => {
            needed.extend([Ability::FloatRange, Ability::IntegerRange]);
        }
    }
    if field.geo_bounding_box.is_some() || field.geo_radius.is_some() || field.geo_polygon.is_some()
    {
        needed.push(Ability::Geo);
    }
    if field.values_count.is_some() || field.is_empty.is_some() || field.is_null.is_some() {
        needed.extend(Ability::ANY);
    }
    needed
}

/// An empty list matches nothing or everything: no index is needed to tell.
fn for_variants(variants: &AnyVariants) -> Vec<Ability> {
    match variants {
        AnyVariants::Strings(texts) if texts.is_empty() => Vec::new(),
        AnyVariants::Integers(numbers) if numbers.is_empty() => Vec::new(),
        AnyVariants::Strings(texts) => for_texts(texts.iter().map(AsRef::as_ref)),
        AnyVariants::Integers(_) => vec![Ability::IntegerMatch],
    }
}

fn for_texts<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Ability> {
    let uuids = texts
        .into_iter()
        .all(|text| uuid::Uuid::parse_str(text).is_ok());
    let uuids = uuids.then_some(Ability::UuidMatch);
    uuids.into_iter().chain([Ability::KeywordMatch]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schema(indexes: &[(&str, Value)]) -> Schema {
        let parsed = indexes.iter().map(|(key, schema)| {
            let schema = serde_json::from_value(schema.clone()).unwrap();
            (key.parse().unwrap(), schema)
        });
        parsed.collect()
    }

    #[test]
    fn a_condition_names_the_types_that_would_do() {
        let indexes = schema(&[
            (
                "n",
                json!({"type": "integer", "lookup": false, "range": true}),
            ),
            ("t", json!("text")),
            ("a[].b", json!("keyword")),
        ]);
        let cases = [
            (
                json!({"key": "k", "match": {"value": "x"}}),
                Some("keyword"),
            ),
            (
                json!({"key": "k", "match": {"value": "550e8400-e29b-41d4-a716-446655440000"}}),
                Some("keyword, uuid"),
            ),
            (json!({"key": "n", "match": {"value": 1}}), Some("integer")),
            (json!({"key": "n", "range": {"gt": 1}}), None),
            (
                json!({"key": "k", "range": {"gt": 1}}),
                Some("float, integer"),
            ),
            (json!({"key": "t", "match": {"text": "x"}}), None),
            (
                json!({"key": "t", "match": {"phrase": "x"}}),
                Some("text (with phrase_matching: true)"),
            ),
            (
                json!({"is_null": {"key": "k"}}),
                Some(
                    "bool, datetime, float, geo, integer, keyword, text, \
                     text (with phrase_matching: true), uuid",
                ),
            ),
            (
                json!({"nested": {"key": "a", "filter": {"must":
                    [{"key": "b", "match": {"value": "x"}}]}}}),
                None,
            ),
            (json!({"has_id": [1]}), None),
            (json!({"key": "k", "match": {"any": []}}), None),
        ];
        for (condition, expected) in cases {
            let filter: Filter = serde_json::from_value(json!({"should": [condition]})).unwrap();
            let lack = lacking_in_filter(&indexes, &filter).map(|lack| lack.to_string());
            let types = lack.as_deref().and_then(|text| {
                let (_, rest) = text.split_once('[')?;
                rest.strip_suffix(']')
            });
            assert_eq!(types, expected, "{condition}");
        }
    }
}
