//! The collection that a name in a request means.
//!
//! A mark has to be made under the name of the collection itself: an alias may lead elsewhere by
//! the time it is worked off. So the write is sent under that name too, and what is changed is what
//! is marked. An alias is looked up at the authority for every write that uses one; that a name is
//! none is believed for a moment. If it has become one by then, the write goes to the collection
//! behind it, and so does its mark, later (`led_on`).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::direction::Direction;
use super::peer::Peer;
use super::schema;
use crate::error::Result;
use crate::model::{Mark, Subject};

const BELIEVED: Duration = Duration::from_secs(1);
const NAMES_MAX: usize = 10_000;

#[derive(Default)]
pub(super) struct RealNames {
    /// Names that were no aliases, and when.
    plain: Mutex<HashMap<Box<str>, Instant>>,
}

impl RealNames {
    /// Cancel safety: safe, it only reads.
    pub(super) async fn of(&self, authority: &Peer, name: &str) -> Result<Box<str>> {
        let now = Instant::now();
        let known = self.plain.lock().get(name).copied();
        if known.is_some_and(|at| now - at < BELIEVED) {
            return Ok(name.into());
        }
        let aliases = schema::alias_map(authority).await?;
        if let Some(real) = aliases.get(name) {
            return Ok(real.as_str().into());
        }
        let mut plain = self.plain.lock();
        if plain.len() >= NAMES_MAX {
            plain.clear();
        }
        plain.insert(name.into(), now);
        Ok(name.into())
    }

    /// An alias may have been made, here.
    pub(super) fn doubt(&self) {
        self.plain.lock().clear();
    }
}

impl Direction {
    /// Where a name that was marked is an alias by now, the write may have been one of the
    /// collection behind it: that is marked. Whether it is one.
    ///
    /// Cancel safety: safe, the marks may be made or not.
    pub(super) async fn led_on(&self, name: &str, marks: &[Mark]) -> Result<bool> {
        let aliases = schema::alias_map(&self.authority).await?;
        let Some(real) = aliases.get(name) else {
            return Ok(false);
        };
        if (self.follows)(real) {
            // That a name was deleted is said of no alias.
            let subjects = marks.iter().map(|mark| match mark.subject {
                Subject::Dropped => Subject::Schema,
                subject @ (Subject::Schema | Subject::Point(_)) => subject,
            });
            let subjects: Vec<Subject> = subjects.collect();
            self.ledger.mark(real, &subjects).await?;
        }
        Ok(true)
    }

    /// The same of a comparison.
    pub(super) async fn sweep_led_on(&self, name: &str) -> Result<bool> {
        let aliases = schema::alias_map(&self.authority).await?;
        let Some(real) = aliases.get(name) else {
            return Ok(false);
        };
        if (self.follows)(real) {
            let reason = format!("it was due under the alias {name}");
            self.ledger.want_sweep(Some(real), &reason).await?;
        }
        Ok(true)
    }
}
