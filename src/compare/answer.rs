//! Reads the answers of both stores to one call and holds them against each other.
//!
//! Two answers are compared by what they mean: ids by value and not as they are written, contents
//! by the rules for points as stored, the envelope, the time and the versions of points not at all,
//! for each store counts those for itself. A batch is compared question by question.
//!
//! A page of a scroll names the point that the next one begins with. That is one more id in the
//! order, and is compared as such: a store that says that there is no more lacks it.

use std::collections::HashMap;

use super::asked::{Asked, Order, Questions};
use super::difference::{Answers, Difference, Outcome, Points};
use super::groups::{Group, Groups};
use super::lists::{Lists, Ties};
use super::point::same_contents;
use super::ranking::{Hit, numbered};
use super::reply::{Page, Part, Reply, Row, Rows, read};
use crate::model::PointKey;

/// What the answers of both stores to one call have apart, question by question. Questions for a
/// random sample are left out.
pub fn compare(questions: &Questions, one: Reply<'_>, other: Reply<'_>) -> Vec<Difference> {
    let each = questions.each();
    let whole = |answers| {
        let asked = each.first().copied();
        vec![Difference::new(0, asked.unwrap_or(Asked::DEFAULT), answers)]
    };
    let operation = questions.operation();
    let (ones, others) = (read(operation, one), read(operation, other));
    let (ones, others) = match (ones, others) {
        (Ok(ones), Ok(others)) if ones.len() == others.len() => (ones, others),
        (Ok(ones), Ok(others)) => {
            let fits = |count| match count == each.len() {
                true => Outcome::Answered,
                false => Outcome::Unreadable,
            };
            let (one, other) = (fits(ones.len()), fits(others.len()));
            return whole(Answers::Failed { one, other });
        }
        (one, other) => {
            let said = |told: Result<_, _>| told.err().unwrap_or(Outcome::Answered);
            let (one, other) = (said(one.map(drop)), said(other.map(drop)));
            return whole(Answers::Failed { one, other });
        }
    };
    ones.into_iter()
        .zip(others)
        .enumerate()
        .filter_map(|(index, (one, other))| {
            let asked = each.get(index).copied().unwrap_or(Asked::DEFAULT);
            let answers = (asked.order != Order::Random).then(|| answers(&asked, one, other))?;
            Some(Difference::new(index, asked, answers))
        })
        .collect()
}

fn answers(asked: &Asked, one: Part<'_>, other: Part<'_>) -> Answers {
    match (one, other) {
        (Part::Page(one), Part::Page(other)) => Answers::Points(points(asked, &one, &other)),
        (Part::Groups(one), Part::Groups(other)) => Answers::Groups(groups(asked, &one, &other)),
        (Part::Number(one), Part::Number(other)) => Answers::Number { one, other },
        (Part::Facet(one), Part::Facet(other)) => Answers::Facet(Lists {
            one,
            other,
            asked: asked.limit,
            ties: Ties::Values,
        }),
        // The kind comes of the operation, which is one for both.
        (Part::Page(_) | Part::Groups(_) | Part::Number(_) | Part::Facet(_), _) => {
            Answers::Failed {
                one: Outcome::Unreadable,
                other: Outcome::Unreadable,
            }
        }
    }
}

fn ties(asked: &Asked) -> Ties {
    match asked.order {
        Order::Ranked => Ties::Scores,
        Order::ByValue => Ties::Values,
        Order::ById | Order::AsGiven | Order::Random => Ties::Never,
    }
}

fn points(asked: &Asked, one: &Page<'_>, other: &Page<'_>) -> Points {
    let list = |page: &Page<'_>| -> Vec<_> {
        let next = page.next.map(|id| Hit { id, score: 0.0 });
        hits(asked, &page.rows).into_iter().chain(next).collect()
    };
    let (ones, others) = (list(one), list(other));
    // A page that names the next point is one longer than was asked for.
    let more = usize::from(one.next.is_some() || other.next.is_some());
    let mut changed = Vec::new();
    changes((&ones, &one.rows), (&others, &other.rows), &mut changed);
    Points {
        lists: Lists {
            one: ones,
            other: others,
            asked: asked.limit.map(|limit| limit.saturating_add(more)),
            ties: ties(asked),
        },
        changed,
    }
}

fn hits(asked: &Asked, rows: &[Row<'_>]) -> Vec<Hit<PointKey>> {
    let score = |row: &Row<'_>| match asked.order {
        Order::Ranked => row.score,
        Order::ByValue => row.order_value,
        Order::ById | Order::AsGiven | Order::Random => 0.0,
    };
    let rows = rows.iter();
    rows.map(|row| Hit {
        id: row.id,
        score: score(row),
    })
    .collect()
}

type Listed<'l, 'a> = (&'l [Hit<PointKey>], &'l [Row<'a>]);

/// Gathers the ids of rows that both have with other contents.
fn changes(one: Listed<'_, '_>, other: Listed<'_, '_>, changed: &mut Vec<PointKey>) {
    let known: HashMap<_, _> = numbered(one.0)
        .zip(one.1)
        .map(|((key, _), row)| (key, row.contents))
        .collect();
    for ((key, _), row) in numbered(other.0).zip(other.1) {
        if let Some(contents) = known.get(&key)
            && !same_contents(*contents, row.contents)
        {
            changed.push(row.id);
        }
    }
}

fn groups(asked: &Asked, one: &[Rows<'_>], other: &[Rows<'_>]) -> Groups {
    let list = |groups: &[Rows<'_>]| -> Vec<Group> {
        let groups = groups.iter();
        groups
            .map(|group| Group {
                id: group.id.clone(),
                hits: hits(asked, &group.rows),
            })
            .collect()
    };
    let (ones, others) = (list(one), list(other));
    let mut changed = Vec::new();
    let known: HashMap<_, _> = ones
        .iter()
        .zip(one)
        .map(|(group, told)| (&group.id, (group, told)))
        .collect();
    for (group, told) in others.iter().zip(other) {
        let Some((known, known_told)) = known.get(&group.id) else {
            continue;
        };
        changes(
            (&known.hits, &known_told.rows),
            (&group.hits, &told.rows),
            &mut changed,
        );
        // What is looked up is a point of another collection, shown with the group.
        if let (Some(one), Some(other)) = (&known_told.lookup, &told.lookup)
            && (one.id != other.id || !same_contents(one.contents, other.contents))
        {
            changed.push(one.id);
        }
    }
    Groups {
        one: ones,
        other: others,
        limit: asked.limit,
        size: asked.group_size,
        ties: ties(asked),
        changed,
    }
}

#[cfg(test)]
mod tests;
