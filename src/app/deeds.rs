//! What sync has made at a follower, kept where the modes are.

use std::sync::Arc;

use crate::clock::Clock;
use crate::error::Result;
use crate::mode::control::Control;
use crate::mode::validations::{self, Validated};
use crate::model::Role;
use crate::sync::{Claimed, Compared, Deeds, Note, Noted, Told};

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

    async fn fact(&self, at: Role, collection: &str) -> Result<Option<String>> {
        self.control.fact(&name(at, collection)).await
    }
}

/// What a fact says.
fn note(fact: Option<&str>) -> Option<Note> {
    let fact = fact.filter(|fact| *fact != FORGOTTEN)?;
    let claim = fact.strip_prefix(YES);
    Some(Note {
        is_ours: claim.is_some(),
        // One that has no number was noted by an older version.
        number: claim.map_or(0, |number| {
            u64::from_str_radix(number.trim_start(), 16).unwrap_or(0)
        }),
    })
}

/// The fact that says so.
fn claim(number: u64) -> String {
    match number {
        0 => YES.to_owned(),
        number => format!("{YES} {number:x}"),
    }
}

fn name(at: Role, collection: &str) -> String {
    format!("{}{collection}", all(at))
}

fn all(at: Role) -> String {
    format!("ours/{at}/")
}

/// Says why nothing is compared unasked with this authority, by whichever sidecar.
pub(super) fn lacks(authority: Role) -> String {
    format!("{authority}_lacks")
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
    fn noted<'a>(&'a self, collection: &'a str) -> Told<'a, Noted> {
        Box::pin(async move {
            let there = self.fact(self.follower, collection).await?;
            let here = self.fact(self.follower.other(), collection).await?;
            Ok(Noted {
                there: note(there.as_deref()),
                here: note(here.as_deref()),
            })
        })
    }

    fn claim<'a>(&'a self, collection: &'a str) -> Told<'a, Claimed> {
        Box::pin(async move {
            let name = name(self.follower, collection);
            let fact = claim(rand::random_range(1..=u64::MAX));
            loop {
                let was = self.control.fact(&name).await?;
                let replaced = self.control.replace_fact(&name, was.as_deref(), &fact);
                if !replaced.await? {
                    continue;
                }
                let here = self.fact(self.follower.other(), collection).await?;
                let here = note(here.as_deref());
                let [before, now] = [was.as_ref(), Some(&fact)].map(|there| Noted {
                    there: note(there.map(String::as_str)),
                    here,
                });
                return Ok(Claimed { before, now });
            }
        })
    }

    fn take_over<'a>(&'a self, collection: &'a str) -> Told<'a, ()> {
        Box::pin(async move {
            if self.noted(collection).await?.was_ours() {
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

    fn lacks<'a>(&'a self, why: &'a str) -> Told<'a, ()> {
        let fact = lacks(self.follower.other());
        Box::pin(async move { self.control.put_fact(&fact, why).await })
    }

    fn lacking(&self) -> Told<'_, Option<String>> {
        let fact = lacks(self.follower.other());
        Box::pin(async move { self.control.fact(&fact).await })
    }

    fn all_compared(&self) -> Told<'_, ()> {
        let fact = lacks(self.follower.other());
        Box::pin(async move {
            match self.control.fact(&fact).await? {
                Some(_) => self.control.drop_fact(&fact).await,
                None => Ok(()),
            }
        })
    }

    fn part<'a>(&'a self, collection: &'a str, noted: Noted) -> Told<'a, ()> {
        Box::pin(async move {
            let now = self.clock.since_epoch().as_millis();
            let now_ms = u64::try_from(now).unwrap_or(u64::MAX);
            validations::void(&*self.control, collection, now_ms).await?;
            let of = [
                (self.follower, noted.there),
                (self.follower.other(), noted.here),
            ];
            for (at, note) in of {
                if let Some(note) = note.filter(|note| note.is_ours) {
                    let (name, was) = (name(at, collection), claim(note.number));
                    // Unless it was noted anew.
                    self.control.replace_fact(&name, Some(&was), NO).await?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mode::control::MemoryControl;

    fn sidecar(control: &Arc<dyn Control>) -> Facts {
        Facts::new(control, Role::Secondary, &Clock::system())
    }

    #[tokio::test]
    async fn who_parts_with_a_collection_takes_nothing_back_that_was_claimed_since() {
        let control: Arc<dyn Control> = Arc::new(MemoryControl::new(Duration::from_secs(10)));
        let (one, other) = (sidecar(&control), sidecar(&control));
        assert!(!one.noted("c").await.unwrap().was_ours());
        let first = one.claim("c").await.unwrap();
        assert_eq!(first.before, Noted::default());
        let seen = one.noted("c").await.unwrap();
        assert_eq!(seen, first.now);
        let second = other.claim("c").await.unwrap();
        assert_eq!(second.before, first.now);
        one.part("c", seen).await.unwrap();
        assert_eq!(one.noted("c").await.unwrap(), second.now);
        one.part("c", second.now).await.unwrap();
        let noted = other.noted("c").await.unwrap();
        assert!(noted.was_ours() && !noted.are_paired());
    }

    #[tokio::test]
    async fn what_an_older_version_has_noted_is_known() {
        let control: Arc<dyn Control> = Arc::new(MemoryControl::new(Duration::from_secs(10)));
        let facts = sidecar(&control);
        for (fact, are_paired, was_ours) in [
            ("yes", true, true),
            ("no", false, true),
            ("forgotten", false, false),
        ] {
            for role in Role::BOTH {
                control.put_fact(&name(role, "c"), fact).await.unwrap();
            }
            let noted = facts.noted("c").await.unwrap();
            assert_eq!(noted.are_paired(), are_paired, "{fact}");
            assert_eq!(noted.was_ours(), was_ours, "{fact}");
            facts.part("c", noted).await.unwrap();
            assert!(!facts.noted("c").await.unwrap().are_paired());
            let claimed = facts.claim("c").await.unwrap();
            assert!(claimed.now.are_paired(), "{fact}");
        }
    }
}
