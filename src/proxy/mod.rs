//! The proxy: from a request as it came in to an answer.
//!
//! `layers` is the stack, in one place, with a reason for each height. `front` makes the one typed
//! value (`Call`) that every station below reads; nobody parses the path twice. `journey` is where the
//! ways part: `read`, `write`, `pass`. `respond` holds the only status codes of the package.

mod admit;
mod body;
mod call;
mod failover;
mod front;
mod journey;
mod layers;
mod marks;
mod mirrors;
mod names;
mod pass;
mod read;
pub mod respond;
mod route;
mod shed;
mod tenants;
mod unkept;
mod write;

pub use admit::Keys;
pub use body::BodyLimits;
pub use call::{Answer, CacheStatus, Call};
pub use layers::{LARGE_ANSWERS_MAX, ProxyParts, edge};
pub use mirrors::Mirrors;
pub use pass::Deadlines;
