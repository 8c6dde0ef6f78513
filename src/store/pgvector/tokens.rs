//! The words of a text, as a text index of Qdrant's has them.
//!
//! `qdrant-edge` keeps its tokenizers to itself, so these follow them, with the same crates where
//! it uses crates. Its lists of stop words can be asked: its BM25 model, which is public, leaves
//! them out.

mod fold;
mod multilingual;

use std::borrow::Cow;

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};
use qdrant_edge::{SnowballParams, TextIndexParams, TokenizerType};
use rust_stemmers::Stemmer;
use sha2::{Digest, Sha256};

use super::payload;

/// A longer token is kept as a digest: an entry of a GIN index has to fit a page.
const STORED_BYTES_MAX: usize = 512;

/// Stands between the tokens of two values of a field, so that no phrase spans both. Qdrant's own.
const BOUNDARY: &str = "\0";

pub(super) struct Tokenizer {
    kind: TokenizerType,
    filters: Filters,
    has_positions: bool,
}

/// What becomes of a word.
struct Filters {
    is_lowercase: bool,
    is_folded: bool,
    stop_words: Option<EdgeBm25>,
    stemmer: Option<Stemmer>,
    length_min: Option<usize>,
    length_max: Option<usize>,
}

/// A token as it is stored and searched for.
pub(super) fn stored(token: &str) -> String {
    let kept = payload::escape(token);
    if kept.len() <= STORED_BYTES_MAX {
        return kept.into_owned();
    }
    let digest = Sha256::digest(kept.as_bytes());
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    // No escaped string has this character before a hash sign.
    format!("\u{F8FA}#{}", digits.concat())
}

impl Tokenizer {
    pub(super) fn new(params: &TextIndexParams) -> Self {
        let is_lowercase = params.lowercase.unwrap_or(true);
        let stop_words = params.stopwords.as_ref().and_then(|stop_words| {
            let config = EdgeBm25Config {
                tokenizer: TokenizerType::Whitespace,
                lowercase: Some(is_lowercase),
                stopwords: Some(stop_words.clone()),
                ..EdgeBm25Config::default()
            };
            EdgeBm25::new(config).ok()
        });
        let stemmer = params.stemmer.as_ref().and_then(|stemmer| {
            // The type of it has no name outside of its crate, its parameters have.
            let stemmer = serde_json::to_value(stemmer).ok()?;
            let snowball: SnowballParams = serde_json::from_value(stemmer).ok()?;
            Some(Stemmer::create(snowball.language.into()))
        });
        Self {
            kind: params.tokenizer,
            filters: Filters {
                is_lowercase,
                is_folded: params.ascii_folding.unwrap_or(false),
                stop_words,
                stemmer,
                length_min: params.min_token_len,
                length_max: params.max_token_len,
            },
            has_positions: params.phrase_matching.unwrap_or_default(),
        }
    }

    /// The tokens of a text that is kept, in their order.
    pub(super) fn document(&self, text: &str) -> Vec<String> {
        match self.kind {
            TokenizerType::Word => self.filters.words(split_words(text)),
            TokenizerType::Whitespace => self.filters.words(text.split_whitespace()),
            TokenizerType::Multilingual => multilingual::tokens(text, &self.filters),
            TokenizerType::Prefix => {
                let mut tokens = Vec::new();
                for word in split_words(text) {
                    if let Some(word) = self.filters.word(Cow::Borrowed(word), false) {
                        self.filters.prefixes(&word, &mut tokens);
                    }
                }
                tokens
            }
        }
    }

    /// The tokens of a text that is searched for.
    pub(super) fn query(&self, text: &str) -> Vec<String> {
        match self.kind {
            TokenizerType::Word | TokenizerType::Whitespace | TokenizerType::Multilingual => {
                self.document(text)
            }
            TokenizerType::Prefix => {
                let words = split_words(text).filter(|word| !word.is_empty());
                words.filter_map(|word| self.filters.prefix(word)).collect()
            }
        }
    }

    /// The tokens of all values of a field: in their order if phrases are searched for, else
    /// sorted and each once.
    pub(super) fn field<'t>(&self, values: impl Iterator<Item = &'t str>) -> Vec<String> {
        let mut tokens = Vec::new();
        for (at, value) in values.enumerate() {
            if self.has_positions && at > 0 {
                tokens.push(BOUNDARY.to_owned());
            }
            tokens.append(&mut self.document(value));
        }
        if !self.has_positions {
            tokens.sort_unstable();
            tokens.dedup();
        }
        tokens
    }
}

