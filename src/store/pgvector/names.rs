//! What tables and their like are called. Nothing that a client says becomes part of a name: a
//! collection and its vectors are known by numbers.

use super::catalog::VectorKind;

/// The schema of the catalogue.
pub(super) const CATALOGUE: &str = "qdc";
/// The channel on which a change of the catalogue is told.
pub(super) const CHANNEL: &str = "qd";
/// The channel on which the number of a collection is told whose points somebody has written past
/// all sidecars.
pub(super) const ROWS_CHANNEL: &str = "qd_rows";
/// The channel on which a sidecar tells itself that it hears.
pub(super) const LIFE_CHANNEL: &str = "qd_life";
/// The first half of every advisory lock of ours. The second is a collection's number, or 0 for
/// the catalogue as a whole.
pub(super) const LOCK_CLASS: i32 = 20_818;
/// The lock of whoever works the outbox off. 20819 is that of whoever makes indexes.
pub(super) const LEAD_LOCK: i32 = 20_820;

pub(super) fn points(cid: i32) -> String {
    format!("qd_data.c{cid}")
}

/// The sequence of the operations of a collection.
pub(super) fn operations(cid: i32) -> String {
    format!("qd_data.c{cid}_op")
}

pub(super) fn vectors(cid: i32, kind: VectorKind, vno: i32) -> String {
    let letter = match kind {
        VectorKind::Dense => 'v',
        VectorKind::Multi => 'm',
        VectorKind::Sparse => 's',
    };
    format!("qd_data.c{cid}_{letter}{vno}")
}

/// A name of somebody else's, from the settings or from PostgreSQL's own catalogue.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text of the settings as a literal of SQL. Never of a request.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_of_others_stay_one_token() {
        assert_eq!(
            quoted("a\"; drop table b; --"),
            "\"a\"\"; drop table b; --\""
        );
        assert_eq!(literal("it's \\"), "'it''s \\'");
    }
}
