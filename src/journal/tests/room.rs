//! A disk that is full, and bounds on bytes and on what is refused.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_disk_fails_no_write_and_is_told_and_mended() {
    for operations in 0..40 {
        for torn_bytes in [0, 9, 1000] {
            let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
            let settings = JournalSettings {
                retry: Duration::from_millis(1),
                segment_bytes: 200,
                ..JournalSettings::default()
            };
            let journal = folder.open_on(&disk, settings).journal;
            let mut health = journal.watch();
            journal.mark("a", &[number(100)]).await.unwrap();
            disk.fail_after(operations, torn_bytes);
            let mut promised = vec![100];
            for id in 0..20 {
                let intent = journal.intend("a", &[number(id)]).await.unwrap();
                if intent.is_durable() {
                    promised.push(id);
                }
                intent.end(Outcome::Settled);
            }
            health
                .wait_for(|state| *state != State::Sound)
                .await
                .unwrap();
            assert!(!journal.is_sound());
            assert!(promised.len() < 21);
            // Killed before the disk works again: nothing that was promised is lost, and that
            // more may be lost is known.
            let killed = folder.as_killed();
            is_broken(&killed, "", &promised).await;
            assert_eq!(waiting(&journal).await, 21);
            disk.heal();
            health
                .wait_for(|state| *state == State::Sound)
                .await
                .unwrap();
            let intent = journal.intend("b", &[number(1)]).await.unwrap();
            assert!(intent.is_durable());
            intent.end(Outcome::Settled);
            let again = folder.as_killed().whole();
            assert_eq!(waiting(&again).await, 22);
            assert_eq!(again.sweeps().await.unwrap().len(), 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_back_either_is_told_as_soon_as_it_does() {
    let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
    let settings = JournalSettings {
        retry: Duration::from_millis(1),
        ..JournalSettings::default()
    };
    let journal = folder.open_on(&disk, settings).journal;
    let mut health = journal.watch();
    disk.fail_after(0, 0);
    disk.faults.lock().removes = false;
    let intent = journal.intend("a", &[number(1)]).await.unwrap();
    assert!(!intent.is_durable());
    let failed = health.wait_for(|state| *state != State::Sound);
    drop(failed.await.unwrap());
    assert_eq!(folder.as_killed().open().found, Found::Whole);
    disk.faults.lock().removes = true;
    while folder.journal().join("whole").exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    is_broken(&folder.as_killed(), "", &[]).await;
}

#[tokio::test(start_paused = true)]
async fn too_many_bytes_make_the_largest_collection_be_compared_whole() {
    let folder = Scratch::new();
    let settings = || JournalSettings {
        bytes_max: 64 * 1024,
        segment_bytes: 4096,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings()).journal;
    journal.mark("small", &numbers(0..10)).await.unwrap();
    let mut most = 0;
    for round in 0..200 {
        let ids = round * 100..(round + 1) * 100;
        let uuids = ids.map(|id| Subject::Point(PointKey::Uuid(u128::MAX - id)));
        journal
            .mark("large", &uuids.collect::<Vec<_>>())
            .await
            .unwrap();
        written(&journal).await;
        most = most.max(journal.figures().bytes);
    }
    assert!(most < 64 * 1024, "{most} bytes");
    let due = journal.sweeps().await.unwrap();
    assert_eq!(due[0].collection.as_deref(), Some("large"));
    let backlog = journal.backlog().await.unwrap();
    let small = backlog.iter().find(|(name, _)| &**name == "small").unwrap();
    assert_eq!(small.1.marks, 10);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_find_no_room_are_looked_for_by_a_sweep_that_begins_later() {
    let folder = Scratch::new();
    let settings = JournalSettings {
        marks_max: 1000,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings).journal;
    let letter = |id| DeadLetter {
        collection: "a".into(),
        id: PointKey::Number(id),
        reason: "no".into(),
        since_ms: 7,
    };
    let letters: Vec<_> = (0..100).map(letter).collect();
    journal.bury(&letters).await.unwrap();
    journal.want_sweep(Some("a"), "asked for").await.unwrap();
    let begun = journal.sweeps().await.unwrap();
    journal.bury(&[letter(100), letter(101)]).await.unwrap();
    journal.swept(&begun[0]).await.unwrap();
    for journal in [&journal, &folder.as_killed().whole()] {
        tokio::time::advance(Duration::from_secs(601)).await;
        let again = journal.sweeps().await.unwrap();
        assert!(journal.may_be_swept(&again[0]));
    }
    assert_eq!(journal.dead_count().await.unwrap(), [("a".into(), 100)]);
}
