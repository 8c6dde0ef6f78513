//! Searches whose answers come in groups, one for each value of a payload field.
//!
//! An engine ranks points, not groups. Groups are filled by searching again: first past the groups
//! that are full, then within those that are not, and a few times at most, as Qdrant does it.

use std::collections::{BTreeSet, HashMap};

use ordered_float::OrderedFloat;
use qdrant_edge::{
    AnyVariants, Condition, Direction, Distance, FieldCondition, Filter, JsonPath, Match, PointId,
    Prefetch, QueryRequest as EngineRequest, Record, ScoredPoint, ScoringQuery,
    WithPayloadInterface, WithVector,
};
use serde::Serialize;

use super::context::{Asked, Reply, Served};
use super::examples::{self, Examples, Recommend};
use super::group::{Group, GroupKey, Groups, Order};
use super::matrix::no_such_vector;
use super::plan::{LIMIT, Sought};
use super::query::{check_shard_keys, check_strict};
use super::rank::{rank, within};
use super::resolve::{Resolved, looked_up};
use super::{search, strict};
use crate::error::Result;
use crate::model::Operation;
use crate::store::engine::Collection;
use crate::wire::rest::examples::{RecommendGroupsRequest, RecommendRequestInternal};
use crate::wire::rest::lookup::{WithLookup, WithLookupInterface};
use crate::wire::rest::query::{QueryGroupsRequest, QueryGroupsRequestInternal};
use crate::wire::rest::search::{BaseGroupRequest, SearchGroupsRequest};
use crate::wire::rest::{ShardKeySelector, VectorKind, output, refuse};

/// So often is it searched for more groups, and then for more points of the groups found.
const SEARCHES_MAX: usize = 5;
const GROUP_SIZE: usize = 3;
/// Groups times their size stays below.
const POINTS_BOUND: usize = 1 << 31;

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    if asked.operation == Operation::QueryGroups {
        return query_groups(served, asked).await.map(Some);
    }
    if asked.operation == Operation::SearchGroups {
        return search_groups(served, asked).await.map(Some);
    }
    if asked.operation == Operation::RecommendGroups {
        return recommend_groups(served, asked).await.map(Some);
    }
    Ok(None)
}

/// How to group.
struct Grouping {
    by: JsonPath,
    size: usize,
    limit: usize,
    lookup: Option<WithLookup>,
}

impl Grouping {
    fn new(by: JsonPath, size: usize, limit: usize, lookup: Option<WithLookupInterface>) -> Self {
        Self {
            by,
            size,
            limit,
            lookup: lookup.map(WithLookup::from),
        }
    }

    fn of_base(base: BaseGroupRequest) -> Self {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        Self::new(
            base.group_by,
            number(base.group_size),
            number(base.limit),
            base.with_lookup,
        )
    }

    /// How many points there are at most in all groups together.
    fn points(&self) -> usize {
        self.size.saturating_mul(self.limit)
    }

    fn check(&self) -> Result<()> {
        if self.points() < POINTS_BOUND {
            return Ok(());
        }
        Err(refuse::bad_request(&format!(
            "group_size times limit must be less than {POINTS_BOUND}"
        )))
    }
}

async fn query_groups(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let request: QueryGroupsRequest = asked.large_json().await?;
    let shard_key = request.shard_key;
    let (mut sought, grouping) = split(request.search_group_request);
    grouping.check()?;
    let work = async {
        let wanted = sought.prepare()?;
        let collection = served.collection(&asked.name()).await?;
        strict::check_grouping(&collection, &grouping.by)?;
        check_strict(&collection, &sought, grouping.points())?;
        strict::check_timeout(&collection, params.timeout)?;
        let resolved = Resolved::fetch(served, &collection, &wanted).await?;
        let search = sought.plan(&collection.name, &wanted, &resolved)?;
        group(served, &collection, search, &grouping, shard_key).await
    };
    reply(within(params.timeout, "Query", work).await?)
}

fn split(request: QueryGroupsRequestInternal) -> (Sought, Grouping) {
    let base = request.group_request;
    let grouping = Grouping::new(
        base.group_by,
        base.group_size.unwrap_or(GROUP_SIZE),
        base.limit.unwrap_or(LIMIT),
        base.with_lookup,
    );
    let sought = Sought {
        prefetch: request.prefetch.unwrap_or_default(),
        query: request.query,
        using: request.using.unwrap_or_default(),
        filter: request.filter,
        params: request.params,
        score_threshold: request.score_threshold,
        limit: grouping.limit,
        offset: 0,
        with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
        with_payload: request
            .with_payload
            .unwrap_or(WithPayloadInterface::Bool(false)),
        lookup_from: request.lookup_from,
    };
    (sought, grouping)
}

