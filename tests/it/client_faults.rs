//! Whatever a client does wrong, it costs its own request at most; nothing is left of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

const SEARCH: &str = "/collections/docs/points/search";
const DOWNLOAD: &str = "/collections/docs/snapshots/big";

/// Reads requests and never answers them; a scene ends when its connection does.
async fn silent() -> Script {
    Script::start(|_, mut wire| async move {
        wire.request().await;
        wire.ended().await;
    })
    .await
}

/// Answers with a body that has no end.
async fn endless() -> Script {
    Script::start(|_, mut wire| async move {
        wire.request().await;
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
        let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
        while wire.try_send(&piece).await.is_ok() {}
    })
    .await
}

#[test]
fn a_client_that_hangs_up_while_it_waits_ends_the_call_to_the_upstream() {
    story(async {
        let upstream = silent().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let asks = [
            Ask::post(SEARCH, "{}"),
            Ask::get("/collections"),
            Ask::get("/no/such/route"),
            Ask::post(SEARCH, vec![b' '; 200_000]),
            Ask::get("/collections").with("connection", "close"),
        ];
        for (before, ask) in asks.iter().enumerate() {
            let mut wire = sidecar.connect().await;
            wire.send(ask.bytes()).await;
            upstream.saw_heads(before + 1).await;
            if before % 2 == 0 {
                drop(wire);
            } else {
                wire.reset();
            }
            upstream.saw_ends(before + 1).await;
            sidecar.at_rest().await;
        }
    });
}

#[test]
fn a_client_of_http_2_that_gives_a_request_up_ends_the_call_to_the_upstream() {
    story(async {
        let upstream = silent().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let waiting = client.clone();
        let given_up = tokio::time::timeout(Duration::from_secs(60), async {
            let mut waiting = waiting;
            waiting.ask(request("POST", SEARCH, "{}")).await
        });
        tokio::select! {
            _ = given_up => panic!("nobody was to answer"),
            () = upstream.saw_heads(1) => (),
        }
        upstream.saw_ends(1).await;
        // Its connection lives on.
        let asked = client.head(request("GET", "/collections", ""));
        tokio::select! {
            _ = asked => panic!("nobody was to answer"),
            () = upstream.saw_heads(2) => (),
        }
        drop(client);
        upstream.saw_ends(2).await;
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_hangs_up_amid_its_answer_ends_the_call_to_the_upstream() {
    story(async {
        let upstream = endless().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for by_reset in [false, true] {
            let mut wire = sidecar.connect().await;
            wire.send(Ask::get(DOWNLOAD).bytes()).await;
            assert_eq!(wire.head().await.unwrap().status(), 200);
            wire.some().await;
            if by_reset {
                wire.reset();
            } else {
                drop(wire);
            }
            upstream.saw_ends(1 + usize::from(by_reset)).await;
            sidecar.at_rest().await;
        }
        let mut client = H2::connect(sidecar.proxy()).await;
        drop(client.head(request("GET", DOWNLOAD, "")).await.unwrap());
        upstream.saw_ends(3).await;
        drop(client);
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_hangs_up_amid_its_own_body_leaves_no_whole_request_behind() {
    story(async {
        let upstream = silent().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for route in [
            SEARCH,
            "/collections/docs/points",
            "/collections/docs/snapshots/upload",
        ] {
            for chunked in [false, true] {
                for length in [1000, 1_000_000] {
                    let whole = Ask::post(route, vec![b' '; length]);
                    let whole = if chunked { whole.chunked() } else { whole };
                    let mut wire = sidecar.connect().await;
                    let bytes = whole.bytes();
                    wire.send(&bytes[..bytes.len() - 100]).await;
                    drop(wire);
                    sidecar.at_rest().await;
                }
            }
        }
        // `silent` would wait for the end of each connection only after a whole request; either
        // way all have ended, and none was whole.
        upstream.saw_ends(upstream.connections()).await;
        assert_eq!(
            sidecar.metric("outrigger_requests_total", &["status=\"200\""]),
            0.0
        );
    });
}

#[test]
fn a_body_shorter_than_its_length_is_a_400_and_never_reaches_the_upstream_whole() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for length in [1000, 1_000_000] {
            let ask = Ask::post(SEARCH, vec![b' '; length]);
            let mut wire = sidecar.connect().await;
            let bytes = ask.bytes();
            wire.send(&bytes[..bytes.len() - 100]).await;
            wire.end_writing().await;
            // Whoever has said all it will say may still listen, or may be cut off.
            if let Some(answer) = Answer::read(&mut wire, "POST").await {
                answer.refusal(400);
            }
            sidecar.at_rest().await;
        }
        assert_eq!(upstream.seen().len(), 0, "a part was taken for the whole");
    });
}

#[test]
fn a_body_that_stalls_is_a_408() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.body_timeout = \"400ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let routes = [
            SEARCH,
            "/collections/docs/points",
            "/collections/docs/snapshots/upload",
        ];
        for route in routes {
            for length in [1000, 1_000_000] {
                let ask = Ask::post(route, vec![b' '; length]);
                let mut wire = sidecar.connect().await;
                let bytes = ask.bytes();
                wire.send(&bytes[..bytes.len() - 100]).await;
                let answer = Answer::read(&mut wire, "POST").await.expect("an answer");
                answer.refusal(408);
                drop(wire);
                sidecar.at_rest().await;
            }
        }
        assert_eq!(upstream.seen().len(), 0);
    });
}

