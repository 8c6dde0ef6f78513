//! One round of a comparison: what both stores said, held against each other, with what is known
//! of it besides.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::debug;

use super::exact::{exactly, may_guess};
use super::side::{Question, Said, ask};
use crate::compare::{
    Baseline, Circumstances, Class, Difference, Lag, Questions, Reply, Sample, classify, compare,
    same_point,
};
use crate::error::Result;
use crate::metrics::Uncompared;
use crate::model::{Marked, PointKey, StoreKind};
use crate::store::{Statement, Store, explained};
use crate::sync::{Mirror, Peer, Said as Fetched, WHOLE_STORE};
use crate::task::spawn_blocking;

/// About what is read in a millisecond.
const AT_ONCE_BYTES_MAX: usize = 64 * 1024;
/// Points that are fetched at once, and of one comparison in all.
const PAGE: usize = 256;
const POINTS_MAX: usize = 4096;
/// So many reads have to have run twice before their mean speaks for others.
const OWN_MIN: u64 = 20;

/// The two stores of a comparison, and how they follow.
pub(super) struct Pair<'p> {
    pub(super) authority: &'p Arc<dyn Store>,
    pub(super) follower: &'p Arc<dyn Store>,
    pub(super) mirror: &'p Mirror,
    /// The collection itself.
    pub(super) real: &'p str,
    pub(super) patience: Duration,
}

/// What both stores answered, and the authority's exact answer if it was asked for.
pub(super) struct Answers {
    pub(super) one: Said,
    pub(super) other: Said,
    pub(super) exact: Option<Said>,
}

/// One question of a read, judged.
pub(super) struct Judged {
    pub(super) seen: Difference,
    pub(super) class: Class,
    pub(super) sample: Option<Sample>,
    pub(super) dirty: HashSet<PointKey>,
    /// Points that are not the same at both, and that nothing has marked.
    pub(super) faulty: Vec<PointKey>,
}

/// The differences of a read, and for each what an exact answer adds.
struct Held {
    seen: Difference,
    exact: Option<[Difference; 2]>,
}

