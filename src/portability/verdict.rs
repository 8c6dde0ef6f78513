//! What each kind of store does with each operation and each feature.
//!
//! A table, read off what the stores say themselves: `tests/it/portability` asks an embedded and a
//! PostgreSQL store for every row of it, and looks for these very words where it says "not at all".
//!
//! "Exactly" is the same answer by its meaning. A search that may go by an index that guesses is never
//! exactly served, by whichever store: the two graphs are not the same one.

use super::shape::{Feature, Shape};
use crate::model::{Operation, StoreKind};

/// What a store does with a request, from best to worst.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Verdict {
    Exactly,
    Approximately,
    /// Its body was not looked at.
    Unknown,
    NotAtAll,
}

impl Verdict {
    pub const ALL: [Self; 4] = [
        Self::Exactly,
        Self::Approximately,
        Self::Unknown,
        Self::NotAtAll,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exactly => "exactly",
            Self::Approximately => "approximately",
            Self::Unknown => "unknown",
            Self::NotAtAll => "not_at_all",
        }
    }
}

/// With the reason, or a part of the store's own refusal.
type Row = (Verdict, &'static str);

const EXACTLY: Row = (Verdict::Exactly, "");

const fn approximately(why: &'static str) -> Row {
    (Verdict::Approximately, why)
}

const fn refused(text: &'static str) -> Row {
    (Verdict::NotAtAll, text)
}

const NODES: Row = approximately("one node and one shard are shown");
const OWN_FIGURES: Row = approximately("the figures are its own");
const OWN_FORMAT: Row = approximately("snapshots have a format of their own");
const NO_NODES: Row = refused("Distributed mode disabled");
const STANDALONE: Row = refused("Qdrant is running in standalone mode");
const INSIDES: Row = refused("it concerns the insides of Qdrant");

/// The worst that is true of the shape, and all the reasons for that.
pub fn of(shape: &Shape, kind: StoreKind) -> (Verdict, Vec<&'static str>) {
    let rows = shape.features().map(|feature| feature_at(feature, kind));
    let rows: Vec<Row> = rows.chain([operation_at(shape.operation, kind)]).collect();
    let worst = rows.iter().map(|row| row.0).max();
    let worst = worst.unwrap_or(Verdict::Exactly);
    let mut why: Vec<&str> = rows
        .into_iter()
        .filter(|row| row.0 == worst && worst != Verdict::Exactly)
        .map(|row| row.1)
        .collect();
    why.dedup();
    (worst, why)
}

fn feature_at(feature: Feature, kind: StoreKind) -> Row {
    let [qdrant, embedded, pgvector] = feature_rows(feature);
    match kind {
        StoreKind::Qdrant => qdrant,
        StoreKind::Embedded => embedded,
        StoreKind::Pgvector => pgvector,
    }
}

/// At a Qdrant, at the embedded store, at the one in PostgreSQL.
fn feature_rows(feature: Feature) -> [Row; 3] {
    let all = |row: Row| [row; 3];
    let own = |row: Row| [EXACTLY, row, row];
    let pgvector = |row: Row| [EXACTLY, EXACTLY, row];
    use Feature as Of;
    match feature {
        Of::Unread => all((Verdict::Unknown, "its body was not looked at")),
        Of::Approximate => all(approximately(
            "two indexes do not miss the same points; with `exact` they miss none",
        )),
        Of::Sample => all(approximately("a random sample is another one each time")),
        Of::Estimate => all(approximately("an estimate, where a store does not count")),
        Of::IndexedOnly => all(approximately("what is not indexed yet is left out")),
        Of::ShardKey => own(refused("Shard key")),
        Of::ForeignModel => own(refused("InferenceService URL not configured")),
        Of::CustomSharding => own(approximately(
            "there are no shards; what names a shard key is refused",
        )),
        Of::Quantization => pgvector(approximately(
            "quantisation does nothing; whole vectors are compared",
        )),
        Of::Acorn => pgvector(approximately("another way of searching with filters")),
        Of::Quantized => pgvector(approximately("quantisation is noted and does nothing")),
        Of::ManyConditions => pgvector(refused("the filter holds more than 2000 conditions")),
        Of::Nearest
        | Of::Recommend
        | Of::BestScore
        | Of::SumScores
        | Of::Discover
        | Of::Context
        | Of::Feedback
        | Of::Mmr
        | Of::OrderBy
        | Of::Rrf
        | Of::Dbsf
        | Of::Formula
        | Of::Dense
        | Of::Sparse
        | Of::Multi
        | Of::ById
        | Of::Bm25
        | Of::Prefetch
        | Of::Exact
        | Of::HnswEf
        | Of::Threshold
        | Of::Offset
        | Of::MatchValue
        | Of::MatchAny
        | Of::MatchExcept
        | Of::MatchText
        | Of::MatchTextAny
        | Of::MatchPhrase
        | Of::Range
        | Of::DatetimeRange
        | Of::GeoBox
        | Of::GeoRadius
        | Of::GeoPolygon
        | Of::ValuesCount
        | Of::IsEmpty
        | Of::IsNull
        | Of::HasId
        | Of::HasVector
        | Of::Nested
        | Of::MinShould
        | Of::WithVectors
        | Of::PayloadPart
        | Of::GroupBy
        | Of::WithLookup
        | Of::LookupFrom
        | Of::Ordering
        | Of::Consistency
        | Of::ByFilter
        | Of::Columns
        | Of::UpdateFilter
        | Of::UpdateMode
        | Of::PayloadKey
        | Of::Multivectors
        | Of::SparseVectors => all(EXACTLY),
    }
}

fn operation_at(operation: Operation, kind: StoreKind) -> Row {
    match kind {
        StoreKind::Qdrant => EXACTLY,
        // The same REST API stands over both.
        StoreKind::Pgvector | StoreKind::Embedded => own_operation(operation),
    }
}

fn own_operation(operation: Operation) -> Row {
    use Operation as Op;
    match operation {
        Op::Metrics | Op::Telemetry | Op::GetIssues | Op::ClearIssues | Op::GetStacktrace => {
            OWN_FIGURES
        }
        Op::GetCluster
        | Op::GetCollectionCluster
        | Op::GetOptimizations
        | Op::ListShardKeys => NODES,
        Op::ListSnapshots
        | Op::CreateSnapshot
        | Op::DownloadSnapshot
        | Op::DeleteSnapshot
        | Op::UploadSnapshot
        | Op::RecoverSnapshot
        | Op::ListFullSnapshots
        | Op::CreateFullSnapshot
        | Op::DownloadFullSnapshot
        | Op::DeleteFullSnapshot
        | Op::ListShardSnapshots
        | Op::CreateShardSnapshot
        | Op::DownloadShardSnapshot
        | Op::DeleteShardSnapshot
        | Op::UploadShardSnapshot
        | Op::RecoverShardSnapshot
        | Op::StreamShardSnapshot => OWN_FORMAT,
        Op::GetLogger
        | Op::UpdateLogger
        | Op::GetDebugger
        | Op::UpdateDebugger
        | Op::GetSlowRequests
        | Op::GetAuditLogs
        | Op::GetCollectionMemory
        | Op::TruncateUnappliedWal
        | Op::CleanupShard
        | Op::GetShardWal
        | Op::GetShardRecoveryPoint
        | Op::CreatePartialSnapshot
        | Op::RecoverPartialSnapshot
        | Op::RecoverPartialSnapshotFrom
        | Op::GetPartialSnapshotManifest => INSIDES,
        Op::GetClusterTelemetry => refused("Could not get telemetry from cluster"),
        Op::RecoverPeer
        | Op::ListClusterMetadata
        | Op::GetClusterMetadata
        | Op::UpdateClusterMetadata
        | Op::DeleteClusterMetadata => STANDALONE,
        Op::RemovePeer | Op::UpdateCollectionCluster | Op::CreateShardKey | Op::DeleteShardKey => {
            NO_NODES
        }
        // They answer for the one shard that there is.
        Op::GetShardPoints | Op::ScrollShardPoints | Op::CountShardPoints => NODES,
        Op::Unknown => refused("no such path"),
        Op::Root
        | Op::Healthz
        | Op::Livez
        | Op::Readyz
        | Op::Dashboard
        | Op::ListCollections
        | Op::GetCollection
        | Op::CollectionExists
        | Op::CreateCollection
        | Op::UpdateCollection
        | Op::DeleteCollection
        | Op::CreateVectorName
        | Op::DeleteVectorName
        | Op::UpdateAliases
        | Op::ListCollectionAliases
        | Op::ListAliases
        | Op::CreateIndex
        | Op::DeleteIndex
        | Op::GetPoint
        | Op::GetPoints
        | Op::ScrollPoints
        | Op::CountPoints
        | Op::Facet
        | Op::QueryPoints
        | Op::QueryBatch
        | Op::QueryGroups
        | Op::SearchPoints
        | Op::SearchBatch
        | Op::SearchGroups
        | Op::RecommendPoints
        | Op::RecommendBatch
        | Op::RecommendGroups
        | Op::DiscoverPoints
        | Op::DiscoverBatch
        | Op::SearchMatrixPairs
        | Op::SearchMatrixOffsets
        | Op::UpsertPoints
        | Op::DeletePoints
        | Op::UpdateVectors
        | Op::DeleteVectors
        | Op::SetPayload
        | Op::OverwritePayload
        | Op::DeletePayload
        | Op::ClearPayload
        | Op::BatchUpdate
        // The sidecar's own: no store is asked.
        | Op::Embeddings => EXACTLY,
    }
}
