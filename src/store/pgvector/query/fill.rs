//! What found points carry: fetched for those that are answered with, and for nothing else.

use std::collections::{BTreeSet, HashMap};

use futures_util::future::{try_join, try_join_all};
use qdrant_edge::{
    OperationError, Payload, PayloadSelector, VectorInternal, VectorStructInternal,
    WithPayloadInterface, WithVector,
};

use super::hit::Hit;
use super::reader::Reader;
use super::refused;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::filter_sql::Params;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::payload;
use crate::store::pgvector::read;
use crate::store::pgvector::vectors::{self, Space};

/// What is carried, of all points by their internal number.
pub(in crate::store::pgvector) struct Carried {
    payloads: Option<HashMap<i64, Payload>>,
    vectors: Option<HashMap<i64, Vec<(String, VectorInternal)>>>,
}

impl Carried {
    pub(in crate::store::pgvector) fn of(
        &self,
        pid: i64,
    ) -> (Option<Payload>, Option<VectorStructInternal>) {
        let payload = self.payloads.as_ref();
        let payload = payload.map(|all| all.get(&pid).cloned().unwrap_or_default());
        let vectors = self.vectors.as_ref();
        let vectors = vectors.map(|all| {
            let named = all.get(&pid).cloned().unwrap_or_default();
            VectorStructInternal::from(named)
        });
        (payload, vectors)
    }
}

/// Points that are gone carry nothing.
pub(in crate::store::pgvector) async fn carried(
    reader: &Reader<'_>,
    known: &Known,
    hits: &mut [Hit],
    payload: &WithPayloadInterface,
    vector: &WithVector,
) -> Result<Carried, Fault> {
    let pids: Vec<_> = hits.iter().map(|hit| hit.pid).collect();
    let pids = pids.as_slice();
    let payloads = async {
        let selector = match payload {
            WithPayloadInterface::Bool(false) => return Ok(None),
            WithPayloadInterface::Bool(true) => None,
            WithPayloadInterface::Fields(fields) => {
                Some(PayloadSelector::new_include(fields.clone()))
            }
            WithPayloadInterface::Selector(selector) => Some(selector.clone()),
        };
        let mut payloads = match brought(hits)? {
            Some(payloads) => payloads,
            None => payloads(reader, known, pids).await?,
        };
        if let Some(selector) = selector {
            for payload in payloads.values_mut() {
                *payload = selector.process(std::mem::take(payload));
            }
        }
        Ok::<_, Fault>(Some(payloads))
    };
    let vectors = async {
        let names: BTreeSet<&str> = match vector {
            WithVector::Bool(false) => return Ok(None),
            WithVector::Bool(true) => known.vectors.keys().map(String::as_str).collect(),
            WithVector::Selector(names) => names.iter().map(String::as_str).collect(),
        };
        let is_default_twice = read::names_all(vector);
        let each = names
            .iter()
            .map(|name| vectors_of(reader, known, pids, name));
        let mut all: HashMap<i64, Vec<(String, VectorInternal)>> = HashMap::new();
        for (name, vectors) in names.iter().zip(try_join_all(each).await?) {
            for (pid, vector) in vectors {
                let named = all.entry(pid).or_default();
                if is_default_twice && name.is_empty() {
                    named.push(((*name).to_owned(), vector.clone()));
                }
                named.push(((*name).to_owned(), vector));
            }
        }
        Ok::<_, Fault>(Some(all))
    };
    let (payloads, vectors) = try_join(payloads, vectors).await?;
    Ok(Carried { payloads, vectors })
}

/// Those that came with the points, if they all did.
fn brought(hits: &mut [Hit]) -> Result<Option<HashMap<i64, Payload>>, Fault> {
    if hits.iter().any(|hit| hit.payload.is_none()) {
        return Ok(None);
    }
    let decoded = hits.iter_mut().map(|hit| {
        let text = hit.payload.take().unwrap_or_default();
        Ok((hit.pid, payload::decode(&text)?))
    });
    decoded.collect::<Result<_, Fault>>().map(Some)
}

/// Whole payloads.
pub(super) async fn payloads(
    reader: &Reader<'_>,
    known: &Known,
    pids: &[i64],
) -> Result<HashMap<i64, Payload>, Fault> {
    if pids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut params = Params::default();
    let condition = known.by_pids(pids, &mut params);
    let text = format!(
        "select c.pid, c.payload::text from {} c where {condition}",
        known.points_table(),
    );
    const DOING: &str = "read payloads";
    let rows = reader.rows(DOING, &text, &params).await?;
    let failed = |error| Fault::undone(DOING, error);
    let read = rows.iter().map(|row| {
        let text: &str = row.try_get(1).map_err(failed)?;
        Ok((row.try_get(0).map_err(failed)?, payload::decode(text)?))
    });
    read.collect()
}

async fn vectors_of(
    reader: &Reader<'_>,
    known: &Known,
    pids: &[i64],
    name: &str,
) -> Result<Vec<(i64, VectorInternal)>, Fault> {
    // Of no points no vector is looked for, so that it is not missed either.
    if pids.is_empty() {
        return Ok(vec![]);
    }
    let (table, space) = Space::of(known, name).ok_or_else(|| no_vector(name))?;
    let mut params = Params::default();
    let from = known.vectors_of(table, pids, &mut params);
    let text = format!("select s.pid, {} from {from}", table.column.selected());
    const DOING: &str = "read vectors";
    let rows = reader.rows(DOING, &text, &params).await?;
    let read = rows.iter().map(|row| {
        let pid = row
            .try_get(0)
            .map_err(|error| Fault::undone(DOING, error))?;
        let vector = vectors::read(row, 1, table, &space)?;
        Ok((pid, vector.into_vector(&space)))
    });
    read.collect()
}

pub(super) fn no_vector(name: &str) -> Fault {
    refused(OperationError::VectorNameNotExists {
        received_name: name.to_owned(),
    })
}
