//! How well the two stores agree, for `GET /api/shadow`, and both of them asked now, for
//! `POST /api/compare`.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::compare::{Answers, Class as Verdict, DEPTH, Difference, Histogram, Summary};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::{Class, Operation, PointKey};
use crate::shadow::{Faced, FacedRow, Facing, Latencies, Payloads, Shadow, Shelf, Worst, rows};
use crate::store::Statement;
use crate::wire;

const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Of one line of a plan.
const PLAN_CHARS_MAX: usize = 300;
/// Of the worst, where nobody says how many.
const SHOWN: usize = 10;
/// What may stand in a path as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Every collection that was compared, or the one asked about.
pub(super) fn state(shadow: Option<&Shadow>, query: Option<&str>) -> Value {
    let Some(shadow) = shadow else {
        return json!({ "compared": false, "collections": [] });
    };
    let (mut collection, mut limit) = (None, SHOWN);
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "collection" => collection = Some(value.into_owned()),
            "limit" => limit = value.parse().unwrap_or(SHOWN),
            _ => (),
        }
    }
    let is_meant = |shelf: &&Shelf| {
        let mut asked = collection.iter();
        asked.all(|asked| **asked == *shelf.collection)
    };
    let shelves = shadow.shelves();
    let shelves = shelves.iter().filter(is_meant);
    let shows = shadow.shows_payloads();
    let told: Vec<Value> = shelves.map(|shelf| told(shelf, limit, shows)).collect();
    let of = shadow.settings();
    json!({
        "compared": of.sample > 0.0,
        "sample": of.sample,
        "baseline": of.baseline,
        "window": humantime::format_duration(of.window).to_string(),
        "payloads_shown": shows,
        "collections": told,
    })
}

fn told(shelf: &Shelf, limit: usize, shows: bool) -> Value {
    let [authority, follower] = &shelf.latencies;
    json!({
        "collection": shelf.collection,
        "authority": shelf.authority.as_str(),
        "follower": shelf.authority.other().as_str(),
        "window": summary(&shelf.summary),
        "classes": counts(shelf.classes.map(|(class, count)| (class.as_str(), count))),
        "real_by_kind": counts(shelf.real.map(|(kind, count)| (kind.as_str(), count))),
        "not_compared": counts(shelf.skipped.map(|(reason, count)| (reason.as_str(), count))),
        "points_marked": shelf.marked,
        "latency_ms": { "authority": latencies(authority), "follower": latencies(follower) },
        "worst": shelf.worst.iter().take(limit).map(|of| worst(of, shows)).collect::<Vec<_>>(),
    })
}

