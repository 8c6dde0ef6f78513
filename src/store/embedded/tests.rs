use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use qdrant_edge::{
    Fusion, Mmr, NamedQuery, Prefetch, QueryEnum, QueryRequest, Sample, ScoringQuery, SparseVector,
    VectorInternal, VectorPersisted, VectorStructPersisted,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::error::ErrorKind;
use crate::store::engine::Health;
use crate::store::{check, declared, refused};

/// A folder that goes when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("outrigger-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Embedded {
        Embedded::open(&self.0).unwrap()
    }

    /// The folder as a killed process would have left it now. Nothing may move while it is copied,
    /// or the copy shows no one moment.
    fn as_killed(&self, store: &Embedded) -> Self {
        let shards = store.catalog.all();
        let deadline = Instant::now() + Duration::from_secs(60);
        let _still: Vec<_> = shards
            .iter()
            .map(|shard| {
                let mut gate = shard.gate.lock();
                assert!(shard.calm_down(&mut gate, deadline));
                gate
            })
            .collect();
        let copy = Self::new();
        copy_all(&self.0, &copy.0);
        copy
    }

    fn homes(&self) -> Vec<PathBuf> {
        let homes = fs::read_dir(self.0.join("collections")).unwrap();
        homes.map(|home| home.unwrap().path()).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// What goes while it is copied, a deleted collection's files, is left out.
fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).into_iter().flatten() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else if let Err(error) = fs::copy(entry.path(), target) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

fn config(vectors: Value) -> CollectionConfig {
    let mut params = json!({"vectors": vectors});
    if vectors.get("words").is_some() {
        params["sparse_vectors"] = json!({"words": {}});
        params["vectors"].as_object_mut().unwrap().remove("words");
    }
    serde_json::from_value(json!({
        "params": params,
        "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 1, "indexing_threshold": 1, "flush_interval_sec": 5
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
    }))
    .unwrap()
}

fn two() -> CollectionConfig {
    config(
        json!({"a": {"size": 2, "distance": "Dot"}, "b": {"size": 3, "distance": "Cosine"}, "words": {}}),
    )
}

fn operation(value: Value) -> UpdateOperation {
    serde_json::from_value(value).unwrap()
}

async fn apply(store: &Embedded, value: Value) -> Result<u64> {
    store.apply("c", operation(value)).await
}

async fn upsert(store: &Embedded, ids: std::ops::Range<u64>) {
    let points: Vec<_> = ids
        .map(|id| json!({"id": id, "vector": {"a": [1.0, id], "b": [1.0, 0.5, id]}, "payload": {"n": id}}))
        .collect();
    apply(store, json!({"upsert_points": {"points": points}}))
        .await
        .unwrap();
}

async fn point(store: &Embedded, id: u64) -> Option<(Value, Vec<String>)> {
    let all = store
        .retrieve("c", vec![id.into()], true.into(), WithVector::Bool(true))
        .await;
    let record = all.unwrap().pop()?;
    let mut names = match record.vector {
        Some(qdrant_edge::VectorStructInternal::Named(named)) => named.into_keys().collect(),
        _ => Vec::new(),
    };
    names.sort();
    Some((serde_json::to_value(record.payload).unwrap(), names))
}

async fn count(store: &Embedded, filter: Option<Value>) -> usize {
    let filter = filter.map(|filter| serde_json::from_value(filter).unwrap());
    store
        .count(
            "c",
            CountRequest {
                filter,
                exact: true,
            },
        )
        .await
        .unwrap()
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_a_sentence() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let error = Embedded::open(&scratch.0).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let text = error.to_string();
    assert!(
        text.contains(&scratch.0.display().to_string()) && text.contains("in use"),
        "{text}"
    );
    drop(store);
    scratch.store();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..200).await;
    apply(&store, json!({"delete_points": {"ids": [1, 1, 777]}}))
        .await
        .unwrap();
    apply(
        &store,
        json!({"create_index": {"field_name": "n", "field_schema": "integer"}}),
    )
    .await
    .unwrap();
    apply(&store, json!({"set_payload": {"payload": {"x": "y"}, "filter": {"must": [{"key": "n", "range": {"lt": 10}}]}}})).await.unwrap();
    apply(&store, json!({"create_vector_name": {"vector_name": "late", "config": {"dense": {"size": 4, "distance": "Euclid"}}}})).await.unwrap();
    apply(&store, json!({"delete_vector_name": {"vector_name": "b"}}))
        .await
        .unwrap();
    apply(&store, json!({"update_vectors": {"points": [{"id": 3, "vector": {"late": [1.0, 2.0, 3.0, 4.0]}}]}})).await.unwrap();
    apply(&store, json!({"upsert_points_conditional": {"points_op": {"points": [
        {"id": 3, "vector": {}}, {"id": 300, "vector": {}}]}, "condition": {}, "update_mode": "insert_only"}})).await.unwrap();
    let last = apply(
        &store,
        json!({"overwrite_payload": {"payload": {"z": 1}, "points": [5]}}),
    )
    .await
    .unwrap();
    store
        .set_aliases(
            Arc::default(),
            BTreeMap::from([("other".to_owned(), "c".to_owned())]),
        )
        .await
        .unwrap();

    // Twice: a recovery that is itself cut short is done again.
    let mut killed = scratch.as_killed(&store);
    for _ in 0..2 {
        let again = killed.store();
        assert_eq!(count(&again, None).await, 200);
        assert!(point(&again, 1).await.is_none());
        assert_eq!(
            point(&again, 3).await.unwrap(),
            (
                json!({"n": 3, "x": "y"}),
                vec!["a".to_owned(), "late".to_owned()]
            )
        );
        assert_eq!(point(&again, 5).await.unwrap().0, json!({"z": 1}));
        assert_eq!(point(&again, 300).await.unwrap(), (json!({}), Vec::new()));
        assert_eq!(
            count(
                &again,
                Some(json!({"must": [{"key": "x", "match": {"value": "y"}}]}))
            )
            .await,
            8
        );
        let collection = again.collection("c").await.unwrap().unwrap();
        assert!(
            collection.config.vector("late").is_some() && collection.config.vector("b").is_none()
        );
        assert_eq!(collection.payload_schema.len(), 1);
        assert_eq!(again.aliases().await.unwrap().get("other").unwrap(), "c");
        let next = apply(&again, json!({"delete_points": {"ids": [99999]}}))
            .await
            .unwrap();
        assert!(next > last, "numbers grow: {last} {next}");
        killed = killed.as_killed(&again);
    }
}

