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
/// The first half of every advisory lock of ours. The second is a collection's number, or 0 for
/// the catalogue as a whole.
pub(super) const LOCK_CLASS: i32 = 20_818;

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
