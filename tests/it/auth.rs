//! The sidecar's own keys: who comes in, how far, and that a key goes no further than the door.

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;

const KEYS: &str = "auth.api_key = \"the-full-key\"\nauth.read_only_api_key = \"the-reading-key\"";
const NO_KEY: &str = "Must provide an API key or an Authorization bearer token";
const WRONG_KEY: &str = "Invalid API key or JWT";
const NO_WRITES: &str = "Forbidden: Global manage access is required";

const READS: [(&str, &str); 8] = [
    ("GET", "/collections"),
    ("GET", "/collections/docs"),
    ("GET", "/collections/docs/points/1"),
    ("POST", "/collections/docs/points/search"),
    ("POST", "/collections/docs/points/query"),
    ("POST", "/collections/docs/points/scroll"),
    ("GET", "/metrics"),
    ("GET", "/telemetry"),
];

const WRITES: [(&str, &str); 8] = [
    ("PUT", "/collections/docs"),
    ("DELETE", "/collections/docs"),
    ("PUT", "/collections/docs/points"),
    ("POST", "/collections/docs/points/delete"),
    ("POST", "/collections/aliases"),
    ("POST", "/collections/docs/snapshots"),
    ("POST", "/no/such/route"),
    ("GET", "/no/such/route"),
];

async fn guarded() -> (Upstream, Sidecar) {
    let upstream = Upstream::echo().await;
    let sidecar = Sidecar::before(&upstream.url(), KEYS).await;
    (upstream, sidecar)
}

/// A refusal for lack of a key is plain text, as Qdrant's is.
fn assert_unauthorized(answer: &Answer, text: &str) {
    assert_eq!((answer.status(), &*answer.text()), (401, text));
    let kind = answer.head.field("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
}

fn all() -> impl Iterator<Item = Ask> {
    READS
        .into_iter()
        .chain(WRITES)
        .map(|(method, path)| Ask::new(method, path).body("{}"))
}

#[test]
fn without_a_key_nothing_but_the_open_paths_is_served() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        for ask in all() {
            assert_unauthorized(&sidecar.ask(&ask).await, NO_KEY);
            // Clients that have none send it empty.
            assert_unauthorized(&sidecar.ask(&ask.clone().with("api-key", "")).await, NO_KEY);
            let basic = ask.with("authorization", "Basic dGhlLWZ1bGwta2V5");
            assert_unauthorized(&sidecar.ask(&basic).await, NO_KEY);
        }
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn a_wrong_key_is_refused() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        let wrong = [
            "wrong",
            "the-full-ke",
            "the-full-key2",
            "THE-FULL-KEY",
            "\"the-full-key\"",
        ];
        for key in wrong {
            for ask in all() {
                let answer = sidecar.ask(&ask.clone().with("api-key", key)).await;
                assert_unauthorized(&answer, WRONG_KEY);
                let bearer = ask.with("authorization", format!("Bearer {key}"));
                assert_unauthorized(&sidecar.ask(&bearer).await, WRONG_KEY);
            }
        }
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn the_full_key_opens_everything_in_either_header() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        for ask in all() {
            sidecar
                .ask(&ask.clone().with("api-key", "the-full-key"))
                .await
                .ok();
            let bearer = ask.with("authorization", "Bearer the-full-key");
            sidecar.ask(&bearer.clone()).await.ok();
            sidecar.ask(&bearer.with("api-key", "")).await.ok();
        }
        assert_eq!(upstream.seen().len(), 3 * (READS.len() + WRITES.len()));
    });
}

#[test]
fn the_reading_key_opens_reads_and_no_writes() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        for (method, path) in READS {
            let ask = Ask::new(method, path)
                .body("{}")
                .with("api-key", "the-reading-key");
            sidecar.ask(&ask).await.ok();
        }
        for (method, path) in WRITES {
            let ask = Ask::new(method, path)
                .body("{}")
                .with("api-key", "the-reading-key");
            assert_eq!(
                sidecar.ask(&ask).await.refusal(403),
                NO_WRITES,
                "{method} {path}"
            );
        }
        assert_eq!(upstream.seen().len(), READS.len());
    });
}

#[test]
fn a_path_written_otherwise_is_judged_by_what_it_means() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        // Every one of them is a write for Qdrant's own router.
        for path in [
            "/collections/docs/",
            "//collections/docs",
            "/collections//docs",
            "/%63ollections/docs",
        ] {
            let ask = Ask::new("DELETE", path).with("api-key", "the-reading-key");
            assert_eq!(sidecar.ask(&ask).await.refusal(403), NO_WRITES, "{path}");
        }
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn what_qdrant_serves_to_anyone_is_served_to_anyone() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        let open = [
            "/",
            "/healthz",
            "/livez",
            "/readyz",
            "/dashboard",
            "/dashboard/assets/a.js",
        ];
        for path in open {
            sidecar.ask(&Ask::get(path)).await.ok();
            // Nobody is turned away for a key that was not needed.
            sidecar
                .ask(&Ask::get(path).with("api-key", "wrong"))
                .await
                .ok();
        }
        assert_eq!(upstream.seen().len(), 2 * open.len());
    });
}

