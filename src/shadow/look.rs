//! The comparison of one read, from the queue to the books.
//!
//! The first look holds the client's answer against the follower's. What seems real is looked at
//! again: both stores are asked anew at the same time, the authority for its exact answer too, and
//! only what is real each time is reported as that. What the last look says is what counts. A point
//! that is written all the time may be caught between two writes once; its marks, taken before and
//! after, explain it the next time.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use tracing::{debug, warn};

use super::books::Entry;
use super::exact::asks_exactly;
use super::round::{Answers, Judged, Pair};
use super::side::{Question, Said};
use super::unpack::unpacked;
use super::watch::Watch;
use super::worst::Payloads;
use super::{Read, Shadow, falls};
use crate::compare::{Class, DEPTH, Sample};
use crate::error::{Error, Result};
use crate::metrics::Uncompared;
use crate::model::{PointKey, Role, Subject};
use crate::sync::Mirror;
use crate::task::spawn_blocking;

/// How long after one another what seems real is looked at again.
const AGAIN: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(250)];
/// What is longer is unpacked off the async threads.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;
/// Points that the follower refuses for good, looked through so as not to mark them again.
const LETTERS_MAX: usize = 10_000;

impl Shadow {
    pub(super) async fn compare(&self, read: Read) {
        let mirror = self.mirror(read.role);
        let Some(mirror) = mirror else {
            self.metrics.skipped(Uncompared::ModeChanged);
            return;
        };
        let naming = mirror.real_name(&read.collection);
        let named = tokio::time::timeout(self.settings.timeout, naming).await;
        let Ok(Ok(real)) = named else {
            self.metrics.skipped(Uncompared::AuthoritySilent);
            return;
        };
        if let Err(reason) = self.look(&read, mirror, &real).await {
            debug!(collection = %real, reason = reason.as_str(), "a read was not compared");
            self.metrics.skipped(reason);
            if let Some(watch) = self.watch(read.role)
                && reason == Uncompared::FollowerSilent
            {
                watch.unanswered(&real);
            }
            self.books.skipped(&real, read.role, reason);
        }
    }

    pub(super) fn mirror(&self, authority: Role) -> Option<&Mirror> {
        let mut mirrors = self.mirrors.iter();
        let found = mirrors.find(|(role, _)| *role == authority);
        found.map(|(_, mirror)| &**mirror)
    }

    /// Where the secondary is the authority and is followed, it is `cutover`.
    fn watch(&self, authority: Role) -> Option<&Watch> {
        let watch = self.watch.as_ref();
        watch.filter(|_| authority == Role::Secondary)
    }

    /// Whether reads of the collection are still to be compared with this store's follower.
    fn still_follows(&self, real: &str, authority: Role) -> bool {
        let snapshot = self.router.snapshot();
        let plan = snapshot.plan(Some(real));
        plan.is_followed_from(authority) && self.is_compared(plan.mode)
    }

    async fn look(&self, read: &Read, mirror: &Mirror, real: &str) -> Result<(), Uncompared> {
        if !self.still_follows(real, read.role) {
            return Err(Uncompared::ModeChanged);
        }
        let [authority, follower] = &read.stores;
        let pair = Pair {
            authority,
            follower,
            mirror,
            real,
            patience: self.settings.timeout,
        };
        let (mut answers, mut judged) = self.first_look(read, &pair).await?;
        let took = [answers.one.took, answers.other.took];
        self.metrics.took(read.took, answers.other.took);
        let is_drawn = answers.exact.is_some();
        for pause in AGAIN {
            if !judged.iter().any(|of| of.class == Class::Real) {
                break;
            }
            tokio::time::sleep(pause).await;
            (answers, judged) = self.look_again(read, &pair, &judged).await?;
        }
        if !self.still_follows(real, read.role) {
            return Err(Uncompared::ModeChanged);
        }
        self.heal(&pair, read.role, &judged).await;
        if !is_drawn {
            // Only what looks bad is asked exactly besides: it excuses this read, and would make
            // either store look worse than it is if it counted for all.
            for of in &mut judged {
                of.sample = of.sample.map(Sample::without_exact);
            }
        }
        self.report(read, &pair, (&answers, took), judged);
        Ok(())
    }

    /// How far the authority's answers are from its exact ones so far, and of how many.
    pub(super) fn own(&self, real: &str, authority: Role) -> (Option<f64>, u64) {
        let summary = self.books.summary(real, authority, None);
        summary.map_or((None, 0), |summary| {
            let own = summary.overlaps.own();
            (own.mean(), own.count())
        })
    }

    async fn first_look(
        &self,
        read: &Read,
        pair: &Pair<'_>,
    ) -> Result<(Answers, Vec<Judged>), Uncompared> {
        let question = &read.question;
        let is_drawn = falls(self.settings.baseline);
        let exact = is_drawn.then(|| Pair::exact_form(question)).flatten();
        let exactly = async {
            match &exact {
                Some(exact) => pair.ask_exactly(exact).await,
                None => None,
            }
        };
        let (other, exact) = tokio::join!(pair.ask_follower(question), exactly);
        let one = Said {
            status: read.status,
            body: plain(read).await?,
            took: read.took,
        };
        let own = || exact_as_it_is(question, &one);
        let answers = Answers {
            exact: exact.or_else(|| is_drawn.then(own).flatten()),
            one,
            other: other?,
        };
        let own = || self.own(pair.real, read.role);
        let judged = pair.judge(question, &answers, own, &HashSet::new()).await?;
        Ok((answers, judged))
    }

