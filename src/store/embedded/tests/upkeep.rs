//! Optimisations, repairs, and changes of what was declared.

use super::*;

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
