//! Limits on what is served at one time: whoever is beyond them is told so at once.

use std::cell::Cell;
use std::time::Duration;

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::process::Process;
use crate::support::script::Script;
use crate::support::sidecar::{Sidecar, in_front_of, sum_of};
use crate::support::story;
use crate::support::until;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;

const SEARCH: &str = "/collections/docs/points/search";

#[test]
fn a_connection_beyond_the_limit_is_told_so_and_closed() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.connections_max = 2";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let (mut one, mut two) = (sidecar.connect().await, sidecar.connect().await);
        for wire in [&mut one, &mut two] {
            Ask::get("/collections").over(wire).await.ok();
        }
        let mut three = sidecar.connect().await;
        let refused = Ask::get("/collections").over(&mut three).await;
        assert!(refused.refusal(503).contains("connections_max"));
        assert!(refused.retry_after() >= 1);
        three.ended().await;
        assert_eq!(
            sidecar.metric(
                "outrigger_connections_refused_total",
                &["listener=\"proxy\""]
            ),
            1.0
        );
        // Those who are in are served on.
        Ask::get("/collections").over(&mut one).await.ok();
        drop(two);
        let open = &["listener=\"proxy\""];
        until("a place is free", async || {
            sidecar.metric("outrigger_connections", open) < 2.0
        })
        .await;
        sidecar.ask(&Ask::get("/collections")).await.ok();
    });
}

#[test]
fn a_connection_of_http_2_beyond_the_limit_is_told_so() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "server.connections_max = 1").await;
        let mut one = sidecar.connect().await;
        Ask::get("/collections").over(&mut one).await.ok();
        let mut client = H2::connect(sidecar.proxy()).await;
        let refused = client
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
    });
}

#[test]
fn connections_beyond_the_limit_that_say_nothing_leave_nothing() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "server.connections_max = 1\nserver.header_timeout = \"300ms\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut one = sidecar.connect().await;
        Ask::get("/collections").over(&mut one).await.ok();
        let mut silent = Vec::new();
        for _ in 0..300 {
            silent.push(sidecar.connect().await);
        }
        sidecar
            .until_metric("outrigger_connections_refused_total", &[], 300.0)
            .await;
        for wire in &mut silent {
            wire.ended().await;
        }
        drop(one);
        sidecar.at_rest().await;
    });
}

#[test]
fn a_request_beyond_the_limit_is_told_so_and_probes_pass() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "server.requests_max = 1").await;
        upstream.hold();
        let mut held = sidecar.connect().await;
        held.send(Ask::post(SEARCH, "{}").bytes()).await;
        upstream.saw(1).await;
        for ask in [
            Ask::post(SEARCH, "{}"),
            Ask::get("/collections"),
            Ask::get("/metrics"),
        ] {
            let refused = sidecar.ask(&ask).await;
            assert!(refused.refusal(503).contains("requests_max"));
            assert!(refused.retry_after() >= 1);
        }
        let shed = &["reason=\"requests_max\""];
        assert_eq!(sidecar.metric("outrigger_requests_shed_total", shed), 3.0);
        let probes = ["/healthz", "/livez", "/readyz", "/"].map(Ask::get);
        for (so_far, probe) in probes.iter().enumerate() {
            let mut wire = sidecar.connect().await;
            wire.send(probe.bytes()).await;
            upstream.saw(2 + so_far).await;
        }
        upstream.release();
        Answer::read(&mut held, "POST").await.unwrap().ok();
        drop(held);
        sidecar.at_rest().await;
        sidecar.ask(&Ask::post(SEARCH, "{}")).await.ok();
    });
}

#[test]
fn a_place_is_given_back_only_when_the_answer_has_been_sent() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
                .await;
            drop(wire.try_send(vec![b'x'; 50_000_000]).await);
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "server.requests_max = 1").await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::get("/collections/docs/snapshots/x").bytes())
            .await;
        let head = wire.head().await.unwrap();
        // The answer has begun; most of it is still on its way.
        sidecar.ask(&Ask::get("/collections")).await.refusal(503);
        assert_eq!(
            wire.body(head.framing_of_answer()).await.unwrap().len(),
            50_000_000
        );
        drop(wire);
        sidecar.at_rest().await;
        assert_ne!(sidecar.ask(&Ask::get("/collections")).await.status(), 503);
    });
}

