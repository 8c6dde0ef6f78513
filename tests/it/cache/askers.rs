//! What one caller was told is told to nobody else, and no longer than the caller's token lasts.

use std::time::Duration;

use outrigger::clock::Clock;
use serde_json::json;

use super::{Scene, Told, is_read, says_cache, search};
use crate::support::ask::{Ask, token};
use crate::support::{story, until};

/// Whatever tells callers apart.
const CREDENTIALS: [(&str, &str); 10] = [
    ("api-key", "a"),
    ("api-key", "b"),
    ("authorization", "Bearer a"),
    ("authorization", "Bearer b"),
    ("openai-api-key", "a"),
    ("openai-api-key", "b"),
    ("cohere-api-key", "a"),
    ("x-api-key", "a"),
    ("cookie", "session=a"),
    ("proxy-authorization", "Basic a"),
];

#[test]
fn an_answer_for_one_credential_is_served_to_no_other() {
    story(async {
        let scene = Scene::new("").await;
        scene.keep(&search("docs")).await;
        for (name, value) in CREDENTIALS {
            scene.keep(&search("docs").with(name, value)).await;
        }
        scene.hit(&search("docs")).await;
        for (name, value) in CREDENTIALS {
            scene.hit(&search("docs").with(name, value)).await;
        }
    });
}

#[test]
fn equal_questions_of_two_credentials_do_not_share_an_answer_under_way() {
    story(async {
        let scene = Scene::new("").await;
        scene.upstream.hold_only(is_read);
        let mut asked = Vec::new();
        for (name, value) in CREDENTIALS {
            asked.push(scene.send(&search("docs").with(name, value)).await);
        }
        scene.saw_reads(CREDENTIALS.len()).await;
        scene.upstream.release();
        let mut numbers = Vec::new();
        for asked in asked {
            let told = Told::of(&asked.await.unwrap());
            assert_eq!(told.by, "miss");
            numbers.push(told.number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CREDENTIALS.len());
    });
}

#[test]
fn the_sidecars_own_two_keys_do_not_share_answers() {
    story(async {
        let keys = "auth.api_key = \"full\"\nauth.read_only_api_key = \"reading\"";
        let scene = Scene::new(keys).await;
        let asks = ["full", "reading"].map(|key| search("docs").with("api-key", key));
        for ask in &asks {
            scene.keep(ask).await;
        }
        let without = scene.sidecar.ask(&search("docs")).await;
        assert_eq!((without.status(), &*says_cache(&without)), (401, "bypass"));
    });
}

#[test]
fn an_answer_is_served_no_longer_than_its_token_lasts() {
    story(async {
        // Nor as a stale one.
        let stale = "cache.stale_while_revalidate = \"1h\"\ncache.stale_if_error = \"1h\"";
        let scene = Scene::new(stale).await;
        let ends = Clock::system().since_epoch() + Duration::from_secs(3);
        let token = token(&json!({"exp": ends.as_secs_f64()}));
        let ask = search("docs").with("authorization", format!("Bearer {token}"));
        scene.keep(&ask).await;
        let not_kept = async || scene.ask(&ask).await.by != "hit-l1";
        until("the token has run out", not_kept).await;
        assert!(
            Clock::system().since_epoch() >= ends,
            "it was let go of early"
        );
        for _ in 0..2 {
            let before = scene.reads();
            let told = scene.ask(&ask).await;
            assert_eq!((&*told.by, told.number), ("bypass", before + 1));
        }
    });
}

#[test]
fn nothing_is_kept_for_a_token_that_is_bound_to_data() {
    story(async {
        let scene = Scene::new("").await;
        let bound = token(&json!({"value_exists": {"collection": "users", "matches": []}}));
        for (name, value) in [
            ("api-key", bound.clone()),
            ("authorization", format!("Bearer {bound}")),
        ] {
            let ask = search("docs").with(name, value);
            for _ in 0..2 {
                let before = scene.reads();
                let told = scene.ask(&ask).await;
                assert_eq!((&*told.by, told.number), ("bypass", before + 1));
            }
        }
    });
}

#[test]
fn every_part_of_a_question_that_its_answer_can_depend_on_tells_it_apart() {
    story(async {
        let scene = Scene::new("").await;
        let path = "/collections/docs/points/query";
        let others = [
            Ask::post(path, "{}"),
            Ask::post(path, "{ }"),
            Ask::post("/collections/docs/points/scroll", "{}"),
            Ask::post("/collections/other/points/query", "{}"),
            Ask::post(&format!("{path}?consistency=all"), "{}"),
            Ask::post(&format!("{path}?consistency=1"), "{}"),
            Ask::post(path, "{}").with("accept-encoding", "gzip"),
            Ask::post(path, "{}").with("content-type", "application/json"),
            Ask::post(path, "{}").with("content-encoding", "identity"),
            Ask::get("/collections/docs/points/1"),
            Ask::get("/collections/docs/points/2"),
        ];
        for ask in &others {
            scene.keep(ask).await;
        }
        // What says nothing about the answer does not.
        let traced = [
            ("user-agent", "x"),
            ("x-request-id", "7"),
            ("traceparent", "00-1"),
        ];
        for (name, value) in traced {
            scene.hit(&Ask::post(path, "{}").with(name, value)).await;
        }
        scene.hit(&Ask::post(path, "{}").chunked()).await;
    });
}
