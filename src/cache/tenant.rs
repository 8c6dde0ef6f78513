//! Which payload field tells the tenants of a collection apart, and whose a point is.
//!
//! A field is known from the settings, or from the store's own word (`is_tenant`). What callers were
//! told is remembered as aliases are. Every field that anybody was ever told of stays known here: a
//! kept answer may hang on it, so a write has to tell whose points are by that field too.
//!
//! Only plain paths of keys are understood. A list or an object where one value should stand is not
//! one tenant's, and whoever meets one has to take the collection for touched.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;
use uuid::Uuid;

use super::generation::Seen;
use super::key::Asker;

/// For how long what the store said of a collection holds, if nothing here changes it.
const REMEMBERED: Duration = Duration::from_secs(10);
/// With other sidecars about: how long after a field was learned until reads go by it. By then
/// whoever writes anywhere has asked again, and knows of it. What the settings name is known to all.
pub(super) const LEARNED_BY_ALL: Duration = Duration::from_secs(20);
const VIEWS_MAX: usize = 4096;
const COLLECTIONS_MAX: usize = 4096;

/// What a collection's configuration says of tenants, as one caller was told.
#[derive(Debug, Default)]
pub struct Tenancy {
    fields: Vec<Arc<Field>>,
    /// The one of them that the settings name.
    configured: Option<Arc<Field>>,
    /// The vectors whose scores depend on every point of the collection.
    idf: HashSet<String>,
}

/// A payload field, by its path.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Field {
    pub(super) text: String,
}

/// Whose a point is.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// No read that is pinned by the field finds it.
    Nobodys,
    /// The JSON text of the one value.
    Tenants(String),
    /// Several values, or something that is none.
    Unclear,
}

/// Qdrant's answer to `GET /collections/NAME`, as far as it matters here.
#[derive(Deserialize)]
struct Told {
    result: Info,
}

#[derive(Deserialize)]
struct Info {
    config: Config,
    #[serde(default)]
    payload_schema: HashMap<String, Index>,
}

#[derive(Deserialize)]
struct Config {
    params: Params,
}

#[derive(Deserialize)]
struct Params {
    #[serde(default)]
    sparse_vectors: Option<HashMap<String, Sparse>>,
    #[serde(default)]
    sharding_method: Option<String>,
}

#[derive(Deserialize)]
struct Sparse {
    #[serde(default)]
    modifier: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    params: Option<IndexParams>,
}

#[derive(Deserialize)]
struct IndexParams {
    #[serde(default)]
    is_tenant: Option<bool>,
}

impl Tenancy {
    /// From the store's answer, and the field that the settings name. `None` when the answer is no
    /// description of a collection.
    pub(super) fn parse(answer: &[u8], configured: Option<&str>) -> Option<Self> {
        let Told { result } = serde_json::from_slice(answer).ok()?;
        let params = result.config.params;
        let is_tenant = |index: &Index| {
            let params = index.params.as_ref();
            params.and_then(|params| params.is_tenant) == Some(true)
        };
        let indexed = result.payload_schema.iter();
        let indexed = indexed.filter_map(|(name, index)| is_tenant(index).then_some(name.as_str()));
        // Under several shard keys one id may stand for several points.
        let one_point_an_id = params.sharding_method.as_deref() != Some("custom");
        let field = |text| Field::parse(text).filter(|_| one_point_an_id).map(Arc::new);
        let configured = configured.and_then(field);
        let mut fields: Vec<Arc<Field>> = indexed.filter_map(field).collect();
        fields.extend(configured.clone());
        fields.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        fields.dedup();
        let sparse = params.sparse_vectors.unwrap_or_default().into_iter();
        let idf =
            sparse.filter(|(_, of)| of.modifier.as_deref().is_some_and(|word| word != "none"));
        Some(Self {
            fields,
            configured,
            idf: idf.map(|(name, _)| name).collect(),
        })
    }

    pub fn has_tenants(&self) -> bool {
        !self.fields.is_empty()
    }

    /// Whether scores by this vector depend on every point.
    pub(super) fn is_idf(&self, vector: &str) -> bool {
        self.idf.contains(vector)
    }
}

impl Field {
    /// `None` for a path of anything but plain keys.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let is_key = |key: &str| !key.is_empty() && key.chars().all(plain);
        let text = text.to_owned();
        text.split('.').all(is_key).then_some(Self { text })
    }

    pub(super) fn whose(&self, payload: &Map<String, Value>) -> Whose {
        let mut keys = self.text.split('.');
        let mut at = keys.next().and_then(|key| payload.get(key));
        for key in keys {
            at = match at {
                Some(Value::Object(fields)) => fields.get(key),
                Some(Value::Array(_)) => return Whose::Unclear,
                None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                    None
                }
            };
        }
        match at {
            None | Some(Value::Null) => Whose::Nobodys,
            Some(value) => canonical(value).map_or(Whose::Unclear, Whose::Tenants),
        }
    }
}

