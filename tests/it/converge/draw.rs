//! The writes of a client, of every kind, and what each does to the points that only it writes.

use serde_json::{Map, Value, json};

use super::known::{Change, Fields, Id, Point, Reach, Step, When};
use crate::support::dice::Dice;

const USERS: [&str; 2] = ["ann", "bob"];

/// What vectors a collection has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Two with names and a sparse one, instead of one without.
    pub(super) is_named: bool,
    pub(super) size: usize,
    pub(super) is_cosine: bool,
}

impl Shape {
    pub(super) fn any(dice: &mut Dice) -> Self {
        Self {
            is_named: dice.one_in(2),
            size: 4,
            is_cosine: dice.one_in(3),
        }
    }

    pub(super) fn collection(&self) -> Value {
        let distance = if self.is_cosine { "Cosine" } else { "Dot" };
        let dense = json!({"size": self.size, "distance": distance});
        if !self.is_named {
            return json!({"vectors": dense});
        }
        json!({
            "vectors": {"a": dense, "b": {"size": 3, "distance": "Euclid"}},
            "sparse_vectors": {"s": {}},
        })
    }

    fn vectors(&self, dice: &mut Dice, all: bool) -> Fields {
        let mut vectors = Map::new();
        if !self.is_named {
            vectors.insert(String::new(), self.dense(dice));
            return vectors;
        }
        if all || !dice.one_in(4) {
            vectors.insert("a".to_owned(), self.dense(dice));
        }
        if all || dice.one_in(2) {
            vectors.insert("b".to_owned(), floats(dice, 3));
        }
        if all || dice.one_in(2) {
            let count = dice.below(3) + 1;
            let indices: Vec<usize> = (0..count).map(|at| at * 7 + dice.below(7)).collect();
            let values = floats(dice, count);
            vectors.insert(
                "s".to_owned(),
                json!({"indices": indices, "values": values}),
            );
        }
        vectors
    }

    fn dense(&self, dice: &mut Dice) -> Value {
        if !self.is_cosine {
            return floats(dice, self.size);
        }
        // Of length one, which is how it is kept.
        let raw: Vec<f64> = (0..self.size).map(|_| dice.float() + 2.0).collect();
        let length = raw.iter().map(|of| of * of).sum::<f64>().sqrt();
        raw.iter().map(|of| of / length).collect()
    }
}

fn floats(dice: &mut Dice, count: usize) -> Value {
    (0..count).map(|_| dice.float()).collect()
}

/// As a request writes them.
fn written(vectors: &Fields) -> Value {
    match vectors.get("") {
        Some(only) => only.clone(),
        None => Value::Object(vectors.clone()),
    }
}

fn listed(points: &[(Id, Point)]) -> Vec<Value> {
    let told = points.iter().map(|(id, point)| {
        let vector = written(&point.vectors);
        json!({"id": id.json(), "vector": vector, "payload": point.payload})
    });
    told.collect()
}

/// One write, or a part of a batch.
pub(super) struct Write {
    pub(super) method: &'static str,
    /// After `/collections/NAME/points`.
    pub(super) path: &'static str,
    operation: &'static str,
    pub(super) body: Value,
    pub(super) steps: Vec<Step>,
}

impl Write {
    /// Whether it finds its points by what they are.
    pub(super) fn is_by_filter(&self) -> bool {
        let by_user = |step: &Step| matches!(step.reach, Reach::User(_));
        self.steps.iter().any(by_user)
    }
}

/// Draws the writes of one owner in one collection.
pub(super) struct Pen<'a> {
    pub(super) dice: &'a mut Dice,
    pub(super) shape: Shape,
    pub(super) owner: &'a Value,
    /// Those that may be written now.
    pub(super) ids: &'a [Id],
    /// Whether all may, so that a filter may meet any.
    pub(super) may_filter: bool,
}

/// Which points: by id or by filter, in a body and in the reference.
struct Chosen {
    body: Value,
    reaches: Vec<Reach>,
}

