//! Writes of every kind.

use serde_json::{Value, json};

use super::Asked;
use super::draw::{Draw, THEMES};
use super::filter::looked_at_each;
use super::shape::Shape;

impl Draw {
    pub(super) fn point(&mut self, shape: &Shape) -> Value {
        let mut point = json!({"id": self.id(), "vector": self.vectors(shape)});
        match self.dice.below(20) {
            0 => {}
            1 => point["payload"] = Value::Null,
            _ => point["payload"] = self.payload(),
        }
        point
    }

    pub(super) fn write(&mut self, name: &str, shape: &Shape) -> Asked {
        let points = format!("/collections/{name}/points");
        let (kind, method, target, body) = match self.dice.below(18) {
            0..=2 => ("upsert", "PUT", String::new(), self.upsert(shape)),
            3 => (
                "upsert batch",
                "PUT",
                String::new(),
                self.upsert_columns(shape),
            ),
            4 | 5 => (
                "update vectors",
                "PUT",
                "/vectors".to_owned(),
                self.update_vectors(shape),
            ),
            6 => {
                let body = self.delete_vectors(shape);
                ("delete vectors", "POST", "/vectors/delete".to_owned(), body)
            }
            7 | 8 => (
                "set payload",
                "POST",
                "/payload".to_owned(),
                self.set_payload(),
            ),
            9 => (
                "overwrite payload",
                "PUT",
                "/payload".to_owned(),
                self.set_payload(),
            ),
            10 | 11 => (
                "delete payload",
                "POST",
                "/payload/delete".to_owned(),
                self.delete_payload(),
            ),
            12 => (
                "clear payload",
                "POST",
                "/payload/clear".to_owned(),
                self.chosen(3),
            ),
            13 => ("delete", "POST", "/delete".to_owned(), self.chosen(3)),
            14 => ("batch", "POST", "/batch".to_owned(), self.batch(shape)),
            15 | 16 => return self.write_index(name),
            _ => return self.write_config(name),
        };
        let query = self
            .dice
            .of(&["?wait=true", "?wait=true", "?wait=true&ordering=strong"]);
        Asked::new(kind, method, format!("{points}{target}{query}"), body)
    }

    fn upsert(&mut self, shape: &Shape) -> Value {
        let count = 1 + self.dice.below(5);
        let points: Vec<Value> = (0..count).map(|_| self.point(shape)).collect();
        let mut body = json!({"points": points});
        if self.dice.one_in(6) {
            body["update_filter"] = looked_at_each(&self.filter());
        }
        if self.dice.one_in(8) {
            body["update_mode"] = json!(self.dice.of(&["upsert", "insert_only", "update_only"]));
        }
        body
    }

    /// The same as columns, of as many rows most of the time.
    fn upsert_columns(&mut self, shape: &Shape) -> Value {
        let count = 1 + self.dice.below(4);
        let ids: Vec<Value> = (0..count).map(|_| self.id()).collect();
        let payloads: Vec<Value> = (0..count).map(|_| self.payload()).collect();
        let vectors = match shape.dense.as_slice() {
            [only] if only.name.is_empty() && shape.sparse.is_empty() => {
                Value::Array((0..count).map(|_| self.vector_of(shape, "")).collect())
            }
            _ => {
                let named = shape.names().into_iter().map(|name| {
                    let count = if self.dice.one_in(20) {
                        count + 1
                    } else {
                        count
                    };
                    let rows = (0..count).map(|_| self.vector_of(shape, &name)).collect();
                    (name, Value::Array(rows))
                });
                Value::Object(named.collect())
            }
        };
        json!({"batch": {"ids": ids, "vectors": vectors, "payloads": payloads}})
    }

    fn update_vectors(&mut self, shape: &Shape) -> Value {
        let count = 1 + self.dice.below(3);
        let point = |draw: &mut Self| json!({"id": draw.id(), "vector": draw.vectors(shape)});
        let points: Vec<Value> = (0..count).map(|_| point(self)).collect();
        let mut body = json!({"points": points});
        if self.dice.one_in(6) {
            body["update_filter"] = looked_at_each(&self.filter());
        }
        body
    }

    fn delete_vectors(&mut self, shape: &Shape) -> Value {
        let mut body = self.chosen(4);
        let count = 1 + self.dice.below(2);
        let names: Vec<String> = (0..count).map(|_| self.vector_name(shape)).collect();
        body["vector"] = json!(names);
        body
    }

