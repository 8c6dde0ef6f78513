//! Nobody is told what was so before a write that was answered, however the write ended.

use http::StatusCode;
use serde_json::json;

use super::{
    AT_ONCE, NEVER, Scene, Told, is_read, is_write, says_cache, search, switch_aliases, upsert,
};
use crate::support::ask::{Answer, Ask};
use crate::support::folder::Folder;
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::wire::Wire;
use crate::support::{story, until};

/// Every call that may change what a search of `docs` finds.
fn writes() -> Vec<Ask> {
    let rows = [
        ("PUT", "/collections/docs/points"),
        ("POST", "/collections/docs/points/delete"),
        ("PUT", "/collections/docs/points/vectors"),
        ("POST", "/collections/docs/points/vectors/delete"),
        ("POST", "/collections/docs/points/payload"),
        ("PUT", "/collections/docs/points/payload"),
        ("POST", "/collections/docs/points/payload/delete"),
        ("POST", "/collections/docs/points/payload/clear"),
        ("POST", "/collections/docs/points/batch"),
        ("PUT", "/collections/docs/index"),
        ("DELETE", "/collections/docs/index/kind"),
        ("PUT", "/collections/docs"),
        ("PATCH", "/collections/docs"),
        ("DELETE", "/collections/docs"),
        ("PUT", "/collections/docs/snapshots/recover"),
        ("PUT", "/collections/docs/shards"),
        ("POST", "/no/such/route"),
    ];
    let asks = rows
        .iter()
        .map(|(method, target)| Ask::new(method, &format!("{target}?wait=true")).body("{}"));
    asks.chain([switch_aliases()]).collect()
}

#[test]
fn a_read_after_a_write_is_asked_of_the_store_again() {
    story(async {
        let scene = Scene::new(AT_ONCE).await;
        for write in writes() {
            scene.ask(&search("docs")).await;
            scene.hit(&search("docs")).await;
            scene.write(&write).await.ok();
            scene.miss(&search("docs")).await;
        }
    });
}

#[test]
fn a_write_leaves_the_answers_of_other_collections_alone() {
    story(async {
        let scene = Scene::new("").await;
        scene.keep(&search("other")).await;
        scene.write(&upsert("docs")).await.ok();
        scene.hit(&search("other")).await;
    });
}

#[test]
fn a_read_after_a_write_that_the_store_failed_is_asked_of_the_store_again() {
    story(async {
        let scene = Scene::new(AT_ONCE).await;
        for status in [400, 408, 429, 500, 503] {
            scene.says.lock().write_status = StatusCode::from_u16(status).unwrap();
            scene.ask(&search("docs")).await;
            scene.hit(&search("docs")).await;
            assert_eq!(scene.write(&upsert("docs")).await.status(), status);
            scene.miss(&search("docs")).await;
        }
    });
}

#[test]
fn a_read_after_a_write_that_timed_out_is_asked_of_the_store_again() {
    story(async {
        let scene = Scene::new(&format!("primary.write_timeout = \"300ms\"\n{NEVER}")).await;
        scene.keep(&search("docs")).await;
        scene.upstream.hold_only(is_write);
        assert_eq!(scene.write(&upsert("docs")).await.status(), 504);
        // Nobody knows whether it still comes: nothing is kept for a while.
        scene.miss(&search("docs")).await;
        scene.miss(&search("docs")).await;
        assert!(scene.bypassed("unsettled") >= 2.0);
    });
}

#[test]
fn a_write_of_a_client_that_hung_up_goes_on_and_is_seen_by_the_next_read() {
    story(async {
        let scene = Scene::new(NEVER).await;
        scene.keep(&search("docs")).await;
        scene.upstream.hold_only(is_write);
        let before = scene.writes();
        let mut client = scene.sidecar.connect().await;
        client.send(upsert("docs").bytes()).await;
        scene.saw_write(before).await;
        drop(client);
        // It is under way: what is read now may be of either side of it.
        scene.miss(&search("docs")).await;
        scene.miss(&search("docs")).await;
        assert!(scene.bypassed("written") >= 1.0);
        scene.upstream.release();
        scene.sidecar.at_rest().await;
        // And its end was waited for: it is known to be done.
        scene.keep(&search("docs")).await;
    });
}

#[test]
fn a_long_write_whose_client_hung_up_is_not_known_to_have_ended() {
    story(async {
        let scene = Scene::new(NEVER).await;
        scene.keep(&search("docs")).await;
        scene.upstream.hold_only(is_write);
        let before = scene.writes();
        // So long that it is sent on while it is read, and ends with its client.
        let mut client = scene.sidecar.connect().await;
        client
            .send(upsert("docs").body(vec![b' '; 300_000]).bytes())
            .await;
        scene.saw_write(before).await;
        drop(client);
        scene.sidecar.at_rest().await;
        scene.miss(&search("docs")).await;
        scene.miss(&search("docs")).await;
        assert!(scene.bypassed("unsettled") >= 2.0);
    });
}

