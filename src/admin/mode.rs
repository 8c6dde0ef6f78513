//! The modes, for `GET|PUT /api/mode`, `GET /api/mode/check` and `GET /api/mode/history`.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::control::{Change, Entry, Look, Phase};
use crate::mode::{Changer, Check, Checked, Done, NotDone, Verdict, Wish};
use crate::model::{Mode, Role};
use crate::net::Body;
use crate::proxy::respond;

const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);
const HISTORY_SHOWN: usize = 100;
const HISTORY_SHOWN_MAX: usize = 1000;

/// What `PUT /api/mode` takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    mode: String,
    #[serde(default)]
    collection: Option<String>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    why: String,
    #[serde(default)]
    who: Option<String>,
    #[serde(default)]
    gone: Vec<String>,
}

/// What is in force here, and what is going on.
pub(super) fn state(changer: &Changer) -> Value {
    let fleet = changer.fleet();
    let snapshot = fleet.router().snapshot();
    let table = snapshot.table();
    let seen = fleet.looks().borrow().clone();
    let mode = table.mode;
    let own = table.collections.iter();
    let own = own.map(|(name, mode)| (name.clone(), json!(mode.as_str())));
    json!({
        "mode": mode.as_str(),
        "epoch": table.epoch,
        "collections": own.collect::<Map<_, _>>(),
        "authority": mode.authority().as_str(),
        "follower": mode.follower().map(Role::as_str),
        "next": mode.next().map(Mode::as_str),
        "previous": mode.previous().map(Mode::as_str),
        "change": seen.as_ref().and_then(|look| look.change.as_ref()).map(change),
        "sidecars": seen.as_ref().map(|look| sidecars(look, fleet.id())),
    })
}

fn change(change: &Change) -> Value {
    let of = &change.proposal;
    json!({
        "from": of.from.as_str(),
        "to": of.to.as_str(),
        "collection": of.collection,
        "who": of.who,
        "why": of.why,
        "forced": of.is_forced,
        "phase": match change.phase {
            Phase::Arming => "arming",
            Phase::Flipped => "flipped",
        },
    })
}

fn sidecars(look: &Look, own: u64) -> Value {
    let all = look.members.iter().map(|member| {
        json!({
            "name": member.name,
            "live": member.is_live,
            "silent_ms": millis(member.silent),
            "this": member.id == own,
        })
    });
    all.collect()
}

/// Makes a change, or says why not.
pub(super) async fn set(changer: &Arc<Changer>, request: Request<Incoming>) -> Response<Body> {
    let wish = match wish(request).await {
        Ok(wish) => wish,
        Err(error) => return respond::error(&error).response,
    };
    let collection = wish.collection.clone();
    match changer.set(wish).await {
        Ok(done) => respond::json(&told(&done, collection.as_deref())),
        Err(not_done) => respond::conflict(&refused(&not_done)),
    }
}

async fn wish(request: Request<Incoming>) -> Result<Wish> {
    let refuse = |text: String| Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text);
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect();
    let body = tokio::time::timeout(BODY_WITHIN, body).await;
    let body = body
        .map_err(|_elapsed| refuse("the body did not arrive in time".to_owned()))?
        .map_err(|error| refuse(format!("the body cannot be read: {error}")))?;
    let asked: Asked = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        refuse(format!(
            "{error}; wanted: {{\"mode\": MODE, \"collection\": NAME or null, \"force\": \
             false, \"why\": TEXT}}"
        ))
    })?;
    let to = Mode::parse(&asked.mode).ok_or_else(|| {
        let all = Mode::ALL.map(Mode::as_str).join(", ");
        refuse(format!("{:?} is no mode; allowed: {all}", asked.mode))
    })?;
    if asked.collection.as_deref() == Some("") {
        return Err(refuse("the name of the collection is empty".to_owned()));
    }
    Ok(Wish {
        to,
        collection: asked.collection,
        who: asked.who.unwrap_or_else(|| "admin API".to_owned()),
        why: asked.why,
        is_forced: asked.force,
        gone: asked.gone,
        only_at: None,
    })
}

fn told(done: &Done, collection: Option<&str>) -> Value {
    json!({
        "done": true,
        "mode": done.to.as_str(),
        "from": done.from.as_str(),
        "collection": collection,
        "epoch": done.epoch,
        "changed": !done.was_so,
        "held_ms": done.held.map(millis),
        "note": done.note,
    })
}

fn refused(not_done: &NotDone) -> Value {
    json!({
        "done": false,
        "status": { "error": not_done.reason },
        "missing": not_done.first.map(Mode::as_str),
        "held_ms": not_done.held.map(millis),
    })
}

/// What the gate before `cutover` says, of all or of one collection.
pub(super) async fn check(changer: &Changer, query: Option<&str>) -> Response<Body> {
    let mut asked = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let collection = asked.find(|(name, _)| name == "collection");
    let collection = collection.map(|(_, name)| name.into_owned());
    match changer.check(collection.as_deref()).await {
        Ok(check) => respond::json(&checked(&check)),
        Err(error) => respond::error(&error).response,
    }
}

fn checked(check: &Check) -> Value {
    let reason = match check.verdict {
        Verdict::Open if check.collections.is_empty() => {
            Some("there are no collections".to_owned())
        }
        Verdict::Open | Verdict::Shut => None,
        Verdict::First(first) => Some(format!(
            "{} is in force; {first} has to come first",
            check.from
        )),
        Verdict::NotAsked => Some(format!(
            "{} is in force: the secondary is read already",
            check.from
        )),
    };
    let opens = match check.verdict {
        Verdict::Open | Verdict::NotAsked => true,
        Verdict::Shut | Verdict::First(_) => false,
    };
    json!({
        "mode": check.from.as_str(),
        "opens": opens,
        "reason": reason,
        "gate": check.is_in_force,
        "collections": check.collections.iter().map(table).collect::<Vec<_>>(),
    })
}

fn table(of: &Checked) -> Value {
    let rows = of.table.rows.iter().map(|row| {
        json!({
            "row": row.what,
            "needed": row.needed,
            "found": row.found,
            "holds": row.holds,
        })
    });
    json!({
        "collection": of.collection,
        "empty": of.is_empty,
        "holds": of.table.passes(),
        "rows": rows.collect::<Vec<_>>(),
    })
}

/// The changes that came into force, the latest first.
pub(super) async fn history(changer: &Changer, query: Option<&str>) -> Response<Body> {
    let mut asked = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let limit = asked.find(|(name, _)| name == "limit");
    let limit = match limit.map(|(_, text)| text.parse::<usize>()) {
        None => HISTORY_SHOWN,
        Some(Ok(limit)) => limit.min(HISTORY_SHOWN_MAX),
        Some(Err(_)) => {
            let text = "limit is no whole number";
            let error = Error::new(ErrorKind::BadInput, Origin::Client, Retry::Never, text);
            return respond::error(&error).response;
        }
    };
    match changer.fleet().control().history(limit).await {
        Ok(entries) => respond::json(&json!({
            "history": entries.iter().map(line).collect::<Vec<_>>(),
        })),
        Err(error) => respond::error(&error).response,
    }
}

fn line(entry: &Entry) -> Value {
    let at = UNIX_EPOCH + Duration::from_millis(entry.at_ms);
    json!({
        "epoch": entry.epoch,
        "at": humantime::format_rfc3339_millis(at).to_string(),
        "who": entry.who,
        "collection": entry.collection,
        "from": entry.from.map(Mode::as_str),
        "to": entry.to.as_str(),
        "why": entry.why,
        "forced": entry.is_forced,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
