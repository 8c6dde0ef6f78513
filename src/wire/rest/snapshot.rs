//! Snapshots: how one is described, and how one is asked to be recovered.

use serde::{Deserialize, Deserializer, Serialize};
use url::{Url, form_urlencoded};
use validator::{Validate, ValidationErrors};

use super::{refuse, rules};
use crate::error::Result;

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SnapshotDescription {
    pub name: String,
    /// Without a zone: it is UTC.
    pub creation_time: Option<String>,
    pub size: u64,
    pub checksum: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Validate)]
pub struct SnapshotRecover {
    #[serde(deserialize_with = "url")]
    pub location: Url,
    #[serde(default)]
    pub priority: Option<SnapshotPriority>,
    #[serde(default)]
    #[validate(custom(function = "rules::sha256"))]
    pub checksum: Option<String>,
    #[serde(default)]
    pub api_key: Option<String>,
}

/// Which replica is believed. With one replica there is nothing to choose.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotPriority {
    NoSync,
    Snapshot,
    Replica,
}

/// The checksum that an upload is said to have, from the query string.
pub fn upload_checksum(query: Option<&str>) -> Result<Option<String>> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, checksum)) = pairs.find(|(name, _)| name == "checksum") else {
        return Ok(None);
    };
    rules::sha256(&checksum).map_err(|fault| {
        let mut errors = ValidationErrors::new();
        errors.add("checksum", fault);
        refuse::validation("query parameters", &errors)
    })?;
    Ok(Some(checksum.into_owned()))
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    let text = String::deserialize(deserializer)?;
    Url::parse(&text).map_err(|error| serde::de::Error::custom(format_args!("{error}: {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_recovered_is_told_in_qdrants_words() {
        let read = |json: &str| serde_json::from_str::<SnapshotRecover>(json);
        let refused = read(r#"{"location": "x.snapshot"}"#).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("relative URL without a base: \"x.snapshot\""),
            "{text}"
        );
        let short = read(r#"{"location": "file:///a", "checksum": "abc"}"#).unwrap();
        let refused = refuse::validation("JSON body", &short.validate().unwrap_err());
        let text = refused.to_string();
        let expected = "Validation error in JSON body: \
                        [checksum: Validation error: invalid_sha256_hash [{";
        assert!(text.starts_with(expected), "{text}");
        assert!(upload_checksum(Some("wait=true&checksum=zz")).is_err());
        assert_eq!(upload_checksum(Some("wait=true")).unwrap(), None);
    }
}
