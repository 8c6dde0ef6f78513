//! Filters of every condition, inside one another.

use serde_json::{Map, Value, json};

use super::draw::{Draw, THEMES, Theme};

/// Fields inside of the objects under `o`.
const INNER: [(&str, Theme); 4] = [
    ("v", Theme::Integer),
    ("w", Theme::Keyword),
    ("w[]", Theme::Keyword),
    ("p[].q", Theme::Text),
];

/// Where conditions look: at a point, or at an object that `nested` has found.
#[derive(Clone, Copy)]
enum At {
    Point,
    Object,
}

impl Draw {
    /// A filter, often of a single condition.
    pub(super) fn filter(&mut self) -> Value {
        if self.dice.one_in(3) {
            return json!({"must": [self.condition(2, At::Point)]});
        }
        self.clauses(3, At::Point)
    }

    /// None as often as not.
    pub(super) fn any_filter(&mut self) -> Option<Value> {
        self.dice.one_in(2).then(|| self.filter())
    }

    fn clauses(&mut self, depth: usize, at: At) -> Value {
        let mut filter = Map::new();
        while filter.is_empty() {
            for clause in ["must", "should", "must_not"] {
                if self.dice.one_in(3) {
                    let conditions = self.conditions(depth, at);
                    filter.insert(clause.to_owned(), conditions);
                }
            }
            if self.dice.one_in(8) {
                let conditions = self.conditions(depth, at);
                let least = self.dice.below(4);
                let clause = json!({"conditions": conditions, "min_count": least});
                filter.insert("min_should".to_owned(), clause);
            }
            if self.dice.one_in(10) {
                break;
            }
        }
        Value::Object(filter)
    }

    fn conditions(&mut self, depth: usize, at: At) -> Value {
        let count = self.dice.of(&[0, 1, 1, 1, 1, 2, 2, 3]);
        if count == 1 && self.dice.one_in(4) {
            return self.condition(depth, at);
        }
        Value::Array((0..count).map(|_| self.condition(depth, at)).collect())
    }

    fn condition(&mut self, depth: usize, at: At) -> Value {
        match (self.dice.below(20), at) {
            (0 | 1, _) if depth > 0 => self.clauses(depth - 1, at),
            (2..=4, At::Point) if depth > 0 => {
                let key = self
                    .dice
                    .of(&["o", "o", "o", "o[]", "list", "deep", "o[].p"]);
                json!({"nested": {"key": key, "filter": self.clauses(depth - 1, At::Object)}})
            }
            (2, At::Object) if depth > 0 => {
                let filter = json!({"must": [self.field("q", Theme::Text)]});
                json!({"nested": {"key": "p", "filter": filter}})
            }
            (5, _) => json!({"has_id": self.ids(12)}),
            (6, At::Point) => {
                let name = self.dice.of(&["", "a", "v'1", "words", "rare", "ghost"]);
                json!({"has_vector": name})
            }
            (7, _) => json!({"is_empty": {"key": self.place_in(at).0}}),
            (8, _) => json!({"is_null": {"key": self.place_in(at).0}}),
            _ => {
                let (path, theme) = self.place_in(at);
                self.field(path, theme)
            }
        }
    }

    fn place_in(&mut self, at: At) -> (&'static str, Theme) {
        match at {
            At::Object if !self.dice.one_in(8) => self.dice.of(&INNER),
            At::Object | At::Point => self.path(),
        }
    }

    fn field(&mut self, path: &str, usual: Theme) -> Value {
        let theme = if self.dice.one_in(8) {
            self.dice.of(&THEMES)
        } else {
            usual
        };
        let mut field = json!({"key": path});
        match self.dice.below(14) {
            0 => field["is_null"] = json!(self.dice.one_in(2)),
            1 => field["is_empty"] = json!(self.dice.one_in(2)),
            2 => field["values_count"] = self.bounds(|draw| json!(draw.dice.below(4))),
            3 if self.dice.one_in(10) => {}
            _ => self.asked_of(theme, &mut field),
        }
        field
    }

    fn asked_of(&mut self, theme: Theme, field: &mut Value) {
        match theme {
            Theme::Integer | Theme::Float if self.dice.one_in(2) => {
                field["range"] = self.bounds(|draw| draw.scalar(theme));
            }
            Theme::Float | Theme::Integer => {
                field["match"] = self.matched(|draw| {
                    let number = draw.integer();
                    if number.is_i64() { number } else { json!(5) }
                });
            }
            Theme::Keyword => field["match"] = self.matched(|draw| json!(draw.keyword())),
            Theme::Uuid => field["match"] = self.matched(|draw| json!(draw.uuid())),
            Theme::Bool => field["match"] = json!({"value": self.dice.one_in(2)}),
            Theme::Date => field["range"] = self.bounds(|draw| json!(draw.date())),
            Theme::Text => {
                let operator = self.dice.of(&["text", "text_any", "phrase"]);
                field["match"] = json!({operator: self.text()});
            }
            Theme::Place => self.region(field),
        }
    }

    fn bounds(&mut self, mut bound: impl FnMut(&mut Self) -> Value) -> Value {
        let mut bounds = Map::new();
        for operator in ["lt", "gt", "lte", "gte"] {
            if self.dice.one_in(3) {
                bounds.insert(operator.to_owned(), bound(self));
            }
        }
        Value::Object(bounds)
    }

    fn matched(&mut self, mut value: impl FnMut(&mut Self) -> Value) -> Value {
        let count = self.dice.of(&[0, 1, 2, 2, 3, 4, 70]);
        match self.dice.below(4) {
            0 => json!({"any": (0..count).map(|_| value(self)).collect::<Vec<_>>()}),
            1 => json!({"except": (0..count).map(|_| value(self)).collect::<Vec<_>>()}),
            _ => json!({"value": value(self)}),
        }
    }

    fn corner(&mut self) -> Value {
        json!({"lat": self.degrees(90), "lon": self.degrees(180)})
    }

    fn ring(&mut self) -> Value {
        let count = 3 + self.dice.below(3);
        let mut points: Vec<Value> = (0..count).map(|_| self.corner()).collect();
        if !self.dice.one_in(30) {
            points.push(points[0].clone());
        }
        json!({"points": points})
    }

    fn region(&mut self, field: &mut Value) {
        match self.dice.below(3) {
            0 => {
                let radius = self.dice.of(&[0.0, 1.0, 1e5, 1e6, 3e6, 1e7, 3e7]);
                field["geo_radius"] = json!({"center": self.corner(), "radius": radius});
            }
            1 => {
                let (one, other) = (self.corner(), self.corner());
                field["geo_bounding_box"] = json!({"top_left": one, "bottom_right": other});
            }
            _ => {
                let mut polygon = json!({"exterior": self.ring()});
                if self.dice.one_in(3) {
                    polygon["interiors"] = json!([self.ring()]);
                }
                field["geo_polygon"] = polygon;
            }
        }
    }
}

/// The same filter, in a form that no payload index helps with: every point is looked at.
pub(super) fn looked_at_each(filter: &Value) -> Value {
    json!({"should": [filter, {"key": "nowhere", "match": {"value": 1}}]})
}
