//! Whether two stores hold the same, and what is known to have been written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::call::ask;
use super::history::Failure;
use super::known::{Id, Known, Point, same, shown};

/// A sidecar that only looks on hears of collections and aliases a moment later.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
const LIMIT: usize = 100_000;

/// What a store holds of some collections.
pub(super) struct Contents {
    /// All that are there, also such as nobody asked for.
    collections: BTreeSet<String>,
    /// Of each that is there its shape, its payload indexes, the aliases.
    schema: BTreeMap<String, Value>,
    points: BTreeMap<String, BTreeMap<Id, Point>>,
}

impl Contents {
    pub(super) async fn of(store: SocketAddr, names: &[String]) -> Result<Self, Failure> {
        let target = "/collections";
        let listed = read(store, "GET", target, &Value::Null)
            .await?
            .unwrap_or_default();
        let listed = listed["collections"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let listed = listed.iter().filter_map(|of| of["name"].as_str());
        let mut all = Self {
            collections: listed.map(ToOwned::to_owned).collect(),
            schema: BTreeMap::new(),
            points: BTreeMap::new(),
        };
        for name in names {
            let target = format!("/collections/{name}");
            let Some(info) = read(store, "GET", &target, &Value::Null).await? else {
                continue;
            };
            let target = format!("/collections/{name}/aliases");
            let aliases = read(store, "GET", &target, &Value::Null).await?;
            all.schema.insert(name.clone(), schema(&info, aliases));
            let body = json!({"limit": LIMIT, "with_payload": true, "with_vector": true});
            let target = format!("/collections/{name}/points/scroll");
            let told = read(store, "POST", &target, &body)
                .await?
                .unwrap_or_default();
            let told = told["points"].as_array().cloned().unwrap_or_default();
            let points = told.iter().map(|of| (Id::of(&of["id"]), Point::read(of)));
            all.points.insert(name.clone(), points.collect());
        }
        Ok(all)
    }

    pub(super) fn points(&self) -> usize {
        self.points.values().map(BTreeMap::len).sum()
    }

    /// That no write that was acknowledged is missing, and none that was not is there.
    pub(super) fn is_as_known(&self, name: &str, known: &Known) -> Result<(), Failure> {
        let points = self.points.get(name);
        for id in known.ids() {
            let state = points.and_then(|points| points.get(id)).cloned();
            if let Some(doubt) = known.doubts(id, &state) {
                return Err(Failure::of(id, format!("{name} at the end: {doubt}")));
            }
        }
        Ok(())
    }

    fn differs_in_points(&self, other: &Self) -> Option<Failure> {
        for (name, points) in &self.points {
            let others = other.points.get(name)?;
            let ids = points.keys().chain(others.keys());
            for id in ids {
                let (one, other) = (points.get(id).cloned(), others.get(id).cloned());
                if !same(&one, &other) {
                    let (one, other) = (shown(&one), shown(&other));
                    let text = format!(
                        "{name}: {} differs\n  primary:   {one}\n  secondary: {other}",
                        id.0
                    );
                    return Some(Failure::of(id, text));
                }
            }
        }
        None
    }

    fn differs_in_schema(&self, other: &Self) -> Option<Failure> {
        if self.collections != other.collections {
            let one: Vec<_> = self.collections.difference(&other.collections).collect();
            let other: Vec<_> = other.collections.difference(&self.collections).collect();
            let text = format!("only the primary has {one:?}, only the secondary {other:?}");
            return Some(Failure::new(text));
        }
        let names = self.schema.keys().chain(other.schema.keys());
        for name in names {
            let (one, other) = (self.schema.get(name), other.schema.get(name));
            if one != other {
                let shown = |of: Option<&Value>| of.map_or("absent".to_owned(), Value::to_string);
                let text = format!(
                    "{name} differs\n  primary:   {}\n  secondary: {}",
                    shown(one),
                    shown(other)
                );
                return Some(Failure::new(text));
            }
        }
        None
    }
}

/// That both hold the same.
pub(super) async fn agree(
    primary: SocketAddr,
    secondary: SocketAddr,
    names: &[String],
) -> Result<(), Failure> {
    let until = Instant::now() + HEARD_WITHIN;
    loop {
        let one = Contents::of(primary, names).await?;
        let other = Contents::of(secondary, names).await?;
        match one.differs_in_schema(&other) {
            None => return one.differs_in_points(&other).map_or(Ok(()), Err),
            Some(failure) if Instant::now() > until => return Err(failure),
            Some(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// None where there is no such thing.
async fn read(
    store: SocketAddr,
    method: &str,
    target: &str,
    body: &Value,
) -> Result<Option<Value>, Failure> {
    let outcome = ask(store, method, target, body).await;
    if outcome.is_done() {
        return Ok(Some(outcome.result().clone()));
    }
    if matches!(outcome, super::call::Outcome::Said(404, _)) {
        return Ok(None);
    }
    let told = outcome.told();
    Err(Failure::new(format!(
        "{method} {target} at a store: {told}"
    )))
}

/// What clients have made of it, less what is the store's own business.
fn schema(info: &Value, aliases: Option<Value>) -> Value {
    let params = &info["config"]["params"];
    let indexes = info["payload_schema"].as_object().cloned();
    let indexes = indexes.unwrap_or_default().into_iter();
    let indexes: Map<String, Value> = indexes
        .map(|(field, of)| (field, json!([of["data_type"], of["params"]])))
        .collect();
    let aliases = aliases.unwrap_or_default();
    let aliases = aliases["aliases"].as_array().cloned().unwrap_or_default();
    let mut aliases: Vec<String> = aliases
        .iter()
        .filter_map(|of| of["alias_name"].as_str().map(ToOwned::to_owned))
        .collect();
    aliases.sort();
    json!({
        "vectors": told(&params["vectors"]),
        "sparse": told(&params["sparse_vectors"]),
        "metadata": info["config"]["metadata"],
        "indexes": indexes,
        "aliases": aliases,
    })
}

/// Without what is null, or empty, which is the same as not said.
fn told(value: &Value) -> Value {
    let Value::Object(map) = value else {
        return value.clone();
    };
    let kept = map.iter().filter(|(_, of)| !of.is_null());
    let kept = kept.map(|(key, of)| (key.clone(), told(of)));
    Value::Object(kept.collect())
}
