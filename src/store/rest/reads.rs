//! Points read without ranking: by id, page by page, counted, and counted by value.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]

use std::collections::HashSet;

use qdrant_edge::{
    FacetResponse, PointId, Record, ScrollRequest, ValueVariants, WithPayloadInterface, WithVector,
};
use serde::Serialize;

use super::context::{Asked, Reply, Served};
use super::rank::within;
use super::strict::{self, Demand};
use crate::error::Result;
use crate::model::Operation;
use crate::wire::rest::shard_key::ShardKeySelector;
use crate::wire::rest::{CountPoints, FacetPoints, RetrievePoints, ScrollPoints, output, refuse};

const PAGE: usize = 10;
const OFFSET_WITH_ORDER: &str = "Cannot use an `offset` when using `order_by`. The alternative \
     for paging is to use `order_by.start_from` and a filter to exclude the IDs that you've \
     already seen for the `order_by.start_from` value";

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::GetPoint => get(served, asked).await?,
        Operation::GetPoints => retrieve(served, asked).await?,
        Operation::ScrollPoints => scroll(served, asked).await?,
        Operation::CountPoints => count(served, asked).await?,
        Operation::GetShardPoints => {
            only_shard(served, asked).await?;
            retrieve(served, asked).await?
        }
        Operation::ScrollShardPoints => {
            only_shard(served, asked).await?;
            scroll(served, asked).await?
        }
        Operation::CountShardPoints => {
            only_shard(served, asked).await?;
            count(served, asked).await?
        }
        Operation::Facet => facet(served, asked).await?,
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// A collection is one shard, number 0: that of any other number is not there.
async fn only_shard(served: &Served, asked: &Asked<'_>) -> Result<()> {
    let shard = shard_number(asked.recognised.shard().as_deref())?;
    served.collection(&asked.name()).await?;
    check_shard(shard)
}

/// Reads a shard's number from a path.
pub(super) fn shard_number(text: Option<&str>) -> Result<u32> {
    let text = text.unwrap_or_default();
    text.parse()
        .map_err(|error: std::num::ParseIntError| refuse::path_error(&error.to_string()))
}

pub(super) fn check_shard(shard: u32) -> Result<()> {
    if shard == 0 {
        Ok(())
    } else {
        Err(refuse::not_found(&format!("shard {shard} not found")))
    }
}

async fn get(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let params = asked.params()?;
    let text = asked.recognised.point_id().unwrap_or_default();
    let id: PointId = text.parse().map_err(|_not_an_id| {
        refuse::wrong_input(&format!("Can not recognize \"{text}\" as point id"))
    })?;
    let collection = served.collection(&asked.name()).await?;
    strict::check_timeout(&collection, params.timeout)?;
    strict::spend_reads(served, &collection, 1)?;
    let (payload, vector) = (WithPayloadInterface::Bool(true), WithVector::Bool(true));
    let work = served
        .engine
        .retrieve(&collection.name, vec![id], payload, vector);
    let found = within(params.timeout, "retrieve", work).await?;
    match found.first() {
        Some(point) => Reply::result(&output::record(point)),
        None => Err(refuse::not_found(&format!(
            "Point with id {id} does not exists!"
        ))),
    }
}

async fn retrieve(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: RetrievePoints = asked.json()?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    let shards = Shards::of(request.shard_key.as_ref())?;
    let request = request.point_request;
    strict::check_timeout(&collection, params.timeout)?;
    strict::spend_reads(served, &collection, request.ids.len())?;
    if shards == Shards::None {
        return Reply::result(&output::records(&[]));
    }
    let mut seen = HashSet::with_capacity(request.ids.len());
    let ids = request.ids.into_iter().filter(|id| seen.insert(*id));
    let payload = request.with_payload;
    let payload = payload.unwrap_or(WithPayloadInterface::Bool(false));
    let work = served.engine.retrieve(
        &collection.name,
        ids.collect(),
        payload,
        request.with_vector,
    );
    let found = within(params.timeout, "retrieve", work).await?;
    Reply::result(&output::records(&found))
}

