//! Sync: the one mechanism that makes the follower equal the authority.
//!
//! A write at the authority leaves marks (`ledger`); a drainer takes them, reads at the authority
//! what is there now, and puts that at the follower (`drain`, `apply`, `schema`). State is copied,
//! never operations, so marks may come twice and in any order, a hot point's hundred writes are one
//! copy, and a backfill (`sweep` marks what differs) cannot overwrite a newer write or bring back a
//! deleted point: nothing is ever written that was not read after the mark.
//!
//! What must never happen: a mark cleared whose change the follower lacks; a client that waits for
//! the follower, unless it asked to (`mirror.ack = "both"`).

mod apply;
mod barriers;
mod blocks;
mod calls;
mod copy;
mod deeds;
mod direction;
mod drain;
mod equal;
mod gates;
mod handover;
mod leave;
mod ledger;
mod look;
mod mirror;
mod names;
mod peer;
mod rehearsal;
mod resolve;
mod schema;
mod standing;
mod state;
mod suspects;
mod sweep;

pub use deeds::{Claimed, Compared, Deeds, Note, Noted};
pub use direction::{Direction, DirectionSettings};
pub use handover::hand_over;
pub use leave::{Leave, SweepPermit};
pub use ledger::{Ledger, SharedOutbox, Told};
pub use mirror::{Mirror, WHOLE_STORE, Way};
pub use peer::{Condition, Peer, Said};
pub use rehearsal::{Reason, Rehearsal, Rehearsed};
pub use standing::Behind;
pub use state::{Blocked, Report};
pub use sweep::AUTHORITY_LACKS;

#[cfg(test)]
mod tests;