#[test]
fn a_path_that_climbs_out_of_an_open_one_needs_a_key() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        // Whatever stands before Qdrant may make `/collections/docs` of them.
        let paths = [
            "/dashboard/../collections/docs",
            "/dashboard/%2e%2e/collections/docs",
            "/dashboard/.%2E/collections/docs",
            "/dashboard/./../collections/docs",
            "/dashboard/..%2fcollections/docs",
            "/dashboard/..",
        ];
        for path in paths {
            assert_eq!(sidecar.ask(&Ask::get(path)).await.status(), 401, "{path}");
        }
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn a_key_of_the_sidecars_own_goes_no_further() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        for path in ["/collections", "/", "/dashboard"] {
            let ask = Ask::get(path).with("api-key", "the-full-key");
            sidecar
                .ask(&ask.with("authorization", "Bearer the-full-key"))
                .await
                .ok();
        }
        for seen in upstream.seen() {
            assert_eq!(
                (seen.field("api-key"), seen.field("authorization")),
                (None, None)
            );
        }
    });
}

#[test]
fn the_upstreams_key_is_sent_in_place_of_the_sidecars_own() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = format!("{KEYS}\nprimary.api_key = \"the-upstreams-key\"");
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        let ask = Ask::get("/collections").with("authorization", "Bearer the-reading-key");
        sidecar.ask(&ask).await.ok();
        let seen = upstream.only();
        assert_eq!(seen.field("api-key").as_deref(), Some("the-upstreams-key"));
        assert_eq!(seen.field("authorization"), None);
    });
}

#[test]
fn a_browsers_preflight_needs_no_key_and_whatever_looks_like_one_does() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        let path = "/collections/docs/points/search";
        let method = "access-control-request-method";
        let preflight = Ask::new("OPTIONS", path).with("origin", "https://app.test");
        sidecar
            .ask(&preflight.clone().with(method, "POST"))
            .await
            .ok();
        assert_eq!(upstream.seen().len(), 1);
        let not_quite = [
            preflight,
            Ask::new("OPTIONS", path).with(method, "POST"),
            Ask::get("/collections")
                .with("origin", "https://app.test")
                .with(method, "POST"),
        ];
        for ask in not_quite {
            assert_unauthorized(&sidecar.ask(&ask).await, NO_KEY);
        }
        assert_eq!(upstream.seen().len(), 1);
    });
}

#[test]
fn a_refusal_for_lack_of_a_key_can_be_read_by_a_browser() {
    story(async {
        let (_upstream, sidecar) = guarded().await;
        let ask = Ask::get("/collections").with("origin", "https://app.test");
        let answer = sidecar.ask(&ask).await;
        assert_unauthorized(&answer, NO_KEY);
        let allowed = answer.head.field("access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://app.test"));
    });
}

#[test]
fn keys_are_asked_for_over_http_2_too() {
    story(async {
        let (upstream, sidecar) = guarded().await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let refused = client
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
        assert_eq!(refused.status(), 401);
        let mut keyed = request("GET", "/collections", "");
        keyed
            .headers_mut()
            .insert("api-key", http::HeaderValue::from_static("the-full-key"));
        assert_eq!(client.ask(keyed).await.unwrap().status(), 200);
        assert_eq!(upstream.only().field("api-key"), None);
    });
}

#[test]
fn with_a_reading_key_only_nobody_writes() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "auth.read_only_api_key = \"the-reading-key\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let read = Ask::get("/collections");
        let write = Ask::put("/collections/docs", "{}");
        assert_unauthorized(&sidecar.ask(&read).await, NO_KEY);
        assert_unauthorized(&sidecar.ask(&write).await, NO_KEY);
        sidecar
            .ask(&read.with("api-key", "the-reading-key"))
            .await
            .ok();
        sidecar
            .ask(&write.with("api-key", "the-reading-key"))
            .await
            .refusal(403);
    });
}

#[test]
fn an_empty_key_in_the_settings_is_no_key() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "auth.api_key = \"\"\nauth.read_only_api_key = \"\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        sidecar.ask(&Ask::put("/collections/docs", "{}")).await.ok();
        sidecar
            .ask(&Ask::get("/collections").with("api-key", "theirs"))
            .await
            .ok();
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.field("api-key").as_deref(), Some("theirs"));
    });
}
