//! Nouns of the domain. Pure: no IO, no clock, no serialisation.

mod mode;
mod operation;
mod store_kind;

pub use mode::Mode;
pub use operation::{Access, Class, Operation};
pub use store_kind::{Role, StoreKind};
