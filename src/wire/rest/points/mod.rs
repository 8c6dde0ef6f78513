//! Requests that write points.
//!
//! Parsing keeps Qdrant's shapes to the letter, for its errors name them. What comes out of the
//! conversions (`into_points`, `all_into_persisted`) is the engine's own form, in lists, with every vector made.

mod batch;
mod change;
mod columns;
mod insert;
mod quick;
mod vector;

pub use batch::{PointWrite, UpdateOperation, UpdateOperations};
pub use change::{
    DeletePayload, DeleteVectors, FilterSelector, PointIdsList, PointsSelector, SetPayload,
    UpdateVectors,
};
pub use columns::{Batch, BatchVectorStruct};
pub use insert::{PointInsertOperations, PointStruct, PointVectors, PointsBatch, PointsList};
pub use vector::{Size, Sparse, Vector, VectorStruct, sizes_fit};

#[cfg(test)]
mod tests;