impl Pair<'_> {
    /// Asks both stores at the same time, and the authority for an exact answer too.
    pub(super) async fn ask(
        &self,
        question: &Question,
        exact: Option<&Question>,
    ) -> Result<Answers, Uncompared> {
        let exactly = async {
            match exact {
                Some(exact) => self.ask_exactly(exact).await,
                None => None,
            }
        };
        let (one, other, exact) = tokio::join!(
            self.ask_authority(question),
            self.ask_follower(question),
            exactly
        );
        Ok(Answers {
            one: one?,
            other: other?,
            exact,
        })
    }

    pub(super) async fn ask_follower(&self, question: &Question) -> Result<Said, Uncompared> {
        let silent = Uncompared::FollowerSilent;
        ask(&**self.follower, question, self.patience, silent).await
    }

    async fn ask_authority(&self, question: &Question) -> Result<Said, Uncompared> {
        let silent = Uncompared::AuthoritySilent;
        ask(&**self.authority, question, self.patience, silent).await
    }

    /// What the sides that are in PostgreSQL ask of it for this question, which is put to them once
    /// more. Nobody waits for it but the operator who wants to know.
    pub(super) async fn statements(&self, question: &Question) -> [Option<Vec<Statement>>; 2] {
        let one = async {
            let is_there = self.authority.kind() == StoreKind::Pgvector;
            let asked = is_there.then(|| explained(self.ask_authority(question)));
            Some(asked?.await.1)
        };
        let other = async {
            let is_there = self.follower.kind() == StoreKind::Pgvector;
            let asked = is_there.then(|| explained(self.ask_follower(question)));
            Some(asked?.await.1)
        };
        [one.await, other.await]
    }

    /// Without an exact answer a comparison knows less, and goes on.
    pub(super) async fn ask_exactly(&self, exact: &Question) -> Option<Said> {
        let said = self.ask_authority(exact).await.ok()?;
        (200..300).contains(&said.status).then_some(said)
    }

    /// The exact form of a question, if there is any room for it.
    pub(super) fn exact_form(question: &Question) -> Option<Question> {
        let questions = Questions::read(question.operation, &question.body)?;
        let body = may_guess(&questions)
            .then(|| exactly(question.operation, &question.body))
            .flatten()?;
        Some(Question {
            body,
            ..question.clone()
        })
    }

    /// Judges each question. `own`: how far the authority's answers are from exact on average, and
    /// of how many, which takes a while to tell; `before`: what was marked before the stores were
    /// asked.
    pub(super) async fn judge(
        &self,
        question: &Question,
        answers: &Answers,
        own: impl Fn() -> (Option<f64>, u64),
        before: &HashSet<PointKey>,
    ) -> Result<Vec<Judged>, Uncompared> {
        let held = hold(question, answers).await?;
        let is_apart = |held: &Held| !held.seen.apart().is_none();
        let points: Vec<PointKey> = {
            let apart = held.iter().filter(|held| is_apart(held));
            let points = apart.flat_map(|held| held.seen.apart().points());
            let unique: HashSet<PointKey> = points.collect();
            unique.into_iter().collect()
        };
        if points.len() > POINTS_MAX {
            return Err(Uncompared::TooLarge);
        }
        let mut known = Circumstances::default();
        let mut mean = (None, 0);
        if held.iter().any(is_apart) {
            mean = own();
            // The points first: one that is written between the two looks is marked by then.
            let looking = async { tokio::join!(self.differing(&points), self.is_indexing()) };
            let (looked, indexing) = looking.await;
            (known.looked, known.indexing) = (looked, indexing);
            let lag = tokio::time::timeout(self.patience, self.lag(&points)).await;
            let lag = lag.ok().and_then(|lag| {
                lag.map_err(|error| {
                    debug!(error = %error.chain(), "what is marked is not known");
                })
                .ok()
            });
            known.lag = lag.ok_or(Uncompared::AuthoritySilent)?;
            known.lag.dirty.extend(before);
        }
        Ok(held
            .into_iter()
            .map(|held| judged(held, &known, mean))
            .collect())
    }

    /// Which of these are marked, and what else waits.
    pub(super) async fn lag(&self, points: &[PointKey]) -> Result<Lag> {
        let ledger = self.mirror.direction().ledger();
        let Marked {
            points: dirty,
            is_barrier,
        } = ledger.marked(self.real, points).await?;
        let backlog = ledger.backlog().await?;
        let of = |name: &str| {
            let mut named = backlog.iter().filter(|(of, _)| **of == *name);
            named.next().map_or(0, |(_, of)| of.marks)
        };
        let sweeps = ledger.sweeps().await?;
        let mut sweeps = sweeps.iter().map(|due| due.collection.as_deref());
        let is_swept = sweeps.any(|due| due.is_none_or(|name| name == self.real));
        Ok(Lag {
            dirty,
            waiting: of(self.real),
            barrier: is_barrier || is_swept || of(WHOLE_STORE) > 0,
        })
    }

    /// The points that are at one store only, or not the same at both. `None`: it is not known.
    async fn differing(&self, points: &[PointKey]) -> Option<HashSet<PointKey>> {
        let (one, other) = (self.peer(self.authority), self.peer(self.follower));
        let mut differing = HashSet::new();
        for page in points.chunks(PAGE) {
            let both =
                async { tokio::join!(one.fetch(self.real, page), other.fetch(self.real, page)) };
            let (ones, others) = tokio::time::timeout(self.patience, both).await.ok()?;
            let (Fetched::Done(ones), Fetched::Done(others)) = (ones.ok()?, others.ok()?) else {
                return None;
            };
            for id in page {
                let is_same = match (ones.get(id), others.get(id)) {
                    (Some(one), Some(other)) => same_point(one.get(), other.get()),
                    (None, None) => true,
                    (Some(_), None) | (None, Some(_)) => false,
                };
                if !is_same {
                    differing.insert(*id);
                }
            }
        }
        Some(differing)
    }

    /// Whether an index is being built at either store.
    async fn is_indexing(&self) -> bool {
        let (one, other) = (self.peer(self.authority), self.peer(self.follower));
        let both = async { tokio::join!(one.is_indexing(self.real), other.is_indexing(self.real)) };
        match tokio::time::timeout(self.patience, both).await {
            Ok((one, other)) => one.unwrap_or(false) || other.unwrap_or(false),
            Err(_elapsed) => false,
        }
    }

    /// A store as sync speaks to it. Its own deadline is later than ours: see `side`.
    fn peer(&self, store: &Arc<dyn Store>) -> Peer {
        Peer::new(Arc::clone(store), self.patience * 2)
    }

    pub(super) fn kinds(&self) -> [StoreKind; 2] {
        [self.authority.kind(), self.follower.kind()]
    }
}

