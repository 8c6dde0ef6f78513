//! What sync has made at a follower, kept where the modes are.

use std::sync::Arc;

use crate::mode::control::Control;
use crate::model::Role;
use crate::sync::{Deeds, Told};

pub(super) const YES: &str = "yes";

/// As facts of the control store.
pub(super) struct Facts {
    control: Arc<dyn Control>,
    follower: Role,
}

impl Facts {
    pub(super) fn new(control: &Arc<dyn Control>, follower: Role) -> Self {
        Self {
            control: Arc::clone(control),
            follower,
        }
    }

    fn name(&self, collection: &str) -> String {
        format!("ours/{}/{collection}", self.follower)
    }
}

impl Deeds for Facts {
    fn is_ours<'a>(&'a self, collection: &'a str) -> Told<'a, bool> {
        Box::pin(async move {
            let fact = self.control.fact(&self.name(collection)).await?;
            Ok(fact.is_some_and(|fact| fact == YES))
        })
    }

    fn set_ours<'a>(&'a self, collection: &'a str, is_ours: bool) -> Told<'a, ()> {
        Box::pin(async move {
            if self.is_ours(collection).await? == is_ours {
                return Ok(());
            }
            let fact = if is_ours { YES } else { "no" };
            self.control.put_fact(&self.name(collection), fact).await
        })
    }
}
