//! The product from outside: bytes in at one socket, bytes out at another.
//!
//! One module a story. Each test is told with the parties of `support`, at ports that the system
//! picks, and has a bound in time: what hangs fails. Where a test needs a time-out of the sidecar
//! to pass, that time-out is set short; where it must not pass, it is left long, so that a slow
//! machine changes nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

mod support;

mod admin;
mod adopt;
mod auth;
mod bodies;
mod breaker;
mod cache;
mod cli;
mod client_faults;
mod converge;
mod differences;
mod embedded;
mod headers;
mod hostile;
mod limits;
mod logs;
mod loops;
mod model;
mod modes;
mod near;
mod oversize;
mod passing;
mod pgvector;
mod pgvector_speed;
mod portability;
mod protocols;
mod redis;
mod shutdown;
#[cfg(any(debug_assertions, feature = "testing"))]
mod staged;
mod stats;
mod streaming;
mod tenant;
mod tenant_lookup;
mod tenant_traffic;
mod tls;
mod twins;
mod upstream_faults;
