//! What a server says of itself: name, health, pages.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]

use serde_json::json;

use super::context::{Asked, Reply, Served};
use super::{exposition, telemetry};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::Operation;

const PLAIN: &str = "text/plain; charset=utf-8";

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::Root => root(served),
        // No store is asked: these say that the process lives.
        Operation::Healthz | Operation::Livez => text("healthz check passed"),
        Operation::Readyz => {
            served.engine.probe().await?;
            text("all shards are ready")
        }
        Operation::Dashboard => Reply::Text("text/html; charset=utf-8", DASHBOARD.to_owned()),
        Operation::Telemetry => telemetry::answer(served, asked).await?,
        Operation::Metrics => {
            asked.params()?;
            Reply::Text(PLAIN, exposition::render(served).await?)
        }
        Operation::GetIssues => Reply::result(&json!({"issues": []}))?,
        Operation::ClearIssues => Reply::result(&true)?,
        Operation::GetStacktrace => Reply::result(&json!({"threads": []}))?,
        Operation::GetLogger
        | Operation::UpdateLogger
        | Operation::GetDebugger
        | Operation::UpdateDebugger
        | Operation::GetSlowRequests
        | Operation::GetAuditLogs => return Err(not_served(asked.operation)),
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

/// To a call about the insides of a Qdrant server, which there is none of here.
pub(super) fn not_served(operation: Operation) -> Error {
    let call = operation.as_str();
    Error::new(
        ErrorKind::NotFound,
        Origin::Client,
        Retry::Never,
        format!("Not found: Outrigger does not serve `{call}`: it concerns the insides of Qdrant"),
    )
}

fn root(served: &Served) -> Reply {
    Reply::Bare(json!({
        "title": "qdrant - vector search engine",
        "version": served.qdrant_version,
        "commit": concat!("outrigger-", env!("CARGO_PKG_VERSION")),
    }))
}

fn text(text: &str) -> Reply {
    Reply::Text(PLAIN, text.to_owned())
}

const DASHBOARD: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
     <title>Outrigger</title>\n<h1>Outrigger</h1>\n\
     <p>This address speaks Qdrant's REST API. The operator's page is at the admin address \
     (<code>admin_listen</code> in the settings).</p>\n</html>\n";
