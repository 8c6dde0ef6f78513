//! Queries: trees of prefetches, what is searched for at their leaves and how it is put together
//! above, with the meaning that they have in Qdrant.
//!
//! PostgreSQL finds candidates; scores are computed in this process, and what a point carries is
//! fetched for those that are answered with. A query reads one snapshot from first to last.
//!
//! | part | scores |
//! |---|---|
//! | nearest, dense | those of Qdrant, to the last bit; the points by HNSW where an index is ready |
//! | nearest, several rows or sparse | exact; sums of floats may differ in the last digit |
//! | best score, discovery, context, feedback | exact: every vector in the scope is looked at |
//! | fusions, formulas, novelty | Qdrant's own arithmetic |
//!
//! Of points that score the same the smaller id comes first. Qdrant leaves that open.

mod check;
pub(super) mod fill;
mod formula;
mod fuse;
pub(super) mod hit;
mod idf;
mod novelty;
pub(super) mod order;
pub(super) mod reader;
mod rescore;
mod score;
pub(super) mod search;
pub(super) mod similarity;
mod values;

use std::future::Future;
use std::pin::Pin;

use futures_util::future::{try_join, try_join_all};
use qdrant_edge::external::serde_json;
use qdrant_edge::{
    Filter, Mmr, NamedQuery, OperationError, Prefetch, QueryEnum, QueryRequest, Sample,
    ScoredPoint, ScoringQuery, SearchParams, WithPayloadInterface, WithVector,
};

use self::hit::Hit;
use self::reader::Reader;
use self::rescore::Pieces;
use self::search::{Scope, Wanted};
use super::ann::{Abilities, AnnState, Effort};
use super::catalog::Known;
use super::lent::Lent;
use super::link::Fault;
use crate::error::Error;
use crate::wire::rest::{VectorKind, refuse};

type Found<'f> = Pin<Box<dyn Future<Output = Result<Vec<Hit>, Fault>> + Send + 'f>>;

/// Carries out one query.
pub(super) async fn query(
    client: &mut Lent,
    known: &Known,
    abilities: Abilities,
    request: QueryRequest,
) -> Result<Vec<ScoredPoint>, Fault> {
    let mut answers = query_all(client, known, abilities, vec![request]).await?;
    Ok(answers.pop().unwrap_or_default())
}

/// Carries out several in one snapshot, each step of all of them in one round trip. The first
/// fault ends it.
pub(super) async fn query_all(
    client: &mut Lent,
    known: &Known,
    abilities: Abilities,
    requests: Vec<QueryRequest>,
) -> Result<Vec<Vec<ScoredPoint>>, Fault> {
    for request in &requests {
        check::check(request).map_err(refused)?;
    }
    let has_index = known
        .vectors
        .values()
        .any(|table| table.ann == AnnState::Ready);
    let effort = requests
        .iter()
        .map(|request| effort(request, abilities))
        .reduce(Effort::max)
        .map(|effort| effort.with_probes(known.probes()))
        .filter(|effort| has_index && !effort.is_usual());
    let reader = Reader::new(client, requests.iter().all(brings_payload));
    let is_held = match requests.as_slice() {
        [request] => effort.is_some() || !is_one_statement(known, request),
        _ => true,
    };
    let run = Run {
        reader: &reader,
        known,
    };
    // Both are sent at once, the beginning first.
    let begun = async {
        match is_held {
            true => reader.hold(effort.as_ref()).await,
            false => Ok(()),
        }
    };
    let answers = requests.into_iter().map(|request| run.answer(request));
    let ((), answers) = try_join(begun, try_join_all(answers)).await?;
    Ok(answers)
}

/// Whether the statement that finds the points may give their payloads: nothing else is done with
/// what it finds, and not much of it is left out.
fn brings_payload(request: &QueryRequest) -> bool {
    request.prefetches.is_empty()
        && !matches!(request.query, Some(ScoringQuery::Mmr(_)))
        && request.with_payload != WithPayloadInterface::Bool(false)
        && request.offset <= request.limit
}

/// Whether all that is read for the answer is read by one statement.
fn is_one_statement(known: &Known, request: &QueryRequest) -> bool {
    let has_payload =
        brings_payload(request) || request.with_payload == WithPayloadInterface::Bool(false);
    let finds = match &request.query {
        None | Some(ScoringQuery::OrderBy(_) | ScoringQuery::Sample(_)) => true,
        Some(ScoringQuery::Vector(query @ QueryEnum::Nearest(_))) => {
            let declared = known.declared.config.vector(query.get_vector_name());
            // How rare the words of a query are is counted first.
            !matches!(declared, Some(VectorKind::Sparse(params)) if params.modifier.is_some())
        }
        Some(
            ScoringQuery::Vector(_)
            | ScoringQuery::Mmr(_)
            | ScoringQuery::Fusion(_)
            | ScoringQuery::Formula(_),
        ) => false,
    };
    finds
        && has_payload
        && request.prefetches.is_empty()
        && request.with_vector == WithVector::Bool(false)
}

