//! Cuts an upsert that is too large for one request into several that are not.
//!
//! The parts are made of the body's own bytes: what stands before, between and after the lists of
//! points is repeated in every part as it is, white space included, and the lists are cut between
//! elements. Nothing is written anew, so a number keeps its digits and a text its escapes, and a
//! field that we have never heard of goes with every part.
//!
//! The body is read twice. `serde_json` checks that it is JSON and finds the lists; it keeps no
//! tree and does not recurse. Then a scan that may trust the syntax finds the elements; nothing is
//! kept per point. What comes out is as long as what went in plus the repeated fields.
//!
//! A body that cannot be cut is refused before any part exists, in Qdrant's words where Qdrant
//! would refuse it too. Whether a point is a good point is left to Qdrant. Two things differ from
//! one large request: a refusal in a later part leaves the earlier ones written, and under
//! `update_mode: insert_only` the first of two points with one id wins if a cut falls between them.

mod columns;
mod scan;

use std::ops::Range;

use bytes::Bytes;

use super::envelope;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use columns::{Column, Role};

/// What every part repeats may take this share of a part. More, and the parts together would be
/// out of proportion to the body.
const REPEATED_SHARE_MAX: usize = 4;

/// Cuts the body of an upsert into bodies of at most `part_bytes_max` bytes, in order. A point
/// that is larger by itself stays alone in its part, for Qdrant to refuse. A body that fits is not
/// looked at.
///
/// Takes one to three milliseconds a megabyte: not for an async worker.
pub fn split_upsert(body: Bytes, part_bytes_max: usize) -> Result<Vec<Bytes>> {
    if body.len() <= part_bytes_max {
        return Ok(vec![body]);
    }
    let columns = columns::find(&body)?;
    let listed: usize = columns.iter().map(|column| column.interior.len()).sum();
    let repeated = body.len() - listed;
    if repeated > part_bytes_max / REPEATED_SHARE_MAX {
        return Err(too_large(&body, part_bytes_max));
    }
    let cuts = cut(&body, &columns, part_bytes_max - repeated)?;
    Ok(cuts
        .iter()
        .map(|runs| render(&body, &columns, runs, repeated))
        .collect())
}

/// For each part, the run of elements that it takes of each column.
fn cut(body: &[u8], columns: &[Column], room: usize) -> Result<Vec<Vec<Range<usize>>>> {
    let mut cursors: Vec<_> = columns.iter().map(|column| column.elements(body)).collect();
    let mut cuts = Vec::new();
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut row = Vec::with_capacity(columns.len());
    loop {
        row.clear();
        row.extend(cursors.iter_mut().filter_map(Iterator::next));
        if row.len() < columns.len() {
            break;
        }
        let grown = runs
            .iter()
            .zip(&row)
            .map(|(run, element)| element.end - run.start);
        if !runs.is_empty() && grown.sum::<usize>() <= room {
            for (run, element) in runs.iter_mut().zip(&row) {
                run.end = element.end;
            }
        } else if !runs.is_empty() {
            cuts.push(std::mem::replace(&mut runs, row.clone()));
        } else {
            runs.clone_from(&row);
        }
    }
    if !row.is_empty() {
        return Err(unequal(body, columns));
    }
    if runs.is_empty() {
        runs.extend(
            columns
                .iter()
                .map(|column| column.interior.start..column.interior.start),
        );
    }
    cuts.push(runs);
    Ok(cuts)
}

fn render(body: &[u8], columns: &[Column], runs: &[Range<usize>], repeated: usize) -> Bytes {
    let listed: usize = runs.iter().map(ExactSizeIterator::len).sum();
    let mut part = Vec::with_capacity(repeated + listed);
    let mut from = 0;
    let mut take = |range: Range<usize>| {
        part.extend_from_slice(body.get(range).expect("ranges lie inside the body"));
    };
    for (column, run) in columns.iter().zip(runs) {
        take(from..column.interior.start);
        take(run.clone());
        from = column.interior.end;
    }
    take(from..body.len());
    part.into()
}

/// Says which of the columns disagree, as Qdrant does.
fn unequal(body: &[u8], columns: &[Column]) -> Error {
    let count = |column: &Column| column.elements(body).count();
    let ids = columns
        .iter()
        .find(|column| column.role == Role::Ids)
        .map_or(0, count);
    for (role, name) in [(Role::Vectors, "vectors"), (Role::Payloads, "payloads")] {
        let mut counts = columns
            .iter()
            .filter(|column| column.role == role)
            .map(count);
        if let Some(other) = counts.find(|other| *other != ids) {
            return refused(format!(
                "Validation error in JSON body: \
                 [batch.batch: number of ids and {name} must be equal ({ids} != {other})]"
            ));
        }
    }
    refused("Format error in JSON body: Invalid PointInsertOperations format")
}

fn too_large(body: &[u8], limit: usize) -> Error {
    refused(envelope::payload_too_large(body.len() as u64, limit as u64))
}

fn refused(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text)
}

#[cfg(test)]
mod tests;
