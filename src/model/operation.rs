//! The calls of Qdrant's REST API, each with what the rest of the package has to know of it: its
//! name in metrics, its class, what a credential must allow for it, and whether a JSON body comes
//! with it.
//!
//! One row an operation, so that nothing about one can be forgotten. The set is that of Qdrant
//! 1.18: what is documented, what is deprecated, and what is routed without being documented. A
//! call that is none of these is [`Operation::Unknown`].

use std::fmt;

/// What kind of thing an operation does. Decides what may be repeated, cached, mirrored and
/// compared, and which deadline holds.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// Reads points by id or filter, unranked. Cacheable.
    PointRead,
    /// Ranks points. Cacheable; the reads worth comparing between two stores.
    SearchRead,
    /// Reads a random sample: another answer every time, so never cached and never compared.
    SampleRead,
    /// Changes points. Mirrored by the ids it touches.
    PointWrite,
    /// Reads what a collection is, or which there are. Cacheable for a short time: the answer of
    /// some also counts points.
    CollectionRead,
    /// Makes, changes or drops a collection or one of its vectors. Mirrored; a barrier.
    CollectionWrite,
    /// Makes or drops a payload index, which changes answers. Mirrored; a barrier.
    IndexWrite,
    /// Reads aliases. Cacheable.
    AliasRead,
    /// Moves aliases. Mirrored; a barrier for every collection.
    AliasWrite,
    /// Lists or downloads snapshots. Streams of any length, never cached: they are one store's own.
    SnapshotRead,
    /// Makes, deletes, uploads or recovers snapshots. Takes as long as it takes; never mirrored,
    /// although a recovery changes points.
    SnapshotWrite,
    /// Reads the state of peers, shards and optimizers, or points through one shard. The business
    /// of one server: never cached, never compared.
    ClusterRead,
    /// Changes peers or shards. Never mirrored.
    ClusterWrite,
    /// Asks a server about itself: health, metrics, logs, pages. Never cached.
    ServiceRead,
    /// Changes a server's own switches. Never mirrored.
    ServiceWrite,
    /// Turns text into vectors. Has a cache of its own; touches no store.
    Embedding,
    /// A call we do not know. May do anything.
    Unknown,
}

impl Class {
    pub const ALL: [Self; 17] = [
        Self::PointRead,
        Self::SearchRead,
        Self::SampleRead,
        Self::PointWrite,
        Self::CollectionRead,
        Self::CollectionWrite,
        Self::IndexWrite,
        Self::AliasRead,
        Self::AliasWrite,
        Self::SnapshotRead,
        Self::SnapshotWrite,
        Self::ClusterRead,
        Self::ClusterWrite,
        Self::ServiceRead,
        Self::ServiceWrite,
        Self::Embedding,
        Self::Unknown,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PointRead => "point_read",
            Self::SearchRead => "search_read",
            Self::SampleRead => "sample_read",
            Self::PointWrite => "point_write",
            Self::CollectionRead => "collection_read",
            Self::CollectionWrite => "collection_write",
            Self::IndexWrite => "index_write",
            Self::AliasRead => "alias_read",
            Self::AliasWrite => "alias_write",
            Self::SnapshotRead => "snapshot_read",
            Self::SnapshotWrite => "snapshot_write",
            Self::ClusterRead => "cluster_read",
            Self::ClusterWrite => "cluster_write",
            Self::ServiceRead => "service_read",
            Self::ServiceWrite => "service_write",
            Self::Embedding => "embedding",
            Self::Unknown => "unknown",
        }
    }

    /// Changes nothing, so that asking twice does no harm.
    pub fn is_read(self) -> bool {
        match self {
            Self::PointRead
            | Self::SearchRead
            | Self::SampleRead
            | Self::CollectionRead
            | Self::AliasRead
            | Self::SnapshotRead
            | Self::ClusterRead
            | Self::ServiceRead
            | Self::Embedding => true,
            Self::PointWrite
            | Self::CollectionWrite
            | Self::IndexWrite
            | Self::AliasWrite
            | Self::SnapshotWrite
            | Self::ClusterWrite
            | Self::ServiceWrite
            | Self::Unknown => false,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a credential must allow. Follows Qdrant's own checks, handler by handler.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Access {
    /// Answered without any key.
    Open,
    /// Allowed to a key that may only read.
    Read,
    /// Needs the full key.
    Manage,
}

/// Whether a body is read as JSON under Qdrant's limit of 32 MiB.
#[derive(Clone, Copy)]
enum Body {
    Json,
    /// No body, a stream, or JSON under another limit of Qdrant's that is not ours to enforce.
    Other,
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident $text:literal $class:ident $access:ident $body:ident)+) => {
        /// One recognised call.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Operation {
            $($(#[$doc])* $name,)+
        }

        impl Operation {
            const COUNT: usize = [$($text),+].len();

            pub const ALL: [Self; Self::COUNT] = [$(Self::$name),+];

            /// The name in metrics and logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            pub fn class(self) -> Class {
                match self {
                    $(Self::$name => Class::$class,)+
                }
            }

            pub fn access(self) -> Access {
                match self {
                    $(Self::$name => Access::$access,)+
                }
            }

            fn body(self) -> Body {
                match self {
                    $(Self::$name => Body::$body,)+
                }
            }
        }
    };
}

