//! Finds elements and depths in text that is known to be JSON. On anything else the answers are
//! meaningless, but there is no panic and no recursion.

use std::ops::Range;

/// The deepest nesting that Qdrant's JSON reader takes.
const DEPTH_MAX: usize = 127;

/// The elements of a list, as ranges of the text that the list stands in.
#[derive(Clone)]
pub(super) struct Elements<'a> {
    text: &'a [u8],
    /// Where the rest of the list begins, and where the list ends.
    rest: Range<usize>,
}

impl<'a> Elements<'a> {
    /// `interior` is what stands between the brackets.
    pub(super) fn new(text: &'a [u8], interior: Range<usize>) -> Self {
        Self {
            text,
            rest: interior,
        }
    }
}

impl Iterator for Elements<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.text.get(self.rest.clone())?;
        let between = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',');
        let lead = rest
            .iter()
            .position(|byte| !between(byte))
            .unwrap_or(rest.len());
        let start = self.rest.start + lead;
        let end = start + rest.get(lead..).map_or(0, value_length);
        if start == end {
            self.rest.start = self.rest.end;
            return None;
        }
        self.rest.start = end;
        Some(start..end)
    }
}

/// The length of the value that the text begins with.
fn value_length(text: &[u8]) -> usize {
    let mut bytes = text.iter().enumerate();
    let mut depth = 0_usize;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                skip_string(&mut bytes);
                if depth == 0 {
                    return bytes.next().map_or(text.len(), |(at, _)| at);
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => return at + depth,
            b']' | b'}' => depth -= 1,
            b',' | b' ' | b'\n' | b'\r' | b'\t' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// Where the nesting first goes deeper than Qdrant allows.
pub(super) fn too_deep_at(text: &[u8]) -> Option<usize> {
    let mut bytes = text.iter().enumerate();
    let mut depth = 0_usize;
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'[' | b'{' if depth == DEPTH_MAX => return Some(at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Goes past the end of a string whose opening quote has been read.
fn skip_string<'a>(bytes: &mut impl Iterator<Item = (usize, &'a u8)>) {
    while let Some((_, byte)) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_whatever_they_are() {
        let inside = r#" 1 ,-2.5e7,"a,]\"\\",[ [],{"]":"["} ] , {"a":[1,2]},null,true,"" "#;
        let found: Vec<_> = Elements::new(inside.as_bytes(), 0..inside.len())
            .map(|range| inside.get(range).unwrap())
            .collect();
        let expected = [
            "1",
            "-2.5e7",
            r#""a,]\"\\""#,
            r#"[ [],{"]":"["} ]"#,
            r#"{"a":[1,2]}"#,
            "null",
            "true",
            r#""""#,
        ];
        assert_eq!(found, expected);
        for empty in ["", " \n\t "] {
            assert_eq!(Elements::new(empty.as_bytes(), 0..empty.len()).next(), None);
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        for text in ["]", "}}", ",,", "\"", "\"\\", "[", "[\"", "1]", "\\", "{]"] {
            let elements = Elements::new(text.as_bytes(), 0..text.len());
            assert!(elements.take(9).count() < 9, "{text} has no end");
            too_deep_at(text.as_bytes());
        }
        assert_eq!(Elements::new(b"[1]", 5..9).next(), None);
    }
}
