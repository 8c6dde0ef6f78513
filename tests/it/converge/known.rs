//! What a client knows of the points that only it writes: of each the states that it may be in.
//!
//! One after a write that was acknowledged, more after one of which nobody knows whether it had its
//! effect, until a write that replaces the point as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::call::Outcome;

/// Whoever gave a call up may not write the points again for so long: by then the call has had its
/// effect, or never will.
pub(super) const LANDS_WITHIN: Duration = Duration::from_millis(500);

pub(super) type Fields = Map<String, Value>;

/// As text, so that it can be found in any body.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Id(pub(super) String);

impl Id {
    /// Alike in no other number of any request.
    pub(super) fn new(number: usize) -> Self {
        if number % 4 == 3 {
            return Self(format!("0f8fad5b-d9cb-469f-a165-{number:012x}"));
        }
        Self((7_000_000 + number).to_string())
    }

    pub(super) fn of(value: &Value) -> Self {
        let text = value.as_str().map(ToOwned::to_owned);
        Self(text.unwrap_or_else(|| value.to_string()))
    }

    pub(super) fn json(&self) -> Value {
        let number = self.0.parse::<u64>();
        number.map_or_else(|_uuid| json!(self.0), |number| json!(number))
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    /// By name; the one without a name has the empty one.
    pub(super) vectors: Fields,
    pub(super) payload: Fields,
}

pub(super) type State = Option<Point>;

impl Point {
    /// As a store tells it.
    pub(super) fn read(told: &Value) -> Self {
        let told_vector = &told["vector"];
        let named = told_vector.as_object().cloned();
        let vectors = named.unwrap_or_else(|| {
            let only = told_vector.is_array();
            let only = only.then(|| (String::new(), told_vector.clone()));
            only.into_iter().collect()
        });
        let payload = told["payload"].as_object().cloned().unwrap_or_default();
        Self { vectors, payload }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        let names: BTreeSet<_> = self.vectors.keys().chain(other.vectors.keys()).collect();
        self.payload == other.payload
            && names.into_iter().all(|name| {
                let vector = |of: &Self| of.vectors.get(name).map(numbers);
                match (vector(self), vector(other)) {
                    (Some(one), Some(other)) => close(&one, &other),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                }
            })
    }

    fn shown(&self) -> String {
        format!(
            "payload {} vectors {}",
            Value::Object(self.payload.clone()),
            Value::Object(self.vectors.clone())
        )
    }
}

pub(super) fn shown(state: &State) -> String {
    state.as_ref().map_or("absent".to_owned(), Point::shown)
}

pub(super) fn same(one: &State, other: &State) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is(other),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Of a dense vector its components, of a sparse one index by index.
fn numbers(vector: &Value) -> Vec<(u64, f64)> {
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let number = |of: &Value| of.as_f64().unwrap_or(f64::NAN);
    if vector.is_array() {
        let components = list(vector).into_iter();
        return (0..).zip(components.map(|of| number(&of))).collect();
    }
    let indices = list(&vector["indices"]).into_iter();
    let values = list(&vector["values"]).into_iter();
    let pairs = indices.zip(values);
    let mut pairs: Vec<_> = pairs
        .map(|(index, value)| (index.as_u64().unwrap_or(u64::MAX), number(&value)))
        .collect();
    pairs.sort_by_key(|(index, _)| *index);
    pairs
}

fn close(one: &[(u64, f64)], other: &[(u64, f64)]) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| {
            one.0 == other.0 && (one.1 - other.1).abs() <= 1e-5 * one.1.abs().max(1.0)
        })
}

/// What a write does to a point.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Put(Point, When),
    Delete,
    Set(Fields),
    Overwrite(Fields),
    DropKeys(Vec<String>),
    Clear,
    Vectors(Fields),
    DropVectors(Vec<String>),
}

/// Where a point is put.
#[derive(Clone, Debug)]
pub(super) enum When {
    Always,
    Absent,
    Present,
    /// Where there is none, or one of this user.
    User(String),
}

#[derive(Clone, Debug)]
pub(super) enum Reach {
    Id(Id),
    /// Those of the client's that are of this user.
    User(String),
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) reach: Reach,
    pub(super) change: Change,
}

impl Step {
    pub(super) fn id(id: &Id, change: Change) -> Self {
        let reach = Reach::Id(id.clone());
        Self { reach, change }
    }

    fn reaches(&self, owner: &Value, id: &Id, state: &State) -> bool {
        match &self.reach {
            Reach::Id(own) => own == id,
            Reach::User(user) => state.as_ref().is_some_and(|point| {
                point.payload.get("owner") == Some(owner) && is_of(point, user)
            }),
        }
    }

