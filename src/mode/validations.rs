//! When a collection was last compared whole, at both stores: what the gate before a cutover wants
//! to know, noted where the modes are kept, for all who share them.
//!
//! Of a collection that is gone it stays noted when it went: what is there by its name later is
//! another one, and nothing that was found before speaks for it.

use serde_json::{Value, json};

use super::control::Control;
use crate::error::Result;

const ALL: &str = "validation/";

/// What came of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validated {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Points that were compared, and those that differed.
    pub compared: u64,
    pub differed: u64,
    /// Whether both stores have the same by now, as far as it was looked at.
    pub passed: bool,
}

/// All that is noted of a collection.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// `None`: there was none of what is there now, or nobody can read what was noted of it.
    pub last: Option<Validated>,
    /// When the one before it went, in milliseconds since 1970.
    pub voided_at_ms: Option<u64>,
}

pub async fn note(control: &dyn Control, collection: &str, of: Validated) -> Result<()> {
    let voided_at_ms = known(control, collection).await?.voided_at_ms;
    if voided_at_ms.is_some_and(|voided| of.at_ms <= voided) {
        return Ok(());
    }
    let told = json!({
        "voided_at_ms": voided_at_ms,
        "at_ms": of.at_ms,
        "compared": of.compared,
        "differed": of.differed,
        "passed": of.passed,
    });
    control.put_fact(&fact(collection), &told.to_string()).await
}

pub async fn known(control: &dyn Control, collection: &str) -> Result<Known> {
    let told = control.fact(&fact(collection)).await?;
    Ok(told.as_deref().map_or_else(Known::default, read))
}

/// What is there by this name is another collection from now on.
pub async fn void(control: &dyn Control, collection: &str, now_ms: u64) -> Result<()> {
    let told = json!({ "voided_at_ms": now_ms });
    control.put_fact(&fact(collection), &told.to_string()).await
}

/// The same of all that was ever compared.
pub async fn void_all(control: &dyn Control, now_ms: u64) -> Result<()> {
    for (name, _) in control.facts(ALL).await? {
        void(control, name.strip_prefix(ALL).unwrap_or(&name), now_ms).await?;
    }
    Ok(())
}

fn read(told: &str) -> Known {
    let Ok(told) = serde_json::from_str::<Value>(told) else {
        return Known::default();
    };
    let voided_at_ms = told["voided_at_ms"].as_u64();
    let last = validated(&told);
    Known {
        last: last.filter(|of| voided_at_ms.is_none_or(|voided| of.at_ms > voided)),
        voided_at_ms,
    }
}

fn validated(told: &Value) -> Option<Validated> {
    Some(Validated {
        at_ms: told["at_ms"].as_u64()?,
        compared: told["compared"].as_u64().unwrap_or_default(),
        differed: told["differed"].as_u64().unwrap_or_default(),
        passed: told["passed"].as_bool()?,
    })
}

fn fact(collection: &str) -> String {
    format!("{ALL}{collection}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mode::control::MemoryControl;

    #[test]
    fn what_cannot_be_read_is_no_validation() {
        for told in ["", "yes", "{}", r#"{"at_ms":1}"#, r#"{"passed":true}"#] {
            assert_eq!(read(told), Known::default(), "{told}");
        }
        let expected = Validated {
            at_ms: 7,
            compared: 0,
            differed: 0,
            passed: false,
        };
        let known = read(r#"{"at_ms":7,"passed":false}"#);
        assert_eq!((known.last, known.voided_at_ms), (Some(expected), None));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_found_before_a_collection_went_speaks_for_none_of_its_name() {
        let control = MemoryControl::new(Duration::from_secs(10));
        let at = |at_ms| Validated {
            at_ms,
            compared: 3,
            differed: 0,
            passed: true,
        };
        note(&control, "docs", at(5)).await.unwrap();
        void(&control, "docs", 7).await.unwrap();
        for late in [6, 7] {
            note(&control, "docs", at(late)).await.unwrap();
            let known = known(&control, "docs").await.unwrap();
            assert_eq!((known.last, known.voided_at_ms), (None, Some(7)));
        }
        note(&control, "docs", at(8)).await.unwrap();
        let known = known(&control, "docs").await.unwrap();
        assert_eq!((known.last, known.voided_at_ms), (Some(at(8)), Some(7)));
    }
}
