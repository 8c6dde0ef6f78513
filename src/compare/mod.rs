//! What "equal" means between two stores, for sync, shadow reads and validation alike. Pure.
//!
//! A read that went to both stores goes through here in three steps. [`compare`] reads the two
//! answers and tells, for each question that was asked in it, the [`Difference`]. [`classify`] says
//! what kind of difference that is, given what is known besides ([`Circumstances`]). A [`Window`]
//! gathers the figures of many reads, and [`Table`] holds their [`Summary`] against the limits of
//! the gate before a cutover.
//!
//! The *one* store is always the one that clients read from, which is also the authority; the
//! *other* follows. Nothing here knows which product either is.

#![deny(clippy::indexing_slicing, reason = "answers come from outside")]

mod answer;
mod asked;
mod baseline;
mod class;
mod correlation;
mod difference;
mod facet;
mod gate;
mod groups;
mod guard;
mod histogram;
mod lists;
mod point;
mod ranking;
mod reply;
mod window;

pub use answer::compare;
pub use asked::{Asked, Order, Questions};
pub use baseline::Overlaps;
pub use class::{Baseline, Circumstances, Class, Lag, classify};
pub use correlation::{kendall_tau_b, spearman_rho};
pub use difference::{Answers, Apart, Difference, Kind, Outcome, Points};
pub use facet::Value;
pub use gate::{Evidence, Indexes, Limits, Row, Table, Validation};
pub use groups::{Group, Groups};
pub use guard::{Budgets, Watched, breaches};
pub use histogram::Histogram;
pub use lists::{Lists, ListsApart, Side, Ties};
pub use point::same_point;
pub use ranking::{Agreement, Drift, Hit, RBO_P, SCORE_TOLERANCE, overlap, rbo_ext, same_score};
pub use reply::Reply;
pub use window::{DEPTH, Sample, Spread, Summary, Window};
