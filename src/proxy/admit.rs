//! Who may come in: the sidecar's own keys, and the guard against a loop.
//!
//! With keys configured, a request needs one, but for what Qdrant serves to anyone. The keys are
//! compared in constant time and go no further than here. Without keys of our own nobody is
//! asked, and whatever credential a client sends is the store's to judge.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use subtle::{Choice, ConstantTimeEq};
use tower::{Layer, Service};

use super::call::{Answer, Call};
use super::marks::VIA;
use super::respond;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::Access;

const API_KEY: HeaderName = HeaderName::from_static("api-key");
/// The sidecar's own keys. An empty key is no key.
#[derive(Clone, Default)]
pub struct Keys {
    full: Option<Box<[u8]>>,
    read_only: Option<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reach {
    Full,
    ReadOnly,
}

impl Keys {
    pub fn new(full: Option<&str>, read_only: Option<&str>) -> Self {
        let kept = |key: Option<&str>| {
            key.filter(|key| !key.is_empty())
                .map(|key| Box::from(key.as_bytes()))
        };
        Self {
            full: kept(full),
            read_only: kept(read_only),
        }
    }

    fn is_none(&self) -> bool {
        self.full.is_none() && self.read_only.is_none()
    }

    fn reach(&self, given: &[u8]) -> Option<Reach> {
        let is = |key: &Option<Box<[u8]>>| key.as_ref().map_or(Choice::from(0), |k| k.ct_eq(given));
        // Both are always compared, so that time does not tell which one was close.
        let (full, read_only) = (is(&self.full), is(&self.read_only));
        if full.into() {
            Some(Reach::Full)
        } else if read_only.into() {
            Some(Reach::ReadOnly)
        } else {
            None
        }
    }

    fn check(&self, call: &mut Call) -> Result<()> {
        if self.is_none() {
            return Ok(());
        }
        let needed = if call.is_preflight() {
            Access::Open
        } else {
            call.operation.access()
        };
        let given = credential(&call.head.headers).map(<[u8]>::to_vec);
        // Ours: it must not reach a store that may log what it is sent.
        call.head.headers.remove(API_KEY);
        call.head.headers.remove(AUTHORIZATION);
        if needed == Access::Open {
            return Ok(());
        }
        let refuse =
            |kind, text: &'static str| Err(Error::new(kind, Origin::Client, Retry::Never, text));
        let Some(given) = given else {
            let text = "Must provide an API key or an Authorization bearer token";
            return refuse(ErrorKind::Unauthorized, text);
        };
        match (self.reach(&given), needed) {
            (None, _) => refuse(ErrorKind::Unauthorized, "Invalid API key or JWT"),
            (Some(Reach::ReadOnly), Access::Manage) => refuse(
                ErrorKind::Forbidden,
                "Forbidden: Global manage access is required",
            ),
            (Some(Reach::Full), Access::Open | Access::Read | Access::Manage)
            | (Some(Reach::ReadOnly), Access::Open | Access::Read) => Ok(()),
        }
    }
}

/// The key that a request carries: `api-key` first, then a bearer token. Clients with no key
/// configured send an empty header, which counts as none.
fn credential(fields: &HeaderMap) -> Option<&[u8]> {
    let key = fields
        .get(API_KEY)
        .map(HeaderValue::as_bytes)
        .filter(|key| !key.is_empty());
    key.or_else(|| bearer(fields.get(AUTHORIZATION)?.as_bytes()))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked("bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

/// A tunnel would lead past everything that stands here.
fn refuse_tunnel(call: &Call) -> Result<()> {
    if call.head.method != http::Method::CONNECT {
        return Ok(());
    }
    let text = "Outrigger: CONNECT is not served";
    Err(Error::new(
        ErrorKind::BadInput,
        Origin::Client,
        Retry::Never,
        text,
    ))
}

/// Refuses a request that this very sidecar has sent, and marks the ones it will send.
fn mark_or_refuse_loop(instance: &HeaderValue, call: &mut Call) -> Result<()> {
    let seen = call
        .head
        .headers
        .get(VIA)
        .and_then(|value| value.to_str().ok());
    let Some(seen) = seen else {
        call.marks.via = Some(instance.clone());
        return Ok(());
    };
    let instance = instance.to_str().unwrap_or_default();
    if seen.split(',').any(|id| id.trim() == instance) {
        let doing = "this request has been here before: the store's URL leads back to this \
                     sidecar; give the store an address of its own";
        return Err(Error::new(
            ErrorKind::Loop,
            Origin::Proxy,
            Retry::Never,
            doing,
        ));
    }
    call.marks.via = HeaderValue::from_str(&format!("{seen}, {instance}")).ok();
    Ok(())
}

#[derive(Clone)]
pub(super) struct AdmitLayer {
    pub(super) keys: Arc<Keys>,
    pub(super) instance: HeaderValue,
}

impl<S> Layer<S> for AdmitLayer {
    type Service = Admit<S>;

    fn layer(&self, inner: S) -> Admit<S> {
        Admit {
            rules: self.clone(),
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct Admit<S> {
    rules: AdmitLayer,
    inner: S,
}

impl<S> Service<Call> for Admit<S>
where
    S: Service<Call, Response = Answer, Error = Infallible>,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Ready<Result<Answer, Infallible>>, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let AdmitLayer { keys, instance } = &self.rules;
        let admitted = refuse_tunnel(&call)
            .and_then(|()| keys.check(&mut call))
            .and_then(|()| mark_or_refuse_loop(instance, &mut call));
        match admitted {
            Ok(()) => Either::Right(self.inner.call(call)),
            Err(error) => Either::Left(ready(Ok(respond::error(&error)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_key_header_goes_before_a_bearer_token_and_empty_counts_as_none() {
        let check = |list: &[(HeaderName, &'static str)], wanted: Option<&[u8]>| {
            let fields: HeaderMap = list
                .iter()
                .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
                .collect();
            assert_eq!(credential(&fields), wanted, "{list:?}");
        };
        check(&[], None);
        check(&[(API_KEY, "")], None);
        check(&[(API_KEY, "a"), (AUTHORIZATION, "Bearer b")], Some(b"a"));
        check(&[(API_KEY, ""), (AUTHORIZATION, "Bearer b")], Some(b"b"));
        check(&[(AUTHORIZATION, "bearer b")], Some(b"b"));
        check(&[(AUTHORIZATION, "Bearer ")], None);
        check(&[(AUTHORIZATION, "Basic b")], None);
    }

    #[test]
    fn an_empty_key_configured_is_no_key() {
        assert!(Keys::new(Some(""), Some("")).is_none());
        assert_eq!(
            Keys::new(Some("a"), Some("b")).reach(b"b"),
            Some(Reach::ReadOnly)
        );
        assert_eq!(
            Keys::new(Some("a"), Some("b")).reach(b"a"),
            Some(Reach::Full)
        );
        assert_eq!(Keys::new(Some("a"), None).reach(b""), None);
    }
}
