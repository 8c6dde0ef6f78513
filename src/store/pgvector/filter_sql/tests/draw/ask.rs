//! Random payload indexes and filters.

use serde_json::{Map, Value, json};

use super::{Draw, Indexes, PATHS, THEMES, Theme};

impl Draw {
    /// Paths and schemas, and those of indexes that are still being built.
    pub(in crate::store::pgvector::filter_sql::tests) fn indexes(&mut self) -> (Indexes, Indexes) {
        let mut indexes = Vec::new();
        let mut unready = Vec::new();
        for (path, slot) in PATHS {
            if self.coin(8) {
                let theme = self.theme(slot);
                unready.push((path.to_owned(), self.schema(theme)));
            } else if self.coin(2) {
                let theme = match self.coin(5) {
                    true => self.of(&THEMES),
                    false => self.theme(slot),
                };
                indexes.push((path.to_owned(), self.schema(theme)));
            }
        }
        (indexes, unready)
    }

    fn schema(&mut self, theme: Theme) -> Value {
        match theme {
            Theme::Integer => match self.below(4) {
                0 => json!({"type": "integer", "lookup": true, "range": false}),
                1 => json!({"type": "integer", "lookup": false, "range": true}),
                2 => json!({"type": "integer", "lookup": true, "range": true}),
                _ => json!("integer"),
            },
            Theme::Float => json!("float"),
            Theme::Keyword => json!("keyword"),
            Theme::Uuid => json!("uuid"),
            Theme::Date => json!("datetime"),
            Theme::Place => json!("geo"),
            Theme::Bool => json!("bool"),
            Theme::Text => self.text_schema(),
            Theme::Mixed => {
                let other = self.of(&THEMES[..8]);
                self.schema(other)
            }
        }
    }

    fn text_schema(&mut self) -> Value {
        let mut schema = json!({"type": "text", "tokenizer": self.of(&["word", "whitespace", "prefix", "multilingual"])});
        if self.coin(3) {
            schema["lowercase"] = json!(self.coin(2));
        }
        if self.coin(2) {
            schema["phrase_matching"] = json!(true);
        }
        if self.coin(3) {
            schema["min_token_len"] = json!(1 + self.below(3));
        }
        if self.coin(3) {
            schema["max_token_len"] = json!(3 + self.below(4));
        }
        if self.coin(3) {
            schema["ascii_folding"] = json!(true);
        }
        if self.coin(3) {
            schema["stopwords"] = self.value_of(json!(["english", {"custom": ["Quick", "日付"]}, {"languages": ["german"], "custom": ["fox"]}]));
        }
        if self.coin(3) {
            schema["stemmer"] =
                json!({"type": "snowball", "language": self.of(&["english", "german"])});
        }
        schema
    }

    /// A filter, half the time of a single condition.
    pub(in crate::store::pgvector::filter_sql::tests) fn question(&mut self) -> Value {
        match self.coin(2) {
            true => json!({"must": [self.condition(2)]}),
            false => self.filter(3),
        }
    }

    fn filter(&mut self, depth: usize) -> Value {
        let mut filter = Map::new();
        loop {
            for clause in ["must", "should", "must_not"] {
                if self.coin(3) {
                    let count = match self.below(8) {
                        0 => 0,
                        1 | 2 => 2 + self.below(2),
                        _ => 1,
                    };
                    let conditions: Vec<Value> =
                        (0..count).map(|_| self.condition(depth)).collect();
                    filter.insert(clause.to_owned(), Value::Array(conditions));
                }
            }
            if self.coin(6) {
                let count = self.below(4);
                let conditions: Vec<Value> = (0..count).map(|_| self.condition(depth)).collect();
                let least = self.below(4);
                filter.insert(
                    "min_should".to_owned(),
                    json!({"conditions": conditions, "min_count": least}),
                );
            }
            if !filter.is_empty() || self.coin(4) {
                return Value::Object(filter);
            }
        }
    }

    fn condition(&mut self, depth: usize) -> Value {
        match self.below(20) {
            0 | 1 if depth > 0 => self.filter(depth - 1),
            2..=4 if depth > 0 => self.nested(depth),
            5 => {
                let ids: Vec<Value> = (0..self.below(12)).map(|_| json!(self.below(48))).collect();
                json!({"has_id": ids})
            }
            6 => json!({"has_vector": self.of(&["", "v", "ghost"])}),
            7 => {
                let (path, _) = self.of(&PATHS);
                json!({"is_empty": {"key": path}})
            }
            8 => {
                let (path, _) = self.of(&PATHS);
                json!({"is_null": {"key": path}})
            }
            _ => {
                let (path, slot) = self.of(&PATHS);
                self.field(path, slot)
            }
        }
    }

    fn nested(&mut self, depth: usize) -> Value {
        let key = self.of(&["o", "o", "o", "o[]", "l", "n", "o[].p", "o[0].p[]"]);
        let mut filter = self.filter(depth - 1);
        // What is inside of an object has other paths.
        let paths: &[(&str, &str)] = match key.contains('p') {
            true => &[("q", "o.p.q")],
            false => &[
                ("v", "o.v"),
                ("w", "o.w"),
                ("w[]", "o.w"),
                ("p[].q", "o.p.q"),
            ],
        };
        self.relocate(&mut filter, paths);
        if !key.contains('p') && self.coin(3) {
            let mut inner = json!({"must": [self.field("q", "o.p.q")]});
            if self.coin(2) {
                inner["must_not"] = json!([self.field("q", "o.p.q")]);
            }
            filter["must"] = json!([{"nested": {"key": "p", "filter": inner}}]);
        }
        json!({"nested": {"key": key, "filter": filter}})
    }

