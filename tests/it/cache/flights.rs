//! Equal questions of one caller that are under way at one time are asked once.

use http::StatusCode;
use tokio::task::JoinHandle;

use super::{Scene, Told, is_read, says_cache, search, upsert};
use crate::support::ask::{Answer, Ask};
use crate::support::{story, until};

const CLIENTS: usize = 8;
const FIRST: &str = "the-first";

/// The aliases are known, one question is at the store, and those who ask the same have come.
async fn under_way(scene: &Scene) -> (JoinHandle<Answer>, Vec<JoinHandle<Answer>>) {
    scene.sidecar.ask(&search("other")).await;
    scene.upstream.hold_only(is_read);
    let before = scene.reads();
    let first = scene
        .send(&search("docs").with("x-request-id", FIRST))
        .await;
    scene.saw_reads(before + 1).await;
    let mut others = Vec::new();
    for _ in 1..CLIENTS {
        others.push(scene.send(&search("docs")).await);
    }
    all_came(scene, CLIENTS).await;
    (first, others)
}

async fn all_came(scene: &Scene, count: usize) {
    let count = u32::try_from(count).unwrap();
    let name = "outrigger_requests_in_flight";
    let came = async || scene.sidecar.metric(name, &[]) >= f64::from(count);
    until("all have come", came).await;
}

#[test]
fn equal_questions_under_way_are_asked_once() {
    story(async {
        let scene = Scene::new("").await;
        let (first, others) = under_way(&scene).await;
        let asked = scene.reads();
        scene.upstream.release();
        let first = Told::of(&first.await.unwrap().ok());
        assert_eq!(first.by, "miss");
        let mut shared = 0;
        for other in others {
            let other = Told::of(&other.await.unwrap().ok());
            assert_eq!(other.number, first.number);
            shared += usize::from(other.by == "coalesced");
        }
        assert!(shared > 0);
        assert_eq!(scene.reads(), asked);
        let counted = scene.sidecar.metric("outrigger_cache_coalesced_total", &[]);
        assert_eq!(counted, f64::from(u32::try_from(shared).unwrap()));
    });
}

#[test]
fn if_the_one_who_asks_hangs_up_the_others_still_get_their_answer_and_ask_once() {
    story(async {
        let scene = Scene::new("").await;
        scene.keep(&search("other")).await;
        scene.upstream.hold_only(is_read);
        let before = scene.reads();
        let mut first = scene.sidecar.connect().await;
        first.send(search("docs").bytes()).await;
        scene.saw_reads(before + 1).await;
        let mut others = Vec::new();
        for _ in 1..CLIENTS {
            others.push(scene.send(&search("docs")).await);
        }
        all_came(&scene, CLIENTS).await;
        drop(first);
        scene.saw_reads(before + 2).await;
        scene.upstream.release();
        for other in others {
            let told = Told::of(&other.await.unwrap().ok());
            assert_eq!(told.number, before + 2, "{told:?}");
        }
        assert_eq!(scene.reads(), before + 2);
    });
}

#[test]
fn a_question_after_a_write_does_not_share_an_answer_from_before_it() {
    story(async {
        let scene = Scene::new("").await;
        scene.keep(&search("other")).await;
        scene.upstream.hold_only(is_read);
        let before = scene.reads();
        let first = scene.send(&search("docs")).await;
        scene.saw_reads(before + 1).await;
        scene.write(&upsert("docs")).await.ok();
        let second = scene.send(&search("docs")).await;
        scene.saw_reads(before + 2).await;
        scene.upstream.release();
        let numbers = [first, second].map(|asked| async {
            let told = Told::of(&asked.await.unwrap().ok());
            assert_eq!(told.by, "miss");
            told.number
        });
        let [first, second] = numbers;
        assert_eq!((first.await, second.await), (before + 1, before + 2));
        assert_eq!(scene.hit(&search("docs")).await.number, before + 2);
    });
}

#[test]
fn who_waits_for_what_turns_out_a_failure_asks_at_once_and_not_one_after_the_other() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().read_status = StatusCode::SERVICE_UNAVAILABLE;
        let (first, others) = under_way(&scene).await;
        let before = scene.reads() - 1;
        scene
            .upstream
            .hold_only(|seen| is_read(seen) && seen.field("x-request-id").unwrap() != FIRST);
        assert_eq!(first.await.unwrap().status(), 503);
        // All of them are at the store at one time.
        scene.saw_reads(before + CLIENTS).await;
        scene.upstream.release();
        for other in others {
            let answer = other.await.unwrap();
            assert_eq!((answer.status(), &*says_cache(&answer)), (503, "miss"));
        }
    });
}

#[test]
fn who_waits_for_an_answer_that_does_not_come_waits_no_longer_than_a_read_may_take() {
    story(async {
        let scene = Scene::new("primary.read_timeout = \"500ms\"").await;
        scene.keep(&search("other")).await;
        scene.upstream.hold_only(is_read);
        let mut asked = Vec::new();
        for _ in 0..CLIENTS {
            asked.push(scene.send(&search("docs")).await);
        }
        let began = tokio::time::Instant::now();
        for asked in asked {
            assert_eq!(asked.await.unwrap().status(), 504);
        }
        // One after the other they would take eight times as long.
        assert!(began.elapsed() < std::time::Duration::from_millis(2500));
    });
}

#[test]
fn questions_that_differ_are_asked_each() {
    story(async {
        let scene = Scene::new("").await;
        scene.upstream.hold_only(is_read);
        let mut asked = Vec::new();
        for body in ["{}", "{ }", "{  }"] {
            let ask = Ask::post("/collections/docs/points/query", body);
            asked.push(scene.send(&ask).await);
        }
        scene.saw_reads(3).await;
        scene.upstream.release();
        for asked in asked {
            assert_eq!(Told::of(&asked.await.unwrap()).by, "miss");
        }
    });
}
