//! The shape of one request, from its operation, its query string and its body.
//!
//! Read as generously as `compare::asked`: what cannot be understood is refused by every store alike,
//! and counts as asking for nothing in particular. Only the places are looked at where Qdrant has
//! words of its own; a payload is never gone through.

mod filter;

use serde_json::{Map, Value};

use super::shape::{Feature, Shape};
use crate::model::Operation;
use crate::wire::{self, WriteOrdering};

type Object = Map<String, Value>;

/// `body` is `None` where it was not seen.
pub fn shape(operation: Operation, query: Option<&str>, body: Option<&[u8]>) -> Shape {
    let mut look = Look(Shape::of(operation));
    look.parameters(query);
    if !operation.has_json_body() {
        return look.0;
    }
    let Some(body) = body else {
        look.add(Feature::Unread);
        return look.0;
    };
    if let Ok(Value::Object(body)) = serde_json::from_slice(body) {
        look.body(operation, &body);
    }
    look.0
}

struct Look(Shape);

impl Look {
    fn add(&mut self, feature: Feature) {
        self.0.add(feature);
    }

    fn add_where(&mut self, is_there: bool, feature: Feature) {
        if is_there {
            self.add(feature);
        }
    }

    fn parameters(&mut self, query: Option<&str>) {
        let Ok(params) = wire::Params::read(self.0.operation, query) else {
            return;
        };
        self.add_where(params.ordering != WriteOrdering::Weak, Feature::Ordering);
        self.add_where(params.consistency.is_some(), Feature::Consistency);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "of all others the operation says it all"
    )]
    fn body(&mut self, operation: Operation, body: &Object) {
        match operation {
            Operation::QueryPoints | Operation::QueryGroups => self.query(body),
            Operation::QueryBatch => each(body, "searches", |one| self.query(one)),
            Operation::SearchPoints | Operation::SearchGroups => self.search(body),
            Operation::SearchBatch => each(body, "searches", |one| self.search(one)),
            Operation::RecommendPoints | Operation::RecommendGroups => self.recommend(body),
            Operation::RecommendBatch => each(body, "searches", |one| self.recommend(one)),
            Operation::DiscoverPoints => self.discover(body),
            Operation::DiscoverBatch => each(body, "searches", |one| self.discover(one)),
            Operation::SearchMatrixPairs | Operation::SearchMatrixOffsets => {
                self.output(body);
                self.add(Feature::Sample);
            }
            Operation::ScrollPoints => {
                self.output(body);
                self.add_where(is_given(body, "order_by"), Feature::OrderBy);
            }
            Operation::GetPoints => self.output(body),
            Operation::CountPoints => {
                self.output(body);
                self.add_where(
                    body.get("exact") == Some(&Value::Bool(false)),
                    Feature::Estimate,
                );
            }
            Operation::Facet => {
                self.output(body);
                let exact = body.get("exact") == Some(&Value::Bool(true));
                self.add(if exact {
                    Feature::Exact
                } else {
                    Feature::Estimate
                });
            }
            Operation::UpsertPoints => self.upsert(body),
            Operation::UpdateVectors => self.upsert(body),
            Operation::DeletePoints
            | Operation::ClearPayload
            | Operation::SetPayload
            | Operation::OverwritePayload
            | Operation::DeletePayload
            | Operation::DeleteVectors => self.change(body),
            Operation::BatchUpdate => each(body, "operations", |one| self.one_of_a_batch(one)),
            Operation::CreateCollection | Operation::UpdateCollection => self.collection(body),
            _ => {}
        }
    }

    /// What all reads and many writes have in common.
    fn output(&mut self, body: &Object) {
        if let Some(filter) = object(body, "filter") {
            self.whole_filter(filter);
        }
        let vectors = ["with_vector", "with_vectors"].map(|key| body.get(key));
        let wants = |wanted: &Value| !matches!(wanted, Value::Null | Value::Bool(false));
        let wants_vectors = vectors.into_iter().flatten().any(wants);
        self.add_where(wants_vectors, Feature::WithVectors);
        let payload = body.get("with_payload");
        let part = matches!(payload, Some(Value::Array(_) | Value::Object(_)));
        self.add_where(part, Feature::PayloadPart);
        self.add_where(is_given(body, "group_by"), Feature::GroupBy);
        self.add_where(is_given(body, "with_lookup"), Feature::WithLookup);
        self.add_where(is_given(body, "score_threshold"), Feature::Threshold);
        let offset = body.get("offset").and_then(Value::as_u64).unwrap_or(0);
        let pages = self.0.operation != Operation::ScrollPoints && offset > 0;
        self.add_where(pages, Feature::Offset);
        self.shard_key(body);
        if let Some(lookup) = object(body, "lookup_from") {
            self.add(Feature::LookupFrom);
            self.shard_key(lookup);
        }
    }

    /// An empty list of keys is nobody's.
    fn shard_key(&mut self, body: &Object) {
        let key = body.get("shard_key");
        let is_empty = key.and_then(Value::as_array).is_some_and(Vec::is_empty);
        self.add_where(is_given(body, "shard_key") && !is_empty, Feature::ShardKey);
    }

    /// What ranks by vectors at the leaves of a query, and how hard it is to try.
    fn ranked(&mut self, body: &Object, by: Ranked) {
        if by == Ranked::Otherwise {
            return;
        }
        let params = object(body, "params");
        let is = |key: &str| {
            let flag = params.and_then(|params| params.get(key));
            flag == Some(&Value::Bool(true))
        };
        let has = |key: &str| params.is_some_and(|params| is_given(params, key));
        if is("exact") {
            self.add(Feature::Exact);
            return;
        }
        self.add_where(by == Ranked::ByIndex, Feature::Approximate);
        self.add_where(has("hnsw_ef"), Feature::HnswEf);
        self.add_where(has("quantization"), Feature::Quantization);
        self.add_where(is("indexed_only"), Feature::IndexedOnly);
        self.add_where(has("acorn"), Feature::Acorn);
    }

    fn query(&mut self, body: &Object) {
        self.output(body);
        let mut has_prefetch = false;
        for prefetch in one_or_many(body.get("prefetch")) {
            has_prefetch = true;
            self.query(prefetch);
        }
        self.add_where(has_prefetch, Feature::Prefetch);
        let by = match body.get("query") {
            None | Some(Value::Null) => Ranked::Otherwise,
            Some(query) => self.kind_of_query(query),
        };
        // Above a prefetch only what was found before is ranked, and that without guessing.
        if !has_prefetch {
            self.ranked(body, by);
        }
    }

    fn kind_of_query(&mut self, query: &Value) -> Ranked {
        let Value::Object(of) = query else {
            self.add(Feature::Nearest);
            return self.vector(query);
        };
        if let Some(nearest) = of.get("nearest") {
            self.add(Feature::Nearest);
            self.add_where(is_given(of, "mmr"), Feature::Mmr);
            return self.vector(nearest);
        }
        if let Some(recommend) = object(of, "recommend") {
            return self.examples(recommend);
        }
        if let Some(discover) = object(of, "discover") {
            self.add(Feature::Discover);
            let target = discover.get("target").map(|target| self.vector(target));
            return self.pairs(discover.get("context")).or(target);
        }
        if of.contains_key("context") {
            self.add(Feature::Context);
            return self.pairs(of.get("context"));
        }
        if let Some(feedback) = object(of, "relevance_feedback") {
            self.add(Feature::Feedback);
            let target = feedback.get("target").map(|target| self.vector(target));
            let mut by = Ranked::Otherwise.or(target);
            for item in one_or_many(feedback.get("feedback")) {
                by = by.or(item.get("example").map(|example| self.vector(example)));
            }
            return by;
        }
        let fusion = of.get("fusion").and_then(Value::as_str);
        for (is_there, feature) in [
            (of.contains_key("order_by"), Feature::OrderBy),
            (
                of.contains_key("rrf") || fusion == Some("rrf"),
                Feature::Rrf,
            ),
            (fusion == Some("dbsf"), Feature::Dbsf),
            (of.contains_key("formula"), Feature::Formula),
            (of.contains_key("sample"), Feature::Sample),
        ] {
            if is_there {
                self.add(feature);
                return Ranked::Otherwise;
            }
        }
        // A sparse vector, or something that a model makes one of.
        self.add(Feature::Nearest);
        self.vector(query)
    }

    fn examples(&mut self, of: &Object) -> Ranked {
        self.add(Feature::Recommend);
        match of.get("strategy").and_then(Value::as_str) {
            Some("best_score") => self.add(Feature::BestScore),
            Some("sum_scores") => self.add(Feature::SumScores),
            _ => {}
        }
        let lists = ["positive", "negative"].map(|key| of.get(key));
        let lists = lists.into_iter().flatten().filter_map(Value::as_array);
        lists.flatten().fold(Ranked::Otherwise, |by, example| {
            by.or(Some(self.vector(example)))
        })
    }

    fn pairs(&mut self, pairs: Option<&Value>) -> Ranked {
        let mut by = Ranked::Otherwise;
        for pair in one_or_many(pairs) {
            for side in ["positive", "negative"] {
                by = by.or(pair.get(side).map(|vector| self.vector(vector)));
            }
        }
        by
    }

    /// A vector, as queries and points write them.
    fn vector(&mut self, of: &Value) -> Ranked {
        let (feature, ranked) = match of {
            Value::Array(rows) if matches!(rows.first(), Some(Value::Array(_))) => {
                (Feature::Multi, Ranked::ByIndex)
            }
            Value::Array(_) => (Feature::Dense, Ranked::ByIndex),
            Value::Number(_) | Value::String(_) => (Feature::ById, Ranked::ByIndex),
            Value::Object(of) if of.contains_key("indices") => (Feature::Sparse, Ranked::ByAll),
            Value::Object(of) => match of.get("model").and_then(Value::as_str) {
                Some(model) if is_bm25(model) => (Feature::Bm25, Ranked::ByAll),
                Some(_) => (Feature::ForeignModel, Ranked::ByIndex),
                None => return Ranked::Otherwise,
            },
            Value::Null | Value::Bool(_) => return Ranked::Otherwise,
        };
        self.add(feature);
        ranked
    }

    fn search(&mut self, body: &Object) {
        self.output(body);
        self.add(Feature::Nearest);
        let vector = body.get("vector").map(|vector| match vector {
            Value::Object(named) => named.get("vector").unwrap_or(vector),
            Value::Array(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_) => vector,
        });
        let by = vector.map(|vector| self.vector(vector));
        self.ranked(body, Ranked::Otherwise.or(by));
    }

    fn recommend(&mut self, body: &Object) {
        self.output(body);
        let by = self.examples(body);
        self.ranked(body, by);
    }

    fn discover(&mut self, body: &Object) {
        self.output(body);
        self.add(Feature::Discover);
        let target = body.get("target").map(|target| self.vector(target));
        let by = self.pairs(body.get("context")).or(target);
        self.ranked(body, by);
    }

    fn upsert(&mut self, body: &Object) {
        self.shard_key(body);
        if let Some(filter) = object(body, "update_filter") {
            self.add(Feature::UpdateFilter);
            self.whole_filter(filter);
        }
        self.add_where(is_given(body, "update_mode"), Feature::UpdateMode);
        if let Some(columns) = object(body, "batch") {
            self.add(Feature::Columns);
            match columns.get("vectors") {
                Some(Value::Object(named)) => {
                    let lists = named.values().filter_map(Value::as_array);
                    lists.flatten().for_each(|vector| self.stored(vector));
                }
                Some(Value::Array(list)) => list.iter().for_each(|vector| self.stored(vector)),
                _ => {}
            }
        }
        for point in one_or_many(body.get("points")) {
            let vectors = point.get("vector").or_else(|| point.get("vectors"));
            match vectors {
                Some(Value::Object(named)) if !named.contains_key("model") => {
                    named.values().for_each(|vector| self.stored(vector));
                }
                Some(vector) => self.stored(vector),
                None => {}
            }
        }
    }

    fn stored(&mut self, vector: &Value) {
        // How it is ranked by is of no matter here.
        let _by = self.vector(vector);
    }

    fn change(&mut self, body: &Object) {
        self.shard_key(body);
        let by_ids = is_given(body, "points");
        if let Some(filter) = object(body, "filter").filter(|_| !by_ids) {
            self.add(Feature::ByFilter);
            self.whole_filter(filter);
        }
        self.add_where(is_given(body, "key"), Feature::PayloadKey);
    }

    fn one_of_a_batch(&mut self, of: &Object) {
        for (key, value) in of {
            let Some(body) = value.as_object() else {
                continue;
            };
            match key.as_str() {
                "upsert" | "update_vectors" => self.upsert(body),
                _ => self.change(body),
            }
        }
    }

    fn collection(&mut self, body: &Object) {
        let vectors = object(body, "vectors");
        let named = vectors.into_iter().flat_map(Map::values);
        let all: Vec<&Object> = named
            .filter_map(Value::as_object)
            .chain(vectors)
            .chain([body])
            .collect();
        let any = |key: &str| all.iter().any(|of| is_given(of, key));
        self.add_where(any("quantization_config"), Feature::Quantized);
        self.add_where(any("multivector_config"), Feature::Multivectors);
        self.add_where(is_given(body, "sparse_vectors"), Feature::SparseVectors);
        let method = body.get("sharding_method").and_then(Value::as_str);
        self.add_where(method == Some("custom"), Feature::CustomSharding);
    }
}

