//! What is wrong with the settings, said so that it can be put right.
//!
//! A mistake names the key, the value, where the value came from and what would be accepted. All
//! mistakes of a start are gathered and shown together. The value has been masked before it gets
//! here: whoever makes a mistake knows whether its value is a secret, and an unknown key's value
//! is never shown, since it may be a secret under a misspelt name.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::error::Error;

/// Which layer a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Origin {
    /// `config/default.toml`, compiled in.
    Default,
    File {
        path: String,
        line: usize,
    },
    Env {
        variable: String,
    },
    /// Named as it is typed, with its dashes.
    Flag {
        name: String,
    },
}

impl Origin {
    /// The layer's place: a higher one wins.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Env { .. } => 2,
            Self::Flag { .. } => 3,
        }
    }

    /// Whether the value was typed as bare text, whose type only the key can tell.
    pub(super) fn is_untyped(&self) -> bool {
        self.rank() >= 2
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Env { variable } => write!(f, "env {variable}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Key path, such as `cache.memory_mb`, or what stands in for one (a file that is no TOML).
    pub key: String,
    /// The value as it was typed, masked.
    pub value: Option<String>,
    pub origin: Option<Origin>,
    /// Reads on from the value: `is not a whole number of MiB`.
    pub problem: String,
    /// What is allowed, what was probably meant, or how to put it right.
    pub hint: Option<String>,
}

impl Mistake {
    pub(super) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: None,
            origin: None,
            problem: problem.into(),
            hint: None,
        }
    }

    pub(super) fn value(mut self, masked: impl Into<String>) -> Self {
        self.value = Some(masked.into());
        self
    }

    pub(super) fn origin(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    pub(super) fn allowed(self, allowed: impl fmt::Display) -> Self {
        self.hint(format!("allowed: {allowed}"))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn to_json(&self) -> Json {
        json!({
            "key": self.key,
            "value": self.value,
            "from": self.origin.as_ref().map(ToString::to_string),
            "problem": self.problem,
            "hint": self.hint,
        })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " {value}")?;
        }
        write!(f, " {}", self.problem)?;
        if let Some(origin) = &self.origin {
            write!(f, " (from {origin})")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

/// Every mistake of one start, never empty when it is an error. Displays one a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistakes {
    pub list: Vec<Mistake>,
}

impl Mistakes {
    pub fn to_json(&self) -> Json {
        Json::Array(self.list.iter().map(Mistake::to_json).collect())
    }
}

impl From<Vec<Mistake>> for Mistakes {
    fn from(list: Vec<Mistake>) -> Self {
        Self { list }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

impl From<Mistakes> for Error {
    fn from(mistakes: Mistakes) -> Self {
        Self::settings("read the settings").with_source(mistakes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_mistake_says_key_value_origin_and_what_is_allowed() {
        let mistake = Mistake::new("cache.memory_mb", "is not a whole number of MiB")
            .value("\"lots\"")
            .origin(Some(Origin::Env {
                variable: "OUTRIGGER_CACHE__MEMORY_MB".to_owned(),
            }))
            .allowed("1 to 1048576");
        assert_eq!(
            mistake.to_string(),
            "cache.memory_mb: \"lots\" is not a whole number of MiB \
             (from env OUTRIGGER_CACHE__MEMORY_MB); allowed: 1 to 1048576"
        );
    }

    #[test]
    fn mistakes_become_an_error_about_settings() {
        let mistakes = Mistakes::from(vec![Mistake::new("a", "is odd"), Mistake::new("b", "too")]);
        let error = Error::from(mistakes);
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert_eq!(error.chain(), "read the settings: a: is odd\nb: too");
    }
}