    /// Puts conditions on other fields, most of the time.
    fn relocate(&mut self, value: &mut Value, paths: &[(&str, &str)]) {
        match value {
            Value::Object(map) if map.contains_key("key") && !map.contains_key("filter") => {
                if self.coin(8) {
                    return;
                }
                let (path, slot) = self.of(paths);
                *value = match map.len() {
                    // The key of `is_null` and `is_empty` alone.
                    1 => json!({"key": path}),
                    _ => self.field(path, slot),
                };
            }
            Value::Object(map) => {
                let keys: Vec<String> = map.keys().cloned().collect();
                for key in keys {
                    if key != "nested" {
                        self.relocate(map.get_mut(&key).unwrap(), paths);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.relocate(item, paths);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn field(&mut self, path: &str, slot: &str) -> Value {
        let mut field = json!({"key": path});
        let theme = match self.coin(6) {
            true => self.of(&THEMES),
            false => self.theme(slot),
        };
        self.operator(theme, &mut field);
        // Several operators in one condition are allowed, and rare.
        while self.coin(12) {
            let theme = self.of(&THEMES);
            self.operator(theme, &mut field);
        }
        field
    }

    fn operator(&mut self, theme: Theme, field: &mut Value) {
        match self.below(10) {
            0 => field["is_null"] = json!(self.coin(2)),
            1 => field["is_empty"] = json!(self.coin(2)),
            2 => {
                field["values_count"] = Value::Object(self.bounds(|draw| json!(draw.below(4))));
            }
            _ => self.themed(theme, field),
        }
    }

    fn themed(&mut self, theme: Theme, field: &mut Value) {
        match theme {
            Theme::Integer | Theme::Float => {
                if self.coin(2) {
                    let range = self.bounds(|draw| match theme == Theme::Integer {
                        true => draw.integer(),
                        false => draw.float(),
                    });
                    field["range"] = Value::Object(range);
                } else {
                    field["match"] =
                        self.matched(|draw| json!(draw.integer().as_i64().unwrap_or(5)));
                }
            }
            Theme::Keyword => field["match"] = self.matched(|draw| json!(draw.keyword())),
            Theme::Uuid => field["match"] = self.matched(|draw| json!(draw.uuid())),
            Theme::Bool => field["match"] = json!({"value": self.coin(2)}),
            Theme::Date => {
                let range = self.bounds(|draw| {
                    loop {
                        let date = draw.date();
                        if date.parse::<qdrant_edge::DateTimeWrapper>().is_ok() {
                            return json!(date);
                        }
                    }
                });
                field["range"] = Value::Object(range);
            }
            Theme::Place => self.region(field),
            Theme::Text => {
                let text = self.text();
                let operator = self.of(&["text", "text_any", "phrase", "phrase"]);
                field["match"] = json!({operator: text});
            }
            Theme::Mixed => {
                let other = self.of(&THEMES[..8]);
                self.themed(other, field);
            }
        }
    }

    fn bounds(&mut self, mut bound: impl FnMut(&mut Self) -> Value) -> Map<String, Value> {
        let mut bounds = Map::new();
        for operator in ["lt", "gt", "lte", "gte"] {
            if self.coin(3) {
                bounds.insert(operator.to_owned(), bound(self));
            }
        }
        bounds
    }

    fn matched(&mut self, mut value: impl FnMut(&mut Self) -> Value) -> Value {
        let count = match self.below(12) {
            0 => 0,
            1 => 70,
            _ => 1 + self.below(4),
        };
        match self.below(3) {
            0 => json!({"value": value(self)}),
            1 => json!({"any": (0..count).map(|_| value(self)).collect::<Vec<_>>()}),
            _ => json!({"except": (0..count).map(|_| value(self)).collect::<Vec<_>>()}),
        }
    }

    fn region(&mut self, field: &mut Value) {
        let point =
            |draw: &mut Self| json!({"lat": draw.coordinate(90), "lon": draw.coordinate(180)});
        match self.below(3) {
            0 => {
                // Many places are ten degrees from one another, and half of these is on the edge.
                let radius = match self.coin(2) {
                    true => self.of(&[-1.0, 0.0, 1.0, 1e5, 1e6, 3e6, 1e7, 3e7]),
                    false => {
                        let tens = 1.0 + f64::from(u32::try_from(self.below(6)).unwrap());
                        let distance = tens * 1_111_950.797_9;
                        self.of(&[distance - 1.0, distance, distance + 1.0])
                    }
                };
                field["geo_radius"] = json!({"center": point(self), "radius": radius});
            }
            1 => {
                field["geo_bounding_box"] =
                    json!({"top_left": point(self), "bottom_right": point(self)});
            }
            _ => {
                let ring = |draw: &mut Self| {
                    let count = 3 + draw.below(4);
                    let mut points: Vec<Value> = (0..count).map(|_| point(draw)).collect();
                    points.push(points[0].clone());
                    json!({"points": points})
                };
                let mut polygon = json!({"exterior": ring(self)});
                if self.coin(3) {
                    polygon["interiors"] = json!([ring(self)]);
                }
                field["geo_polygon"] = polygon;
            }
        }
    }
}