/// By what points are ranked.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Ranked {
    /// By what an index that guesses may find.
    ByIndex,
    /// By vectors that are all looked at.
    ByAll,
    Otherwise,
}

impl Ranked {
    fn or(self, other: Option<Self>) -> Self {
        match (self, other) {
            (one, None | Some(Self::Otherwise)) => one,
            (Self::ByIndex, _) | (_, Some(Self::ByIndex)) => Self::ByIndex,
            (Self::ByAll | Self::Otherwise, Some(Self::ByAll)) => Self::ByAll,
        }
    }
}

fn is_bm25(model: &str) -> bool {
    model.eq_ignore_ascii_case("qdrant/bm25") || model.eq_ignore_ascii_case("bm25")
}

fn is_given(body: &Object, key: &str) -> bool {
    body.get(key).is_some_and(|value| !value.is_null())
}

fn object<'b>(body: &'b Object, key: &str) -> Option<&'b Object> {
    body.get(key).and_then(Value::as_object)
}

fn one_or_many(of: Option<&Value>) -> impl Iterator<Item = &Object> {
    let many = of.and_then(Value::as_array);
    let one = of.and_then(Value::as_object);
    let many = many.into_iter().flatten().filter_map(Value::as_object);
    one.into_iter().chain(many)
}

fn each(body: &Object, key: &str, one: impl FnMut(&Object)) {
    one_or_many(body.get(key)).for_each(one);
}

#[cfg(test)]
mod tests;
