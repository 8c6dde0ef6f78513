//! Reads of every kind, but for queries.

use serde_json::{Map, Value, json};

use super::draw::{Draw, Theme};
use super::shape::Shape;
use super::{Asked, OTHER};

impl Draw {
    pub(super) fn read(&mut self, name: &str, shape: &Shape) -> Asked {
        let collection = format!("/collections/{name}");
        let points = format!("{collection}/points");
        match self.dice.below(30) {
            0..=4 => Asked::new(
                "scroll",
                "POST",
                format!("{points}/scroll"),
                self.scroll(shape),
            ),
            5 | 6 => Asked::new("count", "POST", format!("{points}/count"), self.count()),
            7 | 8 => Asked::new("facet", "POST", format!("{collection}/facet"), self.facet()),
            9 => {
                let mut body = json!({"ids": self.ids(6)});
                self.selected(shape, &mut body);
                Asked::new("retrieve", "POST", points, body)
            }
            10 => {
                let id = self.id().to_string().replace('"', "");
                Asked::new("get", "GET", format!("{points}/{id}"), Value::Null)
            }
            11 => Asked::new("info", "GET", collection, Value::Null),
            12 => {
                let target =
                    self.dice
                        .of(&["/aliases", "/collections", "/collections/none/exists"]);
                Asked::new("lists", "GET", target.to_owned(), Value::Null)
            }
            13 => self.old_search(&points, shape),
            14 => self.old_recommend(&points, shape),
            15 => self.old_discover(&points, shape),
            16 | 17 => {
                let count = 1 + self.dice.below(3);
                let searches: Vec<Value> = (0..count).map(|_| self.query(shape)).collect();
                let body = json!({"searches": searches});
                Asked::new("query batch", "POST", format!("{points}/query/batch"), body)
            }
            18..=20 => {
                let mut body = self.query(shape);
                body.as_object_mut().unwrap().remove("offset");
                self.grouped(&mut body);
                Asked::new(
                    "query groups",
                    "POST",
                    format!("{points}/query/groups"),
                    body,
                )
            }
            _ => Asked::new(
                "query",
                "POST",
                format!("{points}/query"),
                self.query(shape),
            ),
        }
    }

    /// What a read says of itself: a filter, how many, what comes along.
    pub(super) fn selected(&mut self, shape: &Shape, body: &mut Value) {
        let payload = match self.dice.below(9) {
            0 => json!(true),
            1 => json!(false),
            2 => json!([self.path().0, self.path().0]),
            3 => json!({"include": [self.path().0]}),
            4 => json!({"exclude": [self.path().0, self.path().0]}),
            5 => json!([]),
            _ => Value::Null,
        };
        if !payload.is_null() {
            body["with_payload"] = payload;
        }
        let vector = match self.dice.below(9) {
            0 | 1 => json!(true),
            2 => json!(false),
            3 => json!([self.vector_name(shape)]),
            4 => json!([self.vector_name(shape), self.vector_name(shape)]),
            5 => json!([]),
            _ => Value::Null,
        };
        if !vector.is_null() {
            body["with_vector"] = vector;
        }
    }

    fn filtered(&mut self, body: &mut Value) {
        if let Some(filter) = self.any_filter() {
            body["filter"] = filter;
        }
    }

    fn scroll(&mut self, shape: &Shape) -> Value {
        let mut body = json!({});
        self.selected(shape, &mut body);
        self.filtered(&mut body);
        if self.dice.one_in(2) {
            body["limit"] = json!(self.dice.of(&[0, 1, 3, 7, 100]));
        }
        if self.dice.one_in(4) {
            body["offset"] = self.id();
        }
        if self.dice.one_in(3) {
            body["order_by"] = self.order();
        }
        body
    }

    pub(super) fn order(&mut self) -> Value {
        let (path, theme) = self.path();
        if self.dice.one_in(3) {
            return json!(path);
        }
        let mut order = json!({"key": path});
        match self.dice.below(3) {
            0 => order["direction"] = json!("desc"),
            1 => order["direction"] = json!("asc"),
            _ => {}
        }
        if self.dice.one_in(3) {
            order["start_from"] = match theme {
                Theme::Date => json!(self.date()),
                Theme::Float => json!(0.5),
                Theme::Integer
                | Theme::Keyword
                | Theme::Uuid
                | Theme::Place
                | Theme::Bool
                | Theme::Text => json!(2),
            };
        }
        order
    }

    fn count(&mut self) -> Value {
        let mut body = json!({});
        self.filtered(&mut body);
        if self.dice.one_in(2) {
            body["exact"] = json!(true);
        }
        body
    }

    fn facet(&mut self) -> Value {
        // Whether exactly or not both count the same here. Only of a collection without points, and
        // without the index, the embedded engine says nothing where Qdrant refuses an exact count.
        let mut body = json!({"key": self.path().0});
        self.filtered(&mut body);
        if self.dice.one_in(2) {
            body["limit"] = json!(self.dice.of(&[1, 2, 5]));
        }
        body
    }

