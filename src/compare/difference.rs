//! What the answers of two stores to one question have apart.
//!
//! A [`Difference`] keeps what both stores said, so that it can be judged more than once: as it was
//! seen, and again without the points that are known to lag ([`Difference::without`]). An answer
//! that differs in nothing is one as well; its figures count too.

use std::collections::{BTreeSet, HashSet};

use super::asked::{Asked, Order};
use super::facet::{Value, facet_apart};
use super::groups::{Group, Groups};
use super::lists::{Lists, Side};
use super::ranking::{Agreement, Hit};
use crate::model::PointKey;

/// The two answers to one question.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Which question of a batch it is.
    pub index: usize,
    pub asked: Asked,
    pub answers: Answers,
}

/// What both said.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    Points(Points),
    Groups(Groups),
    Number {
        one: u64,
        other: u64,
    },
    /// Values with how many points have them.
    Facet(Lists<Value>),
    /// At least one of them answered with something else than a result.
    Failed {
        one: Outcome,
        other: Outcome,
    },
}

/// How a call ended at a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Answered,
    Refused(u16),
    /// It says that it is an answer, and is none to this call.
    Unreadable,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    pub lists: Lists<PointKey>,
    /// In both, with another payload or another vector.
    pub changed: Vec<PointKey>,
}

/// What of two answers is apart, as far as it is not only tied.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Apart {
    /// At the one store only.
    pub missing: Vec<PointKey>,
    /// At the other store only.
    pub extra: Vec<PointKey>,
    pub changed: Vec<PointKey>,
    pub rescored: Vec<PointKey>,
    /// The most that the scores of one point lie apart.
    pub drift: f64,
    /// The order contradicts the scores.
    pub moved: bool,
    /// The most that a count differs by.
    pub number: f64,
    pub failed: bool,
    /// Something does differ, if only among rows of equal score.
    pub tied: bool,
    /// How much of the longer answer both have; of counts, the smaller of the larger.
    pub overlap: f64,
    /// How many rows the longer answer has.
    pub rows: usize,
}

/// The name of a difference in metrics and logs: the gravest of what is apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    None,
    Tied,
    Numbers,
    Order,
    Ids,
    Scores,
    Contents,
    Failed,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Tied,
        Self::Numbers,
        Self::Order,
        Self::Ids,
        Self::Scores,
        Self::Contents,
        Self::Failed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Tied => "tied",
            Self::Numbers => "numbers",
            Self::Order => "order",
            Self::Ids => "ids",
            Self::Scores => "scores",
            Self::Contents => "contents",
            Self::Failed => "failed",
        }
    }
}

impl Apart {
    /// Whether nothing is apart but what is tied.
    pub fn is_none(&self) -> bool {
        matches!(self.kind(), Kind::None | Kind::Tied)
    }

    pub fn kind(&self) -> Kind {
        let kinds = [
            (self.failed, Kind::Failed),
            (!self.changed.is_empty(), Kind::Contents),
            (!self.rescored.is_empty(), Kind::Scores),
            (
                !self.missing.is_empty() || !self.extra.is_empty(),
                Kind::Ids,
            ),
            (self.moved, Kind::Order),
            (self.number > 0.0, Kind::Numbers),
            (self.tied, Kind::Tied),
        ];
        let gravest = kinds.into_iter().find(|(is, _)| *is);
        gravest.map_or(Kind::None, |(_, kind)| kind)
    }

    /// The points to look at by id at both stores, and to be marked if they differ there.
    pub fn points(&self) -> BTreeSet<PointKey> {
        let lists = [&self.missing, &self.extra, &self.changed, &self.rescored];
        lists.into_iter().flatten().copied().collect()
    }
}

impl Difference {
    /// Whether the other store answered with something else than a result.
    pub fn is_refused_by_other(&self) -> bool {
        match &self.answers {
            Answers::Failed { other, .. } => *other != Outcome::Answered,
            Answers::Points(_)
            | Answers::Groups(_)
            | Answers::Number { .. }
            | Answers::Facet(_) => false,
        }
    }

