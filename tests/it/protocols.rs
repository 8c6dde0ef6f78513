//! Old and new versions of HTTP, from clients and towards the upstream.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, Version};

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::pattern::Pattern;
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::{Speaks, Upstream};
use crate::support::wire::Framing;

#[test]
fn a_client_of_http_1_0_is_served_and_its_connection_closed() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        wire.send("POST /collections/docs/points HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
            .await;
        let answer = Answer::read(&mut wire, "POST").await.unwrap().ok();
        assert_eq!(answer.text(), "{}");
        wire.ended().await;
        assert_eq!(upstream.only().version, Version::HTTP_11);
    });
}

#[test]
fn a_client_of_http_1_0_is_never_sent_chunks() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                for _ in 0..100 {
                    wire.send_chunk(&Pattern::new().first(10_000)).await;
                }
                wire.send("0\r\n\r\n").await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        wire.send("GET /collections/docs/snapshots/x HTTP/1.0\r\n\r\n")
            .await;
        let head = wire.head().await.unwrap();
        assert_eq!(head.field("transfer-encoding"), None);
        let body = wire.body(Framing::UntilClose).await.unwrap();
        assert_eq!(body.len(), 1_000_000);
    });
}

#[test]
fn a_client_of_http_1_0_that_asks_to_keep_the_connection_may() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        for _ in 0..2 {
            wire.send("GET /collections HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
                .await;
            Answer::read(&mut wire, "GET")
                .await
                .expect("an answer")
                .ok();
        }
    });
}

#[test]
fn a_client_that_knows_that_we_speak_http_2_is_served() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let pattern = Pattern::new();
        for (route, length) in [
            ("/collections/a%20b/points/search?x=y", 1000),
            ("/no/such/route", 3_000_000),
        ] {
            let body = pattern.first(length);
            let mut asked = request("POST", route, body.clone());
            asked
                .headers_mut()
                .insert("x-own", http::HeaderValue::from_static("kept"));
            let answer = client.ask(asked).await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(*answer.body() == body);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!((seen.version, &*seen.target), (Version::HTTP_11, route));
            assert_eq!(seen.field("x-own").as_deref(), Some("kept"));
            assert_eq!(seen.field("host"), Some(upstream.address.to_string()));
            assert!(seen.body == body);
        }
    });
}

#[test]
fn an_answer_over_http_2_carries_no_field_of_http_1s_connections() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                let fields = "connection: keep-alive\r\nkeep-alive: timeout=5\r\n";
                let head = format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n");
                wire.send(head).await;
                wire.send_chunk(b"ok").await;
                wire.send("0\r\n\r\n").await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut client = H2::connect(sidecar.proxy()).await;
        // The client refuses an answer that has one of them.
        let answer = client
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
        assert_eq!(answer.body(), "ok");
    });
}

#[test]
fn many_requests_share_one_connection_of_http_2() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let client = H2::connect(sidecar.proxy()).await;
        upstream.hold();
        let one = async |number: usize| {
            let body = format!("request {number}");
            let asked = request("POST", "/collections/docs/points/query", body.clone());
            let answer = client.clone().ask(asked).await.unwrap();
            assert_eq!(*answer.body(), body);
        };
        let all = futures_util::future::join_all((0..50).map(one));
        tokio::join!(all, async {
            upstream.saw(50).await;
            upstream.release();
        });
        drop(client);
        sidecar.at_rest().await;
    });
}

#[test]
fn an_idle_connection_of_http_2_lives_for_the_idle_time_and_pings_do_not_shorten_it() {
    story(async {
        let upstream = Upstream::echo().await;
        // A ping that is taken for the begin of a head would end the connection.
        let more = "server.header_timeout = \"400ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut client = H2::pinging(sidecar.proxy(), Duration::from_millis(100)).await;
        client
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
        // Nothing tells that a connection is *not* closed, but time.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        client
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
    });
}

#[test]
fn an_upstream_can_be_asked_over_http_2() {
    story(async {
        let upstream =
            Upstream::speaking(Speaks::Http2, |seen| Response::new(seen.body.clone())).await;
        let more = "primary.http2 = true\nprimary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let pattern = Pattern::new();
        for (route, length) in [
            ("/collections/docs/points?wait=true", 1000),
            ("/x", 3_000_000),
        ] {
            let body = pattern.first(length);
            let ask = Ask::put(route, body.clone()).with("connection", "x-gone");
            let ask = ask
                .with("x-gone", "1")
                .with("x-own", "kept")
                .with("te", "trailers");
            let answer = sidecar.ask(&ask).await.ok();
            assert!(answer.body == body);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!((seen.version, &*seen.target), (Version::HTTP_2, route));
            assert_eq!(seen.field("x-own").as_deref(), Some("kept"));
            assert_eq!(seen.field("x-gone"), None);
            assert!(seen.body == body);
        }
        assert_eq!(
            upstream.connections(),
            1,
            "HTTP/2 needs one connection only"
        );
    });
}

#[test]
fn http_2_on_both_sides_passes_a_refusal_as_it_is() {
    story(async {
        let upstream = Upstream::speaking(Speaks::Http2, |_| {
            let mut answer = Response::new(Bytes::from("not here"));
            *answer.status_mut() = http::StatusCode::NOT_FOUND;
            answer
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "primary.http2 = true").await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let answer = client
            .ask(request("GET", "/collections/none", ""))
            .await
            .unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (404, &b"not here"[..])
        );
    });
}
