//! What a client asks is what the upstream is asked, and what the upstream answers is what the
//! client gets: methods, targets, statuses, and the way in which connections are used.

use bytes::Bytes;
use http::{Method, Response, StatusCode};

use crate::support::ask::{Answer, Ask};
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers "ok" to everything, on connections that stay open.
async fn obliging() -> Script {
    Script::start(|_, mut wire| async move {
        while wire.request().await.is_some() {
            wire.send(OK).await;
        }
    })
    .await
}

#[test]
fn every_method_arrives_as_it_was_sent() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let methods = [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PURGE", "gEt",
        ];
        for method in methods {
            sidecar
                .ask(&Ask::new(method, "/collections/docs/points"))
                .await
                .ok();
        }
        let arrived: Vec<Method> = upstream
            .seen()
            .into_iter()
            .map(|seen| seen.method)
            .collect();
        assert_eq!(arrived, methods);
    });
}

#[test]
fn targets_arrive_byte_for_byte() {
    story(async {
        let targets = [
            "/",
            "//",
            "/collections",
            "/collections/",
            "//collections//docs///points//",
            "/collections/a%20b/points",
            "/collections/a%2Fb/points",
            "/collections/a%2fb/points",
            "/collections/%E4%BD%A0%E5%A5%BD",
            "/collections/%FF%00",
            "/collections/100%25/%zz%",
            "/collections/ä",
            "/dots/../up/./here/..",
            "/dots/%2e%2e/up",
            "/a;b=c/@:&=+$,!'()*~-_.",
            "/with{braces}\"quotes\"|bars|^\\",
            "/nowhere?",
            "/search?q=a+b&q=%20&q=%2B&empty=&flag&=&&",
            "/search?path=/a/b?c=d&json={[1,2]}",
            "/points?wait=true&timeout=5&ordering=strong&consistency=majority",
        ];
        let (tell, mut told) = tokio::sync::mpsc::channel(targets.len());
        let upstream = Script::start(move |_, mut wire| {
            let tell = tell.clone();
            async move {
                while let Some((head, _)) = wire.request().await {
                    tell.send(head.start).await.unwrap();
                    wire.send(OK).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for target in targets {
            sidecar.ask(&Ask::get(target)).await.ok();
            assert_eq!(told.recv().await.unwrap(), format!("GET {target} HTTP/1.1"));
        }
    });
}

#[test]
fn a_target_with_scheme_and_host_is_asked_by_its_path() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        sidecar
            .ask(&Ask::get("http://qdrant.test:6333/collections?a=b"))
            .await
            .ok();
        let seen = upstream.only();
        assert_eq!(seen.target, "/collections?a=b");
        assert_eq!(seen.field("host"), Some(upstream.address.to_string()));
    });
}

#[test]
fn the_path_prefix_of_the_upstreams_url_goes_before_every_path() {
    story(async {
        let upstream = Upstream::echo().await;
        let url = format!("{}/qdrant/v1/", upstream.url());
        let sidecar = Sidecar::before(&url, "").await;
        let targets = ["/", "/collections?a=b", "//x", "/collections/a%2Fb"];
        for target in targets {
            sidecar.ask(&Ask::get(target)).await.ok();
        }
        let arrived: Vec<String> = upstream
            .seen()
            .into_iter()
            .map(|seen| seen.target)
            .collect();
        assert_eq!(arrived, targets.map(|target| format!("/qdrant/v1{target}")));
    });
}

#[test]
fn whatever_status_the_upstream_answers_is_the_answer() {
    story(async {
        let upstream = Upstream::answering(|seen| {
            let status = seen.target.rsplit('/').next().unwrap();
            let mut answer = Response::new(Bytes::from("said by the upstream"));
            *answer.status_mut() = status.parse::<StatusCode>().unwrap();
            answer
        })
        .await;
        // Not refused by the breaker after some of these: an error answer is an answer.
        let sidecar = Sidecar::before(&upstream.url(), "primary.breaker_failures = 1").await;
        let statuses = [
            200, 201, 202, 204, 206, 299, 301, 304, 400, 401, 403, 404, 409, 413, 422, 429, 500,
            501, 502, 503, 504, 599,
        ];
        for status in statuses {
            for method in ["GET", "PUT"] {
                let target = format!("/collections/{status}");
                let answer = sidecar.ask(&Ask::new(method, &target)).await;
                assert_eq!(answer.status(), status);
                let bodiless = [204, 304].contains(&status);
                let body = if bodiless { "" } else { "said by the upstream" };
                assert_eq!(answer.text(), body, "{status}");
            }
        }
        assert_eq!(
            upstream.seen().len(),
            2 * statuses.len(),
            "something was asked twice"
        );
    });
}

#[test]
fn a_reason_that_the_upstream_gives_arrives() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            while wire.request().await.is_some() {
                wire.send("HTTP/1.1 409 Already There\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let answer = sidecar.ask(&Ask::put("/collections/docs", "{}")).await;
        assert_eq!(answer.head.start, "HTTP/1.1 409 Already There");
    });
}

