//! From a query as it was asked to one that an engine carries out: ids have become vectors, rules
//! that span several fields are kept, and the points that were asked with are left out.

use ordered_float::OrderedFloat;
use qdrant_edge::{
    Condition, ContextPair, ContextQuery, DiscoverQuery, FeedbackItem, FeedbackNaiveQuery, Filter,
    Fusion as EngineFusion, HasIdCondition, Mmr as EngineMmr, NaiveFeedbackStrategy, NamedQuery,
    PointId, Prefetch as EnginePrefetch, QueryEnum, QueryRequest as EngineRequest,
    RecommendQuery as EngineRecommend, Sample as EngineSample, ScoringQuery, SearchParams,
    VectorInternal, WithPayloadInterface, WithVector,
};

use super::average;
use super::resolve::{Place, Resolved, Wanted, refused};
use crate::error::Result;
use crate::wire::rest::inference::{Embedder, Purpose};
use crate::wire::rest::query::{
    ContextInput, DiscoverInput, FeedbackStrategy, Fusion, NearestQuery, Prefetch, Query,
    QueryInterface, RecommendInput, RecommendStrategy, RelevanceFeedbackInput, Sample,
};
use crate::wire::rest::{LookupLocation, VectorInput, refuse};

/// Of a query, and of a prefetch, that names none.
pub(super) const LIMIT: usize = 10;
const RRF_K: usize = 2;
const MMR_LAMBDA: f32 = 0.5;
const MMR_CANDIDATES_MAX: usize = 16_384;
/// In a prefetch an engine reranks, which may take a table of all pairs.
const MMR_PREFETCHED_MAX: usize = 4_096;
/// Feedback is compared in pairs, each of two vectors; so many numbers may they have together.
const FEEDBACK_NUMBERS_MAX: usize = 1 << 26;
/// What a vector takes beside its numbers, in numbers.
const VECTOR_OVERHEAD: usize = 32;

/// A query with everything around it: what a search and a search for groups have in common.
pub(super) struct Sought {
    pub(super) prefetch: Vec<Prefetch>,
    pub(super) query: Option<QueryInterface>,
    pub(super) using: String,
    pub(super) filter: Option<Filter>,
    pub(super) params: Option<SearchParams>,
    pub(super) score_threshold: Option<f32>,
    pub(super) limit: usize,
    pub(super) offset: usize,
    pub(super) with_vector: WithVector,
    pub(super) with_payload: WithPayloadInterface,
    pub(super) lookup_from: Option<LookupLocation>,
}

impl Sought {
    /// Makes vectors of what is to be inferred, and tells which points' vectors are needed.
    pub(super) fn prepare(&mut self) -> Result<Vec<Wanted>> {
        let mut preparation = Preparation {
            embedder: Embedder::new(Purpose::Search),
            wanted: vec![],
        };
        preparation.query(&mut self.query, self.lookup_from.as_ref(), &self.using)?;
        preparation.all(&mut self.prefetch)?;
        Ok(preparation.wanted)
    }

    /// The engine's form of it. `own` is the collection that is searched.
    pub(super) fn plan(
        self,
        own: &str,
        wanted: &[Wanted],
        resolved: &Resolved,
    ) -> Result<EngineRequest> {
        let query = self.query.as_ref();
        check(query, &self.using, &self.prefetch, self.score_threshold)?;
        let filter = without(examples(wanted, own), self.filter);
        let is_sample = matches!(query, Some(QueryInterface::Query(Query::Sample(_))));
        // A random sample has no beginning that could be skipped.
        let offset = if is_sample && self.prefetch.is_empty() {
            0
        } else {
            self.offset
        };
        let place = Place::of_query(self.lookup_from.as_ref(), &self.using);
        let scoring = Scoring {
            resolved,
            place,
            using: &self.using,
            limit: self.limit,
        };
        let query = self
            .query
            .map(|query| scoring.of(query.into_query()))
            .transpose()?;
        let level = match query {
            Some(ScoringQuery::Fusion(_)) => Level::Fused,
            Some(
                ScoringQuery::Vector(_)
                | ScoringQuery::OrderBy(_)
                | ScoringQuery::Formula(_)
                | ScoringQuery::Sample(_)
                | ScoringQuery::Mmr(_),
            )
            | None => Level::Below,
        };
        Ok(EngineRequest {
            prefetches: plan_all(self.prefetch, resolved, level)?,
            query,
            filter,
            score_threshold: self.score_threshold.map(OrderedFloat),
            limit: self.limit,
            offset,
            params: self.params,
            with_vector: self.with_vector,
            with_payload: self.with_payload,
        })
    }
}

