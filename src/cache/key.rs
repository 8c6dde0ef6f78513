//! What tells one question from another: 128 bits of a cryptographic digest over who asks, which
//! store answers, and every byte of the request that an answer can depend on.
//!
//! A request with a field that it does not depend on has another key than one without: that costs
//! a hit and no more. Leaving one out that it does depend on would serve a wrong answer.

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::request::Parts;

use crate::model::{Operation, Role};

/// A question, and who asks it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key(pub(super) u128);

/// Who asks. Kept as a digest: what is compared never holds the secret itself.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Asker(pub(super) u128);

impl Asker {
    /// Everything in the head by which a store, or who stands before it, could tell callers apart.
    /// To be made before the sidecar's own key is taken off.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut hasher: Option<blake3::Hasher> = None;
        for (name, value) in fields {
            let tells = name == AUTHORIZATION
                || name.as_str().ends_with("api-key")
                || name == http::header::COOKIE
                || name == http::header::PROXY_AUTHORIZATION;
            if tells {
                let hasher = hasher.get_or_insert_with(|| {
                    blake3::Hasher::new_derive_key("outrigger cache asker 1")
                });
                put(hasher, name.as_str().as_bytes());
                put(hasher, value.as_bytes());
            }
        }
        hasher.map_or(Self(0), |hasher| Self(short(&hasher)))
    }
}

impl Key {
    pub fn of(asker: Asker, store: Role, operation: Operation, head: &Parts, body: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&asker.0.to_le_bytes());
        put(&mut hasher, store.as_str().as_bytes());
        put(&mut hasher, operation.as_str().as_bytes());
        put(&mut hasher, head.uri.path().as_bytes());
        put(&mut hasher, head.uri.query().unwrap_or_default().as_bytes());
        for name in [ACCEPT_ENCODING, CONTENT_TYPE, CONTENT_ENCODING] {
            // A field that is absent and one that is empty mean the same here.
            for value in head.headers.get_all(name) {
                put(&mut hasher, value.as_bytes());
            }
            hasher.update(b"\n");
        }
        put(&mut hasher, body);
        Self(short(&hasher))
    }
}

/// With its length, so that no two lists of parts read the same.
fn put(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn short(hasher: &blake3::Hasher) -> u128 {
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn key(target: &str, fields: &[(&str, &str)], body: &str) -> Key {
        let mut request = Request::post(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let asker = Asker::of(&head.headers);
        Key::of(
            asker,
            Role::Primary,
            Operation::QueryPoints,
            &head,
            body.as_bytes(),
        )
    }

    #[test]
    fn every_part_of_a_question_tells_it_from_others() {
        let plain = key("/collections/a/points/query", &[], "{}");
        assert_eq!(plain, key("/collections/a/points/query", &[], "{}"));
        let traced = [
            ("traceparent", "00-1"),
            ("user-agent", "x"),
            ("x-request-id", "7"),
        ];
        assert_eq!(plain, key("/collections/a/points/query", &traced, "{}"));
        let others = [
            key("/collections/b/points/query", &[], "{}"),
            key("/collections/a/points/query?consistency=all", &[], "{}"),
            key("/collections/a/points/query", &[], "{ }"),
            key("/collections/a/points/query", &[("api-key", "a")], "{}"),
            key("/collections/a/points/query", &[("api-key", "b")], "{}"),
            key(
                "/collections/a/points/query",
                &[("authorization", "Bearer a")],
                "{}",
            ),
            key(
                "/collections/a/points/query",
                &[("openai-api-key", "a")],
                "{}",
            ),
            key(
                "/collections/a/points/query",
                &[("accept-encoding", "gzip")],
                "{}",
            ),
            key(
                "/collections/a/points/query",
                &[("content-type", "gzip")],
                "{}",
            ),
            key(
                "/collections/a/points/query",
                &[("content-encoding", "gzip")],
                "{}",
            ),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(plain, *other, "{at}");
            assert!(!others.split_at(at).0.contains(other), "{at}");
        }
    }

    #[test]
    fn the_store_is_part_of_the_question() {
        let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
        let of = |role| Key::of(Asker::default(), role, Operation::QueryPoints, &head, b"");
        assert_ne!(of(Role::Primary), of(Role::Secondary));
    }
}