#[tokio::test]
async fn a_log_from_before_a_vector_was_replaced_is_replayed_without_it() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..20).await;
    apply(&store, json!({"delete_vector_name": {"vector_name": "b"}}))
        .await
        .unwrap();
    apply(&store, json!({"create_vector_name": {"vector_name": "b", "config": {"dense": {"size": 5, "distance": "Dot"}}}})).await.unwrap();
    apply(&store, json!({"update_vectors": {"points": [{"id": 4, "vector": {"b": [1.0, 2.0, 3.0, 4.0, 5.0]}}]}})).await.unwrap();
    let folder = scratch.as_killed(&store);
    // As if the checkpoint could not have been moved.
    record::Checkpoint::new(1, false)
        .write(&folder.homes().pop().unwrap())
        .unwrap();
    let again = folder.store();
    assert_eq!(count(&again, None).await, 20);
    assert_eq!(point(&again, 3).await.unwrap().1, ["a"]);
    assert_eq!(point(&again, 4).await.unwrap().1, ["a", "b"]);
}

#[tokio::test]
async fn a_clean_close_leaves_nothing_to_replay() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..10).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    let checkpoint = record::Checkpoint::read(&home).unwrap();
    assert!(checkpoint.is_clean);
    assert_eq!(checkpoint.operation, 2);
    let store = scratch.store();
    assert!(!record::Checkpoint::read(&home).unwrap().is_clean);
    assert_eq!(count(&store, None).await, 10);
    assert_eq!(
        apply(&store, json!({"delete_points": {"ids": [1]}}))
            .await
            .unwrap(),
        2
    );
    let folder = scratch.as_killed(&store);
    assert_eq!(count(&folder.store(), None).await, 9);
}

#[tokio::test]
async fn a_damaged_collection_is_named_and_the_others_open() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..10).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    let store = scratch.store();
    store.create("fine", two()).await.unwrap();
    drop(store);
    for segment in fs::read_dir(home.join("shard/segments")).unwrap() {
        fs::write(segment.unwrap().path().join("segment.json"), b"{nonsense").unwrap();
    }
    let store = scratch.store();
    assert_eq!(store.names().await.unwrap(), ["c", "fine"]);
    let health = store.condition("c").await.unwrap().health;
    assert!(matches!(health, Health::Red(why) if why.contains("segment.json")));
    let error = store
        .count(
            "c",
            CountRequest {
                filter: None,
                exact: true,
            },
        )
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(
        error.to_string().contains("`c` cannot be opened"),
        "{error}"
    );
    assert!(
        apply(&store, json!({"delete_points": {"ids": [1]}}))
            .await
            .is_err()
    );
    assert_eq!(store.condition("fine").await.unwrap().health, Health::Green);
    assert!(store.delete("c").await.unwrap());
    assert_eq!(store.names().await.unwrap(), ["fine"]);
}

#[tokio::test]
async fn a_write_with_one_bad_vector_writes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", config(json!({
        "a": {"size": 2, "distance": "Dot"},
        "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        "words": {}
    }))).await.unwrap();
    for (vector, text) in [
        (
            json!({"a": [1.0]}),
            "Wrong input: Vector dimension error: expected dim: 2, got 1",
        ),
        (
            json!([1.0, 2.0]),
            "Wrong input: Not existing vector name error: ",
        ),
        (
            json!({"ghost": [1.0]}),
            "Wrong input: Not existing vector name error: ghost",
        ),
        (
            json!({"a": {"indices": [1], "values": [1.0]}}),
            "Wrong input: Conversion between sparse and regular vectors failed",
        ),
        (
            json!({"a": [[1.0, 2.0]]}),
            "Wrong input: Conversion between multi and regular vectors failed",
        ),
        (
            json!({"words": [1.0, 2.0]}),
            "Wrong input: Conversion between sparse and regular vectors failed",
        ),
        (
            json!({"words": {"indices": [1, 2], "values": [1.0]}}),
            "Wrong input: Sparse indices does not match sparse vector value count",
        ),
        (
            json!({"m": [[1.0, 2.0], [1.0]]}),
            "Wrong input: Vector dimension error: expected dim: 2, got 1",
        ),
        (
            json!({"m": [[]]}),
            "Wrong input: Vector dimension error: expected dim: 2, got 0",
        ),
    ] {
        let points = json!([{"id": 1, "vector": {"a": [1.0, 1.0]}}, {"id": 2, "vector": vector}, {"id": 3, "vector": {}}]);
        let error = apply(&store, json!({"upsert_points": {"points": points}}))
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(error.kind(), ErrorKind::BadInput);
        assert_eq!(count(&store, None).await, 0, "{text}");
    }
    let batch = json!({"ids": [1, 2], "vectors": {"m": [[[1.0, 2.0], [1.0]], [[1.0, 2.0]]]}});
    let error = apply(&store, json!({"upsert_points": {"batch": batch}}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BadInput);
    assert_eq!(count(&store, None).await, 0);
    assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
}

#[tokio::test]
async fn a_missing_id_is_told_after_the_others_are_changed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..3).await;
    for (value, id) in [
        (
            json!({"set_payload": {"payload": {"s": 1}, "points": [0, 41, 42, 1]}}),
            41,
        ),
        (
            json!({"overwrite_payload": {"payload": {"o": 1}, "points": [42, 2]}}),
            42,
        ),
        (
            json!({"update_vectors": {"points": [{"id": 9, "vector": {"a": [0.0, 0.0]}}, {"id": 0, "vector": {"a": [7.0, 7.0]}}]}}),
            9,
        ),
        (json!({"delete_vectors": [{"points": [1, 8]}, ["a"]]}), 8),
        (json!({"clear_payload": {"points": [1, 7]}}), 7),
        (
            json!({"delete_payload": {"keys": ["n"], "points": [6, 0]}}),
            6,
        ),
        (json!({"clear_payload": {"points": [100]}}), 100),
    ] {
        let error = apply(&store, value).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            format!("Not found: No point with id {id} found")
        );
    }
    assert_eq!(point(&store, 0).await.unwrap().0, json!({"s": 1}));
    assert_eq!(
        point(&store, 1).await.unwrap(),
        (json!({}), vec!["b".to_owned()])
    );
    assert_eq!(point(&store, 2).await.unwrap().0, json!({"o": 1}));
    let neither = apply(&store, json!({"set_payload": {"payload": {"s": 1}}}))
        .await
        .unwrap_err();
    assert_eq!(
        neither.to_string(),
        "Wrong input: Validation failed: No points or filter specified"
    );
}

