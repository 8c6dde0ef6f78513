//! Which collection a name means, as far as is known here.
//!
//! A write under one name of a collection has to reach what was kept under the others. The aliases
//! are asked of the store when they are needed, as the caller sees them, and remembered until a
//! call may have moved one, or for a few seconds: somebody may move them behind our back.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::generation::Seen;
use super::key::Asker;
use crate::model::Role;

/// As long as nothing here moves an alias, its name is looked up again after this.
const REMEMBERED: Duration = Duration::from_secs(10);
/// Callers whose view is remembered.
const ASKERS_MAX: usize = 1024;

/// The aliases that a caller sees, each with its collection.
#[derive(Debug, Default)]
pub struct Names {
    by_alias: HashMap<String, String>,
    /// What has to be in force for them to hold.
    pub(super) hold_while: Seen,
}

/// Qdrant's answer to `GET /aliases`.
#[derive(Deserialize)]
struct Listed {
    result: Aliases,
}

#[derive(Deserialize)]
struct Aliases {
    aliases: Vec<Alias>,
}

#[derive(Deserialize)]
struct Alias {
    alias_name: String,
    collection_name: String,
}

impl Names {
    /// From the store's answer; `None` when it is no list of aliases.
    pub fn parse(answer: &[u8]) -> Option<Self> {
        let listed: Listed = serde_json::from_slice(answer).ok()?;
        let aliases = listed.result.aliases.into_iter();
        let by_alias = aliases.map(|alias| (alias.alias_name, alias.collection_name));
        Some(Self {
            by_alias: by_alias.collect(),
            hold_while: Seen::default(),
        })
    }

    /// The collection that a name means.
    pub fn collection<'a>(&'a self, name: &'a str) -> &'a str {
        self.by_alias.get(name).map_or(name, String::as_str)
    }

    /// Every name that means the same collection, the collection's own first.
    pub(super) fn all_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let collection = self.collection(name);
        let others = self
            .by_alias
            .iter()
            .filter_map(move |(alias, means)| (means == collection).then_some(alias.as_str()));
        std::iter::once(collection).chain(others)
    }
}

/// What callers were told, by which store.
#[derive(Default)]
pub(super) struct Views(Mutex<HashMap<(Asker, Role), View>>);

struct View {
    /// `None`: the caller may not list aliases.
    names: Option<Arc<Names>>,
    seen: Seen,
    asked_at: Instant,
}

impl Views {
    /// What this caller was told, if that still holds: outside `None`, it has to be asked.
    pub(super) fn get(
        &self,
        whose: (Asker, Role),
        in_force: impl FnOnce(&Seen) -> bool,
    ) -> Option<Option<Arc<Names>>> {
        let views = self.0.lock();
        let view = views.get(&whose)?;
        let holds = view.asked_at.elapsed() < REMEMBERED && in_force(&view.seen);
        holds.then(|| view.names.clone())
    }

    /// Every name that anybody was told to mean the same collection.
    pub(super) fn all_of(&self, name: &str) -> BTreeSet<String> {
        let views = self.0.lock();
        let told = views.values().filter_map(|view| view.names.as_deref());
        let all = told.flat_map(|names| names.all_of(name));
        all.chain([name]).map(str::to_owned).collect()
    }

    pub(super) fn put(&self, whose: (Asker, Role), names: Option<Arc<Names>>, seen: Seen) {
        let mut views = self.0.lock();
        if views.len() >= ASKERS_MAX {
            views.clear();
        }
        let asked_at = Instant::now();
        views.insert(
            whose,
            View {
                names,
                seen,
                asked_at,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"{"result":{"aliases":[
        {"alias_name":"live","collection_name":"docs_2"},
        {"alias_name":"test","collection_name":"docs_2"},
        {"alias_name":"old","collection_name":"docs_1"}]},"status":"ok","time":0.1}"#;

    #[test]
    fn every_name_of_a_collection_is_found_from_any_of_them() {
        let names = Names::parse(ANSWER.as_bytes()).unwrap();
        for name in ["live", "test", "docs_2"] {
            let mut all: Vec<&str> = names.all_of(name).collect();
            assert_eq!(all.first(), Some(&"docs_2"));
            all.sort_unstable();
            assert_eq!(all, ["docs_2", "live", "test"]);
        }
        assert_eq!(names.all_of("other").collect::<Vec<_>>(), ["other"]);
    }

    #[test]
    fn what_is_no_list_of_aliases_is_none() {
        assert!(Names::parse(b"{\"status\":{\"error\":\"no\"}}").is_none());
        assert!(Names::parse(b"").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_caller_was_told_holds_for_that_caller_and_for_a_while() {
        let views = Views::default();
        let told = |asker, holds| views.get((Asker(asker), Role::Primary), |_| holds);
        views.put((Asker(1), Role::Primary), None, Seen::default());
        assert!(told(1, true).is_some());
        assert!(told(2, true).is_none());
        assert!(told(1, false).is_none(), "a name has moved");
        tokio::time::advance(REMEMBERED).await;
        assert!(told(1, true).is_none(), "it was told too long ago");
    }
}