/// Enough for every search in the tree.
fn effort(request: &QueryRequest, abilities: Abilities) -> Effort {
    fn of_all(prefetches: &[Prefetch], abilities: Abilities, so_far: Effort) -> Effort {
        prefetches.iter().fold(so_far, |so_far, part| {
            let own = Effort::of(part.params.as_ref(), part.limit, abilities);
            of_all(&part.prefetches, abilities, so_far.max(own))
        })
    }
    let limit = request.limit.saturating_add(request.offset);
    let own = Effort::of(request.params.as_ref(), limit, abilities);
    of_all(&request.prefetches, abilities, own)
}

#[derive(Clone, Copy)]
struct Run<'r> {
    reader: &'r Reader<'r>,
    known: &'r Known,
}

/// What is done with the points of a node's prefetches, or to find points where it has none.
#[derive(Clone)]
struct Node {
    query: Option<ScoringQuery>,
    params: Option<SearchParams>,
    threshold: Option<f32>,
    limit: usize,
}

impl<'r> Run<'r> {
    async fn answer(self, request: QueryRequest) -> Result<Vec<ScoredPoint>, Fault> {
        let (limit, offset) = (request.limit, request.offset);
        if limit == 0 {
            return Ok(vec![]);
        }
        let node = Node {
            query: request.query,
            params: request.params,
            threshold: request.score_threshold.map(|score| score.into_inner()),
            // What is skipped has to be found first.
            limit: limit.saturating_add(offset),
        };
        let mut ends = Vec::new();
        ends_of(&request.prefetches, request.filter.as_ref(), &mut ends);
        let found = self.root(node, request.prefetches, request.filter).await;
        let hits = match found {
            // They run side by side, and it is chance which of them is the first to be refused.
            Err(fault) if ends.len() > 1 && fault.is_refusal() => {
                return Err(self.first_refusal(ends).await.unwrap_or(fault));
            }
            found => found?,
        };
        let mut hits: Vec<_> = hits.into_iter().skip(offset).take(limit).collect();
        let (payload, vector) = (&request.with_payload, &request.with_vector);
        let carried = fill::carried(self.reader, self.known, &mut hits, payload, vector).await?;
        let points = hits.into_iter().map(|hit| {
            let (payload, vector) = carried.of(hit.pid);
            let mut point = hit.into_point();
            (point.payload, point.vector) = (payload, vector);
            point
        });
        Ok(points.collect())
    }

