//! The rules for names in paths.

use validator::{ValidationError, ValidationErrors};

use super::{refuse, rules};
use crate::error::Result;

const COLLECTION_CHARS_MAX: usize = 255;
/// What a file system takes as one name.
const COLLECTION_BYTES_MAX: usize = 255;

/// The name of a collection that may be there: an old one may have characters that a new one may
/// not.
pub fn collection(name: &str) -> Result<()> {
    collection_length(name)?;
    let slash = ['/', '\0'].into_iter().find(|c| name.contains(*c));
    check(
        "collection_name",
        match slash {
            None => Ok(()),
            Some(c) => Err(rules::said(
                "does_not_contain",
                format!("collection name cannot contain \"{c}\" char"),
            )),
        },
    )
}

/// The name of a collection to be made.
pub fn new_collection(name: &str) -> Result<()> {
    collection_length(name)?;
    check("collection_name", rules::collection_name(name))
}

/// What a file system cannot have as one name. Qdrant itself fails at these, once it has read the
/// body: it takes `.` and `..` for folders, and is told by the system that the rest is too long.
pub fn storable(name: &str) -> Result<()> {
    let odd = if matches!(name, "." | "..") {
        format!("collection name cannot be \"{name}\"")
    } else if name.len() > COLLECTION_BYTES_MAX {
        format!("collection name must be at most {COLLECTION_BYTES_MAX} bytes long")
    } else {
        return Ok(());
    };
    check("collection_name", Err(rules::said("collection_name", odd)))
}

pub fn vector(name: &str) -> Result<()> {
    check("vector_name", rules::vector_name(name))
}

fn collection_length(name: &str) -> Result<()> {
    let count = name.chars().count();
    if (1..=COLLECTION_CHARS_MAX).contains(&count) {
        return Ok(());
    }
    let mut fault = ValidationError::new("length");
    fault.add_param("value".into(), &name);
    fault.add_param("min".into(), &1);
    fault.add_param("max".into(), &COLLECTION_CHARS_MAX);
    check("collection_name", Err(fault))
}

fn check(field: &'static str, outcome: Result<(), ValidationError>) -> Result<()> {
    outcome.map_err(|fault| {
        let mut errors = ValidationErrors::new();
        errors.add(field, fault);
        refuse::validation("path parameters", &errors)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_as_qdrant_does() {
        let long = "x".repeat(256);
        let wide = "é".repeat(128);
        let in_path = |what: &str| format!("Validation error in path parameters: [{what}]");
        let too_long = in_path(&format!(
            "collection_name: value \"{long}\" invalid, must be from 1 to 255 characters"
        ));
        let cases = [
            (
                "a\\b",
                None,
                Some(in_path(
                    "collection_name: collection name cannot contain \"\\\" char",
                )),
            ),
            (
                "a/b",
                Some(in_path(
                    "collection_name: collection name cannot contain \"/\" char",
                )),
                Some(in_path(
                    "collection_name: collection name cannot contain \"/\" char",
                )),
            ),
            (&long, Some(too_long.clone()), Some(too_long)),
            (
                &wide,
                None,
                Some(in_path(
                    "collection_name: collection name must be at most 255 bytes long",
                )),
            ),
            (
                "..",
                None,
                Some(in_path("collection_name: collection name cannot be \"..\"")),
            ),
            ("fine name", None, None),
        ];
        for (name, there, new) in cases {
            let said = |outcome: Result<()>| outcome.err().map(|error| error.to_string());
            assert_eq!(said(collection(name)), there, "{name}");
            let made = new_collection(name).and_then(|()| storable(name));
            assert_eq!(said(made), new, "{name}");
        }
    }
}
