//! The handles of the report on what other stores would serve.

use prometheus_client::registry::Registry;

use super::{Counter, names, put};

#[derive(Clone)]
pub struct ReportMetrics {
    pub looked_at: Counter,
    pub passed_over: Counter,
}

impl ReportMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            looked_at: put(registry, &names::REPORT_LOOKED_AT),
            passed_over: put(registry, &names::REPORT_PASSED_OVER),
        }
    }
}
