//! The log of writes: what is replayed, what is cut, and a disk with no room for it.

use super::*;

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
