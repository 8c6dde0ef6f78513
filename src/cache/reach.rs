//! How far a call reaches: what an answer depends on, and what a write touches.
//!
//! Where it cannot be told it reaches further, never less far. A question is only taken apart when
//! it has to be answered; a kept answer knows what it depends on.

use serde_json::Value;

use super::names::Names;
use super::pin::Pins;
use super::policy::Bypass;
use super::scope::{Scope, Slot};
use crate::model::{Class, Operation};

/// Words in a question that make it depend on more than its own collection, or on chance.
const LOOKUPS: [&str; 2] = ["lookup_from", "with_lookup"];
const SAMPLE: &str = "sample";

/// What the answer to a read depends on. `names` is `None` where the aliases cannot be had.
pub(super) fn of_read(
    operation: Operation,
    collection: Option<&str>,
    names: Option<&Names>,
    body: &[u8],
) -> Result<Vec<Slot>, Bypass> {
    let mut slots = vec![Scope::World.slot()];
    match operation.class() {
        Class::AliasRead => slots.push(Scope::Catalog.slot()),
        Class::CollectionRead => {
            slots.push(Scope::Catalog.slot());
            // What a collection is tells how many points it has.
            if operation == Operation::GetCollection {
                add_points(&mut slots, collection, names);
            }
            if let Some(name) = collection {
                slots.push(Scope::Shape(real(name, names)).slot());
            }
        }
        Class::PointRead | Class::SearchRead => {
            add_points(&mut slots, collection, names);
            for name in looked_up(body)? {
                add_points(&mut slots, Some(&name), names);
            }
        }
        Class::SampleRead
        | Class::PointWrite
        | Class::CollectionWrite
        | Class::IndexWrite
        | Class::AliasWrite
        | Class::SnapshotRead
        | Class::SnapshotWrite
        | Class::ClusterRead
        | Class::ClusterWrite
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding
        | Class::Unknown => return Err(Bypass::Random),
    }
    slots.sort_unstable();
    slots.dedup();
    Ok(slots)
}

fn add_points(slots: &mut Vec<Slot>, collection: Option<&str>, names: Option<&Names>) {
    match (collection, names) {
        (Some(name), Some(names)) => slots.push(Scope::Points(names.collection(name)).slot()),
        (_, None) | (None, _) => slots.push(Scope::Anything.slot()),
    }
}

fn real<'a>(name: &'a str, names: Option<&'a Names>) -> &'a str {
    names.map_or(name, |names| names.collection(name))
}