#[test]
fn a_write_whose_reply_is_lost_is_not_known_to_have_ended() {
    story(async {
        // Answers reads, and breaks off when it is sent a write.
        let upstream = Script::start(|_, mut wire: Wire| async move {
            let body = match wire.request().await {
                Some((head, _)) if head.method() == "PUT" => return,
                Some((head, _)) if head.target() == "/aliases" => {
                    r#"{"result":{"aliases":[]},"status":"ok","time":0.1}"#
                }
                _ => r#"{"result":{"number":1},"status":"ok","time":0.1}"#,
            };
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            drop(wire.try_send(format!("{head}{body}")).await);
        });
        let upstream = upstream.await;
        let more = format!("cache.enabled = true\n{NEVER}");
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        let by = async || Told::of(&sidecar.ask(&search("docs")).await.ok()).by;
        assert_eq!((by().await, by().await), ("miss".into(), "hit-l1".into()));
        assert_eq!(sidecar.ask(&upsert("docs")).await.status(), 502);
        assert_eq!((by().await, by().await), ("miss".into(), "miss".into()));
    });
}

/// A read is under way at the store, with an answer from before the write, until the write ended.
async fn arrives_late(scene: &Scene, read: &Ask) -> Answer {
    scene.upstream.hold_only(is_read);
    let before = scene.reads();
    let late = scene.send(read).await;
    scene.saw_reads(before + 1).await;
    scene.write(&upsert("docs")).await.ok();
    scene.upstream.release();
    late.await.unwrap()
}

#[test]
fn a_read_that_began_before_a_write_and_ended_after_it_is_not_kept() {
    story(async {
        let scene = Scene::new(NEVER).await;
        // The aliases are known: nothing but the read itself is under way.
        scene.keep(&search("other")).await;
        let late = arrives_late(&scene, &search("docs")).await;
        let late = Told::of(&late);
        let next = scene.miss(&search("docs")).await;
        assert!(next.number > late.number);
        assert_eq!(scene.hit(&search("docs")).await.number, next.number);
    });
}

#[test]
fn a_read_that_began_amid_a_write_and_ended_after_it_is_not_kept() {
    story(async {
        let scene = Scene::new(NEVER).await;
        scene.keep(&search("other")).await;
        scene
            .upstream
            .hold_only(|seen| is_read(seen) || is_write(seen));
        let (writes, reads) = (scene.writes(), scene.reads());
        let write = scene.send(&upsert("docs")).await;
        scene.saw_write(writes).await;
        let late = scene.send(&search("docs")).await;
        scene.saw_reads(reads + 1).await;
        scene.upstream.hold_only(is_read);
        write.await.unwrap().ok();
        scene.upstream.release();
        let late = Told::of(&late.await.unwrap());
        assert!(scene.miss(&search("docs")).await.number > late.number);
        scene.hit(&search("docs")).await;
    });
}

#[test]
fn a_read_that_came_and_went_amid_a_write_is_not_kept() {
    story(async {
        let scene = Scene::new(NEVER).await;
        scene.keep(&search("docs")).await;
        scene.upstream.hold_only(is_write);
        let before = scene.writes();
        let write = scene.send(&upsert("docs")).await;
        scene.saw_write(before).await;
        scene.miss(&search("docs")).await;
        scene.miss(&search("docs")).await;
        scene.upstream.release();
        write.await.unwrap().ok();
        scene.keep(&search("docs")).await;
    });
}

