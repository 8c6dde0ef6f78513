//! Whatever the upstream does wrong, the client gets a clear answer, and soon; nothing is left.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::time::Instant;

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::pattern::Pattern;
use crate::support::script::{Script, black_hole, refusing};
use crate::support::sidecar::Sidecar;
use crate::support::upstream::Upstream;
use crate::support::wire::Framing;
use crate::support::{story, until};

const SEARCH: &str = "/collections/docs/points/search";
const POINTS: &str = "/collections/docs/points";

/// One call of each deadline, all of them set short.
fn calls() -> [(&'static str, Ask); 5] {
    [
        ("a read", Ask::post(SEARCH, "{}")),
        ("a write", Ask::put(POINTS, "{}")),
        ("a long write", Ask::put(POINTS, vec![b' '; 1_000_000])),
        (
            "a snapshot",
            Ask::post("/collections/docs/snapshots/upload", vec![0; 1_000_000]),
        ),
        ("an unknown call", Ask::get("/no/such/route")),
    ]
}

const SHORT: &str = "primary.read_timeout = \"400ms\"\nprimary.write_timeout = \"400ms\"\n\
                     primary.slow_timeout = \"400ms\"\nprimary.connect_timeout = \"400ms\"\n\
                     primary.breaker_failures = 1000";

/// Every call to an upstream that behaves so is refused so, and leaves nothing behind.
async fn refuses_every_call(url: &str, status: u16, says: &str) {
    let sidecar = Sidecar::before(url, SHORT).await;
    let host = url.trim_start_matches("http://");
    for (name, ask) in calls() {
        let began = Instant::now();
        let text = sidecar.ask(&ask).await.refusal(status);
        assert!(
            text.starts_with("Outrigger: ") && text.contains(host),
            "{name}: {text}"
        );
        assert!(text.contains(says), "{name}: {text}");
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{name} took its time"
        );
    }
    assert!(sidecar.metric("outrigger_store_errors_total", &["store=\"primary\""]) >= 5.0);
    sidecar.at_rest().await;
}

#[test]
fn an_upstream_that_refuses_connections_is_a_502() {
    story(async {
        let (_socket, address) = refusing();
        refuses_every_call(&format!("http://{address}"), 502, "refused").await;
    });
}

#[test]
fn an_upstream_that_swallows_connections_is_a_504_when_the_time_to_connect_is_over() {
    story(async {
        let (_listener, _queued, address) = black_hole().await;
        refuses_every_call(&format!("http://{address}"), 504, "").await;
    });
}

#[test]
fn who_takes_nothing_of_a_body_is_blamed_for_its_time_and_not_the_client() {
    story(async {
        let (_listener, _queued, address) = black_hole().await;
        let deaf = Script::start(|_, deaf| async move {
            std::future::pending::<()>().await;
            drop(deaf);
        })
        .await;
        for url in [format!("http://{address}"), deaf.url()] {
            let more = "primary.slow_timeout = \"1s\"\nprimary.connect_timeout = \"60s\"";
            let sidecar = Sidecar::before(&url, more).await;
            let mut wire = sidecar.connect().await;
            // More than all systems on its way keep of it.
            let head = "POST /collections/docs/snapshots/upload HTTP/1.1\r\nhost: a\r\n\
                        content-length: 67108864\r\n\r\n";
            wire.send(head).await;
            let until_it_stops = wire.try_send(vec![0; 64 << 20]);
            drop(tokio::time::timeout(Duration::from_millis(500), until_it_stops).await);
            let answer = Answer::read(&mut wire, "POST").await.expect("an answer");
            let says = answer.refusal(504);
            assert!(says.contains("did not answer in time"), "{says}");
        }
    });
}

