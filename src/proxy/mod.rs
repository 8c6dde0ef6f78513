//! The proxy: from a request as it came in to an answer.
//!
//! `layers` is the stack, in one place, with a reason for each height. `front` makes the one typed
//! value (`Call`) that every station below reads; nobody parses the path twice. `respond` holds
//! the only status codes of the package.

mod admit;
mod body;
mod call;
mod front;
mod layers;
mod pass;
pub mod respond;
mod shed;

pub use admit::Keys;
pub use body::BodyLimits;
pub use call::{Answer, CacheStatus, Call};
pub use layers::{ProxyParts, edge};
pub use pass::Deadlines;
