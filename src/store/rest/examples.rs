//! Recommend and discover, as the older calls have them: what they ask for, and the query that
//! each comes to.

use ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, ContextPair, ContextQuery, DiscoverQuery, Filter, NamedQuery, PointId, QueryEnum,
    QueryRequest as EngineRequest, ScoringQuery, VectorInternal, WithPayloadInterface, WithVector,
};

use super::plan;
use super::resolve::{Place, Resolved, Wanted};
use super::strict::{self, Demand};
use crate::error::Result;
use crate::store::engine::Collection;
use crate::wire::rest::examples::{
    DiscoverRequest, DiscoverRequestInternal, RecommendExample, RecommendRequest,
    RecommendRequestInternal, UsingVector,
};
use crate::wire::rest::query::RecommendStrategy;
use crate::wire::rest::{LookupLocation, ShardKeySelector, refuse};

/// A search by examples.
pub(super) trait Examples {
    /// As it is called when it took too long.
    const OPERATION: &'static str;

    /// That there are examples enough.
    fn check(&self) -> Result<()>;

    fn check_strict(&self, collection: &Collection) -> Result<()>;

    /// The points among the examples.
    fn wanted(&self) -> Result<Wanted>;

    /// The query, and the shards that it is for.
    fn plan(
        self,
        own: &str,
        wanted: &Wanted,
        resolved: &Resolved,
    ) -> Result<(EngineRequest, Option<ShardKeySelector>)>;
}

pub(super) struct Recommend {
    pub(super) request: RecommendRequestInternal,
    pub(super) using: String,
    pub(super) shard_key: Option<ShardKeySelector>,
}

impl From<RecommendRequest> for Recommend {
    fn from(request: RecommendRequest) -> Self {
        let mut inner = request.recommend_request;
        Self {
            using: name(inner.using.take()),
            request: inner,
            shard_key: request.shard_key,
        }
    }
}

pub(super) struct Discover {
    request: DiscoverRequestInternal,
    using: String,
    shard_key: Option<ShardKeySelector>,
}

impl From<DiscoverRequest> for Discover {
    fn from(request: DiscoverRequest) -> Self {
        let mut inner = request.discover_request;
        Self {
            using: name(inner.using.take()),
            request: inner,
            shard_key: request.shard_key,
        }
    }
}

pub(super) fn name(using: Option<UsingVector>) -> String {
    using.map(UsingVector::into_name).unwrap_or_default()
}

fn wanted<'e>(
    lookup: Option<&LookupLocation>,
    using: &str,
    examples: impl Iterator<Item = &'e RecommendExample>,
) -> Result<Wanted> {
    let ids: Vec<PointId> = examples.filter_map(RecommendExample::id).collect();
    if !ids.is_empty()
        && let Some(key) = lookup.and_then(|lookup| lookup.shard_key.as_ref())
    {
        return Err(key.refusal());
    }
    Ok(Place::of_examples(lookup, using).wanted(ids))
}

fn vector(
    resolved: &Resolved,
    place: Place<'_>,
    example: RecommendExample,
) -> Option<VectorInternal> {
    let mut vector = match example {
        RecommendExample::PointId(id) => resolved.vector(place, id)?,
        RecommendExample::Dense(vector) => VectorInternal::Dense(vector),
        RecommendExample::Sparse(vector) => VectorInternal::Sparse(vector),
    };
    vector.preprocess();
    Some(vector)
}

/// `filter`, and none of `ids`, whatever ids the filter names itself.
fn without_strictly(ids: Vec<PointId>, filter: Option<Filter>) -> Option<Filter> {
    let nested = filter.map(|filter| Filter::new_must(Condition::Filter(filter)));
    plan::without(ids, nested)
}

impl Examples for Recommend {
    const OPERATION: &'static str = "Recommend";

    fn check(&self) -> Result<()> {
        let none_to_follow = self.request.positive.is_empty();
        match self.request.strategy.unwrap_or_default() {
            RecommendStrategy::AverageVector if none_to_follow => Err(refuse::bad_request(
                "At least one positive vector ID required with this strategy",
            )),
            RecommendStrategy::BestScore | RecommendStrategy::SumScores
                if none_to_follow && self.request.negative.is_empty() =>
            {
                Err(refuse::bad_request(
                    "At least one positive or negative vector ID required with this strategy",
                ))
            }
            RecommendStrategy::AverageVector
            | RecommendStrategy::BestScore
            | RecommendStrategy::SumScores => Ok(()),
        }
    }

