//! Qdrant's REST as data: which call a request is, what its query string says, what Qdrant's
//! answers look like, and how an upsert is cut in parts.
//!
//! The rule: only bytes in, bytes or values out. No sockets, no tasks, no settings. All of it reads
//! what strangers send, so nothing here may panic, recurse by input, or allocate more than a small
//! multiple of what came in; `tests/fuzz` and the tests at hand hold it to that.

#![deny(clippy::indexing_slicing, reason = "bytes come from outside")]

pub mod envelope;
mod escape;
mod multipart;
mod query;
mod recognise;
pub mod rest;
mod routes;
mod split;
pub mod written;

pub use multipart::{Multipart, MultipartError};
pub use query::{Params, ReadConsistency, WriteOrdering};
pub use recognise::{Recognised, recognise};
pub use routes::{ROUTES, Route};
pub use split::split_upsert;