#[tokio::test]
async fn an_upsert_replaces_points_of_an_optimised_segment_whole() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..300).await;
    store.catalog.get("c").unwrap().optimise();
    assert!(store.condition("c").await.unwrap().indexed_vectors_count > 0);
    let points =
        json!([{"id": 7, "vector": {"a": [1.0, 1.0]}}, {"id": 900, "vector": {"a": [1.0, 1.0]}}]);
    apply(&store, json!({"upsert_points": {"points": points}}))
        .await
        .unwrap();
    for id in [7, 900] {
        assert_eq!(
            point(&store, id).await.unwrap(),
            (json!({}), vec!["a".to_owned()]),
            "{id}"
        );
    }
    // A condition that spares a point spares its vectors.
    let points =
        json!([{"id": 8, "vector": {"a": [1.0, 1.0]}}, {"id": 9, "vector": {"a": [1.0, 1.0]}}]);
    let filter = json!({"must": [{"key": "n", "match": {"value": 9}}]});
    apply(&store, json!({"upsert_points_conditional": {"points_op": {"points": points}, "condition": filter}})).await.unwrap();
    assert_eq!(point(&store, 8).await.unwrap().1, ["a", "b"]);
    assert_eq!(
        point(&store, 9).await.unwrap(),
        (json!({}), vec!["a".to_owned()])
    );
    assert_eq!(count(&store, None).await, 301);
}

#[tokio::test]
async fn columns_are_taken_and_the_last_of_equal_ids_wins() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    let batch = json!({"ids": [1, 2, 1], "vectors": {"a": [[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]]}, "payloads": [{"k": 1}, null, {"k": 3}]});
    apply(&store, json!({"upsert_points": {"batch": batch}}))
        .await
        .unwrap();
    assert_eq!(count(&store, None).await, 2);
    assert_eq!(point(&store, 1).await.unwrap().0, json!({"k": 3}));
}

fn query(query: ScoringQuery, limit: usize, offset: usize) -> QueryRequest {
    QueryRequest {
        prefetches: Vec::new(),
        query: Some(query),
        filter: None,
        score_threshold: None,
        limit,
        offset,
        params: None,
        with_vector: WithVector::Bool(false),
        with_payload: WithPayloadInterface::Bool(false),
    }
}

fn nearest(vector: VectorInternal, using: &str) -> ScoringQuery {
    ScoringQuery::Vector(QueryEnum::Nearest(NamedQuery::new(vector, using)))
}

#[tokio::test]
async fn no_limit_takes_more_memory_than_there_are_points() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..20).await;
    let sparse = VectorInternal::Sparse(SparseVector {
        indices: vec![1],
        values: vec![1.0],
    });
    let mmr = ScoringQuery::Mmr(Mmr {
        vector: vec![1.0, 1.0].into(),
        using: "a".into(),
        lambda: 0.5.into(),
        candidates_limit: usize::MAX,
    });
    let prefetch = |query| Prefetch {
        prefetches: Vec::new(),
        query: Some(query),
        limit: usize::MAX,
        params: None,
        filter: None,
        score_threshold: None,
    };
    let mut fusion = query(ScoringQuery::Fusion(Fusion::Dbsf), usize::MAX, 3);
    fusion.prefetches = vec![
        prefetch(ScoringQuery::Sample(Sample::Random)),
        prefetch(mmr.clone()),
    ];
    for (request, expected) in [
        (
            query(ScoringQuery::Sample(Sample::Random), usize::MAX, 0),
            20,
        ),
        (
            query(nearest(vec![1.0, 1.0].into(), "a"), usize::MAX, usize::MAX),
            0,
        ),
        (query(nearest(vec![1.0, 1.0].into(), "a"), 5, 18), 2),
        (query(nearest(sparse, "words"), usize::MAX / 4, 0), 0),
        (query(mmr, usize::MAX, 1), 19),
        (fusion, 17),
    ] {
        let points = store.query("c", request).await.unwrap();
        assert_eq!(points.len(), expected);
        assert!(
            points.iter().all(|point| point.vector.is_none()),
            "MMR's vectors are its own"
        );
    }
    let request = ScrollRequest {
        limit: Some(usize::MAX),
        ..ScrollRequest::default()
    };
    assert_eq!(store.scroll("c", request).await.unwrap().0.len(), 20);
}

#[tokio::test]
async fn a_query_of_nothing_is_judged_all_the_same() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    let request = query(nearest(vec![1.0].into(), "a"), 10, 0);
    let error = store.query("c", request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Wrong input: Vector dimension error: expected dim: 2, got 1"
    );
    let request = query(nearest(vec![1.0].into(), "ghost"), 10, 0);
    let error = store.query("c", request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "Wrong input: Not existing vector name error: ghost"
    );
}

#[tokio::test]
async fn optimising_turns_yellow_into_green_and_loses_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
    let shard = store.catalog.get("c").unwrap();
    upsert(&store, 0..400).await;
    shard.signs.is_queued.store(true, Ordering::Release);
    assert_eq!(store.condition("c").await.unwrap().health, Health::Yellow);
    shard.optimise();
    let condition = store.condition("c").await.unwrap();
    assert_eq!(condition.health, Health::Green);
    assert!(condition.indexed_vectors_count >= 400, "{condition:?}");
    assert_eq!(condition.points_count, 400);
    apply(&store, json!({"delete_points": {"ids": [3]}}))
        .await
        .unwrap();
    let folder = scratch.as_killed(&store);
    let killed = folder.store();
    assert_eq!(count(&killed, None).await, 399);
    assert_eq!(killed.condition("c").await.unwrap().points_count, 399);
}