    async fn look_again(
        &self,
        read: &Read,
        pair: &Pair<'_>,
        last: &[Judged],
    ) -> Result<(Answers, Vec<Judged>), Uncompared> {
        let points = last.iter().filter(|of| of.class == Class::Real);
        let points = points.flat_map(|of| of.seen.apart().points());
        let points: Vec<PointKey> = points.collect();
        let lag = tokio::time::timeout(self.settings.timeout, pair.lag(&points)).await;
        let Ok(Ok(before)) = lag else {
            return Err(Uncompared::AuthoritySilent);
        };
        let exact = Pair::exact_form(&read.question);
        let mut answers = pair.ask(&read.question, exact.as_ref()).await?;
        answers.exact = answers
            .exact
            .or_else(|| exact_as_it_is(&read.question, &answers.one));
        let own = || self.own(pair.real, read.role);
        let judging = pair.judge(&read.question, &answers, own, &before.dirty);
        let judged = judging.await?;
        Ok((answers, judged))
    }

    /// Marks what is not the same at both stores: sync reads it at the authority. What the follower
    /// refuses for good is known, and stays as it is.
    async fn heal(&self, pair: &Pair<'_>, authority: Role, judged: &[Judged]) {
        let faulty: HashSet<PointKey> = judged.iter().flat_map(|of| &of.faulty).copied().collect();
        if faulty.is_empty() {
            return;
        }
        let ledger = pair.mirror.direction().ledger();
        let marking = async {
            let letters = ledger.dead(Some(pair.real), LETTERS_MAX).await?;
            let dead: HashSet<PointKey> = letters.iter().map(|letter| letter.id).collect();
            let subjects: Vec<Subject> = faulty
                .difference(&dead)
                .map(|id| Subject::Point(*id))
                .collect();
            if !subjects.is_empty() {
                ledger.mark(pair.real, &subjects).await?;
            }
            Ok::<usize, Error>(subjects.len())
        };
        match tokio::time::timeout(self.settings.timeout, marking).await {
            Ok(Ok(count)) => {
                let count = u64::try_from(count).unwrap_or(u64::MAX);
                self.metrics.marked.inc_by(count);
                self.books.marked(pair.real, authority, count);
            }
            Ok(Err(error)) => {
                warn!(collection = pair.real, error = %error.chain(), "points that differ were not marked");
            }
            Err(_elapsed) => {
                warn!(
                    collection = pair.real,
                    "points that differ were not marked in time"
                );
            }
        }
    }

    fn report(
        &self,
        read: &Read,
        pair: &Pair<'_>,
        (answers, took): (&Answers, [Duration; 2]),
        judged: Vec<Judged>,
    ) {
        let payloads = self.settings.keep_payloads.then(|| Payloads {
            question: read.question.body.clone(),
            one: answers.one.body.clone(),
            other: answers.other.body.clone(),
        });
        if let Some(watch) = self.watch(read.role) {
            // Whose fault it is that there is nothing to compare is not the read store's.
            if judged.iter().any(|of| of.seen.is_refused_by_other()) {
                watch.unanswered(pair.real);
            } else {
                watch.compared(pair.real, judged.iter().filter_map(|of| of.sample), took);
            }
        }
        for of in judged {
            self.metrics.compared(of.class.as_str());
            if let Some(sample) = of.sample.filter(|sample| sample.class != Class::Lagging) {
                self.metrics.overlap.observe(sample.overlap);
                if let Some(own) = sample.own {
                    self.metrics.own_overlap.observe(own);
                }
                if let Some(agreement) = of.seen.agreement(DEPTH) {
                    self.metrics.rbo.observe(agreement.rbo);
                }
            }
            self.voice.say(pair.real, read.question.operation, &of);
            self.books.add(Entry {
                real: pair.real,
                authority: read.role,
                question: &read.question,
                judged: of,
                took,
                payloads: payloads.as_ref(),
                now: self.clock.now_text(),
            });
        }
        self.books.took(pair.real, read.role, took);
    }
}

/// The answer to an exact search is its exact answer.
fn exact_as_it_is(question: &Question, one: &Said) -> Option<Said> {
    let is_it = (200..300).contains(&one.status) && asks_exactly(question);
    is_it.then(|| one.clone())
}

/// The client's answer as it was before it was packed.
async fn plain(read: &Read) -> Result<Bytes, Uncompared> {
    let (body, encoding) = (read.answer.clone(), read.encoding.clone());
    if encoding.is_none() || body.len() <= AT_ONCE_BYTES_MAX {
        return unpacked(&body, encoding.as_ref());
    }
    let unpacking = spawn_blocking("shadow-unpack", move || unpacked(&body, encoding.as_ref()));
    unpacking.await.map_err(|_panicked| Uncompared::GivenUp)?
}
