//! Vectors as they are kept, and the columns that keep them.
//!
//! A vector is stored as Qdrant stores it: of length 1 where angles count, rounded to the numbers
//! it is kept in. What is read back is what was stored, to the last bit.
//!
//! | vector | column |
//! |---|---|
//! | dense | `v vector(n)`; of 16-bit floats `v halfvec(n)`; above 16,000 dimensions `v real[]` |
//! | several rows | `v vector(n)[]`; above 16,000 dimensions `v real[]`, row after row |
//! | sparse | `idx bigint[]`, in order, and `val real[]` |

use deadpool_postgres::tokio_postgres::Row;
use qdrant_edge::{
    Distance, MultiVectorComparator, SparseVector, TypedMultiDenseVector, VectorInternal,
};

use super::catalog::{Known, VectorTable};
use super::floats::Floats;
use super::link::{self, Fault};
use super::query::similarity::Element;
use crate::error::Result;
use crate::wire::rest::{self, VectorParams};

/// What pgvector's types hold.
const DIMENSIONS_MAX: usize = 16_000;
/// What a page of PostgreSQL has for rows, and what a row takes beside the numbers of its vector.
const PAGE_BYTES: usize = 8_160;
const ROW_BYTES: usize = 48;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum VectorColumn {
    /// `v vector(n)`.
    Vector,
    /// `v halfvec(n)`.
    HalfVec,
    /// `v real[]`.
    Reals,
    /// `v vector(n)[]`.
    Rows,
    /// `v real[]`, row after row.
    FlatRows,
    /// `idx bigint[]` and `val real[]`.
    Sparse,
}

impl VectorColumn {
    /// For a vector that is not sparse.
    pub(super) fn of(params: &VectorParams) -> Self {
        let fits = params.dimensions() <= DIMENSIONS_MAX;
        match (params.multivector_config.is_some(), fits) {
            (true, true) => Self::Rows,
            (true, false) => Self::FlatRows,
            (false, false) => Self::Reals,
            (false, true) if Element::of(params.datatype) == Element::Half => Self::HalfVec,
            (false, true) => Self::Vector,
        }
    }

    /// The columns beside `pid`, as `create table` wants them.
    pub(super) fn definition(self, dimensions: usize) -> String {
        match self {
            Self::Vector => format!("v vector({dimensions}) not null"),
            Self::HalfVec => format!("v halfvec({dimensions}) not null"),
            Self::Rows => format!("v vector({dimensions})[] not null"),
            Self::Reals | Self::FlatRows => "v real[] not null".to_owned(),
            Self::Sparse => "idx bigint[] not null, val real[] not null".to_owned(),
        }
    }

    /// How PostgreSQL is to store the columns. Vectors do not get smaller by compression. One that
    /// stands in its row is compared twice as fast as one that is put together from pieces
    /// elsewhere, but rows do not go over the end of a page: it is worth it where little is left
    /// empty.
    pub(super) fn storage(self, dimensions: usize) -> &'static str {
        let of_one = match self {
            Self::Vector => 4,
            Self::HalfVec => 2,
            Self::Reals | Self::Rows | Self::FlatRows | Self::Sparse => return "external",
        };
        let row = ROW_BYTES.saturating_add(dimensions.saturating_mul(of_one));
        let used = (PAGE_BYTES / row).saturating_mul(row);
        if used >= PAGE_BYTES / 4 * 3 {
            "plain"
        } else {
            "external"
        }
    }

    /// The columns of alias `s` that `read` reads.
    pub(super) fn selected(self) -> &'static str {
        match self {
            Self::Vector | Self::Reals | Self::Rows | Self::FlatRows => "s.v",
            Self::HalfVec => "s.v::vector",
            Self::Sparse => "s.idx, s.val",
        }
    }
}

/// What has to be known of a vector to store it, and to compare it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Space {
    pub(super) distance: Distance,
    pub(super) element: Element,
    pub(super) dimensions: usize,
    pub(super) is_multi: bool,
    pub(super) is_sparse: bool,
}

impl Space {
    pub(super) fn dense(params: &VectorParams) -> Self {
        if let Some(config) = params.multivector_config {
            // There is no other.
            let MultiVectorComparator::MaxSim = config.comparator;
        }
        Self {
            distance: params.distance,
            element: Element::of(params.datatype),
            dimensions: params.dimensions(),
            is_multi: params.multivector_config.is_some(),
            is_sparse: false,
        }
    }

