//! How a sidecar ends: what was begun is finished, within bounds, and a second word ends it at once.

use tokio::net::TcpStream;
use tokio::time::{Duration, Instant};

use crate::support::ask::{Answer, Ask};
use crate::support::h2::{H2, request};
use crate::support::process::Process;
use crate::support::sidecar::{Sidecar, in_front_of};
use crate::support::story;
use crate::support::upstream::Upstream;
use crate::support::wire::Wire;
use crate::support::{Reserved, until};

const SEARCH: &str = "/collections/docs/points/search";

/// A process with one request in it that waits for its upstream.
async fn busy(more: &str) -> (Upstream, Process, Wire) {
    let upstream = Upstream::echo().await;
    upstream.hold();
    let process = Process::start(&in_front_of(&upstream.url(), more), &[]).await;
    let mut wire = Wire::connect(process.proxy).await;
    wire.send(Ask::post(SEARCH, "a body").bytes()).await;
    upstream.saw(1).await;
    (upstream, process, wire)
}

async fn refuses(address: std::net::SocketAddr) {
    let refused = async || match TcpStream::connect(address).await {
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        Ok(_) => false,
    };
    until("new connections are refused", refused).await;
}

fn a_signal_drains(signal: &'static str) {
    story(async move {
        let (upstream, process, mut wire) = busy("").await;
        let mut idle = Wire::connect(process.proxy).await;
        process.signal(signal);
        process.says("draining").await;
        refuses(process.proxy).await;
        // Whoever waits for nothing is let go; whoever waits for an answer gets it.
        idle.ended().await;
        upstream.release();
        let answer = Answer::read(&mut wire, "POST")
            .await
            .expect("the answer")
            .ok();
        assert_eq!(answer.text(), "a body");
        wire.ended().await;
        assert_eq!(process.exit_code().await, Some(0), "{}", process.said());
        assert!(process.said().contains("\"drained\""), "{}", process.said());
    });
}

#[test]
fn sigterm_drains_and_exits_with_0() {
    a_signal_drains("TERM");
}

#[test]
fn sigint_drains_and_exits_with_0() {
    a_signal_drains("INT");
}

#[test]
fn a_request_that_outlasts_the_grace_is_let_go_and_the_late_are_named() {
    story(async {
        let (_upstream, process, mut wire) = busy("shutdown_grace = \"300ms\"").await;
        process.signal("TERM");
        wire.ended().await;
        process.exit_code().await;
        let late = process.says("the shutdown grace is over").await;
        assert!(late.contains("proxy"), "{late}");
    });
}

#[test]
fn a_second_signal_ends_at_once_with_3() {
    story(async {
        let (_upstream, process, mut wire) = busy("shutdown_grace = \"1h\"").await;
        process.signal("TERM");
        process.says("draining").await;
        process.signal("TERM");
        assert_eq!(process.exit_code().await, Some(3), "{}", process.said());
        wire.ended().await;
    });
}

#[test]
fn with_nothing_to_do_the_end_is_at_once() {
    story(async {
        let upstream = Upstream::echo().await;
        let process = Process::start(&in_front_of(&upstream.url(), ""), &[]).await;
        Ask::get("/collections")
            .over(&mut Wire::connect(process.proxy).await)
            .await
            .ok();
        let mut idle = Wire::connect(process.proxy).await;
        Ask::get("/collections").over(&mut idle).await.ok();
        let began = Instant::now();
        process.signal("TERM");
        assert_eq!(process.exit_code().await, Some(0));
        // The grace is thirty seconds; an idle connection does not use it up.
        assert!(began.elapsed() < Duration::from_secs(15));
    });
}

#[test]
fn an_answer_that_is_being_sent_is_sent_to_its_end() {
    story(async {
        let upstream = crate::support::script::Script::start(|_, mut wire| async move {
            wire.request().await;
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n")
                .await;
            drop(wire.try_send(vec![b'x'; 50_000_000]).await);
        })
        .await;
        let process = Process::start(&in_front_of(&upstream.url(), ""), &[]).await;
        let mut wire = Wire::connect(process.proxy).await;
        wire.send(Ask::get("/collections/docs/snapshots/x").bytes())
            .await;
        let head = wire.head().await.unwrap();
        process.signal("TERM");
        process.says("draining").await;
        assert_eq!(
            wire.body(head.framing_of_answer()).await.unwrap().len(),
            50_000_000
        );
        assert_eq!(process.exit_code().await, Some(0), "{}", process.said());
    });
}

#[test]
fn a_client_of_http_2_gets_what_it_waits_for_and_is_told_to_go() {
    story(async {
        let upstream = Upstream::echo().await;
        upstream.hold();
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let client = H2::connect(sidecar.proxy()).await;
        let waits = async { client.clone().ask(request("POST", SEARCH, "a body")).await };
        let stops = async {
            upstream.saw(1).await;
            let stopping = outrigger::task::spawn("stop", sidecar.into_running().stop());
            upstream.release();
            stopping.await.unwrap();
        };
        let (answer, ()) = tokio::join!(waits, stops);
        assert_eq!(answer.unwrap().body(), "a body");
        client
            .clone()
            .ask(request("GET", "/", ""))
            .await
            .expect_err("it has gone");
    });
}

#[test]
fn while_it_drains_the_admin_side_says_that_it_is_not_ready() {
    story(async {
        let (upstream, process, _wire) = busy("").await;
        process.signal("TERM");
        process.says("draining").await;
        refuses(process.proxy).await;
        let asked = async |path| {
            Ask::get(path)
                .over(&mut Wire::connect(process.admin).await)
                .await
        };
        assert_eq!(asked("/readyz").await.status(), 503);
        assert_eq!(
            asked("/healthz").await.status(),
            200,
            "it is restarted before it has drained"
        );
        upstream.release();
        assert_eq!(process.exit_code().await, Some(0));
    });
}

#[test]
fn a_sidecar_that_was_ended_can_be_started_again_at_its_port() {
    story(async {
        let upstream = Upstream::echo().await;
        let own = Reserved::port();
        let listen = format!(
            "listen = \"127.0.0.1:{}\"\nadmin_listen = \"127.0.0.1:0\"",
            own.port
        );
        let toml = in_front_of(&upstream.url(), &listen);
        for _ in 0..3 {
            let process = Process::start(&toml, &[]).await;
            // Connections that it closes itself linger in the system for a minute.
            let mut open = Wire::connect(process.proxy).await;
            Ask::get("/collections").over(&mut open).await.ok();
            process.signal("TERM");
            open.ended().await;
            assert_eq!(process.exit_code().await, Some(0));
        }
    });
}
