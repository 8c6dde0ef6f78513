//! Names move: what was kept under one is let go of when it comes to mean something else, and a
//! write under any name of a collection reaches what was kept under every other.

use http::StatusCode;

use super::{AT_ONCE, NEVER, Scene, Told, is_aliases, is_write, search, switch_aliases, upsert};
use crate::support::ask::Ask;
use crate::support::story;

#[test]
fn a_write_under_one_name_reaches_what_was_kept_under_every_other() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs"), ("test", "docs"), ("old", "other")];
        for written in ["docs", "live", "test"] {
            for asked in ["docs", "live", "test", "old"] {
                scene.ask(&search(asked)).await;
                scene.hit(&search(asked)).await;
            }
            scene.write(&upsert(written)).await.ok();
            for asked in ["docs", "live", "test"] {
                scene.miss(&search(asked)).await;
            }
            scene.hit(&search("old")).await;
        }
    });
}

#[test]
fn an_alias_that_is_switched_leads_to_the_other_collection_at_once() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs_1")];
        scene.keep(&search("live")).await;
        scene.says.lock().aliases = vec![("live", "docs_2")];
        scene.write(&switch_aliases()).await.ok();
        scene.keep(&search("live")).await;
        // And what is written there is seen under the alias.
        scene.write(&upsert("docs_1")).await.ok();
        scene.hit(&search("live")).await;
        scene.write(&upsert("docs_2")).await.ok();
        scene.miss(&search("live")).await;
    });
}

#[test]
fn a_read_whose_alias_was_switched_while_it_was_looked_up_is_not_kept_under_the_old_one() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs_1")];
        scene.upstream.hold_only(is_aliases);
        let late = scene.send(&search("live")).await;
        scene.upstream.saw(1).await;
        scene.says.lock().aliases = vec![("live", "docs_2")];
        scene.write(&switch_aliases()).await.ok();
        scene.upstream.release();
        // This is of the new collection already, and believed to be of the old one.
        let late = Told::of(&late.await.unwrap());
        scene.write(&upsert("docs_2")).await.ok();
        assert!(scene.miss(&search("live")).await.number > late.number);
    });
}

#[test]
fn a_write_whose_alias_was_switched_meanwhile_reaches_the_other_collection_too() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs_1")];
        scene.keep(&search("live")).await;
        scene
            .upstream
            .hold_only(|seen| is_write(seen) && seen.target.contains("/live/"));
        let before = scene.writes();
        let write = scene.send(&upsert("live")).await;
        scene.saw_write(before).await;
        scene.says.lock().aliases = vec![("live", "docs_2")];
        scene.write(&switch_aliases()).await.ok();
        scene.keep(&search("docs_2")).await;
        scene.upstream.release();
        write.await.unwrap().ok();
        scene.miss(&search("docs_2")).await;
    });
}

#[test]
fn a_collection_that_is_made_anew_has_nothing_of_the_old_one() {
    story(async {
        let scene = Scene::new("").await;
        let read = search("docs");
        scene.keep(&read).await;
        scene
            .write(&Ask::new("DELETE", "/collections/docs"))
            .await
            .ok();
        scene.says.lock().read_status = StatusCode::NOT_FOUND;
        assert_eq!(scene.sidecar.ask(&read).await.status(), 404);
        scene.says.lock().read_status = StatusCode::OK;
        scene.write(&Ask::put("/collections/docs", "{}")).await.ok();
        scene.miss(&read).await;
    });
}

#[test]
fn a_deleted_collection_takes_the_answers_under_its_aliases_with_it() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs")];
        scene.keep(&search("live")).await;
        scene
            .write(&Ask::new("DELETE", "/collections/docs"))
            .await
            .ok();
        scene.miss(&search("live")).await;
    });
}

#[test]
fn a_read_that_looks_into_another_collection_depends_on_both() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("users", "people")];
        let bodies = [
            r#"{"query": 1, "lookup_from": {"collection": "people", "vector": "a"}}"#,
            r#"{"query": 1, "lookup_from": {"collection": "users"}}"#,
            r#"{"prefetch": {"query": 1, "lookup_from": {"collection": "people"}}, "query": [1]}"#,
            r#"{"group_by": "user", "with_lookup": "people"}"#,
            r#"{"group_by": "user", "with_lookup": {"collection": "people"}}"#,
            r#"{"query": 1, "\u006cookup_from": {"collection": "people"}}"#,
        ];
        for body in bodies {
            let read = Ask::post("/collections/docs/points/query", body);
            scene.keep(&read).await;
            scene.write(&upsert("people")).await.ok();
            scene.keep(&read).await;
            scene.write(&upsert("docs")).await.ok();
            scene.keep(&read).await;
            scene.write(&upsert("other")).await.ok();
            scene.hit(&read).await;
        }
    });
}