    fn apply(&self, owner: &Value, id: &Id, state: &State) -> State {
        if !self.reaches(owner, id, state) {
            return state.clone();
        }
        let point = match (&self.change, state) {
            (Change::Delete, _) => return None,
            (Change::Put(new, when), state) => {
                let is_put = match (when, state) {
                    (When::Always, _) | (When::Absent | When::User(_), None) => true,
                    (When::Absent, Some(_)) | (When::Present, None) => false,
                    (When::Present, Some(_)) => true,
                    (When::User(user), Some(old)) => is_of(old, user),
                };
                return if is_put {
                    Some(new.clone())
                } else {
                    state.clone()
                };
            }
            (_, None) => return None,
            (_, Some(point)) => point,
        };
        let mut point = point.clone();
        match &self.change {
            Change::Put(..) | Change::Delete => (),
            Change::Set(fields) => point.payload.extend(fields.clone()),
            Change::Overwrite(fields) => point.payload = fields.clone(),
            Change::DropKeys(keys) => keys.iter().for_each(|key| {
                point.payload.remove(key);
            }),
            Change::Clear => point.payload.clear(),
            Change::Vectors(vectors) => point.vectors.extend(vectors.clone()),
            Change::DropVectors(names) => names.iter().for_each(|name| {
                point.vectors.remove(name);
            }),
        }
        Some(point)
    }
}

fn is_of(point: &Point, user: &str) -> bool {
    point.payload.get("user").is_some_and(|own| own == user)
}

/// Where a write went, and whether it waited for its effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Front {
    pub(super) sidecar: usize,
    /// Of a sidecar that was killed the next one knows nothing.
    pub(super) life: usize,
}

struct Own {
    possible: Vec<State>,
    cool: Option<Instant>,
    /// Whose answers have to show it as it is.
    shows: Option<Front>,
}

/// The points of one client in one collection.
pub(super) struct Known {
    pub(super) owner: Value,
    points: BTreeMap<Id, Own>,
}

impl Known {
    pub(super) fn new(owner: Value, ids: &[Id]) -> Self {
        let own = || Own {
            possible: vec![None],
            cool: None,
            shows: None,
        };
        let points = ids.iter().map(|id| (id.clone(), own())).collect();
        Self { owner, points }
    }

    /// Those that may be written now.
    pub(super) fn free(&self) -> Vec<Id> {
        let now = Instant::now();
        let free = self.points.iter();
        free.filter(|(_, own)| own.cool.is_none_or(|until| until <= now))
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn are_all_free(&self) -> bool {
        self.free().len() == self.points.len()
    }

    /// Those whose states are known through this sidecar.
    pub(super) fn shown_by(&self, front: Front) -> Vec<Id> {
        let shown = self.points.iter();
        shown
            .filter(|(_, own)| own.shows == Some(front))
            .map(|(id, _)| id.clone())
            .collect()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &Id> {
        self.points.keys()
    }

    /// Why the point cannot be so.
    pub(super) fn doubts(&self, id: &Id, state: &State) -> Option<String> {
        let own = self.points.get(id)?;
        if own.possible.iter().any(|possible| same(possible, state)) {
            return None;
        }
        let possible: Vec<String> = own.possible.iter().map(shown).collect();
        Some(format!(
            "{} is    {}\n  can be {}",
            id.0,
            shown(state),
            possible.join("\n  or     ")
        ))
    }

    /// Whether a read by the owner and this user has to show it.
    pub(super) fn is_surely_of(&self, id: &Id, user: &str) -> bool {
        self.points.get(id).is_some_and(|own| {
            own.possible.iter().all(|state| {
                state.as_ref().is_some_and(|point| {
                    point.payload.get("owner") == Some(&self.owner) && is_of(point, user)
                })
            })
        })
    }

    /// What a write has made of it. `front`: where it went, if it waited for its effect.
    pub(super) fn learn(&mut self, steps: &[Step], outcome: &Outcome, front: Option<Front>) {
        let is_over = outcome.is_done() || outcome.is_refusal();
        if matches!(outcome, Outcome::NotSent) {
            return;
        }
        let cool = Instant::now() + LANDS_WITHIN;
        for (id, own) in &mut self.points {
            let mut is_touched = false;
            let mut all = Vec::new();
            let mut states = std::mem::take(&mut own.possible);
            for step in steps {
                is_touched |= states.iter().any(|of| step.reaches(&self.owner, id, of));
                let next = states.iter().map(|of| step.apply(&self.owner, id, of));
                let next = next.collect();
                all.append(&mut states);
                states = next;
            }
            if !outcome.is_done() {
                states.append(&mut all);
            }
            own.possible = distinct(states);
            if is_touched {
                own.shows = front.filter(|_| outcome.is_done());
                own.cool = (!is_over).then_some(cool).or(own.cool);
            }
        }
    }

    /// All of them may have gone with their collection, or surely have.
    pub(super) fn lose(&mut self, surely: bool) {
        for own in self.points.values_mut() {
            own.shows = None;
            if surely {
                own.possible.clear();
            }
            own.possible.push(None);
            own.possible = distinct(std::mem::take(&mut own.possible));
        }
    }
}

fn distinct(states: Vec<State>) -> Vec<State> {
    let mut kept: Vec<State> = Vec::new();
    for state in states {
        if !kept.iter().any(|other| same(other, &state)) {
            kept.push(state);
        }
    }
    kept
}
