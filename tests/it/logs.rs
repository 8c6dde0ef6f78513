//! What the process writes: lines that a machine can read, the place of each request, no secrets.

use bytes::Bytes;
use http::Request;
use serde_json::Value;

use crate::support::ask::Ask;
use crate::support::h2::{H2, request};
use crate::support::process::Process;
use crate::support::script::refusing;
use crate::support::sidecar::in_front_of;
use crate::support::story;
use crate::support::upstream::{Speaks, Upstream};
use crate::support::wire::Wire;

const SEARCH: &str = "/collections/docs/points/search";

async fn ask(process: &Process, ask: &Ask) -> u16 {
    ask.over(&mut Wire::connect(process.proxy).await)
        .await
        .status()
}

#[test]
fn where_there_is_no_terminal_every_line_is_json() {
    story(async {
        let upstream = Upstream::echo().await;
        let process =
            Process::start(&in_front_of(&upstream.url(), ""), &[("RUST_LOG", "trace")]).await;
        ask(&process, &Ask::post(SEARCH, "{}")).await;
        process.signal("TERM");
        process.exit_code().await;
        for line in process.said().lines() {
            let line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for field in ["timestamp", "level", "target"] {
                assert!(line[field].is_string(), "{line}");
            }
        }
    });
}

#[test]
fn text_is_written_where_it_is_asked_for() {
    story(async {
        let (_socket, address) = refusing();
        let toml = in_front_of(&format!("http://{address}"), "log.format = \"text\"");
        let folder = crate::support::folder::Folder::new();
        let file = folder.put("outrigger.toml", &format!("{toml}\nmode = \"dual_read\""));
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        // A mode without its store: it ends at once, and what it writes is for people.
        let run = crate::support::process::run(&arguments, &[]).await;
        assert_eq!(run.code, Some(2));
        assert!(serde_json::from_str::<Value>(run.err.lines().next().unwrap()).is_err());
    });
}

#[test]
fn a_failed_request_is_told_with_its_span_and_its_cause() {
    story(async {
        let (_socket, address) = refusing();
        let process = Process::start(&in_front_of(&format!("http://{address}"), ""), &[]).await;
        let asked = Ask::post(SEARCH, "{}").with("x-request-id", "the-id");
        assert_eq!(ask(&process, &asked).await, 502);
        let line: Value = serde_json::from_str(&process.says("a request failed").await).unwrap();
        assert_eq!(line["level"], "WARN");
        assert!(
            line["error"].as_str().unwrap().contains("refused"),
            "{line}"
        );
        assert_eq!(line["span"]["operation"], "search_points", "{line}");
        assert_eq!(line["span"]["collection"], "docs", "{line}");
        assert_eq!(line["span"]["request_id"], "the-id", "{line}");
    });
}

#[test]
fn at_the_usual_level_a_request_that_is_served_writes_nothing() {
    story(async {
        let upstream = Upstream::echo().await;
        let process = Process::start(&in_front_of(&upstream.url(), ""), &[]).await;
        for _ in 0..50 {
            assert_eq!(ask(&process, &Ask::post(SEARCH, "{}")).await, 200);
        }
        process.signal("TERM");
        process.exit_code().await;
        let said = process.said();
        assert!(said.lines().count() < 10, "{said}");
    });
}

const SECRETS: [&str; 6] = [
    "own-full-secret",
    "own-reading-secret",
    "upstream-secret",
    "admin-secret",
    "wrong-secret",
    "vector-0.123456789",
];

fn settings(url: &str, more: &str) -> String {
    let keys = "auth.api_key = \"own-full-secret\"\n\
                auth.read_only_api_key = \"own-reading-secret\"\n\
                auth.admin_token = \"admin-secret\"\n\
                primary.api_key = \"upstream-secret\"";
    in_front_of(url, &format!("{keys}\n{more}"))
}

fn with_key(mut request: Request<Bytes>, key: &'static str) -> Request<Bytes> {
    let value = http::HeaderValue::from_static(key);
    request.headers_mut().insert("api-key", value);
    request
}

/// Every way in which a secret comes in or goes out, well and badly.
async fn use_the_secrets(process: &Process) {
    let body = "{\"vector\":\"vector-0.123456789\"}";
    for key in ["own-full-secret", "own-reading-secret", "wrong-secret", ""] {
        let asked = Ask::post(SEARCH, body);
        ask(process, &asked.clone().with("api-key", key)).await;
        ask(
            process,
            &asked.with("authorization", format!("Bearer {key}")),
        )
        .await;
        let write = Ask::put("/collections/docs/points", body).with("api-key", key);
        ask(process, &write).await;
    }
    let mut client = H2::connect(process.proxy).await;
    for key in ["own-full-secret", "wrong-secret"] {
        client
            .ask(with_key(request("POST", SEARCH, body), key))
            .await
            .unwrap();
    }
    for key in ["admin-secret", "wrong-secret"] {
        let asked = Ask::get("/api/status").with("authorization", format!("Bearer {key}"));
        asked.over(&mut Wire::connect(process.admin).await).await;
    }
}

fn says_no_secret(
    url_of: impl Fn(&str) -> String + 'static,
    speaks: Option<Speaks>,
    more: &'static str,
) {
    story(async move {
        let upstream = match speaks {
            Some(speaks) => Upstream::speaking(speaks, |_| http::Response::default()).await,
            None => Upstream::echo().await,
        };
        let toml = settings(&url_of(&upstream.url()), more);
        let process = Process::start(&toml, &[("RUST_LOG", "trace")]).await;
        use_the_secrets(&process).await;
        process.signal("TERM");
        process.exit_code().await;
        let said = process.said();
        // It was at work, and told so.
        assert!(said.contains("search_points"), "{said}");
        for secret in SECRETS {
            let lines: Vec<&str> = said.lines().filter(|line| line.contains(secret)).collect();
            assert!(lines.is_empty(), "{secret} is told:\n{}", lines.join("\n"));
        }
    });
}

#[test]
fn no_secret_is_told_at_any_level() {
    says_no_secret(str::to_owned, None, "");
}

#[test]
fn no_secret_is_told_at_any_level_towards_an_upstream_of_http_2() {
    says_no_secret(str::to_owned, Some(Speaks::Http2), "primary.http2 = true");
}

#[test]
fn no_secret_is_told_at_any_level_when_the_upstream_is_down() {
    says_no_secret(
        |_| "http://127.0.0.1:1".to_owned(),
        None,
        "primary.breaker_failures = 2",
    );
}
