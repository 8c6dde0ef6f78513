//! Broken rules in Qdrant's words: `path: what is wrong`, one after the other.

use serde_json::Value;
use validator::{ValidationError, ValidationErrors, ValidationErrorsKind};

/// All that is wrong, joined by `; `. Sorted by path, for the order that rules are checked in is
/// not kept.
pub(super) fn describe(errors: &ValidationErrors) -> String {
    let mut found = Vec::new();
    collect(errors, "", &mut found);
    found.sort();
    found.join("; ")
}

fn collect(errors: &ValidationErrors, above: &str, found: &mut Vec<String>) {
    for (field, kind) in errors.errors() {
        let path = if above.is_empty() {
            field.to_string()
        } else {
            format!("{above}.{field}")
        };
        match kind {
            ValidationErrorsKind::Field(faults) => {
                found.extend(faults.iter().map(|fault| format!("{path}: {}", say(fault))));
            }
            ValidationErrorsKind::Struct(inner) => collect(inner, &path, found),
            ValidationErrorsKind::List(items) => {
                for (at, inner) in items {
                    collect(inner, &format!("{path}[{at}]"), found);
                }
            }
        }
    }
}

fn say(fault: &ValidationError) -> String {
    if let Some(message) = &fault.message {
        return message.to_string();
    }
    let param = |name: &str| fault.params.get(name);
    if let Some(Value::String(message)) = param("message") {
        return message.clone();
    }
    let bounds = (param("min"), param("max"));
    let rule = match &*fault.code {
        "range" => match bounds {
            (Some(min), Some(max)) => Some(format!("must be from {min} to {max}")),
            (Some(min), None) => Some(format!("must be {min} or larger")),
            (None, Some(max)) => Some(format!("must be {max} or smaller")),
            (None, None) => None,
        },
        "length" => match (param("equal"), bounds) {
            (Some(equal), _) => Some(format!("must be exactly {equal} characters")),
            (None, (Some(min), Some(max))) => {
                Some(format!("must be from {min} to {max} characters"))
            }
            (None, (Some(min), None)) => Some(format!("must be at least {min} characters")),
            (None, (None, Some(max))) => Some(format!("must be at most {max} characters")),
            (None, (None, None)) => None,
        },
        _ => None,
    };
    match (rule, param("value")) {
        (Some(rule), Some(value)) => format!("value {value} invalid, {rule}"),
        (Some(rule), None) => rule,
        (None, _) => say_coded(fault),
    }
}

fn say_coded(fault: &ValidationError) -> String {
    let param = |name: &str| fault.params.get(name);
    match &*fault.code {
        "not_empty" => "value invalid, must not be empty".to_owned(),
        "closed_line" => {
            "value invalid, the first and the last points should be same to form a closed line"
                .to_owned()
        }
        "min_line_length" => match (param("min_length"), param("length")) {
            (Some(min), Some(length)) => {
                format!("value invalid, the size must be at least {min}, got {length}")
            }
            _ => fault.to_string(),
        },
        "does_not_contain" => match param("pattern") {
            Some(pattern) => format!("cannot contain {pattern}"),
            None => fault.to_string(),
        },
        "must_not_match" => {
            let value = param("value").map_or(String::new(), |value| format!("value {value} "));
            match (param("other_field"), param("other_value")) {
                (Some(field), Some(other)) => format!("{value}must not match {other} in {field}"),
                (Some(field), None) => format!("{value}must not match value in {field}"),
                _ => fault.to_string(),
            }
        }
        _ => fault.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use validator::Validate;

    use super::*;

    #[derive(Validate)]
    struct Inner {
        #[validate(range(min = 1))]
        limit: usize,
    }

    #[derive(Validate)]
    struct Outer {
        #[validate(nested)]
        things: Vec<Inner>,
        #[validate(length(min = 1, max = 3))]
        name: String,
    }

    #[test]
    fn paths_and_rules_read_as_qdrants() {
        let outer = Outer {
            things: vec![Inner { limit: 1 }, Inner { limit: 0 }],
            name: "abcd".to_owned(),
        };
        assert_eq!(
            describe(&outer.validate().unwrap_err()),
            "name: value \"abcd\" invalid, must be from 1 to 3 characters; \
             things[1].limit: value 0 invalid, must be 1 or larger"
        );
    }

    #[test]
    fn what_has_no_words_is_said_as_it_is() {
        let mut errors = ValidationErrors::new();
        errors.add("__all__", ValidationError::new("One must be given"));
        let expected = "__all__: Validation error: One must be given [{}]";
        assert_eq!(describe(&errors), expected);
    }
}
