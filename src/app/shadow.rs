//! Shadow reads, put together: only where there is a second store to compare with.

use std::sync::Arc;

use super::sync::Following;
use crate::clock::Clock;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::model::Role;
use crate::shadow::{Shadow, ShadowParts};
use crate::task::{Group, Stop};

impl Following {
    pub(super) fn shadow(
        &self,
        settings: &Settings,
        metrics: &Metrics,
        clock: &Clock,
        (tasks, stop): (&Group, &Stop),
    ) -> Option<Arc<Shadow>> {
        let mirrors = Role::BOTH.into_iter().filter_map(|role| {
            let mirror = self.mirrors().from(role)?;
            Some((role, Arc::clone(mirror)))
        });
        let parts = ShadowParts {
            settings: settings.shadow.clone(),
            watched: settings
                .cutover
                .guard
                .then_some(settings.cutover.guard_window),
            router: Arc::clone(&self.router),
            mirrors: mirrors.collect(),
            clock: clock.clone(),
            metrics: metrics.shadow.clone(),
            in_flight: metrics.in_flight.clone(),
        };
        settings.secondary.as_ref()?;
        Some(Shadow::start(parts, tasks, stop))
    }
}