fn counts<const N: usize>(of: [(&'static str, u64); N]) -> Value {
    let pairs = of
        .into_iter()
        .map(|(name, count)| (name.to_owned(), json!(count)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// The searches of the window.
fn summary(of: &Summary) -> Value {
    let classes = Verdict::ALL.map(|class| (class.as_str(), of.count(class)));
    let recall = of.recall.as_ref().map(|recall| {
        json!({
            "queries": recall.count,
            "mean": recall.mean,
            "median": recall.median,
            "p5": recall.p5,
        })
    });
    json!({
        "seconds": of.age.as_secs(),
        "queries": of.queries,
        "classes": counts(classes),
        "top1": of.top1,
        "overlap": of.overlap,
        "overlap_own": of.overlaps.own().mean(),
        "overlap_corrected": of.overlaps.corrected(),
        "overlap_distribution": bins(of.overlaps.observed()),
        "overlap_corrected_distribution": bins(of.overlaps.corrected_each()),
        "spearman": of.spearman,
        "recall": recall,
    })
}

/// Pairs of an overlap and how often it was.
fn bins(of: &Histogram) -> Vec<(f64, u64)> {
    of.bins().collect()
}

fn latencies(of: &Latencies) -> Value {
    let told = |took: Duration| took.as_secs_f64() * 1e3;
    json!({ "reads": of.count, "p50": told(of.p50), "p95": told(of.p95), "p99": told(of.p99) })
}

fn worst(of: &Worst, shows: bool) -> Value {
    let mut told = difference(&of.seen, of.class, &of.dirty, shows);
    let [authority, follower] = of.took.map(|took| took.as_secs_f64() * 1e3);
    told["at"] = json!(of.at);
    told["times"] = json!(of.times);
    told["operation"] = json!(of.operation.as_str());
    told["latency_ms"] = json!({ "authority": authority, "follower": follower });
    told["shape"] = of.shape.clone();
    told["payloads"] = json!(of.payloads.as_ref().filter(|_| shows).map(payloads));
    told
}

/// As they are, if they are JSON.
fn payloads(of: &Payloads) -> Value {
    let told = |bytes: &Bytes| -> Value { serde_json::from_slice(bytes).unwrap_or(Value::Null) };
    json!({
        "question": told(&of.question),
        "authority": told(&of.one),
        "follower": told(&of.other),
    })
}

fn difference(seen: &Difference, class: Verdict, dirty: &HashSet<PointKey>, shows: bool) -> Value {
    let apart = seen.apart();
    let agreement = seen.agreement(DEPTH);
    let figure = |of: fn(&crate::compare::Agreement<PointKey>) -> Option<f64>| {
        agreement.as_ref().and_then(of)
    };
    let refused = match &seen.answers {
        Answers::Failed { one, other } => json!([format!("{one:?}"), format!("{other:?}")]),
        Answers::Points(_) | Answers::Groups(_) | Answers::Number { .. } | Answers::Facet(_) => {
            Value::Null
        }
    };
    let mut dirty_ids: Vec<String> = dirty.iter().map(PointKey::to_string).collect();
    dirty_ids.sort();
    json!({
        "question": seen.index,
        "class": class.as_str(),
        "kind": apart.kind().as_str(),
        "overlap": apart.overlap,
        "overlap_at_10": figure(|of| Some(of.overlap)),
        "top1": agreement.as_ref().map(|of| of.top1),
        "rbo": figure(|of| Some(of.rbo)),
        "kendall": figure(|of| of.kendall),
        "spearman": figure(|of| of.spearman),
        "score_drift": apart.drift,
        "missing": ids(&apart.missing),
        "extra": ids(&apart.extra),
        "changed": ids(&apart.changed),
        "rescored": ids(&apart.rescored),
        "dirty": dirty_ids,
        "refused": refused,
        "rows": rows(seen, dirty, shows).iter().map(row).collect::<Vec<_>>(),
    })
}

fn ids(of: &[PointKey]) -> Vec<String> {
    of.iter().map(PointKey::to_string).collect()
}

fn row(of: &FacedRow) -> Value {
    let place = |place: Option<(usize, f64)>| {
        place.map(|(rank, score)| json!({ "rank": rank, "score": score }))
    };
    let both = of.one.zip(of.other);
    json!({
        "id": of.name,
        "group": of.group,
        "authority": place(of.one),
        "follower": place(of.other),
        "score_difference": both.map(|((_, one), (_, other))| other - one),
        "changed": of.changed,
        "dirty": of.dirty,
    })
}

/// What `POST /api/compare` takes: a path, or an operation on a collection by the last words of
/// its path (`points/query`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    operation: Option<String>,
    #[serde(default)]
    body: Option<Box<RawValue>>,
}

const WANTED: &str = "wanted: {\"collection\": NAME, \"operation\": \"points/query\", \"body\": \
                      {…}}, or {\"path\": \"/collections/NAME/points/query\", \"body\": {…}}";

/// Asks both stores now.
pub(super) async fn compare(shadow: Option<&Shadow>, request: Request<Incoming>) -> Result<Value> {
    let Some(shadow) = shadow else {
        let text = "there is no second store to compare with";
        let (kind, retry) = (ErrorKind::Conflict, Retry::Never);
        return Err(Error::new(kind, Origin::Client, retry, text));
    };
    let asked = asked(request).await?;
    let path = match (asked.path, asked.collection, asked.operation) {
        (Some(path), None, None) => path,
        (None, Some(collection), operation) => {
            let collection = utf8_percent_encode(&collection, PLAIN);
            let operation = operation.unwrap_or_else(|| "points/query".to_owned());
            format!("/collections/{collection}/{}", operation.trim_matches('/'))
        }
        (Some(_), _, _) | (None, None, _) => return Err(refuse(WANTED)),
    };
    let target: PathAndQuery = path
        .parse()
        .map_err(|_unusable| refuse("this is no path of a URL"))?;
    let body = asked
        .body
        .as_ref()
        .map(|body| Bytes::from(body.get().to_owned()));
    // A single point is fetched by its path alone.
    let method = match &body {
        Some(_) => Method::POST,
        None => Method::GET,
    };
    let read = Some(method).and_then(|method| {
        let found = wire::recognise(&method, target.path());
        let is_read = matches!(
            found.operation.class(),
            Class::PointRead | Class::SearchRead
        );
        let collection = found.collection()?.into_owned();
        is_read.then_some((found.operation, method, collection))
    });
    let Some((operation, method, collection)) = read else {
        return Err(refuse("this is no read of points; the paths are Qdrant's"));
    };
    let body = body.unwrap_or_default();
    let asked: (Operation, Method, PathAndQuery) = (operation, method, target);
    let facing = shadow.face(&collection, asked, body).await?;
    Ok(faced(&facing, operation, shadow.shows_payloads()))
}

fn faced(of: &Facing, operation: Operation, shows: bool) -> Value {
    let sides = [of.authority, of.authority.other()];
    let names = ["authority", "follower"];
    let stores = names
        .into_iter()
        .zip(sides)
        .zip(of.kinds)
        .zip(of.status)
        .zip(of.took)
        .zip(&of.statements);
    let stores = stores.map(|(((((name, role), kind), status), took), statements)| {
        let mut told = json!({
            "store": role.as_str(),
            "kind": kind.as_str(),
            "status": status,
            "latency_ms": took.as_secs_f64() * 1e3,
        });
        if let Some(statements) = statements {
            told["sql"] = statements.iter().map(statement).collect();
        }
        (name.to_owned(), told)
    });
    let question = |faced: &Faced| {
        let mut told = difference(&faced.seen, faced.class, &faced.dirty, shows);
        told["overlap_own"] = json!(faced.own);
        told["recall"] = json!(faced.recall);
        told["faulty"] = json!(ids(&faced.faulty));
        told
    };
    json!({
        "collection": of.collection,
        "operation": operation.as_str(),
        "stores": stores.collect::<Map<_, _>>(),
        "waiting": of.waiting,
        "questions": of.questions.iter().map(question).collect::<Vec<_>>(),
        "payloads": of.payloads.as_ref().map(payloads),
    })
}

fn statement(of: &Statement) -> Value {
    json!({ "statement": of.text, "plan": of.plan.iter().map(|line| cut(line)).collect::<Vec<_>>() })
}

/// A vector that was asked with makes a line of a plan some kilobytes long.
fn cut(line: &str) -> String {
    match line.char_indices().nth(PLAN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line.to_owned(),
    }
}

async fn asked(request: Request<Incoming>) -> Result<Asked> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_WITHIN, body).await;
    let body = body
        .map_err(|_elapsed| refuse("the body did not arrive in time"))?
        .map_err(|error| refuse(format!("the body cannot be read: {error}")))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| refuse(format!("{error}; {WANTED}")))
}

fn refuse(text: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::BadInput,
        Origin::Client,
        Retry::Never,
        text.into(),
    )
}
