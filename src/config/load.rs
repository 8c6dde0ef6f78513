//! The way from the sources to checked settings, or to every mistake in them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::env::{self, Env};
use super::mistake::{Mistake, Mistakes, Origin};
use super::raw::{FILE, Key, Layers};
use super::read::Reader;
use super::report::Report;
use super::settings::Settings;
use super::{build, checks, roles, unknown};

/// Compiled in, so that a missing file is never a surprise.
pub(super) const DEFAULTS: &str = include_str!("../../config/default.toml");

/// Where settings come from. Not `Debug`: flags may hold secrets.
#[derive(Clone, Default)]
pub struct Sources {
    /// Named by the user: it has to be there.
    pub file: Option<PathBuf>,
    /// Read when no file is named and it exists.
    pub default_file: Option<PathBuf>,
    pub env: Env,
    /// Key path, value, and the flag as it is typed (`--listen`).
    pub flags: Vec<(String, String, String)>,
}

#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub report: Report,
}

pub fn load(sources: Sources) -> Result<Loaded, Mistakes> {
    let mut layers = Layers::default();
    let mut mistakes = layers.put_document(DEFAULTS, |_| Origin::Default);
    let of_file = put_file(&mut layers, &sources);
    let has_whole_file = of_file.is_empty();
    mistakes.extend(of_file);
    mistakes.extend(env::put_env(&mut layers, &sources.env));
    for (key, value, flag) in sources.flags {
        layers.put_text(Key::of(&key), value, Origin::Flag { name: flag });
    }
    env::put_env_above_all(&mut layers, &sources.env);
    let notes = roles::assign(&mut layers, &sources.env);

    let mut reader = Reader::new(&layers, &sources.env);
    let mut settings = build::build(&mut reader);
    let unknown = unknown::unknown_keys(&reader);
    let Reader {
        shown,
        mistakes: of_values,
        ..
    } = reader;
    let shown: BTreeMap<String, _> = shown
        .into_iter()
        .map(|(key, shown)| (key.to_string(), shown))
        .collect();
    settings.given = shown
        .iter()
        .filter(|(_, shown)| shown.origin != Origin::Default)
        .map(|(key, shown)| (key.clone(), shown.origin.clone()))
        .collect();
    mistakes.extend(of_values);
    mistakes.extend(unknown);
    if has_whole_file {
        let between = checks::check(&settings, &mistakes);
        mistakes.extend(between);
    } else {
        // What the file would have said is not known, so neither is what is missing.
        mistakes.retain(stands_without_the_file);
    }
    if mistakes.is_empty() {
        let report = Report::new(shown, notes);
        Ok(Loaded { settings, report })
    } else {
        Err(Mistakes::from(mistakes))
    }
}

/// Adds the layer of the file. Every mistake returned means that nothing of it was added.
fn put_file(layers: &mut Layers, sources: &Sources) -> Vec<Mistake> {
    let (path, is_named) = match (&sources.file, &sources.default_file) {
        (Some(path), _) => (path, true),
        (None, Some(path)) => (path, false),
        (None, None) => return vec![],
    };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let shown = path.display().to_string();
            layers.put_document(&text, |line| Origin::File {
                path: shown.clone(),
                line,
            })
        }
        Err(error) if !is_named && error.kind() == std::io::ErrorKind::NotFound => vec![],
        Err(error) => vec![unreadable(path, &error)],
    }
}

fn unreadable(path: &Path, error: &dyn fmt::Display) -> Mistake {
    Mistake::new(FILE, format!("{} cannot be read: {error}", path.display()))
}

/// A value that no file can put right. What may only be missing, unknown or out of place because
/// the file was not read says nothing.
fn stands_without_the_file(mistake: &Mistake) -> bool {
    let is_of_this_layer = match &mistake.origin {
        Some(Origin::Env { variable }) => !roles::VARIABLES.contains(&variable.as_str()),
        Some(Origin::Flag { .. }) => true,
        Some(Origin::Default | Origin::File { .. }) | None => false,
    };
    mistake.key == FILE || (is_of_this_layer && mistake.value.is_some())
}
