//! Which header fields belong to one hop and which travel on.

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

const API_KEY: HeaderName = HeaderName::from_static("api-key");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Beside `connection` itself.
const HOP_BY_HOP: [HeaderName; 7] = [
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
];

/// The fields that RFC 9110 ties to one connection, and those that `connection` names itself.
pub(super) fn strip_hop_by_hop(fields: &mut HeaderMap) {
    // Most have none: one look at each name is cheaper than a look-up for every name there is.
    if !fields.keys().any(is_hop_by_hop) {
        return;
    }
    if fields.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = fields
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| HeaderName::try_from(name.trim()).ok())
            .collect();
        for name in named {
            fields.remove(name);
        }
        fields.remove(CONNECTION);
    }
    if fields.contains_key(TRANSFER_ENCODING) {
        // Where both stand the length is not the body's: whoever believed it would take the next
        // message for the rest of this one.
        fields.remove(CONTENT_LENGTH);
    }
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == CONNECTION || HOP_BY_HOP.contains(name)
}

/// What a client sent, as it goes on to the upstream. `host` is the upstream's own, and an
/// `expect: 100-continue` has been answered by this hop.
pub(super) fn for_upstream(fields: &mut HeaderMap, own_key: Option<&HeaderValue>) {
    strip_hop_by_hop(fields);
    fields.remove(TRAILER);
    fields.remove(HOST);
    fields.remove(EXPECT);
    if let Some(key) = own_key {
        fields.remove(AUTHORIZATION);
        fields.insert(API_KEY, key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn what_connection_names_stays_behind_and_the_rest_travels() {
        let mut sent = fields(&[
            ("connection", "keep-alive, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-own", "kept"),
            ("host", "sidecar"),
            ("api-key", "the client's"),
        ]);
        for_upstream(&mut sent, None);
        assert_eq!(
            sent,
            fields(&[("x-own", "kept"), ("api-key", "the client's")])
        );
    }

    #[test]
    fn a_length_beside_a_transfer_encoding_is_not_believed() {
        let mut answer = fields(&[("transfer-encoding", "chunked"), ("content-length", "50")]);
        strip_hop_by_hop(&mut answer);
        assert_eq!(answer, fields(&[]));
    }

    #[test]
    fn our_own_key_replaces_whatever_the_client_sent() {
        let mut sent = fields(&[("api-key", "client"), ("authorization", "Bearer client")]);
        for_upstream(&mut sent, Some(&HeaderValue::from_static("ours")));
        assert_eq!(sent, fields(&[("api-key", "ours")]));
    }
}
