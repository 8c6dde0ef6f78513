//! Payloads as jsonb, and back, with nothing lost that Qdrant keeps.
//!
//! jsonb holds numbers as decimals and has no NUL. So:
//! - A float is written out in full and always with a fraction, so that it comes back as a float
//!   and 5.0 is told from 5. Whole floats are written with all the digits they stand for: compared
//!   as decimals, they compare as floats. -0.0 is a nought with more decimals than any other.
//! - Qdrant keeps payloads as JSON text and reads it with a parser that does not always find the
//!   nearest float. What that parser makes of the text is what is stored here.
//! - NUL, and the six characters that this needs, become pairs of those six. The first half of a
//!   pair is never a second half: one string holds another exactly if it does so when both are
//!   escaped, and equal stays equal.
//!
//! The order of keys is not kept.

use std::borrow::Cow;

use qdrant_edge::{JsonPath, Payload};
use serde_json::{Map, Number, Value};

use super::filter_sql::path::{Path, Step};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};

const FIRST_HALVES: [char; 2] = ['\u{F8FA}', '\u{F8FB}'];
const SECOND_HALVES: [char; 3] = ['\u{F8FD}', '\u{F8FE}', '\u{F8FF}'];

/// What the pairs stand for, those that begin with the first half 0 first.
const ESCAPED: [char; 6] = [
    '\0', '\u{F8FA}', '\u{F8FB}', '\u{F8FD}', '\u{F8FE}', '\u{F8FF}',
];

const MINUS_ZERO_DECIMALS: usize = 400;

/// How deep a payload may be. The parsers of requests stop long before.
pub(super) const DEPTH_MAX: usize = 1000;

/// A payload as text that PostgreSQL reads as jsonb.
pub(super) fn encode(payload: &Payload) -> String {
    let mut out = String::new();
    write_map(&payload.0, &mut out);
    out
}

/// A value of a payload as text that PostgreSQL reads as jsonb.
pub(super) fn encode_value(value: &Value) -> String {
    let mut out = String::new();
    write_value(value, &mut out);
    out
}

/// A payload from the text of a jsonb that `encode` made.
pub(super) fn decode(text: &str) -> Result<Payload> {
    let mut reader = Reader { rest: text };
    let map_read = match reader.value(0) {
        Some(Value::Object(map_read)) if reader.rest.is_empty() => Some(map_read),
        Some(_) | None => None,
    };
    map_read.map(Payload).ok_or_else(|| {
        Error::new(
            ErrorKind::Nonsense,
            Origin::Pgvector,
            Retry::Safe,
            "read a payload",
        )
    })
}

/// A path as the jsonb array that `qd.path_merge` and `qd.path_del` take.
pub(super) fn steps(path: &JsonPath) -> String {
    let mut out = String::from("[");
    for (at, step) in Path::of(path).steps().iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        match step {
            Step::Key(key) => write_string(key, &mut out),
            Step::Index(index) => out.push_str(&index.to_string()),
            Step::Each => out.push_str("null"),
        }
    }
    out.push(']');
    out
}

/// A string as it is kept.
pub(super) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(ESCAPED) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match ESCAPED.iter().position(|escaped| *escaped == character) {
            Some(number) => {
                out.push(FIRST_HALVES[number / SECOND_HALVES.len()]);
                out.push(SECOND_HALVES[number % SECOND_HALVES.len()]);
            }
            None => out.push(character),
        }
    }
    Cow::Owned(out)
}

/// A string as it was before it was kept.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains(FIRST_HALVES) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let first = FIRST_HALVES.iter().position(|half| *half == character);
        let Some(first) = first else {
            out.push(character);
            continue;
        };
        let second = characters.clone().next();
        let second = second.and_then(|next| SECOND_HALVES.iter().position(|half| *half == next));
        // Alone it is nothing of ours: a table that others write to.
        match second {
            Some(second) => {
                characters.next();
                out.push(ESCAPED[first * SECOND_HALVES.len() + second]);
            }
            None => out.push(character),
        }
    }
    Cow::Owned(out)
}

fn write_value(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out),
        Value::String(text) => write_string(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => write_map(map, out),
    }
}

fn write_map(map: &Map<String, Value>, out: &mut String) {
    out.push('{');
    for (at, (key, value)) in map.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write_string(key, out);
        out.push(':');
        write_value(value, out);
    }
    out.push('}');
}

/// A string of JSON.
pub(super) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in escape(text).chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{0}'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
}

fn write_number(number: &Number, out: &mut String) {
    if !number.is_f64() {
        out.push_str(&number.to_string());
        return;
    }
    let reread: Option<Number> = serde_json::from_str(&number.to_string()).ok();
    let Some(float) = reread.as_ref().unwrap_or(number).as_f64() else {
        return out.push('0');
    };
    if float == 0.0 && float.is_sign_negative() {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', MINUS_ZERO_DECIMALS));
    } else if float.fract() == 0.0 {
        out.push_str(&format!("{float:.1}"));
    } else {
        out.push_str(&float.to_string());
    }
}

/// Reads what PostgreSQL prints for a jsonb. It is JSON, so this need not look for mistakes; where
/// it meets one, it says so.
struct Reader<'t> {
    rest: &'t str,
}

