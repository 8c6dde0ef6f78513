//! Bodies that fit in no memory: they pass through the process in a constant and small part of it.

use tokio::net::TcpStream;

use crate::support::pattern::Pattern;
use crate::support::process::Process;
use crate::support::script::Script;
use crate::support::sidecar::in_front_of;
use crate::support::story;
use crate::support::wire::{Framing, Wire};

const GIB: u64 = 1 << 30;
const PIECE_BYTES: usize = 256 * 1024;
const GROWTH_MAX_KIB: u64 = 32 * 1024;

/// Writes so much of the pattern, in chunks or bare.
async fn pour_out(wire: &mut Wire<TcpStream>, length: u64, chunked: bool) {
    let pattern = Pattern::new();
    let mut piece = vec![0; PIECE_BYTES];
    let mut place = 0;
    while place < length {
        let left = usize::try_from(length - place).unwrap();
        let now = &mut piece[..left.min(PIECE_BYTES)];
        pattern.fill(place, now);
        if chunked {
            wire.send_chunk(now).await;
        } else {
            wire.send(&now).await;
        }
        place += u64::try_from(now.len()).unwrap();
    }
    if chunked {
        wire.send("0\r\n\r\n").await;
    }
}

/// Reads a body and compares it with the pattern; its length, if it is the pattern.
async fn take_in(wire: &mut Wire<TcpStream>, framing: Framing) -> Option<u64> {
    let pattern = Pattern::new();
    let mut same = true;
    let length = wire
        .pour(framing, |at, piece| same = same && pattern.holds(at, piece))
        .await;
    length.ok().filter(|_| same)
}

async fn sidecar(upstream: &Script) -> Process {
    Process::start(&in_front_of(&upstream.url(), ""), &[]).await
}

/// The process has hardly more than it had before anything was streamed.
fn assert_small(process: &Process, idle_kib: u64) {
    let grown = process.memory_peak_kib() - idle_kib;
    assert!(
        grown < GROWTH_MAX_KIB,
        "the process grew by {} MiB",
        grown / 1024
    );
}

fn upload_is_exact(route: &'static str) {
    story(async move {
        let upstream = Script::start(|_, mut wire| async move {
            let head = wire.head().await.unwrap();
            let taken = take_in(&mut wire, head.framing_of_request()).await;
            let said = format!("{taken:?}");
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len());
            wire.send([head, said].concat()).await;
            wire.ended().await;
        })
        .await;
        let process = sidecar(&upstream).await;
        let idle_kib = process.memory_peak_kib();
        let mut wire = Wire::connect(process.proxy).await;
        let head =
            format!("POST {route} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        wire.send(head).await;
        pour_out(&mut wire, GIB, true).await;
        let head = wire.head().await.unwrap();
        let said = wire.body(head.framing_of_answer()).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&said), format!("{:?}", Some(GIB)));
        assert_small(&process, idle_kib);
    });
}

fn download_is_exact(chunked: bool) {
    story(async move {
        let upstream = Script::start(move |_, mut wire| async move {
            wire.request().await.unwrap();
            let framing = if chunked {
                "transfer-encoding: chunked".to_owned()
            } else {
                format!("content-length: {GIB}")
            };
            wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n"))
                .await;
            pour_out(&mut wire, GIB, chunked).await;
            wire.ended().await;
        })
        .await;
        let process = sidecar(&upstream).await;
        let idle_kib = process.memory_peak_kib();
        let mut wire = Wire::connect(process.proxy).await;
        wire.send("GET /collections/docs/snapshots/big HTTP/1.1\r\nhost: a\r\n\r\n")
            .await;
        let head = wire.head().await.unwrap();
        assert_eq!(head.status(), 200);
        let framing = head.framing_of_answer();
        let expected = if chunked {
            Framing::Chunked
        } else {
            Framing::Length(GIB)
        };
        assert_eq!(framing, expected);
        assert_eq!(take_in(&mut wire, framing).await, Some(GIB));
        assert_small(&process, idle_kib);
    });
}

#[test]
fn a_gigabyte_of_snapshot_goes_up_in_constant_memory() {
    upload_is_exact("/collections/docs/snapshots/upload?priority=snapshot");
}

#[test]
fn a_gigabyte_to_an_unknown_route_goes_up_in_constant_memory() {
    upload_is_exact("/some/route/of/tomorrow");
}

#[test]
fn a_gigabyte_of_known_length_comes_down_in_constant_memory() {
    download_is_exact(false);
}

#[test]
fn a_gigabyte_in_chunks_comes_down_in_constant_memory() {
    download_is_exact(true);
}
