//! Nouns of the domain. Pure: no IO, no clock, no serialisation.

mod mark;
mod mode;
mod operation;
mod store_kind;

pub use mark::{Backlog, Batch, DeadLetter, Mark, Marked, PointKey, Subject, SweepDue};
pub use mode::{Mode, Step};
pub use operation::{Access, Class, Operation};
pub use store_kind::{Role, StoreKind};
