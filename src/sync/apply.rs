//! Points as the authority has them, put where the follower has them.
//!
//! Absent at the authority means deleted at the follower. What the follower refuses is cut in
//! halves until the points are found that it refuses, so that one bad point holds up no other.

use serde_json::value::RawValue;

use super::peer::{Peer, Points, Said};
use crate::error::Result;
use crate::model::PointKey;

/// The most JSON in one upsert: far below what a Qdrant takes.
const UPSERT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Applied {
    pub(super) written: u64,
    pub(super) deleted: u64,
    /// What the follower will not take, with what it said.
    pub(super) refused: Vec<(PointKey, Box<str>)>,
    /// The follower has no such collection: nothing more was tried.
    pub(super) no_collection: bool,
}

impl Applied {
    /// Those of `ids` that the follower has as the authority has them.
    pub(super) fn fine(&self, ids: &[PointKey]) -> Vec<PointKey> {
        let is_refused = |id: &PointKey| self.refused.iter().any(|(refused, _)| refused == id);
        ids.iter().copied().filter(|id| !is_refused(id)).collect()
    }
}

/// Makes these ids at the follower what they are in `points`.
///
/// Cancel safety: not safe; a part may be done. Doing it again completes it.
pub(super) async fn apply(
    follower: &Peer,
    collection: &str,
    ids: &[PointKey],
    points: &Points,
) -> Result<Applied> {
    let mut applied = Applied::default();
    let gone: Vec<PointKey> = ids
        .iter()
        .copied()
        .filter(|id| !points.contains_key(id))
        .collect();
    if !gone.is_empty() {
        match follower.delete(collection, &gone).await? {
            Said::Done(()) => applied.deleted = gone.len() as u64,
            Said::NoCollection => applied.no_collection = true,
            Said::Refused(why) => {
                let refused = gone.iter().map(|id| (*id, why.clone()));
                applied.refused.extend(refused);
            }
        }
    }
    let mut there: Vec<(PointKey, &RawValue)> = ids
        .iter()
        .filter_map(|id| Some((*id, &**points.get(id)?)))
        .collect();
    there.sort_unstable_by_key(|(id, _)| *id);
    // The next part to be tried is the last one.
    let mut parts = in_parts(&there);
    parts.reverse();
    while let Some(part) = parts.pop() {
        if applied.no_collection {
            break;
        }
        let raw: Vec<&RawValue> = part.iter().map(|(_, raw)| *raw).collect();
        match follower.upsert(collection, &raw).await? {
            Said::Done(()) => applied.written += part.len() as u64,
            Said::NoCollection => applied.no_collection = true,
            Said::Refused(why) => match part {
                [] => (),
                [(id, _)] => applied.refused.push((*id, why)),
                part => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            },
        }
    }
    Ok(applied)
}

fn in_parts<'p>(points: &'p [(PointKey, &'p RawValue)]) -> Vec<&'p [(PointKey, &'p RawValue)]> {
    let (mut parts, mut rest) = (Vec::new(), points);
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(_, raw)| {
            bytes += raw.get().len();
            bytes <= UPSERT_BYTES_MAX
        });
        let (part, others) = rest.split_at(fits.count().max(1));
        parts.push(part);
        rest = others;
    }
    parts
}
