//! Writes of every kind, and what becomes of the points that they reach.
//!
//! Each point belongs to one client, who alone writes it, one write at a time. So the client knows
//! what it is, unless it went away amid a write: until everything has come to rest it then writes
//! what does not depend on it.

use serde_json::{Map, Value, json};

use super::history::Dice;
use super::read::USERS;
use super::reference::{POINTS, Point};
use crate::support::ask::Ask;

pub(super) const CLIENTS: usize = 3;

/// A write, and what each point is when it is done; before that, what it may be amid it.
#[derive(Debug)]
pub(super) struct Write {
    method: &'static str,
    path: &'static str,
    body: Value,
    pub(super) becomes: Vec<(usize, Option<Point>)>,
}

impl Write {
    pub(super) fn ask(&self, name: &str, waits: bool) -> Ask {
        let target = format!("/collections/{name}/points{}?wait={waits}", self.path);
        Ask::new(self.method, &target).json(&self.body)
    }
}

/// Who writes, and what is known of the client's own points: outside, `None` is not known.
pub(super) struct Writer<'d> {
    pub(super) client: usize,
    pub(super) own: Vec<(usize, Option<Option<Point>>)>,
    pub(super) dice: &'d mut Dice,
}

pub(super) fn own(client: usize) -> impl Iterator<Item = usize> {
    (0..POINTS).filter(move |at| at % CLIENTS == client)
}

/// Which points a write is for, as they are and as the store is told.
struct Reached {
    points: Vec<(usize, Point)>,
    selector: Value,
}