operations! {
    Root                       "root"                          ServiceRead     Open   Other
    Healthz                    "healthz"                       ServiceRead     Open   Other
    Livez                      "livez"                         ServiceRead     Open   Other
    Readyz                     "readyz"                        ServiceRead     Open   Other
    /// The web page and everything below it.
    Dashboard                  "dashboard"                     ServiceRead     Open   Other
    Metrics                    "metrics"                       ServiceRead     Read   Other
    Telemetry                  "telemetry"                     ServiceRead     Read   Other
    GetIssues                  "get_issues"                    ServiceRead     Read   Other
    ClearIssues                "clear_issues"                  ServiceWrite    Manage Other
    GetLogger                  "get_logger"                    ServiceRead     Read   Other
    UpdateLogger               "update_logger"                 ServiceWrite    Manage Other
    GetStacktrace              "get_stacktrace"                ServiceRead     Manage Other
    GetDebugger                "get_debugger"                  ServiceRead     Manage Other
    UpdateDebugger             "update_debugger"               ServiceWrite    Manage Other
    GetSlowRequests            "get_slow_requests"             ServiceRead     Manage Other
    GetAuditLogs               "get_audit_logs"                ServiceRead     Manage Json

    GetCluster                 "get_cluster"                   ClusterRead     Read   Other
    GetClusterTelemetry        "get_cluster_telemetry"         ClusterRead     Read   Other
    RecoverPeer                "recover_peer"                  ClusterWrite    Manage Other
    RemovePeer                 "remove_peer"                   ClusterWrite    Manage Other
    ListClusterMetadata        "list_cluster_metadata"         ClusterRead     Read   Other
    GetClusterMetadata         "get_cluster_metadata"          ClusterRead     Read   Other
    UpdateClusterMetadata      "update_cluster_metadata"       ClusterWrite    Manage Other
    DeleteClusterMetadata      "delete_cluster_metadata"       ClusterWrite    Manage Other

    ListCollections            "list_collections"              CollectionRead  Read   Other
    GetCollection              "get_collection"                CollectionRead  Read   Other
    CollectionExists           "collection_exists"             CollectionRead  Read   Other
    CreateCollection           "create_collection"             CollectionWrite Manage Json
    UpdateCollection           "update_collection"             CollectionWrite Manage Json
    DeleteCollection           "delete_collection"             CollectionWrite Manage Other
    CreateVectorName           "create_vector_name"            CollectionWrite Manage Json
    DeleteVectorName           "delete_vector_name"            CollectionWrite Manage Other
    GetOptimizations           "get_optimizations"             ClusterRead     Read   Other
    GetCollectionMemory        "get_collection_memory"         ClusterRead     Manage Other
    GetCollectionCluster       "get_collection_cluster"        ClusterRead     Read   Other
    UpdateCollectionCluster    "update_collection_cluster"     ClusterWrite    Manage Json
    /// Drops writes that a server has accepted and not yet applied.
    TruncateUnappliedWal       "truncate_unapplied_wal"        ClusterWrite    Manage Other

    UpdateAliases              "update_aliases"                AliasWrite      Manage Json
    ListCollectionAliases      "list_collection_aliases"       AliasRead       Read   Other
    ListAliases                "list_aliases"                  AliasRead       Read   Other

    CreateIndex                "create_index"                  IndexWrite      Manage Json
    DeleteIndex                "delete_index"                  IndexWrite      Manage Other

    GetPoint                   "get_point"                     PointRead       Read   Other
    GetPoints                  "get_points"                    PointRead       Read   Json
    ScrollPoints               "scroll_points"                 PointRead       Read   Json
    CountPoints                "count_points"                  PointRead       Read   Json
    Facet                      "facet"                         PointRead       Read   Json

    QueryPoints                "query_points"                  SearchRead      Read   Json
    QueryBatch                 "query_batch"                   SearchRead      Read   Json
    QueryGroups                "query_groups"                  SearchRead      Read   Json
    SearchPoints               "search_points"                 SearchRead      Read   Json
    SearchBatch                "search_batch"                  SearchRead      Read   Json
    SearchGroups               "search_groups"                 SearchRead      Read   Json
    RecommendPoints            "recommend_points"              SearchRead      Read   Json
    RecommendBatch             "recommend_batch"               SearchRead      Read   Json
    RecommendGroups            "recommend_groups"              SearchRead      Read   Json
    DiscoverPoints             "discover_points"               SearchRead      Read   Json
    DiscoverBatch              "discover_batch"                SearchRead      Read   Json
    SearchMatrixPairs          "search_matrix_pairs"           SampleRead      Read   Json
    SearchMatrixOffsets        "search_matrix_offsets"         SampleRead      Read   Json

    UpsertPoints               "upsert_points"                 PointWrite      Manage Json
    DeletePoints               "delete_points"                 PointWrite      Manage Json
    UpdateVectors              "update_vectors"                PointWrite      Manage Json
    DeleteVectors              "delete_vectors"                PointWrite      Manage Json
    SetPayload                 "set_payload"                   PointWrite      Manage Json
    OverwritePayload           "overwrite_payload"             PointWrite      Manage Json
    DeletePayload              "delete_payload"                PointWrite      Manage Json
    ClearPayload               "clear_payload"                 PointWrite      Manage Json
    /// Several point writes in one call, applied in order.
    BatchUpdate                "batch_update"                  PointWrite      Manage Json

    ListShardKeys              "list_shard_keys"               ClusterRead     Read   Other
    CreateShardKey             "create_shard_key"              ClusterWrite    Manage Json
    DeleteShardKey             "delete_shard_key"              ClusterWrite    Manage Json
    GetShardPoints             "get_shard_points"              ClusterRead     Read   Other
    ScrollShardPoints          "scroll_shard_points"           ClusterRead     Read   Other
    CountShardPoints           "count_shard_points"            ClusterRead     Read   Other
    /// Deletes the points that no longer belong to a shard.
    CleanupShard               "cleanup_shard"                 ClusterWrite    Manage Other
    GetShardWal                "get_shard_wal"                 ClusterRead     Manage Other
    GetShardRecoveryPoint      "get_shard_recovery_point"      ClusterRead     Manage Other

    ListSnapshots              "list_snapshots"                SnapshotRead    Read   Other
    CreateSnapshot             "create_snapshot"               SnapshotWrite   Manage Other
    DownloadSnapshot           "download_snapshot"             SnapshotRead    Read   Other
    DeleteSnapshot             "delete_snapshot"               SnapshotWrite   Manage Other
    UploadSnapshot             "upload_snapshot"               SnapshotWrite   Manage Other
    RecoverSnapshot            "recover_snapshot"              SnapshotWrite   Manage Json
    ListFullSnapshots          "list_full_snapshots"           SnapshotRead    Read   Other
    CreateFullSnapshot         "create_full_snapshot"          SnapshotWrite   Manage Other
    DownloadFullSnapshot       "download_full_snapshot"        SnapshotRead    Read   Other
    DeleteFullSnapshot         "delete_full_snapshot"          SnapshotWrite   Manage Other
    ListShardSnapshots         "list_shard_snapshots"          SnapshotRead    Read   Other
    CreateShardSnapshot        "create_shard_snapshot"         SnapshotWrite   Manage Other
    DownloadShardSnapshot      "download_shard_snapshot"       SnapshotRead    Read   Other
    DeleteShardSnapshot        "delete_shard_snapshot"         SnapshotWrite   Manage Other
    UploadShardSnapshot        "upload_shard_snapshot"         SnapshotWrite   Manage Other
    RecoverShardSnapshot       "recover_shard_snapshot"        SnapshotWrite   Manage Other
    /// Makes a snapshot of a shard and sends it at once, keeping nothing.
    StreamShardSnapshot        "stream_shard_snapshot"         SnapshotRead    Manage Other
    /// Sends what the asker's manifest lacks, keeping nothing.
    CreatePartialSnapshot      "create_partial_snapshot"       SnapshotRead    Manage Other
    RecoverPartialSnapshot     "recover_partial_snapshot"      SnapshotWrite   Manage Other
    RecoverPartialSnapshotFrom "recover_partial_snapshot_from" SnapshotWrite   Manage Other
    GetPartialSnapshotManifest "get_partial_snapshot_manifest" SnapshotRead    Read   Other

    /// OpenAI's call, served here and not by Qdrant.
    Embeddings                 "embeddings"                    Embedding       Read   Json
    /// Anything else.
    Unknown                    "unknown"                       Unknown         Manage Other
}