async fn scroll(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: ScrollPoints = asked.json()?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    let (request, shard_key) = (request.scroll_request, request.shard_key);
    let demand = Demand {
        // A page of the usual size may be asked for whatever the limit is.
        limit: request.limit,
        filter: request.filter.as_ref(),
        ..Demand::default()
    };
    strict::check_timeout(&collection, params.timeout)?;
    strict::check_query(&collection, &demand)?;
    if request.order_by.is_some() && request.offset.is_some() {
        return Err(refuse::wrong_input(OFFSET_WITH_ORDER));
    }
    let shards = Shards::of(shard_key.as_ref())?;
    let cost = 1 + strict::conditions(request.filter.as_ref());
    strict::spend_reads(served, &collection, cost)?;
    if shards == Shards::None {
        return Reply::result(&page(&[], None));
    }
    let payload = request.with_payload;
    let request = ScrollRequest {
        limit: Some(request.limit.unwrap_or(PAGE)),
        with_payload: Some(payload.unwrap_or(WithPayloadInterface::Bool(true))),
        ..request
    };
    let operation = match request.order_by {
        Some(_) => "scroll_by_field",
        None => "scroll_by_id",
    };
    let work = served.engine.scroll(&collection.name, request);
    let (points, next) = within(params.timeout, operation, work).await?;
    Reply::result(&page(&points, next))
}

fn page(points: &[Record], next: Option<PointId>) -> impl Serialize + '_ {
    #[derive(Serialize)]
    struct Page<P: Serialize> {
        points: P,
        next_page_offset: Option<PointId>,
    }
    Page {
        points: output::records(points),
        next_page_offset: next,
    }
}

async fn count(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    #[derive(Serialize)]
    struct Count {
        count: usize,
    }
    let request: CountPoints = asked.json()?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    let (request, shard_key) = (request.count_request, request.shard_key);
    let demand = Demand {
        filter: request.filter.as_ref(),
        exact: Some(request.exact),
        ..Demand::default()
    };
    strict::check_timeout(&collection, params.timeout)?;
    strict::check_query(&collection, &demand)?;
    let shards = Shards::of(shard_key.as_ref())?;
    let cost = 1 + strict::conditions(request.filter.as_ref());
    strict::spend_reads(served, &collection, cost)?;
    let count = match shards {
        Shards::None => 0,
        Shards::All => {
            let work = served.engine.count(&collection.name, request);
            within(params.timeout, "count", work).await?
        }
    };
    Reply::result(&Count { count })
}

async fn facet(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let request: FacetPoints = asked.json()?;
    let params = asked.params()?;
    let collection = served.collection(&asked.name()).await?;
    let (request, shard_key) = (request.facet_request, request.shard_key);
    let demand = Demand {
        limit: request.limit,
        filter: request.filter.as_ref(),
        exact: request.exact,
        ..Demand::default()
    };
    strict::check_timeout(&collection, params.timeout)?;
    strict::check_query(&collection, &demand)?;
    let shards = Shards::of(shard_key.as_ref())?;
    let cost = 1 + strict::conditions(request.filter.as_ref());
    strict::spend_reads(served, &collection, cost)?;
    let counted = match shards {
        Shards::None => FacetResponse::default(),
        Shards::All => {
            let request = request.into();
            let work = served.engine.facet(&collection.name, request);
            within(params.timeout, "facet", work).await?
        }
    };
    Reply::result(&hits(counted))
}

fn hits(counted: FacetResponse) -> impl Serialize {
    #[derive(Serialize)]
    struct Hits {
        hits: Vec<Hit>,
    }
    #[derive(Serialize)]
    struct Hit {
        value: ValueVariants,
        count: usize,
    }
    let hits = counted.hits.into_iter().map(|hit| Hit {
        value: hit.value.into(),
        count: hit.count,
    });
    Hits {
        hits: hits.collect(),
    }
}

/// Which shards a request is for.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shards {
    All,
    /// An empty list of keys was given.
    None,
}

impl Shards {
    /// Refuses keys: no collection here has any.
    fn of(selector: Option<&ShardKeySelector>) -> Result<Self> {
        match selector {
            None => Ok(Self::All),
            Some(selector) if selector.first().is_none() => Ok(Self::None),
            Some(selector) => Err(selector.refusal()),
        }
    }
}
