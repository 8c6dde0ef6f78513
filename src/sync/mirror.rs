//! The way of a write in a mode that mirrors.
//!
//! Behind a PostgreSQL the write is handed on as it came: the marks are made in its own
//! transaction. Before any other authority the marks are made here, durably and before the write is
//! sent, and count as under way until it has ended, however it ends:
//!
//! - A write that names its points marks them.
//! - A write that finds its points by a filter is resolved first, alone at the collection's gate;
//!   the ids are marked, and the ids are sent. Past `filter_write_max_ids` the collection is to be
//!   swept instead, and so after anything whose effect is not known here.
//! - What changes a collection, an index or an alias is a barrier between the marks.
//!
//! Whoever calls runs it to its end in a task of its own: nothing here may be given up half-way.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use tokio::time::Instant;

use super::calls::{
    deleted_nothing, is_harmless, is_refused, may_change_points, readdress, wait_for_it,
};
use super::direction::Direction;
use super::gates::Gates;
use super::names::RealNames;
use super::resolve::{by_filter, named};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::journal::{Journal, Outcome};
use crate::model::{Class, Operation, StoreKind, Subject};
use crate::net::Body;
use crate::stage::Stage;
use crate::store::{PassAnswer, PassCall};
use crate::wire::rest::path;
use crate::wire::written::pieces;

/// The name under which marks stand that are of no one collection.
pub const WHOLE_STORE: &str = "*";

/// How long a write waits until the authority has been told to make marks.
/// What is longer may be sent in parts.
const ONE_PART_BYTES_MAX: usize = 4 * 1024 * 1024;
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// Who makes the marks.
pub enum Way {
    /// The authority itself, in the transaction of the write, once it has been told to.
    Outbox(watch::Receiver<bool>),
    /// We do, before the write is sent.
    Journal(Arc<Journal>),
}

pub struct Mirror {
    pub(super) direction: Arc<Direction>,
    way: Way,
    gates: Gates,
    names: RealNames,
    /// A write by filter that meets more points has its collection swept.
    pub(super) filter_ids_max: usize,
    /// Whether a write is answered only when the follower has it too.
    waits_for_both: bool,
}

impl Mirror {
    pub fn new(
        direction: Arc<Direction>,
        way: Way,
        filter_ids_max: usize,
        waits_for_both: bool,
    ) -> Self {
        Self {
            direction,
            way,
            gates: Gates::default(),
            names: RealNames::default(),
            filter_ids_max,
            waits_for_both,
        }
    }

    pub fn direction(&self) -> &Arc<Direction> {
        &self.direction
    }

    /// The collection that a name means at the authority.
    ///
    /// Cancel safety: safe, it only reads.
    pub async fn real_name(&self, name: &str) -> Result<Box<str>> {
        self.names.of(&self.direction.authority, name).await
    }

    /// Carries a write out at the authority, and sees to it that the follower will have it.
    ///
    /// Cancel safety: not safe. Marks stay, so nothing is lost, but the answer is.
    pub async fn send(&self, call: PassCall, collection: Option<&str>) -> Result<PassAnswer> {
        let (until, operation) = (call.deadline, call.operation);
        let answer = self.send_marked(call, collection).await?;
        if self.waits_for_both && answer.status().is_success() {
            let ended = Instant::now();
            let real = match collection {
                Some(name) if operation != Operation::DeleteCollection => {
                    Some(self.names.of(&self.direction.authority, name).await?)
                }
                Some(name) => Some(name.into()),
                None => None,
            };
            self.direction
                .has_all(real.as_deref(), ended, until)
                .await?;
        }
        Ok(answer)
    }