    pub(super) fn new(index: usize, asked: Asked, answers: Answers) -> Self {
        Self {
            index,
            asked,
            answers,
        }
    }

    pub fn apart(&self) -> Apart {
        match &self.answers {
            Answers::Points(points) => points.apart(),
            Answers::Groups(groups) => groups.apart(),
            Answers::Number { one, other } => Apart {
                number: one.abs_diff(*other) as f64,
                overlap: share(*one.min(other) as f64, *one.max(other) as f64),
                ..Apart::default()
            },
            Answers::Facet(lists) => facet_apart(lists),
            Answers::Failed { one, other } => Apart {
                failed: one != other || *one == Outcome::Unreadable,
                overlap: if one == other { 1.0 } else { 0.0 },
                ..Apart::default()
            },
        }
    }

    /// The same without the points that are known to lag. A group that holds one of them goes as a
    /// whole, for its place and its other points follow from it. Counts stay as they are.
    #[must_use]
    pub fn without(&self, gone: &HashSet<PointKey>) -> Self {
        let is_left = |id: &PointKey| !gone.contains(id);
        let kept = |ids: &[PointKey]| ids.iter().copied().filter(is_left).collect();
        let answers = match &self.answers {
            Answers::Points(points) => Answers::Points(Points {
                lists: points.lists.without(|id| gone.contains(id)),
                changed: kept(&points.changed),
            }),
            Answers::Groups(groups) => Answers::Groups(Groups {
                changed: kept(&groups.changed),
                ..groups.without(gone)
            }),
            told @ (Answers::Number { .. } | Answers::Facet(_) | Answers::Failed { .. }) => {
                told.clone()
            }
        };
        Self::new(self.index, self.asked, answers)
    }

    /// The figures of a ranking; `None` for what is not ranked. Of groups, those of their points in
    /// the order in which they are shown.
    pub fn agreement(&self, k: usize) -> Option<Agreement<PointKey>> {
        if self.asked.order != Order::Ranked {
            return None;
        }
        match &self.answers {
            Answers::Points(points) => {
                Some(Agreement::new(&points.lists.one, &points.lists.other, k))
            }
            Answers::Groups(groups) => {
                let flat = |groups: &[Group]| -> Vec<_> {
                    let rows = groups.iter().flat_map(|group| {
                        let hits = group.hits.iter();
                        hits.map(|hit| Hit {
                            id: (group.id.clone(), hit.id),
                            score: hit.score,
                        })
                    });
                    rows.collect()
                };
                let found = Agreement::new(&flat(&groups.one), &flat(&groups.other), k);
                Some(found.map_ids(|(_, point)| point))
            }
            Answers::Number { .. } | Answers::Facet(_) | Answers::Failed { .. } => None,
        }
    }

    /// The store that gave fewer points than were asked for and than the other gave.
    pub fn shorter(&self) -> Option<Side> {
        match &self.answers {
            Answers::Points(points) => points.lists.shorter(),
            Answers::Groups(groups) => groups.shorter(),
            Answers::Number { .. } | Answers::Facet(_) | Answers::Failed { .. } => None,
        }
    }

    /// Whether the one store shows its points in the order of their scores.
    pub fn is_sorted(&self) -> bool {
        match &self.answers {
            Answers::Points(points) => points.lists.is_sorted(),
            Answers::Groups(groups) => groups.lists().is_sorted(),
            Answers::Number { .. } | Answers::Facet(_) | Answers::Failed { .. } => true,
        }
    }
}

impl Points {
    fn apart(&self) -> Apart {
        let found = self.lists.apart();
        Apart {
            missing: found.missing,
            extra: found.extra,
            changed: self.changed.clone(),
            rescored: found.rescored,
            drift: found.drift,
            moved: found.moved,
            tied: found.tied,
            overlap: found.overlap,
            rows: self.lists.one.len().max(self.lists.other.len()),
            ..Apart::default()
        }
    }
}

pub(super) fn share(part: f64, of: f64) -> f64 {
    if of > 0.0 { part / of } else { 1.0 }
}
