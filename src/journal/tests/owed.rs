//! Comparisons that calls have asked for.

use super::*;
use crate::model::{ASKED_FOR, OTHER_AUTHORITY};

async fn due(journal: &Journal) -> Vec<SweepDue> {
    journal.sweeps().await.unwrap()
}

/// What a sweeper does that begins now.
async fn sweeps_all(journal: &Journal) {
    for due in due(journal).await {
        if journal.may_be_swept(&due) {
            journal.swept(&due).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_owed_for_a_call_is_not_done_before_the_call_has_ended() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    for collection in [None, Some("a")] {
        let owed = journal.owe(collection, "a call").await.unwrap();
        let other = journal.owe(collection, "another call").await.unwrap();
        let before = due(&journal).await;
        assert_eq!(&*before[0].reason, "a call");
        other.end(Outcome::Settled);
        assert!(!journal.may_be_swept(&due(&journal).await[0]));
        // Nor by one who does not ask whether it may.
        journal.swept(&due(&journal).await[0]).await.unwrap();
        assert_eq!(due(&journal).await.len(), 1);
        owed.end(Outcome::Settled);
        // What began before the call had ended does not answer it.
        journal.swept(&before[0]).await.unwrap();
        assert_eq!(due(&journal).await.len(), 1);
        sweeps_all(&journal).await;
        assert_eq!(due(&journal).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_came_to_nothing_leave_nothing_owed_however_many_there_were() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let owe = async || journal.owe(Some("a"), "a call").await.unwrap();
    let (one, other) = (owe().await, owe().await);
    one.end(Outcome::NothingDone);
    assert_eq!(due(&journal).await.len(), 1);
    other.end(Outcome::NothingDone);
    assert_eq!(due(&journal).await, []);
    written(&journal).await;
    assert_eq!(due(&folder.as_killed().whole()).await, []);

    // One of them did something.
    let (one, other) = (owe().await, owe().await);
    one.end(Outcome::Settled);
    other.end(Outcome::NothingDone);
    assert_eq!(due(&journal).await.len(), 1);
    sweeps_all(&journal).await;

    // It was owed to somebody else, before or since.
    journal.want_sweep(Some("a"), "before").await.unwrap();
    owe().await.end(Outcome::NothingDone);
    assert_eq!(&*due(&journal).await[0].reason, "before");
    sweeps_all(&journal).await;
    let one = owe().await;
    journal.want_sweep(Some("a"), "since").await.unwrap();
    one.end(Outcome::NothingDone);
    assert_eq!(&*due(&journal).await[0].reason, "since");
}

#[tokio::test(start_paused = true)]
async fn after_a_call_whose_outcome_is_not_known_it_is_due_once_more() {
    for is_dropped in [false, true] {
        let folder = Scratch::new();
        let journal = folder.fresh();
        let owed = journal.owe(Some("a"), "a call").await.unwrap();
        if is_dropped {
            drop(owed);
        } else {
            owed.end(Outcome::Unknown);
        }
        sweeps_all(&journal).await;
        // Something may still differ, which a change of mode has to know.
        assert_eq!(due(&journal).await.len(), 1);
        assert!(!journal.may_be_swept(&due(&journal).await[0]));
        written(&journal).await;
        tokio::time::advance(Duration::from_secs(80)).await;
        assert!(journal.may_be_swept(&due(&journal).await[0]));
        sweeps_all(&journal).await;
        assert_eq!(due(&journal).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_under_way_at_a_kill_is_in_doubt_after_it() {
    for (collection, is_copied) in [(Some("a"), false), (None, false), (Some("a"), true)] {
        let folder = Scratch::new();
        let settings = || JournalSettings {
            segment_bytes: if is_copied { 300 } else { 1 << 20 },
            ..JournalSettings::default()
        };
        let journal = folder.open_with(settings()).journal;
        let owed = journal.owe(collection, "a call").await.unwrap();
        for id in 0..200 {
            journal.mark("b", &[number(id)]).await.unwrap();
            drained(&journal).await;
        }
        written(&journal).await;
        let copies = journal.figures().copies;
        assert_eq!(copies > 1, is_copied, "{copies}");
        let again = folder.as_killed().open_with(settings()).journal;
        sweeps_all(&again).await;
        assert_eq!(due(&again).await.len(), 1, "{collection:?}");
        tokio::time::advance(Duration::from_secs(80)).await;
        sweeps_all(&again).await;
        assert_eq!(due(&again).await, []);
        owed.end(Outcome::Settled);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_owed_before_everything_was_forgotten_is_owed_no_more() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let old = journal.owe(Some("a"), "a call").await.unwrap();
    journal.forget().await.unwrap();
    let new = journal.owe(Some("a"), "another call").await.unwrap();
    old.end(Outcome::Unknown);
    assert!(!journal.may_be_swept(&due(&journal).await[0]));
    new.end(Outcome::NothingDone);
    assert_eq!(due(&journal).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_letter_goes_when_the_follower_has_the_point_after_all() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let letter = |id| DeadLetter {
        collection: "a".into(),
        id: PointKey::Number(id),
        reason: "no".into(),
        since_ms: 7,
    };
    // A newer write lands, and then what was refused before it is buried.
    let write = journal.intend("a", &[number(1)]).await.unwrap();
    write.end(Outcome::Settled);
    journal.bury(&[letter(1), letter(2)]).await.unwrap();
    let fine = [PointKey::Number(1), PointKey::Number(9)];
    journal.applied("a", &fine).await.unwrap();
    journal.applied("b", &fine).await.unwrap();
    assert_eq!(journal.dead(None, 9).await.unwrap(), [letter(2)]);
    written(&journal).await;
    let again = folder.as_killed().whole();
    assert_eq!(again.dead(None, 9).await.unwrap(), [letter(2)]);
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_for_a_sweep_takes_nothing_away_from_one_that_is_to_come_again() {
    for collection in [Some("a"), None] {
        let folder = Scratch::new();
        let journal = folder.fresh();
        let owed = journal.owe(collection, "a call").await.unwrap();
        journal.want_sweep(collection, ASKED_FOR).await.unwrap();
        let again = folder.as_killed().whole();
        sweeps_all(&again).await;
        assert_eq!(due(&again).await.len(), 1, "{collection:?}");
        tokio::time::advance(Duration::from_secs(80)).await;
        sweeps_all(&again).await;
        assert_eq!(due(&again).await, []);
        owed.end(Outcome::Settled);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reason_that_keeps_a_sweep_from_beginning_outlasts_what_comes_after_it() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let waits = format!("{OTHER_AUTHORITY} moved");
    journal.want_sweep(None, &waits).await.unwrap();
    journal.want_sweep(None, "the disk was full").await.unwrap();
    for journal in [&journal, &folder.as_killed().whole()] {
        let reason = format!("{waits}; the disk was full");
        assert_eq!(*due(journal).await[0].reason, *reason);
    }
    journal.want_sweep(None, ASKED_FOR).await.unwrap();
    assert_eq!(*due(&journal).await[0].reason, *ASKED_FOR);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_goes_with_its_collection() {
    let folder = Scratch::new();
    let journal = folder.fresh();
    let letter = |collection: &str| DeadLetter {
        collection: collection.into(),
        id: PointKey::Number(1),
        reason: "no".into(),
        since_ms: 7,
    };
    let letters = ["a", "b", "c"].map(letter);
    journal.bury(&letters).await.unwrap();
    let deletion = journal.intend("a", &[Subject::Dropped]).await.unwrap();
    deletion.end(Outcome::Settled);
    journal.mark("b", &[Subject::Dropped]).await.unwrap();
    written(&journal).await;
    for journal in [&journal, &folder.as_killed().whole()] {
        assert_eq!(journal.dead(None, 9).await.unwrap(), [letter("c")]);
    }
}
