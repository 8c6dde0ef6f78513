//! When a collection was last compared whole, at both stores: what the gate before a cutover wants
//! to know, noted where the modes are kept, for all who share them.

use serde_json::{Value, json};

use super::control::Control;
use crate::error::Result;

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

pub async fn note(control: &dyn Control, collection: &str, of: Validated) -> Result<()> {
    let told = json!({
        "at_ms": of.at_ms,
        "compared": of.compared,
        "differed": of.differed,
        "passed": of.passed,
    });
    control.put_fact(&fact(collection), &told.to_string()).await
}

/// `None`: there was none, or nobody can read what was noted of it.
pub async fn last(control: &dyn Control, collection: &str) -> Result<Option<Validated>> {
    let told = control.fact(&fact(collection)).await?;
    Ok(told.as_deref().and_then(read))
}

/// What is there by this name is another collection from now on.
pub async fn void(control: &dyn Control, collection: &str) -> Result<()> {
    control.drop_fact(&fact(collection)).await
}

fn read(told: &str) -> Option<Validated> {
    let told: Value = serde_json::from_str(told).ok()?;
    Some(Validated {
        at_ms: told["at_ms"].as_u64()?,
        compared: told["compared"].as_u64().unwrap_or_default(),
        differed: told["differed"].as_u64().unwrap_or_default(),
        passed: told["passed"].as_bool()?,
    })
}

fn fact(collection: &str) -> String {
    format!("validation/{collection}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_no_validation() {
        for told in ["", "yes", "{}", r#"{"at_ms":1}"#, r#"{"passed":true}"#] {
            assert_eq!(read(told), None, "{told}");
        }
        let expected = Validated {
            at_ms: 7,
            compared: 0,
            differed: 0,
            passed: false,
        };
        assert_eq!(read(r#"{"at_ms":7,"passed":false}"#), Some(expected));
    }
}
