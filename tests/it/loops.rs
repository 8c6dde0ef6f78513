//! A sidecar must not ask itself: its own listener as the upstream is refused at the start, and a
//! ring of sidecars is cut as soon as a request comes round.

use crate::support::Reserved;
use crate::support::ask::Ask;
use crate::support::process::{Run, run};
use crate::support::sidecar::Sidecar;
use crate::support::story;

/// Starts a sidecar whose port is asked for by that URL.
async fn refused(listen: &str, host: &str, more: &[(&str, &str)]) -> Run {
    let own = Reserved::port();
    let url = format!("http://{host}:{}", own.port);
    let listen = format!("{listen}:{}", own.port);
    let arguments = [
        "serve",
        "--listen",
        &listen,
        "--admin-listen",
        "127.0.0.1:0",
    ];
    let mut variables = vec![("QDRANT_URL", url.as_str())];
    variables.extend(more);
    run(&arguments, &variables).await
}

fn assert_cure(run: &Run) {
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.err.contains("OUTRIGGER_QDRANT_URL"),
        "names no cure: {}",
        run.err
    );
    assert!(
        run.err.contains("QDRANT_URL"),
        "does not say where it is from: {}",
        run.err
    );
}

#[test]
fn a_sidecar_whose_upstream_is_its_own_listener_is_refused_at_the_start() {
    story(async {
        assert_cure(&refused("127.0.0.1", "127.0.0.1", &[]).await);
    });
}

#[test]
fn its_own_listener_is_known_by_every_name_it_has() {
    story(async {
        assert_cure(&refused("127.0.0.1", "localhost", &[]).await);
        assert_cure(&refused("localhost", "127.0.0.1", &[]).await);
        let strangers = &[("OUTRIGGER_INSECURE", "true")];
        assert_cure(&refused("0.0.0.0", "127.0.0.1", strangers).await);
        assert_cure(&refused("0.0.0.0", "localhost", strangers).await);
        assert_cure(&refused("0.0.0.0", "127.0.0.2", strangers).await);
        assert_cure(&refused("0.0.0.0", "0.0.0.0", strangers).await);
    });
}

#[test]
fn the_admin_side_is_an_own_listener_too() {
    story(async {
        let own = Reserved::port();
        let admin = format!("127.0.0.1:{}", own.port);
        let url = format!("http://{admin}");
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", &admin];
        assert_cure(&run(&arguments, &[("QDRANT_URL", &url)]).await);
    });
}

#[test]
fn a_check_of_the_settings_finds_the_loop_without_listening() {
    story(async {
        let port = Reserved::port().port;
        let (url, listen) = (
            format!("http://localhost:{port}"),
            format!("127.0.0.1:{port}"),
        );
        let arguments = ["config", "check", "--listen", &listen];
        assert_cure(&run(&arguments, &[("QDRANT_URL", &url)]).await);
    });
}

#[test]
fn another_port_of_this_machine_is_no_loop() {
    story(async {
        let upstream = crate::support::upstream::Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        sidecar.ask(&Ask::get("/collections")).await.ok();
    });
}

#[test]
fn two_sidecars_that_ask_each_other_answer_508_after_one_round() {
    story(async {
        let later = Reserved::port();
        let first = Sidecar::before(&format!("http://127.0.0.1:{}", later.port), "").await;
        let listen = format!(
            "listen = \"127.0.0.1:{}\"\nadmin_listen = \"127.0.0.1:0\"",
            later.port
        );
        let second = Sidecar::before(&format!("http://{}", first.proxy()), &listen).await;
        for ask in [
            Ask::get("/collections"),
            Ask::put("/collections/docs/points", "{}"),
        ] {
            let text = first.ask(&ask).await.refusal(508);
            assert!(text.contains("leads back to this sidecar"), "{text}");
        }
        // In, round, and back in: the second sidecar is asked once for each.
        assert_eq!(first.metric("outrigger_requests_total", &[]), 4.0);
        assert_eq!(second.metric("outrigger_requests_total", &[]), 2.0);
        first.at_rest().await;
        second.at_rest().await;
    });
}

#[test]
fn two_sidecars_one_behind_the_other_are_no_loop() {
    story(async {
        let upstream = crate::support::upstream::Upstream::echo().await;
        let behind = Sidecar::before(&upstream.url(), "").await;
        let front = Sidecar::before(&format!("http://{}", behind.proxy()), "").await;
        front.ask(&Ask::get("/collections")).await.ok();
        assert_eq!(upstream.seen().len(), 1);
    });
}
