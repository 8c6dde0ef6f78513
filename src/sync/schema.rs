//! Makes what a collection is at the follower what it is at the authority: whether it is there, its
//! vectors, its payload indexes, its settings; and the aliases.
//!
//! State is compared and what differs is changed, so it can be done at any time and again. What it
//! must never do: delete points. A collection that is there with other vectors than the authority's
//! is somebody's; unless it is known that it was dropped, it stays, and the caller is told.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::direction::Asked;
use super::look::odd;
pub(super) use super::look::{alias_map, collections, describe, is_alias};
use super::peer::{Peer, Said, name};
use crate::error::Result;
use crate::model::Operation;

/// What came of it.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Brought {
    /// The follower has the collection as the authority does.
    Alike,
    /// The same, and it is a new one.
    Made,
    /// The authority has no such collection. What the follower has was left.
    Gone,
    /// The follower has no such collection, and it was not to be made.
    Lacking,
    /// It cannot be made alike as things are: why. It says nothing of whose the collection is.
    Blocked(Box<str>),
    /// The follower has another collection of this name, with other vectors: which.
    Other(Box<str>),
}

/// What may be made that the follower lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Makes {
    Nothing,
    Collections,
}

/// Settings that are brought, by the name they have in a description and in a request. How a
/// cluster spreads a collection is each store's own.
const SETTINGS: [(&str, &str); 5] = [
    ("hnsw_config", "hnsw_config"),
    ("optimizer_config", "optimizers_config"),
    ("quantization_config", "quantization_config"),
    ("strict_mode_config", "strict_mode_config"),
    ("metadata", "metadata"),
];

/// What makes two vectors different ones.
const VECTOR_KIND: [&str; 4] = ["size", "distance", "multivector_config", "datatype"];

/// Cancel safety: not safe; a part may be done. Doing it again completes it.
pub(super) async fn bring(
    authority: &Peer,
    follower: &Peer,
    follows: &Asked,
    collection: &str,
    makes: Makes,
) -> Result<Brought> {
    // Both stores would answer for an alias as well, and for another collection then.
    if is_alias(authority, collection).await? {
        return Ok(Brought::Gone);
    }
    let Some(wanted) = describe(authority, collection).await? else {
        return Ok(Brought::Gone);
    };
    if is_alias(follower, collection).await? {
        if let Brought::Blocked(why) = aliases(authority, follower, follows).await? {
            return Ok(Brought::Blocked(why));
        }
        if is_alias(follower, collection).await? {
            let why = "the follower has an alias of this name, and what it leads to does not follow: \
                       delete the alias there";
            return Ok(Brought::Blocked(why.into()));
        }
    }
    let mut there = describe(follower, collection).await?;
    if there.is_none() {
        if makes == Makes::Nothing {
            return Ok(Brought::Lacking);
        }
        let made = create(follower, collection, &wanted).await?;
        if made != Brought::Alike {
            // Another sidecar may have been as early.
            there = describe(follower, collection).await?;
            if there.is_none() {
                return Ok(made);
            }
        }
    }
    let (brought, is_new) = match there {
        None => (Brought::Alike, true),
        Some(there) => (change(follower, collection, &wanted, &there).await?, false),
    };
    if brought != Brought::Alike {
        return Ok(brought);
    }
    let there = describe(follower, collection).await?.unwrap_or_default();
    match indexes(follower, collection, &wanted, &there).await? {
        Brought::Alike if is_new => Ok(Brought::Made),
        brought @ (Brought::Alike
        | Brought::Made
        | Brought::Gone
        | Brought::Lacking
        | Brought::Blocked(_)
        | Brought::Other(_)) => Ok(brought),
    }
}

