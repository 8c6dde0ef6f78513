//! How a follower stands, collection by collection, for whoever decides whether it may be read.
//! Nothing is changed by asking.

use std::time::Duration;

use super::direction::Direction;
use super::mirror::WHOLE_STORE;
use super::peer::{Condition, Said};
use super::schema;
use crate::error::Result;
use crate::model::{Backlog, SweepDue};

/// A mark that is younger is on its way: a change of mode has the last of them worked off while no
/// write is under way.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What the follower lacks, as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Behind {
    backlog: Vec<(Box<str>, Backlog)>,
    dead: Vec<(Box<str>, u64)>,
    sweeps: Vec<SweepDue>,
}

impl Behind {
    /// Marks of a collection that wait and are not on their way, points that the follower refuses,
    /// and sweeps that are due.
    pub fn of(&self, collection: &str) -> u64 {
        let is_meant = |name: &str| name == collection || name == WHOLE_STORE;
        let backlog = self.backlog.iter().filter(|(name, _)| is_meant(name));
        let late = backlog.filter(|(_, of)| of.age.is_none_or(|age| age >= ON_ITS_WAY));
        let dead = self.dead.iter().filter(|(name, _)| is_meant(name));
        let sweeps = self.sweeps.iter();
        let due = sweeps.filter(|due| due.collection.as_deref().is_none_or(is_meant));
        late.map(|(_, of)| of.marks).sum::<u64>()
            + dead.map(|(_, count)| count).sum::<u64>()
            + u64::try_from(due.count()).unwrap_or(u64::MAX)
    }
}

impl Direction {
    /// The collections that are mirrored, by name.
    ///
    /// Cancel safety: safe, as the others here.
    pub async fn collections(&self) -> Result<Vec<String>> {
        let mut names = schema::collections(&self.authority).await?;
        names.retain(|name| (self.follows)(name));
        Ok(names)
    }

    /// How it is at the authority, and at the follower.
    pub async fn conditions(&self, collection: &str) -> Result<[Said<Condition>; 2]> {
        let one = self.authority.condition(collection).await?;
        let other = self.follower.condition(collection).await?;
        Ok([one, other])
    }

    pub async fn behind(&self) -> Result<Behind> {
        Ok(Behind {
            backlog: self.ledger.backlog().await?,
            dead: self.ledger.dead_count().await?,
            sweeps: self.sweeps().await?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_no_lag_and_all_else_is() {
        let waiting = |marks, age: Option<u64>| Backlog {
            marks,
            age: age.map(Duration::from_millis),
        };
        let behind = Behind {
            backlog: vec![
                ("late".into(), waiting(3, Some(1000))),
                ("on its way".into(), waiting(5, Some(999))),
                ("in doubt".into(), waiting(7, None)),
            ],
            dead: vec![("refused".into(), 2)],
            sweeps: Vec::new(),
        };
        let lags =
            ["late", "on its way", "in doubt", "refused", "none"].map(|name| behind.of(name));
        assert_eq!(lags, [3, 0, 7, 2, 0]);
    }
}
