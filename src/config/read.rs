//! Typed reading of the layers.
//!
//! A getter never fails: it records the mistake and returns something to go on with, so that one
//! start shows every mistake. It also records that the key exists and, when all is well, what is
//! in force. What no getter asked for is unknown, which is how misspelt keys are found.
//!
//! Plain getters are for keys with a built-in default, `maybe_` ones for keys that may be absent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::env::Env;
use super::mistake::{Mistake, Origin};
use super::raw::{Given, Key, Layers};
use super::url::{self, StoreUrl};
use super::values::{
    Literal, Read, names_of, non_empty, pick, read_bytes, read_duration, read_number, read_parsed,
    read_share, read_switch, read_url, read_whole,
};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Need {
    /// `config/default.toml` has a value.
    Default,
    /// `config/default.toml` has it commented out.
    Optional,
}

/// One setting in force, masked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shown {
    pub(super) value: Literal,
    pub(super) origin: Origin,
    /// Where a secret was fetched from, beyond the place that says so.
    pub(super) via: Option<String>,
}

pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) env: &'a Env,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) asked: BTreeMap<Key, Need>,
    pub(super) shown: BTreeMap<Key, Shown>,
    /// Tables that were opened, with or without keys in them.
    pub(super) tables: BTreeSet<Key>,
    /// Keys that point at secrets, and so need no words of their own.
    pub(super) pointers: BTreeSet<Key>,
    /// Variables that hold secrets for some key.
    pub(super) referenced: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(layers: &'a Layers, env: &'a Env) -> Self {
        Self {
            layers,
            env,
            mistakes: Vec::new(),
            asked: BTreeMap::new(),
            shown: BTreeMap::new(),
            tables: BTreeSet::new(),
            pointers: BTreeSet::new(),
            referenced: BTreeSet::new(),
        }
    }

    pub(super) fn section(&mut self, prefix: Key) -> Section<'_, 'a> {
        self.tables.insert(prefix.clone());
        Section {
            reader: self,
            prefix,
        }
    }

    /// Takes a section out of what is in force: it was read only to be checked.
    pub(super) fn hide(&mut self, prefix: &Key) {
        self.shown.retain(|key, _| !key.starts_with(prefix));
    }

    pub(super) fn mistake(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }
}

/// The reader at one table of the file.
pub(super) struct Section<'r, 'a> {
    pub(super) reader: &'r mut Reader<'a>,
    pub(super) prefix: Key,
}

impl Section<'_, '_> {
    pub(super) fn switch(&mut self, name: &str) -> bool {
        self.look(name, Need::Default, read_switch)
            .unwrap_or_default()
    }

    pub(super) fn maybe_switch(&mut self, name: &str) -> Option<bool> {
        self.look(name, Need::Optional, read_switch)
    }

    /// A whole number. `unit` reads on from "a whole number": `of MiB`, or empty.
    pub(super) fn whole<T: TryFrom<u64> + Default>(
        &mut self,
        name: &str,
        unit: &str,
        range: RangeInclusive<u64>,
    ) -> T {
        self.look(name, Need::Default, |given| read_whole(given, unit, &range))
            .unwrap_or_default()
    }

    pub(super) fn maybe_whole<T: TryFrom<u64>>(
        &mut self,
        name: &str,
        unit: &str,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        self.look(name, Need::Optional, |given| {
            read_whole(given, unit, &range)
        })
    }

    /// A share, from none (0) to all (1).
    pub(super) fn share(&mut self, name: &str) -> f64 {
        self.look(name, Need::Default, read_share)
            .unwrap_or_default()
    }

    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> f64 {
        self.look(name, Need::Default, |given| read_number(given, &range))
            .unwrap_or_default()
    }

    pub(super) fn duration(&mut self, name: &str, range: RangeInclusive<Duration>) -> Duration {
        self.look(name, Need::Default, |given| read_duration(given, &range))
            .unwrap_or_default()
    }

    pub(super) fn maybe_duration(
        &mut self,
        name: &str,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.look(name, Need::Optional, |given| read_duration(given, &range))
    }

    pub(super) fn bytes(&mut self, name: &str, range: RangeInclusive<u64>) -> u64 {
        self.look(name, Need::Default, |given| read_bytes(given, &range))
            .unwrap_or_default()
    }

