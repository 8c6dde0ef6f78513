//! The layers, as they were typed.
//!
//! Every source (built-in defaults, file, environment, flags) becomes entries of one flat map from
//! key path to value and origin; a later source replaces what an earlier one said. Nothing is
//! judged here: types belong to the getters in `read`, which also find out what nobody asked for.
//!
//! A secret may be a text, `{ env = "NAME" }` or `{ file = "PATH" }`, that is one of three keys
//! (`auth.api_key`, `auth.api_key.env`, `auth.api_key.file`). A later source that gives one of
//! them replaces all three. Two of them in one source both stay, for `read` to complain about.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, Origin};

/// Stands for a key in mistakes of the file as a whole.
pub(super) const FILE: &str = "settings file";

/// The ways to point at a secret, as the last segment of its key.
pub(super) const SECRET_ENV: &str = "env";
pub(super) const SECRET_FILE: &str = "file";

/// A path of names: `collections."my.docs".ttl`.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Key {
    segments: Vec<String>,
}

impl Key {
    /// From a dotted path whose segments hold no dots themselves.
    pub(super) fn of(dotted: &str) -> Self {
        Self::default().join(dotted)
    }

    pub(super) fn from_segments(segments: Vec<String>) -> Self {
        Self { segments }
    }

    pub(super) fn join(&self, dotted: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.extend(dotted.split('.').map(str::to_owned));
        Self { segments }
    }

    /// One more segment, dots and all.
    pub(super) fn child(&self, segment: &str) -> Self {
        let mut segments = self.segments.clone();
        segments.push(segment.to_owned());
        Self { segments }
    }

    pub(super) fn parent(&self) -> Self {
        let mut segments = self.segments.clone();
        segments.pop();
        Self { segments }
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.segments
    }

    pub(super) fn last(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    pub(super) fn starts_with(&self, prefix: &Self) -> bool {
        self.segments.starts_with(&prefix.segments)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_bare_byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        for (index, segment) in self.segments.iter().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            if !segment.is_empty() && segment.bytes().all(is_bare_byte) {
                f.write_str(segment)?;
            } else {
                write!(f, "{segment:?}")?;
            }
        }
        Ok(())
    }
}

/// A value before anyone has said what it should be.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Text(String),
    Whole(i64),
    Real(f64),
    Switch(bool),
    /// What no key of ours takes, by what it is: `a list`.
    Odd(&'static str),
    /// A table without entries. Tables with entries are only the beginnings of key paths.
    EmptyTable,
}

impl Raw {
    /// As it would stand in the file. Not for secrets.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Switch(on) => on.to_string(),
            Self::Odd(what) => (*what).to_owned(),
            Self::EmptyTable => "{}".to_owned(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) value: Raw,
    pub(super) origin: Origin,
}

impl Given {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Raw::Text(text) => Some(text),
            Raw::Whole(_) | Raw::Real(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => None,
        }
    }
}

/// What all sources together say.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers {
    values: BTreeMap<Key, Given>,
}

impl Layers {
    /// Call in the order of the layers: what comes later replaces what is there.
    pub(super) fn put(&mut self, key: Key, value: Raw, origin: Origin) {
        let rank = origin.rank();
        for other in forms_of_one_secret(&key) {
            if self
                .values
                .get(&other)
                .is_some_and(|given| given.origin.rank() < rank)
            {
                self.values.remove(&other);
            }
        }
        self.values.insert(key, Given { value, origin });
    }

    pub(super) fn put_text(&mut self, key: Key, text: impl Into<String>, origin: Origin) {
        self.put(key, Raw::Text(text.into()), origin);
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Given> {
        self.values.get(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Given)> {
        self.values.iter()
    }

    /// What stands at the key or below it, the built-in defaults left out.
    pub(super) fn given_under(&self, prefix: &Key) -> Option<&Given> {
        self.values
            .iter()
            .find(|(key, given)| key.starts_with(prefix) && given.origin != Origin::Default)
            .map(|(_, given)| given)
    }

    /// What stands below the key, the built-in defaults left out.
    pub(super) fn given_below(&self, prefix: &Key) -> Option<&Given> {
        self.values
            .iter()
            .find(|(key, given)| {
                key.starts_with(prefix) && *key != prefix && given.origin != Origin::Default
            })
            .map(|(_, given)| given)
    }

    /// The second segments of all keys under a table: the names in `collections.NAME.…`.
    pub(super) fn names_under(&self, table: &str) -> Vec<String> {
        let in_table = |key: &Key| key.segments().first().is_some_and(|first| first == table);
        let mut names: Vec<String> = self
            .values
            .keys()
            .filter(|key| in_table(key))
            .filter_map(|key| key.segments().get(1).cloned())
            .collect();
        names.dedup();
        names
    }

    /// The next segments of all keys below a table.
    pub(super) fn names_below(&self, table: &Key) -> Vec<String> {
        let below = self.values.keys().filter(|key| key.starts_with(table));
        let mut names: Vec<String> = below
            .filter_map(|key| key.segments().get(table.segments().len()).cloned())
            .collect();
        names.dedup();
        names
    }

    /// Adds a TOML document. Where it cannot be read the mistakes are returned, and nothing of it
    /// is added: half a document would be judged unjustly.
    pub(super) fn put_document(
        &mut self,
        text: &str,
        origin_at: impl Fn(usize) -> Origin,
    ) -> Vec<Mistake> {
        let lines = Lines::of(text);
        let (document, mut errors) = DeTable::parse_recoverable(text);
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        if errors.is_empty() {
            self.put_table(&Key::default(), document.get_ref(), &|at| {
                origin_at(lines.at(at))
            });
        }
        // `message` only: the error's own display quotes the line, and a secret may stand in it.
        let mistake = |error: &toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start);
            Mistake::new(FILE, error.message().replace('\n', ", "))
                .origin(Some(origin_at(lines.at(at))))
        };
        errors.iter().map(mistake).collect()
    }

