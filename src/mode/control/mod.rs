//! The control store: where the truth of the mode is kept, what became of it, and who goes by it.
//!
//! It judges by its own clock which sidecars are live and whether a change is over, and every step
//! of a change is one decision in it, taken while nothing else moves:
//!
//! ```text
//! none ─begin─► arming ─flip─► flipped ─finish─► none
//!                  └──abandon──────────────────────┘
//! ```
//!
//! `flip` is refused unless every live sidecar has said that it holds its writes, and once the time
//! of the change is over; `finish` until every live sidecar goes by the new modes, or, if it holds
//! its writes until then, the time is over; `abandon` once it has flipped. So a change that was begun comes to an end even if nobody
//! of those who began it is left.

mod file;
mod memory;
mod postgres;
mod record;
mod state;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::table::Table;
use crate::error::Result;
use crate::model::{Mode, Role};

pub use file::FileControl;
pub use memory::MemoryControl;
pub use postgres::PostgresControl;

pub type ControlFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// One process, from its start to its end. Random: a process that comes back is another one.
pub type SidecarId = u64;

/// How far a change has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Phase {
    /// Sidecars are to hold their writes. The old modes are in force.
    Arming,
    /// The new modes are in force.
    Flipped,
}

/// What a sidecar has done about a change: it holds its writes, or it goes by the new modes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ack {
    pub change: u64,
    pub phase: Phase,
}

/// A sidecar's sign of life.
#[derive(Clone, Debug)]
pub struct Beat {
    pub id: SidecarId,
    /// For people: where it listens.
    pub name: String,
    pub ack: Option<Ack>,
    /// It goes on by what it knows while the control store is out of reach, and so counts as live
    /// until it leaves.
    pub lasts: bool,
    /// Each is above the one before.
    pub number: u64,
}

/// A sidecar that has been heard of.
#[derive(Clone, Debug)]
pub struct Member {
    pub id: SidecarId,
    pub name: String,
    /// Whether its lease holds, by the control store's clock.
    pub is_live: bool,
    /// Its lease holds until it leaves, however long it is silent.
    pub lasts: bool,
    pub silent: Duration,
    pub ack: Option<Ack>,
}

/// A change that is asked for.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The epoch at which it was checked: on another it is refused.
    pub epoch: u64,
    pub collection: Option<String>,
    pub from: Mode,
    pub to: Mode,
    /// Whether writes have to be held meanwhile.
    pub is_fenced: bool,
    pub is_forced: bool,
    pub who: String,
    pub why: String,
    /// Past this it is over, by the control store's clock.
    pub lasts: Duration,
}

/// A change under way.
#[derive(Clone, Debug)]
pub struct Change {
    pub id: u64,
    pub proposal: Proposal,
    pub phase: Phase,
    /// Its time has passed.
    pub is_over: bool,
}

/// All that a sidecar has to know, as it is at one instant.
#[derive(Clone, Debug)]
pub struct Look {
    pub table: Table,
    pub change: Option<Change>,
    pub members: Vec<Member>,
}

impl Look {
    /// Those that are waited for though they have been silent for longer than this: they may go on
    /// by modes of the past.
    pub fn silent(&self, longer_than: Duration) -> impl Iterator<Item = &Member> {
        let lasting = self.members.iter().filter(|member| member.lasts);
        lasting.filter(move |member| member.silent > longer_than)
    }

    /// The live sidecars that have not said this yet, by name.
    pub fn lacking(&self, ack: Ack) -> Vec<String> {
        let live = self.members.iter().filter(|member| member.is_live);
        live.filter(|member| !has_said(member.ack, ack))
            .map(|member| member.name.clone())
            .collect()
    }
}

/// Who goes by the new modes has held its writes before.
fn has_said(said: Option<Ack>, wanted: Ack) -> bool {
    said.is_some_and(|said| said.change == wanted.change && said.phase >= wanted.phase)
}

#[derive(Clone, Debug)]
pub enum Begun {
    Yes(Change),
    /// Another one is under way.
    Busy(Change),
    /// Something has changed since it was checked.
    Moved,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Flip {
    Done,
    /// These live sidecars have not said that they hold their writes.
    Lacking(Vec<String>),
    /// It was abandoned, or its time is over.
    Gone,
}

/// A change that came into force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    pub epoch: u64,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    pub who: String,
    pub collection: Option<String>,
    /// `None`: the first mode there was.
    pub from: Option<Mode>,
    pub to: Mode,
    pub why: String,
    pub is_forced: bool,
}

/// The control store.
///
/// Calls run in parallel; each is one decision. An error may have done its work: look again. All
/// futures may be dropped at any time.
pub trait Control: Send + Sync {
    /// How long a sidecar counts as live after a beat. `None`: there is only this one, for ever.
    fn lease(&self) -> Option<Duration>;

    /// The store in whose database this is, if it is in one: where that one only follows, nobody may
    /// stop because it cannot be reached.
    fn keeper(&self) -> Option<Role>;

    /// Forgets the sidecars of this name that are waited for though they have been silent for so
    /// long. Whether there were any.
    fn forget<'a>(&'a self, name: &'a str, silent: Duration) -> ControlFuture<'a, bool>;

    /// Puts the first modes in force if none ever were. What is in force afterwards.
    fn initialise<'a>(&'a self, table: &'a Table, who: &'a str) -> ControlFuture<'a, Table>;

    /// The modes that were ever put in force.
    fn table(&self) -> ControlFuture<'_, Option<Table>>;

    /// Says that this sidecar lives and what it has done, and looks, in one.
    fn beat(&self, beat: Beat) -> ControlFuture<'_, Look>;

    /// A sidecar ends in good order: nobody waits for it any more.
    fn leave(&self, id: SidecarId) -> ControlFuture<'_, ()>;

    fn begin(&self, proposal: Proposal) -> ControlFuture<'_, Begun>;

    fn flip(&self, change: u64) -> ControlFuture<'_, Flip>;

    /// Whether it is finished by now, by whomever.
    fn finish(&self, change: u64) -> ControlFuture<'_, bool>;

    /// Whether the old modes stay: not if it has flipped.
    fn abandon(&self, change: u64) -> ControlFuture<'_, bool>;

    /// The latest first.
    fn history(&self, limit: usize) -> ControlFuture<'_, Vec<Entry>>;

    /// Something that is to be known later: when a validation passed, say.
    fn fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, Option<String>>;

    /// Those whose names begin so, each with its name.
    fn facts<'a>(&'a self, prefix: &'a str) -> ControlFuture<'a, Vec<(String, String)>>;

    fn put_fact<'a>(&'a self, name: &'a str, value: &'a str) -> ControlFuture<'a, ()>;

    /// The same if it is still what it was (`None`: not there). Whether it was.
    fn replace_fact<'a>(
        &'a self,
        name: &'a str,
        was: Option<&'a str>,
        value: &'a str,
    ) -> ControlFuture<'a, bool>;

    fn drop_fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, ()>;

    /// Returns when there may be something to look at before the next beat is due.
    fn woken(&self) -> ControlFuture<'_, ()>;
}