    /// A text that `parse` accepts; what it accepts is told by `allowed`.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.look(name, Need::Default, |given| {
            read_parsed(given, allowed, parse)
        })
    }

    pub(super) fn maybe_parsed<T>(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.look(name, Need::Optional, |given| {
            read_parsed(given, allowed, parse)
        })
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, name: &str, options: &[(&str, T)]) -> Option<T> {
        self.parsed(name, &names_of(options), |text| pick(options, text))
    }

    pub(super) fn maybe_choice<T: Copy>(&mut self, name: &str, options: &[(&str, T)]) -> Option<T> {
        self.maybe_parsed(name, &names_of(options), |text| pick(options, text))
    }

    pub(super) fn name(&mut self, name: &str) -> String {
        self.parsed(name, "a text, not empty", non_empty)
            .unwrap_or_default()
    }

    pub(super) fn maybe_name(&mut self, name: &str) -> Option<String> {
        self.maybe_parsed(name, "a name, not empty", non_empty)
    }

    /// A name under a key that may hold dots itself.
    pub(super) fn maybe_child(&mut self, name: &str) -> Option<String> {
        let key = self.prefix.child(name);
        let read = |given: &Given| read_parsed(given, "a name, not empty", non_empty);
        self.look_at(key, Need::Optional, str::to_owned, read)
    }

    pub(super) fn path(&mut self, name: &str) -> PathBuf {
        self.parsed(name, "a path", non_empty)
            .map(PathBuf::from)
            .unwrap_or_default()
    }

    pub(super) fn maybe_path(&mut self, name: &str) -> Option<PathBuf> {
        self.maybe_parsed(name, "a path", non_empty)
            .map(PathBuf::from)
    }

    pub(super) fn maybe_url(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<StoreUrl, &'static str>,
    ) -> Option<StoreUrl> {
        self.look_masked(name, Need::Optional, url::mask, |given| {
            read_url(given, allowed, parse)
        })
    }

    pub(super) fn url(
        &mut self,
        name: &str,
        allowed: &str,
        parse: impl Fn(&str) -> Result<StoreUrl, &'static str>,
    ) -> Option<StoreUrl> {
        self.look_masked(name, Need::Default, url::mask, |given| {
            read_url(given, allowed, parse)
        })
    }

    pub(super) fn is_present(&self, name: &str) -> bool {
        self.origin_of(name).is_some()
    }

    pub(super) fn origin_of(&self, name: &str) -> Option<Origin> {
        self.reader
            .layers
            .get(&self.prefix.join(name))
            .map(|given| given.origin.clone())
    }

    /// A mistake of a key in this section, with the value's origin, if it has one.
    pub(super) fn mistake(&self, name: &str, problem: impl Into<String>) -> Mistake {
        let key = self.prefix.join(name);
        Mistake::new(key.to_string(), problem).origin(self.origin_of(name))
    }

    fn look<T>(
        &mut self,
        name: &str,
        need: Need,
        read: impl FnOnce(&Given) -> Read<T>,
    ) -> Option<T> {
        self.look_masked(name, need, str::to_owned, read)
    }

    fn look_masked<T>(
        &mut self,
        name: &str,
        need: Need,
        mask: impl Fn(&str) -> String,
        read: impl FnOnce(&Given) -> Read<T>,
    ) -> Option<T> {
        self.look_at(self.prefix.join(name), need, mask, read)
    }

    fn look_at<T>(
        &mut self,
        key: Key,
        need: Need,
        mask: impl Fn(&str) -> String,
        read: impl FnOnce(&Given) -> Read<T>,
    ) -> Option<T> {
        self.reader.asked.insert(key.clone(), need);
        let Some(given) = self.reader.layers.get(&key) else {
            if need == Need::Default {
                self.reader
                    .mistake(Mistake::new(key.to_string(), "is missing"));
            }
            return None;
        };
        let origin = given.origin.clone();
        match read(given) {
            Ok((value, literal)) => {
                self.reader.shown.insert(
                    key,
                    Shown {
                        value: literal,
                        origin,
                        via: None,
                    },
                );
                Some(value)
            }
            Err(wrong) => {
                let shown = match given.text() {
                    Some(text) => format!("{:?}", mask(text)),
                    None => given.value.show(),
                };
                let mistake = Mistake::new(key.to_string(), wrong.problem).value(shown);
                self.reader
                    .mistake(mistake.origin(Some(origin)).hint(wrong.hint));
                None
            }
        }
    }
}
