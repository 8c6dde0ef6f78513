//! What "equal" means between two stores, for sync, shadow reads and validation alike. Pure.

mod point;

pub use point::same_point;
