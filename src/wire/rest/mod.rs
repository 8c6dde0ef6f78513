//! The request and reply types of Qdrant's REST API.
//!
//! Where `qdrant-edge` carries Qdrant's own type, that is the type. What it lacks stands here in
//! the same shape, with the same serde attributes, in the same order: `serde_json` then words its
//! errors as Qdrant does, down to line and column. Rules are `validator`'s, described as Qdrant
//! describes them (`refuse::validation`).

mod collection;
pub mod refuse;

pub use collection::CollectionConfig;
