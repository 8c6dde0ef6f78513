//! What a round's collections are, and vectors that fit them, or do not.

use serde_json::{Map, Value, json};

use super::draw::Draw;

#[derive(Clone, Debug)]
pub(super) struct Dense {
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) distance: &'static str,
    pub(super) datatype: &'static str,
    pub(super) is_multi: bool,
}

/// The vectors of a collection.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) dense: Vec<Dense>,
    /// Their names, and whether rare words weigh more.
    pub(super) sparse: Vec<(String, bool)>,
}

const DENSE_NAMES: [&str; 5] = ["a", "v'1", "имя", "x;y $1", "B"];
const SPARSE_NAMES: [&str; 3] = ["words", "rare", "sp'arse"];
const DISTANCES: [&str; 4] = ["Cosine", "Dot", "Euclid", "Manhattan"];

impl Shape {
    pub(super) fn config(&self) -> Value {
        let params = |dense: &Dense| {
            let mut params = json!({
                "size": dense.size, "distance": dense.distance, "datatype": dense.datatype,
            });
            if dense.is_multi {
                params["multivector_config"] = json!({"comparator": "max_sim"});
            }
            params
        };
        let vectors = match self.dense.as_slice() {
            [only] if only.name.is_empty() => params(only),
            all => {
                let named = all.iter().map(|dense| (dense.name.clone(), params(dense)));
                Value::Object(named.collect())
            }
        };
        let sparse = self.sparse.iter().map(|(name, has_idf)| {
            let params = if *has_idf {
                json!({"modifier": "idf"})
            } else {
                json!({})
            };
            (name.clone(), params)
        });
        let sparse: Map<String, Value> = sparse.collect();
        json!({"vectors": vectors, "sparse_vectors": sparse})
    }

    pub(super) fn names(&self) -> Vec<String> {
        let dense = self.dense.iter().map(|dense| dense.name.clone());
        dense
            .chain(self.sparse.iter().map(|(name, _)| name.clone()))
            .collect()
    }
}

impl Draw {
    pub(super) fn shape(&mut self) -> Shape {
        let count = self.dice.below(4);
        let mut names: Vec<String> = DENSE_NAMES.map(str::to_owned).to_vec();
        let mut dense = Vec::new();
        // One without a name, alone or beside others.
        if self.dice.one_in(2) {
            dense.push(self.dense_shape(String::new()));
        }
        for _ in 0..count {
            let at = self.dice.below(names.len());
            let name = names.swap_remove(at);
            dense.push(self.dense_shape(name));
        }
        let mut sparse = Vec::new();
        for name in SPARSE_NAMES {
            if self.dice.one_in(3) || (dense.is_empty() && sparse.is_empty()) {
                sparse.push((name.to_owned(), self.dice.one_in(2)));
            }
        }
        Shape { dense, sparse }
    }

    pub(super) fn dense_shape(&mut self, name: String) -> Dense {
        Dense {
            name,
            size: self.dice.of(&[1, 2, 3, 4, 5, 8, 33, 40]),
            distance: self.dice.of(&DISTANCES),
            datatype: self
                .dice
                .of(&["float32", "float32", "float32", "float16", "uint8"]),
            is_multi: self.dice.one_in(4),
        }
    }

    fn numbers(&mut self, size: usize, datatype: &str) -> Value {
        // Now and then, for it has no direction.
        if self.dice.one_in(100) {
            return json!(vec![0.0; size]);
        }
        let numbers = (0..size).map(|_| match datatype {
            "uint8" => json!(self.dice.below(256)),
            _ => json!(self.dice.float()),
        });
        Value::Array(numbers.collect())
    }

    fn rows(&mut self, dense: &Dense) -> Value {
        let count = 1 + self.dice.below(3);
        let rows = (0..count).map(|_| self.numbers(dense.size, dense.datatype));
        Value::Array(rows.collect())
    }

    fn sparse(&mut self) -> Value {
        if self.dice.one_in(12) {
            return self.document();
        }
        let mut indices: Vec<u32> = Vec::new();
        for _ in 0..=self.dice.below(5) {
            let index = match self.dice.below(20) {
                0 => u32::MAX,
                1 => 3_000_000_000,
                index => u32::try_from(index).unwrap(),
            };
            if !indices.contains(&index) {
                indices.push(index);
            }
        }
        let values: Vec<f64> = indices.iter().map(|_| self.dice.float()).collect();
        json!({"indices": indices, "values": values})
    }

    /// A text that the sidecar makes a sparse vector of.
    fn document(&mut self) -> Value {
        let mut document = json!({"text": self.text(), "model": "Qdrant/bm25"});
        if self.dice.one_in(3) {
            document["options"] = json!({"avg_len": 5.0, "language": "german"});
        }
        document
    }

    /// A vector for the one of this name, of its kind and size most of the time.
    pub(super) fn vector_of(&mut self, shape: &Shape, name: &str) -> Value {
        if self.dice.one_in(400) {
            return self.unfit();
        }
        match shape.dense.iter().find(|dense| dense.name == name) {
            Some(dense) if dense.is_multi => self.rows(&dense.clone()),
            Some(dense) => self.numbers(dense.size, dense.datatype),
            None => self.sparse(),
        }
    }

    fn unfit(&mut self) -> Value {
        self.dice.of(&[
            json!([]),
            json!([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
            json!([[1.0], [2.0, 3.0]]),
            json!([[]]),
            json!({"indices": [1, 1], "values": [1.0, 2.0]}),
            json!({"indices": [1, 2], "values": [1.0]}),
            json!({"indices": [], "values": []}),
            json!({"text": "quick brown", "model": "no/such-model"}),
            json!("text"),
            json!(null),
            // Of a size that nothing has: what is infinite as a float, pgvector does not keep.
            json!([1e39, 1.0, 1.0, 1.0, 1.0, 1.0]),
            json!([null]),
        ])
    }

    /// The vectors of a point: all, some or none of them.
    pub(super) fn vectors(&mut self, shape: &Shape) -> Value {
        if let ([only], []) = (shape.dense.as_slice(), shape.sparse.as_slice())
            && only.name.is_empty()
            && !self.dice.one_in(4)
        {
            return self.vector_of(shape, "");
        }
        let mut named = Map::new();
        for name in shape.names() {
            if !self.dice.one_in(4) {
                let vector = self.vector_of(shape, &name);
                named.insert(name, vector);
            }
        }
        if self.dice.one_in(150) {
            named.insert("ghost".to_owned(), json!([1.0]));
        }
        Value::Object(named)
    }

    /// The name of a vector, there most of the time.
    pub(super) fn vector_name(&mut self, shape: &Shape) -> String {
        if self.dice.one_in(60) {
            return self.dice.of(&["ghost", "", "'"]).to_owned();
        }
        self.dice.of(&shape.names())
    }
}
