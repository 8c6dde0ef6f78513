//! TLS on both sides: which protocol is spoken, whose certificate is shown, and who is trusted.

use bytes::Bytes;
use http::{Response, Version};

use crate::support::ask::Ask;
use crate::support::folder::Folder;
use crate::support::h2::{H2, request};
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::tls::{Authority, Issued, shake_hands, shown};
use crate::support::upstream::{Seen, Speaks, Upstream};
use crate::support::wire::Wire;

struct Files {
    folder: Folder,
}

impl Files {
    fn holding(issued: &Issued) -> Self {
        let files = Self {
            folder: Folder::new(),
        };
        files.put(issued);
        files
    }

    fn put(&self, issued: &Issued) {
        self.folder.put("cert.pem", &issued.cert);
        self.folder.put("key.pem", &issued.key);
    }

    fn as_settings(&self) -> String {
        let path = self.folder.path().display();
        format!("server.tls.cert = \"{path}/cert.pem\"\nserver.tls.key = \"{path}/key.pem\"")
    }
}

fn echo(seen: &Seen) -> Response<Bytes> {
    Response::new(seen.body.clone())
}

#[test]
fn a_client_chooses_http_1_or_2_in_the_handshake() {
    story(async {
        let authority = Authority::new("test");
        let files = Files::holding(&authority.issue());
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), &files.as_settings()).await;
        let check = async |offered: &[&str], chosen: Option<&str>| {
            let stream = shake_hands(sidecar.proxy(), &authority, offered)
                .await
                .unwrap();
            assert_eq!(
                stream.get_ref().1.alpn_protocol(),
                chosen.map(str::as_bytes)
            );
            if chosen == Some("h2") {
                let asked = request("POST", "/collections/d/points", "body");
                let answer = H2::over(stream).await.ask(asked).await.unwrap();
                assert_eq!(answer.body(), "body");
            } else {
                let ask = Ask::post("/collections/d/points", "body");
                assert_eq!(ask.over(&mut Wire::new(stream)).await.ok().text(), "body");
            }
        };
        check(&["h2", "http/1.1"], Some("h2")).await;
        check(&["http/1.1", "h2"], Some("h2")).await;
        check(&["h2"], Some("h2")).await;
        check(&["http/1.1"], Some("http/1.1")).await;
        check(&[], None).await;
        sidecar.at_rest().await;
    });
}

#[test]
fn a_client_without_tls_at_a_listener_with_tls_gets_no_answer_and_leaves_nothing() {
    story(async {
        let files = Files::holding(&Authority::new("test").issue());
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), &files.as_settings()).await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::get("/collections").bytes()).await;
        assert!(wire.head().await.is_none());
        assert_eq!(upstream.seen().len(), 0);
        sidecar.at_rest().await;
    });
}

#[test]
fn a_handshake_that_never_comes_is_given_up() {
    story(async {
        let files = Files::holding(&Authority::new("test").issue());
        let upstream = Upstream::echo().await;
        let more = format!("server.header_timeout = \"300ms\"\n{}", files.as_settings());
        let sidecar = Sidecar::before(&upstream.url(), &more).await;
        let mut silent = sidecar.connect().await;
        silent.ended().await;
        let mut begun = sidecar.connect().await;
        begun.send([0x16, 0x03, 0x01, 0x02]).await;
        begun.ended().await;
        sidecar.at_rest().await;
    });
}

#[test]
fn new_connections_see_a_changed_certificate_and_old_ones_go_on() {
    story(async {
        let authority = Authority::new("test");
        let (first, second) = (authority.issue(), authority.issue());
        let files = Files::holding(&first);
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), &files.as_settings()).await;
        let before = shake_hands(sidecar.proxy(), &authority, &["h2"])
            .await
            .unwrap();
        assert_eq!(shown(&before), first.der());
        let mut before = H2::over(before).await;

        files.put(&second);
        sidecar
            .until_metric(
                "outrigger_tls_reloads_total",
                &["outcome=\"in_force\""],
                1.0,
            )
            .await;
        // The two files change one after the other; wherever a look came in between, the next one
        // sets it right.
        crate::support::until("the second certificate is shown", async || {
            let after = shake_hands(sidecar.proxy(), &authority, &["h2"])
                .await
                .unwrap();
            shown(&after) == second.der()
        })
        .await;
        let answer = before
            .ask(request("GET", "/collections", ""))
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "the old connection was cut");
    });
}