    fn check_strict(&self, collection: &Collection) -> Result<()> {
        let request = &self.request;
        strict::check_query(
            collection,
            &Demand {
                limit: Some(request.limit),
                filter: request.filter.as_ref(),
                params: request.params.as_ref(),
                exact: None,
            },
        )
    }

    fn wanted(&self) -> Result<Wanted> {
        let request = &self.request;
        let examples = request.positive.iter().chain(&request.negative);
        wanted(request.lookup_from.as_ref(), &self.using, examples)
    }

    fn plan(
        self,
        own: &str,
        wanted: &Wanted,
        resolved: &Resolved,
    ) -> Result<(EngineRequest, Option<ShardKeySelector>)> {
        let place = wanted.place();
        let vectors = |examples: Vec<RecommendExample>| {
            let examples = examples.into_iter();
            let vectors = examples.filter_map(|example| vector(resolved, place, example));
            vectors.collect::<Vec<_>>()
        };
        let request = self.request;
        let query = plan::recommend(
            request.strategy.unwrap_or_default(),
            vectors(request.positive),
            vectors(request.negative),
            &self.using,
        )?;
        let excluded = plan::examples([wanted], own);
        let search = EngineRequest {
            prefetches: vec![],
            query: Some(ScoringQuery::Vector(query)),
            filter: without_strictly(excluded, request.filter),
            score_threshold: request.score_threshold.map(OrderedFloat),
            limit: request.limit,
            offset: request.offset.unwrap_or(0),
            params: request.params,
            with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
            with_payload: request
                .with_payload
                .unwrap_or(WithPayloadInterface::Bool(false)),
        };
        Ok((search, self.shard_key))
    }
}

impl Examples for Discover {
    const OPERATION: &'static str = "Discover";

    fn check(&self) -> Result<()> {
        let no_pairs = self.request.context.as_ref().is_none_or(Vec::is_empty);
        if no_pairs && self.request.target.is_none() {
            return Err(refuse::bad_request(
                "target and/or context_pairs must be specified",
            ));
        }
        Ok(())
    }

    fn check_strict(&self, collection: &Collection) -> Result<()> {
        let request = &self.request;
        strict::check_query(
            collection,
            &Demand {
                limit: Some(request.limit),
                filter: request.filter.as_ref(),
                params: request.params.as_ref(),
                exact: None,
            },
        )
    }

    fn wanted(&self) -> Result<Wanted> {
        let request = &self.request;
        let pairs = request.context.iter().flatten();
        let examples = pairs.flat_map(|pair| [&pair.positive, &pair.negative]);
        let examples = request.target.iter().chain(examples);
        wanted(request.lookup_from.as_ref(), &self.using, examples)
    }

    fn plan(
        self,
        own: &str,
        wanted: &Wanted,
        resolved: &Resolved,
    ) -> Result<(EngineRequest, Option<ShardKeySelector>)> {
        let place = wanted.place();
        let request = self.request;
        let side = |example| vector(resolved, place, example).ok_or_else(|| place.no_vector());
        let pairs = request.context.into_iter().flatten().map(|pair| {
            Ok(ContextPair {
                positive: side(pair.positive)?,
                negative: side(pair.negative)?,
            })
        });
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        // A target that has no such vector is no target: what remains is the context.
        let target = request
            .target
            .and_then(|target| vector(resolved, place, target));
        let query = match target {
            Some(target) => {
                let query = DiscoverQuery::new(target, pairs);
                QueryEnum::Discover(NamedQuery::new(query, self.using))
            }
            None => {
                let query = ContextQuery::new(pairs);
                QueryEnum::Context(NamedQuery::new(query, self.using))
            }
        };
        let excluded = plan::examples([wanted], own);
        let search = EngineRequest {
            prefetches: vec![],
            query: Some(ScoringQuery::Vector(query)),
            filter: plan::without(excluded, request.filter),
            score_threshold: None,
            limit: request.limit,
            offset: request.offset.unwrap_or(0),
            params: request.params,
            with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
            with_payload: request
                .with_payload
                .unwrap_or(WithPayloadInterface::Bool(false)),
        };
        Ok((search, self.shard_key))
    }
}
