//! The cluster that there is none of, and the one shard that a collection is.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a family answers its own operations and hands the rest on"
)]

use qdrant_edge::external::uuid::Uuid;
use serde::Serialize;
use serde_json::json;
use url::form_urlencoded;

use super::context::{Asked, Reply, Served};
use super::service::not_served;
use crate::error::Result;
use crate::model::Operation;
use crate::store::engine::{Collection, Condition, Health};
use crate::wire::rest::refuse;

/// A node that is alone has a number nobody asks for, but clients want one.
pub(super) const PEER: u64 = 1;

pub(super) async fn answer(served: &Served, asked: &Asked<'_>) -> Result<Option<Reply>> {
    let reply = match asked.operation {
        Operation::GetCluster => Reply::result(&json!({"status": "disabled"}))?,
        Operation::GetClusterTelemetry => {
            return Err(refuse::service_error(
                "Could not get telemetry from cluster",
            ));
        }
        Operation::RecoverPeer
        | Operation::ListClusterMetadata
        | Operation::GetClusterMetadata
        | Operation::UpdateClusterMetadata
        | Operation::DeleteClusterMetadata => {
            return Err(refuse::service_error(
                "Qdrant is running in standalone mode",
            ));
        }
        Operation::RemovePeer => return Err(refuse::bad_request("Distributed mode disabled.")),
        Operation::UpdateCollectionCluster
        | Operation::CreateShardKey
        | Operation::DeleteShardKey => {
            served.collection(&asked.name()).await?;
            return Err(refuse::bad_request("Distributed mode disabled"));
        }
        Operation::ListShardKeys => {
            served.collection(&asked.name()).await?;
            Reply::result(&json!({}))?
        }
        Operation::GetCollectionCluster => placement(served, asked).await?,
        Operation::GetOptimizations => optimizations(served, asked).await?,
        Operation::GetCollectionMemory
        | Operation::TruncateUnappliedWal
        | Operation::CleanupShard
        | Operation::GetShardWal
        | Operation::GetShardRecoveryPoint => {
            served.collection(&asked.name()).await?;
            return Err(not_served(asked.operation));
        }
        _ => return Ok(None),
    };
    Ok(Some(reply))
}

async fn placement(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let collection = served.collection(&asked.name()).await?;
    let condition = served.engine.condition(&collection.name).await?;
    Reply::result(&json!({
        "peer_id": PEER,
        "shard_count": 1,
        "local_shards": [
            {"shard_id": 0, "points_count": condition.points_count, "state": "Active"},
        ],
        "remote_shards": [],
        "shard_transfers": [],
    }))
}

/// An optimisation is shown as one over all points: what it is made of is the engine's business.
#[derive(Serialize)]
struct Optimizations {
    summary: Summary,
    running: Vec<Optimization>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<Vec<Optimization>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Vec<Optimization>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_segments: Option<Vec<Segment>>,
}

#[derive(Serialize)]
struct Summary {
    queued_optimizations: usize,
    queued_segments: usize,
    queued_points: usize,
    idle_segments: usize,
}

#[derive(Serialize)]
struct Optimization {
    optimizer: &'static str,
    segments: Vec<Segment>,
}

#[derive(Serialize)]
struct Segment {
    uuid: Uuid,
    points_count: usize,
}

async fn optimizations(served: &Served, asked: &Asked<'_>) -> Result<Reply> {
    let wanted = Wanted::read(asked.query)?;
    let collection = served.collection(&asked.name()).await?;
    let condition = served.engine.condition(&collection.name).await?;
    Reply::result(&wanted.describe(&collection, &condition))
}

#[derive(Default)]
struct Wanted {
    queued: bool,
    completed: bool,
    idle_segments: bool,
}

impl Wanted {
    fn read(query: Option<&str>) -> Result<Self> {
        let mut wanted = Self::default();
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        for (_, fields) in pairs.filter(|(name, _)| name == "with") {
            for field in fields.split(',').map(str::trim) {
                match field {
                    "" => {}
                    "queued" => wanted.queued = true,
                    "completed" => wanted.completed = true,
                    "idle_segments" => wanted.idle_segments = true,
                    other => {
                        return Err(refuse::wrong_input(&format!(
                            "Unknown field in 'with' parameter: {other}"
                        )));
                    }
                }
            }
        }
        Ok(wanted)
    }

    fn describe(&self, collection: &Collection, condition: &Condition) -> Optimizations {
        let is_due = condition.health == Health::Yellow;
        let all = || Segment {
            uuid: name_as_uuid(&collection.name),
            points_count: condition.points_count,
        };
        let queued = || {
            is_due.then(|| Optimization {
                optimizer: "indexing",
                segments: vec![all()],
            })
        };
        Optimizations {
            summary: Summary {
                queued_optimizations: usize::from(is_due),
                queued_segments: usize::from(is_due),
                queued_points: if is_due { condition.points_count } else { 0 },
                idle_segments: usize::from(!is_due),
            },
            running: Vec::new(),
            queued: self.queued.then(|| queued().into_iter().collect()),
            completed: self.completed.then(Vec::new),
            idle_segments: self
                .idle_segments
                .then(|| (!is_due).then(all).into_iter().collect()),
        }
    }
}

/// The same for the same name, whatever the process. Not a secret, not unique beyond doubt.
fn name_as_uuid(name: &str) -> Uuid {
    let mut mixed: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in name.bytes() {
        mixed = (mixed ^ u128::from(byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
    }
    Uuid::from_u128(mixed)
}