#[test]
fn the_time_to_connect_has_a_bound_of_its_own() {
    story(async {
        let (_listener, _queued, address) = black_hole().await;
        let more = "primary.connect_timeout = \"300ms\"";
        let sidecar = Sidecar::before(&format!("http://{address}"), more).await;
        for (name, ask) in calls() {
            let began = Instant::now();
            sidecar.ask(&ask).await.refusal(504);
            // The shortest of the other bounds is a minute.
            assert!(
                began.elapsed() < Duration::from_secs(15),
                "{name} took its time"
            );
        }
        sidecar.at_rest().await;
    });
}

#[test]
fn an_upstream_that_accepts_and_never_answers_is_a_504_at_the_deadline() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move { wire.ended().await }).await;
        refuses_every_call(&upstream.url(), 504, "did not answer in time").await;
    });
}

#[test]
fn an_upstream_that_reads_everything_and_never_answers_is_a_504_at_the_deadline() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.ended().await;
        })
        .await;
        refuses_every_call(&upstream.url(), 504, "did not answer in time").await;
        // All of them were let go: each scene ended with its connection.
        upstream.saw_ends(upstream.connections()).await;
    });
}

#[test]
fn a_head_that_trickles_is_a_504_at_the_deadline() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            for byte in b"HTTP/1.1 200 OK\r\nx-long: "
                .iter()
                .chain([b'x'; 1000].iter())
            {
                if wire.try_send([*byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        refuses_every_call(&upstream.url(), 504, "did not answer in time").await;
    });
}

#[test]
fn a_short_body_that_trickles_is_a_504_at_the_deadline() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                .await;
            while wire.try_send("x").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        refuses_every_call(&upstream.url(), 504, "did not answer in time").await;
    });
}

#[test]
fn a_short_answer_that_breaks_off_is_a_502() {
    story(async {
        let answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nnot all of it",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno number\r\n",
        ];
        for answer in answers {
            for by_reset in [false, true] {
                let upstream = Script::start(move |_, mut wire| async move {
                    wire.request().await;
                    wire.send(answer).await;
                    if by_reset {
                        wire.reset();
                    }
                })
                .await;
                refuses_every_call(&upstream.url(), 502, "").await;
                assert_eq!(upstream.heads(), 5, "what began to answer was asked again");
            }
        }
    });
}

#[test]
fn garbage_in_place_of_an_answer_is_a_502() {
    story(async {
        let answers: [&[u8]; 8] = [
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"\x00\x01\x02\x03\x15\x03\x01\xff\xfe\r\n\r\n",
            b"HTTP/1.1 OK 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            b"HTTP/7.3 200 OK\r\n\r\n",
            b"{\"result\":true,\"status\":\"ok\",\"time\":0.0}",
        ];
        for answer in answers {
            let upstream = Script::start(move |_, mut wire| async move {
                wire.request().await;
                wire.send(answer).await;
                wire.ended().await;
            })
            .await;
            refuses_every_call(&upstream.url(), 502, "").await;
            assert_eq!(upstream.heads(), 5, "nonsense was asked for twice");
        }
    });
}

#[test]
fn a_head_without_end_is_a_502() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\n").await;
            while wire
                .try_send(format!("x-more: {}\r\n", "y".repeat(1000)))
                .await
                .is_ok()
            {}
        })
        .await;
        refuses_every_call(&upstream.url(), 502, "").await;
    });
}

/// How often an upstream that ends every connection before it answers is asked.
async fn attempts(ask: &Ask, by_reset: bool) -> (usize, Answer) {
    let upstream = Script::start(move |_, mut wire| async move {
        wire.request().await;
        if by_reset {
            wire.reset();
        }
    })
    .await;
    let sidecar = Sidecar::before(&upstream.url(), SHORT).await;
    let answer = sidecar.ask(ask).await;
    sidecar.at_rest().await;
    (upstream.heads(), answer)
}