/// The other collections that a question looks into.
fn looked_up(body: &[u8]) -> Result<Vec<String>, Bypass> {
    let has = |word: &str| memchr::memmem::find(body, word.as_bytes()).is_some();
    // A key may be written with escapes, in which case only taking it apart tells.
    if ![SAMPLE, "lookup", "\\u"].into_iter().any(has) {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    // What is no JSON is refused by the store, and refusals are not kept.
    let question: Value = serde_json::from_slice(body).unwrap_or_default();
    search(&question, &mut found)?;
    Ok(found)
}

/// Goes as deep as a parsed value is, which serde_json bounds.
fn search(value: &Value, found: &mut Vec<String>) -> Result<(), Bypass> {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == SAMPLE {
                    return Err(Bypass::Random);
                }
                if LOOKUPS.contains(&name.as_str()) {
                    let collection = value.get("collection").unwrap_or(value);
                    found.extend(collection.as_str().map(str::to_owned));
                }
                search(value, found)?;
            }
            Ok(())
        }
        Value::Array(values) => values.iter().try_for_each(|value| search(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// What the answer to a read depends on that finds points of these tenants only.
pub(super) fn of_pinned_read(collection: &str, pins: &Pins) -> Vec<Slot> {
    let mut slots = vec![
        Scope::World.slot(),
        Scope::Shape(collection).slot(),
        Scope::Shared(collection).slot(),
    ];
    slots.extend(of_tenants(&[collection], pins));
    slots.sort_unstable();
    slots.dedup();
    slots
}

/// The points of these tenants, under every name of their collection.
pub(super) fn of_tenants(names: &[&str], pins: &Pins) -> Vec<Slot> {
    let tenant = |collection, (field, value)| Scope::Tenant {
        collection,
        field,
        value,
    };
    let of = |name| {
        pins.iter()
            .map(move |(field, value)| tenant(name, (field, value)).slot())
    };
    names.iter().copied().flat_map(of).collect()
}

/// What a call touches that may change something; empty for one that changes nothing.
pub(super) fn of_write(
    operation: Operation,
    collection: Option<&str>,
    names: Option<&Names>,
) -> Vec<Slot> {
    let mut slots = Vec::new();
    let everything_of = |name: &str, slots: &mut Vec<Slot>| {
        slots.push(Scope::Points(name).slot());
        slots.push(Scope::Shared(name).slot());
        slots.push(Scope::Shape(name).slot());
    };
    match operation.class() {
        Class::PointWrite => match (collection, names) {
            (Some(name), Some(names)) => {
                slots.push(Scope::Anything.slot());
                for name in names.all_of(name).chain([name]) {
                    slots.push(Scope::Points(name).slot());
                    slots.push(Scope::Shared(name).slot());
                }
            }
            (_, None) | (None, _) => slots.push(Scope::World.slot()),
        },
        Class::CollectionWrite | Class::IndexWrite => match (collection, names) {
            (Some(name), Some(names)) => {
                slots.push(Scope::Anything.slot());
                slots.push(Scope::Catalog.slot());
                for name in names.all_of(name).chain([name]) {
                    everything_of(name, &mut slots);
                }
            }
            (_, None) | (None, _) => slots.push(Scope::World.slot()),
        },
        // Taking a snapshot away or making one changes no answer.
        Class::SnapshotWrite if !brings_points(operation) => {}
        // Whatever moves names, brings other points, or is not known here.
        Class::AliasWrite | Class::SnapshotWrite | Class::ClusterWrite | Class::Unknown => {
            slots.push(Scope::World.slot());
        }
        Class::PointRead
        | Class::SearchRead
        | Class::SampleRead
        | Class::CollectionRead
        | Class::AliasRead
        | Class::SnapshotRead
        | Class::ClusterRead
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding => {}
    }
    slots.sort_unstable();
    slots.dedup();
    slots
}

fn brings_points(operation: Operation) -> bool {
    !matches!(
        operation,
        Operation::CreateSnapshot
            | Operation::DeleteSnapshot
            | Operation::CreateFullSnapshot
            | Operation::DeleteFullSnapshot
            | Operation::CreateShardSnapshot
            | Operation::DeleteShardSnapshot
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let answer = r#"{"result":{"aliases":[{"alias_name":"live","collection_name":"docs"}]}}"#;
        Names::parse(answer.as_bytes()).unwrap()
    }

    fn read(operation: Operation, name: &str, body: &str) -> Vec<Slot> {
        of_read(operation, Some(name), Some(&names()), body.as_bytes()).unwrap()
    }

    fn meet(read: &[Slot], written: &[Slot]) -> bool {
        read.iter().any(|slot| written.contains(slot))
    }

    #[test]
    fn a_write_reaches_what_was_read_under_any_name_of_the_collection() {
        let names = names();
        for written in ["docs", "live"] {
            let touched = of_write(Operation::UpsertPoints, Some(written), Some(&names));
            for asked in ["docs", "live"] {
                let slots = read(Operation::QueryPoints, asked, "{}");
                assert!(meet(&slots, &touched), "{asked} {written}");
            }
            assert!(!meet(
                &read(Operation::QueryPoints, "other", "{}"),
                &touched
            ));
        }
    }

    #[test]
    fn without_the_aliases_any_write_reaches_any_read() {
        let blind = of_read(Operation::QueryPoints, Some("a"), None, b"{}").unwrap();
        let told = read(Operation::QueryPoints, "a", "{}");
        let by_blind = of_write(Operation::UpsertPoints, Some("b"), None);
        let by_told = of_write(Operation::UpsertPoints, Some("b"), Some(&names()));
        assert!(meet(&blind, &by_blind) && meet(&blind, &by_told) && meet(&told, &by_blind));
        assert!(!meet(&told, &by_told));
    }

    #[test]
    fn a_question_depends_on_the_collections_that_it_looks_into() {
        for body in [
            r#"{"query": 1, "lookup_from": {"collection": "other", "vector": "a"}}"#,
            r#"{"prefetch": [{"prefetch": {"lookup_from": {"collection": "other"}}}]}"#,
            r#"{"group_by": "a", "with_lookup": "other"}"#,
            r#"{"group_by": "a", "with_lookup": {"collection": "other"}}"#,
            r#"{"searches": [{}, {"\u006cookup_from": {"collection": "other"}}]}"#,
        ] {
            let slots = read(Operation::QueryPoints, "docs", body);
            for name in ["docs", "other"] {
                let touched = of_write(Operation::DeletePoints, Some(name), Some(&names()));
                assert!(meet(&slots, &touched), "{name} {body}");
            }
        }
    }

    #[test]
    fn a_random_sample_is_not_kept() {
        for body in [
            r#"{"query": {"sample": "random"}}"#,
            r#"{"query": {"s\u0061mple": 1}}"#,
        ] {
            let slots = of_read(Operation::QueryPoints, Some("a"), None, body.as_bytes());
            assert_eq!(slots, Err(Bypass::Random), "{body}");
        }
        let named = r#"{"filter": {"must": [{"key": "sample", "match": {"value": 1}}]}}"#;
        assert!(of_read(Operation::QueryPoints, Some("a"), None, named.as_bytes()).is_ok());
    }

    #[test]
    fn what_a_collection_is_depends_on_its_making_and_its_size() {
        let names = names();
        let info = read(Operation::GetCollection, "docs", "");
        let exists = read(Operation::CollectionExists, "docs", "");
        let upsert = of_write(Operation::UpsertPoints, Some("docs"), Some(&names));
        assert!(meet(&info, &upsert) && !meet(&exists, &upsert));
        for operation in [
            Operation::CreateCollection,
            Operation::DeleteCollection,
            Operation::UpdateAliases,
            Operation::CreateIndex,
            Operation::RecoverSnapshot,
        ] {
            let touched = of_write(operation, Some("docs"), Some(&names));
            assert!(
                meet(&info, &touched) && meet(&exists, &touched),
                "{operation}"
            );
            assert!(meet(&read(Operation::QueryPoints, "docs", "{}"), &touched));
        }
    }

    #[test]
    fn every_call_that_may_change_points_touches_something() {
        for operation in Operation::ALL {
            let touched = of_write(operation, Some("docs"), Some(&names()));
            let changes = !operation.class().is_read()
                && operation.class() != Class::ServiceWrite
                && brings_points(operation);
            assert_eq!(!touched.is_empty(), changes, "{operation}");
        }
    }
}
