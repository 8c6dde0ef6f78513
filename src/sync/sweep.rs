//! The full sweep: both stores are read in the order of their ids, and what differs is marked.
//!
//! It writes nothing itself: the drainer looks again at the authority before it writes or deletes,
//! so a point that was written between the two looks costs a copy and no more. A sweep is owed
//! until it has ended, and one that was asked for anew meanwhile is owed again. So is one of a
//! collection that is not followed: it may have been asked for because it will be.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::deeds::{Compared, namesake};
use super::direction::Direction;
use super::mirror::WHOLE_STORE;
use super::peer::{Page, Peer, Said};
use super::schema;
use super::state::{Sweeping, Swept};
use crate::compare::same_point;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{
    ASKED_FOR, NEVER_COMPARED, OTHER_AUTHORITY, PERHAPS_DELETED, PointKey, REST, Subject, SweepDue,
};
use crate::stage::Stage;

/// Points of one page.
const PAGE: usize = 256;
/// More marks than this wait: the sweep waits too.
const WAITING_MAX: u64 = 20_000;
const LOOK: Duration = Duration::from_secs(1);
/// A sweep that is asked for by a write may be found needless when the write has ended.
const SETTLED_MS: u64 = 2000;
/// What was never compared is begun unasked where there are no more points.
const UNASKED_POINTS_MAX: u64 = 10_000;
/// Why everything is to be compared where the authority may have lost what it had.
pub const AUTHORITY_LACKS: &str = "never compared since the authority lacks what it had";
/// No collection has this name, so it has the mode of all that have none of their own.
const ANY_OTHER: &str = "";

