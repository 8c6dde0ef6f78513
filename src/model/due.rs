//! A comparison of everything, or of a collection, that is due, and why.
//!
//! The reason is more than a text for people: by its first words it is known whether a sweep may
//! begin by itself, and whether it may take a collection for deleted. A wish that comes later does
//! not take that away (`reason_of_both`). The outbox in PostgreSQL goes by the same words.

/// It is not known what differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SweepDue {
    /// `None`: all of them.
    pub collection: Option<Box<str>>,
    pub reason: Box<str>,
    /// Another whenever it is asked for anew: a sweep that began before that does not answer it.
    pub token: u64,
    pub since_ms: u64,
}

/// Somebody said so.
pub const ASKED_FOR: &str = "asked for";
/// A direction that was never followed before. What has to be copied may be large: it is begun when
/// somebody says so, unless it is small.
pub const NEVER_COMPARED: &str = "never compared";
/// The authority may lack what the follower has: never begun unasked.
pub const OTHER_AUTHORITY: &str = "never compared since the authority";
/// Where the authority has it no more, the follower is to delete it.
pub const PERHAPS_DELETED: &str = "perhaps deleted";
/// At the end of a reason: it is about those collections only that have no mode of their own.
pub const REST: &str = " (but for collections with a mode of their own)";

/// From the weakest on, each with the words that reasons of it begin with.
const STRONGER: [&str; 4] = [PERHAPS_DELETED, NEVER_COMPARED, OTHER_AUTHORITY, ASKED_FOR];

/// Between the words that decide and what was said later.
const LATER: &str = "; ";

/// The reason of what was due for one and is asked for anew for another: the stronger decides. But
/// whoever asked for it knew only what was due by then.
pub fn reason_of_both(before: &str, now: &str) -> String {
    let is_news = before.starts_with(ASKED_FOR) && now.starts_with(NEVER_COMPARED);
    if is_news || strength(now) >= strength(before) {
        return now.to_owned();
    }
    // It is about all as soon as one of them is.
    let rest = match before.ends_with(REST) && now.ends_with(REST) {
        true => REST,
        false => "",
    };
    let words = before.split(LATER).next().unwrap_or(before);
    let (words, now) = (words.trim_end_matches(REST), now.trim_end_matches(REST));
    format!("{words}{LATER}{now}{rest}")
}

fn strength(reason: &str) -> usize {
    let strongest = STRONGER.iter().rposition(|words| reason.starts_with(words));
    strongest.map_or(0, |place| place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_wish_does_not_take_the_reason_away() {
        let rest = format!("{ASKED_FOR}{REST}");
        let of_rest = format!("a test{REST}");
        let moved = format!("{OTHER_AUTHORITY} moved");
        for (before, now, both) in [
            ("the disk failed", "too many marks", "too many marks"),
            (
                &*moved,
                "the disk failed",
                &*format!("{moved}; the disk failed"),
            ),
            (&*moved, ASKED_FOR, ASKED_FOR),
            (NEVER_COMPARED, &*moved, &*moved),
            (ASKED_FOR, NEVER_COMPARED, NEVER_COMPARED),
            (ASKED_FOR, &*moved, &*moved),
            (ASKED_FOR, PERHAPS_DELETED, "asked for; perhaps deleted"),
            (&*rest, "too many marks", "asked for; too many marks"),
            ("asked for; too many marks", "no disk", "asked for; no disk"),
            (ASKED_FOR, &*rest, &*rest),
            (ASKED_FOR, &*of_rest, "asked for; a test"),
            (&*rest, &*of_rest, &*format!("asked for; a test{REST}")),
        ] {
            assert_eq!(reason_of_both(before, now), both, "{before}, then {now}");
        }
    }
}
