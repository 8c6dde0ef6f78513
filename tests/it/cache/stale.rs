//! Answers past their time: served by those who asked for it only, and never past a write.

use http::StatusCode;

use super::{AT_ONCE, Scene, is_read, says_cache, search, upsert};
use crate::support::{story, until};

/// What is kept is past its time soon, and still there: the others are kept for longer.
const SHORT: &str = "cache.ttl = \"100ms\"\ncollections.other.ttl = \"1h\"";
const REVALIDATE: &str = "cache.ttl = \"100ms\"\ncache.stale_while_revalidate = \"1h\"";
const IF_ERROR: &str = "cache.ttl = \"100ms\"\ncache.stale_if_error = \"1h\"";

async fn until_past_its_time(scene: &Scene) {
    let first = scene.miss(&search("docs")).await;
    let past = async || scene.ask(&search("docs")).await.by != "hit-l1";
    until("the answer is past its time", past).await;
    assert!(scene.reads() >= first.number);
}

#[test]
fn an_answer_past_its_time_is_not_served_unless_asked_for() {
    story(async {
        let scene = Scene::new(SHORT).await;
        for _ in 0..3 {
            let before = scene.reads();
            let again = async || {
                let told = scene.ask(&search("docs")).await;
                assert!(["hit-l1", "miss"].contains(&&*told.by), "{told:?}");
                scene.reads() > before + 1
            };
            until("it was asked for again", again).await;
        }
        scene.says.lock().read_status = StatusCode::SERVICE_UNAVAILABLE;
        let failed = async || scene.sidecar.ask(&search("docs")).await.status() == 503;
        until("its time is over", failed).await;
        assert_eq!(
            scene.sidecar.metric("outrigger_cache_stale_total", &[]),
            0.0
        );
    });
}

#[test]
fn an_answer_past_its_time_may_be_served_while_one_new_one_is_fetched() {
    story(async {
        let scene = Scene::new(REVALIDATE).await;
        scene.miss(&search("docs")).await;
        scene.upstream.hold_only(is_read);
        let stale = async || {
            let told = scene.ask(&search("docs")).await;
            assert_eq!(told.number, 1);
            told.by == "stale"
        };
        until("it is past its time", stale).await;
        // However many are served it meanwhile: one is fetched.
        for _ in 0..5 {
            assert!(stale().await);
        }
        scene.saw_reads(2).await;
        scene.upstream.release();
        let new = async || scene.ask(&search("docs")).await.number > 1;
        until("the new one is there", new).await;
        let label = ["reason=\"stale_while_revalidate\""];
        assert!(scene.sidecar.metric("outrigger_cache_stale_total", &label) >= 6.0);
    });
}

#[test]
fn an_answer_past_its_time_may_be_served_when_the_store_fails() {
    story(async {
        let scene = Scene::new(IF_ERROR).await;
        scene.miss(&search("docs")).await;
        scene.says.lock().read_status = StatusCode::SERVICE_UNAVAILABLE;
        let stale = async || {
            let told = scene.ask(&search("docs")).await;
            assert_eq!(told.number, 1);
            told.by == "stale"
        };
        until("it is past its time", stale).await;
        // What the client did wrong is no failure of the store.
        scene.says.lock().read_status = StatusCode::NOT_FOUND;
        assert_eq!(scene.sidecar.ask(&search("docs")).await.status(), 404);
        scene.says.lock().read_status = StatusCode::OK;
        scene.miss(&search("docs")).await;
        let label = ["reason=\"stale_if_error\""];
        assert!(scene.sidecar.metric("outrigger_cache_stale_total", &label) >= 1.0);
    });
}

#[test]
fn an_answer_past_its_time_is_not_served_after_a_write_while_a_new_one_is_fetched() {
    story(async {
        let scene = Scene::new(&format!("{REVALIDATE}\n{AT_ONCE}")).await;
        until_past_its_time(&scene).await;
        scene.write(&upsert("docs")).await.ok();
        // It may meet the question that is put since it was served past its time, or its answer if
        // that was put after the write only.
        let told = scene.ask(&search("docs")).await;
        assert!(told.by != "stale" && told.number > 1, "{told:?}");
    });
}

#[test]
fn an_answer_past_its_time_is_not_served_after_a_write_when_the_store_fails() {
    story(async {
        let scene = Scene::new(&format!("{IF_ERROR}\n{AT_ONCE}")).await;
        until_past_its_time(&scene).await;
        scene.write(&upsert("docs")).await.ok();
        scene.says.lock().read_status = StatusCode::SERVICE_UNAVAILABLE;
        let answer = scene.sidecar.ask(&search("docs")).await;
        assert_eq!((answer.status(), &*says_cache(&answer)), (503, "miss"));
    });
}

#[test]
fn a_new_answer_that_a_write_overtook_does_not_replace_the_old_one_for_anybody() {
    story(async {
        let scene = Scene::new(&format!("{REVALIDATE}\n{AT_ONCE}")).await;
        scene.miss(&search("docs")).await;
        scene.upstream.hold_only(is_read);
        let stale = async || scene.ask(&search("docs")).await.by == "stale";
        until("it is past its time", stale).await;
        scene.saw_reads(2).await;
        scene.write(&upsert("docs")).await.ok();
        scene.upstream.release();
        scene.sidecar.at_rest().await;
        scene.miss(&search("docs")).await;
    });
}