#[tokio::test]
async fn doubles_that_a_cut_short_optimisation_left_are_healed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..50).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    let segments = home.join("shard/segments");
    let segment = fs::read_dir(&segments)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let copy = segments.join(uuid::Uuid::new_v4().to_string());
    fs::create_dir(&copy).unwrap();
    copy_all(&segment, &copy);
    record::Checkpoint::new(2, false).write(&home).unwrap();
    for _ in 0..2 {
        let store = scratch.store();
        let tagged = json!({"must_not": [{"key": "n", "match": {"value": 9}}]});
        assert_eq!(
            (count(&store, None).await, count(&store, Some(tagged)).await),
            (50, 49)
        );
        assert_eq!(store.condition("c").await.unwrap().points_count, 50);
        assert_eq!(point(&store, 5).await.unwrap().1, ["a", "b"]);
        apply(&store, json!({"delete_points": {"ids": [50]}}))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_repair_that_was_cut_short_is_finished_and_numbers_go_on() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..5).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    record::Checkpoint::new(2, false).write(&home).unwrap();
    let repair = json!({"version": 1, "next": 40, "points": [{"id": 77, "vector": {"a": [1.0, 2.0]}, "payload": {"n": 77}}]});
    fs::write(home.join("repair.json"), repair.to_string()).unwrap();
    let store = scratch.store();
    assert_eq!(point(&store, 77).await.unwrap().0, json!({"n": 77}));
    assert!(
        apply(&store, json!({"delete_points": {"ids": [1]}}))
            .await
            .unwrap()
            >= 40
    );
    assert!(!home.join("repair.json").exists());
}

#[tokio::test]
async fn the_log_is_cut_once_the_segments_have_it() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store
        .create("c", config(json!({"": {"size": 2048, "distance": "Dot"}})))
        .await
        .unwrap();
    let shard = store.catalog.get("c").unwrap();
    let wal = shard.folder().join("wal");
    for round in 0..20_u64 {
        let points: Vec<_> = (0..64)
            .map(|at| json!({"id": at, "vector": vec![0.1 + 0.001 * (round as f64); 2048]}))
            .collect();
        apply(&store, json!({"upsert_points": {"points": points}}))
            .await
            .unwrap();
    }
    let grown = log::Log::look(&wal).unwrap().bytes_since(1).unwrap();
    assert!(grown >= 8 << 20, "{grown}");
    shard.flush(&mut shard.gate.lock());
    let next = shard.gate.lock().next;
    let left = log::Log::look(&wal).unwrap().bytes_since(next).unwrap();
    assert!(
        left <= grown,
        "the last closed file stays: it carries the numbering"
    );
    apply(&store, json!({"delete_points": {"ids": [1]}}))
        .await
        .unwrap();
    let folder = scratch.as_killed(&store);
    let killed = folder.store();
    assert_eq!(count(&killed, None).await, 63);
    assert!(
        apply(&killed, json!({"delete_points": {"ids": [2]}}))
            .await
            .unwrap()
            > next
    );
}

#[tokio::test]
async fn every_operation_reads_back_from_the_log() {
    let scratch = Scratch::new();
    let folder = scratch.0.join("shard");
    fs::create_dir(&folder).unwrap();
    let filter = json!({"must": [
        {"key": "a[].b", "match": {"any": ["x", "y"]}}, {"key": "t", "range": {"gte": "2024-01-01T00:00:00Z"}},
        {"key": "n", "range": {"gt": 0.5, "lte": 7}}, {"has_id": [1, "550e8400-e29b-41d4-a716-446655440000"]},
        {"key": "g", "geo_radius": {"center": {"lat": 1.5, "lon": 2.0}, "radius": 10.0}},
        {"nested": {"key": "a", "filter": {"must_not": [{"is_empty": {"key": "q"}}]}}}, {"has_vector": "a"},
        {"key": "v", "values_count": {"gte": 1}}, {"key": "txt", "match": {"text": "some words"}}],
        "min_should": {"conditions": [{"key": "b", "match": {"value": true}}], "min_count": 1}});
    let values = [
        json!({"upsert_points": {"points": [
            {"id": "550e8400-e29b-41d4-a716-446655440000", "vector": {"a": [0.1, -0.5], "words": {"indices": [7, 4_000_000_000_u32], "values": [1.5, 0.333]}},
             "payload": {"u": u64::MAX, "i": i64::MIN, "f": 0.1, "s": "\u{1F980}", "l": [null, true, {"d": {}}]}},
            {"id": u64::MAX, "vector": [1e-40, 3.4e38]}, {"id": 2, "vector": [[1.0, 2.0], [3.0, 4.0]], "payload": null}]}}),
        json!({"upsert_points": {"batch": {"ids": [1], "vectors": [[1.0, 2.0]], "payloads": [{"k": 1}]}}}),
        json!({"upsert_points_conditional": {"points_op": {"points": []}, "condition": filter, "update_mode": "update_only"}}),
        json!({"delete_points": {"ids": [1, "550e8400-e29b-41d4-a716-446655440000"]}}),
        json!({"delete_points_by_filter": filter}),
        json!({"update_vectors": {"points": [{"id": 1, "vector": {"a": [1.0, 0.3]}}], "update_filter": filter}}),
        json!({"delete_vectors": [{"points": [1]}, ["a"]]}),
        json!({"delete_vectors_by_filter": [filter, ["a"]]}),
        json!({"set_payload": {"payload": {"k": 1.25}, "points": [1], "key": "a.b[0]"}}),
        json!({"overwrite_payload": {"payload": {}, "filter": filter}}),
        json!({"delete_payload": {"keys": ["a", "b[].c"], "filter": filter}}),
        json!({"clear_payload": {"points": [1]}}),
        json!({"clear_payload_by_filter": filter}),
        json!({"create_index": {"field_name": "t", "field_schema": {"type": "text", "tokenizer": "multilingual", "stopwords": {"languages": ["english"], "custom": ["x"]}, "min_token_len": 2}}}),
        json!({"create_index": {"field_name": "k", "field_schema": "keyword"}}),
        json!({"create_index": {"field_name": "i", "field_schema": {"type": "integer", "lookup": true, "range": false}}}),
        json!({"delete_index": "a.b"}),
        json!({"create_vector_name": {"vector_name": "v", "config": {"dense": {"size": 3, "distance": "Cosine", "datatype": "float16", "multivector_config": {"comparator": "max_sim"}}}}}),
        json!({"create_vector_name": {"vector_name": "s", "config": {"sparse": {"modifier": "idf"}}}}),
        json!({"delete_vector_name": {"vector_name": "v"}}),
    ];
    let shard = EdgeShard::new(&folder, declared::edge_config(&two())).unwrap();
    let written: Vec<_> = values.into_iter().map(operation).collect();
    for operation in &written {
        drop(refused::guarded(|| shard.update(operation.clone())));
    }
    drop(shard);
    let mut read = Vec::new();
    let log = log::Log::look(&folder.join("wal")).unwrap();
    let next = log
        .replay(0, |number, operation| read.push((number, operation)))
        .unwrap();
    assert_eq!(next, written.len() as u64);
    assert_eq!(read.len(), written.len());
    for ((number, read), written) in read.into_iter().zip(written) {
        assert_eq!(read, written, "{number}");
    }
}