impl Filters {
    fn words<'t>(&self, words: impl Iterator<Item = &'t str>) -> Vec<String> {
        let words = words.filter_map(|word| self.word(Cow::Borrowed(word), true));
        words.collect()
    }

    /// The token that a word becomes, if any.
    fn word(&self, mut word: Cow<'_, str>, is_limited: bool) -> Option<String> {
        if word.is_empty() {
            return None;
        }
        if self.is_folded {
            word = folded(word);
        }
        if self.is_lowercase {
            word = Cow::Owned(word.to_lowercase());
        }
        if self.is_stop_word(&word) {
            return None;
        }
        if let Some(stemmer) = &self.stemmer {
            word = stemmer.stem_cow(word);
        }
        let length = word.chars().count();
        let is_short = self.length_min.is_some_and(|min| length < min);
        let is_long = is_limited && self.length_max.is_some_and(|max| length > max);
        (!is_short && !is_long).then(|| word.into_owned())
    }

    fn is_stop_word(&self, word: &str) -> bool {
        let list = self.stop_words.as_ref();
        // As a text, not as a query: of a query it also leaves out what stands between values.
        list.is_some_and(|list| list.embed_document(word).indices.is_empty())
    }

    /// As `is_stop_word`, of a word that has kept its capitals; there are none in the list.
    fn is_stop_word_as_written(&self, word: &str) -> bool {
        let is_in_list = !self.is_lowercase || word == word.to_lowercase();
        is_in_list && self.is_stop_word(word)
    }

    /// The beginnings of a word that a text is found by.
    fn prefixes(&self, word: &str, tokens: &mut Vec<String>) {
        let longest = self.length_max.unwrap_or(usize::MAX);
        for length in self.length_min.unwrap_or(1)..=longest {
            match word.char_indices().nth(length) {
                Some((end, _)) => tokens.push(word[..end].to_owned()),
                None => {
                    tokens.push(word.to_owned());
                    break;
                }
            }
        }
    }

    /// The beginning of a word that is searched for. It may be one of a stop word and of others
    /// too, so stop words stay.
    fn prefix(&self, word: &str) -> Option<String> {
        let mut word = Cow::Borrowed(word);
        if self.is_folded {
            word = folded(word);
        }
        if self.is_lowercase {
            word = Cow::Owned(word.to_lowercase());
        }
        if let Some(stemmer) = &self.stemmer {
            word = stemmer.stem_cow(word);
        }
        if self
            .length_min
            .is_some_and(|min| word.chars().count() < min)
        {
            return None;
        }
        let longest = self.length_max.unwrap_or(usize::MAX);
        Some(word.chars().take(longest).collect())
    }
}

fn split_words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| !character.is_alphanumeric())
}

fn folded(word: Cow<'_, str>) -> Cow<'_, str> {
    if word.is_ascii() {
        return word;
    }
    let mut plain = String::with_capacity(word.len());
    for character in word.chars() {
        match fold::fold(character) {
            Some(replacement) => plain.push_str(replacement),
            None => plain.push(character),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn tokenizer(params: Value) -> Tokenizer {
        let mut params = params;
        params["type"] = json!("text");
        Tokenizer::new(&serde_json::from_value(params).unwrap())
    }

    #[test]
    fn texts_fall_into_words() {
        let cases = [
            (
                json!({"tokenizer": "word"}),
                "Hello, wörld_a-b 5x!",
                "hello wörld a b 5x",
            ),
            (
                json!({"tokenizer": "word", "lowercase": false}),
                "Ab cD",
                "Ab cD",
            ),
            (
                json!({"tokenizer": "whitespace"}),
                " Ab,c\u{a0}d\n",
                "ab,c d",
            ),
            (
                json!({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4}),
                "Hello a it",
                "he hel hell it",
            ),
            (
                json!({"tokenizer": "word", "min_token_len": 2, "max_token_len": 3}),
                "a ab abc abcd",
                "ab abc",
            ),
            (
                json!({"tokenizer": "word", "ascii_folding": true}),
                "Café Straße “Æ”",
                "cafe strasse ae",
            ),
            (
                json!({"tokenizer": "word", "stopwords": "english"}),
                "The cat IS here",
                "cat",
            ),
            (
                json!({"tokenizer": "word", "stopwords": {"custom": ["Cat"]}}),
                "a CAT",
                "a",
            ),
            (
                json!({"tokenizer": "word", "stemmer": {"type": "snowball", "language": "english"}}),
                "running dogs",
                "run dog",
            ),
            (
                json!({"tokenizer": "multilingual"}),
                "What's up? 5",
                "what s up",
            ),
            (
                json!({"tokenizer": "multilingual"}),
                "本日の日付は",
                "本日 の 日付 は",
            ),
            (
                json!({"tokenizer": "multilingual"}),
                "今天是星期一",
                "今天 是 星期 一",
            ),
            (
                json!({"tokenizer": "multilingual"}),
                "日本語のテキストです。Qdrantのコードで単体テストで使用されています。",
                "日本 語 の テキスト です qdrant の コード で 単体 テスト で 使用 さ れ て い ます",
            ),
        ];
        for (params, text, tokens) in cases {
            let found = tokenizer(params.clone()).document(text);
            assert_eq!(found.join(" "), tokens, "{params} {text}");
        }
    }

    #[test]
    fn a_query_of_prefixes_asks_for_the_longest() {
        let tokenizer = tokenizer(
            json!({"tokenizer": "prefix", "max_token_len": 4, "min_token_len": 2, "stopwords": "english"}),
        );
        assert_eq!(tokenizer.query("hello the a"), ["hell", "the"]);
    }

    #[test]
    fn values_are_kept_apart_where_phrases_are_searched_for() {
        let apart = tokenizer(json!({"phrase_matching": true}));
        assert_eq!(apart.field(["b a", "a"].into_iter()), ["b", "a", "\0", "a"]);
        let together = tokenizer(json!({}));
        assert_eq!(together.field(["b a", "a"].into_iter()), ["a", "b"]);
    }

    #[test]
    fn what_stands_between_values_is_no_stop_word() {
        let tokenizer = tokenizer(json!({"tokenizer": "whitespace", "stopwords": "english"}));
        assert_eq!(tokenizer.document("the \0 cat"), ["\0", "cat"]);
    }

    #[test]
    fn a_token_that_would_not_fit_is_kept_as_a_digest() {
        assert_eq!(stored("a\0"), "a\u{F8FA}\u{F8FD}");
        assert_eq!(stored(&"x".repeat(512)).len(), 512);
        assert_eq!(stored(&"x".repeat(513)).chars().count(), 66);
        assert_ne!(stored(&"x".repeat(513)), stored(&"x".repeat(514)));
    }
}
