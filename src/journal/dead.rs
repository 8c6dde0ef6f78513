//! Dead letters of a collection: points that the follower refuses for good.

use std::borrow::Cow;
use std::collections::btree_map;
use std::ops::Bound;

use super::id::Id;
use super::lane::Lane;
use super::marks::Marks;
use super::record::Record;
use super::run::put_raised;
use super::{CHUNK, Journal};
use crate::error::Result;
use crate::model::{DeadLetter, PointKey};

/// What the follower said is cut here.
const REASON_BYTES_MAX: usize = 500;

pub(super) struct Letter {
    pub(super) reason: Box<str>,
    pub(super) since_ms: u64,
}

impl Journal {
    /// The follower has these as the authority has them: they are dead letters no longer. A letter
    /// may have been buried when the write that makes it void had landed.
    ///
    /// Cancel safety: safe.
    pub async fn applied(&self, collection: &str, ids: &[PointKey]) -> Result<()> {
        for chunk in ids.chunks(CHUNK) {
            self.shared.has_room().await?;
            self.shared.change(|marks| marks.applied(collection, chunk));
        }
        Ok(())
    }
}

impl Marks {
    fn applied(&mut self, collection: &str, ids: &[PointKey]) {
        let lane = self.lanes.get(collection);
        if lane.is_none_or(|lane| lane.dead.is_empty()) {
            return;
        }
        self.lane(collection, |lane, _, out| {
            let is_raised = |id: &&PointKey| lane.dead.remove(&Id::from(**id)).is_some();
            let raised: Vec<PointKey> = ids.iter().filter(is_raised).copied().collect();
            put_raised(collection, raised, out);
        });
    }
}

impl Lane {
    /// Nothing is refused any more. What was.
    pub(super) fn absolve(&mut self) -> impl Iterator<Item = PointKey> + use<> {
        std::mem::take(&mut self.dead)
            .into_keys()
            .map(PointKey::from)
    }

    pub(super) fn bury(&mut self, letter: &DeadLetter) -> &Letter {
        let mut end = letter.reason.len().min(REASON_BYTES_MAX);
        while !letter.reason.is_char_boundary(end) {
            end -= 1;
        }
        let kept = Letter {
            reason: letter.reason.get(..end).unwrap_or_default().into(),
            since_ms: letter.since_ms,
        };
        let mut place = match self.dead.entry(letter.id.into()) {
            btree_map::Entry::Vacant(place) => return place.insert(kept),
            btree_map::Entry::Occupied(place) => place,
        };
        place.insert(kept);
        place.into_mut()
    }

    pub(super) fn letters(&self, collection: &str, max: usize) -> Vec<DeadLetter> {
        let of = |(id, letter): (&Id, &Letter)| DeadLetter {
            collection: collection.into(),
            id: (*id).into(),
            reason: letter.reason.clone(),
            since_ms: letter.since_ms,
        };
        self.dead.iter().take(max).map(of).collect()
    }

    /// Up to `max` letters as they are written again, those after `after`; the last of them.
    pub(super) fn copy_letters(
        &self,
        collection: &str,
        after: Option<Id>,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Option<Id> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut last = None;
        for (id, letter) in self.dead.range((from, Bound::Unbounded)).take(max) {
            last = Some(*id);
            letter.record(collection, *id).encode(out);
        }
        last
    }
}

impl Letter {
    pub(super) fn record<'a>(&'a self, collection: &'a str, id: Id) -> Record<'a> {
        Record::Buried {
            collection: Cow::Borrowed(collection),
            point: id.into(),
            reason: Cow::Borrowed(&self.reason),
            since_ms: self.since_ms,
        }
    }
}