/// Sends a head that would take minutes, until nobody listens; how long that took.
async fn trickle(wire: &mut Wire) -> Duration {
    let began = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nx-long: {}", "y".repeat(3_000));
    for byte in head.as_bytes() {
        if wire.try_send([*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[test]
fn a_head_that_trickles_is_given_up_when_the_time_for_heads_is_over() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.header_timeout = \"400ms\"\nserver.idle_timeout = \"10m\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let new = async |idle_for: Option<Duration>| {
            let mut wire = sidecar.connect().await;
            if let Some(idle_for) = idle_for {
                Ask::get("/collections").over(&mut wire).await.ok();
                tokio::time::sleep(idle_for).await;
            }
            // Not exact, on a machine that is busy; but no minutes, and not the time to be idle.
            let took = trickle(&mut wire).await;
            assert!(
                took < Duration::from_secs(15),
                "{took:?} after {idle_for:?}"
            );
            wire.ended().await;
        };
        let second = Duration::from_secs(1);
        tokio::join!(new(None), new(Some(Duration::ZERO)), new(Some(second)));
        assert!(sidecar.metric("outrigger_connections_gave_up_total", &[]) >= 3.0);
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_says_nothing_is_given_up_and_counted() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.header_timeout = \"300ms\"\nserver.idle_timeout = \"300ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut silent = sidecar.connect().await;
        silent.ended().await;
        // The begin of a POST is the begin of HTTP/2's preface too.
        let mut undecided = sidecar.connect().await;
        undecided.send("P").await;
        undecided.ended().await;
        let mut idle = sidecar.connect().await;
        Ask::get("/collections").over(&mut idle).await.ok();
        idle.ended().await;
        sidecar.at_rest().await;
        assert_eq!(
            sidecar.metric("outrigger_connections_gave_up_total", &[]),
            3.0
        );
    });
}

#[test]
fn a_client_that_stops_reading_its_answer_is_given_up() {
    story(async {
        let upstream = endless().await;
        let more = "server.body_timeout = \"500ms\"\nserver.idle_timeout = \"10m\"\n\
                    server.header_timeout = \"10m\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::get(DOWNLOAD).bytes()).await;
        // From here on nothing is read; what the kernel takes for us is bounded.
        upstream.saw_ends(1).await;
        sidecar.at_rest().await;
        drop(wire);
    });
}