#[test]
fn after_a_write_that_was_only_acknowledged_nothing_is_kept() {
    story(async {
        let write = |wait: &str| {
            let target = format!("/collections/docs/points{wait}");
            Ask::put(&target, r#"{"points": []}"#)
        };
        let results = [
            ("", json!({"operation_id": 1, "status": "acknowledged"})),
            (
                "?wait=false",
                json!({"operation_id": 1, "status": "acknowledged"}),
            ),
            // Whatever it says: it was not waited for.
            (
                "?wait=false",
                json!({"operation_id": 1, "status": "completed"}),
            ),
            (
                "?wait=true",
                json!({"operation_id": 1, "status": "acknowledged"}),
            ),
            (
                "?wait=true",
                json!({"operation_id": 1, "status": "wait_timeout"}),
            ),
            (
                "?wait=true",
                json!([{"status": "completed"}, {"status": "acknowledged"}]),
            ),
            ("?wait=true", json!({"something": "else"})),
        ];
        for (wait, result) in results {
            let scene = Scene::new(NEVER).await;
            scene.keep(&search("docs")).await;
            scene.says.lock().write_result = result;
            scene.write(&write(wait)).await.ok();
            scene.miss(&search("docs")).await;
            scene.miss(&search("docs")).await;
            assert!(scene.bypassed("unsettled") >= 2.0, "{wait}");
            // The others are none of its business.
            scene.keep(&search("other")).await;
        }
    });
}

#[test]
fn after_a_write_that_was_waited_for_answers_are_kept_at_once() {
    story(async {
        let scene = Scene::new(NEVER).await;
        for write in [
            upsert("docs"),
            Ask::put("/collections/docs/index?wait=true", "{}"),
            Ask::put("/collections/docs", "{}"),
        ] {
            scene.write(&write).await.ok();
            scene.keep(&search("docs")).await;
        }
    });
}

#[test]
fn a_write_that_was_only_acknowledged_is_settled_after_a_while() {
    story(async {
        let scene = Scene::new("cache.settle_ms = 300").await;
        scene.keep(&search("other")).await;
        scene.says.lock().write_result = json!({"operation_id": 1, "status": "acknowledged"});
        scene
            .write(&Ask::put("/collections/docs/points", "{}"))
            .await
            .ok();
        // This one is asked before, and answered after.
        scene.upstream.hold_only(is_read);
        let before = scene.reads();
        let late = scene.send(&search("docs")).await;
        scene.saw_reads(before + 1).await;
        scene
            .upstream
            .hold_only(|seen| seen.target.ends_with("query"));
        let other = Ask::post("/collections/docs/points/scroll", "{}");
        let kept = async || scene.ask(&other).await.by == "hit-l1";
        until("answers are kept again", kept).await;
        scene.upstream.release();
        let late = Told::of(&late.await.unwrap());
        assert!(scene.miss(&search("docs")).await.number > late.number);
        scene.hit(&search("docs")).await;
    });
}

#[test]
fn what_a_collection_is_and_which_there_are_is_known_at_once() {
    story(async {
        // Kept for so short a time that only a write can be what lets go of it; and how often it
        // was asked is what tells.
        let scene = Scene::new(AT_ONCE).await;
        let reads = [
            "/collections",
            "/collections/docs?",
            "/collections/docs/exists",
            "/collections/docs/aliases",
            "/aliases?",
        ];
        let schema = [
            Ask::put("/collections/docs", "{}"),
            Ask::new("DELETE", "/collections/docs"),
            switch_aliases(),
        ];
        for write in &schema {
            for read in reads {
                let read = Ask::get(read);
                scene.ask(&read).await;
                scene.write(write).await.ok();
                scene.miss(&read).await;
            }
        }
        for write in [
            Ask::put("/collections/docs/index?wait=true", "{}"),
            Ask::new("PATCH", "/collections/docs").body("{}"),
            upsert("docs"),
        ] {
            scene.ask(&Ask::get("/collections/docs?")).await;
            scene.write(&write).await.ok();
            scene.miss(&Ask::get("/collections/docs?")).await;
        }
    });
}

#[test]
fn after_a_write_that_the_store_may_still_do_nothing_is_kept() {
    story(async {
        for status in [408, 500, 503] {
            let scene = Scene::new(NEVER).await;
            scene.keep(&search("docs")).await;
            scene.says.lock().write_status = StatusCode::from_u16(status).unwrap();
            assert_eq!(scene.write(&upsert("docs")).await.status(), status);
            scene.miss(&search("docs")).await;
            scene.miss(&search("docs")).await;
            assert!(scene.bypassed("unsettled") >= 2.0, "{status}");
        }
        // What it has refused never comes.
        let scene = Scene::new(NEVER).await;
        for status in [400, 403, 429] {
            scene.says.lock().write_status = StatusCode::from_u16(status).unwrap();
            assert_eq!(scene.write(&upsert("docs")).await.status(), status);
            scene.keep(&search("docs")).await;
        }
    });
}

#[test]
fn an_answer_that_a_write_overtook_does_not_take_the_place_of_a_newer_one() {
    story(async {
        let scene = Scene::new(NEVER).await;
        scene.keep(&search("other")).await;
        scene.upstream.hold_only(|seen| {
            is_read(seen) && seen.field("x-request-id").as_deref() == Some("late")
        });
        let before = scene.reads();
        let late = scene
            .send(&search("docs").with("x-request-id", "late"))
            .await;
        scene.saw_reads(before + 1).await;
        scene.write(&upsert("docs")).await.ok();
        scene.keep(&search("docs")).await;
        scene.upstream.release();
        late.await.unwrap().ok();
        scene.hit(&search("docs")).await;
    });
}

#[test]
fn a_store_of_our_own_has_done_what_it_was_not_waited_for() {
    story(async {
        let data = Folder::new();
        let toml = format!(
            "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n\
             primary.kind = \"embedded\"\ndata_dir = \"{}\"\ncache.enabled = true\n{NEVER}\n",
            data.path().display()
        );
        let sidecar = Sidecar::with(&toml).await;
        let config = r#"{"vectors": {"size": 2, "distance": "Dot"}}"#;
        let point = r#"{"points": [{"id": 1, "vector": [0.1, 0.2]}]}"#;
        for (target, body) in [
            ("/collections/docs", config),
            ("/collections/docs/points?wait=false", point),
        ] {
            sidecar.ask(&Ask::put(target, body)).await.ok();
        }
        let by = async || says_cache(&sidecar.ask(&search("docs")).await.ok());
        assert_eq!((&*by().await, &*by().await), ("miss", "hit-l1"));
    });
}
