//! An upstream that keeps failing is left alone for a while, and clients are told so at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::ask::Ask;
use crate::support::script::{Script, refusing};
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::wire::Wire;

const POINTS: &str = "/collections/docs/points";

async fn obliges(mut wire: Wire) {
    while wire.request().await.is_some() {
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await;
    }
}

#[test]
fn after_some_failures_in_a_row_calls_are_refused_at_once_and_nothing_is_sent() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.ended().await;
        })
        .await;
        let more = "primary.write_timeout = \"300ms\"\nprimary.breaker_failures = 3\n\
                    primary.breaker_open = \"10m\"\nprimary.breaker_open_max = \"10m\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for _ in 0..3 {
            sidecar.ask(&Ask::put(POINTS, "{}")).await.refusal(504);
        }
        assert_eq!(
            sidecar.metric("outrigger_breaker_state", &["target=\"primary\""]),
            2.0
        );
        let began = Instant::now();
        for ask in [
            Ask::put(POINTS, "{}"),
            Ask::get("/collections"),
            Ask::get("/any/route"),
        ] {
            let answer = sidecar.ask(&ask).await;
            let text = answer.refusal(503);
            assert!(
                text.starts_with("Outrigger: the primary store (qdrant)"),
                "{text}"
            );
            let after = answer.retry_after();
            assert!((590..=600).contains(&after), "come back after {after} s");
        }
        // Three times the deadline, had they waited for it.
        assert!(began.elapsed() < Duration::from_secs(5));
        assert_eq!(
            upstream.heads(),
            3,
            "it was asked while it was to be left alone"
        );
        let refused = &["kind=\"breaker_open\""];
        assert_eq!(sidecar.metric("outrigger_store_errors_total", refused), 3.0);
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_comes_back_when_it_was_told_to_is_served_once_the_upstream_is_back() {
    story(async {
        let (socket, address) = refusing();
        let more = "primary.breaker_failures = 2\nprimary.breaker_open = \"1s\"";
        let sidecar = Sidecar::before(&format!("http://{address}"), more).await;
        for _ in 0..2 {
            sidecar.ask(&Ask::put(POINTS, "{}")).await.refusal(502);
        }
        let refused = sidecar.ask(&Ask::put(POINTS, "{}")).await;
        refused.refusal(503);
        let upstream = Script::on(socket.listen(64).unwrap(), |_, wire| obliges(wire));
        // What the client does, and there is nothing else to wait for.
        tokio::time::sleep(Duration::from_secs(refused.retry_after())).await;
        for _ in 0..3 {
            assert_eq!(sidecar.ask(&Ask::put(POINTS, "{}")).await.ok().text(), "ok");
        }
        assert_eq!(upstream.heads(), 3);
        assert_eq!(sidecar.metric("outrigger_breaker_state", &[]), 0.0);
        assert_eq!(sidecar.metric("outrigger_store_up", &[]), 1.0);
    });
}

#[test]
fn an_answer_however_unfriendly_closes_the_count_of_failures() {
    story(async {
        // Two failures, then an error answer, over and over: never three in a row.
        let upstream = Script::start(|before, mut wire| async move {
            wire.request().await;
            if before % 3 == 2 {
                wire.send("HTTP/1.1 500 Oh No\r\ncontent-length: 0\r\n\r\n")
                    .await;
            } else {
                wire.reset();
            }
        })
        .await;
        let more = "primary.breaker_failures = 3\nprimary.breaker_open = \"10m\"\n\
                    primary.breaker_open_max = \"10m\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for _ in 0..4 {
            for status in [502, 502, 500] {
                assert_eq!(sidecar.ask(&Ask::put(POINTS, "{}")).await.status(), status);
            }
        }
    });
}

#[test]
fn what_a_client_breaks_itself_says_nothing_about_the_upstream() {
    story(async {
        let upstream = Script::start(|_, wire| obliges(wire)).await;
        let more = "primary.breaker_failures = 1\nserver.body_timeout = \"300ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let ask = Ask::post("/collections/docs/snapshots/upload", vec![0; 300_000]);
        let bytes = ask.bytes();
        for ends in [false, true] {
            let mut wire = sidecar.connect().await;
            wire.send(&bytes[..bytes.len() - 1]).await;
            if ends {
                drop(wire);
            } else {
                assert_eq!(wire.head().await.expect("an answer").status(), 408);
            }
            sidecar.at_rest().await;
        }
        sidecar.ask(&Ask::get("/collections")).await.ok();
        assert_eq!(sidecar.metric("outrigger_breaker_state", &[]), 0.0);
    });
}

#[test]
fn a_probe_of_readiness_finds_the_upstream_well_again_while_calls_are_still_refused() {
    story(async {
        let (socket, address) = refusing();
        let more = "primary.breaker_failures = 1\nprimary.breaker_open = \"10m\"\n\
                    primary.breaker_open_max = \"10m\"";
        let sidecar = Sidecar::before(&format!("http://{address}"), more).await;
        sidecar.ask(&Ask::put(POINTS, "{}")).await.refusal(502);
        assert_eq!(sidecar.ask_admin(&Ask::get("/readyz")).await.status(), 503);
        let _upstream = Script::on(socket.listen(64).unwrap(), |_, wire| obliges(wire));
        sidecar.ask_admin(&Ask::get("/readyz")).await.ok();
        sidecar.ask(&Ask::put(POINTS, "{}")).await.refusal(503);
    });
}
