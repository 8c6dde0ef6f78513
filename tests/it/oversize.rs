//! Bodies above Qdrant's limit: refused in Qdrant's words when they have been read off, or sent in
//! parts when they are upserts.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::ask::{Answer, Ask};
use crate::support::sidecar::Sidecar;
use crate::support::story;
use crate::support::upstream::{Seen, Upstream, qdrant_ok};
use crate::support::wire::Wire;

const MIB: usize = 1 << 20;
const QDRANTS_LIMIT: usize = 32 * MIB;
const SEARCH: &str = "/collections/docs/points/search";
const POINTS: &str = "/collections/docs/points?wait=true&ordering=strong";

/// Answers as Qdrant does to an upsert, also to one that is too long for it.
async fn qdrant() -> Upstream {
    Upstream::answering(|seen| {
        if seen.body.len() > QDRANTS_LIMIT {
            let mut refused = Response::new(Bytes::from("too long"));
            *refused.status_mut() = StatusCode::BAD_REQUEST;
            return refused;
        }
        let operation = json!({ "operation_id": 7, "status": "completed" });
        qdrant_ok(&operation)
    })
    .await
}

/// Writes all of the request before it listens, as most clients do.
async fn ask_stubbornly(wire: &mut Wire, ask: &Ask) -> Answer {
    wire.send(ask.bytes()).await;
    Answer::read(wire, "POST").await.expect("an answer")
}

fn too_large(length: usize, limit: usize) -> String {
    format!(
        "Payload error: JSON payload ({length} bytes) is larger than allowed (limit: {limit} bytes)."
    )
}

/// An upsert of so many points of 20 KB each, as a list.
fn listed(points: usize) -> Value {
    let text = "x".repeat(20_000);
    let point = |id| json!({ "id": id, "vector": [0.5, id], "payload": { "text": text } });
    let points: Vec<Value> = (0..points).map(point).collect();
    json!({ "points": points, "shard_key": "a" })
}

/// The same in columns.
fn columnar(points: usize) -> Value {
    let text = "x".repeat(20_000);
    let ids: Vec<usize> = (0..points).collect();
    let vectors: Vec<Value> = ids.iter().map(|id| json!([0.5, id])).collect();
    let named: Vec<Value> = ids.iter().map(|id| json!([id])).collect();
    let payloads: Vec<Value> = ids
        .iter()
        .map(|id| json!({ "text": text, "id": id }))
        .collect();
    json!({
        "batch": { "ids": ids, "vectors": { "": vectors, "other": named }, "payloads": payloads },
        "shard_key": "a",
    })
}

