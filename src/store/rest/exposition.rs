//! `GET /metrics` as Qdrant gives it, under Qdrant's names, for dashboards made for Qdrant.
//!
//! The metrics of Outrigger itself are at the admin address, under names of their own.

use std::fmt::{Display, Write};

use super::context::Served;
use super::process;
use crate::error::Result;
use crate::store::engine::Health;

pub(super) async fn render(served: &Served) -> Result<String> {
    let mut page = Page::default();
    page.family("app_info", "gauge", "information about qdrant server");
    let version = label(&served.qdrant_version);
    page.value(
        "app_info",
        &format!("{{name=\"qdrant\",version=\"{version}\"}}"),
        1,
    );
    page.alone(
        "app_status_recovery_mode",
        "gauge",
        "flag indicating if qdrant was started in recovery mode",
        0,
    );
    collections(served, &mut page).await?;
    page.alone("cluster_enabled", "gauge", "is cluster support enabled", 0);
    responses(served, &mut page);
    page.alone(
        "memory_resident_bytes",
        "gauge",
        "Maximum number of bytes in physically resident data pages mapped",
        process::resident_bytes(),
    );
    page.alone(
        "process_resident_memory_bytes",
        "gauge",
        "Resident memory size in bytes",
        process::resident_bytes(),
    );
    page.alone(
        "process_virtual_memory_bytes",
        "gauge",
        "Virtual memory size in bytes",
        process::virtual_bytes(),
    );
    page.alone(
        "process_threads",
        "gauge",
        "count of active threads",
        process::threads(),
    );
    Ok(page.text)
}

async fn collections(served: &Served, page: &mut Page) -> Result<()> {
    let names = served.engine.names().await?;
    page.alone(
        "collections_total",
        "gauge",
        "number of collections",
        names.len(),
    );
    let mut conditions = Vec::with_capacity(names.len());
    for name in names {
        // One that has gone since, or cannot be opened, is left out.
        if let Ok(condition) = served.engine.condition(&name).await {
            conditions.push((label(&name), condition));
        }
    }
    page.family(
        "collection_points",
        "gauge",
        "approximate amount of points per collection",
    );
    for (name, condition) in &conditions {
        let labels = format!("{{id=\"{name}\"}}");
        page.value("collection_points", &labels, condition.points_count);
    }
    page.family(
        "collection_indexed_only_excluded_points",
        "gauge",
        "amount of points excluded in indexed_only requests",
    );
    page.family(
        "collection_running_optimizations",
        "gauge",
        "number of currently running optimization tasks per collection",
    );
    for (name, condition) in &conditions {
        let labels = format!("{{id=\"{name}\"}}");
        let running = u8::from(condition.health == Health::Yellow);
        page.value("collection_running_optimizations", &labels, running);
    }
    let points: usize = conditions
        .iter()
        .map(|(_, condition)| condition.points_count)
        .sum();
    page.alone(
        "collections_vector_total",
        "gauge",
        "total number of vectors in all collections",
        points,
    );
    Ok(())
}

fn responses(served: &Served, page: &mut Page) {
    let rows = served.tally.rows();
    let labels: Vec<_> = rows
        .iter()
        .map(|row| {
            format!(
                "{{method=\"{}\",endpoint=\"{}\",status=\"{}\"}}",
                row.method, row.endpoint, row.status
            )
        })
        .collect();
    page.family(
        "rest_responses_total",
        "counter",
        "total number of responses",
    );
    for (labels, row) in labels.iter().zip(&rows) {
        page.value("rest_responses_total", labels, row.figures.count);
    }
    page.family(
        "rest_responses_avg_duration_seconds",
        "gauge",
        "average response duration",
    );
    for (labels, row) in labels.iter().zip(&rows) {
        let count = u32::try_from(row.figures.count).unwrap_or(u32::MAX).max(1);
        let average = (row.figures.total / count).as_secs_f64();
        page.value("rest_responses_avg_duration_seconds", labels, average);
    }
    page.family(
        "rest_responses_min_duration_seconds",
        "gauge",
        "minimum response duration",
    );
    for (labels, row) in labels.iter().zip(&rows) {
        let least = row.figures.least.as_secs_f64();
        page.value("rest_responses_min_duration_seconds", labels, least);
    }
    page.family(
        "rest_responses_max_duration_seconds",
        "gauge",
        "maximum response duration",
    );
    for (labels, row) in labels.iter().zip(&rows) {
        let most = row.figures.most.as_secs_f64();
        page.value("rest_responses_max_duration_seconds", labels, most);
    }
}

/// The text that is being written.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }

    fn alone(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, "", value);
    }
}

/// A text as it may stand between the quotes of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
