//! Text conditions on fields with a text index: on words, which are kept in a table beside the
//! points (`index::text`).

use std::collections::BTreeSet;

use qdrant_edge::{
    FieldCondition, JsonPath, Match, PayloadSchemaParams, TextIndexParams, TokenizerType,
};

use super::path::Path;
use super::{Compiler, Param, Scope};
use crate::store::pgvector::index;
use crate::store::pgvector::tokens::{Tokenizer, stored};

/// What is asked of the words of a text.
enum Asked {
    All(Vec<String>),
    Any(Vec<String>),
    Phrase(Vec<String>),
}

impl Asked {
    fn of(matched: &Match, params: &TextIndexParams) -> Option<Self> {
        let tokenizer = Tokenizer::new(params);
        let unique = |tokens: Vec<String>| -> Vec<String> {
            let unique: BTreeSet<String> = tokens.iter().map(|token| stored(token)).collect();
            unique.into_iter().collect()
        };
        match matched {
            Match::Text(text) => Some(Self::All(unique(tokenizer.query(&text.text)))),
            Match::TextAny(text) => Some(Self::Any(unique(tokenizer.query(&text.text_any)))),
            // Of a phrase all the words are taken that a text would have.
            Match::Phrase(text) => {
                let tokens = tokenizer.document(&text.phrase);
                Some(Self::Phrase(
                    tokens.iter().map(|token| stored(token)).collect(),
                ))
            }
            Match::Value(_) | Match::Any(_) | Match::Except(_) => None,
        }
    }

    fn tokens(&self) -> &[String] {
        match self {
            Self::All(tokens) | Self::Any(tokens) | Self::Phrase(tokens) => tokens,
        }
    }
}

impl Compiler<'_> {
    /// A condition on the words of all values of a point's field together.
    pub(super) fn words(
        &mut self,
        key: &JsonPath,
        ino: i32,
        params: &TextIndexParams,
        matched: &Match,
    ) -> Option<String> {
        let asked = Asked::of(matched, params)?;
        let has_positions = params.phrase_matching.unwrap_or_default();
        let is_hopeless = matches!(asked, Asked::Phrase(_)) && !has_positions;
        if asked.tokens().is_empty() || is_hopeless {
            return Some("false".to_owned());
        }
        let tokens = self.params.push(Param::Texts(asked.tokens().to_vec()));
        let said = |words: &str| match asked {
            Asked::All(_) => format!("{words} @> {tokens}"),
            Asked::Any(_) => format!("{words} && {tokens}"),
            Asked::Phrase(_) => {
                format!("{words} @> {tokens} and qd.has_phrase({words}, {tokens})")
            }
        };
        if self.known.adopted.is_some() {
            // There is no table of words: the texts are cut as they come by.
            let splitter = match params.tokenizer {
                TokenizerType::Whitespace => r"\s+",
                TokenizerType::Word | TokenizerType::Multilingual | TokenizerType::Prefix => {
                    "[^[:alnum:]\\u0080-\\uffff]+"
                }
            };
            let lower = params.lowercase.unwrap_or(true);
            let path = Path::of(key).jsonpath();
            let words = format!("qd.words(c.payload, {path}, '{splitter}', {lower})");
            return Some(format!("({})", said(&words)));
        }
        let table = index::words_table(self.known.cid, ino);
        let sql = said("t.tok");
        Some(format!(
            "exists(select 1 from {table} t where t.pid = c.pid and {sql})"
        ))
    }

    /// A condition on the words of a field of an object in an array, if that has a text index:
    /// there each value is looked at by itself.
    pub(super) fn words_inside(
        &mut self,
        scope: &Scope,
        path: &Path,
        field: &FieldCondition,
    ) -> Option<String> {
        if self.known.adopted.is_some() {
            return None;
        }
        let full = JsonPath::extend_or_new(Some(scope.inside.as_ref()?), &field.key);
        let index = self.known.indexes.get(&full.to_string());
        let index = index.filter(|index| index.ready)?;
        let schema = index.schema.expand();
        let PayloadSchemaParams::Text(params) = schema.as_ref() else {
            return None;
        };
        let asked = Asked::of(field.r#match.as_ref()?, params)?;
        let table = index::words_table(self.known.cid, index.ino);
        // Where there is no value at all, it is as without an index.
        let nowhere = match (field.is_empty, field.is_null) {
            (Some(true), _) | (None, Some(false)) => Some(self.nowhere(scope, path)),
            (Some(false), _) | (None, Some(true) | None) => None,
        };
        let held = if asked.tokens().is_empty() {
            "false".to_owned()
        } else {
            let tokens = self.params.push(Param::Texts(asked.tokens().to_vec()));
            let found = |e: &str| {
                let words = format!("t.docs -> qd.str({e})");
                match asked {
                    Asked::All(_) => format!("{words} ?& {tokens}"),
                    Asked::Any(_) => format!("{words} ?| {tokens}"),
                    Asked::Phrase(_) => format!("qd.has_phrase(qd.texts({words}), {tokens})"),
                }
            };
            let held = self.each(scope, path, |_, e| found(e));
            format!("exists(select 1 from {table} t where t.pid = c.pid and {held})")
        };
        Some(match nowhere {
            Some(nowhere) => format!("({held} or {nowhere})"),
            None => held,
        })
    }
}