    /// The one that Qdrant tells: it carries out all the searches of the tree, then the scrolls.
    async fn first_refusal(self, ends: Vec<(Node, Option<Filter>)>) -> Option<Fault> {
        let (searches, scrolls): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(node, _)| {
            let by_vector = |query: &ScoringQuery| {
                matches!(query, ScoringQuery::Vector(_) | ScoringQuery::Mmr(_))
            };
            node.query.as_ref().is_some_and(by_vector)
        });
        for (node, filter) in searches.into_iter().chain(scrolls) {
            if let Err(fault) = self.leaf(node, filter).await {
                return Some(fault);
            }
        }
        None
    }

    async fn root(
        self,
        node: Node,
        prefetches: Vec<Prefetch>,
        filter: Option<Filter>,
    ) -> Result<Vec<Hit>, Fault> {
        let Some(ScoringQuery::Mmr(mmr)) = node.query else {
            return self.node(node, prefetches, filter).await;
        };
        // The nearest come first, and are then reranked.
        let limit = node.limit;
        let nearest = Node {
            query: Some(nearest(&mmr)),
            limit: mmr.candidates_limit,
            ..node
        };
        let found = self.node(nearest, prefetches, filter).await?;
        rescore::by_novelty(self.reader, self.known, mmr, vec![found], limit).await
    }

    /// Filters go down to the leaves.
    fn node(self, node: Node, prefetches: Vec<Prefetch>, filter: Option<Filter>) -> Found<'r> {
        Box::pin(async move {
            if prefetches.is_empty() {
                return self.leaf(node, filter).await;
            }
            let parts = prefetches.into_iter().map(|mut part| {
                let filter = Filter::merge_opts(filter.clone(), part.filter.take());
                let below = std::mem::take(&mut part.prefetches);
                self.node(Node::of(part), below, filter)
            });
            let sources = try_join_all(parts).await?;
            self.rescore(node, sources).await
        })
    }

    async fn leaf(self, node: Node, filter: Option<Filter>) -> Result<Vec<Hit>, Fault> {
        let scope = Scope::All(filter);
        match node.query {
            Some(ScoringQuery::Vector(query)) => {
                self.search(query, scope, node.params, node.limit, node.threshold)
                    .await
            }
            // What is found goes up as it is.
            Some(ScoringQuery::Mmr(mmr)) => {
                let query = nearest_of(&mmr);
                let limit = mmr.candidates_limit;
                self.search(query, scope, node.params, limit, node.threshold)
                    .await
            }
            None => order::by_id(self.reader, self.known, &scope, None, node.limit).await,
            Some(ScoringQuery::OrderBy(order)) => {
                order::by_field(self.reader, self.known, &scope, &order, node.limit).await
            }
            Some(ScoringQuery::Sample(Sample::Random)) => {
                order::sampled(self.reader, self.known, &scope, node.limit).await
            }
            Some(ScoringQuery::Fusion(_)) => Err(refused(check::without_prefetches("Fusion"))),
            Some(ScoringQuery::Formula(_)) => Err(refused(check::without_prefetches("Formula"))),
        }
    }

    async fn rescore(self, node: Node, sources: Vec<Vec<Hit>>) -> Result<Vec<Hit>, Fault> {
        let scope = |sources: Vec<Vec<Hit>>| {
            let union = novelty::once(sources.into_iter().flatten().collect());
            Scope::Points(union.iter().map(|hit| hit.pid).collect())
        };
        let (limit, threshold) = (node.limit, node.threshold);
        match node.query {
            Some(ScoringQuery::Fusion(fusion)) => {
                let fused = fuse::fuse(sources, &fusion).into_iter();
                let passes = |hit: &Hit| threshold.is_none_or(|least| hit.score >= least);
                Ok(fused.take_while(passes).take(limit).collect())
            }
            Some(ScoringQuery::Vector(query)) => {
                self.search(query, scope(sources), node.params, limit, threshold)
                    .await
            }
            Some(ScoringQuery::OrderBy(order)) => {
                order::by_field(self.reader, self.known, &scope(sources), &order, limit).await
            }
            Some(ScoringQuery::Sample(Sample::Random)) => {
                order::sampled(self.reader, self.known, &scope(sources), limit).await
            }
            Some(ScoringQuery::Formula(formula)) => {
                let expression = serde_json::to_value(&formula.formula);
                let defaults = formula.defaults.into_iter();
                let pieces = Pieces {
                    expression: expression.map_err(|error| unreadable().with_source(error))?,
                    conditions: formula.conditions,
                    variables: formula.payload_vars.into_iter().collect(),
                    defaults: defaults
                        .map(|(name, value)| (name.unparse(), value))
                        .collect(),
                };
                let (reader, known) = (self.reader, self.known);
                rescore::by_formula(reader, known, pieces, sources, limit, threshold).await
            }
            Some(ScoringQuery::Mmr(mmr)) => {
                rescore::by_novelty(self.reader, self.known, mmr, sources, limit).await
            }
            None => Err(refused(check::without_query())),
        }
    }

    async fn search(
        self,
        query: QueryEnum,
        scope: Scope,
        params: Option<SearchParams>,
        limit: usize,
        threshold: Option<f32>,
    ) -> Result<Vec<Hit>, Fault> {
        let wanted = Wanted {
            scope,
            params,
            limit,
            threshold,
        };
        search::search(self.reader, self.known, query, &wanted).await
    }
}

impl Node {
    fn of(part: Prefetch) -> Self {
        Self {
            query: part.query,
            params: part.params,
            threshold: part.score_threshold.map(|score| score.into_inner()),
            limit: part.limit,
        }
    }
}

/// The parts that rest on no others, from the first to the last, with the filters that reach them.
fn ends_of(
    prefetches: &[Prefetch],
    filter: Option<&Filter>,
    ends: &mut Vec<(Node, Option<Filter>)>,
) {
    for part in prefetches {
        let filter = Filter::merge_opts(filter.cloned(), part.filter.clone());
        if part.prefetches.is_empty() {
            ends.push((Node::of(part.clone()), filter));
        } else {
            ends_of(&part.prefetches, filter.as_ref(), ends);
        }
    }
}

fn nearest_of(mmr: &Mmr) -> QueryEnum {
    QueryEnum::Nearest(NamedQuery::new(mmr.vector.clone(), mmr.using.as_str()))
}

fn nearest(mmr: &Mmr) -> ScoringQuery {
    ScoringQuery::Vector(nearest_of(mmr))
}

fn unreadable() -> Error {
    refuse::service_error("the formula cannot be written out")
}

/// Qdrant's refusals in Qdrant's words.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "foreign enum; the rest are worded alike"
)]
pub(super) fn refused(error: OperationError) -> Fault {
    let refused = match error {
        OperationError::WrongSparse => {
            refuse::wrong_input("Conversion between sparse and regular vectors failed")
        }
        OperationError::WrongMulti => {
            refuse::wrong_input("Conversion between multi and regular vectors failed")
        }
        other => refuse::wrong_input(&other.to_string()),
    };
    refused.into()
}

#[cfg(test)]
mod tests;