#[test]
fn small_bodies_of_unknown_length_do_not_keep_each_other_waiting() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        upstream.hold();
        // All at once: what a body *may* become must not count as what it is.
        let one = async |_| {
            sidecar
                .ask(&Ask::post(SEARCH, "{\"limit\":1}").chunked())
                .await
                .ok();
        };
        let all = futures_util::future::join_all((0..100).map(one));
        let released = async {
            upstream.saw(100).await;
            upstream.release();
        };
        tokio::join!(all, released);
        sidecar.at_rest().await;
    });
}

#[test]
fn bodies_of_unknown_length_that_do_not_come_on_keep_nobody_else_out() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "server.body_timeout = \"60s\"").await;
        let begun = Ask::put("/collections/docs/points", "{}")
            .chunked()
            .head_bytes();
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut wire = sidecar.connect().await;
            wire.send(&begun).await;
            wire.send_chunk(b"{\"points\":[").await;
            stalled.push(wire);
        }
        let busy = async || sidecar.metric("outrigger_requests_in_flight", &[]) >= 20.0;
        until("all of them are under way", busy).await;
        for ask in [
            Ask::post(SEARCH, "{}"),
            Ask::put("/collections/docs/points", "{}"),
        ] {
            let answered = tokio::time::timeout(Duration::from_secs(20), async {
                sidecar.ask(&ask.chunked()).await.ok()
            });
            answered.await.expect("it is served while others dawdle");
        }
        drop(stalled);
        sidecar.at_rest().await;
    });
}

#[test]
fn large_bodies_beyond_the_memory_set_aside_for_them_are_told_to_come_back() {
    story(async {
        let upstream = Upstream::echo().await;
        // Room for two of the largest kind.
        let more = "max_body = \"40MiB\"\nserver.body_timeout = \"1s\"";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let ask = Ask::put("/collections/docs/points", vec![b' '; 40 << 20]);
        // More than the sockets hold between them: so much of it has been read, and has its room.
        let begun = Cell::new(0);
        let keeps_coming = async || {
            let mut wire = sidecar.connect().await;
            wire.send(ask.head_bytes()).await;
            wire.send(vec![b' '; 16 << 20]).await;
            begun.set(begun.get() + 1);
            while wire.try_send(" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let third = async {
            until("the others have their room", async || begun.get() == 2).await;
            let mut wire = sidecar.connect().await;
            wire.send(ask.head_bytes()).await;
            let refused = Answer::read(&mut wire, "PUT").await.expect("an answer");
            assert!(refused.refusal(503).contains("max_body"));
            assert!(refused.retry_after() >= 1);
        };
        tokio::select! {
            ((), ()) = futures_util::future::join(keeps_coming(), keeps_coming()) => panic!("cut off"),
            () = third => (),
        }
        let shed = &["reason=\"body_memory\""];
        assert_eq!(sidecar.metric("outrigger_requests_shed_total", shed), 1.0);
        sidecar.at_rest().await;
        // The room is given back.
        let mut wire = sidecar.connect().await;
        ask.over(&mut wire).await.refusal(400);
    });
}

#[test]
fn running_out_of_descriptors_is_survived() {
    story(async {
        let upstream = Upstream::echo().await;
        let toml = in_front_of(&upstream.url(), "");
        let process = Process::with_few_descriptors(&toml, 64).await;
        let mut flood = Vec::new();
        for _ in 0..100 {
            flood.push(Wire::connect(process.proxy).await);
        }
        process.says("slowing down").await;
        drop(flood);
        for _ in 0..10 {
            Ask::get("/collections")
                .over(&mut Wire::connect(process.proxy).await)
                .await
                .ok();
        }
        let scrape = Ask::get("/metrics")
            .over(&mut Wire::connect(process.admin).await)
            .await
            .ok();
        assert!(sum_of(&scrape.text(), "outrigger_accept_errors_total", &[]) >= 1.0);
        // It slows down rather than spin and fill the log.
        assert!(process.said().lines().count() < 500, "{}", process.said());
        process.signal("TERM");
        assert_eq!(process.exit_code().await, Some(0));
    });
}
