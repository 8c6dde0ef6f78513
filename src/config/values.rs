//! From a value as typed to a value of the type that its key has.
//!
//! A file has types of its own and must use the right one: 128 in quotes is a text there. What
//! variables and flags hold is always text, and is read as whatever the key wants.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::Value as Json;

use super::raw::{Given, Raw};
use super::units;
use super::url::StoreUrl;

/// A value as its getter understood it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Text(String),
    Whole(u64),
    Real(f64),
    Switch(bool),
}

impl Literal {
    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Text(text) => format!("{text:?}"),
            Self::Whole(number) => number.to_string(),
            Self::Real(number) => format!("{number:?}"),
            Self::Switch(on) => on.to_string(),
        }
    }

    pub(super) fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::Whole(number) => (*number).into(),
            Self::Real(number) => (*number).into(),
            Self::Switch(on) => (*on).into(),
        }
    }
}

/// Why a value will not do, and what would.
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

impl Wrong {
    pub(super) fn new(problem: impl Into<String>, allowed: impl fmt::Display) -> Self {
        Self {
            problem: problem.into(),
            hint: format!("allowed: {allowed}"),
        }
    }

    pub(super) fn with_hint(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: hint.into(),
        }
    }
}

pub(super) type Read<T> = Result<(T, Literal), Wrong>;

pub(super) fn names_of<T>(options: &[(&str, T)]) -> String {
    options
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn pick<T: Copy>(options: &[(&str, T)], text: &str) -> Option<T> {
    options
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| *value)
}

pub(super) fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.trim().is_empty())
}

pub(super) fn read_switch(given: &Given) -> Read<bool> {
    let wrong = || Wrong::new("is neither true nor false", "true, false");
    let on = match &given.value {
        Raw::Switch(on) => *on,
        Raw::Text(text) if given.origin.is_untyped() => {
            match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "false" | "0" | "no" | "off" => false,
                _ => return Err(wrong()),
            }
        }
        Raw::Text(_) | Raw::Whole(_) | Raw::Real(_) | Raw::Odd(_) | Raw::EmptyTable => {
            return Err(wrong());
        }
    };
    Ok((on, Literal::Switch(on)))
}

pub(super) fn read_whole<T: TryFrom<u64>>(
    given: &Given,
    unit: &str,
    range: &RangeInclusive<u64>,
) -> Read<T> {
    let allowed = format!("{} to {}", range.start(), range.end());
    let number = match &given.value {
        Raw::Whole(number) => Some(*number),
        Raw::Text(text) if given.origin.is_untyped() => text.trim().parse().ok(),
        Raw::Text(_) | Raw::Real(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => None,
    };
    let Some(number) = number else {
        let quoted = if given.text().is_some_and(|text| text.parse::<i64>().is_ok()) {
            " (write it without quotes)"
        } else {
            ""
        };
        let unit = if unit.is_empty() {
            String::new()
        } else {
            format!(" {unit}")
        };
        return Err(Wrong::new(
            format!("is not a whole number{unit}{quoted}"),
            allowed,
        ));
    };
    let in_range = u64::try_from(number)
        .ok()
        .filter(|number| range.contains(number));
    let fitting = in_range.and_then(|number| Some((T::try_from(number).ok()?, number)));
    let (value, number) = fitting.ok_or_else(|| Wrong::new("is out of range", allowed))?;
    Ok((value, Literal::Whole(number)))
}

pub(super) fn read_share(given: &Given) -> Read<f64> {
    let share = match &given.value {
        Raw::Real(share) => Some(*share),
        Raw::Whole(0) => Some(0.0),
        Raw::Whole(1) => Some(1.0),
        Raw::Text(text) if given.origin.is_untyped() => text.trim().parse().ok(),
        Raw::Text(_) | Raw::Whole(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => None,
    };
    match share {
        Some(share) if (0.0..=1.0).contains(&share) => Ok((share, Literal::Real(share))),
        Some(_) | None => Err(Wrong::new("is not a share", "0.0 (none) to 1.0 (all)")),
    }
}

pub(super) fn read_number(given: &Given, range: &RangeInclusive<f64>) -> Read<f64> {
    let number = match &given.value {
        Raw::Real(number) => Some(*number),
        // Whole numbers that are allowed anywhere are small.
        Raw::Whole(number) => i32::try_from(*number).ok().map(f64::from),
        Raw::Text(text) if given.origin.is_untyped() => text.trim().parse().ok(),
        Raw::Text(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => None,
    };
    let allowed = format!("{:?} to {:?}", range.start(), range.end());
    match number {
        Some(number) if range.contains(&number) => Ok((number, Literal::Real(number))),
        Some(_) => Err(Wrong::new("is out of range", allowed)),
        None => Err(Wrong::new("is not a number", allowed)),
    }
}

/// What has a unit is shown as somebody wrote it: 90s need not become 1m 30s.
fn as_typed(given: &Given) -> Literal {
    match &given.value {
        Raw::Text(text) => Literal::Text(text.trim().to_owned()),
        Raw::Whole(number) => Literal::Whole(number.unsigned_abs()),
        Raw::Real(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => {
            Literal::Text(given.value.show())
        }
    }
}

pub(super) fn read_duration(given: &Given, range: &RangeInclusive<Duration>) -> Read<Duration> {
    let ends = [*range.start(), *range.end()].map(units::show_duration);
    let allowed = format!(
        "a duration such as \"300ms\" or \"5m\", from {} to {}",
        ends[0], ends[1]
    );
    let Some(duration) = given.text().and_then(units::parse_duration) else {
        return Err(Wrong::new("is not a duration", allowed));
    };
    if !range.contains(&duration) {
        return Err(Wrong::new("is out of range", allowed));
    }
    Ok((duration, as_typed(given)))
}

pub(super) fn read_bytes(given: &Given, range: &RangeInclusive<u64>) -> Read<u64> {
    let ends = [*range.start(), *range.end()].map(units::show_bytes);
    let allowed = format!(
        "bytes as a number, or with a unit as in \"256MiB\", from {} to {}",
        ends[0], ends[1]
    );
    let bytes = match &given.value {
        Raw::Text(text) => units::parse_bytes(text),
        Raw::Whole(number) => u64::try_from(*number).ok(),
        Raw::Real(_) | Raw::Switch(_) | Raw::Odd(_) | Raw::EmptyTable => None,
    };
    let Some(bytes) = bytes else {
        return Err(Wrong::new("is not a size", allowed));
    };
    if !range.contains(&bytes) {
        return Err(Wrong::new("is out of range", allowed));
    }
    Ok((bytes, as_typed(given)))
}

pub(super) fn read_parsed<T>(
    given: &Given,
    allowed: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Read<T> {
    let Some(text) = given.text() else {
        return Err(Wrong::new("is not a text", allowed));
    };
    let text = text.trim();
    let value = parse(text).ok_or_else(|| Wrong::new("is not allowed", allowed))?;
    Ok((value, Literal::Text(text.to_owned())))
}

pub(super) fn read_url(
    given: &Given,
    allowed: &str,
    parse: impl Fn(&str) -> Result<StoreUrl, &'static str>,
) -> Read<StoreUrl> {
    let Some(text) = given.text() else {
        return Err(Wrong::new("is not a text", allowed));
    };
    let url = parse(text).map_err(|problem| Wrong::new(problem, allowed))?;
    let shown = url.masked();
    Ok((url, Literal::Text(shown)))
}
