//! Every route that Qdrant 1.18 serves, and our own, in one table.
//!
//! The order is that in which Qdrant registers them: of several that fit, the first is meant. As
//! it is, no path fits two; a test keeps it so, and says which two when a new row breaks it.
//!
//! A template is a list of segments: a word stands for itself, `{name}` for any one segment, and
//! `**` at the end for the place itself and everything below.

use http::Method;

use crate::model::Operation as Op;

/// One row of the table.
#[derive(Clone, Debug)]
pub struct Route {
    pub method: Method,
    pub template: &'static str,
    pub operation: Op,
}

#[rustfmt::skip] // One row a line.
pub static ROUTES: &[Route] = &[
    get("/", Op::Root),
    // Collections and aliases.
    post("/collections/aliases", Op::UpdateAliases),
    get("/collections", Op::ListCollections),
    get("/collections/{collection}", Op::GetCollection),
    get("/collections/{collection}/exists", Op::CollectionExists),
    put("/collections/{collection}", Op::CreateCollection),
    patch("/collections/{collection}", Op::UpdateCollection),
    delete("/collections/{collection}", Op::DeleteCollection),
    get("/aliases", Op::ListAliases),
    get("/collections/{collection}/aliases", Op::ListCollectionAliases),
    get("/collections/{collection}/cluster", Op::GetCollectionCluster),
    get("/collections/{collection}/optimizations", Op::GetOptimizations),
    get("/collections/{collection}/memory", Op::GetCollectionMemory),
    post("/collections/{collection}/cluster", Op::UpdateCollectionCluster),
    put("/collections/{collection}/vectors/{vector}", Op::CreateVectorName),
    delete("/collections/{collection}/vectors/{vector}", Op::DeleteVectorName),
    // Snapshots: of a collection, of everything, of a shard, of what a shard lacks.
    get("/collections/{collection}/snapshots", Op::ListSnapshots),
    post("/collections/{collection}/snapshots", Op::CreateSnapshot),
    post("/collections/{collection}/snapshots/upload", Op::UploadSnapshot),
    put("/collections/{collection}/snapshots/recover", Op::RecoverSnapshot),
    get("/collections/{collection}/snapshots/{snapshot}", Op::DownloadSnapshot),
    get("/snapshots", Op::ListFullSnapshots),
    post("/snapshots", Op::CreateFullSnapshot),
    get("/snapshots/{snapshot}", Op::DownloadFullSnapshot),
    delete("/snapshots/{snapshot}", Op::DeleteFullSnapshot),
    delete("/collections/{collection}/snapshots/{snapshot}", Op::DeleteSnapshot),
    get("/collections/{collection}/shards/{shard}/snapshots", Op::ListShardSnapshots),
    post("/collections/{collection}/shards/{shard}/snapshots", Op::CreateShardSnapshot),
    get("/collections/{collection}/shards/{shard}/snapshot", Op::StreamShardSnapshot),
    put("/collections/{collection}/shards/{shard}/snapshots/recover", Op::RecoverShardSnapshot),
    post("/collections/{collection}/shards/{shard}/snapshots/upload", Op::UploadShardSnapshot),
    get("/collections/{collection}/shards/{shard}/snapshots/{snapshot}", Op::DownloadShardSnapshot),
    delete("/collections/{collection}/shards/{shard}/snapshots/{snapshot}",
        Op::DeleteShardSnapshot),
    post("/collections/{collection}/shards/{shard}/snapshot/partial/create",
        Op::CreatePartialSnapshot),
    post("/collections/{collection}/shards/{shard}/snapshot/partial/recover",
        Op::RecoverPartialSnapshot),
    post("/collections/{collection}/shards/{shard}/snapshot/partial/recover_from",
        Op::RecoverPartialSnapshotFrom),
    get("/collections/{collection}/shards/{shard}/snapshot/partial/manifest",
        Op::GetPartialSnapshotManifest),
    // Writes.
    put("/collections/{collection}/points", Op::UpsertPoints),
    post("/collections/{collection}/points/delete", Op::DeletePoints),
    put("/collections/{collection}/points/vectors", Op::UpdateVectors),
    post("/collections/{collection}/points/vectors/delete", Op::DeleteVectors),
    post("/collections/{collection}/points/payload", Op::SetPayload),
    put("/collections/{collection}/points/payload", Op::OverwritePayload),
    post("/collections/{collection}/points/payload/delete", Op::DeletePayload),
    post("/collections/{collection}/points/payload/clear", Op::ClearPayload),
    put("/collections/{collection}/index", Op::CreateIndex),
    delete("/collections/{collection}/index/{field}", Op::DeleteIndex),
    post("/collections/{collection}/points/batch", Op::BatchUpdate),
    // The cluster.
    get("/cluster", Op::GetCluster),
    delete("/cluster/peer/{peer}", Op::RemovePeer),
    post("/cluster/recover", Op::RecoverPeer),
    get("/cluster/telemetry", Op::GetClusterTelemetry),
    get("/cluster/metadata/keys", Op::ListClusterMetadata),
    get("/cluster/metadata/keys/{key}", Op::GetClusterMetadata),
    put("/cluster/metadata/keys/{key}", Op::UpdateClusterMetadata),
    delete("/cluster/metadata/keys/{key}", Op::DeleteClusterMetadata),
    // The server itself.
    get("/telemetry", Op::Telemetry),
    get("/metrics", Op::Metrics),
    get("/stacktrace", Op::GetStacktrace),
    get("/healthz", Op::Healthz),
    get("/livez", Op::Livez),
    get("/readyz", Op::Readyz),
    get("/logger", Op::GetLogger),
    post("/logger", Op::UpdateLogger),
    post("/collections/{collection}/truncate_unapplied_wal", Op::TruncateUnappliedWal),
    // Ranked reads, the deprecated ones first.
    post("/collections/{collection}/points/search", Op::SearchPoints),
    post("/collections/{collection}/points/search/batch", Op::SearchBatch),
    post("/collections/{collection}/points/search/groups", Op::SearchGroups),
    post("/collections/{collection}/points/search/matrix/pairs", Op::SearchMatrixPairs),
    post("/collections/{collection}/points/search/matrix/offsets", Op::SearchMatrixOffsets),
    post("/collections/{collection}/points/recommend", Op::RecommendPoints),
    post("/collections/{collection}/points/recommend/batch", Op::RecommendBatch),
    post("/collections/{collection}/points/recommend/groups", Op::RecommendGroups),
    post("/collections/{collection}/points/discover", Op::DiscoverPoints),
    post("/collections/{collection}/points/discover/batch", Op::DiscoverBatch),
    post("/collections/{collection}/points/query", Op::QueryPoints),
    post("/collections/{collection}/points/query/batch", Op::QueryBatch),
    post("/collections/{collection}/points/query/groups", Op::QueryGroups),
    post("/collections/{collection}/facet", Op::Facet),
    // Shards.
    get("/collections/{collection}/shards", Op::ListShardKeys),
    put("/collections/{collection}/shards", Op::CreateShardKey),
    post("/collections/{collection}/shards/delete", Op::DeleteShardKey),
    // What operators look at.
    get("/issues", Op::GetIssues),
    delete("/issues", Op::ClearIssues),
    get("/debugger", Op::GetDebugger),
    patch("/debugger", Op::UpdateDebugger),
    get("/collections/{collection}/shards/{shard}/wal", Op::GetShardWal),
    get("/collections/{collection}/shards/{shard}/recovery_point", Op::GetShardRecoveryPoint),
    get("/profiler/slow_requests", Op::GetSlowRequests),
    post("/collections/{collection}/shards/{shard}/points", Op::GetShardPoints),
    post("/collections/{collection}/shards/{shard}/points/scroll", Op::ScrollShardPoints),
    post("/collections/{collection}/shards/{shard}/points/count", Op::CountShardPoints),
    post("/collections/{collection}/shards/{shard}/cleanup", Op::CleanupShard),
    post("/audit/logs", Op::GetAuditLogs),
    // Reads by id and filter.
    post("/collections/{collection}/points/scroll", Op::ScrollPoints),
    post("/collections/{collection}/points/count", Op::CountPoints),
    get("/collections/{collection}/points/{point}", Op::GetPoint),
    post("/collections/{collection}/points", Op::GetPoints),
    // The page, whose files also answer HEAD, which nothing else does.
    get("/dashboard/**", Op::Dashboard),
    head("/dashboard/**", Op::Dashboard),
    // Ours.
    post("/v1/embeddings", Op::Embeddings),
];