#[tokio::test]
async fn a_log_with_a_torn_end_gives_what_is_whole() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    for id in 0..20 {
        upsert(&store, id..id + 1).await;
    }
    let killed = scratch.as_killed(&store);
    let wal = killed.homes().pop().unwrap().join("shard/wal");
    let open = fs::read_dir(&wal)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let open = open.filter(|path| path.display().to_string().contains("open-"));
    for path in open {
        let mut bytes = fs::read(&path).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if end > 8 {
            bytes[end - 20] ^= 0xff;
            fs::write(&path, bytes).unwrap();
        }
    }
    let store = killed.store();
    assert_eq!(count(&store, None).await, 19);
    upsert(&store, 19..20).await;
    assert_eq!(count(&store, None).await, 20);
}

#[tokio::test]
async fn what_was_half_made_or_half_deleted_is_gone_at_the_next_start() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    store.create("d", two()).await.unwrap();
    let aliases = BTreeMap::from([
        ("x".to_owned(), "c".to_owned()),
        ("y".to_owned(), "d".to_owned()),
    ]);
    let none = Arc::default();
    assert!(store.set_aliases(none, aliases).await.unwrap());
    // Not by who has seen others.
    let none = Arc::default();
    assert!(!store.set_aliases(none, BTreeMap::new()).await.unwrap());
    let killed = scratch.as_killed(&store);
    let mut homes = killed.homes();
    homes.sort();
    let of = |name: &str| {
        let is = |home: &&PathBuf| record::Record::read(home).unwrap().unwrap().name == name;
        homes.iter().find(is).unwrap().clone()
    };
    fs::write(of("c").join("making"), b"").unwrap();
    fs::write(of("d").join("deleted"), b"").unwrap();
    let again = killed.store();
    assert!(again.names().await.unwrap().is_empty());
    assert!(again.aliases().await.unwrap().is_empty());
    drop(again);
    assert!(killed.homes().is_empty());
    let error = store.create("c", two()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        "Wrong input: Collection `c` already exists!"
    );
    assert!(store.delete("c").await.unwrap());
    assert!(!store.delete("c").await.unwrap());
    assert_eq!(
        store.aliases().await.unwrap().keys().collect::<Vec<_>>(),
        ["y"]
    );
    let error = apply(&store, json!({"delete_points": {"ids": [1]}}))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "Not found: Collection `c` doesn't exist!"
    );
    store.create("c", two()).await.unwrap();
    assert_eq!(count(&store, None).await, 0);
}

async fn configure(store: &Embedded, wanted: CollectionConfig) {
    let before = store.collection("c").await.unwrap().unwrap();
    let done = store
        .configure("c", Arc::clone(&before), wanted.clone())
        .await;
    assert!(done.unwrap());
    // Not by who has seen another.
    assert!(!store.configure("c", before, wanted).await.unwrap());
}

#[tokio::test]
async fn a_changed_configuration_is_put_in_force_and_kept() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..100).await;
    let shard = store.catalog.get("c").unwrap();
    let mut wanted = two();
    wanted.hnsw_config.m = 24;
    configure(&store, wanted.clone()).await;
    assert_eq!(
        shard
            .read(|shard| Ok(shard.config().hnsw_config.m))
            .unwrap(),
        24
    );
    wanted.quantization_config =
        serde_json::from_value(json!({"scalar": {"type": "int8"}})).unwrap();
    configure(&store, wanted.clone()).await;
    shard.look_after();
    assert!(
        shard
            .read(|shard| Ok(shard.config().quantization_config.is_some()))
            .unwrap()
    );
    assert_eq!(count(&store, None).await, 100);
    upsert(&store, 100..110).await;
    let folder = scratch.as_killed(&store);
    let killed = folder.store();
    assert_eq!(count(&killed, None).await, 110);
    let kept = killed.collection("c").await.unwrap().unwrap();
    assert_eq!(kept.config, wanted);
}

#[tokio::test]
async fn a_weighting_that_reached_some_files_only_reaches_all_at_the_next_start() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    let words = json!({"indices": [1], "values": [1.0]});
    let point = json!({"id": 1, "vector": {"words": words}});
    apply(&store, json!({"upsert_points": {"points": [point]}}))
        .await
        .unwrap();
    let mut wanted = two();
    wanted.params.sparse_vectors =
        serde_json::from_value(json!({"words": {"modifier": "idf"}})).unwrap();
    configure(&store, wanted).await;
    let folder = scratch.as_killed(&store);
    drop(store);
    let home = folder.homes().pop().unwrap();
    let mut unweighed = 0;
    for segment in fs::read_dir(home.join("shard/segments")).unwrap() {
        let path = segment.unwrap().path().join("segment.json");
        let mut state: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let words = state
            .pointer_mut("/config/sparse_vector_data/words")
            .unwrap();
        let taken = words.as_object_mut().unwrap().remove("modifier");
        assert_eq!(taken, Some(json!("idf")));
        fs::write(&path, state.to_string()).unwrap();
        unweighed += 1;
    }
    assert!(unweighed > 0);
    let store = folder.store();
    assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
    assert_eq!(count(&store, None).await, 1);
}

