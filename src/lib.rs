//! Outrigger: a sidecar that is Qdrant to its clients, whatever stores the points behind it.
//!
//! A request travels left to right: `net` takes it in, `proxy` recognises and admits it and asks
//! the store that the mode names; `admin` is the operator's desk beside that road. Modules stand
//! on floors and name only floors below their own (`tests/tidy` keeps it so):
//!
//! ```text
//! cli                              words typed by a person
//! app                              the only file that knows every concrete type
//! admin                            the operator's desk
//! proxy                            whole journeys
//! shadow  portability              reads compared between two stores; what another would serve
//! mode  sync                       decisions about two stores
//! net  store  cache  journal       organs; strangers to one another, but that a store may use net
//! compare  config  metrics  wire   instruments; no sockets, no tasks
//! model                            nouns of the domain
//! error  clock  task  stage        ground
//! ```

pub mod admin;
pub mod app;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod error;
pub mod journal;
pub mod metrics;
pub mod mode;
pub mod model;
pub mod net;
pub mod portability;
pub mod proxy;
pub mod shadow;
pub mod stage;
pub mod store;
pub mod sync;
pub mod task;
pub mod wire;