#[test]
fn a_read_that_was_never_answered_is_asked_once_more() {
    story(async {
        for by_reset in [false, true] {
            for ask in [
                Ask::post(SEARCH, "{}"),
                Ask::get("/collections"),
                Ask::get("/collections/a"),
            ] {
                let (attempts, answer) = attempts(&ask, by_reset).await;
                answer.refusal(502);
                assert_eq!(attempts, 2);
            }
        }
    });
}

#[test]
fn a_write_is_never_sent_twice() {
    story(async {
        let writes = [
            Ask::put(POINTS, "{}"),
            Ask::post("/collections/docs/points/delete", "{}"),
            Ask::put("/collections/docs", "{}"),
            Ask::new("DELETE", "/collections/docs"),
            Ask::post("/collections/docs/snapshots", ""),
            Ask::get("/no/such/route"),
        ];
        for by_reset in [false, true] {
            for ask in &writes {
                let (attempts, answer) = attempts(ask, by_reset).await;
                answer.refusal(502);
                assert_eq!(attempts, 1);
            }
        }
    });
}

#[test]
fn a_write_on_a_connection_that_was_used_before_is_never_sent_twice() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while let Some((head, _)) = wire.request().await {
                if head.method() == "PUT" {
                    return wire.reset();
                }
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        })
        .await;
        let more = format!("{SHORT}\nprimary.idle_connections_max = 8");
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        for round in 1..=20 {
            sidecar.ask(&Ask::get("/collections")).await.ok();
            sidecar.ask(&Ask::put(POINTS, "{}")).await.refusal(502);
            assert_eq!(upstream.heads(), 2 * round);
        }
    });
}

#[test]
fn a_read_that_fails_once_is_served_by_the_second_try() {
    story(async {
        let upstream = Script::start(|before, mut wire| async move {
            wire.request().await;
            if before == 0 {
                wire.reset();
            } else {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let answer = sidecar.ask(&Ask::post(SEARCH, "{\"limit\":1}")).await.ok();
        assert_eq!(answer.text(), "ok");
        assert_eq!(upstream.heads(), 2);
        assert!(sidecar.metric("outrigger_store_retries_total", &[]) >= 1.0);
    });
}

#[test]
fn a_long_answer_that_breaks_off_is_seen_to_break_off() {
    story(async {
        let part = Pattern::new().first(600_000);
        for framing in ["content-length: 5000000", "transfer-encoding: chunked"] {
            let body = part.clone();
            let upstream = Script::start(move |_, mut wire| {
                let body = body.clone();
                async move {
                    wire.request().await;
                    wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))
                        .await;
                    if framing.ends_with("chunked") {
                        wire.send_chunk(&body).await;
                    } else {
                        wire.send(&body).await;
                    }
                }
            })
            .await;
            let sidecar = Sidecar::before(&upstream.url(), "").await;
            let mut wire = sidecar.connect().await;
            wire.send(Ask::get("/collections/docs/snapshots/x").bytes())
                .await;
            let head = wire.head().await.unwrap();
            assert_eq!(head.status(), 200);
            let body = wire.body(head.framing_of_answer()).await;
            assert!(
                body.is_err(),
                "{framing}: the client takes a part for the whole"
            );
            let broken = &["kind=\"broken_answer\""];
            assert!(sidecar.metric("outrigger_store_errors_total", broken) >= 1.0);

            let mut client = H2::connect(sidecar.proxy()).await;
            let answer = client
                .ask(request("GET", "/collections/docs/snapshots/x", ""))
                .await;
            assert!(
                answer.is_err(),
                "{framing}: over HTTP/2 a part is taken for the whole"
            );
            drop(client);
            sidecar.at_rest().await;
        }
    });
}

#[test]
fn a_long_answer_that_stalls_is_given_up_and_seen_to_break_off() {
    story(async {
        let upstream = Script::start(move |_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\n\r\n")
                .await;
            wire.send(Pattern::new().first(600_000)).await;
            wire.ended().await;
        })
        .await;
        let more = "server.body_timeout = \"500ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::get("/collections/docs/snapshots/x").bytes())
            .await;
        let head = wire.head().await.unwrap();
        assert!(wire.body(head.framing_of_answer()).await.is_err());
        upstream.saw_ends(1).await;
        sidecar.at_rest().await;
    });
}

