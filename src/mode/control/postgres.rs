//! The control store in PostgreSQL, for several sidecars over one pair of stores. What it decides
//! is decided in its functions; here is only what they are told and what they say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Ack, Beat, Begun, Change, Control, ControlFuture, Entry, Flip, Look, Member, Phase, Proposal,
    SidecarId,
};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::mode::table::Table;
use crate::model::{Mode, Role};
use crate::store::control::{self, ControlTables};

pub struct PostgresControl {
    tables: Arc<ControlTables>,
    lease: Duration,
    keeper: Option<Role>,
    /// What was heard of when it was last waited for.
    heard: AtomicU64,
}

/// The modes as they are kept. A promise to later versions.
#[derive(Deserialize, Serialize)]
struct Modes {
    mode: String,
    collections: BTreeMap<String, String>,
}

/// What belongs to a change besides what the functions decide by.
#[derive(Deserialize, Serialize)]
struct Detail {
    epoch: u64,
    why: String,
    forced: bool,
    lasts_ms: u64,
}

impl PostgresControl {
    pub fn new(tables: Arc<ControlTables>, lease: Duration, keeper: Option<Role>) -> Self {
        Self {
            tables,
            lease,
            keeper,
            heard: AtomicU64::new(0),
        }
    }

    async fn ask(&self, id: SidecarId, own: Option<Beat>) -> Result<Look> {
        let name = name_of(id);
        let look = match &own {
            None => self.tables.look(&name).await?,
            Some(beat) => {
                let said = |phase: Phase| {
                    let said = beat.ack.filter(|ack| ack.phase >= phase);
                    said.map(|ack| name_of(ack.change))
                };
                let (armed, flipped) = (said(Phase::Arming), said(Phase::Flipped));
                let beat = control::Beat {
                    id: &name,
                    name: &beat.name,
                    lease: self.lease,
                    lasts: beat.lasts,
                    number: beat.number,
                    armed: armed.as_deref(),
                    flipped: flipped.as_deref(),
                };
                self.tables.beat(beat).await?
            }
        };
        let mut members: Vec<Member> = look.others.iter().map(member).collect::<Result<_>>()?;
        members.extend(own.map(|beat| Member {
            id: beat.id,
            name: beat.name,
            is_live: true,
            lasts: beat.lasts,
            silent: Duration::ZERO,
            ack: beat.ack,
        }));
        Ok(Look {
            table: table(&look)?.unwrap_or_else(|| Table::of(Mode::PrimaryOnly)),
            change: look.change.as_ref().map(change).transpose()?,
            members,
        })
    }
}

impl Control for PostgresControl {
    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn keeper(&self) -> Option<Role> {
        self.keeper
    }

    fn forget<'a>(&'a self, name: &'a str, silent: Duration) -> ControlFuture<'a, bool> {
        Box::pin(self.tables.forget(name, silent))
    }

    fn initialise<'a>(&'a self, first: &'a Table, _who: &'a str) -> ControlFuture<'a, Table> {
        Box::pin(async move {
            let look = self.tables.initialise(&modes(first)?).await?;
            table(&look)?.ok_or_else(|| odd("the modes that were put in force"))
        })
    }

    fn table(&self) -> ControlFuture<'_, Option<Table>> {
        Box::pin(async { table(&self.tables.look("").await?) })
    }

    fn beat(&self, beat: Beat) -> ControlFuture<'_, Look> {
        Box::pin(self.ask(beat.id, Some(beat)))
    }

    fn leave(&self, id: SidecarId) -> ControlFuture<'_, ()> {
        Box::pin(async move { self.tables.leave(&name_of(id)).await })
    }

    fn begin(&self, proposal: Proposal) -> ControlFuture<'_, Begun> {
        Box::pin(async move {
            let id: u64 = rand::random();
            let detail = Detail {
                epoch: proposal.epoch,
                why: proposal.why.clone(),
                forced: proposal.is_forced,
                lasts_ms: u64::try_from(proposal.lasts.as_millis()).unwrap_or(u64::MAX),
            };
            let detail = serde_json::to_string(&detail)
                .map_err(|error| odd("a change").with_source(error))?;
            let wanted = control::Wanted {
                id: &name_of(id),
                who: &proposal.who,
                from: proposal.from.as_str(),
                to: proposal.to.as_str(),
                scope: proposal.collection.as_deref(),
                fenced: proposal.is_fenced,
                detail: &detail,
                epoch: proposal.epoch,
                patience: proposal.lasts,
            };
            if self.tables.begin_change(wanted).await? {
                return Ok(Begun::Yes(Change {
                    id,
                    proposal,
                    phase: Phase::Arming,
                    is_over: false,
                }));
            }
            let look = self.ask(0, None).await?;
            Ok(match look.change {
                Some(other) if look.table.epoch == proposal.epoch => Begun::Busy(other),
                Some(_) | None => Begun::Moved,
            })
        })
    }

    fn flip(&self, id: u64) -> ControlFuture<'_, Flip> {
        Box::pin(async move {
            let look = self.ask(0, None).await?;
            let Some(found) = look.change.as_ref().filter(|change| change.id == id) else {
                return Ok(Flip::Gone);
            };
            match found.phase {
                Phase::Flipped => return Ok(Flip::Done),
                Phase::Arming => {}
            }
            let of = &found.proposal;
            let next = look.table.with(of.collection.as_deref(), of.to);
            let entry = control::Entry {
                who: of.who.as_str().into(),
                collection: of.collection.as_deref().map(Into::into),
                from: of.from.as_str().into(),
                to: of.to.as_str().into(),
                why: of.why.as_str().into(),
                forced: of.is_forced,
            };
            if self
                .tables
                .flip(&name_of(id), &modes(&next)?, &[entry])
                .await?
            {
                return Ok(Flip::Done);
            }
            let look = self.ask(0, None).await?;
            let found = look.change.as_ref().filter(|change| change.id == id);
            let phase = Phase::Arming;
            Ok(match found {
                Some(of) if of.phase == Phase::Flipped => Flip::Done,
                Some(of) if !of.is_over => Flip::Lacking(look.lacking(Ack { change: id, phase })),
                Some(_) | None => Flip::Gone,
            })
        })
    }

    fn finish(&self, id: u64) -> ControlFuture<'_, bool> {
        Box::pin(async move { self.tables.finish(&name_of(id)).await })
    }

    fn abandon(&self, id: u64) -> ControlFuture<'_, bool> {
        Box::pin(async move {
            let found = self.tables.abandon(&name_of(id)).await?;
            Ok(found != Some(control::Phase::Flipped))
        })
    }

    fn history(&self, limit: usize) -> ControlFuture<'_, Vec<Entry>> {
        Box::pin(async move {
            let remembered = self.tables.history(limit).await?;
            let entries = remembered.into_iter().map(|of| {
                Ok(Entry {
                    epoch: of.epoch,
                    at_ms: of.at_ms,
                    who: of.entry.who.into(),
                    collection: of.entry.collection.map(Into::into),
                    from: Some(mode(&of.entry.from)?),
                    to: mode(&of.entry.to)?,
                    why: of.entry.why.into(),
                    is_forced: of.entry.forced,
                })
            });
            entries.collect()
        })
    }

    fn fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, Option<String>> {
        Box::pin(self.tables.fact(name))
    }

    fn facts<'a>(&'a self, prefix: &'a str) -> ControlFuture<'a, Vec<(String, String)>> {
        Box::pin(self.tables.facts(prefix))
    }

    fn drop_fact<'a>(&'a self, name: &'a str) -> ControlFuture<'a, ()> {
        Box::pin(self.tables.set_fact(name, None))
    }

    fn put_fact<'a>(&'a self, name: &'a str, value: &'a str) -> ControlFuture<'a, ()> {
        Box::pin(self.tables.set_fact(name, Some(value)))
    }

    fn replace_fact<'a>(
        &'a self,
        name: &'a str,
        was: Option<&'a str>,
        value: &'a str,
    ) -> ControlFuture<'a, bool> {
        Box::pin(self.tables.replace_fact(name, was, value))
    }

    fn woken(&self) -> ControlFuture<'_, ()> {
        Box::pin(async {
            let mut changes = self.tables.changes();
            let heard = self.heard.load(Ordering::Relaxed);
            let now = changes.wait_for(|now| *now != heard).await.map(|now| *now);
            match now {
                Ok(now) => self.heard.store(now, Ordering::Relaxed),
                // Nobody listens any more: the next beat looks.
                Err(_gone) => std::future::pending().await,
            }
            Ok(())
        })
    }
}

