//! An upsert above Qdrant's body limit, sent in parts and answered once.
//!
//! The parts go one after the other, so a point that stands twice ends as its last. The work runs
//! in a task of its own: a client that hangs up does not leave half of its points behind. The
//! answer is Qdrant's to the last part, or its first refusal; parts before a refusal stay written,
//! which the log says.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use tokio::time::Instant;
use tracing::{Instrument, Span, warn};

use super::Qdrant;
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::net::Body;
use crate::store::PassAnswer;
use crate::task;
use crate::wire;

/// A part may grow to this share of the limit: the fields that every part repeats must fit too.
const PART_SHARE: (u64, u64) = (3, 4);

impl Qdrant {
    pub(super) async fn pass_in_parts(
        &self,
        head: Parts,
        held: Body,
        bytes: Bytes,
        deadline: Instant,
    ) -> Result<PassAnswer> {
        let this = self.clone();
        let each = deadline.saturating_duration_since(Instant::now());
        let work = async move {
            // The room that the body takes is given back when the last part has gone.
            let _held = held;
            this.send_parts(head, bytes, each).await
        };
        task::spawn("split-upsert", work.instrument(Span::current()))
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::Internal,
                    Origin::Proxy,
                    Retry::OutcomeUnknown,
                    "split an upsert",
                )
                .with_source(error)
            })?
    }

    async fn send_parts(
        self,
        mut head: Parts,
        body: Bytes,
        each: std::time::Duration,
    ) -> Result<PassAnswer> {
        let (share, of) = PART_SHARE;
        let part_bytes_max =
            usize::try_from(self.settings.body_limit / of * share).unwrap_or(usize::MAX);
        let cut = move || wire::split_upsert(body, part_bytes_max);
        let parts = task::spawn_blocking("split-upsert", cut)
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::Internal,
                    Origin::Proxy,
                    Retry::Safe,
                    "split an upsert",
                )
                .with_source(error)
            })??;
        self.split_upserts.inc();
        head.headers.remove(CONTENT_LENGTH);
        let count = parts.len();
        let mut last = None;
        for (sent, part) in parts.into_iter().enumerate() {
            let request = self.outbound(head.clone(), Body::full(part))?;
            let answer = self.pass_once(request, Instant::now() + each).await;
            let refused = !answer
                .as_ref()
                .is_ok_and(|answer| answer.status().is_success());
            if refused {
                if sent > 0 {
                    warn!(
                        sent,
                        count, "an upsert sent in parts was refused; the parts sent stay"
                    );
                }
                return answer;
            }
            last = Some(answer);
        }
        last.unwrap_or_else(|| {
            let doing = "split an upsert into no parts at all";
            Err(Error::new(
                ErrorKind::Internal,
                Origin::Proxy,
                Retry::Never,
                doing,
            ))
        })
    }
}
