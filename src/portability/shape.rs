//! The shape of a request: its operation, and the features of its body that matter for who can
//! serve it. Never a value: no name, no vector, nothing of a payload.

use crate::model::Operation;

macro_rules! features {
    ($($(#[$doc:meta])* $name:ident $text:literal)+) => {
        /// One thing that a request may ask for.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Feature {
            $($(#[$doc])* $name,)+
        }

        impl Feature {
            const COUNT: usize = [$($text),+].len();

            pub const ALL: [Self; Self::COUNT] = [$(Self::$name),+];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

features! {
    /// The body went by in a stream, or is too long to be looked at.
    Unread         "body not looked at"

    Nearest        "nearest"
    Recommend      "recommend"
    BestScore      "best_score"
    SumScores      "sum_scores"
    Discover       "discover"
    Context        "context"
    Feedback       "relevance_feedback"
    Mmr            "mmr"
    OrderBy        "order_by"
    Rrf            "fusion rrf"
    Dbsf           "fusion dbsf"
    Formula        "formula"
    Sample         "sample"

    Dense          "dense vector"
    Sparse         "sparse vector"
    Multi          "multivector"
    ById           "by id"
    Bm25           "text by bm25"
    /// A text, an image or an object for a model that a service has.
    ForeignModel   "inference"

    Prefetch       "prefetch"
    /// An index that guesses may be asked.
    Approximate    "approximate"
    Exact          "exact"
    /// A number that may be an estimate.
    Estimate       "estimate"
    HnswEf         "hnsw_ef"
    Quantization   "quantization"
    IndexedOnly    "indexed_only"
    Acorn          "acorn"
    Threshold      "score_threshold"
    Offset         "offset"

    MatchValue     "match value"
    MatchAny       "match any"
    MatchExcept    "match except"
    MatchText      "match text"
    MatchTextAny   "match text_any"
    MatchPhrase    "match phrase"
    Range          "range"
    DatetimeRange  "datetime range"
    GeoBox         "geo_bounding_box"
    GeoRadius      "geo_radius"
    GeoPolygon     "geo_polygon"
    ValuesCount    "values_count"
    IsEmpty        "is_empty"
    IsNull         "is_null"
    HasId          "has_id"
    HasVector      "has_vector"
    Nested         "nested"
    MinShould      "min_should"
    ManyConditions "more than 2000 conditions"

    WithVectors    "with_vectors"
    PayloadPart    "part of the payload"
    GroupBy        "group_by"
    WithLookup     "with_lookup"
    LookupFrom     "lookup_from"

    ShardKey       "shard_key"
    Ordering       "ordering"
    Consistency    "consistency"

    ByFilter       "by filter"
    Columns        "columns"
    UpdateFilter   "update_filter"
    UpdateMode     "update_mode"
    PayloadKey     "key"

    Quantized      "quantization_config"
    CustomSharding "sharding_method custom"
    Multivectors   "multivector_config"
    SparseVectors  "sparse_vectors"
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Shape {
    pub operation: Operation,
    /// A bit for each feature.
    features: u128,
}

impl Shape {
    pub fn of(operation: Operation) -> Self {
        Self {
            operation,
            features: 0,
        }
    }

    pub fn add(&mut self, feature: Feature) {
        self.features |= bit(feature);
    }

    pub fn has(&self, feature: Feature) -> bool {
        self.features & bit(feature) != 0
    }

    pub fn features(&self) -> impl Iterator<Item = Feature> {
        let of = *self;
        Feature::ALL
            .into_iter()
            .filter(move |feature| of.has(*feature))
    }
}

fn bit(feature: Feature) -> u128 {
    1 << (feature as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_feature_has_a_bit_and_a_word_of_its_own() {
        let mut all = Shape::of(Operation::QueryPoints);
        let mut words = std::collections::BTreeSet::new();
        for feature in Feature::ALL {
            assert!(!all.has(feature), "{feature:?}");
            all.add(feature);
            assert!(words.insert(feature.as_str()), "{feature:?}");
        }
        assert_eq!(all.features().count(), Feature::ALL.len());
    }
}
