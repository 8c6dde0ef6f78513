//! What tells one question from another: 128 bits of a digest over who asks, which store answers,
//! and every byte of the request that an answer can depend on.
//!
//! A request with a field that it does not depend on has another key than one without: that costs
//! a hit and no more. Leaving one out that it does depend on would serve a wrong answer.
//!
//! Inside the process the digest is HighwayHash under a secret that is made at the start and never
//! leaves it, so nobody can make two questions meet: a hit costs little more than it takes to hash
//! its body, and a cryptographic digest would cost more than all the rest of it. In Redis, where
//! every sidecar has to come to the same key, it is BLAKE3.

use std::sync::LazyLock;

use highway::{HighwayHash, HighwayHasher};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use http::request::Parts;

use crate::model::{Operation, Role};

/// A question, and who asks it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key(pub(super) u128);

/// The same, as every sidecar says it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SharedKey(pub(super) u128);

static SECRET: LazyLock<highway::Key> = LazyLock::new(|| highway::Key(rand::random()));

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
        let mut digest = HighwayHasher::new(*SECRET);
        feed(asker, store, operation, head, body, |part| {
            digest.append(part);
        });
        let [low, high] = digest.finalize128();
        Self(u128::from(high) << 64 | u128::from(low))
    }
}

impl SharedKey {
    pub fn of(asker: Asker, store: Role, operation: Operation, head: &Parts, body: &[u8]) -> Self {
        let mut digest = blake3::Hasher::new_derive_key("outrigger cache key 1");
        // By itself it begins where a block begins, and many blocks are done at once.
        let body = blake3::hash(body);
        feed(asker, store, operation, head, body.as_bytes(), |part| {
            digest.update(part);
        });
        Self(short(&digest))
    }
}

fn feed(
    asker: Asker,
    store: Role,
    operation: Operation,
    head: &Parts,
    body: &[u8],
    mut digest: impl FnMut(&[u8]),
) {
    // Each with its length, so that no two lists of parts read the same.
    let mut put = |part: &[u8]| {
        digest(&(part.len() as u64).to_le_bytes());
        digest(part);
    };
    put(&asker.0.to_le_bytes());
    put(store.as_str().as_bytes());
    put(operation.as_str().as_bytes());
    put(head.uri.path().as_bytes());
    put(head.uri.query().unwrap_or_default().as_bytes());
    for (number, name) in (0_u8..).zip([ACCEPT_ENCODING, CONTENT_TYPE, CONTENT_ENCODING]) {
        // A field that is absent and one that is empty mean the same here.
        for value in head.headers.get_all(name) {
            put(&[number]);
            put(value.as_bytes());
        }
    }
    put(b"body");
    put(body);
}

/// With its length, as above.
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

    /// Both of them.
    fn key(target: &str, fields: &[(&str, &str)], body: &str) -> (Key, SharedKey) {
        let mut request = Request::post(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (head, ()) = request.body(()).unwrap().into_parts();
        let asker = Asker::of(&head.headers);
        let (role, operation) = (Role::Primary, Operation::QueryPoints);
        let body = body.as_bytes();
        let own = Key::of(asker, role, operation, &head, body);
        (own, SharedKey::of(asker, role, operation, &head, body))
    }

    #[test]
    fn in_redis_a_question_has_the_same_key_for_every_sidecar_and_version() {
        let (_, shared) = key("/collections/a/points/query", &[("api-key", "a")], "{}");
        assert_eq!(
            shared,
            SharedKey(103_265_777_343_535_754_607_952_238_568_652_474_575)
        );
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
            for earlier in others.split_at(at).0.iter().chain([&plain]) {
                assert_ne!(earlier.0, other.0, "{at}");
                assert_ne!(earlier.1, other.1, "{at}");
            }
        }
    }

    #[test]
    fn the_store_is_part_of_the_question() {
        let (head, ()) = Request::post("/").body(()).unwrap().into_parts();
        let operation = Operation::QueryPoints;
        let of = |role| Key::of(Asker::default(), role, operation, &head, b"");
        assert_ne!(of(Role::Primary), of(Role::Secondary));
        let of = |role| SharedKey::of(Asker::default(), role, operation, &head, b"");
        assert_ne!(of(Role::Primary), of(Role::Secondary));
    }
}