#[test]
fn an_answer_to_head_keeps_its_length_and_has_no_body() {
    story(async {
        let upstream = Upstream::answering(|_| Response::new(Bytes::from("twelve bytes"))).await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        let answer = Ask::new("HEAD", "/dashboard/index.html")
            .over(&mut wire)
            .await
            .ok();
        assert_eq!(answer.head.field("content-length").as_deref(), Some("12"));
        // Had a body followed, it would now be taken for an answer.
        assert_eq!(
            Ask::get("/collections").over(&mut wire).await.text(),
            "twelve bytes"
        );
    });
}

#[test]
fn a_tunnel_is_not_opened_and_nothing_is_left_of_asking_for_one() {
    story(async {
        let upstream = obliging().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        wire.send("CONNECT somewhere.test:443 HTTP/1.1\r\nhost: somewhere.test:443\r\n\r\n")
            .await;
        let answer = wire.head().await.expect("an answer");
        assert!(answer.status() >= 400, "{}", answer.start);
        drop(wire);
        sidecar.at_rest().await;
    });
}

#[test]
fn requests_share_connections_to_the_upstream() {
    story(async {
        let upstream = Upstream::echo().await;
        let more = "primary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        let mut wire = sidecar.connect().await;
        for number in 0..20 {
            let body = format!("request {number}");
            let ask = Ask::post("/collections/docs/points/search", body.clone());
            assert_eq!(ask.over(&mut wire).await.ok().text(), body);
        }
        // Now and then a request comes before the last one's connection is back.
        assert!(
            upstream.connections() <= 5,
            "{} connections",
            upstream.connections()
        );
    });
}

#[test]
fn requests_sent_without_waiting_are_answered_in_order() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        let bodies: Vec<String> = (0..10).map(|number| format!("request {number}")).collect();
        let asks = bodies
            .iter()
            .flat_map(|body| Ask::post("/collections/x/points", &**body).bytes());
        wire.send(asks.collect::<Vec<u8>>()).await;
        for body in bodies {
            assert_eq!(Answer::read(&mut wire, "POST").await.unwrap().text(), body);
        }
    });
}

#[test]
fn a_new_connection_for_every_request_is_served() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        for number in 0..200 {
            let ask = Ask::post(
                "/collections/docs/points/query",
                format!("request {number}"),
            );
            let answer = sidecar.ask(&ask.with("connection", "close")).await.ok();
            assert_eq!(answer.text(), format!("request {number}"));
        }
        sidecar.at_rest().await;
    });
}

#[test]
fn an_upstream_that_closes_its_idle_connections_costs_no_read() {
    story(async {
        let upstream = Script::start(|_, mut wire| async move {
            // As Qdrant does with a connection that was idle for long, only at once.
            if wire.request().await.is_some() {
                wire.send(OK).await;
            }
        })
        .await;
        let more = "primary.idle_connections_max = 8";
        let sidecar = Sidecar::before(&upstream.url(), more).await;
        for _ in 0..50 {
            assert_eq!(
                sidecar.ask(&Ask::get("/collections")).await.ok().text(),
                "ok"
            );
        }
    });
}
