//! A text that must not be seen.
//!
//! It has no way to be printed: `Debug` and `Display` write `***`, and nothing serialises it. What
//! needs the text itself asks with `expose`, so that every such place can be found by that word.

use std::fmt;

/// What stands in place of a secret wherever people look.
pub const MASK: &str = "***";

#[derive(Clone, Eq, PartialEq)]
pub struct Secret {
    text: String,
}

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }

    /// The text itself. Never for a log, an error, a metric or an answer.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Some(Secret::new("k-123"));
        assert_eq!(format!("{secret:?}"), "Some(***)");
        assert_eq!(format!("{}", Secret::new("k-123")), "***");
        assert_eq!(Secret::new("k-123").expose(), "k-123");
    }
}
