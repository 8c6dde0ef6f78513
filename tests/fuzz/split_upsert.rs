//! Any body and any limit: no panic, and what comes out is JSON, within the limit unless a part
//! holds a single row.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use outrigger::wire::split_upsert;
use serde_json::Value;
use serde_json::value::RawValue;

fuzz_target!(|data: &[u8]| {
    let Some((share, body)) = data.split_first() else {
        return;
    };
    let limit = body.len() * usize::from(*share) / 256;
    if body.len() <= limit {
        return;
    }
    let Ok(parts) = split_upsert(Bytes::copy_from_slice(body), limit) else {
        return;
    };
    assert!(!parts.is_empty());
    for part in &parts {
        assert!(serde_json::from_slice::<&RawValue>(part).is_ok());
        assert!(part.len() <= limit || rows(part).is_none_or(|rows| rows <= 1));
    }
});

/// How many rows a part holds, where a tree can be made of it at all.
fn rows(part: &[u8]) -> Option<usize> {
    let part: Value = serde_json::from_slice(part).ok()?;
    let list = part.get("points").or_else(|| part.pointer("/batch/ids"))?;
    list.as_array().map(Vec::len)
}
