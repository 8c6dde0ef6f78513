//! The tables of vectors, as the catalogue knows them.

use crate::store::pgvector::adopt::Own;
use crate::store::pgvector::ann::AnnState;
use crate::store::pgvector::names;
use crate::store::pgvector::vectors::VectorColumn;
use crate::wire::rest::VectorKind as Declared;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::store::pgvector) enum VectorKind {
    Dense,
    Multi,
    Sparse,
}

impl VectorKind {
    pub(in crate::store::pgvector) fn as_str(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Multi => "multi",
            Self::Sparse => "sparse",
        }
    }
}

/// The table that keeps one vector of every point that has it.
#[derive(Clone, Debug)]
pub(in crate::store::pgvector) struct VectorTable {
    pub(in crate::store::pgvector) vno: i32,
    pub(in crate::store::pgvector) kind: VectorKind,
    /// As SQL names it: `qd_data.c1_v1`. Of an adopted table, the query for its points.
    pub(in crate::store::pgvector) table: String,
    /// Of a dense vector or of a row of a multivector; 0 for a sparse one.
    pub(in crate::store::pgvector) dim: usize,
    pub(in crate::store::pgvector) column: VectorColumn,
    pub(in crate::store::pgvector) ann: AnnState,
    /// It is a column of an adopted table.
    pub(in crate::store::pgvector) own: Option<Own>,
}

impl VectorTable {
    /// The names of the columns beside `pid`.
    pub(in crate::store::pgvector) fn columns(&self) -> &'static [&'static str] {
        match self.kind {
            VectorKind::Dense | VectorKind::Multi => &["v"],
            VectorKind::Sparse => &["idx", "val"],
        }
    }
}

/// The table of a vector that was declared so.
pub(in crate::store::pgvector) fn table(
    cid: i32,
    vno: i32,
    declared: Declared<'_>,
    ann: AnnState,
) -> VectorTable {
    let (kind, dim) = match declared {
        Declared::Dense(params) if declared.is_multi() => (VectorKind::Multi, params.dimensions()),
        Declared::Dense(params) => (VectorKind::Dense, params.dimensions()),
        Declared::Sparse(_) => (VectorKind::Sparse, 0),
    };
    let column = match declared {
        Declared::Dense(params) => VectorColumn::of(params),
        Declared::Sparse(_) => VectorColumn::Sparse,
    };
    VectorTable {
        vno,
        kind,
        table: names::vectors(cid, kind, vno),
        dim,
        column,
        ann,
        own: None,
    }
}
