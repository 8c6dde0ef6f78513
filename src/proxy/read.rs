//! The journey of a read that may be answered from the cache.
//!
//! The order matters: what the answer depends on is taken down before the store is asked, and
//! whoever waits for somebody else's answer asks anew if that never comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::time::Instant;

use super::call::{Answer, CacheStatus, Call};
use super::layers::ProxyParts;
use super::{failover, marks, names, pass, route, tenants, unkept};
use crate::cache::{
    Age, Asked, Asker, Asking, Bypass, Kept, Key, Look, Question, SharedKey, Told, Turn, Waited,
    token_life,
};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::{Plan, Snapshot};
use crate::model::{Operation, Role};
use crate::net::{Body, BodyError};
use crate::store::PassCall;

/// A read whose question has arrived.
#[derive(Clone)]
struct Read {
    operation: Operation,
    collection: Option<Box<str>>,
    asker: Asker,
    head: Parts,
    question: Bytes,
    key: Key,
    near: Option<Key>,
    patience: Duration,
}

impl Read {
    fn asked(&self) -> Asked<'_> {
        Asked {
            operation: self.operation,
            collection: self.collection.as_deref(),
            body: &self.question,
        }
    }
}

pub(super) async fn read(
    parts: &Arc<ProxyParts>,
    snapshot: &Snapshot,
    plan: Arc<Plan>,
    mut call: Call,
) -> Result<Answer> {
    let cache = &parts.cache;
    if let Err(reason) = cache.admits(call.operation, &call.head.headers) {
        marks::put(&mut call.head.headers, &call.marks);
        cache.bypassed(reason);
        return pass::pass(parts, &plan, call, None).await;
    }
    let patience = parts.patience(&plan, call.operation, call.head.uri.query());
    let taking = parts.bodies.take_question(call.operation, call.body);
    let body = pass::in_time(patience, taking).await?;
    let Some(question) = body.as_bytes() else {
        marks::put(&mut call.head.headers, &call.marks);
        cache.bypassed(Bypass::BodyTooLarge);
        let collection = call.collection;
        let call = pass::taken(parts, call.operation, call.head, body, patience);
        return failover::send(parts, &plan, collection.as_deref(), call).await;
    };
    let traffic = &parts.traffic;
    traffic.offer(
        call.operation,
        call.head.uri.query(),
        Some(question.clone()),
    );
    let asking = (call.asker, &call.head);
    route::check_lookups(parts, snapshot, &plan, call.operation, asking, &question).await?;
    let role = plan.authority_role;
    let key = Key::of(call.asker, role, call.operation, &call.head, &question);
    let asked = Asked {
        operation: call.operation,
        collection: call.collection.as_deref(),
        body: &question,
    };
    let kept = cache.find(key);
    if let Some(kept) = kept.as_ref().filter(|kept| kept.age == Age::Fresh) {
        cache.reckon(key, asked, kept.bytes(), None);
        return Ok(served(kept, role, CacheStatus::HitL1));
    }
    let rounded = cache.rounded(call.operation, &question);
    let near = rounded.map(|body| Key::of(call.asker, role, call.operation, &call.head, &body));
    if let Some(kept) = near.and_then(|near| cache.find_near(near)) {
        return Ok(served(&kept, role, CacheStatus::HitL1Near));
    }
    marks::put(&mut call.head.headers, &call.marks);
    let read = Read {
        operation: call.operation,
        collection: call.collection,
        asker: call.asker,
        head: call.head,
        question,
        key,
        near,
        patience,
    };
    match kept {
        Some(kept) if kept.age == Age::Stale => {
            cache.served_stale(kept.age);
            let answer = served(&kept, role, CacheStatus::Stale);
            refresh(parts, plan, read);
            Ok(answer)
        }
        kept => {
            let began = Instant::now();
            let asked = ask(parts, &plan, &read).await;
            if let Ok(answer) = &asked
                && answer.store == Some(role)
            {
                let of_store = answer.cache != CacheStatus::HitL2;
                let took = of_store.then(|| began.elapsed());
                unkept::reckon(parts, key, read.asked(), answer, took);
            }
            match kept.filter(|_| failed(&asked)) {
                Some(kept) => {
                    cache.served_stale(kept.age);
                    Ok(served(&kept, role, CacheStatus::Stale))
                }
                None => asked,
            }
        }
    }
}

fn served(kept: &Kept, role: Role, status: CacheStatus) -> Answer {
    Answer::of_store(kept.answer(Body::full), role).by_cache(status)
}

/// The store did not answer, or said that it cannot.
fn failed(asked: &Result<Answer, Error>) -> bool {
    match asked {
        Ok(answer) => answer.response.status().is_server_error(),
        Err(_) => true,
    }
}

/// Fetches a new answer for one that is past its time. One at a time: whoever finds somebody at it
/// leaves it to them.
fn refresh(parts: &Arc<ProxyParts>, plan: Arc<Plan>, read: Read) {
    let cloned = Arc::clone(parts);
    parts.tasks.spawn("cache-refresh", async move {
        let parts = cloned;
        // What a follower says is not kept, and nobody waits for it.
        let plan = Plan {
            follower: None,
            ..Plan::clone(&plan)
        };
        if let Ok(question) = question(&parts, &plan, &read).await
            && let Turn::Ask(asking) = parts.cache.board(&question)
        {
            // Whoever was served has their answer; a failure leaves the old one as it is.
            let _asked = fetch(&parts, &plan, &read, Some(asking)).await;
        }
    });
}