    pub(super) fn sparse() -> Self {
        Self {
            distance: Distance::Dot,
            element: Element::Float,
            dimensions: 0,
            is_multi: false,
            is_sparse: true,
        }
    }

    /// Of the vector called `name`.
    pub(super) fn of<'k>(known: &'k Known, name: &str) -> Option<(&'k VectorTable, Self)> {
        let table = known.vectors.get(name)?;
        let space = match known.declared.config.vector(name)? {
            rest::VectorKind::Dense(params) => Self::dense(params),
            rest::VectorKind::Sparse(_) => Self::sparse(),
        };
        Some((table, space))
    }

    /// Rows as they are stored, and as they are searched with.
    pub(super) fn prepared(&self, rows: &[f32]) -> Vec<f32> {
        let rows = rows.chunks(self.dimensions.max(1));
        let rows = rows.flat_map(|row| self.element.prepared(self.distance, row));
        rows.collect()
    }
}

/// A vector as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Stored {
    /// Rows of one length, one after the other. A dense vector is one row.
    Rows(Vec<f32>),
    /// In the order of the indices.
    Sparse(SparseVector),
}

impl Stored {
    /// A vector that was checked against `space`.
    pub(super) fn of(vector: VectorInternal, space: &Space) -> Self {
        match vector {
            VectorInternal::Dense(row) => Self::Rows(space.prepared(&row)),
            VectorInternal::MultiDense(rows) => Self::Rows(space.prepared(&rows.flattened_vectors)),
            VectorInternal::Sparse(mut vector) => {
                vector.sort_by_indices();
                Self::Sparse(vector)
            }
        }
    }

    /// As clients see it.
    pub(super) fn into_vector(self, space: &Space) -> VectorInternal {
        match self {
            Self::Rows(flat) if space.is_multi => {
                VectorInternal::MultiDense(TypedMultiDenseVector {
                    flattened_vectors: flat,
                    dim: space.dimensions,
                })
            }
            Self::Rows(row) => VectorInternal::Dense(row),
            Self::Sparse(vector) => VectorInternal::Sparse(vector),
        }
    }
}

/// Reads what `VectorColumn::selected` names, from column number `at` on.
///
/// What others have stored is made here what Qdrant would have stored.
pub(super) fn read(
    row: &Row,
    at: usize,
    table: &VectorTable,
    space: &Space,
) -> Result<Stored, Fault> {
    let stored = read_as_is(row, at, table.column)?;
    Ok(match stored {
        Stored::Rows(mut row) if table.own.is_some() => {
            row.truncate(space.dimensions);
            Stored::Rows(space.prepared(&row))
        }
        Stored::Rows(_) | Stored::Sparse(_) => stored,
    })
}

fn read_as_is(row: &Row, at: usize, column: VectorColumn) -> Result<Stored, Fault> {
    let failed = |error| Fault::undone("read a vector", error);
    Ok(match column {
        VectorColumn::Vector | VectorColumn::HalfVec => {
            let vector: Floats = row.try_get(at).map_err(failed)?;
            Stored::Rows(vector.0)
        }
        VectorColumn::Rows => {
            let rows: Vec<Floats> = row.try_get(at).map_err(failed)?;
            Stored::Rows(rows.into_iter().flat_map(|row| row.0).collect())
        }
        VectorColumn::Reals | VectorColumn::FlatRows => {
            Stored::Rows(row.try_get(at).map_err(failed)?)
        }
        VectorColumn::Sparse => {
            let indices: Vec<i64> = row.try_get(at).map_err(failed)?;
            let indices = indices.into_iter().map(u32::try_from);
            let indices = indices.collect::<std::result::Result<_, _>>();
            Stored::Sparse(SparseVector {
                indices: indices.map_err(|_error| link::nonsense("read a sparse vector"))?,
                values: row.try_get(at + 1).map_err(failed)?,
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_stand_in_their_rows_where_pages_are_filled() {
        let check = |column: VectorColumn, dimensions, expected| {
            assert_eq!(
                column.storage(dimensions),
                expected,
                "{column:?} {dimensions}"
            );
        };
        let (whole, half) = (VectorColumn::Vector, VectorColumn::HalfVec);
        for dimensions in [1, 64, 384, 512, 768, 1536, 2000] {
            check(whole, dimensions, "plain");
        }
        for dimensions in [1024, 2048, 3072, 16_000] {
            check(whole, dimensions, "external");
        }
        check(half, 1024, "plain");
        check(half, 3072, "plain");
        check(half, 8000, "external");
        check(VectorColumn::Sparse, 0, "external");
    }
}
