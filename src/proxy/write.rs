//! The journey of a call that may change answers.
//!
//! What it touches is out of force before it is sent and again when it has ended, and its answer
//! leaves after that. Once it has been read in full it runs to its end in a task of its own, and
//! keeps its permit as long.
//!
//! Where the tenants of a collection are told apart, a write of few points is preceded by a look at
//! whose they are, so that the other tenants' answers stay.

use std::sync::Arc;

use memchr::memmem;

use super::call::{Answer, Call};
use super::layers::ProxyParts;
use super::{names, pass, tenants};
use crate::cache::Outcome;
use crate::error::{Result, Retry};
use crate::mode::{Permit, Plan};
use crate::model::{Class, Operation, StoreKind};
use crate::store::PassCall;
use crate::wire;

pub(super) async fn write(
    parts: &Arc<ProxyParts>,
    plan: Arc<Plan>,
    call: Call,
    permit: Permit,
) -> Result<Answer> {
    let (asker, collection) = (call.asker, call.collection.clone());
    let patience = parts.patience(&plan, call.operation, call.head.uri.query());
    let names = match call.operation.class() {
        Class::PointWrite | Class::CollectionWrite | Class::IndexWrite => {
            names::told(parts, &plan, asker, &call.head, patience).await
        }
        Class::PointRead
        | Class::SearchRead
        | Class::SampleRead
        | Class::CollectionRead
        | Class::AliasRead
        | Class::AliasWrite
        | Class::SnapshotRead
        | Class::SnapshotWrite
        | Class::ClusterRead
        | Class::ClusterWrite
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding
        | Class::Unknown => None,
    };
    let tenancy = match (&collection, &names) {
        (Some(name), Some(names)) if call.operation.class() == Class::PointWrite => {
            let who = (asker, &**name);
            tenants::told(parts, &plan, who, names, &call.head, patience).await
        }
        (_, None) | (None, _) | (Some(_), Some(_)) => None,
    };
    let tenancy = tenancy.filter(|tenancy| tenancy.has_tenants());
    let call = match &tenancy {
        Some(_) => pass::taken_in_to_be_read(parts, &plan, call).await?,
        None => pass::taken_in(parts, &plan, call).await?,
    };
    // One that breaks off before its end ends the call by itself.
    let is_whole = call.body.is_whole() || call.operation.class() == Class::SnapshotWrite;
    let cloned = Arc::clone(parts);
    let work = async move {
        let cache = &cloned.cache;
        let narrowing = match (&collection, &names, &tenancy) {
            (Some(name), Some(names), Some(_)) => {
                let body = call.body.as_bytes();
                let narrowing = cache.narrowing(call.operation, name, names, body.as_deref());
                narrowing.map(|narrowing| (narrowing, name))
            }
            (_, _, None) | (_, None, _) | (None, _, _) => None,
        };
        let writing = match narrowing {
            Some((narrowing, name)) => {
                let found = tenants::found(&plan, &narrowing, name, &call.head).await;
                Some(narrowing.narrow(found.as_deref()))
            }
            None => cache.writing(call.operation, collection.as_deref(), names.as_deref()),
        };
        let (operation, kind) = (call.operation, plan.authority.kind());
        let waits = waits(&call);
        let said = call.body.as_bytes();
        let sent = pass::send_write(&cloned, &plan, collection.as_deref(), call, &permit);
        let answered = sent.await;
        cache.reckon_write(operation, collection.as_deref(), said.as_deref());
        if let Some(writing) = writing {
            writing
                .end(outcome(operation, kind, waits, &answered))
                .await;
        }
        answered
    };
    pass::to_its_end(parts, is_whole, work).await
}

fn waits(call: &PassCall) -> bool {
    wire::Params::read(call.operation, call.head.uri.query()).is_ok_and(|params| params.wait)
}

/// Whether the write has had its effect by now, or never will.
fn outcome(
    operation: Operation,
    kind: StoreKind,
    waits: bool,
    answered: &Result<Answer>,
) -> Outcome {
    let answer = match answered {
        Ok(answer) => answer,
        Err(error) if error.retry() == Retry::OutcomeUnknown => return Outcome::Unsettled,
        Err(_never_sent) => return Outcome::Settled,
    };
    let status = answer.response.status();
    if status.is_server_error() || status == http::StatusCode::REQUEST_TIMEOUT {
        return Outcome::Unsettled;
    }
    // Stores of our own answer when it is done, whatever the client waits for.
    let own = matches!(kind, StoreKind::Embedded | StoreKind::Pgvector);
    let later = matches!(operation.class(), Class::PointWrite | Class::IndexWrite);
    if own || !later || status.is_client_error() {
        return Outcome::Settled;
    }
    // A write that is waited for can still be answered before it is done.
    let body = answer.response.body().as_bytes().unwrap_or_default();
    let says = |word: &str| memmem::find(&body, word.as_bytes()).is_some();
    if waits && says("\"completed\"") && !says("\"acknowledged\"") && !says("\"wait_timeout\"") {
        Outcome::Settled
    } else {
        Outcome::Unsettled
    }
}
