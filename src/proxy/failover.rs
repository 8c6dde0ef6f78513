//! A read that the read store cannot be asked, answered by the store that follows it.
//!
//! Only where that was asked for (`read_failover`), and only where it is known that the follower
//! has every write that was acknowledged before: such an answer is never older than what its reader
//! was told. Where that is not known the error stays, and so it does where the follower does not
//! answer with success: an outage is not to become a refusal. An answer of a store is an answer,
//! whatever it says, and a read of no collection (which are there, say) is not asked again: the
//! follower may have more than what is brought to it.
//!
//! Nobody gets in by it who would not have got in: where the client's credential is the read store's
//! to judge, sync comes without one, and nothing is brought to a follower from a store that asks
//! for one.
//!
//! Whatever the read store is asked goes through here, so it is here that a read is drawn to be
//! compared with the follower's answer (`shadow`).
//!
//! Nothing of this is kept in the cache: `Answer::store` tells who answered.

use http::StatusCode;
use http::request::Parts;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::call::Answer;
use super::layers::ProxyParts;
use super::{pass, route};
use crate::error::{Error, ErrorKind, Origin, Result};
use crate::metrics::ReadFailover;
use crate::mode::{Plan, StandIn};
use crate::model::{Class, Operation};
use crate::net::Body;
use crate::store::{PassCall, Store};

/// What is needed to ask again.
struct Spare<'s> {
    stand_in: &'s dyn StandIn,
    follower: &'s dyn Store,
    collection: &'s str,
    operation: Operation,
    head: Parts,
    body: Body,
}

/// Asks the read store, and the follower if need be.
///
/// Cancel safety: safe for a read.
pub(super) async fn send(
    parts: &ProxyParts,
    plan: &Plan,
    collection: Option<&str>,
    call: PassCall,
) -> Result<Answer> {
    let spare = spare(parts, plan, collection, &call);
    let shadow = parts.shadow.as_ref();
    let drawn = shadow.and_then(|shadow| shadow.draw(plan, collection, &call));
    let (began, operation) = (Instant::now(), call.operation);
    let asked = pass::send(plan, call).await;
    if let Some(shadow) = shadow {
        let failed = match &asked {
            Ok(answer) => is_failure(answer.response.status()),
            Err(error) => cannot_be_asked(error),
        };
        shadow.was_read(plan, operation, failed);
    }
    let failed = match asked {
        Ok(answer) => {
            if let Some(drawn) = drawn {
                drawn.offer(&answer.response, began.elapsed());
            }
            return Ok(answer);
        }
        Err(error) => error,
    };
    let Some(spare) = spare.filter(|_| cannot_be_asked(&failed)) else {
        return Err(failed);
    };
    // In a box of its own: reads are answered without it.
    let (answer, outcome) = match Box::pin(ask_follower(parts, plan, spare)).await {
        Ok(answer) => {
            warn!(error = %failed.chain(), "the follower answered a read in the read store's place");
            (Ok(answer), ReadFailover::Answered)
        }
        Err(outcome) => (Err(failed), outcome),
    };
    parts.metrics.read_failover(outcome);
    answer
}

/// Whether a call may be asked again elsewhere at all, as far as that can be told before.
pub(super) fn may_be(parts: &ProxyParts, plan: &Plan, operation: Operation) -> bool {
    parts.stand_in.is_some() && plan.follower.is_some() && is_of_data(operation)
}

fn spare<'s>(
    parts: &'s ProxyParts,
    plan: &'s Plan,
    collection: Option<&'s str>,
    call: &PassCall,
) -> Option<Spare<'s>> {
    let (stand_in, follower) = (parts.stand_in.as_deref()?, plan.follower.as_deref()?);
    let may_be = is_of_data(call.operation) && call.body.is_whole();
    may_be.then_some(())?;
    Some(Spare {
        stand_in,
        follower,
        collection: collection?,
        operation: call.operation,
        head: call.head.clone(),
        body: Body::full(call.body.as_bytes()?),
    })
}

/// Points and what holds them; not how a store is doing.
fn is_of_data(operation: Operation) -> bool {
    match operation.class() {
        Class::PointRead
        | Class::SearchRead
        | Class::SampleRead
        | Class::CollectionRead
        | Class::AliasRead => true,
        Class::PointWrite
        | Class::CollectionWrite
        | Class::IndexWrite
        | Class::AliasWrite
        | Class::SnapshotRead
        | Class::SnapshotWrite
        | Class::ClusterRead
        | Class::ClusterWrite
        | Class::ServiceRead
        | Class::ServiceWrite
        | Class::Embedding
        | Class::Unknown => false,
    }
}

/// The store gave no answer, or is left alone because it gave none before.
fn cannot_be_asked(error: &Error) -> bool {
    match error.origin() {
        Origin::Client => false,
        // Of a read that has been sent, only the breaker says so.
        Origin::Proxy => error.kind() == ErrorKind::Busy,
        Origin::Qdrant | Origin::Pgvector | Origin::Embedded => matches!(
            error.kind(),
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Nonsense
        ),
    }
}

/// What a store does not serve it has answered; a client that asks for it over and over is no
/// outage.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

async fn ask_follower(
    parts: &ProxyParts,
    plan: &Plan,
    spare: Spare<'_>,
) -> Result<Answer, ReadFailover> {
    let mut names = vec![spare.collection.to_owned()];
    if let Some(question) = spare.body.as_bytes() {
        names.extend(route::looked_into(spare.operation, &question));
    }
    match spare.stand_in.is_equal(plan, &names).await {
        Ok(true) => {}
        Ok(false) => return Err(ReadFailover::Behind),
        Err(error) => {
            debug!(error = %error.chain(), "whether the follower may answer is not known");
            return Err(ReadFailover::Unknown);
        }
    }
    let role = plan.authority_role.other();
    let query = spare.head.uri.query();
    let call = PassCall {
        operation: spare.operation,
        deadline: Instant::now() + parts.patience_with(role, spare.operation, query),
        head: spare.head,
        body: spare.body,
    };
    match spare.follower.pass(call).await {
        Ok(answer) if answer.status().is_success() => Ok(Answer::of_store(answer, role)),
        Ok(_) => Err(ReadFailover::Refused),
        Err(error) => {
            debug!(error = %error.chain(), "the follower does not answer either");
            Err(ReadFailover::Refused)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_served_is_no_failure() {
        for (status, expected) in [
            (200, false),
            (404, false),
            (500, true),
            (501, false),
            (503, true),
        ] {
            assert_eq!(
                is_failure(StatusCode::from_u16(status).unwrap()),
                expected,
                "{status}"
            );
        }
    }
}
