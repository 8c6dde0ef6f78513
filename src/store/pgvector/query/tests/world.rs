//! Points in both stores.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use qdrant_edge::{
    Condition, CreateIndex, EdgeConfig, EdgeShard, EdgeSparseVectorParams, EdgeVectorParams,
    FieldIndexOperations, Filter, NamedQuery, Payload, PayloadFieldSchema, PointId,
    PointInsertOperations, PointOperations, PointStructPersisted, QueryEnum, QueryRequest,
    ScoredPoint, ScoringQuery, SearchParams, SparseVector, TypedMultiDenseVector, UpdateOperation,
    VectorInternal, VectorPersisted, VectorStructInternal, VectorStructPersisted, WithVector,
};
use serde_json::{Value, json};

use crate::error::Error;
use crate::store::engine::Engine;
use crate::store::pgvector::Pgvector;
use crate::store::pgvector::ann;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::scratch::Scratch;
use crate::wire::rest::CollectionConfig;

/// What the collection is called.
pub(super) const NAME: &str = "test";

/// Of a seed always the same.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// From -1 to 1.
    pub(super) fn float(&mut self) -> f32 {
        let unit = f32::from(u16::try_from(self.next() & 0xffff).unwrap()) / 65536.0;
        let fine = f32::from(u16::try_from(self.next() & 0xffff).unwrap()) / 65536.0 / 65536.0;
        (unit + fine) * 2.0 - 1.0
    }

    pub(super) fn pick<'p, T>(&mut self, from: &'p [T]) -> &'p T {
        &from[self.below(from.len())]
    }
}

/// Dense vectors: name, dimensions, distance, datatype, rows.
pub(super) const DENSE: [(&str, usize, &str, &str, bool); 12] = [
    ("", 8, "Cosine", "float32", false),
    ("cos", 70, "Cosine", "float32", false),
    ("dot", 40, "Dot", "float32", false),
    ("euc", 20, "Euclid", "float32", false),
    ("euclong", 100, "Euclid", "float32", false),
    ("man", 33, "Manhattan", "float32", false),
    ("half", 6, "Cosine", "float16", false),
    ("halflong", 36, "Euclid", "float16", false),
    ("byte", 6, "Cosine", "uint8", false),
    ("bytelong", 48, "Euclid", "uint8", false),
    ("rows", 6, "Dot", "float32", true),
    ("rowseuc", 20, "Euclid", "float32", true),
];
pub(super) const SPARSE: [(&str, bool); 2] = [("words", false), ("rare", true)];
pub(super) const INDEXES: [(&str, &str); 8] = [
    ("n", "integer"),
    ("f", "float"),
    ("t", "datetime"),
    ("k", "keyword"),
    ("u", "uuid"),
    ("b", "bool"),
    ("geo", "geo"),
    ("deep.n", "integer"),
];
pub(super) const POINTS: usize = 150;

pub(super) struct World {
    shard: Option<EdgeShard>,
    folder: PathBuf,
    pub(super) store: Pgvector,
    #[expect(dead_code, reason = "the database and its folder stay while it does")]
    scratch: Scratch,
    pub(super) ids: Vec<PointId>,
}

