//! Nouns of the domain. Pure: no IO, no clock, no serialisation.

mod due;
mod mark;
mod mode;
mod operation;
mod store_kind;

pub use due::{
    ASKED_FOR, NEVER_COMPARED, OTHER_AUTHORITY, PERHAPS_DELETED, REST, SweepDue, reason_of_both,
};
pub use mark::{Backlog, Batch, DeadLetter, Mark, Marked, PointKey, Subject};
pub use mode::{Mode, Step};
pub use operation::{Access, Class, Operation};
pub use store_kind::{Role, StoreKind};
