//! Writes that find their points by a filter: the points are found first, and then named.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::calls::{answer_of, internal, saying, unwritable};
use super::mirror::Mirror;
use super::peer::name;
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::journal::Journal;
use crate::model::{Operation, PointKey, Subject};
use crate::stage::Stage;
use crate::store::{PassAnswer, PassCall};
use crate::wire::envelope;
use crate::wire::written::{Piece, Touches, key_of};

/// Why a collection is swept after a write by a filter that meets more than are named one by one.
const MANY: &str = "a write by a filter that meets many points";

/// A part of a batch, ready to be sent.
struct Part {
    operations: Vec<Box<RawValue>>,
    touched: Vec<Subject>,
    /// What one of them meets is not among `touched`.
    meets_many: bool,
}

/// The answer to a part of a batch.
#[derive(Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    result: Vec<&'a RawValue>,
}

impl Mirror {
    /// A write by a filter.
    pub(super) async fn resolve_one(
        &self,
        journal: &Arc<Journal>,
        mut call: PassCall,
        collection: &str,
        piece: &Piece<'_>,
    ) -> Result<PassAnswer> {
        let Some(ids) = self.met(&call, collection, piece).await? else {
            return self
                .send_and_sweep(journal, call, Some(collection), MANY)
                .await;
        };
        let named: Vec<Subject> = ids.iter().copied().map(Subject::Point).collect();
        let body = piece.naming(&ids).ok_or_else(unwritable)?;
        saying(&mut call, body.get().to_owned());
        let intent = journal.intend(collection, &named).await?;
        let answer = self.pass(call).await;
        intent.end(self.outcome(&answer));
        answer
    }

    /// A batch with writes by filters: in parts, each of which begins with a filter that is
    /// resolved when those before it are done.
    pub(super) async fn resolve_batch(
        &self,
        journal: &Arc<Journal>,
        call: &PassCall,
        collection: &str,
        pieces: &[Piece<'_>],
    ) -> Result<PassAnswer> {
        let mut results: Vec<Box<RawValue>> = Vec::with_capacity(pieces.len());
        let mut rest = pieces;
        let began = Instant::now();
        while let Some((_, others)) = rest.split_first() {
            let count = 1 + others.iter().take_while(|piece| !by_filter(piece)).count();
            let (part, later) = rest.split_at(count);
            rest = later;
            let part = self.part(call, collection, part).await?;
            match self.send_part(journal, call, collection, part).await? {
                Ok(done) => results.extend(done),
                Err(refused) => return Ok(refused),
            }
        }
        Ok(answer_of(envelope::ok(&results, began.elapsed())))
    }

    async fn part(&self, call: &PassCall, collection: &str, pieces: &[Piece<'_>]) -> Result<Part> {
        let mut part = Part {
            operations: Vec::with_capacity(pieces.len()),
            touched: named(pieces),
            meets_many: false,
        };
        for piece in pieces {
            let operation = if !by_filter(piece) {
                piece.as_it_is()
            } else if let Some(ids) = self.met(call, collection, piece).await? {
                part.touched.extend(ids.iter().copied().map(Subject::Point));
                piece.naming_in_batch(&ids)
            } else {
                part.meets_many = true;
                piece.as_it_is()
            };
            part.operations.push(operation.ok_or_else(unwritable)?);
        }
        Ok(part)
    }

    /// `Err` inside: the store's own refusal.
    async fn send_part(
        &self,
        journal: &Arc<Journal>,
        call: &PassCall,
        collection: &str,
        part: Part,
    ) -> Result<std::result::Result<Vec<Box<RawValue>>, PassAnswer>> {
        let body = json!({ "operations": part.operations }).to_string();
        let path = format!("/collections/{}/points/batch", name(collection));
        let sub = internal(call, Operation::BatchUpdate, &path, body)?;
        let intent = journal.intend(collection, &part.touched).await?;
        let answer = if part.meets_many {
            self.send_and_sweep(journal, sub, Some(collection), MANY)
                .await
        } else {
            self.pass(sub).await
        };
        intent.end(self.outcome(&answer));
        let answer = answer?;
        if !answer.status().is_success() {
            return Ok(Err(answer));
        }
        let doing = "read the authority's answer to a write";
        let odd = || {
            let retry = Retry::OutcomeUnknown;
            Error::new(ErrorKind::Nonsense, self.origin(), retry, doing)
        };
        let body = answer.into_body().into_bytes().await;
        let body = body.map_err(|error| odd().with_source(error))?;
        let results: Results<'_> =
            serde_json::from_slice(&body).map_err(|error| odd().with_source(error))?;
        Ok(Ok(results
            .result
            .into_iter()
            .map(ToOwned::to_owned)
            .collect()))
    }

    /// The points that a write by filter is about. `None`: too many, or the store will not say.
    async fn met(
        &self,
        call: &PassCall,
        collection: &str,
        piece: &Piece<'_>,
    ) -> Result<Option<Vec<PointKey>>> {
        let (filter, beside) = match &piece.touches {
            Touches::Filter(filter, beside) => (filter, beside),
            Touches::Ids(ids) => return Ok(Some(ids.clone())),
        };
        let Some(found) = self.found(call, collection, filter).await? else {
            return Ok(None);
        };
        let mut ids: Vec<PointKey> = beside.iter().copied().chain(found).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(Some(ids))
    }

    /// The points that a filter finds. `None`: too many, or the store will not say.
    async fn found(
        &self,
        call: &PassCall,
        collection: &str,
        filter: &RawValue,
    ) -> Result<Option<Vec<PointKey>>> {
        #[derive(Deserialize)]
        struct Scrolled {
            result: Points,
        }
        #[derive(Deserialize)]
        struct Points {
            points: Vec<OnlyId>,
            next_page_offset: Option<qdrant_edge::PointId>,
        }
        #[derive(Deserialize)]
        struct OnlyId {
            id: qdrant_edge::PointId,
        }
        let body = format!(
            r#"{{"filter":{filter},"limit":{},"with_payload":false,"with_vector":false}}"#,
            self.filter_ids_max.max(1)
        );
        let path = format!("/collections/{}/points/scroll", name(collection));
        let asked = internal(call, Operation::ScrollPoints, &path, body)?;
        // Whatever is wrong with the filter, the write itself is to be told so.
        let Ok(answer) = self.direction.authority.store().pass(asked).await else {
            return Ok(None);
        };
        if !answer.status().is_success() {
            return Ok(None);
        }
        let Ok(body) = answer.into_body().into_bytes().await else {
            return Ok(None);
        };
        let Ok(scrolled) = serde_json::from_slice::<Scrolled>(&body) else {
            return Ok(None);
        };
        if scrolled.result.next_page_offset.is_some() {
            return Ok(None);
        }
        self.direction.stages.reached(Stage::AfterResolve).await;
        let points = scrolled.result.points.into_iter();
        Ok(Some(points.map(|point| key_of(point.id)).collect()))
    }
}

pub(super) fn by_filter(piece: &Piece<'_>) -> bool {
    matches!(piece.touches, Touches::Filter(..))
}

pub(super) fn named(pieces: &[Piece<'_>]) -> Vec<Subject> {
    let ids = pieces.iter().flat_map(|piece| match &piece.touches {
        Touches::Ids(ids) | Touches::Filter(_, ids) => ids.iter(),
    });
    let mut ids: Vec<PointKey> = ids.copied().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter().map(Subject::Point).collect()
}