async fn ask(parts: &ProxyParts, plan: &Plan, read: &Read) -> Result<Answer> {
    let waits_until = Instant::now() + read.patience;
    loop {
        let question = match question(parts, plan, read).await {
            Ok(question) => question,
            Err(reason) => {
                parts.cache.bypassed(reason);
                let answer = fetch(parts, plan, read, None).await?;
                return Ok(answer.by_cache(CacheStatus::Bypass));
            }
        };
        let waiting = match parts.cache.board(&question) {
            Turn::Ask(asking) => {
                // Who asked the same may have got its answer since nothing was found.
                let kept = parts.cache.find(read.key);
                if let Some(kept) = kept.filter(|kept| kept.age == Age::Fresh) {
                    return Ok(served(&kept, plan.authority_role, CacheStatus::HitL1));
                }
                return match parts.cache.look_up(asking).await {
                    Look::Kept(kept) => {
                        let role = plan.authority_role;
                        Ok(served(&kept, role, CacheStatus::HitL2))
                    }
                    Look::Ask(asking) => fetch(parts, plan, read, Some(asking)).await,
                };
            }
            Turn::Wait(waiting) => waiting,
        };
        match tokio::time::timeout_at(waits_until, waiting.arrives()).await {
            Ok(Waited::Answer(kept)) => {
                parts.cache.served_coalesced();
                let role = plan.authority_role;
                return Ok(served(&kept, role, CacheStatus::Coalesced));
            }
            // Not for others, or too late: nobody waits twice for a store in trouble.
            Ok(Waited::NothingToShare) | Err(_) => {
                return fetch(parts, plan, read, None).await;
            }
            // The question is put anew: what it depends on may have moved meanwhile.
            Ok(Waited::Abandoned) => (),
        }
    }
}

async fn question(parts: &ProxyParts, plan: &Plan, read: &Read) -> Result<Question, Bypass> {
    let life = token_life(&read.head.headers, parts.clock.since_epoch())?;
    let ends = life.and_then(|life| Instant::now().checked_add(life));
    let collection = read.collection.as_deref();
    let names = match collection {
        Some(_) => names::told(parts, plan, read.asker, &read.head, read.patience).await,
        None => None,
    };
    let (key, operation) = (read.key, read.operation);
    let tenancy = match (collection, &names) {
        (Some(name), Some(names)) if tenants::may_matter(operation, &read.question) => {
            let who = (read.asker, name);
            tenants::told(parts, plan, who, names, &read.head, read.patience).await
        }
        (_, None) | (None, _) | (Some(_), Some(_)) => None,
    };
    let told = Told {
        names: names.as_deref(),
        tenancy: tenancy.as_deref(),
    };
    let cache = &parts.cache;
    let question = cache.question(key, operation, collection, told, &read.question, ends)?;
    let shared = cache.has_second().then(|| {
        let role = plan.authority_role;
        SharedKey::of(read.asker, role, operation, &read.head, &read.question)
    });
    Ok(question.with_near(read.near).with_shared(shared))
}

async fn fetch(
    parts: &ProxyParts,
    plan: &Plan,
    read: &Read,
    asking: Option<Asking>,
) -> Result<Answer> {
    let call = PassCall {
        operation: read.operation,
        head: read.head.clone(),
        body: Body::full(read.question.clone()),
        deadline: Instant::now() + read.patience,
    };
    let collection = read.collection.as_deref();
    let answer = failover::send(parts, plan, collection, call).await?;
    if answer.store != Some(plan.authority_role) {
        // Not for others either: it may be older than what they were told since.
        match asking {
            Some(asking) => parts.cache.land_nothing(asking, Bypass::Failover),
            None => parts.cache.bypassed(Bypass::Failover),
        }
        return Ok(answer);
    }
    let mut answer = answer.by_cache(CacheStatus::Miss);
    let Some(asking) = asking else {
        return Ok(answer);
    };
    parts.cache.missed();
    let (head, mut body) = answer.response.into_parts();
    if let Ok(_place) = parts.large_answers.try_acquire() {
        let gathered = body.gathered(parts.cache.entry_bytes_max()).await;
        body = gathered.map_err(|error| broke_off(plan, error))?;
    }
    match body.as_bytes() {
        Some(bytes) => parts.cache.land(asking, head.status, &head.headers, &bytes),
        None => parts.cache.land_nothing(asking, Bypass::AnswerTooLarge),
    }
    answer.response = http::Response::from_parts(head, body);
    Ok(answer)
}

fn broke_off(plan: &Plan, error: BodyError) -> Error {
    let origin = Origin::from(plan.authority.kind());
    let text = "the store's answer broke off";
    Error::new(ErrorKind::Unavailable, origin, Retry::Safe, text).with_source(error)
}