impl Pen<'_> {
    pub(super) fn any(&mut self) -> Write {
        if self.dice.one_in(6) {
            return self.batch();
        }
        self.single()
    }

    /// Most of the points at once, to begin with.
    pub(super) fn most(&mut self) -> Write {
        let ids = self.ids.iter().filter(|_| !self.dice.one_in(4));
        let ids: Vec<Id> = ids.cloned().collect();
        let points = ids.into_iter().map(|id| (id, self.point(true)));
        let points: Vec<_> = points.collect();
        put(json!({"points": listed(&points)}), &points, &When::Always)
    }

    fn batch(&mut self) -> Write {
        let parts: Vec<Write> = (0..self.dice.below(3) + 2).map(|_| self.single()).collect();
        let told = parts.iter().map(|of| json!({of.operation: of.body}));
        Write {
            method: "POST",
            path: "/batch",
            operation: "",
            body: json!({"operations": told.collect::<Vec<_>>()}),
            steps: parts.iter().flat_map(|of| of.steps.clone()).collect(),
        }
    }

    fn single(&mut self) -> Write {
        match self.dice.below(16) {
            0..=4 => self.upsert(),
            5 => self.columns(),
            6 => self.conditional(),
            7 | 8 => self.chosen("POST", "/delete", "delete", json!({}), Change::Delete),
            9 | 10 => {
                let fields = self.some_fields();
                let body = json!({"payload": fields});
                self.chosen("POST", "/payload", "set_payload", body, Change::Set(fields))
            }
            11 => {
                let fields = self.payload();
                let body = json!({"payload": fields});
                let change = Change::Overwrite(fields);
                self.chosen("PUT", "/payload", "overwrite_payload", body, change)
            }
            12 => {
                let keys = vec![self.dice.of(&["p", "n", "user"]).to_owned()];
                let body = json!({"keys": keys});
                let change = Change::DropKeys(keys);
                self.chosen("POST", "/payload/delete", "delete_payload", body, change)
            }
            13 => self.chosen(
                "POST",
                "/payload/clear",
                "clear_payload",
                json!({}),
                Change::Clear,
            ),
            14 if self.shape.is_named => {
                let names = vec![self.dice.of(&["a", "b", "s"]).to_owned()];
                let body = json!({"vector": names});
                let change = Change::DropVectors(names);
                self.chosen("POST", "/vectors/delete", "delete_vectors", body, change)
            }
            _ => self.vectors(),
        }
    }

    fn some_ids(&mut self, most: usize) -> Vec<Id> {
        let mut ids: Vec<Id> = Vec::new();
        for _ in 0..=self.dice.below(most) {
            let id = self.dice.of(self.ids);
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    fn payload(&mut self) -> Fields {
        let user = self.dice.of(&USERS);
        let number = self.dice.below(1000);
        let half = f64::from(u32::try_from(self.dice.below(100)).unwrap()) + 0.5;
        let all = json!({
            "owner": self.owner, "user": user, "n": number, "p": {"half": half, "l": [1, "x", null]},
        });
        all.as_object().cloned().unwrap()
    }

    fn some_fields(&mut self) -> Fields {
        let mut fields = self.payload();
        let keys = ["n", "p", "user"];
        let kept = self.dice.of(&keys);
        fields.retain(|key, _| key == kept);
        fields
    }

    fn point(&mut self, all: bool) -> Point {
        Point {
            vectors: self.shape.vectors(self.dice, all),
            payload: self.payload(),
        }
    }

    fn points(&mut self) -> (Vec<Value>, Vec<(Id, Point)>) {
        let ids = self.some_ids(4).into_iter();
        let points: Vec<_> = ids.map(|id| (id, self.point(false))).collect();
        (listed(&points), points)
    }

    fn upsert(&mut self) -> Write {
        let (told, points) = self.points();
        put(json!({"points": told}), &points, &When::Always)
    }

    fn conditional(&mut self) -> Write {
        let (told, points) = self.points();
        let mut body = json!({"points": told});
        let when = match self.dice.below(3) {
            0 => {
                body["update_mode"] = json!("insert_only");
                When::Absent
            }
            1 => {
                body["update_mode"] = json!("update_only");
                When::Present
            }
            _ => {
                let user = self.dice.of(&USERS);
                let of_user = json!({"key": "user", "match": {"value": user}});
                body["update_filter"] = json!({"must": [of_user]});
                When::User(user.to_owned())
            }
        };
        put(body, &points, &when)
    }

    fn columns(&mut self) -> Write {
        let ids = self.some_ids(4).into_iter();
        let points: Vec<_> = ids.map(|id| (id, self.point(true))).collect();
        let column = |name: &str| -> Value {
            let of = points.iter();
            of.map(|(_, point)| point.vectors[name].clone()).collect()
        };
        let vectors = if self.shape.is_named {
            json!({"a": column("a"), "b": column("b"), "s": column("s")})
        } else {
            column("")
        };
        let ids: Vec<Value> = points.iter().map(|(id, _)| id.json()).collect();
        let payloads: Vec<&Fields> = points.iter().map(|(_, point)| &point.payload).collect();
        let batch = json!({"ids": ids, "vectors": vectors, "payloads": payloads});
        put(json!({"batch": batch}), &points, &When::Always)
    }

    fn vectors(&mut self) -> Write {
        let ids = self.some_ids(2).into_iter();
        let all: Vec<(Id, Fields)> = ids
            .map(|id| (id, self.shape.vectors(self.dice, true)))
            .collect();
        let told: Vec<Value> = all
            .iter()
            .map(|(id, vectors)| json!({"id": id.json(), "vector": written(vectors)}))
            .collect();
        let steps = all.iter();
        let steps = steps.map(|(id, vectors)| Step::id(id, Change::Vectors(vectors.clone())));
        Write {
            method: "PUT",
            path: "/vectors",
            operation: "update_vectors",
            body: json!({"points": told}),
            steps: steps.collect(),
        }
    }

    fn choice(&mut self) -> Chosen {
        if self.may_filter && self.dice.one_in(3) {
            let user = self.dice.of(&USERS);
            return Chosen {
                body: json!({"filter": of_user(self.owner, user)}),
                reaches: vec![Reach::User(user.to_owned())],
            };
        }
        let ids = self.some_ids(2);
        let told: Vec<Value> = ids.iter().map(Id::json).collect();
        Chosen {
            body: json!({"points": told}),
            reaches: ids.into_iter().map(Reach::Id).collect(),
        }
    }

    fn chosen(
        &mut self,
        method: &'static str,
        path: &'static str,
        operation: &'static str,
        mut body: Value,
        change: Change,
    ) -> Write {
        let chosen = self.choice();
        for (name, value) in chosen.body.as_object().unwrap() {
            body[name] = value.clone();
        }
        let steps = chosen.reaches.into_iter();
        let steps = steps.map(|reach| Step {
            reach,
            change: change.clone(),
        });
        Write {
            method,
            path,
            operation,
            body,
            steps: steps.collect(),
        }
    }
}

pub(super) fn any_user(dice: &mut Dice) -> &'static str {
    dice.of(&USERS)
}

pub(super) fn of_user(owner: &Value, user: &str) -> Value {
    json!({"must": [
        {"key": "owner", "match": {"value": owner}},
        {"key": "user", "match": {"value": user}},
    ]})
}

fn put(body: Value, points: &[(Id, Point)], when: &When) -> Write {
    let step = |(id, point): &(Id, Point)| Step::id(id, Change::Put(point.clone(), when.clone()));
    Write {
        method: "PUT",
        path: "",
        operation: "upsert",
        body,
        steps: points.iter().map(step).collect(),
    }
}