impl Operation {
    /// The handler reads a JSON body of up to 32 MiB. False for calls without a body, for the
    /// multipart uploads of snapshots, which have no limit, and for the calls between peers and
    /// the debugging calls, whose JSON Qdrant limits to 2 MiB in other words: these stream through
    /// and Qdrant judges.
    pub fn has_json_body(self) -> bool {
        matches!(self.body(), Body::Json)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_snake_case() {
        let mut names = Operation::ALL.map(Operation::as_str).to_vec();
        names.extend(
            Class::ALL
                .map(Class::as_str)
                .iter()
                .filter(|name| **name != "unknown"),
        );
        for name in &names {
            let good = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            assert!(name.chars().all(good), "{name}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_name_is_its_variant_in_snake_case() {
        for operation in Operation::ALL {
            let mut snake = String::new();
            for letter in format!("{operation:?}").chars() {
                if letter.is_ascii_uppercase() && !snake.is_empty() {
                    snake.push('_');
                }
                snake.push(letter.to_ascii_lowercase());
            }
            assert_eq!(snake, operation.as_str());
        }
    }

    #[test]
    fn a_key_that_may_only_read_reaches_reads_only() {
        for operation in Operation::ALL {
            if operation.access() != Access::Manage {
                assert!(operation.class().is_read(), "{operation}");
            }
        }
    }

    #[test]
    fn only_calls_that_tell_nothing_of_the_data_are_open() {
        for operation in Operation::ALL {
            if operation.access() == Access::Open {
                assert_eq!(operation.class(), Class::ServiceRead, "{operation}");
            }
        }
    }

    #[test]
    fn an_unknown_call_is_trusted_with_nothing() {
        assert_eq!(Operation::Unknown.access(), Access::Manage);
        assert!(!Operation::Unknown.class().is_read());
        assert!(!Operation::Unknown.has_json_body());
    }

    #[test]
    fn point_calls_have_json_bodies_except_the_one_by_id() {
        for operation in Operation::ALL {
            let points = matches!(
                operation.class(),
                Class::PointRead | Class::SearchRead | Class::SampleRead | Class::PointWrite
            );
            if points {
                assert_eq!(operation.has_json_body(), operation != Operation::GetPoint);
            }
        }
    }
}
