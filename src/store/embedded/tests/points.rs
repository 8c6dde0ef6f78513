//! Points as they are written and found.

use super::*;

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