/// One text for all that a store may take for one value: an index of UUIDs knows no spelling, and
/// 1 and 1.0 are not told apart here. `None` for what is not one value.
pub(super) fn canonical(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => {
            let told = Uuid::parse_str(text).map(|id| id.hyphenated().to_string());
            serde_json::to_string(told.as_ref().unwrap_or(text)).ok()
        }
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => match number.as_f64() {
            _ if number.is_i64() || number.is_u64() => Some(number.to_string()),
            Some(whole) if whole.fract() == 0.0 => Some(format!("{:.0}", whole + 0.0)),
            Some(_) | None => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The fields of all collections, and what callers were told.
#[derive(Default)]
pub(super) struct Tenants {
    views: Mutex<HashMap<(Asker, Box<str>), View>>,
    known: Mutex<HashMap<Box<str>, Vec<Known>>>,
    /// See [`LEARNED_BY_ALL`]; zero where there is no other sidecar.
    ripe_after: Duration,
}

struct View {
    tenancy: Option<Arc<Tenancy>>,
    seen: Seen,
    asked_at: Instant,
}

struct Known {
    field: Arc<Field>,
    since: Instant,
}

/// Whether anything was forgotten on which kept answers may hang.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Forgot {
    Nothing,
    Fields,
}

impl Tenants {
    pub(super) fn new(ripe_after: Duration) -> Self {
        Self {
            ripe_after,
            ..Self::default()
        }
    }

    /// As [`super::names::Views::get`].
    pub(super) fn told(
        &self,
        asker: Asker,
        name: &str,
        in_force: impl FnOnce(&Seen) -> bool,
    ) -> Option<Option<Arc<Tenancy>>> {
        let views = self.views.lock();
        let view = views.get(&(asker, name.into()))?;
        let holds = view.asked_at.elapsed() < REMEMBERED && in_force(&view.seen);
        holds.then(|| view.tenancy.clone())
    }

    /// `name` is as the caller says it, `collection` what it means.
    pub(super) fn remember(
        &self,
        (asker, name): (Asker, &str),
        collection: &str,
        tenancy: Option<Arc<Tenancy>>,
        seen: Seen,
    ) -> Forgot {
        let fields = tenancy.iter().flat_map(|tenancy| &tenancy.fields);
        let forgot = self.learn(collection, fields);
        let asked_at = Instant::now();
        let view = View {
            tenancy,
            seen,
            asked_at,
        };
        let mut views = self.views.lock();
        if views.len() >= VIEWS_MAX {
            views.clear();
        }
        views.insert((asker, name.into()), view);
        forgot
    }

    fn learn<'a>(&self, collection: &str, fields: impl Iterator<Item = &'a Arc<Field>>) -> Forgot {
        let mut forgot = Forgot::Nothing;
        let mut known = self.known.lock();
        for field in fields {
            if known.len() >= COLLECTIONS_MAX && !known.contains_key(collection) {
                known.clear();
                forgot = Forgot::Fields;
            }
            let of = known.entry(collection.into()).or_default();
            if of.iter().all(|known| known.field != *field) {
                let (field, since) = (Arc::clone(field), Instant::now());
                of.push(Known { field, since });
            }
        }
        forgot
    }

    /// Every field that any read of these collections may go by.
    pub(super) fn fields<'a>(&self, collections: impl Iterator<Item = &'a str>) -> Vec<Arc<Field>> {
        let known = self.known.lock();
        let of = collections.filter_map(|name| known.get(name)).flatten();
        let mut fields: Vec<_> = of.map(|known| Arc::clone(&known.field)).collect();
        fields.sort_unstable_by(|a, b| a.text.cmp(&b.text));
        fields.dedup();
        fields
    }

    /// The fields that a read may go by now.
    pub(super) fn ripe(&self, collection: &str, tenancy: &Tenancy) -> Vec<Arc<Field>> {
        let known = self.known.lock();
        let of = known.get(collection).into_iter().flatten();
        let ripe = of.filter(|known| {
            // The settings are the same at every sidecar: what they name need not be learned.
            let is_known_to_all = known.since.elapsed() >= self.ripe_after
                || tenancy.configured.as_ref() == Some(&known.field);
            is_known_to_all && tenancy.fields.contains(&known.field)
        });
        ripe.map(|known| Arc::clone(&known.field)).collect()
    }
}

#[cfg(test)]
mod tests;