#[tokio::test]
async fn a_shard_that_broke_comes_back_from_its_log() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..30).await;
    let shard = store.catalog.get("c").unwrap();
    shard.gate.lock().is_suspect = true;
    shard.blame("on purpose");
    assert!(matches!(
        store.condition("c").await.unwrap().health,
        Health::Red(_)
    ));
    upsert(&store, 30..31).await;
    assert_eq!(count(&store, None).await, 31);
    assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
}

#[test]
fn a_panic_of_the_engine_is_an_error() {
    let broken = refused::guarded::<()>(|| panic!("on purpose"));
    let error = broken.err().unwrap().into_error();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("on purpose"));
}

#[tokio::test]
async fn a_vector_is_not_made_a_second_time() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..3).await;
    let again = json!({"create_vector_name": {"vector_name": "a", "config": {"dense": {"size": 9, "distance": "Dot"}}}});
    assert_eq!(
        apply(&store, again).await.unwrap_err().kind(),
        ErrorKind::BadInput
    );
    upsert(&store, 3..4).await;
    let folder = scratch.as_killed(&store);
    assert_eq!(count(&folder.store(), None).await, 4);
}

#[tokio::test]
async fn a_snapshot_brings_a_collection_back_under_any_name() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..300).await;
    apply(
        &store,
        json!({"create_index": {"field_name": "n", "field_schema": "integer"}}),
    )
    .await
    .unwrap();
    store.catalog.get("c").unwrap().optimise();
    let file = store.snapshots_folder().join("one.snapshot");
    store.snapshot("c", &file).await.unwrap();
    upsert(&store, 300..310).await;
    store.restore("d", &file).await.unwrap();
    let all = CountRequest {
        filter: None,
        exact: true,
    };
    assert_eq!(store.count("d", all.clone()).await.unwrap(), 300);
    let restored = store.collection("d").await.unwrap().unwrap();
    assert_eq!(
        (restored.name.as_str(), restored.payload_schema.len()),
        ("d", 1)
    );
    store.restore("c", &file).await.unwrap();
    assert_eq!(count(&store, None).await, 300);
    upsert(&store, 300..305).await;
    let folder = scratch.as_killed(&store);
    let killed = folder.store();
    assert_eq!(count(&killed, None).await, 305);
    assert_eq!(killed.count("d", all).await.unwrap(), 300);
}

#[tokio::test]
async fn a_snapshot_that_is_not_whole_changes_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..30).await;
    let file = store.snapshots_folder().join("one.snapshot");
    store.snapshot("c", &file).await.unwrap();
    upsert(&store, 30..31).await;
    let whole = fs::read(&file).unwrap();
    let bad = scratch.0.join("bad");
    let mut flipped = whole.clone();
    let in_data = whole.len() - 2000;
    flipped[in_data] ^= 0xff;
    for bytes in [
        &whole[..whole.len() / 2],
        &[][..],
        b"no tar at all",
        &flipped,
    ] {
        fs::write(&bad, bytes).unwrap();
        let error = store.restore("c", &bad).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{error:?}");
        assert_eq!(count(&store, None).await, 31);
    }
    assert_eq!(scratch.homes().len(), 1);
}