/// Reads the answers and holds them against each other; off the async threads if they are long.
async fn hold(question: &Question, answers: &Answers) -> Result<Vec<Held>, Uncompared> {
    let exact = answers.exact.as_ref().map(|exact| exact.body.clone());
    let (operation, body) = (question.operation, question.body.clone());
    let (one, other) = (answers.one.clone(), answers.other.clone());
    let bytes = [&body, &one.body, &other.body].map(Bytes::len);
    let bytes = bytes.iter().sum::<usize>() + exact.as_ref().map_or(0, Bytes::len);
    let work = move || {
        let Some(questions) = Questions::read(operation, &body) else {
            return Vec::new();
        };
        let one = Reply {
            status: one.status,
            body: &one.body,
        };
        let other = Reply {
            status: other.status,
            body: &other.body,
        };
        let exact = exact.as_ref().map(|body| Reply { status: 200, body });
        let owns = exact.map_or_else(Vec::new, |exact| compare(&questions, one, exact));
        let others = exact.map_or_else(Vec::new, |exact| compare(&questions, exact, other));
        let of = |all: &[Difference], index: usize| {
            all.iter().find(|other| other.index == index).cloned()
        };
        let seen = compare(&questions, one, other).into_iter();
        let held = seen.map(|seen| Held {
            exact: of(&owns, seen.index)
                .zip(of(&others, seen.index))
                .map(|(own, other)| [own, other]),
            seen,
        });
        held.collect()
    };
    if bytes <= AT_ONCE_BYTES_MAX {
        return Ok(work());
    }
    let working = spawn_blocking("shadow-compare", work);
    working.await.map_err(|_panicked| Uncompared::GivenUp)
}

fn judged(held: Held, known: &Circumstances, own: (Option<f64>, u64)) -> Judged {
    let mut known = known.clone();
    known.baseline = match (&held.exact, own) {
        (Some([own, other]), _) => Some(Baseline::new(own, other)),
        (None, (Some(own), count)) if count >= OWN_MIN => Some(Baseline {
            own,
            ..Baseline::default()
        }),
        (None, _) => None,
    };
    let class = classify(&held.seen, &known);
    let sample = Sample::new(&held.seen, class).map(|sample| match &held.exact {
        Some([own, other]) => sample.with_exact(own, other),
        None => sample,
    });
    let dirty = known.lag.dirty;
    let faulty = match (class, &known.looked) {
        (Class::Real, Some(looked)) => {
            let points = held.seen.apart().points().into_iter();
            points
                .filter(|id| looked.contains(id) && !dirty.contains(id))
                .collect()
        }
        (_, _) => Vec::new(),
    };
    Judged {
        seen: held.seen,
        class,
        sample,
        dirty,
        faulty,
    }
}
