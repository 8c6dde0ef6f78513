//! The kinds of conditions in a filter, wherever they stand in it.

use serde_json::Value;

use super::{Look, Object, is_given, object, one_or_many};
use crate::portability::Feature;

/// So many conditions one filter may hold at the store in PostgreSQL.
const CONDITIONS_MAX: usize = 2_000;

impl Look {
    pub(super) fn whole_filter(&mut self, filter: &Object) {
        let conditions = self.filter(filter);
        self.add_where(conditions > CONDITIONS_MAX, Feature::ManyConditions);
    }

    /// How many conditions it holds, at whatever depth.
    fn filter(&mut self, filter: &Object) -> usize {
        let mut count = 0;
        for clause in ["must", "should", "must_not"] {
            for condition in one_or_many(filter.get(clause)) {
                count += self.condition(condition);
            }
        }
        if let Some(min_should) = object(filter, "min_should") {
            self.add(Feature::MinShould);
            for condition in one_or_many(min_should.get("conditions")) {
                count += self.condition(condition);
            }
        }
        count
    }

    fn condition(&mut self, of: &Object) -> usize {
        if let Some(nested) = object(of, "nested") {
            self.add(Feature::Nested);
            return 1 + object(nested, "filter").map_or(0, |filter| self.filter(filter));
        }
        let kinds = [
            ("geo_bounding_box", Feature::GeoBox),
            ("geo_radius", Feature::GeoRadius),
            ("geo_polygon", Feature::GeoPolygon),
            ("values_count", Feature::ValuesCount),
            ("is_empty", Feature::IsEmpty),
            ("is_null", Feature::IsNull),
            ("has_id", Feature::HasId),
            ("has_vector", Feature::HasVector),
        ];
        for (key, feature) in kinds {
            self.add_where(is_given(of, key), feature);
        }
        if let Some(range) = object(of, "range") {
            let dates = range.values().any(Value::is_string);
            self.add(if dates {
                Feature::DatetimeRange
            } else {
                Feature::Range
            });
        }
        if let Some(matched) = object(of, "match") {
            for (key, feature) in [
                ("value", Feature::MatchValue),
                ("any", Feature::MatchAny),
                ("except", Feature::MatchExcept),
                ("text", Feature::MatchText),
                ("text_any", Feature::MatchTextAny),
                ("phrase", Feature::MatchPhrase),
            ] {
                self.add_where(is_given(matched, key), feature);
            }
        }
        // A filter in the place of a condition.
        1 + self.filter(of)
    }
}
