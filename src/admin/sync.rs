//! How far the follower is behind, for `GET /api/sync`, and what can be done about it.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{Fleet, Router, journals};
use crate::model::{ASKED_FOR, Backlog, DeadLetter, Role, SweepDue};
use crate::proxy::Mirrors;
use crate::sync::{Direction, Rehearsal, Rehearsed, Report};

/// Dead letters shown where nobody says how many.
const SHOWN: usize = 100;
const SHOWN_MAX: usize = 10_000;

/// Both directions; one that was never followed has nothing.
pub(super) async fn state(
    mirrors: &Mirrors,
    router: &Router,
    rehearsal: Option<&Rehearsal>,
) -> Value {
    let mut directions = Vec::new();
    for authority in [Role::Primary, Role::Secondary] {
        if let Some(mirror) = mirrors.from(authority) {
            let direction = mirror.direction();
            let is_followed = router.snapshot().follows_from(authority);
            directions.push(match direction.report().await {
                Ok(report) => told(authority, is_followed, &report),
                Err(error) => unknown(authority, is_followed, &error),
            });
        }
    }
    let in_sync = directions
        .iter()
        .filter(|of| of["followed"] == json!(true))
        .all(|of| of["in_sync"] == json!(true));
    let dry_run = rehearsal.map(|rehearsal| rehearsed(&rehearsal.so_far()));
    json!({ "in_sync": in_sync, "directions": directions, "dry_run": dry_run })
}

fn rehearsed(of: &Rehearsed) -> Value {
    let reasons = of.reasons.iter().map(|reason| {
        json!({
            "collection": reason.collection,
            "operation": reason.operation.as_str(),
            "reason": reason.reason,
            "count": reason.count,
        })
    });
    json!({
        "checked": of.checked,
        "refused": of.refused,
        "unchecked": of.unchecked,
        "reasons": reasons.collect::<Vec<_>>(),
    })
}

/// The marks are kept by a store that does not answer.
fn unknown(authority: Role, is_followed: bool, error: &Error) -> Value {
    json!({
        "authority": authority.as_str(),
        "follower": authority.other().as_str(),
        "followed": is_followed,
        "in_sync": !is_followed,
        "waiting": null,
        "failing": error.chain(),
    })
}

fn told(authority: Role, is_followed: bool, report: &Report) -> Value {
    let follower = authority.other();
    let waiting: u64 = report.backlog.iter().map(|(_, of)| of.marks).sum();
    let dead: u64 = report.dead.iter().map(|(_, count)| count).sum();
    let ages = report.backlog.iter().filter_map(|(_, of)| of.age);
    let collections = report.backlog.iter().map(|(name, of)| collection(name, of));
    let sweeping = report.sweeping.as_ref().map(|of| {
        json!({
            "collection": of.collection,
            "compared": of.compared,
            "differing": of.differing,
        })
    });
    let blocked = report
        .blocked
        .iter()
        .map(|of| json!({ "collection": of.collection, "reason": of.reason }));
    json!({
        "authority": authority.as_str(),
        "follower": follower.as_str(),
        "followed": is_followed,
        "in_sync": !is_followed
            || (waiting == 0
                && dead == 0
                && report.sweeps.is_empty()
                && report.blocked.is_empty()),
        "waiting": waiting,
        "oldest_seconds": ages.max().map(|age| age.as_secs_f64()),
        "dead_letters": dead,
        "collections": collections.collect::<Vec<_>>(),
        "sweeps": report.sweeps.iter().map(sweep).collect::<Vec<_>>(),
        "sweeping": sweeping,
        "blocked": blocked.collect::<Vec<_>>(),
        "failing": report.failing,
    })
}

fn collection(name: &str, of: &Backlog) -> Value {
    json!({
        "collection": name,
        "waiting": of.marks,
        "oldest_seconds": of.age.map(|age| age.as_secs_f64()),
    })
}

fn sweep(due: &SweepDue) -> Value {
    json!({ "collection": due.collection, "reason": due.reason, "since_ms": due.since_ms })
}

/// The points that followers refuse for good.
pub(super) async fn dead(mirrors: &Mirrors, query: Option<&str>) -> Result<Value> {
    let asked = Asked::read(query);
    let mut letters = Vec::new();
    for (authority, direction) in each(mirrors) {
        let ledger = direction.ledger();
        let found = ledger
            .dead(asked.collection.as_deref(), asked.limit)
            .await?;
        letters.extend(found.iter().map(|found| letter(authority, found)));
    }
    letters.truncate(asked.limit);
    Ok(json!({ "dead_letters": letters }))
}

fn letter(authority: Role, of: &DeadLetter) -> Value {
    json!({
        "authority": authority.as_str(),
        "collection": of.collection,
        "id": of.id.to_string(),
        "reason": of.reason,
        "since_ms": of.since_ms,
    })
}

/// Has dead letters tried again.
pub(super) async fn retry(mirrors: &Mirrors, query: Option<&str>) -> Result<Value> {
    let asked = Asked::read(query);
    let mut retried = 0;
    for (_, direction) in each(mirrors) {
        let ledger = direction.ledger();
        retried += ledger.revive(asked.collection.as_deref()).await?;
    }
    Ok(json!({ "retried": retried }))
}

/// Has the stores compared whole, in the direction that is followed.
pub(super) async fn ask_sweep(
    mirrors: &Mirrors,
    fleet: &Fleet,
    query: Option<&str>,
) -> Result<Value> {
    let asked = Asked::read(query);
    let (router, control) = (fleet.router(), &**fleet.control());
    let mut begun = 0;
    for (authority, direction) in each(mirrors) {
        if router.snapshot().follows_from(authority) {
            // Seen before the sweep is asked for: whoever kept them has ended before it begins. And
            // once both stores are equal, what is in any journal does not matter.
            let mut unkept = Vec::new();
            if asked.collection.is_none() && control.lease().is_some() {
                let look = fleet.look().await?;
                for role in Role::BOTH {
                    unkept.extend(journals::unkept(control, role, &look).await?);
                }
            }
            let ledger = direction.ledger();
            ledger
                .want_sweep(asked.collection.as_deref(), ASKED_FOR)
                .await?;
            journals::dismiss(control, &unkept).await?;
            begun += 1;
        }
    }
    if begun == 0 {
        let text = "no store follows another in this mode: there is nothing to compare";
        let (kind, retry) = (ErrorKind::Conflict, Retry::Never);
        return Err(Error::new(kind, Origin::Client, retry, text));
    }
    Ok(json!({ "asked": true, "collection": asked.collection }))
}

fn each(mirrors: &Mirrors) -> impl Iterator<Item = (Role, &Arc<Direction>)> {
    let roles = [Role::Primary, Role::Secondary].into_iter();
    roles.filter_map(|role| Some((role, mirrors.from(role)?.direction())))
}

struct Asked {
    collection: Option<String>,
    limit: usize,
}

impl Asked {
    fn read(query: Option<&str>) -> Self {
        let mut asked = Self {
            collection: None,
            limit: SHOWN,
        };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "collection" => asked.collection = Some(value.into_owned()),
                "limit" => asked.limit = value.parse().map_or(SHOWN, |n: usize| n.min(SHOWN_MAX)),
                _ => (),
            }
        }
        asked
    }
}