#[test]
fn what_follows_a_body_is_never_taken_for_the_next_answer() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                let stray = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok{stray}");
                if wire.try_send(answer).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let more = "primary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for _ in 0..50 {
            let answer = sidecar.ask(&Ask::get("/collections")).await;
            assert_ne!(answer.text(), "stray", "an answer went to the wrong client");
        }
    });
}

#[test]
fn a_write_meets_no_connection_that_was_closed_while_it_lay_idle() {
    story(async {
        // What some servers say before they close, and what others do not.
        for farewell in [
            "",
            "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n",
        ] {
            let upstream = Script::start(move |_, mut wire| async move {
                wire.request().await;
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
                wire.send(farewell).await;
            })
            .await;
            let more = "primary.idle_connections_max = 8";
            let sidecar = Sidecar::before(&upstream.url(), more).await;
            for round in 1..=10 {
                let answer = sidecar.ask(&Ask::put(POINTS, "{}")).await.ok();
                assert_eq!(answer.text(), "ok");
                upstream.saw_ends(round).await;
                // The upstream has closed; the news has still to reach the other side.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
}

#[test]
fn the_answer_to_a_call_that_was_given_up_reaches_nobody_else() {
    story(async {
        let (release, released) = tokio::sync::watch::channel(false);
        let upstream = Script::start(move |_, mut wire| {
            let mut released = released.clone();
            async move {
                while let Some((head, _)) = wire.request().await {
                    let name = head.field("x-name").unwrap();
                    if name == "given up" {
                        drop(released.wait_for(|released| *released).await);
                    }
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", name.len());
                    if wire.try_send([head, name].concat()).await.is_err() {
                        return;
                    }
                }
            }
        })
        .await;
        let more = "primary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let ask = |name: &str| Ask::post(SEARCH, "{}").with("x-name", name);
        sidecar.ask(&ask("before")).await.ok();
        let mut wire = sidecar.connect().await;
        wire.send(ask("given up").bytes()).await;
        upstream.saw_heads(2).await;
        drop(wire);
        let open = &["listener=\"proxy\""];
        let gone = async || sidecar.metric("outrigger_connections", open) == 0.0;
        until("the client is seen to be gone", gone).await;
        release.send_replace(true);
        for number in 0..20 {
            let name = format!("number {number}");
            assert_eq!(sidecar.ask(&ask(&name)).await.ok().text(), name);
        }
    });
}

#[test]
fn a_connection_on_which_a_body_was_cut_short_is_not_used_again() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while let Some(head) = wire.head().await {
                if head.method() == "POST" {
                    // Answered without having read the body; whatever comes next is the body.
                    wire.send("HTTP/1.1 400 No\r\ncontent-length: 2\r\n\r\nno")
                        .await;
                } else {
                    wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                }
            }
        })
        .await;
        let more = "primary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for _ in 0..10 {
            sidecar.ask(&Ask::get("/collections")).await.ok();
            let ask = Ask::post("/collections/docs/snapshots/upload", vec![b'\n'; 3_000_000]);
            let mut wire = sidecar.connect().await;
            wire.send(ask.head_bytes()).await;
            assert_eq!(wire.head().await.expect("an answer").status(), 400);
            drop(wire);
            assert_eq!(
                sidecar.ask(&Ask::get("/collections")).await.ok().text(),
                "ok"
            );
        }
    });
}

#[test]
fn a_body_longer_than_said_is_cut_where_it_was_said_to_end() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok and more")
                .await;
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        for _ in 0..2 {
            assert_eq!(
                Ask::get("/collections").over(&mut wire).await.ok().text(),
                "ok"
            );
        }
    });
}

