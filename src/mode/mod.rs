//! The modes in force, and how they are changed while traffic flows.
//!
//! `Router` has what a request goes by, `Passage` is the gate that writes go through and the fence
//! closes, `control` keeps the truth of it all, `Fleet` is this sidecar among those that share
//! that truth (its header says why two authorities never coexist), and `Changer` makes a change.

mod change;
pub mod control;
mod fleet;
mod follower;
mod home;
pub mod journals;
mod lease;
mod passage;
mod router;
mod table;
pub mod validations;

pub use change::{Changer, ChangerParts, Check, Done, Hindrance, NotDone, Verdict, Wish};
pub use fleet::{Fleet, LEASE, OnArm, OnSwap};
pub use follower::{Checked, Drain, Gate, ModeFuture, Readiness, StandIn, Standing};
pub use home::Home;
pub use passage::{Fence, Passage, Permit, needs_permit};
pub use router::{Plan, Router, Snapshot, Stores};
pub use table::Table;
