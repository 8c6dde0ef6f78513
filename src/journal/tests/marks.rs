//! What is marked, taken and cleared, and what becomes of what is in doubt.

use super::*;

#[tokio::test(start_paused = true)]
async fn that_there_was_no_journal_is_known_to_whoever_opens_it_next() {
    let scratch = Scratch::new();
    let settings = || JournalSettings {
        fresh: Some("it was not there"),
        ..JournalSettings::default()
    };
    let opened = scratch.open_with(settings());
    assert_eq!(opened.found, Found::Fresh);
    // Nobody has asked it anything.
    let killed = scratch.as_killed();
    let next = killed.open_with(settings());
    assert_eq!(next.found, Found::Whole);
    let dues = next.journal.sweeps().await.unwrap();
    assert_eq!(dues.len(), 1);
    assert_eq!(&*dues[0].reason, "it was not there");
}

#[tokio::test(start_paused = true)]
async fn what_was_marked_is_there_after_a_kill_until_it_is_cleared() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let intent = journal.intend("a", &numbers(1..4)).await.unwrap();
    assert!(intent.is_durable());
    journal.mark("b", &[number(9)]).await.unwrap();
    let killed = folder.as_killed();
    let again = killed.whole();
    assert_eq!(
        drained(&again).await,
        [("a".into(), numbers(1..4)), ("b".into(), numbers([9]))]
    );
    written(&again).await;
    drop(again);
    // The write was on its way when the process was killed: it stays in doubt for a while.
    let again = killed.whole();
    assert_eq!(drained(&again).await, [("a".into(), numbers(1..4))]);

    intent.end(Outcome::Settled);
    drained(&journal).await;
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn one_sync_serves_all_who_wait() {
    let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
    let journal = folder.open_on(&disk, JournalSettings::default()).journal;
    let before = disk.syncs();
    disk.shut();
    let subjects: Vec<_> = (0..64).map(number).collect();
    let mut intents: Vec<_> = subjects
        .iter()
        .map(|subject| Box::pin(journal.intend("a", std::slice::from_ref(subject))))
        .collect();
    for intent in &mut intents {
        assert!(intent.now_or_never().is_none(), "durable before a sync");
    }
    disk.open();
    let intents = join_all(intents).await;
    assert!(
        intents
            .iter()
            .all(|intent| intent.as_ref().unwrap().is_durable())
    );
    let syncs = disk.syncs() - before;
    assert!((1..=2).contains(&syncs), "{syncs} syncs for 64 intents");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_counted_and_not_given() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let one = journal.intend("a", &numbers([1, 2])).await.unwrap();
    let two = journal.intend("a", &numbers([2])).await.unwrap();
    assert_eq!(waiting(&journal).await, 2);
    assert!(taken(&journal).await.is_empty());
    one.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), numbers([1]));
    two.end(Outcome::NothingDone);
    assert_eq!(subjects(&taken(&journal).await), numbers([1, 2]));
    assert_eq!(waiting(&journal).await, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_marked_is_told_by_point_in_line_and_in_flight_and_in_doubt() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let check = |asked: &[u64], wanted: &[u64], is_barrier: bool| {
        let keys: Vec<PointKey> = asked.iter().copied().map(PointKey::Number).collect();
        let wanted = wanted.iter().copied().map(PointKey::Number);
        let points = wanted.collect();
        assert_eq!(journal.marked("a", &keys), Marked { points, is_barrier });
        assert_eq!(journal.marked("b", &keys), Marked::default());
    };
    check(&[1], &[], false);
    journal.mark("a", &numbers([1, 2])).await.unwrap();
    let flying = journal.intend("a", &numbers([3])).await.unwrap();
    check(&[1, 2, 3, 4], &[1, 2, 3], false);
    check(&[2], &[2], false);
    journal.clear("a", &taken(&journal).await).await.unwrap();
    check(&[1, 2, 3], &[3], false);
    flying.end(Outcome::Unknown);
    // Cleared, and to come back.
    journal.clear("a", &taken(&journal).await).await.unwrap();
    check(&[1, 3], &[3], false);
    journal.mark("a", &numbers([5])).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    check(&[3, 5], &[3, 5], true);
    deletion.end(Outcome::Settled);
    // What may still be applied comes back all the same.
    check(&[3, 5], &[3], true);
}

