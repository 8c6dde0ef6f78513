//! Where points are found, in SQL: in tables of our own, or in one that is adopted. The only place
//! that tells the two apart for a read.

use std::collections::BTreeMap;

use qdrant_edge::PointId;

use super::Mapping;
use crate::store::pgvector::ann::AnnState;
use crate::store::pgvector::catalog::{Known, VectorKind, VectorTable};
use crate::store::pgvector::filter_sql::{Param, Params};
use crate::store::pgvector::ids;

impl Known {
    /// What stands after `from` for points as `c` with this vector as `s`, and a condition that
    /// goes with it.
    pub(in crate::store::pgvector) fn joined(
        &self,
        table: &VectorTable,
    ) -> (String, Option<String>) {
        match &table.own {
            Some(own) => (own.joined(self.points_table()), Some(own.there())),
            None => {
                let (points, vectors) = (self.points_table(), &table.table);
                (
                    format!("{vectors} s join {points} c on c.pid = s.pid"),
                    None,
                )
            }
        }
    }

    /// What stands after `from` for the vectors of these points, as `s`.
    pub(in crate::store::pgvector) fn vectors_of(
        &self,
        table: &VectorTable,
        pids: &[i64],
        params: &mut Params,
    ) -> String {
        let pids = params.push(Param::Ints(pids.to_vec()));
        match &table.own {
            Some(own) => format!(
                "{} where {} and {}",
                own.joined(self.points_table()),
                own.there(),
                Mapping::by_pids(&pids)
            ),
            None => format!("{} s where s.pid = any({pids})", table.table),
        }
    }

    /// The points of these numbers, as a condition on `c`.
    pub(in crate::store::pgvector) fn by_pids(&self, pids: &[i64], params: &mut Params) -> String {
        let pids = params.push(Param::Ints(pids.to_vec()));
        match self.adopted {
            Some(_) => Mapping::by_pids(&pids),
            None => format!("c.pid = any({pids}::bigint[])"),
        }
    }

    /// The points of these ids, as a condition on `c`.
    pub(in crate::store::pgvector) fn by_ids(
        &self,
        wanted: impl Iterator<Item = PointId>,
        params: &mut Params,
    ) -> String {
        match &self.adopted {
            Some(mapping) => mapping.by_ids(wanted, params),
            None => format!(
                "c.id = any({})",
                params.push(Param::ByteArrays(ids::keys(wanted)))
            ),
        }
    }

    /// What points go by in Qdrant's order, and the condition that they come from `first` on.
    pub(in crate::store::pgvector) fn from(
        &self,
        first: Option<PointId>,
        params: &mut Params,
    ) -> (&'static str, Option<String>) {
        match &self.adopted {
            Some(mapping) => mapping.from(first, params),
            None => {
                let first = first.map(|first| params.push(Param::Bytes(ids::key(first))));
                ("c.id", first.map(|first| format!("c.id >= {first}::bytea")))
            }
        }
    }

    /// So many lists of an IVFFlat index are looked through: about the root of how many there are.
    pub(in crate::store::pgvector) fn probes(&self) -> Option<usize> {
        let own = self.vectors.values().filter_map(|table| table.own.as_ref());
        let lists = own.filter_map(|own| own.lists).max()?;
        Some(lists.isqrt().max(10).min(lists))
    }
}

/// The vectors of an adopted table.
pub(in crate::store::pgvector) fn own_tables(mapping: &Mapping) -> BTreeMap<String, VectorTable> {
    let points = mapping.points();
    let tables = mapping
        .vectors
        .iter()
        .enumerate()
        .map(|(number, (name, source))| {
            let table = VectorTable {
                vno: 0,
                kind: VectorKind::Dense,
                table: points.clone(),
                dim: source.size,
                column: source.vector_column(),
                ann: match source.index {
                    Some(_) => AnnState::Ready,
                    None => AnnState::None,
                },
                own: Some(source.own(number)),
            };
            (name.clone(), table)
        });
    tables.collect()
}