#[test]
fn a_refusal_that_comes_while_the_client_still_writes_reaches_it() {
    story(async {
        let refusal = "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\ntoo big";
        for reads_on in [false, true] {
            let upstream = Script::start(move |_, mut wire| async move {
                let head = wire.head().await.unwrap();
                wire.send(refusal).await;
                if reads_on {
                    drop(wire.body(head.framing_of_request()).await);
                }
                wire.end_writing().await;
                wire.ended().await;
            })
            .await;
            let sidecar = Sidecar::before(&upstream.url(), "").await;
            let ask = Ask::post("/collections/docs/snapshots/upload", vec![0; 20_000_000]);
            let mut wire = sidecar.connect().await;
            wire.send(ask.head_bytes()).await;
            let head = wire
                .head()
                .await
                .expect("the refusal, before the body has gone");
            assert_eq!(head.status(), 400);
            assert_eq!(
                wire.body(head.framing_of_answer()).await.unwrap(),
                b"too big"
            );
            drop(wire);
            sidecar.at_rest().await;
        }
    });
}

#[test]
fn an_answer_that_ends_with_the_connection_is_whole_when_it_ends_well() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.0 200 OK\r\n\r\nall of it").await;
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        let answer = Ask::get("/collections").over(&mut wire).await.ok();
        assert_eq!(answer.text(), "all of it");
        assert_ne!(answer.head.framing_of_answer(), Framing::UntilClose);
        Ask::get("/collections").over(&mut wire).await.ok();
    });
}

#[test]
fn a_client_that_asks_for_patience_gets_it() {
    story(async {
        let upstream = Upstream::answering(|_| Response::new(Bytes::from("late"))).await;
        upstream.hold();
        let more = "primary.read_timeout = \"200ms\"\nprimary.write_timeout = \"200ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        // Without its own word the deadline is the short one.
        sidecar.ask(&Ask::post(SEARCH, "{}")).await.refusal(504);
        let patient = format!("{SEARCH}?timeout=60");
        let ask = Ask::post(&patient, "{}");
        let (answer, ()) = tokio::join!(sidecar.ask(&ask), async {
            upstream.saw(2).await;
            // Longer than the short deadline: were it in force, the answer would be 504.
            tokio::time::sleep(Duration::from_millis(600)).await;
            upstream.release();
        });
        assert_eq!(answer.ok().text(), "late");
    });
}

#[test]
fn no_number_that_a_client_asks_to_wait_does_harm() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let numbers = [
            "0",
            "1",
            "-1",
            "1e9",
            "",
            "x",
            "4294967296",
            "9223372036854775807",
            "18446744073709551615",
            "18446744073709551614",
            "99999999999999999999",
        ];
        let routes = [
            SEARCH,
            "/collections/docs/points/delete",
            "/collections/aliases",
        ];
        for number in numbers {
            for route in routes {
                let route = format!("{route}?timeout={number}");
                sidecar.ask(&Ask::post(&route, "{}")).await.ok();
            }
        }
        assert_eq!(sidecar.metric("outrigger_request_panics_total", &[]), 0.0);
    });
}

#[test]
fn an_interim_answer_is_passed_over() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
                    .await;
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        for ask in [Ask::post(SEARCH, "{}"), Ask::put(POINTS, "{}")] {
            assert_eq!(ask.over(&mut wire).await.ok().text(), "ok");
        }
    });
}

#[test]
fn an_upstream_over_http_2_that_goes_away_is_a_502() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            // Whatever it reads is no HTTP/1, and it says nothing that is HTTP/2.
            drop(wire.some().await);
        })
        .await;
        let more = format!("{SHORT}\nprimary.http2 = true");
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        for ask in [Ask::post(SEARCH, "{}"), Ask::put(POINTS, "{}")] {
            sidecar.ask(&ask).await.refusal(502);
        }
        sidecar.at_rest().await;
    });
}
