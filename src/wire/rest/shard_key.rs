//! Shard keys: requests may name one, and no collection here has any.

use std::fmt;

use serde::Deserialize;

use super::refuse;
use crate::error::Error;

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub enum ShardKey {
    Keyword(String),
    Number(u64),
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keyword(text) => write!(f, "\"{text}\""),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct ShardKeyWithFallback {
    pub target: ShardKey,
    pub fallback: ShardKey,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
#[serde(expecting = "Expected a string or an integer")]
pub enum ShardKeySelector {
    ShardKey(ShardKey),
    ShardKeys(Vec<ShardKey>),
    ShardKeyWithFallback(ShardKeyWithFallback),
}

impl ShardKeySelector {
    /// The key that is looked for first. `None` for an empty list.
    pub fn first(&self) -> Option<&ShardKey> {
        match self {
            Self::ShardKey(key) => Some(key),
            Self::ShardKeys(keys) => keys.first(),
            Self::ShardKeyWithFallback(pair) => Some(&pair.target),
        }
    }

    /// What is answered to a request that names shards: none of them is there. (To an empty list
    /// of keys Qdrant itself answers with a dropped connection, or with nothing found.)
    pub fn refusal(&self) -> Error {
        match self.first() {
            Some(key) => refuse::bad_request(&format!("Shard key {key} not found")),
            None => refuse::bad_request("Shard key selector must name at least one shard key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_not_there_is_quoted_if_it_is_a_text() {
        for (json, text) in [
            (r#""k""#, r#"Bad request: Shard key "k" not found"#),
            ("5", "Bad request: Shard key 5 not found"),
            (r#"["a", 5]"#, r#"Bad request: Shard key "a" not found"#),
            (
                r#"{"target": 1, "fallback": "f"}"#,
                "Bad request: Shard key 1 not found",
            ),
            (
                "[]",
                "Bad request: Shard key selector must name at least one shard key",
            ),
        ] {
            let selector: ShardKeySelector = serde_json::from_str(json).unwrap();
            assert_eq!(selector.refusal().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_key_is_refused_in_qdrants_words() {
        for json in ["{}", "-1", "true", "[[]]"] {
            let error = serde_json::from_str::<ShardKeySelector>(json).unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with("Expected a string or an integer")
            );
        }
    }
}
