//! Points in groups: the groups are a ranking by their best point, and each group is one of its own.

use std::collections::{HashMap, HashSet};

use super::difference::{Apart, share};
use super::facet::Value;
use super::lists::{Lists, Side, Ties};
use super::ranking::Hit;
use crate::model::PointKey;

#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    pub one: Vec<Group>,
    pub other: Vec<Group>,
    pub limit: Option<usize>,
    pub size: usize,
    pub ties: Ties,
    pub changed: Vec<PointKey>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: Value,
    pub hits: Vec<Hit<PointKey>>,
}

impl Groups {
    /// The groups themselves, each with the score of its best point.
    pub(super) fn lists(&self) -> Lists<Value> {
        let list = |groups: &[Group]| -> Vec<Hit<Value>> {
            let groups = groups.iter();
            groups
                .map(|group| Hit {
                    id: group.id.clone(),
                    score: group.hits.first().map_or(f64::NAN, |hit| hit.score),
                })
                .collect()
        };
        Lists {
            one: list(&self.one),
            other: list(&self.other),
            asked: self.limit,
            ties: self.ties,
        }
    }

    /// The points of each group that both have.
    fn inner(&self) -> impl Iterator<Item = Lists<PointKey>> {
        let known: HashMap<&Value, &Group> =
            self.one.iter().map(|group| (&group.id, group)).collect();
        self.other.iter().filter_map(move |other| {
            let one = known.get(&other.id)?;
            Some(Lists {
                one: one.hits.clone(),
                other: other.hits.clone(),
                asked: Some(self.size),
                ties: self.ties,
            })
        })
    }

    pub(super) fn apart(&self) -> Apart {
        let groups = self.lists().apart();
        let points = |groups: &[Group], ids: &[Value]| -> Vec<PointKey> {
            let ids: HashSet<&Value> = ids.iter().collect();
            let found = groups.iter().filter(|group| ids.contains(&group.id));
            let hits = found.flat_map(|group| &group.hits);
            hits.map(|hit| hit.id).collect()
        };
        let mut found = Apart {
            missing: points(&self.one, &groups.missing),
            extra: points(&self.other, &groups.extra),
            changed: self.changed.clone(),
            moved: groups.moved,
            tied: groups.tied,
            ..Apart::default()
        };
        for lists in self.inner() {
            let inner = lists.apart();
            found.missing.extend(inner.missing);
            found.extra.extend(inner.extra);
            found.rescored.extend(inner.rescored);
            found.drift = found.drift.max(inner.drift);
            found.moved |= inner.moved;
            found.tied |= inner.tied;
        }
        let count = |groups: &[Group]| groups.iter().map(|group| group.hits.len()).sum::<usize>();
        let (one, other) = (count(&self.one), count(&self.other));
        let lacking = if one >= other {
            found.missing.len()
        } else {
            found.extra.len()
        };
        found.rows = one.max(other);
        let both = found.rows.saturating_sub(lacking);
        found.overlap = share(both as f64, found.rows as f64);
        found
    }

    pub(super) fn without(&self, gone: &HashSet<PointKey>) -> Self {
        let lags = |group: &&Group| group.hits.iter().any(|hit| gone.contains(&hit.id));
        let both = self.one.iter().chain(&self.other);
        let lagging: HashSet<&Value> = both.filter(lags).map(|group| &group.id).collect();
        let lists = self.lists().without(|id| lagging.contains(id));
        // Both keep their order, so what is left is taken from the front.
        let left = |groups: &[Group], count: usize| -> Vec<Group> {
            let left = groups.iter().filter(|group| !lagging.contains(&group.id));
            left.take(count).cloned().collect()
        };
        Self {
            one: left(&self.one, lists.one.len()),
            other: left(&self.other, lists.other.len()),
            limit: lists.asked,
            size: self.size,
            ties: self.ties,
            changed: Vec::new(),
        }
    }

    pub(super) fn shorter(&self) -> Option<Side> {
        let mut inner = self.inner().filter_map(|lists| lists.shorter());
        self.lists().shorter().or_else(|| inner.next())
    }
}
