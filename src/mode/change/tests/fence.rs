//! There and back, what the fence waits for, and what is refused.

use super::*;

#[tokio::test(start_paused = true)]
async fn all_sidecars_go_there_and_back_together() {
    let (control, one, other) = two().await;
    for (step, mode) in THERE.into_iter().chain(BACK).enumerate() {
        let (asked, watching) = if step % 2 == 0 {
            (&one, &other)
        } else {
            (&other, &one)
        };
        let done = asked.set(mode).await.unwrap();
        assert_eq!((done.to, asked.mode(), watching.mode()), (mode, mode, mode));
        assert_eq!(one.writes_to().await, mode.authority());
        assert_eq!(other.writes_to().await, mode.authority());
    }
    let history = control.history(99).await.unwrap();
    let gone: Vec<Mode> = history.iter().rev().map(|entry| entry.to).collect();
    assert_eq!(gone, [THERE, BACK].concat());
    assert!(
        history
            .iter()
            .all(|entry| entry.who == "a test" && entry.why == "to see")
    );
    let followed = [
        one.follower.followed.lock().clone(),
        other.follower.followed.lock().clone(),
    ];
    // The secondary when it is followed with first, the primary whenever the way leads to cutover.
    assert_eq!(followed.concat().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_fence_waits_for_writes_at_every_sidecar_and_those_held_go_by_the_new_mode() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (permit, plan) = other.begin_write().await.unwrap();
    let changer = Arc::clone(&one.changer);
    let change = task::spawn(
        "change",
        async move { changer.set(wish(Mode::Cutover)).await },
    );
    while other.passage.enter().now_or_never().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (passage, router) = (Arc::clone(&other.passage), Arc::clone(&other.router));
    let held = task::spawn("held", async move {
        let _permit = passage.enter().await.unwrap();
        router.snapshot().plan(None).authority_role
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!change.is_finished() && !held.is_finished());
    assert_eq!(
        (plan.authority_role, permit.check().is_ok()),
        (Role::Primary, true)
    );
    drop(permit);
    let done = change.await.unwrap().unwrap();
    assert!(done.held.unwrap() >= Duration::from_secs(1));
    assert_eq!(held.await.unwrap(), Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn past_its_time_a_change_is_given_up_and_says_what_was_left() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.left.store(12, Ordering::SeqCst);
    let began = Instant::now();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("12 ids were left"), "{not_done:?}");
    assert!(
        not_done.held.unwrap() < FENCE + Duration::from_millis(200),
        "{not_done:?}"
    );
    assert!(began.elapsed() < FENCE + Duration::from_secs(1));
    assert_eq!(
        (one.mode(), one.writes_to().await),
        (Mode::DualWrite, Role::Primary)
    );
    // Force leaves out the checks, never the fence.
    assert!(one.forced(Mode::Cutover).await.is_err());
    one.follower.left.store(0, Ordering::SeqCst);
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_does_not_end_is_named_with_its_sidecar() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (_permit, _plan) = other.begin_write().await.unwrap();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("other did not"), "{not_done:?}");
    let (_permit, _plan) = one.begin_write().await.unwrap();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(
        not_done.reason.contains("1 writes are under way here"),
        "{not_done:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_inside_the_fence_releases_the_writes_at_once() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.panics.store(true, Ordering::SeqCst);
    let began = Instant::now();
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(not_done.reason.contains("a bug"), "{not_done:?}");
    for sidecar in [&one, &other] {
        assert_eq!(sidecar.writes_to().await, Role::Primary);
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    one.follower.panics.store(false, Ordering::SeqCst);
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_jump_is_refused_and_names_what_has_to_come_first() {
    let one = alone().await;
    for from in [Mode::PrimaryOnly].into_iter().chain(THERE) {
        one.set(from).await.unwrap();
        for to in Mode::ALL {
            if let Step::Refused { first } = Mode::step(from, to) {
                // Force does not make it a step.
                let not_done = one.forced(to).await.unwrap_err();
                assert_eq!(not_done.first, Some(first));
                assert!(not_done.reason.contains(first.as_str()), "{not_done:?}");
            }
        }
        assert_eq!(one.mode(), from);
    }
    let stale = one.set(Mode::DualRead).await.unwrap_err();
    assert!(stale.reason.contains("stale"), "{stale:?}");
    assert!(
        one.set(Mode::Cutover)
            .await
            .unwrap()
            .note
            .unwrap()
            .contains("stale")
    );
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_not_equal_or_not_there_is_not_flipped_to() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    let standing = |change: fn(&mut Standing)| {
        let mut standing = Standing::default();
        change(&mut standing);
        *one.follower.standing.lock() = standing;
    };
    type Change = fn(&mut Standing);
    let cases: [(Change, &str); 3] = [
        (
            |of| of.sweeps.push("no backfill yet".to_owned()),
            "no backfill yet",
        ),
        (|of| of.dead_letters = 3, "3 ids were refused"),
        (
            |of| of.validation = Some("the last validation failed".to_owned()),
            "validation failed",
        ),
    ];
    for (change, said) in cases {
        standing(change);
        let not_done = one.set(Mode::Cutover).await.unwrap_err();
        assert!(not_done.reason.contains(said), "{not_done:?}");
        assert_eq!(not_done.held, None);
    }
    standing(|_| {});
    one.stores[1].is_away.store(true, Ordering::SeqCst);
    let not_done = one.set(Mode::Cutover).await.unwrap_err();
    assert!(
        not_done.reason.contains("the follower does not answer"),
        "{not_done:?}"
    );
    one.forced(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_gone_can_be_let_go_of_by_force_only() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite, Mode::Cutover]).await;
    one.follower.left.store(5, Ordering::SeqCst);
    one.stores[0].is_away.store(true, Ordering::SeqCst);
    assert!(one.set(Mode::SecondaryOnly).await.is_err());
    assert!(one.forced(Mode::DualWrite).await.is_err());
    one.forced(Mode::SecondaryOnly).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_two_changes_at_one_time_one_is_made() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (first, second) = tokio::join!(one.set(Mode::Cutover), other.set(Mode::DualRead));
    assert_eq!(
        usize::from(first.is_ok()) + usize::from(second.is_ok()),
        1,
        "{first:?} {second:?}"
    );
    assert_eq!(one.mode(), other.mode());
    let (first, second) = tokio::join!(one.set(Mode::PrimaryOnly), one.set(Mode::PrimaryOnly));
    assert!(first.is_ok() != second.is_ok() || one.mode() == Mode::Cutover);
}
