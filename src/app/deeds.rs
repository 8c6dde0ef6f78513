//! What sync has made at a follower, kept where the modes are.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::Result;
use crate::mode::control::Control;
use crate::mode::validations::{self, Validated};
use crate::model::Role;
use crate::sync::{Compared, Deeds, Told};

pub(super) const YES: &str = "yes";
/// Once made, and gone since.
const NO: &str = "no";
/// What was noted is of another store.
const FORGOTTEN: &str = "forgotten";

/// As facts of the control store.
pub(super) struct Facts {
    control: Arc<dyn Control>,
    follower: Role,
    clock: Clock,
}

impl Facts {
    pub(super) fn new(control: &Arc<dyn Control>, follower: Role, clock: &Clock) -> Self {
        Self {
            control: Arc::clone(control),
            follower,
            clock: clock.clone(),
        }
    }

    async fn noted(&self, at: Role, collection: &str) -> Result<Option<String>> {
        let fact = self.control.fact(&name(at, collection)).await?;
        Ok(fact.filter(|fact| fact != FORGOTTEN))
    }

    async fn is_made(&self, at: Role, collection: &str) -> Result<bool> {
        Ok(self.noted(at, collection).await?.as_deref() == Some(YES))
    }

    async fn set_made(&self, at: Role, collection: &str, is_made: bool) -> Result<()> {
        if self.is_made(at, collection).await? == is_made {
            return Ok(());
        }
        let fact = if is_made { YES } else { NO };
        self.control.put_fact(&name(at, collection), fact).await
    }
}

fn name(at: Role, collection: &str) -> String {
    format!("{}{collection}", all(at))
}

fn all(at: Role) -> String {
    format!("ours/{at}/")
}

/// Nothing there is known to be ours.
pub(super) async fn forget(control: &dyn Control, at: Role) -> Result<()> {
    for (name, fact) in control.facts(&all(at)).await? {
        if fact != FORGOTTEN {
            control.put_fact(&name, FORGOTTEN).await?;
        }
    }
    Ok(())
}

impl Deeds for Facts {
    fn set_ours<'a>(&'a self, collection: &'a str, is_ours: bool) -> Told<'a, ()> {
        Box::pin(self.set_made(self.follower, collection, is_ours))
    }

    fn are_paired<'a>(&'a self, collection: &'a str) -> Told<'a, bool> {
        Box::pin(async move {
            Ok(self.is_made(self.follower, collection).await?
                || self.is_made(self.follower.other(), collection).await?)
        })
    }

    fn was_ours<'a>(&'a self, collection: &'a str) -> Told<'a, bool> {
        Box::pin(async move {
            Ok(self.noted(self.follower, collection).await?.is_some()
                || self
                    .noted(self.follower.other(), collection)
                    .await?
                    .is_some())
        })
    }

    fn take_over<'a>(&'a self, collection: &'a str) -> Told<'a, ()> {
        Box::pin(async move {
            if self.was_ours(collection).await? {
                return Ok(());
            }
            self.control
                .put_fact(&name(self.follower, collection), NO)
                .await
        })
    }

    fn compared<'a>(&'a self, collection: &'a str, of: Compared) -> Told<'a, ()> {
        let validated = Validated {
            at_ms: of.at_ms,
            compared: of.points,
            differed: of.differed,
            // What differed was copied anew, or it would not be told.
            passed: true,
        };
        Box::pin(validations::note(&*self.control, collection, validated))
    }

    fn part<'a>(&'a self, collection: &'a str) -> Told<'a, ()> {
        Box::pin(async move {
            let now = self.clock.since_epoch().as_millis();
            let now_ms = u64::try_from(now).unwrap_or(u64::MAX);
            validations::void(&*self.control, collection, now_ms).await?;
            for at in Role::BOTH {
                self.set_made(at, collection, false).await?;
            }
            Ok(())
        })
    }
}
