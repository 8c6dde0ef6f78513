//! What is kept and what never is, for how long, how much of it, and what is said of it.

use http::{HeaderValue, StatusCode};

use super::{Scene, says_cache, search};
use crate::support::ask::Ask;
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::{story, until};

const KIB: usize = 1024;

/// Asks twice, and expects the store to have been asked both times.
async fn never_kept(scene: &Scene, ask: &Ask) {
    for _ in 0..2 {
        let before = scene.reads();
        let answer = scene.sidecar.ask(ask).await;
        assert_ne!(says_cache(&answer), "hit-l1");
        assert_eq!(scene.reads(), before + 1);
    }
}

#[test]
fn without_a_cache_every_read_is_asked_of_the_store() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for _ in 0..3 {
            let answer = sidecar.ask(&search("docs")).await.ok();
            assert_eq!(says_cache(&answer), "bypass");
        }
        assert_eq!(upstream.seen().len(), 3);
    });
}

#[test]
fn an_answer_above_the_bound_is_not_kept() {
    story(async {
        let scene = Scene::new("cache.max_entry_kb = 2").await;
        scene.says.lock().read_bytes = KIB;
        scene.keep(&search("short")).await;
        // Just above, and so long that it streams.
        for bytes in [2 * KIB, 3_000 * KIB] {
            scene.says.lock().read_bytes = bytes;
            let before = scene.bypassed("answer_too_large");
            never_kept(&scene, &search("long")).await;
            assert_eq!(scene.bypassed("answer_too_large"), before + 2.0);
        }
    });
}

#[test]
fn what_is_kept_stays_within_its_bound() {
    story(async {
        let scene = Scene::new("cache.memory_mb = 1").await;
        scene.says.lock().read_bytes = 100 * KIB;
        let evictions = "outrigger_cache_evictions_total";
        let (mut number, mut most) = (0, 0.0);
        let label = ["tier=\"l1\""];
        while scene.sidecar.metric(evictions, &[]) < 20.0 {
            number += 1;
            assert!(number < 1000, "nothing is ever let go of");
            scene.ask(&search(&format!("docs_{number}"))).await;
            let bytes = scene.sidecar.metric("outrigger_cache_bytes", &label);
            // What is asked for last stands above it until it was let go of, or something else.
            assert!(bytes < 2.0 * 1024.0 * 1024.0, "{bytes}");
            most = bytes.max(most);
        }
        assert!(most > 0.5 * 1024.0 * 1024.0, "{most}");
    });
}

#[test]
fn a_collection_may_opt_out_under_any_of_its_names() {
    story(async {
        let scene = Scene::new("collections.docs.cache = false").await;
        scene.says.lock().aliases = vec![("live", "docs")];
        never_kept(&scene, &search("docs")).await;
        never_kept(&scene, &search("live")).await;
        assert_eq!(scene.bypassed("collection"), 4.0);
        scene.keep(&search("other")).await;
    });
}

#[test]
fn a_collection_may_have_a_time_of_its_own() {
    story(async {
        let own = "cache.ttl = \"1h\"\ncollections.docs.ttl = \"100ms\"";
        let scene = Scene::new(own).await;
        scene.says.lock().aliases = vec![("live", "docs")];
        scene.keep(&search("other")).await;
        for name in ["docs", "live"] {
            scene.miss(&search(name)).await;
            let again = async || scene.ask(&search(name)).await.by == "miss";
            until("its time is over", again).await;
        }
        scene.hit(&search("other")).await;
    });
}

#[test]
fn a_collection_may_keep_longer_than_the_others() {
    story(async {
        let own = "cache.ttl = \"100ms\"\ncollections.docs.ttl = \"1h\"";
        let scene = Scene::new(own).await;
        scene.keep(&search("docs")).await;
        scene.miss(&search("other")).await;
        let again = async || scene.ask(&search("other")).await.by == "miss";
        until("the time of the others is over", again).await;
        scene.hit(&search("docs")).await;
    });
}

#[test]
fn a_client_that_will_not_have_a_kept_answer_gets_a_fresh_one() {
    story(async {
        let scene = Scene::new("").await;
        scene.keep(&search("docs")).await;
        for (name, value) in [
            ("cache-control", "no-cache"),
            ("cache-control", "private, no-store"),
            ("cache-control", "max-age=0"),
            ("pragma", "no-cache"),
        ] {
            never_kept(&scene, &search("docs").with(name, value)).await;
        }
        scene.hit(&search("docs")).await;
        assert_eq!(scene.bypassed("asked"), 8.0);
    });
}