#[tokio::test(start_paused = true)]
async fn a_point_that_is_written_to_all_the_time_does_not_starve() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let one = journal.intend("a", &[number(1)]).await.unwrap();
    let two = journal.intend("a", &[number(1)]).await.unwrap();
    one.end(Outcome::Settled);
    assert!(taken(&journal).await.is_empty());
    tokio::time::advance(Duration::from_millis(1100)).await;
    let marks = taken(&journal).await;
    assert_eq!(subjects(&marks), [number(1)]);
    journal.clear("a", &marks).await.unwrap();
    assert_eq!(waiting(&journal).await, 1, "the other write is in flight");
    two.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), [number(1)]);
}

#[tokio::test(start_paused = true)]
async fn a_mark_made_anew_between_take_and_clear_stays() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers(1..4)).await.unwrap();
    let before = taken(&journal).await;
    journal.mark("a", &[number(2)]).await.unwrap();
    let intent = journal.intend("a", &[number(3)]).await.unwrap();
    intent.end(Outcome::Settled);
    journal.clear("a", &before).await.unwrap();
    let after = taken(&journal).await;
    assert_eq!(subjects(&after), numbers([2, 3]));
    assert_eq!(taken(&journal).await, after, "to take is not to clear");
    journal.clear("a", &after).await.unwrap();
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_write_leaves_no_mark_that_was_not_there() {
    let (folder, disk) = (Scratch::new(), Arc::new(TestDisk::default()));
    let journal = folder.open_on(&disk, JournalSettings::default()).journal;
    journal.mark("a", &[number(1)]).await.unwrap();
    let intent = journal.intend("a", &numbers([1, 2])).await.unwrap();
    intent.end(Outcome::NothingDone);
    assert_eq!(subjects(&taken(&journal).await), numbers([1]));
    // Given up before it was durable: nothing was sent.
    disk.shut();
    let never_sent = numbers([3, 4]);
    let mut given_up = Box::pin(journal.intend("a", &never_sent));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    disk.open();
    assert_eq!(waiting(&journal).await, 1);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_doubt_comes_back_three_times() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    drop(journal.intend("a", &[number(1)]).await.unwrap());
    for pause in [1, 4, 15] {
        let marks = taken(&journal).await;
        assert_eq!(
            subjects(&marks),
            [number(1)],
            "before the pause of {pause} s"
        );
        journal.clear("a", &marks).await.unwrap();
        assert!(taken(&journal).await.is_empty());
        assert_eq!(waiting(&journal).await, 1, "the fence waits for it");
        let since = Instant::now();
        while taken(&journal).await.is_empty() {
            journal.woken().await;
        }
        let slept = since.elapsed().as_millis();
        assert!(
            (pause * 1000..=pause * 1000 + 200).contains(&slept),
            "{slept} ms"
        );
        // A clear of what was taken before does not fit what came back.
        journal.clear("a", &marks).await.unwrap();
        // After a kill it is there, and in doubt again.
        written(&journal).await;
        assert_eq!(waiting(&folder.as_killed().whole()).await, 1);
    }
    let marks = taken(&journal).await;
    journal.clear("a", &marks).await.unwrap();
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    assert_eq!(waiting(&folder.whole()).await, 0);
}

