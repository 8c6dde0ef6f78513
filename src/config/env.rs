//! The environment, read once and turned into a layer of settings.
//!
//! `OUTRIGGER_` and a key's path with `__` for the dots, in any case, is that key
//! (`OUTRIGGER_CACHE__MEMORY_MB`). A few settings also have names of their own that are used in the
//! field (`REDIS_URL`); of the two, the `OUTRIGGER_` name wins. The variables that decide which
//! store has which role are in `roles`.
//!
//! The name of a collection in `OUTRIGGER_COLLECTIONS__NAME__TTL` is everything between the first
//! and the last `__`, so it may hold `__` itself. Environment names have a convention (capitals)
//! and, in shells, an alphabet (`A-Z a-z 0-9 _`) that collection names do not keep to, so:
//!
//! 1. a collection that the file names exactly so is meant;
//! 2. else one that the file names and that differs only in case or in characters which an
//!    environment name cannot hold, each written `_` (`MY_DOCS` for `my-docs`); two of them are a
//!    mistake;
//! 3. else a name all in capitals means its lower-case form, and any other is taken as written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;

use super::mistake::{Mistake, Origin};
use super::raw::{Key, Layers};
use super::roles;

const PREFIX: &str = "OUTRIGGER_";
const COLLECTIONS: &str = "collections";

/// Settings that have a variable of their own, with the key each stands for.
const FIELD_NAMES: [(&str, &str); 8] = [
    ("REDIS_URL", "cache.redis_url"),
    ("REDIS_PASSWORD", "cache.redis_password"),
    ("VECTOR_STORE_MODE", "mode"),
    ("MEMORY_EMBEDDING_CACHE", "embeddings.cache"),
    ("VECTOR_SIZE", "vector_size"),
    ("EMBEDDING_MODEL", "embeddings.model"),
    ("OPENAI_API_KEY", "embeddings.api_key"),
    ("OPENAI_BASE_URL", "embeddings.url"),
];

/// Wins over every layer, since it is how people turn up the log of one run.
const LOG_FILTER: (&str, &str) = ("RUST_LOG", "log.filter");

/// The variables of the process, or of a test. `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Env {
    variables: BTreeMap<String, String>,
    /// Set to something that is no UTF-8.
    not_text: BTreeSet<String>,
}

impl Env {
    /// The only place that reads the environment of the process.
    pub fn from_process() -> Self {
        Self::from_os(std::env::vars_os())
    }

