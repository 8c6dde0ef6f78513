//! Rules that several requests share, as `validator` errors in Qdrant's form.

use std::borrow::Cow;

use serde::Serialize;
use validator::{Validate, ValidationError, ValidationErrors, ValidationErrorsKind};

/// Not one of these may stand in the name of a collection or of a vector.
const NAME_CHARS_REFUSED: [char; 11] =
    ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1F}'];

const VECTOR_NAME_BYTES_MAX: usize = 200;

/// Checks all; what is wrong is listed under `?`, for the parts have no names of their own.
pub fn each<'v, T: Validate + 'v>(
    parts: impl Iterator<Item = &'v T>,
) -> Result<(), ValidationErrors> {
    let mut faults: Vec<_> = parts.filter_map(|part| part.validate().err()).collect();
    let kind = match faults.pop() {
        None => return Ok(()),
        Some(only) if faults.is_empty() => ValidationErrorsKind::Struct(Box::new(only)),
        Some(last) => {
            faults.push(last);
            let numbered = faults.into_iter().enumerate();
            ValidationErrorsKind::List(numbered.map(|(at, fault)| (at, Box::new(fault))).collect())
        }
    };
    let mut all = ValidationErrors::new();
    all.errors_mut().insert(Cow::Borrowed("?"), kind);
    Err(all)
}

pub fn in_range<N: PartialOrd + Serialize>(
    value: N,
    min: N,
    max: N,
) -> Result<(), ValidationError> {
    if value >= min && value <= max {
        return Ok(());
    }
    let mut fault = ValidationError::new("range");
    fault.add_param("value".into(), &value);
    fault.add_param("min".into(), &min);
    fault.add_param("max".into(), &max);
    Err(fault)
}

/// The most numbers that all rows of a multi-vector have together.
const ROWS_NUMBERS_MAX: usize = 1_048_576;

/// A multi-vector: there are rows, none is empty, they are not too many, all are of one length.
pub fn rows(rows: &[Vec<f32>]) -> Result<(), ValidationErrors> {
    let lengths = || rows.iter().map(Vec::len);
    let numbers = lengths().sum::<usize>();
    let size = lengths().next().unwrap_or(0);
    let text = if rows.is_empty() {
        "multi vector must not be empty".to_owned()
    } else if lengths().any(|length| length == 0) {
        "all vectors must be non-empty".to_owned()
    } else if numbers >= ROWS_NUMBERS_MAX {
        format!("Total size of all vectors ({numbers}) must be less than {ROWS_NUMBERS_MAX}")
    } else if let Some(other) = lengths().find(|length| *length != size) {
        format!("all vectors must have the same dimension, found vector with dimension {other}")
    } else {
        return Ok(());
    };
    let mut errors = ValidationErrors::new();
    errors.add("data", said("multi_vector", text));
    Err(errors)
}

/// A fault that brings its own words.
pub fn said(code: &'static str, message: impl Into<Cow<'static, str>>) -> ValidationError {
    ValidationError::new(code).with_message(message.into())
}

/// The name of a collection, as far as its characters go.
pub fn collection_name(name: &str) -> Result<(), ValidationError> {
    name_chars(name, "collection name")
}

pub fn vector_name(name: &str) -> Result<(), ValidationError> {
    if name.len() > VECTOR_NAME_BYTES_MAX {
        let text = format!("vector name must be at most {VECTOR_NAME_BYTES_MAX} bytes long");
        return Err(said("length", text));
    }
    name_chars(name, "vector name")
}

/// 64 hexadecimal digits.
pub fn sha256(text: &str) -> Result<(), ValidationError> {
    const DIGITS: usize = 64;
    if text.len() != DIGITS {
        let mut fault = ValidationError::new("invalid_sha256_hash");
        fault.add_param("length".into(), &text.len());
        fault.add_param("expected_length".into(), &DIGITS);
        return Err(fault);
    }
    if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let mut fault = ValidationError::new("invalid_sha256_hash");
    fault.add_param(
        "message".into(),
        &"invalid characters, expected 0-9, a-f, A-F",
    );
    Err(fault)
}

fn name_chars(name: &str, kind: &str) -> Result<(), ValidationError> {
    match NAME_CHARS_REFUSED.into_iter().find(|c| name.contains(*c)) {
        None => Ok(()),
        Some(c) => Err(said(
            "does_not_contain",
            format!("{kind} cannot contain \"{c}\" char"),
        )),
    }
}
