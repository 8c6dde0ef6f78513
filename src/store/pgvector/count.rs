//! How many points there are.

use qdrant_edge::CountRequest;

use super::catalog::Known;
use super::filter_sql::Params;
use super::lent::Lent;
use super::link::{self, Fault};
use super::query::reader::Reader;
use super::query::search::Scope;

const DOING: &str = "count points";

/// Exactly, also where less would do: an estimate would have to be told apart from none.
pub(super) async fn count(
    client: &mut Lent,
    known: &Known,
    request: CountRequest,
) -> Result<usize, Fault> {
    let reader = Reader::new(client, false);
    let mut params = Params::default();
    let condition = Scope::All(request.filter).condition(known, &mut params)?;
    let text = format!(
        "select count(*) from {points} c where {condition}",
        points = known.points_table(),
        condition = condition.as_deref().unwrap_or("true"),
    );
    let rows = reader.rows(DOING, &text, &params).await?;
    let row = rows.first().ok_or_else(|| link::nonsense(DOING))?;
    let count: i64 = row
        .try_get(0)
        .map_err(|error| Fault::undone(DOING, error))?;
    Ok(usize::try_from(count).map_err(|_error| link::nonsense(DOING))?)
}