async fn search_groups(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let request: SearchGroupsRequest = asked.large_json().await?;
    let shard_key = request.shard_key;
    let request = request.search_group_request;
    let grouping = Grouping::of_base(request.group_request);
    grouping.check()?;
    let work = async {
        let collection = served.collection(&asked.name()).await?;
        let search = EngineRequest {
            prefetches: vec![],
            query: Some(search::nearest(request.vector)),
            filter: request.filter,
            score_threshold: request.score_threshold.map(OrderedFloat),
            limit: 0,
            offset: 0,
            params: request.params,
            with_vector: request.with_vector.unwrap_or(WithVector::Bool(false)),
            with_payload: request
                .with_payload
                .unwrap_or(WithPayloadInterface::Bool(false)),
        };
        strict::check_grouping(&collection, &grouping.by)?;
        search::check_strict(&collection, &search, grouping.points())?;
        strict::check_timeout(&collection, params.timeout)?;
        group(served, &collection, search, &grouping, shard_key).await
    };
    reply(within(params.timeout, "Search", work).await?)
}

async fn recommend_groups(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let request: RecommendGroupsRequest = asked.large_json().await?;
    let shard_key = request.shard_key;
    let request = request.recommend_group_request;
    let grouping = Grouping::of_base(request.group_request);
    grouping.check()?;
    let recommend = Recommend {
        using: examples::name(request.using),
        request: RecommendRequestInternal {
            positive: request.positive,
            negative: request.negative,
            strategy: request.strategy,
            filter: request.filter,
            params: request.params,
            limit: grouping.points(),
            offset: None,
            with_payload: request.with_payload,
            with_vector: request.with_vector,
            score_threshold: request.score_threshold,
            using: None,
            lookup_from: request.lookup_from,
        },
        shard_key: None,
    };
    let work = async {
        let collection = served.collection(&asked.name()).await?;
        strict::check_grouping(&collection, &grouping.by)?;
        recommend.check_strict(&collection)?;
        strict::check_timeout(&collection, params.timeout)?;
        let wanted = recommend.wanted()?;
        let resolved = Resolved::fetch(served, &collection, [&wanted]).await?;
        resolved.check([&wanted])?;
        let (search, _) = recommend.plan(&collection.name, &wanted, &resolved)?;
        group(served, &collection, search, &grouping, shard_key).await
    };
    reply(within(params.timeout, "Recommend", work).await?)
}

/// A group, filled, and the record that its key is the id of.
struct Answered {
    key: GroupKey,
    hits: Vec<ScoredPoint>,
    lookup: Option<Record>,
}

fn reply(groups: Vec<Answered>) -> Result<Reply> {
    #[derive(Serialize)]
    struct Listed<G> {
        groups: Vec<G>,
    }
    #[derive(Serialize)]
    struct Written<'g, H, L> {
        hits: H,
        id: &'g GroupKey,
        #[serde(skip_serializing_if = "Option::is_none")]
        lookup: Option<L>,
    }
    let groups = groups.iter().map(|group| Written {
        hits: output::scored_points(&group.hits),
        id: &group.key,
        lookup: group.lookup.as_ref().map(output::record),
    });
    Reply::result(&Listed {
        groups: groups.collect(),
    })
}

async fn group(
    served: &Served,
    collection: &Collection,
    search: EngineRequest,
    grouping: &Grouping,
    shard_key: Option<ShardKeySelector>,
) -> Result<Vec<Answered>> {
    let order = order(collection, search.query.as_ref())?;
    check_shard_keys(shard_key.as_slice())?;
    let mut groups = Groups::new(grouping.limit, grouping.size, order);
    if grouping.points() > 0 {
        fill(served, collection, &search, grouping, &mut groups).await?;
    }
    let mut found = groups.best();
    let EngineRequest {
        with_payload,
        with_vector,
        ..
    } = search;
    hydrate(served, collection, &mut found, with_payload, with_vector).await?;
    look_up(served, found, grouping.lookup.as_ref()).await
}

async fn fill(
    served: &Served,
    collection: &Collection,
    search: &EngineRequest,
    grouping: &Grouping,
    groups: &mut Groups,
) -> Result<()> {
    for _ in 0..SEARCHES_MAX {
        let past = on_keys(&grouping.by, groups.full(), Match::new_except);
        if !step(served, collection, search, grouping, groups, past).await? {
            break;
        }
        if groups.are_full() {
            return Ok(());
        }
    }
    for _ in 0..SEARCHES_MAX {
        let within = on_keys(&grouping.by, groups.wanting(), Match::new_any);
        if !step(served, collection, search, grouping, groups, within).await? || groups.are_full() {
            break;
        }
    }
    Ok(())
}

/// Searches once more, for points that were not found before. False if there are none.
async fn step(
    served: &Served,
    collection: &Collection,
    search: &EngineRequest,
    grouping: &Grouping,
    groups: &mut Groups,
    keys: Vec<Condition>,
) -> Result<bool> {
    let mut search = search.clone();
    search.limit = grouping.points();
    search.offset = 0;
    for prefetch in &mut search.prefetches {
        widen(prefetch, grouping.limit);
    }
    let mut filter = search.filter.take().unwrap_or_default();
    if !keys.is_empty() {
        let keys = Filter {
            must: Some(keys),
            ..Filter::new()
        };
        filter = filter.merge_owned(keys);
    }
    if !groups.seen().is_empty() {
        let seen = groups.seen().iter().copied().collect();
        filter = filter.merge_owned(Filter::new_must_not(Condition::HasId(seen)));
    }
    let keyless = Filter::new_must_not(Condition::IsEmpty(grouping.by.clone().into()));
    search.filter = Some(filter.merge_owned(keyless));
    search.with_payload = WithPayloadInterface::Fields(vec![grouping.by.strip_wildcard_suffix()]);
    search.with_vector = WithVector::Bool(false);
    let points = rank(served, collection, search).await?;
    let any = !points.is_empty();
    for point in points {
        groups.add(point, &grouping.by);
    }
    Ok(any)
}