#[test]
fn a_client_of_http_2_that_stops_reading_its_answer_is_given_up() {
    story(async {
        let upstream = endless().await;
        let more = "server.body_timeout = \"500ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let answer = client.head(request("GET", DOWNLOAD, "")).await.unwrap();
        let given_up = tokio::time::timeout(Duration::from_secs(30), upstream.saw_ends(1)).await;
        assert!(given_up.is_ok(), "it holds a place for as long as it likes");
        drop((answer, client));
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_reads_slowly_is_served_to_the_end() {
    story(async {
        let body = vec![b'x'; 3_000_000];
        let whole = body.clone();
        let upstream = Script::start(move |_, mut wire| {
            let body = body.clone();
            async move {
                wire.request().await;
                wire.send(format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                ))
                .await;
                wire.send(&body).await;
            }
        })
        .await;
        let more = "server.body_timeout = \"3s\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::get(DOWNLOAD).bytes()).await;
        wire.head().await.unwrap();
        let mut read = 0;
        while read < whole.len() {
            let piece = wire.some().await;
            assert!(!piece.is_empty(), "cut off after {read} bytes");
            read += piece.len();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_client_of_http_2_that_reads_slowly_is_served_to_the_end() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 3000000\r\n\r\n")
                .await;
            wire.send(vec![b'x'; 3_000_000]).await;
            wire.ended().await;
        })
        .await;
        let more = "server.body_timeout = \"3s\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut client = H2::connect(sidecar.proxy()).await;
        let mut body = client
            .head(request("GET", DOWNLOAD, ""))
            .await
            .unwrap()
            .into_body();
        let mut read = 0;
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            read += frame.unwrap().into_data().unwrap().len();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(read, 3_000_000);
    });
}

#[test]
fn what_is_no_http_is_refused_and_leaves_nothing() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let nonsense: [&[u8]; 9] = [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"SSH-2.0-client\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nbad name: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n",
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nthese are no frames of HTTP/2 at all, at all",
        ];
        for bytes in nonsense {
            let mut wire = sidecar.connect().await;
            wire.send(bytes).await;
            // Some say nothing that ends; they have said what they had to say.
            wire.end_writing().await;
            wire.ended().await;
            sidecar.at_rest().await;
        }
        assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
        sidecar.ask(&Ask::get("/collections")).await.ok();
    });
}

#[test]
fn a_flood_of_connections_that_say_nothing_keeps_nobody_else_out() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.header_timeout = \"2s\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(sidecar.connect().await);
        }
        let began = Instant::now();
        for _ in 0..20 {
            sidecar.ask(&Ask::get("/collections")).await.ok();
        }
        assert!(began.elapsed() < Duration::from_secs(20));
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_that_gives_up_after_its_write_was_sent_is_no_failure_of_the_store() {
    story(async {
        let upstream = silent().await;
        let more = "primary.breaker_failures = 1";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for number in 1..=5 {
            let mut wire = sidecar.connect().await;
            wire.send(Ask::post(SEARCH, "{}").bytes()).await;
            upstream.saw_heads(number).await;
            drop(wire);
            sidecar.at_rest().await;
        }
        assert_eq!(sidecar.metric("outrigger_breaker_state", &[]), 0.0);
    });
}

#[test]
fn a_thousand_clients_cut_off_anywhere_leave_nothing() {
    story(async {
        let seed: u64 = rand::random();
        println!("seed {seed}");
        let mut random = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(seed);
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let whole = Ask::post(SEARCH, vec![b' '; 2000]).bytes();
        for _ in 0..1000 {
            let cut = rand::RngExt::random_range(&mut random, 0..=whole.len());
            let mut wire: Wire = sidecar.connect().await;
            wire.send(&whole[..cut]).await;
            match cut % 3 {
                0 => wire.reset(),
                1 => wire.end_writing().await,
                _ => drop(wire),
            }
        }
        sidecar.at_rest().await;
        sidecar.ask(&Ask::get("/collections")).await.ok();
    });
}
