//! A store that is configured and cannot be served by this build. It answers every call with the
//! reason, so that the ports are open, probes tell the truth and nobody waits.

use std::future::ready;
use std::time::Duration;

use super::{PassAnswer, PassCall, Store, StoreFuture};
use crate::error::{Error, ErrorKind, Origin, Retry};
use crate::model::StoreKind;

pub struct Absent {
    kind: StoreKind,
}

impl Absent {
    pub fn new(kind: StoreKind) -> Self {
        Self { kind }
    }

    fn reason(&self) -> Error {
        let doing = format!(
            "the {} store is not served by this version of Outrigger; \
             point primary.url at a Qdrant with primary.kind = \"qdrant\"",
            self.kind
        );
        Error::new(ErrorKind::Busy, Origin::Proxy, Retry::Never, doing)
    }
}

impl Store for Absent {
    fn kind(&self) -> StoreKind {
        self.kind
    }

    fn pass(&self, _call: PassCall) -> StoreFuture<'_, PassAnswer> {
        Box::pin(ready(Err(self.reason())))
    }

    fn probe(&self, _within: Duration) -> StoreFuture<'_, ()> {
        Box::pin(ready(Err(self.reason())))
    }
}
