//! Pages of points, by id or by a payload field.

use deadpool_postgres::Client;
use qdrant_edge::{OperationError, OrderBy, PointId, Record, ScrollRequest, WithPayloadInterface};

use super::catalog::Known;
use super::link::Fault;
use super::query::hit::Hit;
use super::query::reader::Reader;
use super::query::search::Scope;
use super::query::{fill, order, refused};

/// Of a request that names none.
const LIMIT: usize = 10;

/// The page, and the id that the next one begins with. In the order of a field there is no next.
pub(super) async fn scroll(
    client: &mut Client,
    known: &Known,
    request: ScrollRequest,
) -> Result<(Vec<Record>, Option<PointId>), Fault> {
    let limit = request.limit.unwrap_or(LIMIT);
    let scope = Scope::All(request.filter);
    let reader = Reader::begin(client).await?;
    let (hits, next) = match request.order_by.map(OrderBy::from) {
        None => {
            let first = request.offset;
            // One more, to see whether there is more.
            let more = limit.saturating_add(1);
            let mut hits = order::by_id(&reader, known, &scope, first, more).await?;
            let next = hits.get(limit).map(|hit| hit.id);
            hits.truncate(limit);
            (hits, next)
        }
        Some(_) if request.offset.is_some() => {
            return Err(refused(OperationError::ValidationError {
                description: "Offset is not supported when ordering by field".to_owned(),
            }));
        }
        Some(order) => (
            order::by_field(&reader, known, &scope, &order, limit).await?,
            None,
        ),
    };
    let payload = request
        .with_payload
        .unwrap_or(WithPayloadInterface::Bool(true));
    let pids: Vec<_> = hits.iter().map(|hit| hit.pid).collect();
    let carried = fill::carried(&reader, known, &pids, &payload, &request.with_vector).await?;
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
