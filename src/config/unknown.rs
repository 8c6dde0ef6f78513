//! Keys that no getter asked for: misspelt, misplaced, or of another version. They are refused,
//! because a setting that silently does nothing is worse than a start that fails.

use super::env;
use super::mistake::{Mistake, Origin};
use super::raw::{Given, Key, Raw};
use super::read::Reader;
use super::roles;

/// How alike two keys have to be for one to be proposed for the other, of 1.
const LIKENESS_MIN: f64 = 0.6;
/// What the same last word is worth: most mistakes are a right key in a wrong table.
const SAME_LAST_WORD: f64 = 0.8;

pub(super) fn unknown_keys(reader: &Reader<'_>) -> Vec<Mistake> {
    let unknown = reader
        .layers
        .iter()
        .filter(|(key, given)| !is_known(reader, key, given));
    unknown
        .map(|(key, given)| mistake(reader, key, given))
        .collect()
}

fn is_known(reader: &Reader<'_>, key: &Key, given: &Given) -> bool {
    if reader.asked.contains_key(key) || reader.pointers.contains(key) {
        return true;
    }
    match &given.origin {
        // Some secret is `{ env = "OUTRIGGER_…" }`: the variable is used, if not as a key.
        Origin::Env { variable } if reader.referenced.contains(variable) => true,
        Origin::Default | Origin::File { .. } | Origin::Env { .. } | Origin::Flag { .. } => {
            given.value == Raw::EmptyTable && is_table(reader, key)
        }
    }
}

fn is_table(reader: &Reader<'_>, key: &Key) -> bool {
    reader.tables.contains(key) || reader.asked.keys().any(|asked| asked.starts_with(key))
}

/// The value is not shown: it may be a secret under a misspelt name.
fn mistake(reader: &Reader<'_>, key: &Key, given: &Given) -> Mistake {
    let origin = Some(given.origin.clone());
    if given.value != Raw::EmptyTable && is_table(reader, key) {
        let problem = "is a table of settings, and was given a value";
        return Mistake::new(key.to_string(), problem).origin(origin);
    }
    let mistake = Mistake::new(key.to_string(), "is not a setting").origin(origin);
    match proposal(reader, key, given) {
        Some(meant) => mistake.hint(format!("did you mean {meant}?")),
        None => mistake.hint("config/default.toml lists every setting"),
    }
}

fn proposal(reader: &Reader<'_>, key: &Key, given: &Given) -> Option<String> {
    let variable = match &given.origin {
        Origin::Env { variable } => Some(variable),
        Origin::Default | Origin::File { .. } | Origin::Flag { .. } => None,
    };
    if let Some(name) = variable.and_then(|variable| env::name_in_the_field(variable)) {
        return Some(name.to_owned());
    }
    let keys = reader.asked.keys().map(|asked| {
        let written = if variable.is_some() {
            env::variable_of(asked)
        } else {
            asked.to_string()
        };
        (likeness(key, asked), written)
    });
    let of_stores = roles::VARIABLES.iter().filter_map(|name| {
        let rest = env::without_prefix(variable?)?;
        let alike = strsim::normalized_damerau_levenshtein(rest, env::without_prefix(name)?);
        Some((alike, (*name).to_owned()))
    });
    keys.chain(of_stores)
        .filter(|(score, _)| *score >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, meant)| meant)
}

fn likeness(key: &Key, asked: &Key) -> f64 {
    let alike = strsim::normalized_damerau_levenshtein(&key.to_string(), &asked.to_string());
    if asked.last() == key.last() {
        SAME_LAST_WORD + alike * (1.0 - SAME_LAST_WORD)
    } else {
        alike
    }
}
