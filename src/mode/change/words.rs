//! What is said of a change that was not made, or need not be.

use super::{Done, NotDone};
use crate::mode::control::{Change, Look, Member};
use crate::mode::follower::{Checked, Standing};
use crate::model::Mode;

pub(super) fn so_already(mode: Mode, look: &Look) -> Done {
    Done {
        from: mode,
        to: mode,
        epoch: look.table.epoch,
        was_so: true,
        held: None,
        note: None,
    }
}

pub(super) fn refused(from: Mode, to: Mode, first: Mode) -> NotDone {
    let reason = if from == Mode::SecondaryOnly {
        format!(
            "{from} to {to} would go back to a primary that is stale; {first} has to come first: \
             it mirrors backwards while the secondary goes on answering, and once the primary is \
             equal again (`outrigger migrate --reverse` tells), {to} can follow"
        )
    } else {
        format!("{from} to {to} would leave a store behind unnoticed; {first} has to come first")
    };
    NotDone {
        reason,
        first: Some(first),
        held: None,
    }
}

pub(super) fn under_way(change: &Change) -> NotDone {
    let of = &change.proposal;
    NotDone::because(format!(
        "another change of mode is under way: {} to {} by {}",
        of.from, of.to, of.who
    ))
}

pub(super) fn silent(member: &Member) -> NotDone {
    let (name, for_s) = (&member.name, member.silent.as_secs());
    NotDone::because(format!(
        "the sidecar {name} was last heard of {for_s} s ago and may go on by the mode that it \
         knows, for it does not need the control store to: nothing is changed without it; start it \
         again, or if it has ended for good, say so with --gone {name}"
    ))
}

pub(super) fn lacks(standing: &Standing) -> Option<String> {
    let mut reasons = Vec::new();
    if !standing.sweeps.is_empty() {
        reasons.push(format!(
            "whole collections have to be compared first ({})",
            standing.sweeps.join(", ")
        ));
    }
    if standing.dead_letters > 0 {
        reasons.push(format!(
            "{} ids were refused by the follower (`outrigger sync dead`)",
            standing.dead_letters
        ));
    }
    if !standing.absent.is_empty() {
        reasons.push(format!(
            "the journals of sidecars that do not run may have writes in them that it does not have \
             ({}): start them again, or have everything compared (`outrigger sync sweep`)",
            standing.absent.join(", ")
        ));
    }
    reasons.extend(standing.validation.clone());
    (!reasons.is_empty()).then(|| format!("the follower is not in sync: {}", reasons.join("; ")))
}

/// Collections that are named where the gate is shut, and rows of each.
const NAMED: usize = 3;

/// What is missing before the gate opens.
pub(super) fn shut(checked: &[Checked]) -> Option<String> {
    let shut = checked.iter().filter(|of| !of.table.passes());
    let mut told: Vec<String> = shut.map(missing).collect();
    let more = told.len().saturating_sub(NAMED);
    told.truncate(NAMED);
    if more > 0 {
        told.push(format!("and {more} more collections"));
    }
    (!told.is_empty()).then(|| {
        format!(
            "the gate before cutover is shut: {}; `outrigger mode check` shows the whole table, and \
             --force leaves it out",
            told.join("; ")
        )
    })
}

fn missing(of: &Checked) -> String {
    let rows = of.table.missing();
    let mut told: Vec<String> = rows
        .map(|row| format!("{} is {} (needed: {})", row.what, row.found, row.needed))
        .collect();
    let more = told.len().saturating_sub(NAMED);
    told.truncate(NAMED);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    format!("{}: {}", of.collection, told.join(", "))
}

pub(super) fn note(from: Mode, to: Mode) -> Option<&'static str> {
    (from == Mode::SecondaryOnly && to == Mode::Cutover).then_some(
        "the primary is stale: it is being made equal again, and until it is, dual_read and \
         dual_write are refused",
    )
}
