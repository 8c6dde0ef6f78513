//! The gate before `cutover`.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_shut_refuses_cutover_before_any_write_is_held() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    let rows = [
        ("docs", "queries"),
        ("other", "window"),
        ("third", "spearman"),
        ("fourth", "queries"),
        ("fifth", "queries"),
    ];
    *one.follower.missing.lock() = rows.to_vec();
    let refused = one.set(Mode::Cutover).await.unwrap_err();
    let told = "the gate before cutover is shut: docs: queries is less (needed: more); other: \
                window is less (needed: more); third: spearman is less (needed: more); and 2 more \
                collections; `outrigger mode check` shows the whole table, and --force leaves it out";
    assert_eq!(refused.reason, told);
    assert_eq!((refused.held, one.mode()), (None, Mode::DualWrite));
    let check = one.changer.check(None).await.unwrap();
    assert_eq!(check.verdict, Verdict::Shut);
    one.follower.missing.lock().clear();
    assert_eq!(one.set(Mode::Cutover).await.unwrap().to, Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_left_out_with_force_and_where_it_is_off() {
    let one = alone().await;
    go(&one, &[Mode::DualWrite]).await;
    one.follower.missing.lock().push(("docs", "queries"));
    assert_eq!(one.forced(Mode::Cutover).await.unwrap().to, Mode::Cutover);
    go(&one, &[Mode::DualRead]).await;
    assert!(one.set(Mode::Cutover).await.is_err());
    one.follower.has_no_gate.store(true, Ordering::SeqCst);
    assert_eq!(one.set(Mode::Cutover).await.unwrap().to, Mode::Cutover);
}

#[tokio::test(start_paused = true)]
async fn the_gate_is_asked_only_where_the_authority_moves_to_the_secondary() {
    let one = alone().await;
    go(&one, &THERE).await;
    assert_eq!(one.follower.judged.swap(0, Ordering::SeqCst), 1);
    one.follower.missing.lock().push(("docs", "queries"));
    go(&one, &BACK).await;
    assert_eq!(one.follower.judged.load(Ordering::SeqCst), 0);
    let verdict = async || one.changer.check(None).await.unwrap().verdict;
    assert_eq!(verdict().await, Verdict::First(Mode::DualWrite));
    go(&one, &[Mode::DualWrite]).await;
    one.forced(Mode::Cutover).await.unwrap();
    assert_eq!(verdict().await, Verdict::NotAsked);
}
