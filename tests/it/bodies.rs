//! Bodies: every length, both ways, byte for byte, however their ends are told.

use bytes::Bytes;
use http::Response;

use crate::support::ask::{Answer, Ask};
use crate::support::pattern::Pattern;
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;

/// One route for each way that a body is treated: read whole while it is small, streamed, and not
/// looked at.
const ROUTES: [&str; 4] = [
    "/collections/docs/points/search",
    "/collections/docs/points/payload",
    "/collections/docs/snapshots/upload",
    "/no/such/route",
];

const LENGTHS: [usize; 6] = [0, 1, 10 * 1024, 64 * 1024, 64 * 1024 + 1, 1024 * 1024];

#[test]
fn bodies_of_every_length_arrive_byte_for_byte_and_come_back_so() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let pattern = Pattern::new();
        for route in ROUTES {
            for length in LENGTHS {
                let body = pattern.first(length);
                let ask = Ask::post(route, body.clone());
                for ask in [ask.clone(), ask.chunked()] {
                    let answer = sidecar.ask(&ask).await.ok();
                    let seen = upstream.seen().pop().unwrap();
                    assert!(seen.body == body, "{length} bytes to {route}");
                    assert!(answer.body == body, "{length} bytes from {route}");
                }
            }
        }
    });
}

#[test]
fn forty_megabytes_arrive_byte_for_byte_and_come_back_so() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let body = Pattern::new().first(40 * 1024 * 1024);
        // Both ways at once would need a reader beside the writer, were the upstream not to read
        // all before it answers.
        for ask in [
            Ask::post("/no/such/route", body.clone()),
            Ask::post("/other", body.clone()).chunked(),
        ] {
            let answer = sidecar.ask(&ask).await.ok();
            assert!(upstream.seen().pop().unwrap().body == body);
            assert!(answer.body == body);
        }
    });
}

#[test]
fn answers_arrive_whole_however_their_end_is_told() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            let pattern = Pattern::new();
            while let Some((head, _)) = wire.request().await {
                let mut words = head.target().trim_start_matches('/').split('/');
                let (how, length) = (words.next().unwrap(), words.next().unwrap());
                let body = pattern.first(length.parse().unwrap());
                match how {
                    "length" => {
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        wire.send([head.as_bytes(), &body].concat()).await;
                    }
                    "chunks" => {
                        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                            .await;
                        for chunk in body.chunks(7_777) {
                            wire.send_chunk(chunk).await;
                        }
                        wire.send("0\r\n\r\n").await;
                    }
                    _ => {
                        wire.send("HTTP/1.1 200 OK\r\n\r\n").await;
                        return wire.send(body).await;
                    }
                }
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let pattern = Pattern::new();
        for how in ["length", "chunks", "close"] {
            // Around the length up to which an answer is gathered before it goes on.
            for length in [0, 1, 10_240, 262_143, 262_144, 262_145, 1_000_000] {
                let answer = sidecar
                    .ask(&Ask::get(&format!("/{how}/{length}")))
                    .await
                    .ok();
                assert!(answer.body == pattern.first(length), "{how} {length}");
            }
        }
    });
}

#[test]
fn a_client_that_asks_whether_to_go_on_is_told_to_by_this_hop() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for (route, length) in [
            ("/collections/docs/points", 1000),
            ("/no/such/route", 2_000_000),
        ] {
            let body = Pattern::new().first(length);
            let ask = Ask::post(route, body.clone()).with("expect", "100-continue");
            let mut wire = sidecar.connect().await;
            wire.send(ask.head_bytes()).await;
            assert_eq!(wire.head().await.unwrap().status(), 100, "{route}");
            wire.send(&body).await;
            let answer = Answer::read(&mut wire, "POST").await.unwrap().ok();
            assert!(answer.body == body);
            let seen = upstream.seen().pop().unwrap();
            assert_eq!(seen.field("expect"), None);
        }
    });
}

#[test]
fn a_body_whose_end_is_told_twice_goes_on_with_one_end() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while let Some(head) = wire.head().await {
                let both = head.field("content-length").is_some()
                    && head.field("transfer-encoding").is_some();
                let body = wire.body(head.framing_of_request()).await.unwrap();
                let said = format!("{both} {}", String::from_utf8_lossy(&body));
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len());
                wire.send([head, said].concat()).await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        // Whoever goes by the length takes the rest for a second request.
        wire.send(
            "POST /collections/docs/points HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\
             transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        )
        .await;
        let answer = Answer::read(&mut wire, "POST").await;
        if let Some(answer) = answer.filter(|answer| answer.status() == 200) {
            assert_eq!(answer.text(), "false hello");
        }
        assert!(upstream.heads() <= 1, "one request became two");
    });
}

#[test]
fn trailers_of_a_request_do_not_break_it() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for route in ROUTES {
            let mut wire = sidecar.connect().await;
            let head =
                format!("POST {route} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n");
            wire.send(format!(
                "{head}trailer: x-sum\r\n\r\n2\r\n{{}}\r\n0\r\nx-sum: 1\r\n\r\n"
            ))
            .await;
            assert_eq!(
                Answer::read(&mut wire, "POST").await.unwrap().ok().text(),
                "{}"
            );
        }
    });
}

#[test]
fn many_bodies_at_once_stay_apart() {
    story(async {
        let upstream =
            Upstream::answering(|seen| Response::new(Bytes::from(seen.body.to_vec()))).await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let pattern = Pattern::new();
        let one = async |number: usize| {
            let mut body = pattern.first(50_000 + number);
            body[..8].copy_from_slice(&number.to_le_bytes());
            let answer = sidecar
                .ask(&Ask::post("/collections/d/points/query", body.clone()))
                .await;
            assert!(answer.ok().body == body, "{number}");
        };
        futures_util::future::join_all((0..64).map(one)).await;
    });
}