/// Deletes what the follower has under this name.
///
/// Cancel safety: not safe; it may be done or not.
pub(super) async fn drop_collection(follower: &Peer, collection: &str) -> Result<()> {
    let path = format!("/collections/{}", name(collection));
    let said = follower.ask(Operation::DeleteCollection, Method::DELETE, &path, "");
    match said.await? {
        Said::Done(_) | Said::NoCollection => Ok(()),
        Said::Refused(why) => Err(odd(follower, "delete a collection", &why)),
    }
}

/// Makes the follower's aliases of collections that follow those of the authority, at one instant.
/// An alias of a collection that the follower lacks has to wait for it. The aliases of collections
/// that do not follow are somebody's own, but for one whose name is taken by one that does.
///
/// Cancel safety: not safe; it may be done or not.
pub(super) async fn aliases(authority: &Peer, follower: &Peer, follows: &Asked) -> Result<Brought> {
    let (mut wanted, there) = (alias_map(authority).await?, alias_map(follower).await?);
    let known = collections(follower).await?;
    wanted.retain(|_, collection| known.contains(collection) && follows(collection));
    let gone = there.iter().filter(|(alias, of)| {
        wanted.get(*alias) != Some(*of) && (follows(of) || wanted.contains_key(*alias))
    });
    let gone = gone.map(|(alias, _)| json!({"delete_alias": {"alias_name": alias}}));
    let new = wanted
        .iter()
        .filter(|(alias, of)| there.get(*alias) != Some(*of));
    let new = new
        .map(|(alias, of)| json!({"create_alias": {"alias_name": alias, "collection_name": of}}));
    let actions: Vec<Value> = gone.chain(new).collect();
    if actions.is_empty() {
        return Ok(Brought::Alike);
    }
    let body = json!({ "actions": actions }).to_string();
    let path = "/collections/aliases";
    let said = follower.ask(Operation::UpdateAliases, Method::POST, path, body);
    Ok(brought(said.await?))
}

fn brought<T>(said: Said<T>) -> Brought {
    match said {
        Said::Done(_) => Brought::Alike,
        Said::NoCollection => Brought::Gone,
        Said::Refused(why) => Brought::Blocked(why),
    }
}

async fn create(follower: &Peer, collection: &str, wanted: &Value) -> Result<Brought> {
    let (config, params) = (&wanted["config"], &wanted["config"]["params"]);
    let mut request = Map::new();
    for key in ["vectors", "sparse_vectors", "on_disk_payload"] {
        request.insert(key.to_owned(), params[key].clone());
    }
    for (from, to) in SETTINGS {
        request.insert(to.to_owned(), config[from].clone());
    }
    request.retain(|_, value| !value.is_null());
    let path = format!("/collections/{}", name(collection));
    let body = Value::Object(request).to_string();
    let said = follower.ask(Operation::CreateCollection, Method::PUT, &path, body);
    Ok(brought(said.await?))
}

async fn change(
    follower: &Peer,
    collection: &str,
    wanted: &Value,
    there: &Value,
) -> Result<Brought> {
    let vectors = (vectors(wanted), vectors(there));
    if vectors.0.contains_key("") != vectors.1.contains_key("") {
        let why = "the follower's collection has named vectors and the authority's one without a \
                   name, or the other way: delete it there";
        return Ok(Brought::Other(why.into()));
    }
    for (vector, kind) in &vectors.0 {
        match vectors.1.get(vector) {
            Some(found) if found == kind => (),
            Some(_) => {
                let why = format!(
                    "the follower's collection has another vector `{vector}`: delete it there, \
                     or let it be re-embedded"
                );
                return Ok(Brought::Other(why.into()));
            }
            None => {
                let said = put_vector(follower, collection, vector, kind).await?;
                if said != Brought::Alike {
                    return Ok(said);
                }
            }
        }
    }
    for vector in vectors
        .1
        .keys()
        .filter(|name| !vectors.0.contains_key(*name))
    {
        let path = format!(
            "/collections/{}/vectors/{}?wait=true",
            name(collection),
            name(vector)
        );
        let said = follower.ask(Operation::DeleteVectorName, Method::DELETE, &path, "");
        let said = brought(said.await?);
        if said != Brought::Alike {
            return Ok(said);
        }
    }
    settings(follower, collection, wanted, there).await
}

