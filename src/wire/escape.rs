//! Percent-escapes in paths, undone the way Qdrant's HTTP server undoes them.
//!
//! It does so twice. Once over the whole path before routing, leaving `%25`, `%2F` and `%2B` as
//! they are, so that an escaped slash never separates; and once more over each parameter, leaving
//! nothing. For what clients send this is plain decoding. For the rest (`%%3241` is `$1`) only the
//! same two steps give the same name, and a name we read otherwise than the store behind us would
//! be a way round every rule that hangs on names.

use std::borrow::Cow;

/// A segment as routes see it.
pub(super) fn for_routing(segment: &str) -> Cow<'_, str> {
    unescape(segment, |byte| matches!(byte, b'%' | b'/' | b'+'))
}

/// A segment as a handler sees it.
pub(super) fn for_handler(segment: &str) -> Cow<'_, str> {
    match for_routing(segment) {
        Cow::Borrowed(text) => unescape(text, |_| false),
        Cow::Owned(text) => Cow::Owned(unescape(&text, |_| false).into_owned()),
    }
}

/// Undoes every well-formed escape whose byte is not kept. What is not UTF-8 afterwards becomes
/// the replacement character: `/collections/%FF` names such a collection.
fn unescape(text: &str, keep: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first == b'%'
            && let [high, low, tail @ ..] = after
            && let Some(byte) = hex_byte(*high, *low)
            && !keep(byte)
        {
            plain.push(byte);
            rest = tail;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    if plain.len() == text.len() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(match String::from_utf8(plain) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |letter: u8| char::from(letter).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_in_two_steps() {
        // Each was compared with what Qdrant's server makes of it.
        let cases = [
            ("docs", "docs", "docs"),
            ("", "", ""),
            ("a%20b", "a b", "a b"),
            ("%70oints", "points", "points"),
            ("%C3%A4", "ä", "ä"),
            ("a%2Fb", "a%2Fb", "a/b"),
            ("a%2fb", "a%2fb", "a/b"),
            ("a+b%2Bc", "a+b%2Bc", "a+b+c"),
            ("100%25", "100%25", "100%"),
            ("%2541", "%2541", "%41"),
            ("%%3241", "%241", "$1"),
            ("%2%35", "%25", "%"),
            ("%%46%46", "%FF", "\u{fffd}"),
            ("%FF", "\u{fffd}", "\u{fffd}"),
            ("%E4%", "\u{fffd}%", "\u{fffd}%"),
            ("%", "%", "%"),
            ("%zz%4", "%zz%4", "%zz%4"),
            ("%00", "\0", "\0"),
            ("ä", "ä", "ä"),
        ];
        for (raw, routed, handled) in cases {
            assert_eq!(for_routing(raw), routed, "{raw} for routing");
            assert_eq!(for_handler(raw), handled, "{raw} for the handler");
        }
    }

    #[test]
    fn nothing_is_copied_unless_it_changes() {
        for raw in ["docs", "%zz", "100%"] {
            assert!(matches!(for_handler(raw), Cow::Borrowed(_)), "{raw}");
        }
    }
}