    fn from_os(all: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut env = Self::default();
        // A name that is no text is none of ours.
        for (name, value) in all {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(env.variables.insert(name, value)),
                Err(_) => drop(env.not_text.insert(name)),
            }
        }
        env
    }

    /// The value, unless it is unset or empty: `VARIABLE=` in a compose file means none.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    pub(super) fn is_not_text(&self, name: &str) -> bool {
        self.not_text.contains(name)
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(all: I) -> Self {
        let variables = all
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        Self {
            variables,
            not_text: BTreeSet::new(),
        }
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// How a key is written as a variable.
pub(super) fn variable_of(key: &Key) -> String {
    let is_collection = key
        .segments()
        .first()
        .is_some_and(|first| first == COLLECTIONS);
    let segments = key.segments().iter().enumerate();
    let written: Vec<String> = segments
        .map(|(index, segment)| match is_collection && index == 1 {
            true => segment.clone(),
            false => segment.to_ascii_uppercase(),
        })
        .collect();
    format!("{PREFIX}{}", written.join("__"))
}

pub(super) fn without_prefix(variable: &str) -> Option<&str> {
    variable.strip_prefix(PREFIX)
}

/// The variable without our prefix, where that is what the setting is called in the field:
/// `DATABASE_URL` for `OUTRIGGER_DATABASE_URL`.
pub(super) fn name_in_the_field(variable: &str) -> Option<&str> {
    let rest = variable.strip_prefix(PREFIX)?;
    let names = FIELD_NAMES
        .iter()
        .map(|(name, _)| *name)
        .chain(roles::VARIABLES);
    names.into_iter().find(|name| *name == rest).map(|_| rest)
}

/// Adds the layer of the environment. The file has to be in the layers already, for the names of
/// its collections.
pub(super) fn put_env(layers: &mut Layers, env: &Env) -> Vec<Mistake> {
    let mut mistakes = not_text_mistakes(env);
    for (variable, key) in FIELD_NAMES {
        if let Some(text) = env.get(variable) {
            layers.put_text(Key::of(key), text, origin(variable));
        }
    }
    let collections = layers.names_under(COLLECTIONS);
    let mut seen: BTreeMap<Key, &str> = BTreeMap::new();
    for (variable, text) in &env.variables {
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        if text.is_empty() || is_not_a_key(rest, text) {
            continue;
        }
        let key = match key_of(rest, &collections) {
            Ok(key) => key,
            Err(problem) => {
                mistakes.push(Mistake::new(variable.clone(), problem));
                continue;
            }
        };
        match seen.insert(key.clone(), variable) {
            Some(other) if env.get(other) != Some(text) => mistakes.push(
                Mistake::new(key.to_string(), format!("is set twice, also by {other}"))
                    .origin(Some(origin(variable)))
                    .hint("keep one of the two"),
            ),
            Some(_) | None => layers.put_text(key, text, origin(variable)),
        }
    }
    mistakes
}

/// Adds what wins over flags too.
pub(super) fn put_env_above_all(layers: &mut Layers, env: &Env) {
    let (variable, key) = LOG_FILTER;
    if let Some(text) = env.get(variable) {
        layers.put_text(Key::of(key), text, origin(variable));
    }
}

pub(super) fn origin(variable: &str) -> Origin {
    Origin::Env {
        variable: variable.to_owned(),
    }
}

fn not_text_mistakes(env: &Env) -> Vec<Mistake> {
    let is_field_name = |name: &str| FIELD_NAMES.iter().any(|(variable, _)| *variable == name);
    let is_ours = |name: &&String| {
        name.starts_with(PREFIX) || is_field_name(name) || roles::VARIABLES.contains(&name.as_str())
    };
    let ours = env.not_text.iter().filter(is_ours);
    ours.map(|name| Mistake::new(name.clone(), "is not UTF-8 text"))
        .collect()
}

/// Variables with our prefix that are no keys: they have a meaning elsewhere, or none of ours.
fn is_not_a_key(rest: &str, value: &str) -> bool {
    let is_store = roles::VARIABLES
        .iter()
        .any(|name| name.strip_prefix(PREFIX) == Some(rest));
    let is_log = rest.starts_with("LOG") && !rest.starts_with("LOG__");
    let is_test = rest == "BINARY" || rest.starts_with("TEST_");
    is_store || is_log || is_test || is_of_kubernetes(rest, value)
}

/// Kubernetes and container links describe every service named `outrigger…` to every container,
/// as `OUTRIGGER_SERVICE_HOST`, `OUTRIGGER_PORT=tcp://…` and so on. They must not stop the start.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    // An underscore in front makes every word of the name look alike.
    let rest = format!("_{rest}");
    let is_link = ["tcp://", "udp://", "sctp://"]
        .iter()
        .any(|scheme| value.starts_with(scheme));
    let has_numbered_port = rest.match_indices("_PORT_").any(|(at, found)| {
        let mut words = rest.split_at(at + found.len()).1.split('_');
        words
            .next()
            .is_some_and(|number| number.parse::<u16>().is_ok())
            && words
                .next()
                .is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
    });
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && is_link)
        || has_numbered_port
}

fn key_of(rest: &str, collections: &[String]) -> Result<Key, String> {
    let words: Vec<&str> = rest.split("__").collect();
    if let [first, name @ .., field] = words.as_slice()
        && first.eq_ignore_ascii_case(COLLECTIONS)
        && !name.is_empty()
    {
        let name = collection_of(&name.join("__"), collections)?;
        return Ok(Key::of(COLLECTIONS)
            .child(&name)
            .child(&field.to_ascii_lowercase()));
    }
    Ok(Key::from_segments(
        words.iter().map(|word| word.to_ascii_lowercase()).collect(),
    ))
}

fn collection_of(written: &str, collections: &[String]) -> Result<String, String> {
    if collections.iter().any(|name| name == written) {
        return Ok(written.to_owned());
    }
    let fold = |name: &str| -> String {
        name.chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect()
    };
    let alike: Vec<&String> = collections
        .iter()
        .filter(|name| fold(name) == fold(written))
        .collect();
    match alike.as_slice() {
        [one] => Ok((*one).clone()),
        [] if !written.chars().any(|c| c.is_lowercase()) => Ok(written.to_lowercase()),
        [] => Ok(written.to_owned()),
        [one, other, ..] => Err(format!(
            "could mean the collection {one:?} or {other:?}; set it in the file instead"
        )),
    }
}

#[cfg(test)]
mod tests;
