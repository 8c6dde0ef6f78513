//! Header fields: what travels, what stays behind, what is added, and whose key it is.

use bytes::Bytes;
use http::{HeaderValue, Response};
use tokio::sync::mpsc;

use crate::support::ask::Ask;
use crate::support::script::Script;
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::Upstream;
use crate::support::wire::Head;

/// What the sidecar says for itself, to the upstream.
const ADDED: [&str; 5] = [
    "host",
    "x-forwarded-for",
    "x-request-id",
    "traceparent",
    "x-outrigger-via",
];

/// An upstream that tells the heads that reach it.
async fn telling() -> (Script, mpsc::Receiver<Head>) {
    let (tell, told) = mpsc::channel(16);
    let upstream = Script::start(move |_, mut wire| {
        let tell = tell.clone();
        async move {
            while let Some((head, _)) = wire.request().await {
                tell.send(head).await.unwrap();
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    .await;
            }
        }
    })
    .await;
    (upstream, told)
}

fn sorted(mut fields: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    // By name only: the order of the values of one name means something.
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

fn owned(fields: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

#[test]
fn a_requests_fields_arrive_exactly_less_those_of_one_hop() {
    story(async {
        let (upstream, mut told) = telling().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let travels: &[(&str, &[u8])] = &[
            ("accept", b"*/*"),
            ("accept-encoding", b"gzip, deflate, br, zstd"),
            ("content-type", b"application/json; charset=utf-8"),
            ("cookie", b"a=b; c=d"),
            ("user-agent", b"qdrant-client/1.18 \"quoted\""),
            ("x-empty", b""),
            ("x-latin", b"caf\xe9 \xff\x80"),
            ("x-twice", b"first"),
            ("x-twice", b"second, third"),
            ("x-twice", b""),
            ("x-utf8", "\u{4f60}\u{597d}".as_bytes()),
            ("x-weird!#$%&'*+-.^_`|~", b"name"),
        ];
        let stays: &[(&str, &[u8])] = &[
            ("connection", b"keep-alive, X-Named"),
            ("connection", b"x-also-named"),
            ("keep-alive", b"timeout=5"),
            ("proxy-authorization", b"Basic eDp5"),
            ("proxy-connection", b"keep-alive"),
            ("te", b"trailers"),
            ("upgrade", b"h2c"),
            ("x-named", b"1"),
            ("x-also-named", b"2"),
        ];
        let mut ask = Ask::post("/collections/docs/points/search", "{}");
        for (name, value) in travels.iter().chain(stays) {
            ask = ask.with(name, value);
        }
        sidecar.ask(&ask).await.ok();
        let mut arrived = told.recv().await.unwrap().fields;
        arrived.retain(|(name, _)| !ADDED.contains(&name.as_str()));
        let mut expected = owned(travels);
        expected.push(("content-length".to_owned(), b"2".to_vec()));
        assert_eq!(sorted(arrived), sorted(expected));
    });
}

#[test]
fn the_answer_to_a_write_is_never_packed() {
    story(async {
        let (upstream, mut told) = telling().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let writes = [
            Ask::new("PUT", "/collections/docs/points").json(&serde_json::json!({"points": []})),
            Ask::new("DELETE", "/collections/docs"),
        ];
        for ask in writes {
            let ask = ask.with("accept-encoding", b"gzip, deflate");
            sidecar.ask(&ask).await.ok();
            let arrived = told.recv().await.unwrap().fields;
            let packed = arrived.iter().find(|(name, _)| name == "accept-encoding");
            assert_eq!(packed, None);
        }
    });
}

#[test]
fn an_answers_fields_arrive_exactly_less_those_of_one_hop() {
    story(async {
        let travels: &[(&str, &[u8])] = &[
            ("access-control-allow-origin", b"*"),
            ("content-encoding", b"gzip"),
            ("content-length", b"4"),
            ("content-type", b"application/json"),
            ("date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
            ("server", b"upstream/1"),
            ("set-cookie", b"a=b; Path=/"),
            ("set-cookie", b"c=d"),
            ("vary", b"accept-encoding, Origin"),
            ("www-authenticate", b"Bearer"),
            ("x-empty", b""),
            ("x-latin", b"caf\xe9"),
        ];
        let stays = "Connection: X-Named\r\nKeep-Alive: timeout=5\r\nX-Named: 1\r\n\
                     Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\n";
        let mut answer = format!("HTTP/1.1 200 OK\r\n{stays}").into_bytes();
        for (name, value) in travels {
            answer.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        // No valid gzip: nobody on the way is to look.
        answer.extend(b"\r\n\x1f\x8b\x00\xff");
        let upstream = Script::start(move |_, mut wire| {
            let answer = answer.clone();
            async move {
                while wire.request().await.is_some() {
                    wire.send(&answer).await;
                }
            }
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let answer = sidecar.ask(&Ask::get("/collections")).await.ok();
        assert_eq!(answer.body, b"\x1f\x8b\x00\xff");
        let mut arrived = answer.head.fields;
        let added = ["x-outrigger-cache", "x-outrigger-store", "x-request-id"];
        arrived.retain(|(name, _)| !added.contains(&name.as_str()));
        assert_eq!(sorted(arrived), sorted(owned(travels)));
    });
}

#[test]
fn an_answer_says_which_store_gave_it_and_what_the_cache_did() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let answer = sidecar.ask(&Ask::get("/collections")).await.ok();
        assert_eq!(
            answer.head.field("x-outrigger-store").as_deref(),
            Some("primary")
        );
        assert_eq!(
            answer.head.field("x-outrigger-cache").as_deref(),
            Some("bypass")
        );
    });
}

#[test]
fn a_request_id_is_passed_on_or_made_and_told_to_both_sides() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mine = sidecar
            .ask(&Ask::get("/").with("x-request-id", "mine"))
            .await;
        assert_eq!(mine.head.field("x-request-id").as_deref(), Some("mine"));
        let made = sidecar
            .ask(&Ask::get("/"))
            .await
            .head
            .field("x-request-id")
            .unwrap();
        assert!(
            made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
            "{made}"
        );
        let other = sidecar
            .ask(&Ask::get("/"))
            .await
            .head
            .field("x-request-id")
            .unwrap();
        assert_ne!(made, other);
        let arrived = upstream
            .seen()
            .into_iter()
            .map(|seen| seen.field("x-request-id").unwrap());
        assert_eq!(
            arrived.collect::<Vec<_>>(),
            ["mine".to_owned(), made, other]
        );
    });
}