impl Direction {
    /// Sweeps what is due until it is dropped.
    ///
    /// Cancel safety: safe. A sweep that was begun is begun again.
    pub async fn sweep(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.sweep_once().await {
                Ok(()) => (),
                Err(error) => {
                    warn!(error = %error.chain(), "a sweep was not finished; it is tried again");
                    tokio::time::sleep(LOOK * 5).await;
                }
            }
            self.state.sweeps(None);
            if let Err(error) = self.tell_compared().await {
                warn!(error = %error.chain(), "it is not noted yet that a collection was compared");
            }
        }
    }

    /// Notes those sweeps of which the follower has all that they marked. What was written since is
    /// mirrored like any other write.
    async fn tell_compared(&self) -> Result<()> {
        for of in self.state.swept() {
            let collection = &*of.collection;
            if !(self.follows)(collection) {
                // What is written from now on is not marked.
                self.state.parts(collection);
            } else if self.is_applied(collection, of.ended).await? {
                self.deeds.compared(collection, of.came_to).await?;
                self.state.parts(collection);
            }
        }
        Ok(())
    }

    async fn is_applied(&self, collection: &str, ended: Instant) -> Result<bool> {
        let dead = self.ledger.dead_count().await?;
        let is_refused = dead.iter().any(|(name, _)| **name == *collection);
        Ok(!is_refused && self.has_by_now(Some(collection), ended).await?)
    }

    /// What has to be compared of what is followed.
    pub async fn sweeps(&self) -> Result<Vec<SweepDue>> {
        let mut dues = self.ledger.sweeps().await?;
        dues.retain(|due| match &due.collection {
            Some(collection) => (self.follows)(collection),
            None => !due.reason.ends_with(REST) || (self.follows)(ANY_OTHER),
        });
        Ok(dues)
    }

    /// Carries out what is due, if anything may be begun.
    pub(super) async fn sweep_once(&self) -> Result<()> {
        // Before all go by the mode that mirrors, some may write without a mark.
        let Some(leave) = (self.leave)() else {
            return Ok(());
        };
        let may_begin = (self.follows)(WHOLE_STORE) && (self.is_settled)();
        if !may_begin || self.ledger.leads().await?.is_none() {
            return Ok(());
        }
        let follows_rest = (self.follows)(ANY_OTHER);
        let mut dues = self.sweeps().await?;
        self.state.leave_resting(&mut dues);
        // What of everything waits until somebody says so, each waits for.
        let waits = |due: &SweepDue| due.reason.starts_with(NEVER_COMPARED);
        let all_wait = dues
            .iter()
            .any(|due| due.collection.is_none() && waits(due));
        dues.retain(|due| self.ledger.may_be_swept(due));
        let all_wait = all_wait || dues.iter().any(|due| due.collection.is_none());
        let now = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
        for due in &dues {
            // One of all will do for each.
            let is_covered = all_wait && due.collection.is_some();
            let is_new = now.saturating_sub(due.since_ms) < SETTLED_MS;
            if is_covered || is_new || !self.may_begin(due).await? {
                continue;
            }
            let names = self.swept_collections(due).await?;
            if (self.leave)().is_none_or(|now| now.epoch != leave.epoch) {
                // What is followed may be something else by now.
                return Ok(());
            }
            if let Err(error) = self.carry_out(due, &names).await {
                self.state.sweep_failed(due, Instant::now());
                return Err(error);
            }
            for done in &dues {
                match (&due.collection, &done.collection) {
                    (None, None) if !follows_rest => {
                        self.deeds.all_compared().await?;
                        self.owe_rest(done).await?;
                    }
                    (None, None) => {
                        self.deeds.all_compared().await?;
                        self.ledger.swept(done).await?;
                    }
                    (None, Some(_)) => self.ledger.swept(done).await?,
                    (one, other) if one == other => self.ledger.swept(done).await?,
                    (Some(_), _) => (),
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// What is due of a collection for the one reason that any comparison answers.
    async fn namesake_due(&self, collection: &str) -> Result<Option<SweepDue>> {
        let (dues, namesake) = (self.ledger.sweeps().await?, namesake());
        let is_of = |due: &SweepDue| due.collection.as_deref() == Some(collection);
        let mut dues = dues.into_iter();
        Ok(dues.find(|due| is_of(due) && *due.reason == *namesake))
    }

    /// All that have a mode of their own and are followed were compared. The others are not followed,
    /// and may be about to be.
    async fn owe_rest(&self, done: &SweepDue) -> Result<()> {
        let dues = self.ledger.sweeps().await?;
        if dues.iter().any(|due| due.token == done.token) {
            // Whoever asked for this one did not ask for the next.
            let why = match done.reason.starts_with(ASKED_FOR) {
                true => NEVER_COMPARED,
                false => done.reason.trim_end_matches(REST),
            };
            let reason = format!("{why}{REST}");
            self.ledger.want_sweep(None, &reason).await?;
        }
        Ok(())
    }

    /// What somebody asked for may begin, and what was due by then. Else it must not be much that is
    /// copied, or deleted at the follower, where nobody has said that it is meant so.
    async fn may_begin(&self, due: &SweepDue) -> Result<bool> {
        if due.reason.starts_with(OTHER_AUTHORITY) {
            return Ok(false);
        }
        if *due.reason == *ASKED_FOR {
            return Ok(true);
        }
        let names = self.swept_collections(due).await?;
        let mut moved = 0;
        if due.collection.is_none() {
            if let Some(why) = self.deeds.lacking().await? {
                // Another sidecar has found it out.
                self.ledger.want_sweep(None, &why).await?;
                return Ok(false);
            }
            let Some(gone) = self.gone(names.is_empty()).await? else {
                return Ok(false);
            };
            moved = gone;
        }
        if !due.reason.starts_with(NEVER_COMPARED) {
            return Ok(true);
        }
        for collection in &names {
            // What the follower has beyond the authority's is deleted by it.
            for peer in [&self.authority, &self.follower] {
                moved += points(peer, collection).await?;
            }
        }
        Ok(moved <= UNASKED_POINTS_MAX)
    }

    /// How many points the follower has in collections that the authority has no more. `None`: so
    /// many that it may have lost them, and nothing more is compared before somebody asks for it.
    async fn gone(&self, is_nothing_left: bool) -> Result<Option<u64>> {
        let lacking = self.authority_lacks().await?;
        let mut gone = 0;
        for collection in &lacking {
            gone += points(&self.follower, collection).await?;
        }
        let Some(collection) = lacking
            .first()
            .filter(|_| is_nothing_left || gone > UNASKED_POINTS_MAX)
        else {
            return Ok(Some(gone));
        };
        error!(
            %collection, collections = lacking.len(), points = gone,
            "the authority has collections no more that the follower has from it: nothing is \
             compared before `outrigger sync sweep` asks for it, which will delete the follower's"
        );
        self.deeds.lacks(AUTHORITY_LACKS).await?;
        self.ledger.want_sweep(None, AUTHORITY_LACKS).await?;
        Ok(None)
    }

    async fn swept_collections(&self, due: &SweepDue) -> Result<Vec<String>> {
        let mut names = match &due.collection {
            Some(collection) => vec![collection.to_string()],
            None => schema::collections(&self.authority).await?,
        };
        names.retain(|name| (self.follows)(name));
        Ok(names)
    }

    async fn carry_out(&self, due: &SweepDue, names: &[String]) -> Result<()> {
        info!(collections = names.len(), reason = %due.reason, "a sweep begins");
        let mut failure = None;
        for collection in names {
            // One that cannot be swept holds up no other.
            if let Err(error) = self.sweep_collection(due, collection).await {
                failure = Some(error);
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if due.collection.is_none() {
            let is_asked = *due.reason == *ASKED_FOR;
            // Looked at anew: it may have been long.
            if !is_asked
                && let left = self.swept_collections(due).await?
                && self.gone(left.is_empty()).await?.is_none()
            {
                return Err(blocked("*", "the authority lacks what it had"));
            }
            let (own, _permit) = self.entered(WHOLE_STORE).await?;
            own.drop_strangers().await?;
        }
        info!(collections = names.len(), "a sweep has ended");
        Ok(())
    }

    async fn sweep_collection(&self, due: &SweepDue, collection: &str) -> Result<()> {
        if self.sweep_led_on(collection).await? {
            // It has no points of its own.
            return Ok(());
        }
        // What was taken in before marks were made may not have been applied yet.
        self.authority.settle(collection).await?;
        {
            let (own, _permit) = self.entered(collection).await?;
            if let Some(why) = own.bring_to_sweep(collection).await? {
                error!(collection, %why, "a collection cannot be swept");
                return Err(blocked(collection, &why));
            }
            schema::aliases(&own.authority, &own.follower, &*own.follows).await?;
        }
        if schema::describe(&self.authority, collection)
            .await?
            .is_none()
        {
            let found_out = [PERHAPS_DELETED, ASKED_FOR];
            if found_out.iter().any(|words| due.reason.starts_with(words)) {
                let (own, _permit) = self.entered(collection).await?;
                own.find_out(collection).await?;
            }
            return Ok(());
        }
        self.stages.reached(Stage::SweepBegins).await;
        let namesake = self.namesake_due(collection).await?;
        let sweeping = self.compare(collection).await?;
        let (own, _permit) = self.entered(collection).await?;
        if schema::describe(&own.authority, collection)
            .await?
            .is_none()
        {
            // It was deleted meanwhile, which somebody has marked.
            return Ok(());
        }
        own.are_the_same(collection).await?;
        let (compared, differing) = (sweeping.compared, sweeping.differing);
        let at_ms = u64::try_from(self.clock.since_epoch().as_millis()).unwrap_or(u64::MAX);
        self.state.has_swept(Swept {
            collection: collection.into(),
            ended: Instant::now(),
            came_to: Compared {
                at_ms,
                points: compared,
                differed: differing,
            },
        });
        info!(collection, compared, differing, "a collection was swept");
        match namesake {
            // Unless something else was asked for since.
            Some(namesake) => own.ledger.swept(&namesake).await,
            None => Ok(()),
        }
    }

    /// Marks what differs.
    async fn compare(&self, collection: &str) -> Result<Sweeping> {
        let mut sweeping = Sweeping {
            collection: collection.into(),
            ..Sweeping::default()
        };
        let mut here = Side::new(&self.authority, collection);
        let mut there = Side::new(&self.follower, collection);
        let mut differing = Vec::new();
        loop {
            let (one, other) = (here.head().await?, there.head().await?);
            let differs = match (one, other) {
                (None, None) => break,
                (Some((id, _)), None) => {
                    here.step();
                    Some(id)
                }
                (None, Some((id, _))) => {
                    there.step();
                    Some(id)
                }
                (Some((one, first)), Some((other, second))) => {
                    let differs = if one != other {
                        Some(one.min(other))
                    } else if same_point(&first, &second) {
                        None
                    } else {
                        Some(one)
                    };
                    if one <= other {
                        here.step();
                    }
                    if other <= one {
                        there.step();
                    }
                    differs
                }
            };
            sweeping.compared += 1;
            if let Some(id) = differs {
                sweeping.differing += 1;
                differing.push(Subject::Point(id));
            }
            if differing.len() >= PAGE {
                self.mark_differing(collection, &differing).await?;
                differing.clear();
                self.wait_for_room().await?;
            }
            if sweeping.compared.is_multiple_of(PAGE as u64) {
                // Stands still while nothing is known of the modes, and ends with them.
                drop(self.entered(collection).await?);
                self.state.sweeps(Some(sweeping.clone()));
            }
        }
        self.stages.reached(Stage::SweepRead).await;
        self.mark_differing(collection, &differing).await?;
        Ok(sweeping)
    }

    async fn mark_differing(&self, collection: &str, differing: &[Subject]) -> Result<()> {
        if differing.is_empty() {
            return Ok(());
        }
        let (own, _permit) = self.entered(collection).await?;
        own.ledger.mark(collection, differing).await
    }

    async fn wait_for_room(&self) -> Result<()> {
        while self.waiting(None).await? > WAITING_MAX {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }
}

async fn points(peer: &Peer, collection: &str) -> Result<u64> {
    let description = schema::describe(peer, collection).await?;
    let count = &description.unwrap_or_default()["points_count"];
    Ok(count.as_u64().unwrap_or(0))
}

fn blocked(collection: &str, why: &str) -> Error {
    let doing = format!("bring collection {collection} to the follower: {why}");
    Error::new(ErrorKind::Conflict, Origin::Proxy, Retry::Safe, doing)
}

/// The points of one store, one after the other.
struct Side<'p> {
    peer: &'p Peer,
    collection: &'p str,
    page: VecDeque<(PointKey, Box<RawValue>)>,
    /// Where the next page begins; `None` at first and at the end.
    next: Option<PointKey>,
    is_last: bool,
    /// Points of one page: fewer where a strict mode allows no more.
    points_max: usize,
}

impl<'p> Side<'p> {
    fn new(peer: &'p Peer, collection: &'p str) -> Self {
        Self {
            peer,
            collection,
            page: VecDeque::new(),
            next: None,
            is_last: false,
            points_max: PAGE,
        }
    }

    async fn head(&mut self) -> Result<Option<(PointKey, String)>> {
        while self.page.is_empty() && !self.is_last {
            let page = self.peer.page(self.collection, self.next, self.points_max);
            let page = match page.await? {
                Said::Done(page) => page,
                Said::NoCollection => Page {
                    points: Vec::new(),
                    next: None,
                },
                Said::Refused(_) if self.points_max > 1 => {
                    self.points_max /= 2;
                    continue;
                }
                Said::Refused(why) => return Err(blocked(self.collection, &why)),
            };
            self.is_last = page.next.is_none();
            self.next = page.next;
            self.page = page.points.into();
        }
        let head = self.page.front();
        Ok(head.map(|(id, raw)| (*id, raw.get().to_owned())))
    }

    fn step(&mut self) {
        self.page.pop_front();
    }
}
