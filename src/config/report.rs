//! What `outrigger config check` prints: every setting in force, and where it came from.

use std::fmt;

use serde_json::{Map, Value as Json, json};

use super::read::Shown;
use super::values::Literal;

/// Where the notes on where values come from line up, unless a value is longer.
const COLUMN_MAX: usize = 56;

#[derive(Clone, Debug)]
pub struct Report {
    /// Sorted by key.
    entries: Vec<Entry>,
    /// What a person may want to know besides: variables that were set and not used.
    pub notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    value: Literal,
    from: String,
}

impl Report {
    pub(super) fn new(
        shown: impl IntoIterator<Item = (String, Shown)>,
        notes: Vec<String>,
    ) -> Self {
        let entry = |(key, shown): (String, Shown)| {
            let from = match shown.via {
                Some(via) => format!("{}, {via}", shown.origin),
                None => shown.origin.to_string(),
            };
            Entry {
                key,
                value: shown.value,
                from,
            }
        };
        let mut entries: Vec<Entry> = shown.into_iter().map(entry).collect();
        entries.sort_by(|one, other| one.key.cmp(&other.key));
        Self { entries, notes }
    }

    pub fn to_json(&self) -> Json {
        let settings: Map<String, Json> = self
            .entries
            .iter()
            .map(|entry| {
                let said = json!({ "value": entry.value.to_json(), "from": entry.from });
                (entry.key.clone(), said)
            })
            .collect();
        json!({ "settings": settings, "notes": self.notes })
    }
}

/// One setting a line, as TOML would have it, so that the lines can be copied into a file.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<(String, &str)> = self
            .entries
            .iter()
            .map(|entry| {
                (
                    format!("{} = {}", entry.key, entry.value.to_toml()),
                    entry.from.as_str(),
                )
            })
            .collect();
        let widths = lines.iter().map(|(setting, _)| setting.chars().count());
        let column = widths
            .filter(|width| *width <= COLUMN_MAX)
            .max()
            .unwrap_or(0);
        for (setting, from) in &lines {
            writeln!(f, "{setting:column$}   # from {from}")?;
        }
        for note in &self.notes {
            writeln!(f, "# {note}")?;
        }
        Ok(())
    }
}