#[test]
fn where_the_aliases_are_not_told_any_write_reaches_any_read() {
    story(async {
        let scene = Scene::new(AT_ONCE).await;
        let all = |name| search(name).with("api-key", "all");
        let some = |name| search(name).with("api-key", "some");
        scene.keep(&all("docs")).await;
        scene.says.lock().aliases_status = StatusCode::FORBIDDEN;
        scene.keep(&some("docs")).await;
        // By one who was told.
        scene
            .write(&upsert("other").with("api-key", "all"))
            .await
            .ok();
        scene.hit(&all("docs")).await;
        scene.miss(&some("docs")).await;
        // By one who was not.
        scene
            .write(&upsert("other").with("api-key", "some"))
            .await
            .ok();
        scene.miss(&all("docs")).await;
        scene.miss(&some("docs")).await;
    });
}

#[test]
fn the_aliases_are_asked_for_once_and_again_when_they_may_have_moved() {
    story(async {
        let scene = Scene::new(NEVER).await;
        let asked = || {
            scene
                .upstream
                .seen()
                .iter()
                .filter(|seen| is_aliases(seen))
                .count()
        };
        for name in ["a", "b", "c"] {
            scene.keep(&search(name)).await;
            scene.write(&upsert(name)).await.ok();
        }
        assert_eq!(asked(), 1);
        let writes = [switch_aliases(), Ask::put("/collections/new", "{}")];
        for (name, write) in ["d", "e"].into_iter().zip(writes) {
            let before = asked();
            scene.write(&write).await.ok();
            scene.miss(&search(name)).await;
            assert_eq!(asked(), before + 1);
        }
    });
}

#[test]
fn the_aliases_are_asked_for_with_the_callers_own_credential() {
    story(async {
        let scene = Scene::new("").await;
        for key in ["a", "b"] {
            scene.keep(&search("docs").with("api-key", key)).await;
        }
        let mut keys: Vec<String> = Vec::new();
        for seen in scene.upstream.seen() {
            if is_aliases(&seen) {
                assert!(seen.body.is_empty());
                keys.extend(seen.field("api-key"));
            }
        }
        assert_eq!(keys, ["a", "b"]);
    });
}

#[test]
fn what_is_done_to_a_collection_under_one_name_reaches_what_was_kept_under_every_other() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs"), ("test", "docs")];
        let info = Ask::get("/collections/docs?");
        for name in ["docs", "live", "test"] {
            scene.keep(&search("docs")).await;
            scene.ask(&info).await;
            let index = format!("/collections/{name}/index?wait=true");
            scene.write(&Ask::put(&index, "{}")).await.ok();
            scene.miss(&search("docs")).await;
            scene.miss(&info).await;
            // Its name was asked about anew, and nothing else has changed since.
            scene.write(&Ask::put(&index, "{}")).await.ok();
        }
    });
}

#[test]
fn where_the_aliases_are_not_told_what_is_done_to_any_collection_reaches_any_read() {
    story(async {
        let scene = Scene::new("").await;
        let all = |ask: Ask| ask.with("api-key", "all");
        let some = search("docs").with("api-key", "some");
        scene.keep(&all(search("docs"))).await;
        scene.says.lock().aliases_status = StatusCode::FORBIDDEN;
        scene.keep(&some).await;
        let index = Ask::put("/collections/other/index?wait=true", "{}");
        scene.write(&all(index)).await.ok();
        scene.miss(&some).await;
    });
}

#[test]
fn a_write_by_a_caller_who_sees_no_alias_reaches_what_others_were_told_under_one() {
    story(async {
        let scene = Scene::new("").await;
        scene.says.lock().aliases = vec![("live", "docs")];
        let read = search("live").with("api-key", "all");
        scene.keep(&read).await;
        scene.says.lock().aliases = Vec::new();
        let write = upsert("docs").with("api-key", "some");
        scene.write(&write).await.ok();
        scene.miss(&read).await;
    });
}