impl<'t> Reader<'t> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.blanks();
        let value = match self.rest.as_bytes().first()? {
            b'{' => Value::Object(self.map(depth)?),
            b'[' => Value::Array(self.array(depth)?),
            b'"' => Value::String(self.string()?),
            b't' => self.word("true", Value::Bool(true))?,
            b'f' => self.word("false", Value::Bool(false))?,
            b'n' => self.word("null", Value::Null)?,
            _ => Value::Number(self.number()?),
        };
        self.blanks();
        Some(value)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\n', '\r', '\t']);
    }

    fn take(&mut self, sign: char) -> bool {
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Option<Value> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(value)
    }

    fn map(&mut self, depth: usize) -> Option<Map<String, Value>> {
        let mut map = Map::new();
        self.take('{');
        self.blanks();
        if self.take('}') {
            return Some(map);
        }
        loop {
            self.blanks();
            let key = self.string()?;
            self.blanks();
            if !self.take(':') {
                return None;
            }
            map.insert(key, self.value(depth + 1)?);
            if self.take('}') {
                return Some(map);
            }
            if !self.take(',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.take('[');
        self.blanks();
        if self.take(']') {
            return Some(items);
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(']') {
                return Some(items);
            }
            if !self.take(',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let bytes = self.rest.as_bytes();
        if bytes.first() != Some(&b'"') {
            return None;
        }
        let mut end = 1;
        let mut is_plain = true;
        loop {
            match bytes.get(end)? {
                b'"' => break,
                b'\\' => {
                    is_plain = false;
                    end += 2;
                }
                _ => end += 1,
            }
        }
        let (quoted, rest) = self.rest.split_at_checked(end + 1)?;
        self.rest = rest;
        if is_plain {
            return Some(unescape(quoted.get(1..end)?).into_owned());
        }
        let text: String = serde_json::from_str(quoted).ok()?;
        Some(unescape(&text).into_owned())
    }

    fn number(&mut self) -> Option<Number> {
        let is_of_it = |sign: char| matches!(sign, '0'..='9' | '-' | '+' | '.' | 'e' | 'E');
        let end = self.rest.find(|sign| !is_of_it(sign));
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if let Ok(number) = digits.parse::<u64>() {
            return Some(number.into());
        }
        if let Ok(number) = digits.parse::<i64>() {
            return Some(number.into());
        }
        let float: f64 = digits.parse().ok()?;
        let is_minus_zero = float == 0.0 && digits.len() > MINUS_ZERO_DECIMALS;
        Number::from_f64(if is_minus_zero { -0.0 } else { float })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn payload(text: &str) -> Payload {
        Payload(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_payload_comes_back_as_it_went() {
        let texts = [
            r#"{}"#,
            r#"{"a":5,"b":5.0,"c":-0.0,"d":0.0,"e":1e300,"f":5e-324,"g":0.1,"h":-7}"#,
            r#"{"u":18446744073709551615,"i":-9223372036854775808,"big":1e23,"x":9007199254740993.0}"#,
            r#"{"s":"\u0000 \uf8fa\uf8fb\uf8fd\uf8fe\uf8ff \" \\ \n \u001f é 本","k\u0000":[null,true,false,[],{}]}"#,
        ];
        for text in texts {
            let payload = payload(text);
            let back = decode(&encode(&payload)).unwrap();
            assert_eq!(
                serde_json::to_string(&back).unwrap(),
                serde_json::to_string(&payload).unwrap()
            );
        }
    }

    #[test]
    fn a_float_is_what_qdrants_own_storage_makes_of_it() {
        let mut changed = 0;
        for number in 1..2000 {
            let float = json!(f64::from(number) / 7.0 * 1e-9);
            let stored: Value = serde_json::from_str(&float.to_string()).unwrap();
            let back = decode(&format!("{{\"x\":{}}}", encode_value(&float))).unwrap();
            assert_eq!(back.0["x"], stored);
            changed += usize::from(stored != float);
        }
        assert!(changed > 0);
    }

    #[test]
    fn one_string_holds_another_as_before_when_both_are_escaped() {
        let some = [
            "\0", "\u{F8FA}", "\u{F8FB}", "\u{F8FD}", "\u{F8FE}", "\u{F8FF}", "a", "",
        ];
        for a in some {
            for b in some {
                for c in some {
                    for d in some {
                        let (text, part) = (format!("{a}{b}{c}"), format!("{d}{b}"));
                        assert_eq!(
                            text.contains(&part),
                            escape(&text).contains(&*escape(&part)),
                            "{text:?} {part:?}"
                        );
                        assert_eq!(unescape(&escape(&text)), text);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_is_not_read() {
        for text in [
            "",
            "{",
            "{\"a\"}",
            "[1]",
            "{\"a\":1",
            "{\"a\":1}x",
            "{\"a\":--1}",
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert!(decode(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn a_path_is_told_in_steps() {
        let path: JsonPath = r#"a."b c"[3].d[]"#.parse().unwrap();
        assert_eq!(steps(&path), r#"["a","b c",3,"d",null]"#);
    }
}
