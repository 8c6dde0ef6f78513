//! Finds elements and depths in text that is known to be JSON. On anything else the answers are
//! meaningless, but there is no panic and no recursion.

use std::ops::Range;

/// The deepest nesting that Qdrant's JSON reader takes.
const DEPTH_MAX: usize = 127;

/// How many bytes are looked at in one go.
const BLOCK: usize = 32;

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
    let ends = |byte: &u8| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b']' | b'}');
    match text.first() {
        Some(b'"') => string_end(text, 1),
        Some(b'[' | b'{') => nested_end(text),
        _ => text.iter().position(ends).unwrap_or(text.len()),
    }
}

/// Where the list or object ends that the text begins with.
fn nested_end(text: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some((mark, byte)) = next_mark(text, at) {
        at = mark + 1;
        match byte {
            b'"' => at = string_end(text, at),
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth <= 1 => return at,
            b']' | b'}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Where the nesting first goes deeper than Qdrant allows.
pub(super) fn too_deep_at(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some((mark, byte)) = next_mark(text, at) {
        at = mark + 1;
        match byte {
            b'"' => at = string_end(text, at),
            b'[' | b'{' if depth == DEPTH_MAX => return Some(mark),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Where the string ends whose opening quote stands just before `from`.
fn string_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some((mark, byte)) = next_mark(text, at) {
        match byte {
            b'"' => return mark + 1,
            b'\\' => at = mark + 2,
            _ => at = mark + 1,
        }
    }
    text.len()
}

/// The next quote, backslash, bracket or brace; a bar, too, which means nothing.
///
/// Vectors are long runs of none of these, so the search goes by blocks, which the compiler turns
/// into a few vector instructions each.
fn next_mark(text: &[u8], from: usize) -> Option<(usize, u8)> {
    // In ASCII, bracket, backslash, bracket are neighbours, and so are brace, bar, brace, 0x20
    // further on.
    let is_mark = |byte: &u8| *byte == b'"' || (*byte | 0x20).wrapping_sub(b'{') < 3;
    let rest = text.get(from..)?;
    let (blocks, _) = rest.as_chunks::<BLOCK>();
    let empty = |block: &&[u8; BLOCK]| !block.iter().fold(false, |any, byte| any | is_mark(byte));
    let skipped = blocks.iter().take_while(empty).count() * BLOCK;
    let (offset, byte) = rest
        .iter()
        .enumerate()
        .skip(skipped)
        .find(|(_, byte)| is_mark(byte))?;
    Some((from + offset, *byte))
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
    fn marks_are_found_wherever_they_stand() {
        for length in 0..3 * BLOCK {
            let pad = "0".repeat(length);
            let elements = [
                format!(r#""{pad}]\"{pad}""#),
                format!("[{pad}1,[{pad}1]]"),
                format!(r#"{{"{pad}":"{pad}\\","|":1}}"#),
            ];
            let inside = elements.join(",");
            let found: Vec<_> = Elements::new(inside.as_bytes(), 0..inside.len())
                .map(|range| inside.get(range).unwrap())
                .collect();
            assert_eq!(found, elements);
            let deep = format!("{pad}{}", "[".repeat(DEPTH_MAX + 1));
            assert_eq!(too_deep_at(deep.as_bytes()), Some(length + DEPTH_MAX));
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