impl Drop for World {
    fn drop(&mut self) {
        // A shard writes its files once more when it goes: only then may they go.
        drop(self.shard.take());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

impl World {
    pub(super) async fn make(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0xabcdef);
        let config = declared();
        let folder = std::env::temp_dir().join(format!("outrigger-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let shard = EdgeShard::new(&folder, edge(&config)).unwrap();
        let scratch = Scratch::make().await;
        let store = scratch.store();
        store.create(NAME, config).await.unwrap();
        let both = async |operation: UpdateOperation| {
            shard.update(operation.clone()).unwrap();
            store.apply(NAME, operation).await.unwrap();
        };
        for (path, kind) in INDEXES {
            let index: PayloadFieldSchema = serde_json::from_value(json!(kind)).unwrap();
            let create = CreateIndex {
                field_name: path.parse().unwrap(),
                field_schema: Some(index),
            };
            let create = FieldIndexOperations::CreateIndex(create);
            both(UpdateOperation::FieldIndexOperation(create)).await;
        }
        let mut ids = BTreeSet::new();
        for _batch in 0..5 {
            let mut batch = vec![];
            for _ in 0..POINTS / 5 {
                let (id, vectors, payload) = point(&mut dice);
                // Written over, a point without a sparse vector counts as one with one from then
                // on in a shard's `idf`, and the other way round.
                if !ids.insert(id) {
                    continue;
                }
                let wire = vectors.iter().map(|(name, vector)| {
                    let vector = match vector.clone() {
                        VectorInternal::Dense(vector) => VectorPersisted::Dense(vector),
                        VectorInternal::Sparse(vector) => VectorPersisted::Sparse(vector),
                        VectorInternal::MultiDense(rows) => {
                            let rows = rows.flattened_vectors.chunks(rows.dim);
                            VectorPersisted::MultiDense(rows.map(<[f32]>::to_vec).collect())
                        }
                    };
                    (name.clone(), vector)
                });
                batch.push(PointStructPersisted {
                    id,
                    vector: VectorStructPersisted::Named(wire.collect()),
                    payload: Some(payload),
                });
            }
            let insert = PointInsertOperations::PointsList(batch);
            let insert = PointOperations::UpsertPoints(insert);
            both(UpdateOperation::PointOperation(insert)).await;
        }
        Self {
            shard: Some(shard),
            folder,
            store,
            scratch,
            ids: ids.into_iter().collect(),
        }
    }

    /// As the embedded engine asks.
    pub(super) fn embedded(&self, request: QueryRequest) -> Result<Vec<ScoredPoint>, String> {
        let (limit, offset) = (request.limit, request.offset);
        if limit == 0 {
            return Ok(vec![]);
        }
        // A shard also gives the vector that novelty was judged by.
        let asked = match &request.query {
            Some(ScoringQuery::Mmr(_)) => Some(request.with_vector.clone()),
            _ => None,
        };
        let found = self.shard().query(request).map_err(|error| {
            let text = error.to_string();
            text.split(", backtrace").next().unwrap().to_owned()
        })?;
        let mut found: Vec<_> = found.into_iter().skip(offset).take(limit).collect();
        for point in &mut found {
            match (&asked, &mut point.vector) {
                (Some(WithVector::Bool(false)), vector) => *vector = None,
                (Some(WithVector::Selector(names)), Some(VectorStructInternal::Single(_)))
                    if !names.iter().any(String::is_empty) =>
                {
                    point.vector = Some(VectorStructInternal::Named(HashMap::new()));
                }
                (Some(WithVector::Selector(names)), Some(VectorStructInternal::Named(named))) => {
                    named.retain(|name, _| names.contains(name));
                    if let [only] = names.as_slice()
                        && only.is_empty()
                        && let Some(VectorInternal::Dense(vector)) = named.remove("")
                    {
                        point.vector = Some(VectorStructInternal::Single(vector));
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }

    pub(super) async fn pgvector(&self, request: QueryRequest) -> Result<Vec<ScoredPoint>, String> {
        let mut found = self.store.query(NAME, request).await.map_err(Self::words)?;
        for point in &mut found {
            // A shard counts its operations from 0 on, and so do points that were not searched for.
            point.version = point.version.saturating_sub(1);
        }
        Ok(found)
    }

    /// As a shard would say it.
    pub(super) fn words(error: Error) -> String {
        let text = error.chain();
        let text = text.strip_prefix("Wrong input: ").unwrap_or(&text);
        text.replace(
            "Conversion between sparse and regular vectors failed",
            "Wrong usage of sparse vectors",
        )
        .replace(
            "Conversion between multi and regular vectors failed",
            "Wrong usage of multi vectors",
        )
    }

    pub(super) fn shard(&self) -> &EdgeShard {
        self.shard.as_ref().unwrap()
    }
}

fn declared() -> CollectionConfig {
    let mut vectors = serde_json::Map::new();
    for (name, size, distance, datatype, is_multi) in DENSE {
        let mut one = json!({"size": size, "distance": distance, "datatype": datatype});
        if is_multi {
            one["multivector_config"] = json!({"comparator": "max_sim"});
        }
        vectors.insert(name.to_owned(), one);
    }
    let sparse = SPARSE.iter().map(|(name, idf)| {
        let params = if *idf {
            json!({"modifier": "idf"})
        } else {
            json!({})
        };
        ((*name).to_owned(), params)
    });
    let sparse: serde_json::Map<String, Value> = sparse.collect();
    serde_json::from_value(json!({
        "params": {"vectors": vectors, "sparse_vectors": sparse},
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 1, "indexing_threshold": 20000, "flush_interval_sec": 5
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }))
    .unwrap()
}

fn edge(config: &CollectionConfig) -> EdgeConfig {
    let dense = config.params.vectors.iter().map(|(name, params)| {
        let params = EdgeVectorParams {
            size: params.dimensions(),
            distance: params.distance,
            on_disk: None,
            multivector_config: params.multivector_config,
            datatype: params.datatype,
            quantization_config: None,
            hnsw_config: None,
        };
        (name.to_owned(), params)
    });
    let sparse = config.params.sparse_vectors.iter().flatten();
    let sparse = sparse.map(|(name, params)| {
        let params = EdgeSparseVectorParams {
            full_scan_threshold: None,
            on_disk: None,
            modifier: params.modifier,
            datatype: None,
        };
        (name.clone(), params)
    });
    EdgeConfig {
        vectors: dense.collect(),
        sparse_vectors: sparse.collect(),
        ..EdgeConfig::default()
    }
}

pub(super) fn dense(dice: &mut Dice, size: usize, datatype: &str) -> Vec<f32> {
    // Now and then: such points all score the same.
    if dice.below(400) == 0 {
        return vec![0.0; size];
    }
    let value = |dice: &mut Dice| {
        if datatype == "uint8" {
            (dice.float() + 1.0) * 140.0 - 10.0
        } else {
            dice.float()
        }
    };
    (0..size).map(|_| value(dice)).collect()
}

pub(super) fn rows(dice: &mut Dice, size: usize) -> VectorInternal {
    let count = 1 + dice.below(4);
    let flat = (0..count).flat_map(|_| dense(dice, size, "float32"));
    VectorInternal::MultiDense(TypedMultiDenseVector {
        flattened_vectors: flat.collect(),
        dim: size,
    })
}

pub(super) fn sparse(dice: &mut Dice) -> VectorInternal {
    let mut entries = BTreeMap::new();
    for _ in 0..dice.below(8) {
        let index = [0, 1, 2, 3, 5, 8, 13, 21, 34, 4_294_967_295][dice.below(10)];
        let value = if dice.chance(3) { 0.0 } else { dice.float() };
        entries.insert(index, value);
    }
    VectorInternal::Sparse(SparseVector {
        indices: entries.keys().copied().collect(),
        values: entries.values().copied().collect(),
    })
}

/// A float that a shard keeps as it is: its parser does not always find the nearest one, and then
/// its indexes, which have seen the float itself, know another than its payloads.
fn kept(dice: &mut Dice, times: f64) -> Value {
    let mut float = json!(f64::from(dice.float()) * times);
    loop {
        let stored: Value = serde_json::from_str(&float.to_string()).unwrap();
        if stored == float {
            return stored;
        }
        float = stored;
    }
}

fn point(dice: &mut Dice) -> (PointId, Vec<(String, VectorInternal)>, Payload) {
    let id = if dice.chance(30) {
        PointId::Uuid(uuid::Uuid::from_u128(u128::from(dice.next()) << 64))
    } else {
        PointId::NumId(dice.next() >> dice.below(60))
    };
    let mut vectors = vec![];
    for (name, size, _, datatype, is_multi) in DENSE {
        if dice.chance(85) {
            let vector = if is_multi {
                rows(dice, size)
            } else {
                VectorInternal::Dense(dense(dice, size, datatype))
            };
            vectors.push((name.to_owned(), vector));
        }
    }
    for (name, _) in SPARSE {
        if dice.chance(85) {
            vectors.push((name.to_owned(), sparse(dice)));
        }
    }
    let mut payload = json!({});
    let mut put = |dice: &mut Dice, key: &str, make: &dyn Fn(&mut Dice) -> Value| {
        if dice.chance(80) {
            payload[key] = if dice.chance(20) {
                json!([make(dice), make(dice)])
            } else {
                make(dice)
            };
        }
    };
    put(dice, "n", &|dice| {
        json!(i64::try_from(dice.below(40)).unwrap() - 10)
    });
    put(dice, "f", &|dice| kept(dice, 100.0));
    put(dice, "t", &|dice| {
        json!(format!(
            "20{:02}-0{}-1{}T00:00:0{}Z",
            dice.below(30),
            1 + dice.below(9),
            dice.below(9),
            dice.below(9)
        ))
    });
    put(dice, "k", &|dice| {
        json!(*dice.pick(&["red", "green", "blue", "Ünï", ""]))
    });
    put(dice, "u", &|dice| {
        json!(format!(
            "550E8400-e29b-41d4-a716-44665544000{}",
            dice.below(5)
        ))
    });
    put(dice, "b", &|dice| json!(dice.chance(50)));
    put(
        dice,
        "geo",
        &|dice| json!({"lon": kept(dice, 170.0), "lat": kept(dice, 80.0)}),
    );
    put(dice, "deep", &|dice| json!({"n": dice.below(5)}));
    put(dice, "free", &|dice| match dice.below(4) {
        0 => json!("text"),
        1 => json!(null),
        2 => json!(2.5),
        _ => json!(dice.below(100)),
    });
    let Value::Object(payload) = payload else {
        unreachable!()
    };
    (id, vectors, Payload(payload))
}

pub(super) const MANY_DIMENSIONS: usize = 24;

/// Many points with one vector and an index on it.
pub(super) struct Many {
    store: Pgvector,
    scratch: Scratch,
}

impl Many {
    pub(super) async fn make(points: usize) -> Self {
        let config: CollectionConfig = serde_json::from_value(json!({
            "params": {"vectors": {"size": MANY_DIMENSIONS, "distance": "Cosine"}},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
                "default_segment_number": 1, "indexing_threshold": 100, "flush_interval_sec": 5
            },
            "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        }))
        .unwrap();
        let scratch = Scratch::make().await;
        let many = Self {
            store: scratch.store(),
            scratch,
        };
        many.store.create(NAME, config).await.unwrap();
        let known = many.known().await;
        let (table, rows) = (&known.vectors[""].table, known.points_table());
        let text = format!(
            "insert into {rows} (id, ver) \
             select '\\x00'::bytea || int8send(g), 1 from generate_series(0, {points} - 1) g; \
             insert into {table} select c.pid, l2_normalize((select array_agg(random() - 0.5) \
             from generate_series(1, {MANY_DIMENSIONS}) where c.pid > 0)::vector) from {rows} c; \
             analyze"
        );
        let client = many.scratch.client().await;
        client.batch_execute(&text).await.unwrap();
        assert!(ann::may_be_due(&known));
        let client = many.store.shared.pool.get().await.unwrap();
        let built = ann::build_due(client, &known).await;
        assert_eq!(built.unwrap(), ann::Built::Indexes(1));
        assert_eq!(many.known().await.vectors[""].ann, ann::AnnState::Ready);
        many
    }

    async fn known(&self) -> Arc<Known> {
        let shared = &self.store.shared;
        shared.catalog.get(&shared.pool, NAME).await.unwrap()
    }

    pub(super) async fn search(
        &self,
        asked: &[f32],
        among: Option<&[u64]>,
        limit: usize,
        exact: bool,
    ) -> Vec<PointId> {
        let query = NamedQuery::new(VectorInternal::Dense(asked.to_vec()), "");
        let filter = among.map(|ids| {
            let ids = ids.iter().map(|id| PointId::NumId(*id));
            Filter::new_must(Condition::HasId(ids.collect()))
        });
        let request = QueryRequest {
            prefetches: vec![],
            query: Some(ScoringQuery::Vector(QueryEnum::Nearest(query))),
            filter,
            score_threshold: None,
            limit,
            offset: 0,
            params: Some(SearchParams {
                exact,
                ..SearchParams::default()
            }),
            with_vector: WithVector::Bool(false),
            with_payload: false.into(),
        };
        let found = self.store.query(NAME, request).await.unwrap();
        found.iter().map(|point| point.id).collect()
    }
}