/// The points that were asked with and are in the collection that is searched.
pub(super) fn examples<'w>(
    wanted: impl IntoIterator<Item = &'w Wanted>,
    own: &str,
) -> Vec<PointId> {
    let own = wanted.into_iter().filter(|part| part.place().is_own(own));
    own.flat_map(|part| part.ids.iter().copied()).collect()
}

struct Preparation {
    embedder: Embedder,
    wanted: Vec<Wanted>,
}

impl Preparation {
    fn query(
        &mut self,
        query: &mut Option<QueryInterface>,
        lookup: Option<&LookupLocation>,
        using: &str,
    ) -> Result<()> {
        let mut ids = vec![];
        for input in query.iter_mut().flat_map(QueryInterface::inputs_mut) {
            if let Some(source) = input.inference() {
                *input = VectorInput::SparseVector(self.embedder.embed(source)?);
            }
            ids.extend(input.id());
        }
        if ids.is_empty() {
            return Ok(());
        }
        if let Some(key) = lookup.and_then(|lookup| lookup.shard_key.as_ref()) {
            return Err(key.refusal());
        }
        let place = Place::of_query(lookup, using);
        self.wanted.push(place.wanted(ids));
        Ok(())
    }

    fn all(&mut self, prefetches: &mut [Prefetch]) -> Result<()> {
        for part in prefetches {
            let using = part.using.as_deref().unwrap_or_default();
            self.query(&mut part.query, part.lookup_from.as_ref(), using)?;
            self.all(part.prefetch.as_deref_mut().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Where a prefetch stands.
#[derive(Clone, Copy)]
enum Level {
    /// Its results are fused, and that is the answer.
    Fused,
    Below,
}

fn plan_all(
    prefetches: Vec<Prefetch>,
    resolved: &Resolved,
    level: Level,
) -> Result<Vec<EnginePrefetch>> {
    let planned = prefetches
        .into_iter()
        .map(|prefetch| plan_prefetch(prefetch, resolved, level));
    planned.collect()
}

fn plan_prefetch(prefetch: Prefetch, resolved: &Resolved, level: Level) -> Result<EnginePrefetch> {
    let using = prefetch.using.unwrap_or_default();
    let below = prefetch.prefetch.unwrap_or_default();
    let limit = prefetch.limit.unwrap_or(LIMIT);
    let query = prefetch.query;
    check(query.as_ref(), &using, &below, prefetch.score_threshold)?;
    let scoring = Scoring {
        resolved,
        place: Place::of_query(prefetch.lookup_from.as_ref(), &using),
        using: &using,
        limit,
    };
    let mut query = query
        .map(|query| scoring.of(query.into_query()))
        .transpose()?;
    let mut limit = limit;
    if let Some(ScoringQuery::Mmr(mmr)) = &query
        && (below.is_empty() || matches!(mmr.vector, VectorInternal::Sparse(_)))
    {
        // Only what was found is reranked by novelty. To find something, Qdrant takes the nearest:
        // all the candidates, unless they go straight into the final fusion. Sparse vectors are
        // reranked for the final answer only.
        limit = match level {
            Level::Below if below.is_empty() => mmr.candidates_limit,
            Level::Fused | Level::Below => limit.min(mmr.candidates_limit),
        };
        let nearest = NamedQuery::new(mmr.vector.clone(), mmr.using.as_str());
        query = Some(ScoringQuery::Vector(QueryEnum::Nearest(nearest)));
    } else if let Some(ScoringQuery::Mmr(mmr)) = &mut query {
        mmr.candidates_limit = mmr.candidates_limit.min(MMR_PREFETCHED_MAX);
    }
    Ok(EnginePrefetch {
        prefetches: plan_all(below, resolved, Level::Below)?,
        query,
        limit,
        params: prefetch.params,
        filter: prefetch.filter,
        score_threshold: prefetch.score_threshold.map(OrderedFloat),
    })
}

/// What the fields of a query, or of a prefetch, must be to each other.
fn check(
    query: Option<&QueryInterface>,
    using: &str,
    prefetch: &[Prefetch],
    score_threshold: Option<f32>,
) -> Result<()> {
    let kind = match query {
        Some(QueryInterface::Query(kind)) => Some(kind),
        Some(QueryInterface::Nearest(_)) | None => None,
    };
    if query.is_none() && !prefetch.is_empty() {
        return Err(refuse::bad_request(
            "A query is needed to merge the prefetches. \
             Can't have prefetches without defining a query.",
        ));
    }
    if score_threshold.is_some() && query.is_none() {
        return Err(refuse::bad_request(
            "A query is needed to use the score_threshold. \
             Can't have score_threshold without defining a query.",
        ));
    }
    if score_threshold.is_some() && matches!(kind, Some(Query::OrderBy(_))) {
        return Err(refuse::bad_request(
            "Can't use score_threshold with an order_by query.",
        ));
    }
    if !using.is_empty() && matches!(kind, Some(Query::Fusion(_) | Query::Rrf(_))) {
        return Err(refuse::bad_request(
            "Fusion queries cannot be combined with the 'using' field.",
        ));
    }
    Ok(())
}

/// `filter`, and none of `ids`.
pub(super) fn without(ids: Vec<PointId>, filter: Option<Filter>) -> Option<Filter> {
    if ids.is_empty() {
        return filter;
    }
    let ids: HasIdCondition = ids.into_iter().collect();
    let others = Filter::new_must_not(Condition::HasId(ids));
    Some(others.merge_owned(filter.unwrap_or_default()))
}

/// Turns one query into the engine's form.
struct Scoring<'q> {
    resolved: &'q Resolved,
    place: Place<'q>,
    using: &'q str,
    /// Of the request, for those that look at more candidates.
    limit: usize,
}

impl Scoring<'_> {
    fn of(&self, query: Query) -> Result<ScoringQuery> {
        let ranked = match query {
            Query::Nearest(nearest) => return self.nearest(nearest),
            Query::Recommend(query) => self.recommend(query.recommend)?,
            Query::Discover(query) => {
                let DiscoverInput { target, context } = query.discover;
                let target = self.vector(target)?;
                let query = DiscoverQuery::new(target, self.pairs(context)?);
                QueryEnum::Discover(self.named(query))
            }
            Query::Context(query) => {
                let ContextInput(context) = query.context;
                let query = ContextQuery::new(self.pairs(context)?);
                QueryEnum::Context(self.named(query))
            }
            Query::RelevanceFeedback(query) => self.feedback(query.relevance_feedback)?,
            Query::OrderBy(query) => return Ok(ScoringQuery::OrderBy(query.order_by.into())),
            Query::Fusion(query) => return Ok(ScoringQuery::Fusion(fusion(query.fusion))),
            Query::Rrf(query) => {
                let weights = query.rrf.weights;
                return Ok(ScoringQuery::Fusion(EngineFusion::Rrf {
                    k: query.rrf.k.unwrap_or(RRF_K),
                    weights: weights.map(|weights| weights.into_iter().map(OrderedFloat).collect()),
                }));
            }
            Query::Formula(query) => {
                let parsed = query.formula().try_into();
                return Ok(ScoringQuery::Formula(
                    parsed.map_err(|error| refused(&error))?,
                ));
            }
            Query::Sample(query) => {
                let Sample::Random = query.sample;
                return Ok(ScoringQuery::Sample(EngineSample::Random));
            }
        };
        Ok(ScoringQuery::Vector(ranked))
    }

    fn named<T>(&self, query: T) -> NamedQuery<T> {
        NamedQuery::new(query, self.using)
    }

    /// The vector of an input, or Qdrant's 404 when its point has none.
    fn vector(&self, input: VectorInput) -> Result<VectorInternal> {
        let vector = self.resolved.input(self.place, input);
        let mut vector = vector.ok_or_else(|| self.place.no_vector())?;
        vector.preprocess();
        Ok(vector)
    }

    /// The vectors of examples. An example without one is passed over.
    fn vectors(&self, inputs: Option<Vec<VectorInput>>) -> Vec<VectorInternal> {
        let inputs = inputs.into_iter().flatten();
        inputs
            .filter_map(|input| self.resolved.input(self.place, input))
            .map(|mut vector| {
                vector.preprocess();
                vector
            })
            .collect()
    }

    fn nearest(&self, NearestQuery { nearest, mmr }: NearestQuery) -> Result<ScoringQuery> {
        let vector = self.vector(nearest)?;
        let Some(mmr) = mmr else {
            return Ok(ScoringQuery::Vector(QueryEnum::Nearest(self.named(vector))));
        };
        let lambda = mmr
            .diversity
            .map_or(MMR_LAMBDA, |diversity| 1.0 - diversity);
        Ok(ScoringQuery::Mmr(EngineMmr {
            vector,
            using: self.using.to_owned(),
            lambda: OrderedFloat(lambda),
            // No more than may be asked for by number.
            candidates_limit: mmr
                .candidates_limit
                .unwrap_or(self.limit)
                .min(MMR_CANDIDATES_MAX),
        }))
    }

    fn recommend(&self, input: RecommendInput) -> Result<QueryEnum> {
        let positives = self.vectors(input.positive);
        let negatives = self.vectors(input.negative);
        recommend(
            input.strategy.unwrap_or_default(),
            positives,
            negatives,
            self.using,
        )
    }

    fn pairs(
        &self,
        pairs: Option<Vec<crate::wire::rest::query::ContextPair>>,
    ) -> Result<Vec<ContextPair<VectorInternal>>> {
        let pairs = pairs.into_iter().flatten().map(|pair| {
            Ok(ContextPair {
                positive: self.vector(pair.positive)?,
                negative: self.vector(pair.negative)?,
            })
        });
        pairs.collect()
    }

    fn feedback(&self, input: RelevanceFeedbackInput) -> Result<QueryEnum> {
        let target = self.vector(input.target)?;
        let feedback = input.feedback.into_iter().map(|item| {
            Ok(FeedbackItem {
                vector: self.vector(item.example)?,
                score: OrderedFloat(item.score),
            })
        });
        let feedback = feedback.collect::<Result<Vec<_>>>()?;
        let longest = feedback.iter().map(|item| numbers(&item.vector)).max();
        let vector = longest.unwrap_or(0).saturating_add(VECTOR_OVERHEAD);
        let pairs = feedback.len().saturating_mul(feedback.len());
        if pairs.saturating_mul(vector) > FEEDBACK_NUMBERS_MAX {
            return Err(refuse::bad_request(
                "Too much relevance feedback: every two of its examples are compared",
            ));
        }
        let FeedbackStrategy { naive } = input.strategy;
        Ok(QueryEnum::FeedbackNaive(self.named(FeedbackNaiveQuery {
            target,
            feedback,
            coefficients: NaiveFeedbackStrategy {
                a: OrderedFloat(naive.a),
                b: OrderedFloat(naive.b),
                c: OrderedFloat(naive.c),
            },
        })))
    }
}

/// By one of the three strategies.
pub(super) fn recommend(
    strategy: RecommendStrategy,
    positives: Vec<VectorInternal>,
    negatives: Vec<VectorInternal>,
    using: &str,
) -> Result<QueryEnum> {
    Ok(match strategy {
        RecommendStrategy::AverageVector => {
            let average = average::recommended(positives, negatives)?;
            QueryEnum::Nearest(NamedQuery::new(average, using))
        }
        RecommendStrategy::BestScore => {
            let query = EngineRecommend::new(positives, negatives);
            QueryEnum::RecommendBestScore(NamedQuery::new(query, using))
        }
        RecommendStrategy::SumScores => {
            let query = EngineRecommend::new(positives, negatives);
            QueryEnum::RecommendSumScores(NamedQuery::new(query, using))
        }
    })
}

fn fusion(fusion: Fusion) -> EngineFusion {
    match fusion {
        Fusion::Rrf => EngineFusion::Rrf {
            k: RRF_K,
            weights: None,
        },
        Fusion::Dbsf => EngineFusion::Dbsf,
    }
}

fn numbers(vector: &VectorInternal) -> usize {
    match vector {
        VectorInternal::Dense(vector) => vector.len(),
        VectorInternal::Sparse(vector) => vector.indices.len().saturating_mul(2),
        VectorInternal::MultiDense(rows) => rows.flattened_vectors.len(),
    }
}
