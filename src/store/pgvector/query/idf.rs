//! The weights of a sparse query by how rare its indices are (`modifier: idf`).

use std::collections::{BTreeSet, HashMap};

use qdrant_edge::{QueryEnum, SparseVector};

use super::reader::Reader;
use crate::store::pgvector::catalog::VectorTable;
use crate::store::pgvector::filter_sql::{Param, Params};
use crate::store::pgvector::link::Fault;

const DOING: &str = "count how often indices occur";

pub(super) struct Weights {
    /// Points that have such a vector, and not an empty one.
    points: f32,
    /// Of these, the points that have the index.
    with: HashMap<u32, f32>,
}

impl Weights {
    /// For all indices in `query`.
    pub(super) async fn load(
        reader: &Reader<'_>,
        table: &VectorTable,
        query: &QueryEnum,
    ) -> Result<Self, Fault> {
        let mut indices = BTreeSet::new();
        query.iterate_sparse(|_name, vector| {
            indices.extend(vector.indices.iter().map(|index| i64::from(*index)));
        });
        let mut params = Params::default();
        let indices = params.push(Param::Ints(indices.into_iter().collect()));
        let text = format!(
            "select null::bigint, \
             (select count(*) from {table} s where cardinality(s.idx) > 0)::float4 union all \
             select i, (select count(*) from {table} s where s.idx @> array[i])::float4 \
             from unnest({indices}::bigint[]) i",
            table = table.table,
        );
        let failed = |error| Fault::undone(DOING, error);
        let mut weights = Self {
            points: 0.0,
            with: HashMap::new(),
        };
        for row in reader.rows(DOING, &text, &params).await? {
            let index: Option<i64> = row.try_get(0).map_err(failed)?;
            let count: f32 = row.try_get(1).map_err(failed)?;
            match index.map(u32::try_from) {
                None => weights.points = count,
                Some(Ok(index)) => {
                    weights.with.insert(index, count);
                }
                Some(Err(_)) => {}
            }
        }
        Ok(weights)
    }

    pub(super) fn weigh(&self, vector: &mut SparseVector) {
        for (index, value) in vector.indices.iter().zip(&mut vector.values) {
            let with = self.with.get(index).copied().unwrap_or(0.0);
            *value *= ((self.points - with + 0.5) / (with + 0.5) + 1.).ln();
        }
    }
}
