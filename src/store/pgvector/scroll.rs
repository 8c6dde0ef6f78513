//! Pages of points, by id or by a payload field.

use futures_util::future::try_join;
use qdrant_edge::{
    OperationError, OrderBy, PointId, Record, ScrollRequest, WithPayloadInterface, WithVector,
};

use super::catalog::Known;
use super::lent::Lent;
use super::link::Fault;
use super::query::hit::Hit;
use super::query::reader::Reader;
use super::query::search::Scope;
use super::query::{fill, order, refused};

/// Of a request that names none.
const LIMIT: usize = 10;

/// The page, and the id that the next one begins with. In the order of a field there is no next.
pub(super) async fn scroll(
    client: &mut Lent,
    known: &Known,
    request: ScrollRequest,
) -> Result<(Vec<Record>, Option<PointId>), Fault> {
    let limit = request.limit.unwrap_or(LIMIT);
    let scope = Scope::All(request.filter);
    let payload = request
        .with_payload
        .unwrap_or(WithPayloadInterface::Bool(true));
    let reader = Reader::new(client, payload != WithPayloadInterface::Bool(false));
    let order = request.order_by.map(OrderBy::from);
    if order.is_some() && request.offset.is_some() {
        return Err(refused(OperationError::ValidationError {
            description: "Offset is not supported when ordering by field".to_owned(),
        }));
    }
    let held = async {
        match request.with_vector {
            WithVector::Bool(false) => Ok(()),
            WithVector::Bool(true) | WithVector::Selector(_) => reader.hold(None).await,
        }
    };
    let found = async {
        match order {
            // One more, to see whether there is more.
            None => {
                let more = limit.saturating_add(1);
                order::by_id(&reader, known, &scope, request.offset, more).await
            }
            Some(order) => order::by_field(&reader, known, &scope, &order, limit).await,
        }
    };
    let ((), mut hits) = try_join(held, found).await?;
    let next = hits.get(limit).map(|hit| hit.id);
    hits.truncate(limit);
    let carried = fill::carried(&reader, known, &mut hits, &payload, &request.with_vector).await?;
    let record = |hit: Hit| {
        let (payload, vector) = carried.of(hit.pid);
        Record {
            id: hit.id,
            payload,
            vector,
            shard_key: None,
            order_value: hit.order_value,
        }
    };
    Ok((hits.into_iter().map(record).collect(), next))
}
