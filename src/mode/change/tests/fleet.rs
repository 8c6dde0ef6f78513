//! Sidecars that come, go, fall silent and sleep while a change is on.

use super::*;

async fn begun(control: &MemoryControl, to: Mode) -> Change {
    let look = control.table().await.unwrap().unwrap();
    let begun = control.begin(Proposal {
        epoch: look.epoch,
        collection: None,
        from: look.mode,
        to,
        is_fenced: true,
        is_forced: false,
        who: "who is gone".to_owned(),
        why: String::new(),
        lasts: FENCE,
    });
    match begun.await.unwrap() {
        Begun::Yes(change) => change,
        other @ (Begun::Busy(_) | Begun::Moved) => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_maker_is_gone_is_abandoned_and_writes_go_on() {
    let (control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let began = Instant::now();
    begun(&control, Mode::Cutover).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(one.passage.enter().now_or_never().is_none());
    assert_eq!(one.writes_to().await, Role::Primary);
    assert_eq!(other.writes_to().await, Role::Primary);
    assert!(
        began.elapsed() < FENCE + Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    one.set(Mode::Cutover).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_flipped_change_whose_maker_is_gone_is_brought_to_its_end() {
    let (control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let change = begun(&control, Mode::Cutover).await;
    while control.flip(change.id).await.unwrap() != Flip::Done {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let began = Instant::now();
    assert_eq!(one.writes_to().await, Role::Secondary);
    assert_eq!(other.writes_to().await, Role::Secondary);
    assert!(began.elapsed() < Duration::from_secs(1));
    one.set(Mode::DualWrite).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_is_cut_off_stops_writing_before_the_others_go_on_without_it() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    let (permit, _plan) = other.begin_write().await.unwrap();
    other.way.cut(true);
    // As long as it counts as live it is waited for.
    assert!(one.set(Mode::Cutover).await.is_err());
    assert!(permit.check().is_ok());
    tokio::time::sleep(LEASE).await;
    assert!(permit.check().is_err());
    assert!(other.begin_write().await.is_err());
    one.set(Mode::Cutover).await.unwrap();
    assert_eq!(other.mode(), Mode::DualWrite);
    other.way.cut(false);
    assert_eq!(other.writes_to().await, Role::Secondary);
    // What began before that is not said to be done.
    assert!(permit.check().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_was_paused_looks_before_it_reads() {
    let (_control, one, other) = two().await;
    go(&one, &[Mode::DualWrite]).await;
    other.way.cut(true);
    tokio::time::sleep(LEASE).await;
    one.set(Mode::Cutover).await.unwrap();
    // Woken: it knows nothing yet.
    other.way.cut(false);
    assert_eq!(other.mode(), Mode::DualWrite);
    other.passage.reading().await;
    assert_eq!(other.mode(), Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn a_control_store_that_is_gone_ends_writes_and_not_reads() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite, Mode::Cutover]).await;
    one.way.cut(true);
    tokio::time::sleep(LEASE).await;
    let began = Instant::now();
    one.passage.reading().await;
    assert!(began.elapsed() <= Duration::from_secs(1));
    assert_eq!(one.mode(), Mode::Cutover);
    let error = one.begin_write().await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Busy);
    assert!(one.set(Mode::DualWrite).await.is_err());
    one.way.cut(false);
    assert_eq!(one.writes_to().await, Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_while_a_change_is_on_is_waited_for_or_comes_to_the_new_mode() {
    let control = MemoryControl::new(LEASE);
    let one = Sidecar::join(&control, "one").await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.left.store(1, Ordering::SeqCst);
    let changer = Arc::clone(&one.changer);
    let change = task::spawn(
        "change",
        async move { changer.set(wish(Mode::Cutover)).await },
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    let late = Sidecar::join(&control, "late").await;
    assert!(
        late.passage.enter().now_or_never().is_none(),
        "its gate is closed from the start"
    );
    one.follower.left.store(0, Ordering::SeqCst);
    change.await.unwrap().unwrap();
    assert_eq!(late.writes_to().await, Role::Secondary);
}

fn sees_a_change(sidecar: &Sidecar) -> bool {
    let looks = sidecar.changer.fleet().looks();
    let look = looks.borrow().clone();
    look.is_some_and(|look| look.change.is_some())
}

#[tokio::test(start_paused = true)]
async fn a_change_that_holds_no_write_is_not_over_before_the_last_that_goes_by_the_old_modes() {
    let (_control, one, other) = two().await;
    let (permit, plan) = other.begin_write().await.unwrap();
    assert_eq!(plan.mode, Mode::PrimaryOnly);
    one.set(Mode::DualWrite).await.unwrap();
    tokio::time::sleep(10 * LEASE).await;
    assert!(sees_a_change(&one) && sees_a_change(&other));
    // Who came later goes by the new ones, and is not waited for.
    let (later, plan) = other.begin_write().await.unwrap();
    assert_eq!(plan.mode, Mode::DualWrite);
    drop(permit);
    tokio::time::sleep(LEASE / 2).await;
    assert!(!sees_a_change(&one) && !sees_a_change(&other));
    drop(later);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_holds_no_write_waits_for_a_sidecar_as_long_as_that_may_write() {
    let (_control, one, other) = two().await;
    other.way.cut(true);
    one.set(Mode::DualWrite).await.unwrap();
    let began = Instant::now();
    while other.begin_write().await.is_ok() {
        assert!(sees_a_change(&one), "{:?}", began.elapsed());
        assert_eq!(other.mode(), Mode::PrimaryOnly);
        tokio::time::sleep(FENCE / 10).await;
    }
    tokio::time::sleep(LEASE).await;
    assert!(!sees_a_change(&one));
}

#[tokio::test(start_paused = true)]
async fn what_the_follower_refuses_while_the_fence_is_up_keeps_the_authority_where_it_is() {
    for lacking in [
        Standing {
            dead_letters: 1,
            ..Standing::default()
        },
        Standing {
            sweeps: vec!["docs: too many marks".to_owned()],
            ..Standing::default()
        },
        Standing {
            absent: vec!["other".to_owned()],
            ..Standing::default()
        },
    ] {
        let one = alone().await;
        one.set(Mode::DualWrite).await.unwrap();
        one.follower.left.store(1, Ordering::SeqCst);
        let changer = Arc::clone(&one.changer);
        let change = task::spawn(
            "change",
            async move { changer.set(wish(Mode::Cutover)).await },
        );
        tokio::time::sleep(FENCE / 2).await;
        *one.follower.standing.lock() = lacking;
        one.follower.left.store(0, Ordering::SeqCst);
        let refused = change.await.unwrap().unwrap_err();
        assert!(refused.held.is_some(), "{}", refused.reason);
        assert!(refused.reason.contains("not in sync"), "{}", refused.reason);
        assert_eq!(one.writes_to().await, Role::Primary);
        one.forced(Mode::Cutover).await.unwrap();
    }
}

/// Three whose control store is in the database of the secondary.
async fn kept_by_the_follower() -> (Sidecar, Sidecar, Sidecar) {
    let control = MemoryControl::new(LEASE).kept_by(Role::Secondary);
    let mut all = Vec::new();
    for name in ["one", "other", "third"] {
        all.push(Sidecar::join(&control, name).await);
    }
    let (third, other, one) = (all.pop(), all.pop(), all.pop());
    (one.unwrap(), other.unwrap(), third.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_takes_the_control_store_with_it_stops_no_write_and_every_change() {
    let (one, other, third) = kept_by_the_follower().await;
    one.set(Mode::DualWrite).await.unwrap();
    one.way.cut(true);
    tokio::time::sleep(10 * LEASE).await;
    let (permit, plan) = one.begin_write().await.unwrap();
    assert_eq!(plan.authority_role, Role::Primary);
    // Not by those who still reach it either, with force or without.
    for made in [
        other.set(Mode::Cutover).await,
        other.forced(Mode::Cutover).await,
        other.set(Mode::PrimaryOnly).await,
    ] {
        let reason = made.unwrap_err().reason;
        assert!(reason.contains("--gone one"), "{reason}");
    }
    permit.check().unwrap();
    drop(permit);
    one.way.cut(false);
    tokio::time::sleep(LEASE).await;
    other.set(Mode::Cutover).await.unwrap();
    assert_eq!(one.writes_to().await, Role::Secondary);

    // Where the store with the control store is written first, nobody goes on without it.
    third.way.cut(true);
    tokio::time::sleep(2 * LEASE).await;
    assert!(third.begin_write().await.is_err());
    other.set(Mode::DualWrite).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_on_and_has_just_fallen_silent_is_waited_for_to_the_end() {
    let (one, other, _third) = kept_by_the_follower().await;
    one.way.cut(true);
    // Not fenced: it is in force for those who have heard of it, and not over before all have.
    other.set(Mode::DualWrite).await.unwrap();
    assert_eq!(one.mode(), Mode::PrimaryOnly);
    tokio::time::sleep(10 * LEASE).await;
    let refused = other.set(Mode::Cutover).await.unwrap_err().reason;
    assert!(refused.contains("under way"), "{refused}");
    one.way.cut(false);
    tokio::time::sleep(LEASE).await;
    assert_eq!(one.mode(), Mode::DualWrite);
    one.way.cut(true);
    let held = other.set(Mode::Cutover).await.unwrap_err();
    assert!(held.held.is_some(), "{}", held.reason);
    assert_eq!(one.writes_to().await, Role::Primary);
}

#[tokio::test(start_paused = true)]
async fn one_that_has_ended_for_good_is_not_waited_for_once_somebody_says_so() {
    let (one, other, third) = kept_by_the_follower().await;
    one.set(Mode::DualWrite).await.unwrap();
    let gone = |name: &str| Wish {
        gone: vec![name.to_owned()],
        ..wish(Mode::Cutover)
    };
    one.way.cut(true);
    // Of one that was heard of a moment ago it is not believed.
    let refused = other.changer.set(gone("one")).await.unwrap_err().reason;
    assert!(refused.contains("has been silent"), "{refused}");
    tokio::time::sleep(2 * LEASE).await;
    let refused = other.changer.set(gone("third")).await.unwrap_err().reason;
    assert!(refused.contains("has been silent"), "{refused}");
    other.changer.set(gone("one")).await.unwrap();
    assert_eq!(third.writes_to().await, Role::Secondary);
}

#[tokio::test(start_paused = true)]
async fn what_was_wished_for_in_other_modes_is_not_done() {
    let (_control, one, _other) = two().await;
    let at = |only_at| Wish {
        only_at: Some(only_at),
        ..wish(Mode::DualWrite)
    };
    let epoch = one.router.snapshot().epoch();
    one.set(Mode::DualWrite).await.unwrap();
    one.set(Mode::PrimaryOnly).await.unwrap();
    let refused = one.changer.set(at(epoch)).await.unwrap_err().reason;
    assert!(refused.contains("it was wished for at epoch"), "{refused}");
    assert_eq!(one.mode(), Mode::PrimaryOnly);
    let now = one.router.snapshot().epoch();
    one.changer.set(at(now)).await.unwrap();
    assert_eq!(one.mode(), Mode::DualWrite);
}
