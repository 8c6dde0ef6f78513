//! The operator's desk: health, readiness, metrics, status, and who may see them.

use std::collections::BTreeSet;

use outrigger::metrics::NAMES;

use crate::support::ask::Ask;
use crate::support::script::{Script, black_hole, refusing};
use crate::support::sidecar::{Sidecar, sum_of};
use crate::support::story;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

async fn sidecar() -> (Upstream, Sidecar) {
    let upstream = Upstream::echo().await;
    let sidecar = Sidecar::before(&upstream.url(), "").await;
    (upstream, sidecar)
}

#[test]
fn health_is_good_as_long_as_the_process_runs() {
    story(async {
        let (_socket, address) = refusing();
        let sidecar = Sidecar::before(&format!("http://{address}"), "").await;
        sidecar.ask_admin(&Ask::get("/healthz")).await.ok();
        sidecar.ask_admin(&Ask::get("/healthz/")).await.ok();
    });
}

#[test]
fn readiness_is_that_the_store_answers() {
    story(async {
        let (_upstream, well) = sidecar().await;
        let answer = well.ask_admin(&Ask::get("/readyz")).await.ok();
        assert!(answer.text().contains("primary_only"), "{}", answer.text());

        let (_socket, address) = refusing();
        let down = Sidecar::before(&format!("http://{address}"), "").await;
        let answer = down.ask_admin(&Ask::get("/readyz")).await;
        assert_eq!(answer.status(), 503);
        assert!(
            answer.text().contains(&address.to_string()),
            "{}",
            answer.text()
        );
    });
}

#[test]
fn readiness_does_not_wait_for_a_store_that_never_answers() {
    story(async {
        let (_listener, _queued, address) = black_hole().await;
        let swallows = Sidecar::before(&format!("http://{address}"), "").await;
        assert_eq!(swallows.ask_admin(&Ask::get("/readyz")).await.status(), 503);
        let upstream = Script::start(|_, mut wire| async move { wire.ended().await }).await;
        let silent = Sidecar::before(&upstream.url(), "").await;
        assert_eq!(silent.ask_admin(&Ask::get("/readyz")).await.status(), 503);
        silent.at_rest().await;
    });
}

#[test]
fn a_store_that_says_it_is_not_ready_makes_the_sidecar_so() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        assert_eq!(sidecar.ask_admin(&Ask::get("/readyz")).await.status(), 503);
        // To clients it is the store's own answer.
        assert_eq!(sidecar.ask(&Ask::get("/collections")).await.status(), 503);
    });
}

#[test]
fn a_probe_of_readiness_carries_the_key_for_the_store() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "primary.api_key = \"ours\"").await;
        sidecar.ask_admin(&Ask::get("/readyz")).await.ok();
        assert_eq!(upstream.only().field("api-key").as_deref(), Some("ours"));
    });
}

/// Checks the text as a scraper would read it; the names of the metrics in it.
fn names_in(scrape: &str) -> BTreeSet<String> {
    assert!(scrape.ends_with("# EOF\n"), "the scrape has no end");
    let mut described = BTreeSet::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (word, name) = (words.next().unwrap(), words.next());
            match word {
                "HELP" => drop(described.insert(name.unwrap().to_owned())),
                "TYPE" | "UNIT" | "EOF" => (),
                other => panic!("{other} in {line:?}"),
            }
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        value
            .parse::<f64>()
            .unwrap_or_else(|error| panic!("{error} in {line:?}"));
        let name = sample.split('{').next().unwrap();
        let known = described
            .iter()
            .any(|described| name.starts_with(described.as_str()));
        assert!(known, "{name} has no help");
        let labels = sample.strip_prefix(name).unwrap();
        let closed = labels.is_empty() || (labels.starts_with('{') && labels.ends_with("\"}"));
        assert!(closed, "{line:?}");
    }
    described
}