#[tokio::test(start_paused = true)]
async fn barriers_keep_their_place() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers([1, 2])).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    journal.mark("a", &numbers([2, 3])).await.unwrap();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    written(&journal).await;
    let order = [
        numbers([1]),
        vec![Subject::Schema],
        numbers([2, 3]),
        vec![Subject::Schema],
    ];
    let after_kill = drained(&folder.as_killed().whole()).await;
    for (given, expected) in after_kill.iter().zip(&order) {
        assert_eq!(&given.1, expected);
    }
    assert_eq!(after_kill.len(), order.len());
    for expected in order {
        let marks = taken(&journal).await;
        assert_eq!(subjects(&marks), expected);
        assert_eq!(taken(&journal).await, marks);
        journal.clear("a", &marks).await.unwrap();
    }
    assert_eq!(waiting(&journal).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_makes_what_was_before_it_void_and_not_what_is_in_flight() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &numbers([1, 2, 3])).await.unwrap();
    let flying = journal.intend("a", &numbers([3, 4])).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    let late = journal.intend("a", &[number(5)]).await.unwrap();
    late.end(Outcome::Settled);
    assert_eq!(subjects(&taken(&journal).await), numbers([1, 2]));
    deletion.end(Outcome::Settled);
    journal.mark("a", &[number(2)]).await.unwrap();
    let check = async |journal: &Journal, expected: &[u64]| {
        let marks = taken(journal).await;
        assert_eq!(subjects(&marks), [Subject::Dropped]);
        journal.clear("a", &marks).await.unwrap();
        let mut points = subjects(&taken(journal).await);
        points.sort_by_key(|subject| format!("{subject:?}"));
        assert_eq!(points, numbers(expected.iter().copied()));
    };
    check(&folder.as_killed().whole(), &[2, 3, 4, 5]).await;
    assert_eq!(waiting(&journal).await, 5);
    check(&journal, &[2, 5]).await;
    flying.end(Outcome::Settled);
    assert_eq!(waiting(&journal).await, 4);
    assert!(journal.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_deletion_comes_before_the_changes_of_the_life_that_it_ended() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let settled = async |subject| {
        let intent = journal.intend("a", &[subject]).await.unwrap();
        intent.end(Outcome::Settled);
    };
    settled(Subject::Schema).await;
    let flying = journal.intend("a", &[Subject::Schema]).await.unwrap();
    let change = taken(&journal).await;
    assert_eq!(subjects(&change), [Subject::Schema; 0]);
    settled(Subject::Dropped).await;
    settled(Subject::Schema).await;
    journal.mark("a", &[number(1)]).await.unwrap();
    flying.end(Outcome::Settled);
    let killed = folder.as_killed().whole();
    for journal in [&journal, &killed] {
        let order = [
            vec![Subject::Dropped],
            vec![Subject::Schema],
            vec![Subject::Schema],
            numbers([1]),
        ];
        for expected in order {
            let marks = taken(journal).await;
            assert_eq!(subjects(&marks), expected);
            journal.clear("a", &marks).await.unwrap();
        }
    }
    assert_eq!(waiting(&journal).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_worked_on_when_a_deletion_came_before_it_is_cleared_all_the_same() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &[Subject::Schema]).await.unwrap();
    let change = taken(&journal).await;
    journal.mark("a", &[Subject::Dropped]).await.unwrap();
    assert_eq!(subjects(&taken(&journal).await), [Subject::Dropped]);
    journal.clear("a", &change).await.unwrap();
    assert_eq!(subjects(&taken(&journal).await), [Subject::Dropped]);
    assert_eq!(waiting(&journal).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_deletion_makes_nothing_void() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &[number(1)]).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    let killed = folder.as_killed();
    deletion.end(Outcome::NothingDone);
    assert_eq!(drained(&journal).await, [("a".into(), numbers([1]))]);
    assert_eq!(waiting(&journal).await, 0);
    // Killed before the answer, nobody knows.
    let again = killed.whole();
    assert_eq!(
        drained(&again).await,
        [
            ("a".into(), numbers([1])),
            ("a".into(), vec![Subject::Schema])
        ]
    );
    assert_eq!(again.sweeps().await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_in_doubt_is_a_schema_and_a_sweep_that_comes_back() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.mark("a", &[number(1)]).await.unwrap();
    drop(journal.intend("a", &[Subject::Dropped]).await.unwrap());
    assert_eq!(
        drained(&journal).await,
        [
            ("a".into(), numbers([1])),
            ("a".into(), vec![Subject::Schema])
        ]
    );
    let due = journal.sweeps().await.unwrap();
    journal.swept(&due[0]).await.unwrap();
    assert!(!journal.may_be_swept(&due[0]), "not yet once more");
    written(&journal).await;
    assert_eq!(folder.as_killed().whole().sweeps().await.unwrap().len(), 1);
    assert_eq!(waiting(&journal).await, 1, "the schema is in doubt");
    tokio::time::advance(Duration::from_secs(80)).await;
    let again = journal.sweeps().await.unwrap();
    assert!(journal.may_be_swept(&again[0]));
    journal.swept(&due[0]).await.unwrap();
    assert_eq!(
        journal.sweeps().await.unwrap(),
        again,
        "an old sweep does not answer it"
    );
    journal.swept(&again[0]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(
            drained(&journal).await,
            [("a".into(), vec![Subject::Schema])]
        );
        tokio::time::advance(Duration::from_secs(80)).await;
    }
    assert_eq!(waiting(&journal).await, 0);
    drop(journal);
    let again = folder.whole();
    assert_eq!(waiting(&again).await, 0);
    assert!(again.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn dead_letters_are_kept_until_the_point_is_written_or_revived() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let letter = |id| DeadLetter {
        collection: "a".into(),
        id: PointKey::Number(id),
        reason: "Wrong input: vector dimension".into(),
        since_ms: 7,
    };
    journal
        .bury(&[letter(1), letter(2), letter(3)])
        .await
        .unwrap();
    let refused = journal.intend("a", &[number(1)]).await.unwrap();
    refused.end(Outcome::NothingDone);
    assert_eq!(journal.dead_count().await.unwrap(), [("a".into(), 3)]);
    let written_to = journal.intend("a", &[number(1)]).await.unwrap();
    written_to.end(Outcome::Settled);
    written(&journal).await;
    let again = folder.as_killed().whole();
    assert_eq!(again.dead(None, 9).await.unwrap(), [letter(2), letter(3)]);
    assert_eq!(journal.dead(Some("a"), 1).await.unwrap(), [letter(2)]);
    assert_eq!(journal.revive(Some("b")).await.unwrap(), 0);
    assert_eq!(journal.revive(None).await.unwrap(), 2);
    assert_eq!(subjects(&taken(&journal).await), numbers(1..4));
    drop(journal);
    let again = folder.whole();
    assert_eq!(waiting(&again).await, 3);
    assert!(again.dead(None, 9).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_sweep_is_due_until_one_that_began_later_is_done() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    journal.want_sweep(Some("a"), "one").await.unwrap();
    let old = journal.sweeps().await.unwrap();
    journal.want_sweep(Some("a"), "two").await.unwrap();
    journal.want_sweep(None, "all").await.unwrap();
    journal.swept(&old[0]).await.unwrap();
    let again = folder.as_killed().whole();
    let due = again.sweeps().await.unwrap();
    let told: Vec<_> = due
        .iter()
        .map(|due| (due.collection.as_deref(), &*due.reason))
        .collect();
    assert_eq!(told, [(None, "all"), (Some("a"), "two")]);
    for due in &due {
        again.swept(due).await.unwrap();
    }
    assert!(again.sweeps().await.unwrap().is_empty());
    again.close();
    journal.forget().await.unwrap();
    assert!(journal.sweeps().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn past_the_bound_the_largest_collection_is_compared_whole() {
    let folder = Scratch::new();
    let settings = || JournalSettings {
        marks_max: 100,
        ..JournalSettings::default()
    };
    let journal = folder.open_with(settings()).journal;
    journal.mark("small", &numbers(0..20)).await.unwrap();
    let flying = journal.intend("large", &[number(7)]).await.unwrap();
    let doubtful = journal.intend("large", &[number(8)]).await.unwrap();
    journal.mark("large", &numbers(0..85)).await.unwrap();
    let of = async |journal: &Journal| -> BTreeMap<String, u64> {
        let backlog = journal.backlog().await.unwrap();
        backlog
            .into_iter()
            .map(|(name, of)| (String::from(&*name), of.marks))
            .collect()
    };
    let left: BTreeMap<String, u64> = [("large".into(), 2), ("small".into(), 20)].into();
    assert_eq!(of(&journal).await, left, "what is in flight is kept");
    // Nobody sweeps yet: what is written meanwhile needs no mark of its own.
    journal
        .intend("large", &[number(9)])
        .await
        .unwrap()
        .end(Outcome::Settled);
    doubtful.end(Outcome::Unknown);
    assert_eq!(of(&journal).await["large"], 1);
    written(&journal).await;
    let again = folder.as_killed().open_with(settings()).journal;
    assert_eq!(
        of(&again).await,
        [("large".into(), 1), ("small".into(), 20)].into()
    );
    assert_eq!(
        again.sweeps().await.unwrap()[0].collection.as_deref(),
        Some("large")
    );
    // From here on the sweep may have passed a point before it is written.
    let due = journal.sweeps().await.unwrap();
    assert_eq!(&*due[0].reason, "more than 100 marks waited");
    flying.end(Outcome::Settled);
    journal.mark("large", &[number(10)]).await.unwrap();
    assert_eq!(of(&journal).await["large"], 2);
    journal.swept(&due[0]).await.unwrap();
    assert!(!journal.may_be_swept(&due[0]));
    tokio::time::advance(Duration::from_secs(80)).await;
    let again = journal.sweeps().await.unwrap();
    assert!(journal.may_be_swept(&again[0]), "for what was in doubt");
}