#[test]
fn a_trace_is_passed_on_or_begun() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mine = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        sidecar
            .ask(
                &Ask::get("/")
                    .with("traceparent", mine)
                    .with("tracestate", "a=b"),
            )
            .await
            .ok();
        sidecar.ask(&Ask::get("/")).await.ok();
        let seen = upstream.seen();
        assert_eq!(seen[0].field("traceparent").as_deref(), Some(mine));
        assert_eq!(seen[0].field("tracestate").as_deref(), Some("a=b"));
        let made = seen[1].field("traceparent").unwrap();
        let lengths: Vec<usize> = made.split('-').map(str::len).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{made}");
    });
}

#[test]
fn the_clients_address_is_appended_to_whatever_was_there() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let check = async |given: &[&str], expected: &str| {
            let mut ask = Ask::get("/");
            for line in given {
                ask = ask.with("x-forwarded-for", line);
            }
            sidecar.ask(&ask).await.ok();
            let seen = upstream.seen().pop().unwrap();
            let lines = seen.fields.get_all("x-forwarded-for").iter();
            let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap()).collect();
            assert_eq!(lines.join(", "), expected);
        };
        check(&[], "127.0.0.1").await;
        check(&["203.0.113.7"], "203.0.113.7, 127.0.0.1").await;
        check(&["203.0.113.7, ::1"], "203.0.113.7, ::1, 127.0.0.1").await;
        // Several lines are one list.
        check(
            &["203.0.113.7", "10.0.0.1"],
            "203.0.113.7, 10.0.0.1, 127.0.0.1",
        )
        .await;
    });
}

#[test]
fn without_a_key_of_its_own_for_the_upstream_the_clients_goes_on() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let ask = Ask::get("/collections").with("api-key", "theirs");
        sidecar
            .ask(&ask.with("authorization", "Bearer token"))
            .await
            .ok();
        let seen = upstream.only();
        assert_eq!(seen.field("api-key").as_deref(), Some("theirs"));
        assert_eq!(seen.field("authorization").as_deref(), Some("Bearer token"));
    });
}

#[test]
fn the_key_for_the_upstream_takes_the_place_of_the_clients() {
    story(async {
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), "primary.api_key = \"ours\"").await;
        let asks = [
            Ask::get("/collections"),
            Ask::get("/collections").with("api-key", "theirs"),
            Ask::get("/collections").with("authorization", "Bearer theirs"),
            Ask::get("/collections")
                .with("api-key", "a")
                .with("api-key", "b"),
        ];
        for ask in &asks {
            sidecar.ask(ask).await.ok();
        }
        for seen in upstream.seen() {
            assert_eq!(seen.field("api-key").as_deref(), Some("ours"));
            assert_eq!(seen.field("authorization"), None);
        }
    });
}

#[test]
fn a_browsers_preflight_is_the_stores_to_answer() {
    story(async {
        let upstream = Upstream::answering(|_| {
            let mut answer = Response::new(Bytes::new());
            let origin = HeaderValue::from_static("https://app.test");
            answer
                .headers_mut()
                .insert("access-control-allow-origin", origin);
            answer
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let ask = Ask::new("OPTIONS", "/collections/docs/points/search")
            .with("origin", "https://app.test")
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "api-key");
        let answer = sidecar.ask(&ask).await.ok();
        let allowed = answer.head.field("access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://app.test"));
        assert_eq!(
            upstream
                .only()
                .field("access-control-request-method")
                .as_deref(),
            Some("POST")
        );
    });
}

#[test]
fn a_browser_may_read_what_the_sidecar_itself_refuses() {
    story(async {
        let (_socket, address) = crate::support::script::refusing();
        let sidecar = Sidecar::before(&format!("http://{address}"), "").await;
        let ask = Ask::get("/collections").with("origin", "https://app.test");
        let answer = sidecar.ask(&ask).await;
        answer.refusal(502);
        let allowed = answer.head.field("access-control-allow-origin");
        assert_eq!(allowed.as_deref(), Some("https://app.test"));
    });
}
