//! Which plan a call goes by, where collections have modes of their own.
//!
//! A name is looked up as it is, and then through the aliases of the store that the mode of all
//! reads from; where collections are read from both stores, through those of the other as well.

use std::sync::Arc;

use http::request::Parts;
use serde_json::Value;

use super::call::Call;
use super::layers::ProxyParts;
use super::names;
use crate::cache::Asker;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{Plan, Snapshot, needs_permit};
use crate::model::{Class, Operation};

/// The keys under which a read names a second collection.
const LOOKUPS: [&str; 2] = ["lookup_from", "with_lookup"];

/// Cancel safety: safe.
pub(super) async fn plan(
    parts: &ProxyParts,
    snapshot: &Snapshot,
    call: &Call,
) -> Result<Arc<Plan>> {
    let common = snapshot.plan(None);
    if !snapshot.has_own_modes() {
        return Ok(Arc::clone(common));
    }
    if call.operation.class() == Class::AliasWrite {
        if snapshot.reads_both() {
            // An alias of one store for a collection of the other would lead nowhere.
            let text = "Outrigger: aliases cannot be moved while some collections are read from \
                        one store and some from the other";
            return Err(refusal(ErrorKind::Conflict, Origin::Client, text));
        }
        // They may be of a collection that is mirrored, whatever becomes of the others.
        return Ok(Arc::clone(snapshot.of_names()));
    }
    let Some(name) = call.collection.as_deref() else {
        return Ok(Arc::clone(common));
    };
    let asking = (call.asker, &call.head);
    match of_name(parts, snapshot, call.operation, asking, name).await {
        Some(plan) => Ok(plan),
        // A read finds what there is; a write must not miss its mirror.
        None if needs_permit(call.operation) => {
            let text = "some collections have modes of their own, and the store does not say \
                        which collection this name means";
            Err(refusal(ErrorKind::Unavailable, Origin::Proxy, text))
        }
        None => Ok(Arc::clone(common)),
    }
}

/// `None`: it is not known what the name means.
async fn of_name(
    parts: &ProxyParts,
    snapshot: &Snapshot,
    operation: Operation,
    (asker, head): (Asker, &Parts),
    name: &str,
) -> Option<Arc<Plan>> {
    if snapshot.has_own(name) {
        return Some(Arc::clone(snapshot.plan(Some(name))));
    }
    for plan in snapshot.readers() {
        let patience = parts.patience(plan, operation, head.uri.query());
        let names = names::told(parts, plan, asker, head, patience).await?;
        let real = names.collection(name);
        if real != name {
            return Some(Arc::clone(snapshot.plan(Some(real))));
        }
    }
    Some(Arc::clone(snapshot.plan(None)))
}

/// Refuses a read that looks into a collection of the other store.
pub(super) async fn check_lookups(
    parts: &ProxyParts,
    snapshot: &Snapshot,
    plan: &Plan,
    operation: Operation,
    asking: (Asker, &Parts),
    body: &[u8],
) -> Result<()> {
    if operation.class() != Class::SearchRead || !snapshot.reads_both() {
        return Ok(());
    }
    for name in looked_into(operation, body) {
        let other = of_name(parts, snapshot, operation, asking, &name).await;
        if other.is_some_and(|other| other.authority_role != plan.authority_role) {
            let text = format!(
                "Outrigger: this looks into the collection `{name}`, which has another mode and is \
                 read from the other store"
            );
            return Err(Error::new(
                ErrorKind::BadInput,
                Origin::Client,
                Retry::Never,
                text,
            ));
        }
    }
    Ok(())
}

/// The other collections that a read looks into.
pub(super) fn looked_into(operation: Operation, body: &[u8]) -> Vec<String> {
    if operation.class() != Class::SearchRead {
        return Vec::new();
    }
    // What is no JSON is the store's to refuse.
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    let mut found = Vec::new();
    collect(&question, &mut found);
    found.into_iter().map(str::to_owned).collect()
}

/// Goes as deep as a parsed value is, which serde_json bounds.
fn collect<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if LOOKUPS.contains(&key.as_str()) {
                    found.extend(value.get("collection").unwrap_or(value).as_str());
                }
                collect(value, found);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether a name may mean another collection afterwards.
pub(super) fn moves_names(operation: Operation) -> bool {
    match operation.class() {
        Class::AliasWrite
        | Class::CollectionWrite
        | Class::SnapshotWrite
        | Class::ClusterWrite
        | Class::Unknown => true,
        Class::PointRead
        | Class::SearchRead
        | Class::SampleRead
        | Class::PointWrite
        | Class::CollectionRead
        | Class::IndexWrite
        | Class::AliasRead
        | Class::SnapshotRead
        | Class::ClusterRead
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding => false,
    }
}

fn refusal(kind: ErrorKind, origin: Origin, text: &'static str) -> Error {
    Error::new(kind, origin, Retry::Never, text)
}
