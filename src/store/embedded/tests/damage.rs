//! Folders in use, files that are damaged, snapshots.

use super::*;

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

#[test]
fn a_panic_of_the_engine_is_an_error() {
    let broken = refused::guarded::<()>(|| panic!("on purpose"));
    let error = broken.err().unwrap().into_error();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.to_string().contains("on purpose"));
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
