//! What is at a store: its collections, its aliases, and what it says of one collection.
//!
//! What must never happen: that something is taken for absent of which the store has not said so in
//! its own words. Whatever stands before a store may answer too (a page that is not found, a
//! redirect), and a follower would lose what its authority has.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::peer::{Peer, Said, name};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::Operation;

/// The names of all collections, in order.
pub(super) async fn collections(peer: &Peer) -> Result<Vec<String>> {
    let listed = listed(peer, Operation::ListCollections, "/collections").await?;
    let names = listed
        .iter()
        .filter_map(|entry| entry["name"].as_str().map(str::to_owned));
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    Ok(names)
}

/// Alias to collection.
pub(super) async fn alias_map(peer: &Peer) -> Result<BTreeMap<String, String>> {
    let listed = listed(peer, Operation::ListAliases, "/aliases").await?;
    let pair = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().map(str::to_owned);
        Some((text("alias_name")?, text("collection_name")?))
    };
    Ok(listed.iter().filter_map(pair).collect())
}

/// What a store lists. Every store can, so that it will not is no empty list.
async fn listed(peer: &Peer, operation: Operation, path: &str) -> Result<Vec<Value>> {
    let reply = match peer.ask(operation, Method::GET, path, "").await? {
        Said::Done(reply) => reply,
        Said::NoCollection => return Err(odd(peer, &operation.to_string(), "no collection")),
        Said::Refused(why) => return Err(odd(peer, &operation.to_string(), &why)),
    };
    let mut answer: Value = peer.read(&reply)?;
    let key = path.trim_start_matches('/');
    match answer["result"][key].take() {
        Value::Array(listed) => Ok(listed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            Err(odd(peer, &operation.to_string(), "it is no list"))
        }
    }
}

/// An answer that is not the store's own, or that nobody gives who is in order.
pub(super) fn odd(peer: &Peer, asked: &str, said: &str) -> Error {
    let doing = format!("the {} store was asked to {asked}: {said}", peer.kind());
    let origin = Origin::from(peer.kind());
    Error::new(ErrorKind::Nonsense, origin, Retry::Safe, doing)
}

/// Whether a name leads to a collection of another name.
pub(super) async fn is_alias(peer: &Peer, collection: &str) -> Result<bool> {
    Ok(alias_map(peer).await?.contains_key(collection))
}

/// What the store says of a collection.
pub(super) async fn describe(peer: &Peer, collection: &str) -> Result<Option<Value>> {
    let path = format!("/collections/{}", name(collection));
    let said = peer.ask(Operation::GetCollection, Method::GET, &path, "");
    match said.await? {
        Said::Done(reply) => {
            let mut answer: Value = peer.read(&reply)?;
            let description = answer["result"].take();
            if description["config"].is_object() {
                Ok(Some(description))
            } else {
                Err(odd(peer, "describe a collection", "it is no description"))
            }
        }
        Said::NoCollection => Ok(None),
        Said::Refused(why) => Err(odd(peer, "describe a collection", &why)),
    }
}