    async fn send_marked(&self, call: PassCall, collection: Option<&str>) -> Result<PassAnswer> {
        if collection.is_some_and(|name| path::collection(name).is_err()) {
            // No collection has such a name, and no store says so when it is asked for it: its
            // marks would wait for ever.
            return self.pass(call).await;
        }
        let journal = match &self.way {
            Way::Journal(journal) => journal,
            Way::Outbox(are_marked) => {
                marked(are_marked).await?;
                let answer = self.pass(call).await;
                self.direction.ledger.poke();
                return answer;
            }
        };
        match (call.operation.class(), collection) {
            (Class::PointWrite, Some(collection)) => {
                self.write_points(journal, call, collection).await
            }
            (Class::CollectionWrite | Class::IndexWrite, Some(collection)) => {
                self.change(journal, call, collection).await
            }
            (Class::AliasWrite, _) => {
                let intent = journal.intend(WHOLE_STORE, &[Subject::Schema]).await?;
                let answer = self.pass(call).await;
                self.names.doubt();
                intent.end(self.outcome(&answer));
                answer
            }
            (class, collection) if may_change_points(class) => {
                self.send_unknown(journal, call, collection).await
            }
            _ => self.pass(call).await,
        }
    }

    /// A call whose effect on points is not known here: what it may reach is compared afterwards.
    async fn send_unknown(
        &self,
        journal: &Journal,
        mut call: PassCall,
        collection: Option<&str>,
    ) -> Result<PassAnswer> {
        if is_harmless(&call) {
            return self.pass(call).await;
        }
        let real = match collection {
            Some(name) => Some(self.names.of(&self.direction.authority, name).await?),
            None => None,
        };
        if call.operation.class() == Class::SnapshotWrite {
            wait_for_it(&mut call)?;
        }
        let reason = format!("{} went to the authority", call.operation);
        self.send_and_sweep(journal, call, real.as_deref(), &reason)
            .await
    }

    /// Has the collection swept once the call has ended, unless it is refused.
    pub(super) async fn send_and_sweep(
        &self,
        journal: &Journal,
        call: PassCall,
        collection: Option<&str>,
        reason: &str,
    ) -> Result<PassAnswer> {
        let owed = journal.owe(collection, reason).await?;
        // What stood in a batch before what was refused is done; so are the parts of what is sent in
        // parts.
        let is_long = |body: &Body| {
            body.as_bytes()
                .is_none_or(|it| it.len() > ONE_PART_BYTES_MAX)
        };
        let is_batch = call.operation == Operation::BatchUpdate
            || call.operation == Operation::UpsertPoints && is_long(&call.body);
        let answer = self.pass(call).await;
        owed.end(if is_refused(&answer) && !is_batch {
            Outcome::NothingDone
        } else {
            self.outcome(&answer)
        });
        answer
    }

    async fn change(
        &self,
        journal: &Arc<Journal>,
        call: PassCall,
        collection: &str,
    ) -> Result<PassAnswer> {
        let subject = if call.operation == Operation::DeleteCollection {
            Subject::Dropped
        } else {
            Subject::Schema
        };
        let real = match subject {
            // Neither is ever done by an alias.
            Subject::Dropped => collection.into(),
            Subject::Schema | Subject::Point(_) => {
                self.names.of(&self.direction.authority, collection).await?
            }
        };
        let _alone = self.gates.alone(&real).await;
        let intent = journal.intend(&real, &[subject]).await?;
        let answer = self.pass(call).await;
        self.names.doubt();
        intent.end(match subject {
            Subject::Dropped => self.outcome_of_deletion(&answer),
            Subject::Schema | Subject::Point(_) => self.outcome(&answer),
        });
        answer
    }