#[test]
fn an_answer_that_is_no_success_is_not_kept() {
    story(async {
        let scene = Scene::new("").await;
        for status in [201, 202, 204, 301, 400, 401, 403, 404, 422, 429, 500, 503] {
            scene.says.lock().read_status = StatusCode::from_u16(status).unwrap();
            never_kept(&scene, &search("docs")).await;
        }
        assert_eq!(scene.bypassed("status"), 24.0);
    });
}

#[test]
fn an_answer_that_sets_a_cookie_is_not_kept() {
    story(async {
        let scene = Scene::new("").await;
        let cookie = HeaderValue::from_static("session=1");
        scene.says.lock().read_fields.insert("set-cookie", cookie);
        never_kept(&scene, &search("docs")).await;
        assert_eq!(scene.bypassed("head"), 2.0);
    });
}

#[test]
fn a_random_sample_is_not_kept() {
    story(async {
        let scene = Scene::new("").await;
        let points = "/collections/docs/points";
        for (path, body) in [
            ("query", r#"{"query": {"sample": "random"}}"#),
            ("query", r#"{"query": {"s\u0061mple": "random"}}"#),
            (
                "query",
                r#"{"prefetch": [{"query": {"sample": "random"}}], "query": [1.0]}"#,
            ),
            (
                "query/batch",
                r#"{"searches": [{}, {"query": {"sample": "random"}}]}"#,
            ),
            (
                "query/groups",
                r#"{"group_by": "a", "query": {"sample": "random"}}"#,
            ),
            ("search/matrix/pairs", r#"{"sample": 10}"#),
            ("search/matrix/offsets", r#"{"sample": 10}"#),
        ] {
            never_kept(&scene, &Ask::post(&format!("{points}/{path}"), body)).await;
        }
        assert_eq!(scene.bypassed("random"), 10.0);
    });
}

#[test]
fn calls_that_are_no_reads_of_points_or_collections_are_not_kept() {
    story(async {
        let scene = Scene::new("").await;
        for target in [
            "/",
            "/readyz",
            "/telemetry",
            "/cluster",
            "/collections/docs/cluster",
            "/collections/docs/snapshots",
            "/no/such/route",
        ] {
            never_kept(&scene, &Ask::get(target)).await;
        }
    });
}

#[test]
fn a_question_too_long_to_be_read_for_it_passes_by() {
    story(async {
        let scene = Scene::new("").await;
        let long = search("docs").body(vec![b' '; 1_100_000]);
        never_kept(&scene, &long).await;
        assert_eq!(scene.bypassed("body_too_large"), 2.0);
        let shorter = search("docs").body(vec![b' '; 900_000]);
        scene.keep(&shorter).await;
    });
}

#[test]
fn what_the_cache_did_is_said_and_counted() {
    story(async {
        let scene = Scene::new("").await;
        for _ in 0..3 {
            scene.ask(&search("docs")).await;
        }
        let fresh = search("docs").with("cache-control", "no-cache");
        assert_eq!(scene.ask(&fresh).await.by, "bypass");
        let requests = |by: &str| {
            let labels = [&*format!("cache=\"{by}\""), "operation=\"query_points\""];
            scene.sidecar.metric("outrigger_requests_total", &labels)
        };
        let counted = ["miss", "hit-l1", "bypass"].map(requests);
        assert_eq!(counted, [1.0, 2.0, 1.0]);
        let hits = scene
            .sidecar
            .metric("outrigger_cache_hits_total", &["tier=\"l1\""]);
        let misses = scene.sidecar.metric("outrigger_cache_misses_total", &[]);
        assert_eq!((hits, misses), (2.0, 1.0));
        // A kept answer says whose it was.
        let answer = scene.sidecar.ask(&search("docs")).await;
        assert_eq!(answer.head.field("x-outrigger-store").unwrap(), "primary");
    });
}

#[test]
fn a_kept_answer_has_nothing_in_its_head_that_was_the_first_ones_only() {
    story(async {
        let scene = Scene::new("").await;
        let then = "Thu, 01 Jan 2026 00:00:00 GMT";
        for (name, value) in [("x-request-id", "first"), ("date", then)] {
            let value = HeaderValue::from_static(value);
            scene.says.lock().read_fields.insert(name, value);
        }
        scene.miss(&search("docs")).await;
        let ask = search("docs").with("x-request-id", "second");
        let kept = scene.sidecar.ask(&ask).await;
        assert_eq!(says_cache(&kept), "hit-l1");
        assert_eq!(kept.head.field("x-request-id").unwrap(), "second");
        assert_ne!(kept.head.field("date").unwrap(), then);
    });
}