impl Writer<'_> {
    /// A write that may be sent whatever the points are now.
    pub(super) fn regardless(&mut self) -> Write {
        if self.dice.one_in(3) {
            self.delete()
        } else {
            self.upsert()
        }
    }

    pub(super) fn any(&mut self) -> Write {
        let Some(reached) = self.reached() else {
            return self.regardless();
        };
        match self.dice.below(10) {
            0 | 1 => self.upsert(),
            2 => self.delete_reached(&reached),
            3 => self.set_payload(&reached),
            4 => self.overwrite_payload(&reached),
            5 => change(
                &reached,
                "POST",
                "/payload/delete",
                json!({"keys": ["p"]}),
                |point| {
                    point.payload.remove("p");
                },
            ),
            6 => change(&reached, "POST", "/payload/clear", json!({}), |point| {
                point.payload.clear();
            }),
            7 => self.update_vectors(&reached),
            8 => change(
                &reached,
                "POST",
                "/vectors/delete",
                json!({"vector": ["b"]}),
                |point| {
                    point.b = None;
                },
            ),
            _ => self.batch(),
        }
    }

    /// Points that are there: one by its id, or those of a user by a filter.
    fn reached(&mut self) -> Option<Reached> {
        let known: Option<Vec<_>> = self
            .own
            .iter()
            .map(|(at, value)| value.clone().map(|value| (*at, value)))
            .collect();
        let present =
            |(at, value): &(usize, Option<Point>)| value.clone().map(|value| (*at, value));
        if let Some(known) = known.filter(|_| self.dice.one_in(2)) {
            let user = USERS[self.dice.below(2)];
            let of_user = |(_, point): &(usize, Point)| {
                point.payload.get("user").is_some_and(|own| own == user)
                    && point
                        .payload
                        .get("owner")
                        .is_some_and(|own| *own == self.client)
            };
            return Some(Reached {
                points: known.iter().filter_map(present).filter(of_user).collect(),
                selector: json!({"filter": {"must": [
                    {"key": "user", "match": {"value": user}},
                    {"key": "owner", "match": {"value": self.client}},
                ]}}),
            });
        }
        let there = self
            .own
            .iter()
            .filter_map(|(at, value)| Some((*at, value.clone()??)));
        let there: Vec<_> = there.collect();
        let (at, point) = there.get(self.dice.below(there.len().max(1)))?.clone();
        Some(Reached {
            points: vec![(at, point)],
            selector: json!({"points": [at + 1]}),
        })
    }

    fn point(&mut self) -> Point {
        Point {
            a: Some(self.dice.next_number()),
            b: Some(self.dice.next_number()),
            payload: self.payload(),
        }
    }

    fn payload(&mut self) -> Map<String, Value> {
        let user = USERS[self.dice.below(2)];
        let text = json!({"owner": self.client, "user": user, "p": self.dice.next_number()});
        text.as_object().cloned().unwrap()
    }

    fn one_of_own(&mut self) -> usize {
        self.own[self.dice.below(self.own.len())].0
    }

    fn upsert(&mut self) -> Write {
        let (at, point) = (self.one_of_own(), self.point());
        Write {
            method: "PUT",
            path: "",
            body: json!({"points": [encoded(at, &point)]}),
            becomes: vec![(at, Some(point))],
        }
    }

    fn delete(&mut self) -> Write {
        let at = self.one_of_own();
        Write {
            method: "POST",
            path: "/delete",
            body: json!({"points": [at + 1]}),
            becomes: vec![(at, None)],
        }
    }

    fn delete_reached(&self, reached: &Reached) -> Write {
        Write {
            method: "POST",
            path: "/delete",
            body: reached.selector.clone(),
            becomes: reached.points.iter().map(|(at, _)| (*at, None)).collect(),
        }
    }

    fn set_payload(&mut self, reached: &Reached) -> Write {
        let number = self.dice.next_number();
        let body = json!({"payload": {"p": number}});
        change(reached, "POST", "/payload", body, |point| {
            point.payload.insert("p".to_owned(), json!(number));
        })
    }

    fn overwrite_payload(&mut self, reached: &Reached) -> Write {
        let payload = self.payload();
        change(
            reached,
            "PUT",
            "/payload",
            json!({ "payload": payload }),
            |point| {
                point.payload = payload.clone();
            },
        )
    }

    fn update_vectors(&mut self, reached: &Reached) -> Write {
        let number = self.dice.next_number();
        let update = |(at, _): &(usize, Point)| json!({"id": at + 1, "vector": {"a": [number, 1]}});
        let updates: Vec<Value> = reached.points.iter().map(update).collect();
        if updates.is_empty() {
            return self.upsert();
        }
        let becomes = reached.points.iter().map(|(at, point)| {
            let a = Some(number);
            (*at, Some(Point { a, ..point.clone() }))
        });
        Write {
            method: "PUT",
            path: "/vectors",
            body: json!({ "points": updates }),
            becomes: becomes.collect(),
        }
    }

    /// One after the other in one call: the last one counts.
    fn batch(&mut self) -> Write {
        let (at, mut point) = (self.one_of_own(), self.point());
        let number = self.dice.next_number();
        let upsert = json!({"upsert": {"points": [encoded(at, &point)]}});
        let set = json!({"set_payload": {"payload": {"q": number}, "points": [at + 1]}});
        let amid = point.clone();
        point.payload.insert("q".to_owned(), json!(number));
        Write {
            method: "POST",
            path: "/batch",
            body: json!({"operations": [upsert, set]}),
            becomes: vec![(at, Some(amid)), (at, Some(point))],
        }
    }
}

fn change(
    reached: &Reached,
    method: &'static str,
    path: &'static str,
    mut body: Value,
    mut changed: impl FnMut(&mut Point),
) -> Write {
    for (name, value) in reached.selector.as_object().unwrap() {
        body[name] = value.clone();
    }
    let becomes = reached.points.iter().map(|(at, point)| {
        let mut point = point.clone();
        changed(&mut point);
        (*at, Some(point))
    });
    let becomes = becomes.collect();
    Write {
        method,
        path,
        body,
        becomes,
    }
}

fn encoded(at: usize, point: &Point) -> Value {
    let mut vector = Map::new();
    for (name, number) in [("a", point.a), ("b", point.b)] {
        if let Some(number) = number {
            vector.insert(name.to_owned(), json!([number, 1]));
        }
    }
    json!({"id": at + 1, "vector": vector, "payload": point.payload})
}
