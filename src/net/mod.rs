//! The network organ: listeners, TLS, serving HTTP/1.1 and HTTP/2, and the client towards
//! upstreams. It knows tower and hyper; it knows nothing of Qdrant, of stores or of modes.
//!
//! Rules kept here: every connection is owned by a task group and counted; every wait on a peer
//! has a bound (`Patience`); bodies are streamed in constant memory unless a caller asks for them
//! to be collected, and then up to a bound that the caller names.

mod body;
mod connection;
mod connector;
mod fetch;
mod file_body;
mod listen;
mod paced;
mod pool;
mod relay;
mod room;
mod serve;
mod tls;
mod upstream;

pub use body::{Body, BodyError, Collect, Gathered, collect, gather};
pub use connection::{InFlight, Patience};
pub use fetch::{FetchError, fetch};
pub use listen::{Bound, bind};
pub use paced::{Awaits, Streamed};
pub use room::{Memory, Room};
pub use serve::{Arrival, Edge, Serve, serve};
pub use tls::{ServerTls, client_tls};
pub use upstream::{Upstream, UpstreamSettings};