/// The ids of a part, and that everything which goes with an id still does.
fn ids_of(seen: &Seen) -> Vec<u64> {
    let body: Value = serde_json::from_slice(&seen.body).unwrap();
    assert_eq!(
        body["shard_key"], "a",
        "what stands beside the points went missing"
    );
    let number = |value: &Value| value.as_u64().unwrap();
    if let Some(points) = body["points"].as_array() {
        return points
            .iter()
            .map(|point| {
                assert_eq!(point["vector"][1], point["id"]);
                assert_eq!(point["payload"]["text"].as_str().unwrap().len(), 20_000);
                number(&point["id"])
            })
            .collect();
    }
    let batch = &body["batch"];
    let ids: Vec<u64> = batch["ids"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    let column = |pointer: &str, within: &str| -> Vec<u64> {
        let column = batch.pointer(pointer).and_then(Value::as_array).unwrap();
        column
            .iter()
            .map(|row| number(row.pointer(within).unwrap()))
            .collect()
    };
    assert_eq!(column("/vectors/", "/1"), ids);
    assert_eq!(column("/vectors/other", "/0"), ids);
    assert_eq!(column("/payloads", "/id"), ids);
    ids
}

#[test]
fn json_above_qdrants_limit_is_refused_in_qdrants_words_after_it_was_read_off() {
    story(async {
        let upstream = qdrant().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let length = 33 * MIB;
        let body = vec![b' '; length];
        let mut wire = sidecar.connect().await;
        let routes = [
            SEARCH,
            "/collections/docs/points/payload",
            "/collections/docs/points/batch",
        ];
        // On one connection: a body that was not read to its end would be taken for a request.
        for route in routes {
            let answer = ask_stubbornly(&mut wire, &Ask::post(route, body.clone())).await;
            assert_eq!(answer.refusal(400), too_large(length, QDRANTS_LIMIT));
        }
        let chunked = Ask::post(SEARCH, body).chunked();
        let text = ask_stubbornly(&mut wire, &chunked).await.refusal(400);
        assert_eq!(
            text,
            "Payload error: JSON payload has exceeded limit (33554432 bytes)."
        );
        assert_eq!(upstream.seen().len(), 0);
        drop(wire);
        sidecar.at_rest().await;
    });
}

#[test]
fn the_limit_that_is_told_is_the_one_that_was_passed() {
    story(async {
        let upstream = qdrant().await;
        let sidecar = Sidecar::before(&upstream.url(), "max_body = \"34MiB\"").await;
        let length = 35 * MIB;
        let body = vec![b' '; length];
        let mut wire = sidecar.connect().await;
        let read = ask_stubbornly(&mut wire, &Ask::post(SEARCH, body.clone())).await;
        assert_eq!(read.refusal(400), too_large(length, QDRANTS_LIMIT));
        let upsert = ask_stubbornly(&mut wire, &Ask::put(POINTS, body.clone())).await;
        assert_eq!(upsert.refusal(400), too_large(length, 34 * MIB));
        let upsert = ask_stubbornly(&mut wire, &Ask::put(POINTS, body).chunked()).await;
        let text = format!(
            "Payload error: JSON payload has exceeded limit ({} bytes).",
            34 * MIB
        );
        assert_eq!(upsert.refusal(400), text);
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn json_of_just_qdrants_limit_passes() {
    story(async {
        let upstream = Upstream::answering(|_| Response::new(Bytes::from("ok"))).await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let body = vec![b' '; QDRANTS_LIMIT];
        for ask in [
            Ask::post(SEARCH, body.clone()),
            Ask::put(POINTS, body.clone()),
        ] {
            for ask in [ask.clone(), ask.chunked()] {
                sidecar.ask(&ask).await.ok();
                assert!(upstream.seen().pop().unwrap().body == body);
            }
        }
    });
}

fn is_split_and_answered_once(upsert: fn(usize) -> Value, chunked: bool) {
    story(async move {
        let upstream = qdrant().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let points = 2_000;
        let ask = Ask::new("PUT", POINTS).json(&upsert(points));
        let ask = if chunked { ask.chunked() } else { ask };
        let mut wire = sidecar.connect().await;
        let answer = ask_stubbornly(&mut wire, &ask).await.ok();
        assert_eq!(answer.json()["result"]["status"], "completed");

        let parts = upstream.seen();
        assert!(parts.len() >= 2, "{} parts", parts.len());
        for part in &parts {
            assert_eq!((part.method.as_str(), &*part.target), ("PUT", POINTS));
            let length = part.field("content-length").unwrap();
            assert_eq!(length.parse(), Ok(part.body.len()));
            assert!(part.body.len() <= QDRANTS_LIMIT);
        }
        let ids: Vec<u64> = parts.iter().flat_map(ids_of).collect();
        assert!(
            ids.into_iter().eq(0..2_000),
            "a point is lost, doubled or out of order"
        );
        assert_eq!(sidecar.metric("outrigger_split_upserts_total", &[]), 1.0);
        drop(wire);
        sidecar.at_rest().await;
    });
}

#[test]
fn an_upsert_above_qdrants_limit_is_sent_in_parts_and_answered_once() {
    is_split_and_answered_once(listed, false);
}

#[test]
fn an_upsert_of_unknown_length_above_qdrants_limit_is_sent_in_parts_too() {
    is_split_and_answered_once(listed, true);
}

#[test]
fn an_upsert_in_columns_is_sent_in_parts_too() {
    is_split_and_answered_once(columnar, false);
}

#[test]
fn an_upsert_that_is_refused_half_way_is_answered_with_the_refusal() {
    story(async {
        let upstream = Upstream::answering(|seen| {
            let first = seen.body.starts_with(b"{\"points\":[{\"id\":0,");
            let mut answer = qdrant_ok(&json!(true));
            if !first {
                *answer.body_mut() = Bytes::from("the second part is refused");
                *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            }
            answer
        })
        .await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let ask = Ask::new("PUT", POINTS).json(&listed(3_300));
        let answer = sidecar.ask(&ask).await;
        assert_eq!(
            (answer.status(), &*answer.text()),
            (422, "the second part is refused")
        );
        assert_eq!(upstream.seen().len(), 2, "it went on after a refusal");
    });
}

#[test]
fn an_upsert_in_parts_runs_to_its_end_though_the_client_hangs_up() {
    story(async {
        let upstream = qdrant().await;
        upstream.hold();
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut wire = sidecar.connect().await;
        wire.send(Ask::new("PUT", POINTS).json(&listed(2_000)).bytes())
            .await;
        upstream.saw(1).await;
        drop(wire);
        let open = &["listener=\"proxy\""];
        let gone = async || sidecar.metric("outrigger_connections", open) == 0.0;
        crate::support::until("the client is seen to be gone", gone).await;
        upstream.release();
        upstream.saw(2).await;
        let ids: Vec<u64> = upstream.seen().iter().flat_map(ids_of).collect();
        assert!(
            ids.into_iter().eq(0..2_000),
            "half of the points were left behind"
        );
        sidecar.at_rest().await;
    });
}

#[test]
fn an_upsert_that_is_no_json_is_refused_before_any_part_is_sent() {
    story(async {
        let upstream = qdrant().await;
        let sidecar = Sidecar::before(&upstream.url(), "").await;
        let mut body = listed(2_000).to_string().into_bytes();
        body.pop();
        let text = sidecar.ask(&Ask::put(POINTS, body)).await.refusal(400);
        assert!(text.starts_with("Format error in JSON body"), "{text}");
        assert_eq!(upstream.seen().len(), 0);
    });
}

#[test]
fn a_snapshot_has_no_limit() {
    story(async {
        let upstream = Upstream::answering(|_| Response::new(Bytes::from("ok"))).await;
        let sidecar = Sidecar::before(&upstream.url(), "max_body = \"1MiB\"").await;
        let body = vec![0; 40 * MIB];
        let ask = Ask::post("/collections/docs/snapshots/upload", body.clone())
            .with("content-type", "multipart/form-data; boundary=x");
        for ask in [ask.clone(), ask.chunked()] {
            sidecar.ask(&ask).await.ok();
            assert!(upstream.seen().pop().unwrap().body == body);
        }
    });
}
