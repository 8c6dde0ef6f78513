//! What an own store must be able to do: the calls under Qdrant's REST API.
//!
//! `store::rest` turns a REST request into these calls and their results into Qdrant's answers;
//! an engine knows nothing of HTTP. The types of points, filters and queries are Qdrant's own,
//! from `qdrant-edge`, for every engine.
//!
//! Contract: a name given here is a real collection's, never an alias. Calls run in parallel. A
//! call that returns an error of kind `NotFound` because the collection is not there has done
//! nothing. `apply` is durable against a killed process when it returns, is all or nothing as far
//! as its own checks reach (names, dimensions, ids that must exist), and the number it returns
//! grows with every write of a collection. Errors carry Qdrant's own text (`wire::rest::refuse`).

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use qdrant_edge::{
    CountRequest, FacetRequest, FacetResponse, JsonPath, PayloadFieldSchema, PointId, QueryRequest,
    Record, ScoredPoint, ScrollRequest, UpdateOperation, WithPayloadInterface, WithVector,
};

use crate::error::Result;
use crate::model::StoreKind;
use crate::wire::rest::CollectionConfig;

pub type EngineFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A collection as it was declared. A snapshot: it does not change under its holder.
#[derive(Clone, Debug)]
pub struct Collection {
    pub name: String,
    pub config: CollectionConfig,
    pub payload_schema: HashMap<JsonPath, PayloadFieldSchema>,
}

/// How a collection is doing.
#[derive(Clone, Debug)]
pub struct Condition {
    pub health: Health,
    pub points_count: usize,
    pub indexed_vectors_count: usize,
    pub segments_count: usize,
    /// Points in each payload index.
    pub index_points: HashMap<JsonPath, usize>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Health {
    /// Everything is indexed that should be.
    Green,
    /// An optimisation runs, or is due.
    Yellow,
    /// The last optimisation failed, or the collection could not be opened: why.
    Red(String),
}

pub trait Engine: Send + Sync + 'static {
    fn kind(&self) -> StoreKind;

    /// Whether calls are answered at all.
    fn probe(&self) -> EngineFuture<'_, ()>;

    /// Names of all collections, sorted.
    fn names(&self) -> EngineFuture<'_, Vec<String>>;

    /// `None` when there is no such collection.
    fn collection(&self, name: &str) -> EngineFuture<'_, Option<Arc<Collection>>>;

    /// Fails with kind `Conflict` when it exists, and with Qdrant's words when an alias has the name.
    fn create(&self, name: &str, config: CollectionConfig) -> EngineFuture<'_, ()>;

    /// Puts a configuration that was made from `before` in force (tuning, metadata, strict mode;
    /// never the names and sizes of vectors, which `apply` changes). `false`, and nothing done,
    /// where the present one is another than `before`: somebody else was faster.
    fn configure(
        &self,
        name: &str,
        before: Arc<Collection>,
        config: CollectionConfig,
    ) -> EngineFuture<'_, bool>;

    /// `false` when there was none. Aliases that lead to it go with it.
    fn delete(&self, name: &str) -> EngineFuture<'_, bool>;

    /// Alias to collection.
    fn aliases(&self) -> EngineFuture<'_, Arc<BTreeMap<String, String>>>;

    /// Replaces the whole map, durably and at one instant. `false`, and nothing done, where what
    /// `aliases` was made from has changed: the map is another than `before`, or a collection that
    /// it names has come or gone by the hand of another process.
    fn set_aliases(
        &self,
        before: Arc<BTreeMap<String, String>>,
        aliases: BTreeMap<String, String>,
    ) -> EngineFuture<'_, bool>;

    fn condition(&self, name: &str) -> EngineFuture<'_, Condition>;

    /// Applies one write, index and vector-name changes included; returns its operation number.
    fn apply(&self, name: &str, operation: UpdateOperation) -> EngineFuture<'_, u64>;

    /// In the order of `ids`; missing ones are skipped.
    fn retrieve(
        &self,
        name: &str,
        ids: Vec<PointId>,
        payload: WithPayloadInterface,
        vector: WithVector,
    ) -> EngineFuture<'_, Vec<Record>>;

    /// The page, and the id that the next one begins with.
    fn scroll(
        &self,
        name: &str,
        request: ScrollRequest,
    ) -> EngineFuture<'_, (Vec<Record>, Option<PointId>)>;

    fn count(&self, name: &str, request: CountRequest) -> EngineFuture<'_, usize>;

    fn facet(&self, name: &str, request: FacetRequest) -> EngineFuture<'_, FacetResponse>;

    /// At most `limit` points, the first `offset` already left out. Whatever the limits in the
    /// request are, memory stays bounded by the number of points there are.
    fn query(&self, name: &str, request: QueryRequest) -> EngineFuture<'_, Vec<ScoredPoint>>;

    /// Writes the whole collection into a new file.
    fn snapshot(&self, name: &str, into: &Path) -> EngineFuture<'_, ()>;

    /// Replaces the collection, or makes it, from a file that `snapshot` wrote.
    fn restore(&self, name: &str, from: &Path) -> EngineFuture<'_, ()>;

    /// Where snapshot files are kept.
    fn snapshots_folder(&self) -> &Path;
}