#[test]
fn metrics_can_be_read_and_hold_every_documented_name() {
    story(async {
        let (_upstream, sidecar) = sidecar().await;
        sidecar.ask(&Ask::get("/collections/docs")).await.ok();
        sidecar.ask(&Ask::get("/no/such/route")).await.ok();
        let answer = sidecar.ask_admin(&Ask::get("/metrics")).await.ok();
        let kind = answer.head.field("content-type").unwrap();
        assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
        let text = answer.text();
        let found = names_in(&text);
        let expected: BTreeSet<String> = NAMES
            .iter()
            .map(|name| {
                name.name
                    .strip_suffix("_total")
                    .unwrap_or(name.name)
                    .to_owned()
            })
            .collect();
        assert_eq!(found, expected);
        let of_get = &[
            "operation=\"get_collection\"",
            "store=\"primary\"",
            "status=\"200\"",
        ];
        assert_eq!(sum_of(&text, "outrigger_requests_total", of_get), 1.0);
        let of_unknown = &["operation=\"unknown\""];
        assert_eq!(sum_of(&text, "outrigger_requests_total", of_unknown), 1.0);
        assert_eq!(sum_of(&text, "outrigger_request_seconds_count", &[]), 2.0);
        assert_eq!(
            sum_of(&text, "outrigger_mode", &["mode=\"primary_only\""]),
            1.0
        );
        assert_eq!(sum_of(&text, "outrigger_store_up", &[]), 1.0);
        assert_eq!(sum_of(&text, "outrigger_tasks", &["name=\"accept\""]), 2.0);
    });
}

#[test]
fn status_tells_what_runs_and_how_the_stores_are() {
    story(async {
        let (_upstream, sidecar) = sidecar().await;
        let status = sidecar
            .ask_admin(&Ask::get("/api/status"))
            .await
            .ok()
            .json();
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["mode"]["mode"], "primary_only");
        assert_eq!(status["listen"], sidecar.proxy().to_string());
        assert_eq!(
            status["stores"]["primary"],
            serde_json::json!({ "kind": "qdrant", "up": true })
        );
        assert_eq!(status["stores"]["secondary"], serde_json::Value::Null);

        let (_socket, address) = refusing();
        let down = Sidecar::before(&format!("http://{address}"), "").await;
        let status = down.ask_admin(&Ask::get("/api/status")).await.ok().json();
        assert_eq!(status["stores"]["primary"]["up"], false);
        let error = status["stores"]["primary"]["error"].as_str().unwrap();
        assert!(error.contains(&address.to_string()), "{error}");
    });
}

#[test]
fn with_a_token_only_health_is_shown_to_anyone() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "auth.admin_token = \"the-token\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for path in ["/healthz", "/readyz"] {
            sidecar.ask_admin(&Ask::get(path)).await.ok();
        }
        for path in ["/metrics", "/api/status", "/", "/nothing/here"] {
            assert_eq!(
                sidecar.ask_admin(&Ask::get(path)).await.status(),
                401,
                "{path}"
            );
            let wrong = Ask::get(path).with("authorization", "Bearer the-toke");
            assert_eq!(sidecar.ask_admin(&wrong).await.status(), 401, "{path}");
        }
        for path in ["/metrics", "/api/status"] {
            let right = Ask::get(path).with("authorization", "Bearer the-token");
            sidecar.ask_admin(&right).await.ok();
        }
    });
}

#[test]
fn the_admin_side_serves_nothing_of_the_proxy_and_the_proxy_nothing_of_it() {
    story(async {
        let (upstream, sidecar) = sidecar().await;
        for ask in [
            Ask::get("/collections"),
            Ask::new("POST", "/metrics"),
            Ask::get("/nothing"),
        ] {
            sidecar.ask_admin(&ask).await.refusal(404);
        }
        assert_eq!(upstream.seen().len(), 0);
        // These keep Qdrant's meaning at the proxy.
        for path in [
            "/healthz",
            "/livez",
            "/readyz",
            "/metrics",
            "/telemetry",
            "/api/status",
        ] {
            sidecar.ask(&Ask::get(path)).await.ok();
        }
        assert_eq!(upstream.seen().len(), 6);
    });
}

#[test]
fn the_admin_side_survives_bodies_that_nobody_asked_for() {
    story(async {
        let (_upstream, sidecar) = sidecar().await;
        let mut wire = Wire::connect(sidecar.admin()).await;
        Ask::get("/healthz")
            .body(vec![b'x'; 1000])
            .over(&mut wire)
            .await
            .ok();
        drop(wire);
        let mut wire = Wire::connect(sidecar.admin()).await;
        let answer = Ask::post("/api/status", vec![b'x'; 1_000_000])
            .over(&mut wire)
            .await;
        assert_eq!(answer.status(), 404);
        drop(wire);
        sidecar.at_rest().await;
    });
}