/// Prefetches find points for every group.
fn widen(prefetch: &mut Prefetch, groups: usize) {
    prefetch.limit = prefetch.limit.saturating_mul(groups);
    for part in &mut prefetch.prefetches {
        widen(part, groups);
    }
}

fn on_keys(
    by: &JsonPath,
    keys: Vec<&GroupKey>,
    matching: fn(AnyVariants) -> Match,
) -> Vec<Condition> {
    let numbers = AnyVariants::Integers(keys.iter().filter_map(|key| key.as_i64()).collect());
    let texts = keys.iter().filter_map(|key| key.as_str());
    let texts = AnyVariants::Strings(texts.map(str::to_owned).collect());
    let used = [numbers, texts].into_iter().filter(|any| !any.is_empty());
    used.map(|any| Condition::Field(FieldCondition::new_match(by.clone(), matching(any))))
        .collect()
}

/// What makes one hit better than another.
fn order(collection: &Collection, query: Option<&ScoringQuery>) -> Result<Order> {
    let by_distance = match query {
        None | Some(ScoringQuery::Sample(_) | ScoringQuery::Mmr(_)) => return Ok(Order::AsFound),
        Some(ScoringQuery::OrderBy(order_by)) => {
            return Ok(match order_by.direction() {
                Direction::Asc => Order::SmallFirst,
                Direction::Desc => Order::LargeFirst,
            });
        }
        Some(ScoringQuery::Fusion(_) | ScoringQuery::Formula(_)) => false,
        Some(ScoringQuery::Vector(query)) => query.is_distance_scored(),
    };
    let name = query.and_then(ScoringQuery::get_vector_name);
    let Some(name) = name.filter(|_| by_distance) else {
        return Ok(Order::LargeFirst);
    };
    match collection.config.vector(name) {
        Some(VectorKind::Dense(params)) => Ok(match params.distance {
            Distance::Euclid | Distance::Manhattan => Order::SmallFirst,
            Distance::Cosine | Distance::Dot => Order::LargeFirst,
        }),
        Some(VectorKind::Sparse(_)) => Ok(Order::LargeFirst),
        None => Err(no_such_vector(collection, name)),
    }
}

/// Gives the hits the payload and vectors that were asked for. What was deleted since it was found
/// is no hit.
async fn hydrate(
    served: &Served,
    collection: &Collection,
    groups: &mut Vec<Group>,
    payload: WithPayloadInterface,
    vector: WithVector,
) -> Result<()> {
    let mut records = HashMap::new();
    if payload.is_required() || vector.is_enabled() {
        let hits = groups.iter().flat_map(|group| &group.hits);
        let ids: BTreeSet<PointId> = hits.map(|hit| hit.id).collect();
        let ids = ids.into_iter().collect();
        let read = served
            .engine
            .retrieve(&collection.name, ids, payload, vector);
        let read = read.await?.into_iter();
        records.extend(read.map(|record| (record.id, record)));
        for group in groups.iter_mut() {
            group.hits.retain(|hit| records.contains_key(&hit.id));
        }
        groups.retain(|group| !group.hits.is_empty());
    }
    for hit in groups.iter_mut().flat_map(|group| &mut group.hits) {
        let record = records.get(&hit.id);
        hit.payload = record.and_then(|record| record.payload.clone());
        hit.vector = record.and_then(|record| record.vector.clone());
    }
    Ok(())
}

/// Puts beside each group the point of another collection whose id its key is.
async fn look_up(
    served: &Served,
    groups: Vec<Group>,
    lookup: Option<&WithLookup>,
) -> Result<Vec<Answered>> {
    let mut records = HashMap::new();
    if let Some(lookup) = lookup {
        let other = looked_up(served, &lookup.collection_name).await?;
        let ids: Vec<_> = groups.iter().filter_map(|group| group.key.id()).collect();
        if !ids.is_empty() {
            let payload = lookup.with_payload.clone();
            let payload = payload.unwrap_or(WithPayloadInterface::Bool(false));
            let vector = lookup.with_vectors.clone();
            let vector = vector.unwrap_or(WithVector::Bool(false));
            let read = served.engine.retrieve(&other.name, ids, payload, vector);
            let read = read.await?.into_iter();
            records.extend(read.map(|record| (GroupKey::from(record.id), record)));
        }
    }
    let groups = groups.into_iter().map(|group| Answered {
        lookup: records.remove(&group.key),
        key: group.key,
        hits: group.hits,
    });
    Ok(groups.collect())
}