async fn put_vector(
    follower: &Peer,
    collection: &str,
    vector: &str,
    kind: &(bool, Value),
) -> Result<Brought> {
    let path = format!(
        "/collections/{}/vectors/{}?wait=true",
        name(collection),
        name(vector)
    );
    let (is_dense, kind) = kind;
    let body = json!({ if *is_dense { "dense" } else { "sparse" }: kind }).to_string();
    let said = follower.ask(Operation::CreateVectorName, Method::PUT, &path, body);
    Ok(brought(said.await?))
}

/// Each vector with whether it is dense and with what makes it what it is.
fn vectors(description: &Value) -> BTreeMap<String, (bool, Value)> {
    let params = &description["config"]["params"];
    let kind = |of: &Value, keys: &[&str]| {
        let kept = keys.iter().filter(|key| !of[**key].is_null());
        let kept = kept.map(|key| ((*key).to_owned(), of[*key].clone()));
        Value::Object(kept.collect())
    };
    let mut found = BTreeMap::new();
    let dense = &params["vectors"];
    if dense["size"].is_u64() {
        found.insert(String::new(), (true, kind(dense, &VECTOR_KIND)));
    } else {
        for (vector, of) in dense.as_object().into_iter().flatten() {
            found.insert(vector.clone(), (true, kind(of, &VECTOR_KIND)));
        }
    }
    for (vector, of) in params["sparse_vectors"].as_object().into_iter().flatten() {
        found.insert(vector.clone(), (false, kind(of, &["modifier"])));
    }
    found
}

async fn settings(
    follower: &Peer,
    collection: &str,
    wanted: &Value,
    there: &Value,
) -> Result<Brought> {
    let mut request = Map::new();
    for (from, to) in SETTINGS {
        let (wanted, there) = (&wanted["config"][from], &there["config"][from]);
        if wanted != there && !wanted.is_null() {
            request.insert(to.to_owned(), wanted.clone());
        }
    }
    if request.is_empty() {
        return Ok(Brought::Alike);
    }
    let path = format!("/collections/{}", name(collection));
    let body = Value::Object(request).to_string();
    let said = follower.ask(Operation::UpdateCollection, Method::PATCH, &path, body);
    Ok(brought(said.await?))
}

async fn indexes(
    follower: &Peer,
    collection: &str,
    wanted: &Value,
    there: &Value,
) -> Result<Brought> {
    let (wanted, there) = (declared(wanted), declared(there));
    let base = format!("/collections/{}/index", name(collection));
    for field in there.keys().filter(|field| !wanted.contains_key(*field)) {
        let path = format!("{base}/{}?wait=true", name(field));
        let said = follower.ask(Operation::DeleteIndex, Method::DELETE, &path, "");
        let said = brought(said.await?);
        if said != Brought::Alike {
            return Ok(said);
        }
    }
    for (field, schema) in &wanted {
        if there.get(field) == Some(schema) {
            continue;
        }
        let body = json!({"field_name": field, "field_schema": schema}).to_string();
        let path = format!("{base}?wait=true");
        let said = follower.ask(Operation::CreateIndex, Method::PUT, &path, body);
        let said = brought(said.await?);
        if said != Brought::Alike {
            return Ok(said);
        }
    }
    Ok(Brought::Alike)
}

/// Each payload index as it would be asked for.
fn declared(description: &Value) -> BTreeMap<String, Value> {
    let listed = description["payload_schema"].as_object();
    let schema = |of: &Value| match &of["params"] {
        Value::Null => of["data_type"].clone(),
        params @ (Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_)) => params.clone(),
    };
    let listed = listed.into_iter().flatten();
    listed
        .map(|(field, of)| (field.clone(), schema(of)))
        .collect()
}
