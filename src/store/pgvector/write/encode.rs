//! A batch of vectors as array parameters, for `unnest`: one array a column, an element a point.

use qdrant_edge::{VectorInternal, VectorPersisted};

use crate::store::pgvector::pool::Value;
use crate::store::pgvector::vectors::{Space, Stored, VectorColumn};

/// One column of a batch.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) value: Value,
    /// The type of the array.
    pub(super) array: &'static str,
    /// What is written behind an element to make it the column's value.
    pub(super) cast: &'static str,
}

/// Arrays have no arrays of unequal length in them: those travel as text, in which PostgreSQL and
/// we print a number so that it is read back to the last bit.
pub(super) fn encode(
    column: VectorColumn,
    space: &Space,
    vectors: &[&VectorPersisted],
) -> Vec<Column> {
    let stored = vectors.iter().map(|vector| {
        let vector = VectorInternal::from((*vector).clone());
        Stored::of(vector, space)
    });
    let one = |value: Value, array, cast| {
        vec![Column {
            name: "v",
            value,
            array,
            cast,
        }]
    };
    match column {
        VectorColumn::Vector => {
            let rows: Vec<_> = stored
                .map(|stored| pgvector::Vector::from(flat(stored)))
                .collect();
            one(Box::new(rows), "vector[]", "")
        }
        VectorColumn::HalfVec => {
            // What it is rounded to was said by `Stored::of`; the cast finds nothing left to round.
            let rows: Vec<_> = stored
                .map(|stored| pgvector::Vector::from(flat(stored)))
                .collect();
            one(Box::new(rows), "vector[]", "::halfvec")
        }
        VectorColumn::Reals | VectorColumn::FlatRows => {
            let rows: Vec<_> = stored.map(|stored| list(flat(stored).iter())).collect();
            one(Box::new(rows), "text[]", "::real[]")
        }
        VectorColumn::Rows => {
            let rows: Vec<_> = stored.map(|stored| rows(&flat(stored), space)).collect();
            one(Box::new(rows), "text[]", "::vector[]")
        }
        VectorColumn::Sparse => sparse(stored),
    }
}

fn sparse(stored: impl Iterator<Item = Stored>) -> Vec<Column> {
    let (mut indices, mut values) = (Vec::new(), Vec::new());
    for stored in stored {
        if let Stored::Sparse(vector) = stored {
            indices.push(list(vector.indices.iter()));
            values.push(list(vector.values.iter()));
        }
    }
    let column = |name, texts: Vec<String>, cast| Column {
        name,
        value: Box::new(texts),
        array: "text[]",
        cast,
    };
    vec![
        column("idx", indices, "::bigint[]"),
        column("val", values, "::real[]"),
    ]
}

fn flat(stored: Stored) -> Vec<f32> {
    match stored {
        Stored::Rows(flat) => flat,
        // `store::check` has refused it.
        Stored::Sparse(_) => Vec::new(),
    }
}

fn list<T: std::fmt::Debug>(numbers: impl Iterator<Item = T>) -> String {
    let numbers: Vec<String> = numbers.map(|number| format!("{number:?}")).collect();
    format!("{{{}}}", numbers.join(","))
}

/// The rows as the text of an array of vectors.
fn rows(flat: &[f32], space: &Space) -> String {
    let rows = flat.chunks(space.dimensions.max(1)).map(|row| {
        let numbers: Vec<String> = row.iter().map(|number| format!("{number:?}")).collect();
        format!("\"[{}]\"", numbers.join(","))
    });
    format!("{{{}}}", rows.collect::<Vec<_>>().join(","))
}
