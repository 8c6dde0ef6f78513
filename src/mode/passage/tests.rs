use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use super::*;
use crate::task;

const FENCE: Duration = Duration::from_secs(3);
const LEASE: Duration = Duration::from_secs(10);

fn passage() -> Arc<Passage> {
    Passage::alone(FENCE, Arc::new(Metrics::new()))
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Lets every other task go as far as it can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_holds_writes_and_an_open_one_lets_all_of_them_go() {
    let passage = passage();
    let fence = passage.close();
    let writes: Vec<_> = (0..100)
        .map(|_| {
            let passage = Arc::clone(&passage);
            task::spawn("write", async move { passage.enter().await.map(drop) })
        })
        .collect();
    settle().await;
    assert_eq!((passage.waiting(), passage.under_way()), (100, 0));
    drop(fence);
    for write in writes {
        assert!(write.await.unwrap().is_ok());
    }
    assert_eq!((passage.waiting(), passage.under_way()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_fence_waits_for_the_writes_that_are_under_way() {
    let passage = passage();
    let permits = [
        passage.enter().await.unwrap(),
        passage.enter().await.unwrap(),
    ];
    let fence = passage.close();
    assert!(fence.drained().now_or_never().is_none());
    let [one, other] = permits;
    drop(one);
    assert!(fence.drained().now_or_never().is_none());
    drop(other);
    fence.drained().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_behind_the_closed_gate_opens_it() {
    let passage = passage();
    let own = Arc::clone(&passage);
    let panicked = AssertUnwindSafe(async move {
        let _fence = own.close();
        panic!("on purpose")
    });
    assert!(panicked.catch_unwind().await.is_err());
    assert!(passage.enter().now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_told_to_come_back() {
    let passage = passage();
    let _fence = passage.close();
    let began = Instant::now();
    assert_eq!(kind(passage.enter().await), Some(ErrorKind::Busy));
    assert_eq!(began.elapsed(), FENCE + MARGIN);
    assert_eq!(passage.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn only_so_many_wait_and_who_goes_away_makes_room() {
    let passage = passage();
    let fence = passage.close();
    let mut writes: Vec<_> = (0..WAITING_MAX)
        .map(|_| {
            let passage = Arc::clone(&passage);
            task::spawn("write", async move { passage.enter().await.map(drop) })
        })
        .collect();
    settle().await;
    let one_more = passage.enter().now_or_never().unwrap();
    assert_eq!(kind(one_more), Some(ErrorKind::Busy));
    let gone = writes.pop().unwrap();
    gone.abort();
    drop(gone.await);
    assert!(passage.enter().now_or_never().is_none());
    drop(fence);
    for write in writes {
        assert!(write.await.unwrap().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_nothing_is_written_and_a_look_gives_it_back() {
    let passage = Passage::shared(FENCE, Arc::new(Metrics::new()));
    assert_eq!(kind(passage.enter().await), Some(ErrorKind::Busy));
    let looks = Arc::clone(&passage);
    drop(task::spawn("looks", async move {
        looks.lease().wanted().await;
        looks.lease().renew(Instant::now(), Some(LEASE));
    }));
    assert!(passage.enter().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_outlives_its_lease_may_not_say_that_it_is_done() {
    let passage = Passage::shared(FENCE, Arc::new(Metrics::new()));
    passage.lease().renew(Instant::now(), Some(LEASE));
    let permit = passage.enter().await.unwrap();
    assert!(permit.check().is_ok());
    tokio::time::advance(LEASE).await;
    assert_eq!(kind(permit.check()), Some(ErrorKind::Busy));
    // Nor when there is another lease by then.
    passage.lease().renew(Instant::now(), Some(LEASE));
    assert_eq!(kind(permit.check()), Some(ErrorKind::Busy));
    assert!(passage.enter().await.unwrap().check().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_one_look_only_if_what_is_known_may_be_old() {
    let passage = Passage::shared(FENCE, Arc::new(Metrics::new()));
    passage.lease().renew(Instant::now(), Some(LEASE));
    let fence = passage.close();
    assert!(passage.reading().now_or_never().is_some());
    tokio::time::advance(AGE_MAX_WHILE_CLOSED * 2).await;
    assert!(passage.reading().now_or_never().is_none());
    drop(fence);
    assert!(passage.reading().now_or_never().is_some());
    tokio::time::advance(LEASE).await;
    let began = Instant::now();
    passage.reading().await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[test]
fn whatever_is_not_known_to_read_needs_a_permit() {
    for operation in Operation::ALL {
        assert_eq!(needs_permit(operation), !operation.class().is_read());
    }
    assert!(needs_permit(Operation::Unknown));
}