    fn set_payload(&mut self) -> Value {
        let mut body = self.chosen(6);
        let mut payload = self.payload();
        if self.dice.one_in(3) {
            let at = self.dice.of(&THEMES);
            payload = json!({"n": self.value(at), "kept": true});
        }
        // On a point without a payload the engine keeps nulls or drops them, by the segment that the
        // point happens to be in.
        payload
            .as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        body["payload"] = payload;
        if self.dice.one_in(3) {
            let key = self.dice.of(&[
                "deep",
                "deep.n",
                "o[]",
                "o[0]",
                "o[].p[]",
                "new.way.down",
                "n",
                "list[1]",
                "",
                "a..b",
                "deep.\"y.é\"",
            ]);
            body["key"] = json!(key);
        }
        body
    }

    fn delete_payload(&mut self) -> Value {
        let mut body = self.chosen(6);
        let count = 1 + self.dice.below(3);
        let keys: Vec<&str> = (0..count).map(|_| self.path().0).collect();
        body["keys"] = json!(keys);
        body
    }

    /// Points by their ids or by a filter, hardly ever by neither.
    fn chosen(&mut self, most: usize) -> Value {
        match self.dice.below(40) {
            0 => json!({}),
            1..=8 => {
                // How the engine finds them must not decide what is there from then on.
                let filter =
                    json!({"must": [looked_at_each(&self.filter()), {"has_id": self.ids(8)}]});
                json!({"filter": looked_at_each(&filter)})
            }
            9 => json!({"points": self.ids(2), "filter": looked_at_each(&json!({"must": []}))}),
            _ => json!({"points": self.ids(most)}),
        }
    }

    fn batch(&mut self, shape: &Shape) -> Value {
        let count = 1 + self.dice.below(4);
        let operations: Vec<Value> = (0..count)
            .map(|_| match self.dice.below(8) {
                0 => json!({"upsert": self.upsert(shape)}),
                1 => json!({"delete": self.chosen(2)}),
                2 => json!({"set_payload": self.set_payload()}),
                3 => json!({"overwrite_payload": self.set_payload()}),
                4 => json!({"delete_payload": self.delete_payload()}),
                5 => json!({"clear_payload": self.chosen(2)}),
                6 => json!({"update_vectors": self.update_vectors(shape)}),
                _ => json!({"delete_vectors": self.delete_vectors(shape)}),
            })
            .collect();
        json!({"operations": operations})
    }

    pub(super) fn write_index(&mut self, name: &str) -> Asked {
        let target = format!("/collections/{name}/index");
        if self.dice.one_in(3) {
            let (path, _) = self.path();
            let path: String = path
                .bytes()
                .map(|byte| match byte {
                    b'a'..=b'z' | b'.' => char::from(byte).to_string(),
                    _ => format!("%{byte:02X}"),
                })
                .collect();
            let target = format!("{target}/{path}?wait=true");
            return Asked::new("delete index", "DELETE", target, Value::Null);
        }
        let index = self.index();
        Asked::new("create index", "PUT", format!("{target}?wait=true"), index)
    }

    fn write_config(&mut self, name: &str) -> Asked {
        let collection = format!("/collections/{name}");
        match self.dice.below(4) {
            0 => {
                let body = json!({"metadata": {"n": self.dice.below(3), "k": null}});
                Asked::new("patch", "PATCH", collection, body)
            }
            1 => {
                let make = json!({"create_alias": {
                    "collection_name": self.dice.of(&[name, name, "none"]),
                    "alias_name": self.dice.of(&["now'", "then"]),
                }});
                let delete = json!({"delete_alias": {"alias_name": "then"}});
                let rename = json!({"rename_alias": {
                    "old_alias_name": "now'", "new_alias_name": "then",
                }});
                let action = self.dice.of(&[make.clone(), make, delete, rename]);
                let body = json!({"actions": [action]});
                Asked::new("aliases", "POST", "/collections/aliases".to_owned(), body)
            }
            2 => {
                let body = match self.dice.below(2) {
                    0 => json!({"dense": {"size": 2, "distance": "Dot"}}),
                    _ => json!({"sparse": {"modifier": "idf"}}),
                };
                Asked::new(
                    "create vector",
                    "PUT",
                    format!("{collection}/vectors/late"),
                    body,
                )
            }
            _ => {
                let target = format!("{collection}/vectors/late");
                Asked::new("delete vector", "DELETE", target, Value::Null)
            }
        }
    }
}
