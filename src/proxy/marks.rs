//! The marks that a request carries on to the store: its id, where it came from, its trace.
//!
//! They are made when a request arrives, and put on it when a store is about to be asked: a request
//! that a kept answer is given to needs none.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The sidecars that a request has been through, by their ids.
pub(super) const VIA: HeaderName = HeaderName::from_static("x-outrigger-via");

/// What one request is marked with.
pub struct Marks {
    pub(super) peer: SocketAddr,
    pub(super) request_id: HeaderValue,
    /// The sidecars it has come through, this one included; known once it was admitted.
    pub(super) via: Option<HeaderValue>,
}

/// The id of a request: its own, or a new one.
pub(super) fn request_id(fields: &HeaderMap) -> HeaderValue {
    if let Some(given) = fields.get(&REQUEST_ID) {
        return given.clone();
    }
    let mut text = [b'0'; 32];
    put_hex(Some(&mut text), &rand::random::<[u8; 16]>());
    HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("-"))
}

/// Once for a request, before it goes to a store.
pub(super) fn put(fields: &mut HeaderMap, marks: &Marks) {
    if !fields.contains_key(&REQUEST_ID) {
        fields.insert(REQUEST_ID, marks.request_id.clone());
    }
    if let Some(via) = &marks.via {
        fields.insert(VIA, via.clone());
    }
    let address = marks.peer.ip().to_canonical();
    let mut path = String::new();
    for before in fields.get_all(&FORWARDED_FOR) {
        if let Ok(before) = before.to_str() {
            path.push_str(before);
            path.push_str(", ");
        }
    }
    path.push_str(&address.to_string());
    if let Ok(path) = HeaderValue::try_from(path) {
        fields.insert(FORWARDED_FOR, path);
    }
    if !fields.contains_key(&TRACEPARENT) {
        // Not sampled: nobody upstream of us has asked for a trace.
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let (trace, parent): ([u8; 16], [u8; 8]) = (rand::random(), rand::random());
        put_hex(text.get_mut(3..35), &trace);
        put_hex(text.get_mut(36..52), &parent);
        if let Ok(made) = HeaderValue::from_bytes(&text) {
            fields.insert(TRACEPARENT, made);
        }
    }
}

/// `format!` takes about a microsecond for one id, and every request needs two.
fn put_hex(text: Option<&mut [u8]>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pairs = text.into_iter().flat_map(|text| text.chunks_exact_mut(2));
    for (pair, byte) in pairs.zip(bytes) {
        pair.copy_from_slice(&[
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(mut fields: HeaderMap) -> HeaderMap {
        let marks = Marks {
            peer: "10.0.0.7:1234".parse().unwrap(),
            request_id: request_id(&fields),
            via: Some(HeaderValue::from_static("us")),
        };
        put(&mut fields, &marks);
        fields
    }

    #[test]
    fn ids_are_made_where_there_are_none() {
        let fields = marked(HeaderMap::new());
        assert_eq!(fields[REQUEST_ID].len(), 32);
        assert_eq!(fields[TRACEPARENT].len(), 55);
        assert_eq!(fields[FORWARDED_FOR], "10.0.0.7");
        assert_eq!(fields[VIA], "us");
    }

    #[test]
    fn ids_that_are_there_are_passed_on() {
        let given = [
            (REQUEST_ID, "mine"),
            (TRACEPARENT, "theirs"),
            (FORWARDED_FOR, "1.2.3.4"),
        ];
        let given = given.map(|(name, value)| (name, HeaderValue::from_static(value)));
        let fields = marked(given.into_iter().collect());
        assert_eq!(fields[REQUEST_ID], "mine");
        assert_eq!(fields[TRACEPARENT], "theirs");
        assert_eq!(fields[FORWARDED_FOR], "1.2.3.4, 10.0.0.7");
    }
}
