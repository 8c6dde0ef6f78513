//! The data set that ships with the demo, and vectors for it.
//!
//! An application asks a model for its vectors. The demo needs nothing installed, so it makes its
//! own from the words of a text: words of one concept (coffee, espresso, tea) lead to one
//! dimension, and each longer word besides to one that its letters pick. Near in meaning is then
//! near in space, as far as forty short texts go.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};

const TEXT: &str = include_str!("memories.json");

/// Dimensions that the letters of a word pick from.
const LETTERS_SIZE: u64 = 50;
/// What a word counts for beside its concept.
const LETTERS_WEIGHT: f32 = 0.3;
/// Shorter words mean little.
const WORD_CHARACTERS_MIN: usize = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DataSet {
    /// The words of each concept.
    concepts: BTreeMap<String, Vec<String>>,
    pub(super) memories: Vec<Memory>,
}

/// Everything but the id is payload.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    #[serde(skip_serializing)]
    pub(super) id: u64,
    pub(super) user: String,
    kind: String,
    day: String,
    importance: u8,
    pub(super) text: String,
}

impl DataSet {
    pub(super) fn read() -> Result<Self> {
        serde_json::from_str(TEXT).map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                Origin::Proxy,
                Retry::Never,
                "read the data set",
            )
            .with_source(error)
        })
    }

    pub(super) fn vector_size(&self) -> usize {
        self.vector("").len()
    }

    /// The vector of a text; of length 1, unless the text has no words.
    pub(super) fn vector(&self, text: &str) -> Vec<f32> {
        let mut concepts = vec![0.0_f32; self.concepts.len()];
        let mut letters = vec![0.0_f32; usize::try_from(LETTERS_SIZE).unwrap_or_default()];
        let lower = text.to_lowercase();
        for word in lower
            .split(|c: char| !c.is_alphanumeric())
            .filter(|word| !word.is_empty())
        {
            for (place, words) in concepts.iter_mut().zip(self.concepts.values()) {
                if words.iter().any(|known| is_form_of(word, known)) {
                    *place += 1.0;
                }
            }
            let hash = fnv1a(word.as_bytes());
            let place = usize::try_from(hash % LETTERS_SIZE).unwrap_or_default();
            if let Some(place) = letters.get_mut(place)
                && word.chars().count() >= WORD_CHARACTERS_MIN
            {
                *place += LETTERS_WEIGHT;
            }
        }
        concepts.append(&mut letters);
        let length = concepts.iter().map(|x| x * x).sum::<f32>().sqrt();
        if length > 0.0 {
            concepts.iter_mut().for_each(|x| *x /= length);
        }
        concepts
    }
}

/// The word itself, or its plural.
fn is_form_of(word: &str, known: &str) -> bool {
    word.strip_prefix(known)
        .is_some_and(|rest| rest.is_empty() || rest == "s")
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn similarity(data: &DataSet, one: &str, other: &str) -> f32 {
        let (one, other) = (data.vector(one), data.vector(other));
        one.iter().zip(&other).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn the_data_set_can_be_read_and_no_id_comes_twice() {
        let data = DataSet::read().unwrap();
        let mut ids: Vec<u64> = data.memories.iter().map(|memory| memory.id).collect();
        ids.dedup();
        assert_eq!(ids, (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn vectors_have_length_1_and_one_size() {
        let data = DataSet::read().unwrap();
        for memory in &data.memories {
            let vector = data.vector(&memory.text);
            let length: f32 = vector.iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5, "{}", memory.text);
            assert_eq!(vector.len(), data.vector_size());
        }
    }

    #[test]
    fn what_means_alike_is_near_though_no_word_is_shared() {
        let data = DataSet::read().unwrap();
        let near = similarity(&data, "a barista and her beans", "espresso");
        let far = similarity(&data, "a barista and her beans", "the knee hurts");
        assert!(near > far + 0.5, "{near} {far}");
    }
}
