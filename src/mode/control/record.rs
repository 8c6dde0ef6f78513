//! The file's bytes: JSON with a version. What is written here is a promise to later versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Entry;
use super::state::Kept;
use crate::mode::table::Table;
use crate::model::Mode;

const VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    epoch: u64,
    /// Absent while none was ever set.
    mode: Option<String>,
    collections: BTreeMap<String, String>,
    facts: BTreeMap<String, String>,
    history: Vec<Line>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Line {
    epoch: u64,
    at_ms: u64,
    who: String,
    collection: Option<String>,
    from: Option<String>,
    to: String,
    why: String,
    forced: bool,
}

/// Only what comes first, so that a later version is told apart from damage.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

pub(super) fn write(kept: &Kept) -> Option<Vec<u8>> {
    let own = kept.table.iter().flat_map(|table| &table.collections);
    let lines = kept.history.iter().map(|entry| Line {
        epoch: entry.epoch,
        at_ms: entry.at_ms,
        who: entry.who.clone(),
        collection: entry.collection.clone(),
        from: entry.from.map(|mode| mode.as_str().to_owned()),
        to: entry.to.as_str().to_owned(),
        why: entry.why.clone(),
        forced: entry.is_forced,
    });
    let record = Record {
        version: VERSION,
        epoch: kept.table.as_ref().map_or(0, |table| table.epoch),
        mode: kept
            .table
            .as_ref()
            .map(|table| table.mode.as_str().to_owned()),
        collections: own
            .map(|(name, mode)| (name.clone(), mode.as_str().to_owned()))
            .collect(),
        facts: kept.facts.clone(),
        history: lines.collect(),
    };
    serde_json::to_vec_pretty(&record).ok()
}

/// What is wrong is told in words that go on from "the file".
pub(super) fn read(bytes: &[u8]) -> Result<Kept, String> {
    let damaged = |error: serde_json::Error| format!("is damaged ({error})");
    let version = serde_json::from_slice::<Versioned>(bytes)
        .map_err(damaged)?
        .version;
    if version != VERSION {
        return Err(format!(
            "has version {version}, and this one reads {VERSION}"
        ));
    }
    let record: Record = serde_json::from_slice(bytes).map_err(damaged)?;
    let mode =
        |text: &str| Mode::parse(text).ok_or_else(|| format!("is damaged ({text:?} is no mode)"));
    let own = record.collections.iter();
    let own = own.map(|(name, text)| Ok((name.clone(), mode(text)?)));
    let lines = record.history.into_iter().map(|line| {
        Ok(Entry {
            epoch: line.epoch,
            at_ms: line.at_ms,
            who: line.who,
            collection: line.collection,
            from: line.from.as_deref().map(mode).transpose()?,
            to: mode(&line.to)?,
            why: line.why,
            is_forced: line.forced,
        })
    });
    let collections = own.collect::<Result<_, String>>()?;
    let table = record.mode.as_deref().map(mode).transpose()?;
    Ok(Kept {
        table: table.map(|mode| Table {
            epoch: record.epoch,
            mode,
            collections,
        }),
        history: lines.collect::<Result<_, String>>()?,
        facts: record.facts,
    })
}