    fn put_table(
        &mut self,
        prefix: &Key,
        table: &DeTable<'_>,
        origin_at: &dyn Fn(usize) -> Origin,
    ) {
        for (name, value) in table {
            let key = prefix.child(name.get_ref());
            let origin = origin_at(name.span().start);
            let raw = match value.get_ref() {
                DeValue::String(text) => Raw::Text(text.clone().into_owned()),
                DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                    .map_or(Raw::Odd("a number too large"), Raw::Whole),
                DeValue::Float(number) => number
                    .as_str()
                    .parse()
                    .map_or(Raw::Odd("a strange number"), Raw::Real),
                DeValue::Boolean(on) => Raw::Switch(*on),
                DeValue::Datetime(_) => Raw::Odd("a date"),
                DeValue::Array(_) => Raw::Odd("a list"),
                DeValue::Table(table) if table.is_empty() => Raw::EmptyTable,
                DeValue::Table(table) => {
                    self.put_table(&key, table, origin_at);
                    continue;
                }
            };
            self.put(key, raw, origin);
        }
    }
}

fn forms_of_one_secret(key: &Key) -> Vec<Key> {
    let mut forms = vec![key.child(SECRET_ENV), key.child(SECRET_FILE)];
    if matches!(key.last(), SECRET_ENV | SECRET_FILE) {
        let parent = key.parent();
        forms.extend([parent.child(SECRET_ENV), parent.child(SECRET_FILE), parent]);
    }
    forms
}

/// Where each line begins, to tell a byte's line.
struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let after_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            starts: after_breaks.map(|(at, _)| at + 1).collect(),
        }
    }

    fn at(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(line: usize) -> Origin {
        Origin::File {
            path: "a.toml".to_owned(),
            line,
        }
    }

    fn env() -> Origin {
        Origin::Env {
            variable: "V".to_owned(),
        }
    }

    #[test]
    fn a_document_becomes_flat_keys_with_their_lines() {
        let text = "a = 1\n\n[b.\"c.d\"]\ne = { env = \"N\" }\n[f]\n[[g]]\nh = 0x_bad\n";
        let mut layers = Layers::default();
        assert!(!layers.put_document(text, file).is_empty());
        assert_eq!(layers.iter().count(), 0, "a broken document adds nothing");

        let text = text.replace("0x_bad", "1_000.5");
        assert_eq!(layers.put_document(&text, file), vec![]);
        let found: Vec<_> = layers
            .iter()
            .map(|(key, given)| (key.to_string(), given.value.show(), given.origin.clone()))
            .collect();
        let expected = [
            ("a", "1", file(1)),
            ("b.\"c.d\".e.env", "\"N\"", file(4)),
            ("f", "{}", file(5)),
            ("g", "a list", file(6)),
        ];
        let expected = expected.map(|(key, value, at)| (key.to_owned(), value.to_owned(), at));
        assert_eq!(found, expected);
    }

    #[test]
    fn numbers_keep_their_sign_and_radix() {
        let mut layers = Layers::default();
        layers.put_document(
            "a = -1\nb = 0x10\nc = +1_0\nd = 99999999999999999999\n",
            file,
        );
        let show = |key: &str| layers.get(&Key::of(key)).unwrap().value.show();
        assert_eq!(show("a"), "-1");
        assert_eq!(show("b"), "16");
        assert_eq!(show("c"), "10");
        assert_eq!(show("d"), "a number too large");
    }

    #[test]
    fn an_error_of_syntax_does_not_quote_the_line() {
        let mut layers = Layers::default();
        for text in [
            "x = s3cret!",
            "x = 's3cret",
            "x = \"s3cret\\q\"",
            "x = ['s3cret' s3cret]",
        ] {
            let mistakes = layers.put_document(&format!("y = 1\n{text}\n"), file);
            assert!(!mistakes.is_empty(), "{text}");
            for mistake in mistakes {
                let shown = mistake.to_string();
                assert!(!shown.contains("s3cret"), "{shown}");
                assert!(
                    shown.contains("a.toml:2") || shown.contains("a.toml:3"),
                    "{shown}"
                );
            }
        }
    }

    #[test]
    fn a_later_layer_replaces_every_form_of_a_secret() {
        let mut layers = Layers::default();
        layers.put_document("k = { env = \"N\" }\n", file);
        layers.put_text(Key::of("k"), "plain", env());
        assert!(layers.get(&Key::of("k.env")).is_none());

        layers.put_text(
            Key::of("k.file"),
            "/run/k",
            Origin::Flag {
                name: "--k".to_owned(),
            },
        );
        assert!(layers.get(&Key::of("k")).is_none());
        assert!(layers.get(&Key::of("k.file")).is_some());
    }

    #[test]
    fn two_forms_of_a_secret_in_one_layer_both_stay() {
        let mut layers = Layers::default();
        layers.put_document("k = { env = \"N\", file = \"F\" }\n", file);
        assert!(layers.get(&Key::of("k.env")).is_some());
        assert!(layers.get(&Key::of("k.file")).is_some());
    }
}
