//! A list that may be written without its brackets if it has one element.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// For `#[serde(deserialize_with)]`: `null`, a list, or one element that is an object.
pub(super) fn one_or_many<'de, T, D>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(OneOrMany(PhantomData))
}

struct OneOrMany<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, array or map")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(Some)
    }

    fn visit_map<A: MapAccess<'de>>(self, one: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(one)).map(|one| Some(vec![one]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize, PartialEq)]
    struct Part {
        n: u8,
    }

    #[derive(Debug, serde::Deserialize, PartialEq)]
    struct Whole {
        #[serde(default, deserialize_with = "one_or_many")]
        parts: Option<Vec<Part>>,
    }

    #[test]
    fn null_one_and_many_are_lists() {
        for (json, parts) in [
            ("{}", None),
            (r#"{"parts": null}"#, None),
            (r#"{"parts": []}"#, Some(vec![])),
            (r#"{"parts": {"n": 1}}"#, Some(vec![1])),
            (r#"{"parts": [{"n": 1}, {"n": 2}]}"#, Some(vec![1, 2])),
        ] {
            let whole: Whole = serde_json::from_str(json).unwrap();
            let parts = parts.map(|parts| parts.into_iter().map(|n| Part { n }).collect());
            assert_eq!(whole, Whole { parts });
        }
    }

    #[test]
    fn anything_else_is_refused_in_qdrants_words() {
        let error = serde_json::from_str::<Whole>(r#"{"parts": 1.5}"#).unwrap_err();
        let text = "invalid type: floating point `1.5`, expected null, array or map";
        assert!(error.to_string().starts_with(text), "{error}");
    }
}