fn name_of(id: u64) -> String {
    format!("{id:016x}")
}

fn id_of(name: &str) -> Result<u64> {
    u64::from_str_radix(name, 16)
        .map_err(|error| odd("the name of a sidecar or of a change").with_source(error))
}

fn mode(text: &str) -> Result<Mode> {
    Mode::parse(text).ok_or_else(|| odd("a mode"))
}

fn modes(table: &Table) -> Result<String> {
    let own = table.collections.iter();
    let own = own.map(|(name, mode)| (name.clone(), mode.as_str().to_owned()));
    let modes = Modes {
        mode: table.mode.as_str().to_owned(),
        collections: own.collect(),
    };
    serde_json::to_string(&modes).map_err(|error| odd("the modes").with_source(error))
}

fn table(look: &control::Look) -> Result<Option<Table>> {
    let Some(text) = &look.modes else {
        return Ok(None);
    };
    let kept: Modes =
        serde_json::from_str(text).map_err(|error| odd("the modes").with_source(error))?;
    let own = kept.collections.into_iter();
    let own = own.map(|(name, text)| Ok((name, mode(&text)?)));
    Ok(Some(Table {
        epoch: look.epoch,
        mode: mode(&kept.mode)?,
        collections: own.collect::<Result<_>>()?,
    }))
}

fn member(of: &control::Sidecar) -> Result<Member> {
    let said = |name: &Option<Box<str>>, phase: Phase| {
        let name = name.as_deref()?;
        Some(id_of(name).map(|change| Ack { change, phase }))
    };
    let ack = said(&of.flipped, Phase::Flipped).or_else(|| said(&of.armed, Phase::Arming));
    Ok(Member {
        id: id_of(&of.id)?,
        name: of.name.to_string(),
        is_live: of.live,
        lasts: of.lasts,
        silent: Duration::from_millis(of.silent_ms),
        ack: ack.transpose()?,
    })
}

fn change(of: &control::Change) -> Result<Change> {
    let detail: Detail =
        serde_json::from_str(&of.detail).map_err(|error| odd("a change").with_source(error))?;
    Ok(Change {
        id: id_of(&of.id)?,
        proposal: Proposal {
            epoch: detail.epoch,
            collection: of.scope.as_deref().map(str::to_owned),
            from: mode(&of.from)?,
            to: mode(&of.to)?,
            is_fenced: of.fenced,
            is_forced: detail.forced,
            who: of.who.to_string(),
            why: detail.why,
            lasts: Duration::from_millis(detail.lasts_ms),
        },
        phase: match of.phase {
            control::Phase::Arming => Phase::Arming,
            control::Phase::Flipped => Phase::Flipped,
        },
        is_over: of.expired,
    })
}

fn odd(what: &str) -> Error {
    let doing = format!("read {what} in the control store: another version may have written it");
    Error::new(ErrorKind::Nonsense, Origin::Pgvector, Retry::Never, doing)
}