const fn row(method: Method, template: &'static str, operation: Op) -> Route {
    Route {
        method,
        template,
        operation,
    }
}

const fn get(template: &'static str, operation: Op) -> Route {
    row(Method::GET, template, operation)
}

const fn post(template: &'static str, operation: Op) -> Route {
    row(Method::POST, template, operation)
}

const fn put(template: &'static str, operation: Op) -> Route {
    row(Method::PUT, template, operation)
}

const fn patch(template: &'static str, operation: Op) -> Route {
    row(Method::PATCH, template, operation)
}

const fn delete(template: &'static str, operation: Op) -> Route {
    row(Method::DELETE, template, operation)
}

const fn head(template: &'static str, operation: Op) -> Route {
    row(Method::HEAD, template, operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_row() {
        for operation in Op::ALL {
            let rows = ROUTES
                .iter()
                .filter(|route| route.operation == operation)
                .count();
            let unknown = operation == Op::Unknown;
            let answers_head = operation == Op::Dashboard;
            assert_eq!(
                rows,
                usize::from(!unknown) + usize::from(answers_head),
                "{operation}"
            );
        }
    }

    #[test]
    fn no_path_fits_two_routes() {
        fn overlap(one: &str, other: &str) -> bool {
            let (mut one, mut other) = (one.split('/').skip(1), other.split('/').skip(1));
            loop {
                match (one.next(), other.next()) {
                    (None, None) | (Some("**"), _) | (_, Some("**")) => return true,
                    (None, _) | (_, None) => return false,
                    (Some(one), Some(other)) => {
                        let fits = one == other || one.starts_with('{') || other.starts_with('{');
                        if !fits {
                            return false;
                        }
                    }
                }
            }
        }
        for (at, one) in ROUTES.iter().enumerate() {
            for other in ROUTES
                .iter()
                .skip(at + 1)
                .filter(|other| other.method == one.method)
            {
                assert!(
                    !overlap(one.template, other.template),
                    "{} and {}",
                    one.template,
                    other.template
                );
            }
        }
    }
}
