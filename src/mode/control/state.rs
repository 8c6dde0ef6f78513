//! What a control store of our own decides, apart from where it is kept. The PostgreSQL one
//! decides the same in SQL.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::{
    Ack, Beat, Begun, Change, Entry, Flip, Look, Member, Phase, Proposal, SidecarId, has_said,
};
use crate::mode::table::Table;
use crate::model::Mode;

/// Entries of the history that are kept.
pub(super) const HISTORY_MAX: usize = 1000;
/// A sidecar that was not heard of for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(300);

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) kept: Kept,
    change: Option<UnderWay>,
    changes: u64,
    members: BTreeMap<SidecarId, Heard>,
}

/// What outlives the process.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Kept {
    pub(super) table: Option<Table>,
    /// The oldest first.
    pub(super) history: Vec<Entry>,
    pub(super) facts: BTreeMap<String, String>,
}

#[derive(Clone)]
struct UnderWay {
    id: u64,
    proposal: Proposal,
    phase: Phase,
    ends: Instant,
}

#[derive(Clone)]
struct Heard {
    name: String,
    /// `None`: for ever.
    until: Option<Instant>,
    /// It has said so itself.
    lasts: bool,
    at: Instant,
    ack: Option<Ack>,
}

impl Heard {
    fn is_live(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl UnderWay {
    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    fn shown(&self) -> Change {
        Change {
            id: self.id,
            proposal: self.proposal.clone(),
            phase: self.phase,
            is_over: self.is_over(),
        }
    }
}

impl State {
    pub(super) fn of(kept: Kept) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    pub(super) fn table(&self) -> Table {
        let first = || Table::of(Mode::PrimaryOnly);
        self.kept.table.clone().unwrap_or_else(first)
    }

    pub(super) fn initialise(&mut self, table: &Table, who: &str, at_ms: u64) -> Table {
        if self.kept.table.is_none() {
            let mut first = table.clone();
            first.epoch = 1;
            let own = first.collections.iter();
            let own = own.map(|(name, mode)| (Some(name.clone()), *mode));
            let all: Vec<_> = std::iter::once((None, first.mode)).chain(own).collect();
            for (collection, to) in all {
                self.remember(Entry {
                    epoch: first.epoch,
                    at_ms,
                    who: who.to_owned(),
                    collection,
                    from: None,
                    to,
                    why: "the first start".to_owned(),
                    is_forced: false,
                });
            }
            self.kept.table = Some(first);
        }
        self.table()
    }

    pub(super) fn beat(&mut self, beat: Beat, lease: Option<Duration>) -> Look {
        let now = Instant::now();
        let heard = Heard {
            name: beat.name,
            until: lease.filter(|_| !beat.lasts).map(|lease| now + lease),
            lasts: beat.lasts,
            at: now,
            ack: beat.ack,
        };
        self.members.insert(beat.id, heard);
        self.members
            .retain(|_, heard| heard.lasts || heard.at.elapsed() < FORGOTTEN);
        let members = self.members.iter().map(|(id, heard)| Member {
            id: *id,
            name: heard.name.clone(),
            is_live: heard.is_live(),
            lasts: heard.lasts,
            silent: heard.at.elapsed(),
            ack: heard.ack,
        });
        Look {
            table: self.table(),
            change: self.change.as_ref().map(UnderWay::shown),
            members: members.collect(),
        }
    }

    pub(super) fn leave(&mut self, id: SidecarId) {
        self.members.remove(&id);
    }

    pub(super) fn forget(&mut self, name: &str, silent: Duration) -> bool {
        let before = self.members.len();
        let is_meant =
            |heard: &Heard| heard.lasts && heard.name == name && heard.at.elapsed() > silent;
        self.members.retain(|_, heard| !is_meant(heard));
        self.members.len() < before
    }

    pub(super) fn begin(&mut self, proposal: Proposal) -> Begun {
        if let Some(change) = &self.change {
            return Begun::Busy(change.shown());
        }
        if self.table().epoch != proposal.epoch {
            return Begun::Moved;
        }
        self.changes += 1;
        let change = UnderWay {
            id: self.changes,
            ends: Instant::now() + proposal.lasts,
            proposal,
            phase: Phase::Arming,
        };
        let shown = change.shown();
        self.change = Some(change);
        Begun::Yes(shown)
    }

    pub(super) fn flip(&mut self, id: u64, at_ms: u64) -> Flip {
        let Some(change) = self.under_way(id).filter(|change| !change.is_over()) else {
            return Flip::Gone;
        };
        match change.phase {
            Phase::Flipped => return Flip::Done,
            Phase::Arming => {}
        }
        let proposal = change.proposal.clone();
        let phase = Phase::Arming;
        let lacking = self.lacking(Ack { change: id, phase });
        if proposal.is_fenced && !lacking.is_empty() {
            return Flip::Lacking(lacking);
        }
        let next = self
            .table()
            .with(proposal.collection.as_deref(), proposal.to);
        self.remember(Entry {
            epoch: next.epoch,
            at_ms,
            who: proposal.who,
            collection: proposal.collection,
            from: Some(proposal.from),
            to: proposal.to,
            why: proposal.why,
            is_forced: proposal.is_forced,
        });
        self.kept.table = Some(next);
        if let Some(change) = &mut self.change {
            change.phase = Phase::Flipped;
        }
        Flip::Done
    }

    pub(super) fn finish(&mut self, id: u64) -> bool {
        let Some(change) = self.under_way(id) else {
            return true;
        };
        let phase = Phase::Flipped;
        let wanted = Ack { change: id, phase };
        // One that held its writes does so until it goes by the new modes. Past the time of the
        // change only those are waited for that go on without being heard of.
        let is_patient = !change.is_over() || !change.proposal.is_fenced;
        let is_waited_for = |heard: &&Heard| heard.lasts || (heard.is_live() && is_patient);
        let mut waited_for = self.members.values().filter(is_waited_for);
        let all_there = waited_for.all(|heard| has_said(heard.ack, wanted));
        let may = change.phase == Phase::Flipped && all_there;
        if may {
            self.change = None;
        }
        may
    }

    pub(super) fn abandon(&mut self, id: u64) -> bool {
        match self.under_way(id).map(|change| change.phase) {
            Some(Phase::Arming) => {
                self.change = None;
                true
            }
            Some(Phase::Flipped) => false,
            // It is gone; which way, the history tells.
            None => true,
        }
    }

    /// The latest first.
    pub(super) fn history(&self, limit: usize) -> Vec<Entry> {
        let latest = self.kept.history.iter().rev();
        latest.take(limit).cloned().collect()
    }

    fn under_way(&self, id: u64) -> Option<&UnderWay> {
        self.change.as_ref().filter(|change| change.id == id)
    }

    pub(super) fn facts(&self, prefix: &str) -> Vec<(String, String)> {
        let all = self.kept.facts.iter();
        all.filter(|(name, _)| name.starts_with(prefix))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    pub(super) fn replace_fact(&mut self, name: &str, was: Option<&str>, value: &str) -> bool {
        let facts = &mut self.kept.facts;
        let is_so = facts.get(name).map(String::as_str) == was;
        if is_so {
            facts.insert(name.to_owned(), value.to_owned());
        }
        is_so
    }

    fn lacking(&self, ack: Ack) -> Vec<String> {
        let live = self.members.values().filter(|heard| heard.is_live());
        live.filter(|heard| !has_said(heard.ack, ack))
            .map(|heard| heard.name.clone())
            .collect()
    }

    fn remember(&mut self, entry: Entry) {
        self.kept.history.push(entry);
        let over = self.kept.history.len().saturating_sub(HISTORY_MAX);
        self.kept.history.drain(..over);
    }
}
