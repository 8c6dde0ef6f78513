//! A snapshot file as an answer: whole, or the stretch of it that is asked for.

use std::path::Path;
use std::time::UNIX_EPOCH;

use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, RANGE,
};
use http::{Response, StatusCode};
use tokio::fs::File;
use tokio::io::AsyncSeekExt;

use super::shelf::cannot;
use crate::error::Result;
use crate::net::Body;
use crate::store::PassAnswer;

/// Sends the file at `path`, called `name`, keeping `held` until it has been sent.
pub(super) async fn send(
    path: &Path,
    name: &str,
    asked: &HeaderMap,
    held: impl Send + Sync + 'static,
) -> Result<PassAnswer> {
    let trouble = |error| cannot("read the snapshot", error);
    let mut file = File::open(path).await.map_err(trouble)?;
    let known = file.metadata().await.map_err(trouble)?;
    let size = known.len();
    let mut answer = Response::new(Body::empty());
    let range = asked.get(RANGE).and_then(|range| range.to_str().ok());
    let (first, bytes) = match range.map_or(Stretch::Whole, |range| Stretch::read(range, size)) {
        Stretch::Whole => (0, size),
        Stretch::Part { first, bytes } => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let last = first.saturating_add(bytes).saturating_sub(1);
            set(
                &mut answer,
                CONTENT_RANGE,
                &format!("bytes {first}-{last}/{size}"),
            );
            (first, bytes)
        }
        Stretch::Nowhere => {
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            set(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(answer);
        }
    };
    if first > 0 {
        file.seek(std::io::SeekFrom::Start(first))
            .await
            .map_err(trouble)?;
    }
    let changed = known.modified().ok();
    let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let changed = changed.unwrap_or_default().as_nanos();
    set(&mut answer, ETAG, &format!("\"{size:x}:{changed:x}\""));
    set(&mut answer, ACCEPT_RANGES, "bytes");
    set(&mut answer, CONTENT_TYPE, "application/octet-stream");
    set(&mut answer, CONTENT_LENGTH, &bytes.to_string());
    let name: String = name.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
    set(
        &mut answer,
        CONTENT_DISPOSITION,
        &format!("attachment; filename=\"{name}\""),
    );
    *answer.body_mut() = Body::file(file, bytes).holding(held);
    Ok(answer)
}

fn set(answer: &mut PassAnswer, header: http::HeaderName, value: &str) {
    // A name with letters beyond ASCII goes as its bytes.
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        answer.headers_mut().insert(header, value);
    }
}

#[derive(Debug, Eq, PartialEq)]
enum Stretch {
    Whole,
    Part {
        first: u64,
        bytes: u64,
    },
    /// Past the end.
    Nowhere,
}

impl Stretch {
    /// One stretch is served; several, and what is not understood, are not asked for.
    fn read(range: &str, size: u64) -> Self {
        let parts = range
            .trim()
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'));
        let Some((first, last)) = parts else {
            return Self::Whole;
        };
        let (first, last) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
            (Some(first), Some(last)) if first <= last => (first, last),
            (Some(first), None) if last.is_empty() => (first, u64::MAX),
            (None, Some(tail)) if first.is_empty() => (size.saturating_sub(tail), u64::MAX),
            _ => return Self::Whole,
        };
        if first >= size {
            return Self::Nowhere;
        }
        let last = last.min(size.saturating_sub(1));
        Self::Part {
            first,
            bytes: last.saturating_sub(first).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stretch_is_understood() {
        let part = |first, bytes| Stretch::Part { first, bytes };
        for (range, expected) in [
            ("bytes=0-0", part(0, 1)),
            ("bytes=2-", part(2, 8)),
            ("bytes=2-99", part(2, 8)),
            ("bytes=-3", part(7, 3)),
            ("bytes=-99", part(0, 10)),
            ("bytes=10-", Stretch::Nowhere),
            ("bytes=5-2", Stretch::Whole),
            ("bytes=0-1,3-4", Stretch::Whole),
            ("lines=1-2", Stretch::Whole),
        ] {
            assert_eq!(Stretch::read(range, 10), expected, "{range}");
        }
    }
}