#[tokio::test]
async fn many_collections_are_written_at_once() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.store());
    let mut writers = Vec::new();
    for at in 0..6_u64 {
        let store = Arc::clone(&store);
        writers.push(crate::task::spawn("writer", async move {
            let name = format!("c{at}");
            store.create(&name, two()).await.unwrap();
            let mut last = 0;
            for id in 0..20_u64 {
                let point =
                    json!({"upsert_points": {"points": [{"id": id, "vector": {"a": [1.0, 2.0]}}]}});
                let number = store.apply(&name, operation(point)).await.unwrap();
                assert!(number > last);
                last = number;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.names().await.unwrap().len(), 6);
    store.close(Duration::from_secs(5));
    assert!(
        store
            .count(
                "c1",
                CountRequest {
                    filter: None,
                    exact: true
                }
            )
            .await
            .is_err()
    );
    drop(store);
    let store = scratch.store();
    let all = CountRequest {
        filter: None,
        exact: true,
    };
    assert_eq!(store.count("c5", all).await.unwrap(), 20);
}

#[test]
fn what_an_upsert_leaves_out_is_found() {
    let config = declared::edge_config(&two());
    let vector = |named: &[&str]| {
        let named = named
            .iter()
            .map(|name| ((*name).to_owned(), VectorPersisted::Dense(vec![])));
        VectorStructPersisted::Named(named.collect())
    };
    assert_eq!(check::left_out(&config, &vector(&["a"])), ["b", "words"]);
    assert!(check::left_out(&config, &vector(&["a", "b", "words"])).is_empty());
    assert_eq!(
        check::left_out(&config, &VectorStructPersisted::Single(vec![])),
        ["a", "b", "words"]
    );
}

#[test]
fn a_new_log_keeps_its_numbers_whatever_the_engine_removes() {
    let scratch = Scratch::new();
    let (folder, wal) = (scratch.0.clone(), scratch.0.join("wal"));
    let config = config(json!({"": {"size": 4096, "distance": "Dot"}}));
    drop(EdgeShard::new(&folder, declared::edge_config(&config)).unwrap());
    for next in [0, 41] {
        fs::remove_dir_all(&wal).unwrap();
        log::create_empty(&wal, next).unwrap();
        let before = closed_files(&wal);
        let shard = EdgeShard::load(&folder, None).unwrap();
        for _ in 0..5 {
            let points: Vec<_> = (0..200)
                .map(|id| json!({"id": id, "vector": vec![0.1; 4096]}))
                .collect();
            let upsert = operation(json!({"upsert_points": {"points": points}}));
            shard.update(upsert).unwrap();
        }
        drop(shard);
        let after = closed_files(&wal);
        assert!(after.len() > before.len());
        let kept = before
            .iter()
            .all(|(name, bytes)| after.get(name) == Some(bytes));
        assert!(kept, "the file that says where the numbers begin is gone");
        let mut numbers = Vec::new();
        let log = log::Log::look(&wal).unwrap();
        let end = log.replay(0, |number, _| numbers.push(number)).unwrap();
        assert_eq!(numbers, (next..next + 5).collect::<Vec<_>>());
        assert_eq!(end, next + 5);
    }
}

fn closed_files(wal: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(wal)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let closed = files.filter(|path| path.display().to_string().contains("closed-"));
    closed
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[tokio::test]
async fn writes_count_after_the_log_of_a_closed_collection_was_lost() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    for id in 0..10 {
        upsert(&store, id..id + 1).await;
    }
    drop(store);
    let home = scratch.homes().pop().unwrap();
    fs::remove_dir_all(home.join("shard/wal")).unwrap();
    let store = scratch.store();
    apply(&store, json!({"delete_points": {"ids": [1]}}))
        .await
        .unwrap();
    let set = json!({"set_payload": {"payload": {"n": 0}, "points": [2]}});
    assert_eq!(apply(&store, set).await.unwrap(), 12);
    for store in [&store, &scratch.as_killed(&store).store()] {
        assert_eq!(count(store, None).await, 9);
        assert_eq!(point(store, 2).await.unwrap().0, json!({"n": 0}));
    }
}

/// Leaves `operations` in the log of a collection that was killed before it flushed them.
fn log_without_flush(home: &Path, operations: Vec<Value>) {
    let shard = EdgeShard::load(&home.join("shard"), None).unwrap();
    for value in operations {
        drop(refused::guarded(|| shard.update(operation(value))));
    }
    // Dropped, it would flush.
    std::mem::forget(shard);
}

/// A copy of what is on disk now, so that nothing of this process holds it.
fn copied(scratch: &Scratch) -> Scratch {
    let copy = Scratch::new();
    copy_all(&scratch.0, &copy.0);
    copy
}

#[tokio::test]
async fn a_point_that_was_deleted_later_keeps_no_logged_write_from_the_others() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    // Point 0 is not there any more, as when its deletion was flushed and the others were not.
    upsert(&store, 1..100).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    let ids: Vec<u64> = (0..100).collect();
    let vectors: Vec<_> = ids
        .iter()
        .map(|id| json!({"id": id, "vector": {"a": [0.5, 0.5]}}))
        .collect();
    let logged = vec![
        json!({"set_payload": {"payload": {"s": 1}, "points": ids}}),
        json!({"update_vectors": {"points": vectors}}),
        json!({"delete_vectors": [{"points": ids}, ["b"]]}),
    ];
    log_without_flush(&home, logged);
    record::Checkpoint::new(2, false).write(&home).unwrap();
    let killed = copied(&scratch);
    let store = killed.store();
    let set = json!({"must": [{"key": "s", "match": {"value": 1}}]});
    assert_eq!(count(&store, Some(set)).await, 99);
    assert_eq!(point(&store, 99).await.unwrap().1, ["a"]);
}

#[tokio::test]
async fn a_log_that_cannot_be_applied_is_kept_until_it_can() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..10).await;
    drop(store);
    let home = scratch.homes().pop().unwrap();
    // The engine panics in the middle operation. Nothing says that it did so when it was written.
    let sparse = json!({"indices": [1, 2], "values": [1.0]});
    let at =
        |id: u64| json!({"upsert_points": {"points": [{"id": id, "vector": {"a": [1.0, 1.0]}}]}});
    let bad = json!({"sync_points": {"from_id": 50, "to_id": 51, "points": [{"id": 50, "vector": {"words": sparse}}]}});
    log_without_flush(&home, vec![at(20), bad, at(21)]);
    record::Checkpoint::new(2, false).write(&home).unwrap();
    let killed = copied(&scratch);
    for _ in 0..2 {
        let store = killed.store();
        let health = store.condition("c").await.unwrap().health;
        assert!(matches!(health, Health::Red(_)), "{health:?}");
    }
    // Once it is known to have been answered with an error, the others are applied.
    let home = killed.homes().pop().unwrap();
    record::Checkpoint::broke_at(2, 3).write(&home).unwrap();
    for _ in 0..2 {
        let store = killed.store();
        assert_eq!(count(&store, None).await, 12);
        assert!(point(&store, 20).await.is_some() && point(&store, 21).await.is_some());
        assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
    }
}

#[test]
fn a_disk_with_too_little_room_is_told_in_qdrants_words() {
    let scratch = Scratch::new();
    folder::has_room(&scratch.0, 0).unwrap();
    let error = folder::has_room(&scratch.0, u64::MAX).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Service internal error: No space left on device: WAL buffer size exceeds available disk space"
    );
}

#[tokio::test]
async fn writes_that_waited_for_room_in_the_log_go_on_once_it_is_in_the_segments() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    // As when the log was full and something other than the keeper wrote the segments out.
    let shard = store.catalog.get("c").unwrap();
    shard.room.send_replace(false);
    let write = upsert(&store, 0..3);
    tokio::time::timeout(Duration::from_secs(20), write)
        .await
        .unwrap();
    assert_eq!(count(&store, None).await, 3);
}

#[tokio::test]
async fn a_write_that_waits_for_room_ends_when_its_collection_is_deleted() {
    let scratch = Scratch::new();
    let store = Arc::new(scratch.store());
    store.create("c", two()).await.unwrap();
    let shard = store.catalog.delete("c").unwrap().unwrap();
    shard.room.send_replace(false);
    let (own, of) = (Arc::clone(&store), Arc::clone(&shard));
    let write = crate::task::spawn("writer", async move {
        let delete = operation(json!({"delete_points": {"ids": [1]}}));
        own.pool.apply(of, delete).await
    });
    while shard.turn.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    catalog::dispose(&shard);
    // Whether before the deletion or after it does not matter.
    let ended = tokio::time::timeout(Duration::from_secs(20), write);
    drop(ended.await.unwrap());
}