#[test]
fn a_changed_certificate_that_cannot_be_used_leaves_the_old_one_in_force() {
    story(async {
        let authority = Authority::new("test");
        let (first, second) = (authority.issue(), authority.issue());
        let files = Files::holding(&first);
        let upstream = Upstream::echo().await;
        let sidecar = Sidecar::before(&upstream.url(), &files.as_settings()).await;
        let broken = [
            ("cert.pem", "no certificate at all"),
            ("cert.pem", &first.cert),
            // It fits no certificate but the one it was made for.
            ("key.pem", &second.key),
        ];
        let refused = &["outcome=\"refused\""];
        for (at, (name, text)) in broken.into_iter().enumerate() {
            let so_far = sidecar.metric("outrigger_tls_reloads_total", refused);
            files.folder.put(name, text);
            if at != 1 {
                sidecar
                    .until_metric("outrigger_tls_reloads_total", refused, so_far + 1.0)
                    .await;
            }
            let stream = shake_hands(sidecar.proxy(), &authority, &["http/1.1"])
                .await
                .unwrap();
            assert_eq!(shown(&stream), first.der());
            Ask::get("/collections")
                .over(&mut Wire::new(stream))
                .await
                .ok();
        }
    });
}

async fn tls_upstream(authority: &Authority, protocols: &[&str]) -> (Upstream, String) {
    let config = authority.issue().server(protocols);
    let upstream = Upstream::speaking(Speaks::Tls(config), echo).await;
    let url = format!("https://localhost:{}", upstream.address.port());
    (upstream, url)
}

fn trusting(authority: &Authority) -> (Folder, String) {
    let folder = Folder::new();
    let path = folder.put("ca.pem", &authority.pem);
    let line = format!("primary.tls_ca = \"{}\"", path.display());
    (folder, line)
}

#[test]
fn an_upstream_with_tls_is_trusted_for_the_sake_of_the_given_authority() {
    story(async {
        let authority = Authority::new("own");
        let (upstream, url) = tls_upstream(&authority, &["http/1.1"]).await;
        let (_folder, trust) = trusting(&authority);
        let sidecar = Sidecar::before(&url, &trust).await;
        let answer = sidecar
            .ask(&Ask::put("/collections/docs/points", "body"))
            .await
            .ok();
        assert_eq!(answer.text(), "body");
        assert_eq!(upstream.only().version, Version::HTTP_11);
    });
}

#[test]
fn an_upstream_with_tls_may_offer_http_1_or_2_whichever_is_preferred() {
    story(async {
        let authority = Authority::new("own");
        let (_folder, trust) = trusting(&authority);
        for offered in [&["h2", "http/1.1"][..], &["http/1.1"], &["h2"], &[]] {
            for http2 in [false, true] {
                let impossible = offered == ["h2"] && !http2 || offered.is_empty() && http2;
                if impossible {
                    continue;
                }
                let (upstream, url) = tls_upstream(&authority, offered).await;
                let more = format!("{trust}\nprimary.http2 = {http2}");
                let sidecar = Sidecar::before(&url, &more).await;
                let answer = sidecar
                    .ask(&Ask::put("/collections/docs/points", "body"))
                    .await;
                assert_eq!(
                    answer.status(),
                    200,
                    "{offered:?}, http2 = {http2}: {}",
                    answer.text()
                );
                assert_eq!(answer.text(), "body");
                assert_eq!(upstream.seen().len(), 1);
            }
        }
    });
}

#[test]
fn an_upstream_that_is_not_to_be_trusted_is_a_502_that_says_so() {
    story(async {
        let (upstream, url) = tls_upstream(&Authority::new("its own"), &["http/1.1"]).await;
        let (_folder, trust) = trusting(&Authority::new("another"));
        // Neither a wrong authority nor the system's own vouches for it.
        for more in [trust.as_str(), ""] {
            let sidecar = Sidecar::before(&url, more).await;
            let text = sidecar.ask(&Ask::get("/collections")).await.refusal(502);
            assert!(text.contains("certificate"), "{text}");
            assert!(text.contains("localhost"), "{text}");
            sidecar.at_rest().await;
        }
        assert_eq!(upstream.seen().len(), 0, "it was asked all the same");
    });
}

#[test]
fn an_upstream_without_tls_where_tls_is_expected_is_a_502() {
    story(async {
        let upstream = Upstream::echo().await;
        let url = format!("https://localhost:{}", upstream.address.port());
        let sidecar = Sidecar::before(&url, "").await;
        sidecar.ask(&Ask::get("/collections")).await.refusal(502);
        sidecar.at_rest().await;
    });
}
