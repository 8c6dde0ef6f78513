//! Queries of every kind, with prefetches inside one another.

use serde_json::{Value, json};

use super::draw::Draw;
use super::shape::Shape;

impl Draw {
    pub(super) fn query(&mut self, shape: &Shape) -> Value {
        let mut body = json!({"limit": self.dice.of(&[0, 1, 3, 10, 10, 10, 50])});
        self.selected(shape, &mut body);
        if let Some(filter) = self.any_filter() {
            body["filter"] = filter;
        }
        if self.dice.one_in(4) {
            body["offset"] = json!(self.dice.below(5));
        }
        if self.dice.one_in(4) {
            body["params"] = self.dice.of(&[
                json!({"exact": true}),
                json!({"hnsw_ef": 16}),
                json!({"indexed_only": true}),
            ]);
        }
        if self.dice.one_in(8) {
            body["score_threshold"] = json!(self.dice.float());
        }
        self.asked(shape, &mut body, 2);
        body
    }

    /// What is asked for, and what it is chosen from.
    fn asked(&mut self, shape: &Shape, body: &mut Value, depth: usize) {
        let name = self.vector_name(shape);
        match self.dice.below(24) {
            0 => {}
            1 => body["query"] = json!({"order_by": self.order()}),
            2 | 3 if depth > 0 => {
                self.prefetches(shape, body, depth);
                body["query"] = json!({"fusion": self.dice.of(&["rrf", "dbsf"])});
            }
            4 if depth > 0 => {
                self.prefetches(shape, body, depth);
                let mut rrf = json!({"k": 1 + self.dice.below(60)});
                if self.dice.one_in(2) {
                    let count = body["prefetch"].as_array().map_or(1, Vec::len);
                    let weights: Vec<f64> = (0..count).map(|_| self.dice.float() + 1.0).collect();
                    rrf["weights"] = json!(weights);
                }
                body["query"] = json!({"rrf": rrf});
            }
            5 | 6 if depth > 0 => {
                self.prefetches(shape, body, depth);
                body["query"] = self.formula();
            }
            7 | 8 if depth > 0 => {
                self.prefetches(shape, body, depth);
                self.of_vector(shape, &name, body);
            }
            9 if self.dice.one_in(4) => {
                // Without what it would have to be asked of.
                let formula = self.formula();
                body["query"] = self.dice.of(&[json!({"fusion": "rrf"}), formula]);
            }
            _ => self.of_vector(shape, &name, body),
        }
    }

    fn prefetches(&mut self, shape: &Shape, body: &mut Value, depth: usize) {
        let count = 1 + self.dice.below(3);
        let mut all: Vec<Value> = Vec::new();
        for _ in 0..count {
            let mut prefetch = json!({});
            if !self.dice.one_in(4) {
                prefetch["limit"] = json!(self.dice.of(&[1, 3, 8, 40]));
            }
            if self.dice.one_in(3) {
                prefetch["filter"] = self.filter();
            }
            if self.dice.one_in(10) {
                prefetch["score_threshold"] = json!(self.dice.float());
            }
            self.asked(shape, &mut prefetch, depth - 1);
            all.push(prefetch);
        }
        body["prefetch"] = match all.as_slice() {
            [only] if self.dice.one_in(2) => only.clone(),
            _ => Value::Array(all),
        };
    }

    fn of_vector(&mut self, shape: &Shape, name: &str, body: &mut Value) {
        if !name.is_empty() || self.dice.one_in(2) {
            body["using"] = json!(name);
        }
        let example = self.example(shape, name);
        body["query"] = match self.dice.below(14) {
            0 | 1 => {
                let positive: Vec<Value> = self.several(shape, name, 1);
                let negative: Vec<Value> = self.several(shape, name, 0);
                let mut recommend = json!({"positive": positive, "negative": negative});
                if self.dice.one_in(2) {
                    recommend["strategy"] =
                        json!(
                            self.dice
                                .of(&["average_vector", "best_score", "sum_scores"])
                        );
                }
                json!({"recommend": recommend})
            }
            2 => json!({"discover": {"target": example, "context": self.pairs(shape, name)}}),
            3 => json!({"context": self.pairs(shape, name)}),
            4 => {
                let mut mmr = json!({});
                if self.dice.one_in(2) {
                    mmr["diversity"] = json!(self.dice.fraction());
                }
                if self.dice.one_in(2) {
                    mmr["candidates_limit"] = json!(self.dice.of(&[1, 5, 50]));
                }
                json!({"nearest": example, "mmr": mmr})
            }
            5 => {
                let feedback: Vec<Value> = (0..self.dice.below(4))
                    .map(|_| {
                        json!({"example": self.example(shape, name), "score": self.dice.float()})
                    })
                    .collect();
                let naive = json!({"a": 1.0, "b": 0.7, "c": self.dice.float()});
                json!({"relevance_feedback": {
                    "target": example, "feedback": feedback, "strategy": {"naive": naive},
                }})
            }
            6 | 7 => json!({"nearest": example}),
            _ => example,
        };
        self.lookup_from(body, name);
    }

    fn several(&mut self, shape: &Shape, name: &str, least: usize) -> Vec<Value> {
        let count = least + self.dice.below(3);
        (0..count).map(|_| self.example(shape, name)).collect()
    }

    fn formula(&mut self) -> Value {
        let filter = self.filter();
        let expression = self.dice.of(&[
            json!("$score"),
            json!({"sum": ["$score", {"mult": [0.5, "n"]}]}),
            json!({"sum": ["$score[1]", "f"]}),
            json!({"abs": "f"}),
            json!({"div": {"left": "n", "right": "missing", "by_zero_default": 3.0}}),
            json!({"div": {"left": "n", "right": {"sum": ["$score", 0.0]}}}),
            json!({"sqrt": {"abs": "n"}}),
            json!({"pow": {"base": "$score", "exponent": 2.0}}),
            json!({"exp": {"neg": "$score"}}),
            json!({"ln": "n"}),
            json!({"log10": {"sum": [200.0, "f"]}}),
            json!({"geo_distance": {"origin": {"lon": 10.0, "lat": 50.0}, "to": "geo"}}),
            json!({"gauss_decay": {"x": "f", "target": 10.0, "scale": 30.0}}),
            json!({"exp_decay": {
                "x": {"datetime_key": "t"}, "target": {"datetime": "2020-01-01T00:00:00Z"},
                "scale": 86_400.0, "midpoint": 0.3,
            }}),
            json!({"sum": ["$score", {"mult": [2.0, filter]}]}),
            json!("deep.n"),
            json!("list[1]"),
        ]);
        let mut formula = json!({"formula": expression});
        if !self.dice.one_in(4) {
            formula["defaults"] = json!({
                "n": 7, "f": 1.5, "t": "2020-01-01T00:00:00Z", "deep.n": 2, "missing": 9,
                "list[1]": 4, "geo": {"lon": 1.0, "lat": 2.0}, "$score": 0.1, "$score[1]": 0.25,
            });
        }
        formula
    }
}