#[tokio::test]
async fn reads_of_a_collection_that_is_being_deleted_do_not_wait_for_its_optimisation() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    let shard = store.catalog.get("c").unwrap();
    shard.gate.lock().is_optimising = true;
    let (own, optimisation) = (Arc::clone(&shard), shard.seat.read());
    let disposal = std::thread::spawn(move || catalog::dispose(&own));
    // One that waits for the seat to itself would show in a moment.
    let until = Instant::now() + Duration::from_millis(500);
    while Instant::now() < until {
        assert!(shard.seat.try_read().is_some(), "a read has to wait");
        std::thread::yield_now();
    }
    drop(optimisation);
    shard.gate.lock().is_optimising = false;
    shard.calm.notify_all();
    disposal.join().unwrap();
    assert!(!shard.home.exists());
}

#[tokio::test]
async fn closing_does_not_wait_for_a_collection_that_is_busy() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("busy", two()).await.unwrap();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..3).await;
    let busy = store.catalog.get("busy").unwrap();
    let gate = busy.gate.lock();
    let began = Instant::now();
    store.close(Duration::from_millis(300));
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(gate);
    let c = store.catalog.get("c").unwrap();
    assert!(record::Checkpoint::read(&c.home).unwrap().is_clean);
}

#[tokio::test]
async fn a_failed_optimisation_is_red_until_one_succeeds() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    let shard = store.catalog.get("c").unwrap();
    // A file stands where the optimiser makes its segments.
    let temporary = shard.folder().join("temp_segments");
    folder::remove(&temporary).unwrap();
    fs::write(&temporary, b"").unwrap();
    shard.signs.is_queued.store(true, Ordering::Release);
    upsert(&store, 0..400).await;
    shard.optimise();
    let health = store.condition("c").await.unwrap().health;
    assert!(
        matches!(&health, Health::Red(why) if why.contains("optimisation")),
        "{health:?}"
    );
    fs::remove_file(&temporary).unwrap();
    upsert(&store, 400..401).await;
    shard.optimise();
    assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
    assert_eq!(count(&store, None).await, 401);
}

#[tokio::test]
async fn a_change_of_the_schema_that_could_not_be_declared_is_not_forgotten() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..3).await;
    let home = scratch.homes().pop().unwrap();
    let in_the_way = home.join("collection.tmp");
    fs::create_dir(&in_the_way).unwrap();
    let late = json!({"create_vector_name": {"vector_name": "late", "config": {"dense": {"size": 4, "distance": "Dot"}}}});
    assert!(apply(&store, late).await.is_err());
    fs::remove_dir(&in_the_way).unwrap();
    upsert(&store, 3..4).await;
    for store in [&store, &scratch.as_killed(&store).store()] {
        let declared = store.collection("c").await.unwrap().unwrap();
        assert!(declared.config.vector("late").is_some());
        assert_eq!(store.condition("c").await.unwrap().health, Health::Green);
        assert_eq!(count(store, None).await, 4);
    }
}

#[tokio::test]
async fn a_snapshot_that_lists_other_files_than_a_collections_is_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    upsert(&store, 0..5).await;
    let whole = store.snapshots_folder().join("one.snapshot");
    store.snapshot("c", &whole).await.unwrap();
    let manifest = tar::Archive::new(fs::File::open(&whole).unwrap())
        .entries()
        .unwrap()
        .map(|entry| serde_json::from_reader::<_, Value>(entry.unwrap()).unwrap())
        .next()
        .unwrap();
    for path in [
        "deleted",
        "repair.json",
        "shard/wal/closed-7",
        "shard/segments/../../../../escaped",
        "/tmp/outrigger-escaped",
    ] {
        let mut listed = manifest.clone();
        listed["files"] = json!([{"path": path, "bytes": 0, "crc32c": 0}]);
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in [("manifest.json", listed.to_string()), (path, String::new())] {
            let mut head = tar::Header::new_gnu();
            head.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            head.set_size(bytes.len().try_into().unwrap());
            head.set_mode(0o644);
            head.set_cksum();
            archive.append(&head, bytes.as_bytes()).unwrap();
        }
        let hostile = scratch.0.join("hostile");
        fs::write(&hostile, archive.into_inner().unwrap()).unwrap();
        let error = store.restore("d", &hostile).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadInput, "{path}");
        assert!(error.to_string().contains("should not"), "{error}");
    }
    assert_eq!(store.names().await.unwrap(), ["c"]);
    assert!(!Path::new("/tmp/outrigger-escaped").exists() && !scratch.0.join("escaped").exists());
}

#[tokio::test]
async fn damaged_aliases_are_put_aside_and_the_collections_open() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    drop(store);
    fs::write(scratch.0.join("aliases.json"), b"\0\0\0").unwrap();
    for _ in 0..2 {
        let store = scratch.store();
        assert_eq!(store.names().await.unwrap(), ["c"]);
        assert!(store.aliases().await.unwrap().is_empty());
    }
    let kept = fs::read(scratch.0.join("aliases.damaged")).unwrap();
    assert_eq!(kept, b"\0\0\0");
}

#[tokio::test]
async fn a_file_that_went_missing_or_lost_its_end_is_told() {
    let scratch = Scratch::new();
    let store = scratch.store();
    store.create("c", two()).await.unwrap();
    store.create("fine", two()).await.unwrap();
    upsert(&store, 0..10).await;
    let home = store.catalog.get("c").unwrap().home.clone();
    drop(store);
    let files = folder::sizes(&home.join("shard/segments")).unwrap();
    let is_mapping = |path: &&PathBuf| path.ends_with("mutable_id_tracker.mappings");
    let mapping = files.keys().find(is_mapping).unwrap();
    for is_gone in [true, false] {
        let damaged = copied(&scratch);
        let inside = home.strip_prefix(&scratch.0).unwrap();
        let file = damaged.0.join(inside).join("shard/segments").join(mapping);
        let bytes = fs::read(&file).unwrap();
        if is_gone {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        }
        let store = damaged.store();
        let health = store.condition("c").await.unwrap().health;
        assert!(
            matches!(&health, Health::Red(why) if why.contains("mutable_id_tracker.mappings")),
            "{health:?}"
        );
        assert_eq!(store.condition("fine").await.unwrap().health, Health::Green);
        drop(store);
        // Nothing was made of it: with the file back all is well.
        fs::write(&file, bytes).unwrap();
        assert_eq!(count(&damaged.store(), None).await, 10);
    }
}