    async fn write_points(
        &self,
        journal: &Arc<Journal>,
        mut call: PassCall,
        collection: &str,
    ) -> Result<PassAnswer> {
        let real = self.names.of(&self.direction.authority, collection).await?;
        if *real != *collection {
            readdress(&mut call, &real)?;
        }
        if self.is_before_a_qdrant() {
            wait_for_it(&mut call)?;
        }
        let Some(body) = call.body.as_bytes() else {
            let reason = "a write too large to be read";
            return self
                .send_and_sweep(journal, call, Some(&real), reason)
                .await;
        };
        let Some(pieces) = pieces(call.operation, &body) else {
            let reason = "a write of a form that is not known here";
            return self
                .send_and_sweep(journal, call, Some(&real), reason)
                .await;
        };
        if pieces.iter().any(by_filter) {
            let _alone = self.gates.alone(&real).await;
            return match &pieces[..] {
                [piece] if call.operation != Operation::BatchUpdate => {
                    self.resolve_one(journal, call, &real, piece).await
                }
                pieces => self.resolve_batch(journal, &call, &real, pieces).await,
            };
        }
        let _shared = self.gates.shared(&real).await;
        let intent = journal.intend(&real, &named(&pieces)).await?;
        let answer = self.pass(call).await;
        intent.end(self.outcome(&answer));
        answer
    }

    pub(super) async fn pass(&self, call: PassCall) -> Result<PassAnswer> {
        let stages = &self.direction.stages;
        stages.reached(Stage::AfterIntend).await;
        let answer = self.direction.authority.store().pass(call).await;
        stages.reached(Stage::AfterAnswer).await;
        answer
    }

    /// Whether the write has had its effect by now, or never will.
    pub(super) fn outcome(&self, answer: &Result<PassAnswer>) -> Outcome {
        match answer {
            Ok(answer) => {
                let status = answer.status();
                let is_open = [StatusCode::REQUEST_TIMEOUT, StatusCode::ACCEPTED];
                if status.is_server_error() || is_open.contains(&status) {
                    return Outcome::Unknown;
                }
                // Stores of our own answer when it is done, whatever the client waits for.
                if !self.is_before_a_qdrant() {
                    return Outcome::Settled;
                }
                // A write that is waited for can still be answered before it is done.
                let body = answer.body().as_bytes().unwrap_or_default();
                let says = |word: &str| memchr::memmem::find(&body, word.as_bytes()).is_some();
                if says("\"acknowledged\"") || says("\"wait_timeout\"") {
                    Outcome::Unknown
                } else {
                    Outcome::Settled
                }
            }
            Err(error) if error.retry() == Retry::OutcomeUnknown => Outcome::Unknown,
            // Never sent, or refused; in a batch what stood before may be done all the same.
            Err(_) => Outcome::Settled,
        }
    }

    /// What follows from a deletion that happened cannot be taken back: it is known to have happened
    /// only by an answer that says so.
    fn outcome_of_deletion(&self, answer: &Result<PassAnswer>) -> Outcome {
        match answer {
            // It may not need the body that the client did not send to its end.
            Err(error) if error.origin() == Origin::Client && self.is_before_a_qdrant() => {
                Outcome::Unknown
            }
            _ if deleted_nothing(answer) => Outcome::NothingDone,
            Ok(done) if done.status().is_success() => self.outcome(answer),
            Ok(_) => Outcome::Unknown,
            Err(error) if error.retry() == Retry::OutcomeUnknown => Outcome::Unknown,
            // Never sent.
            Err(_) => Outcome::NothingDone,
        }
    }

    fn is_before_a_qdrant(&self) -> bool {
        self.direction.authority.kind() == StoreKind::Qdrant
    }

    pub(super) fn origin(&self) -> Origin {
        Origin::from(self.direction.authority.kind())
    }
}

/// Waits a moment until the authority has been told to make marks.
async fn marked(are_marked: &watch::Receiver<bool>) -> Result<()> {
    if *are_marked.borrow() {
        return Ok(());
    }
    let mut told = are_marked.clone();
    let told = tokio::time::timeout(TOLD_WITHIN, told.wait_for(|are_marked| *are_marked));
    if matches!(told.await, Ok(Ok(_))) {
        return Ok(());
    }
    let doing = "write what PostgreSQL has not been told to mark yet";
    Err(Error::new(
        ErrorKind::Busy,
        Origin::Proxy,
        Retry::Safe,
        doing,
    ))
}