    fn grouped(&mut self, body: &mut Value) {
        body["group_by"] = json!(self.path().0);
        body["group_size"] = json!(1 + self.dice.below(3));
        body["limit"] = json!(1 + self.dice.below(6));
        if self.dice.one_in(4) {
            let lookup = json!({
                "collection": self.dice.of(&[OTHER, OTHER, "none"]),
                "with_payload": self.dice.of(&[json!(true), json!(["n"]), json!(false)]),
                "with_vectors": self.dice.one_in(2),
            });
            body["with_lookup"] = self.dice.of(&[lookup, json!(OTHER)]);
        }
    }

    fn old(&mut self, shape: &Shape, body: &mut Value) {
        self.selected(shape, body);
        self.filtered(body);
        body["limit"] = json!(self.dice.of(&[1, 3, 10, 50]));
        if self.dice.one_in(4) {
            body["offset"] = json!(self.dice.below(4));
        }
        if self.dice.one_in(4) {
            body["params"] = json!({"exact": true});
        }
        if self.dice.one_in(6) {
            body["score_threshold"] = json!(self.dice.float());
        }
    }

    /// The same request alone, in a batch, or in groups.
    fn in_form(&mut self, kind: &'static str, path: &str, mut body: Value) -> Asked {
        match self.dice.below(4) {
            0 => {
                let body = json!({"searches": [body.clone(), body]});
                Asked::new(kind, "POST", format!("{path}/batch"), body)
            }
            1 if !path.ends_with("discover") => {
                body.as_object_mut().unwrap().remove("offset");
                self.grouped(&mut body);
                Asked::new(kind, "POST", format!("{path}/groups"), body)
            }
            _ => Asked::new(kind, "POST", path.to_owned(), body),
        }
    }

    fn old_search(&mut self, points: &str, shape: &Shape) -> Asked {
        let name = self.vector_name(shape);
        let vector = self.vector_of(shape, &name);
        let vector = if name.is_empty() && self.dice.one_in(2) {
            vector
        } else {
            json!({"name": name, "vector": vector})
        };
        let mut body = json!({"vector": vector});
        self.old(shape, &mut body);
        self.in_form("search", &format!("{points}/search"), body)
    }

    /// Examples as the older requests take them.
    fn examples(&mut self, shape: &Shape, name: &str, least: usize) -> Vec<Value> {
        let count = least + self.dice.below(3);
        (0..count).map(|_| self.example(shape, name)).collect()
    }

    /// An id as often as a vector.
    pub(super) fn example(&mut self, shape: &Shape, name: &str) -> Value {
        if self.dice.one_in(2) {
            self.id()
        } else {
            self.vector_of(shape, name)
        }
    }

    pub(super) fn lookup_from(&mut self, body: &mut Value, name: &str) {
        if self.dice.one_in(12) {
            let collection = self.dice.of(&[OTHER, OTHER, OTHER, "none"]);
            body["lookup_from"] = json!({"collection": collection});
            if self.dice.one_in(2) {
                body["lookup_from"]["vector"] = json!(name);
            }
        }
    }

    fn old_recommend(&mut self, points: &str, shape: &Shape) -> Asked {
        let name = self.vector_name(shape);
        let positive = self.examples(shape, &name, 1);
        let negative = self.examples(shape, &name, 0);
        let mut body = json!({"positive": positive, "negative": negative});
        if !name.is_empty() || self.dice.one_in(2) {
            body["using"] = json!(name);
        }
        if self.dice.one_in(2) {
            body["strategy"] = json!(
                self.dice
                    .of(&["average_vector", "best_score", "sum_scores"])
            );
        }
        self.lookup_from(&mut body, &name);
        self.old(shape, &mut body);
        self.in_form("recommend", &format!("{points}/recommend"), body)
    }

    pub(super) fn pairs(&mut self, shape: &Shape, name: &str) -> Value {
        let pairs = (0..self.dice.below(4)).map(|_| {
            let (one, other) = (self.example(shape, name), self.example(shape, name));
            json!({"positive": one, "negative": other})
        });
        Value::Array(pairs.collect())
    }

    fn old_discover(&mut self, points: &str, shape: &Shape) -> Asked {
        let name = self.vector_name(shape);
        let mut body = Map::new();
        if !self.dice.one_in(4) {
            body.insert("target".to_owned(), self.example(shape, &name));
        }
        body.insert("context".to_owned(), self.pairs(shape, &name));
        let mut body = Value::Object(body);
        if !name.is_empty() {
            body["using"] = json!(name);
        }
        self.lookup_from(&mut body, &name);
        self.old(shape, &mut body);
        self.in_form("discover", &format!("{points}/discover"), body)
    }
}
