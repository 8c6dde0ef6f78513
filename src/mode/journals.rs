//! The journals of the sidecars that share a control store.
//!
//! What a journal keeps is known to the sidecar alone whose it is. One that has ended, in whatever
//! way, may have left marks in it of writes that the follower does not have; to whoever is left the
//! follower looks equal. So a journal is noted in the control store before anything may be written
//! into it, and crossed out only by a sidecar that ends with nothing left in it. While there is one
//! that no live sidecar keeps, no authority moves unforced: the sidecar comes back, or everything is
//! asked to be compared, which answers for what was in it.

use super::control::{Control, Look, SidecarId};
use super::fleet::Fleet;
use crate::error::Result;
use crate::model::Role;

/// A journal whose sidecar is not there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unkept {
    /// Of the sidecar.
    pub name: String,
    fact: String,
}

/// Notes that this sidecar keeps it. Durable on return.
pub async fn note(fleet: &Fleet, authority: Role, journal: u128) -> Result<()> {
    let keeper = format!("{:016x} {}", fleet.id(), fleet.name());
    let fact = fact(authority, journal);
    fleet.control().put_fact(&fact, &keeper).await
}

/// It is empty, and nothing is written into it any more.
pub async fn cross_out(control: &dyn Control, authority: Role, journal: u128) -> Result<()> {
    control.drop_fact(&fact(authority, journal)).await
}

/// Those of this authority that no live sidecar keeps.
pub async fn unkept(control: &dyn Control, authority: Role, look: &Look) -> Result<Vec<Unkept>> {
    let noted = control.facts(&prefix(authority)).await?;
    let unkept = noted.into_iter().filter_map(|(fact, keeper)| {
        let (id, name) = keeper.split_once(' ').unwrap_or((&keeper, &keeper));
        let id = SidecarId::from_str_radix(id, 16).ok();
        let mut live = look.members.iter().filter(|member| member.is_live);
        let is_kept = live.any(|member| Some(member.id) == id);
        let name = name.to_owned();
        (!is_kept).then_some(Unkept { name, fact })
    });
    Ok(unkept.collect())
}

/// Whether no other journal of this authority is noted, whosever.
pub async fn is_only(control: &dyn Control, authority: Role, journal: u128) -> Result<bool> {
    let noted = control.facts(&prefix(authority)).await?;
    Ok(matches!(&noted[..], [(name, _)] if *name == fact(authority, journal)))
}

/// Everything is to be compared since these were seen: what is in them does not matter.
pub async fn dismiss(control: &dyn Control, unkept: &[Unkept]) -> Result<()> {
    for journal in unkept {
        control.drop_fact(&journal.fact).await?;
    }
    Ok(())
}

fn prefix(authority: Role) -> String {
    format!("journal of {authority} ")
}

fn fact(authority: Role, journal: u128) -> String {
    format!("{}{journal:032x}", prefix(authority))
}
