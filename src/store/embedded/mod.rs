//! The store that needs nothing installed: Qdrant's own engine, in this process.
//!
//! Every collection is one shard of `qdrant-edge` in a folder of its own. What the engine leaves
//! to its user is done here: the log is replayed after a crash, segments are written out and
//! optimised in the background, writes are checked before they are logged, limits are cut to what
//! there is.
//!
//! A write is in the log, which is a mapped file, before it is applied and answered: whatever ends
//! the process, the kernel still has it. Against a power cut it is safe once it has been flushed,
//! which happens every few seconds. Nothing of the engine runs on an async thread, and no panic of its ends the process.

mod catalog;
mod cbor;
mod folder;
mod keeper;
mod log;
mod pool;
mod read;
mod record;
mod recover;
mod shard;
mod snapshot;
mod upkeep;
mod weigh;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qdrant_edge::{
    CountRequest, EdgeShard, FacetRequest, FacetResponse, PointId, QueryRequest, Record,
    ScoredPoint, ScrollRequest, UpdateOperation, WithPayloadInterface, WithVector,
};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::model::StoreKind;
use crate::store::engine::{Collection, Condition, Engine, EngineFuture};
use crate::wire::rest::CollectionConfig;

use catalog::Catalog;
use keeper::Keeper;
use pool::Pool;

/// The collections of one data folder.
pub struct Embedded {
    catalog: Arc<Catalog>,
    pool: Pool,
    keeper: Keeper,
}

impl Embedded {
    /// Takes the data folder and opens what is in it. Blocks.
    pub fn open(data_dir: &Path) -> Result<Self> {
        let data_dir = data_dir.to_path_buf();
        let opened = keeper::spawn("store-open", move || Catalog::open(&data_dir))?;
        let catalog = opened.join().map_err(|_panic| {
            let doing = "open the data folder";
            Error::new(ErrorKind::Internal, Origin::Embedded, Retry::Safe, doing)
        })?;
        let catalog = Arc::new(catalog?);
        let keeper = Keeper::start(Arc::clone(&catalog))?;
        Ok(Self {
            catalog,
            pool: Pool::new(),
            keeper,
        })
    }

    /// Which store it is: a folder that was lost and made again is another one.
    pub fn id(&self) -> &str {
        self.catalog.id()
    }

    /// Closes in good order, within `grace`. Blocks. Calls that come later are refused.
    pub fn close(&self, grace: Duration) {
        self.keeper.close(grace);
    }

    /// A read of one collection, off the async threads.
    async fn read<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce(&EdgeShard) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shard = self.catalog.get(name)?;
        self.pool.read(move || shard.read(work)).await
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.keeper.close(Duration::from_secs(5));
    }
}

impl Engine for Embedded {
    fn kind(&self) -> StoreKind {
        StoreKind::Embedded
    }

    fn probe(&self) -> EngineFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn names(&self) -> EngineFuture<'_, Vec<String>> {
        Box::pin(async { Ok(self.catalog.names()) })
    }

    fn collection(&self, name: &str) -> EngineFuture<'_, Option<Arc<Collection>>> {
        let found = self.catalog.find(name).map(|shard| shard.declared());
        Box::pin(async { Ok(found) })
    }

    fn create(&self, name: &str, config: CollectionConfig) -> EngineFuture<'_, ()> {
        let (catalog, name) = (Arc::clone(&self.catalog), name.to_owned());
        Box::pin(self.pool.write(move || catalog.create(&name, config)))
    }

    fn configure(
        &self,
        name: &str,
        before: Arc<Collection>,
        config: CollectionConfig,
    ) -> EngineFuture<'_, bool> {
        let shard = self.catalog.get(name);
        Box::pin(async {
            let shard = shard?;
            let work = move || shard.configure(&before.config, config);
            self.pool.write(work).await
        })
    }

    fn delete(&self, name: &str) -> EngineFuture<'_, bool> {
        let (catalog, name) = (Arc::clone(&self.catalog), name.to_owned());
        Box::pin(async move {
            let deleted = self.pool.write(move || catalog.delete(&name)).await?;
            let was_there = deleted.is_some();
            if let Some(shard) = deleted {
                // Nobody waits for the files to go.
                self.keeper.dispose(shard);
            }
            Ok(was_there)
        })
    }

    fn aliases(&self) -> EngineFuture<'_, Arc<BTreeMap<String, String>>> {
        Box::pin(async { Ok(self.catalog.aliases()) })
    }

    fn set_aliases(
        &self,
        before: Arc<BTreeMap<String, String>>,
        aliases: BTreeMap<String, String>,
    ) -> EngineFuture<'_, bool> {
        let catalog = Arc::clone(&self.catalog);
        let work = move || catalog.set_aliases(&before, aliases);
        Box::pin(self.pool.write(work))
    }

    fn condition(&self, name: &str) -> EngineFuture<'_, Condition> {
        let shard = self.catalog.get(name);
        Box::pin(async {
            let shard = shard?;
            self.pool.read(move || shard.condition()).await
        })
    }

    fn apply(&self, name: &str, operation: UpdateOperation) -> EngineFuture<'_, u64> {
        let shard = self.catalog.get(name);
        Box::pin(async {
            let shard = shard?;
            self.pool.apply(shard, operation).await
        })
    }

    fn retrieve(
        &self,
        name: &str,
        ids: Vec<PointId>,
        payload: WithPayloadInterface,
        vector: WithVector,
    ) -> EngineFuture<'_, Vec<Record>> {
        let name = name.to_owned();
        Box::pin(async move {
            let work = move |shard: &EdgeShard| read::retrieve(shard, &ids, payload, vector);
            self.read(&name, work).await
        })
    }

    fn scroll(
        &self,
        name: &str,
        request: ScrollRequest,
    ) -> EngineFuture<'_, (Vec<Record>, Option<PointId>)> {
        let name = name.to_owned();
        Box::pin(async move {
            self.read(&name, move |shard| read::scroll(shard, request))
                .await
        })
    }

    fn count(&self, name: &str, request: CountRequest) -> EngineFuture<'_, usize> {
        let name = name.to_owned();
        Box::pin(async move {
            self.read(&name, move |shard| read::count(shard, request))
                .await
        })
    }

    fn facet(&self, name: &str, request: FacetRequest) -> EngineFuture<'_, FacetResponse> {
        let name = name.to_owned();
        Box::pin(async move {
            self.read(&name, move |shard| read::facet(shard, request))
                .await
        })
    }

    fn query(&self, name: &str, request: QueryRequest) -> EngineFuture<'_, Vec<ScoredPoint>> {
        let name = name.to_owned();
        Box::pin(async move {
            self.read(&name, move |shard| read::query(shard, request))
                .await
        })
    }

    fn snapshot(&self, name: &str, into: &Path) -> EngineFuture<'_, ()> {
        let (shard, into) = (self.catalog.get(name), into.to_path_buf());
        Box::pin(async {
            let shard = shard?;
            let taken = Arc::clone(&shard);
            self.pool
                .alone(&shard, move || snapshot::write(&taken, &into))
                .await
        })
    }

    fn restore(&self, name: &str, from: &Path) -> EngineFuture<'_, ()> {
        let (catalog, name) = (Arc::clone(&self.catalog), name.to_owned());
        let from = from.to_path_buf();
        Box::pin(async move {
            let restored = self
                .pool
                .write(move || snapshot::restore(&catalog, &name, &from))
                .await?;
            if let Some(replaced) = restored {
                self.keeper.dispose(replaced);
            }
            Ok(())
        })
    }

    fn snapshots_folder(&self) -> &Path {
        self.catalog.snapshots()
    }
}

#[cfg(test)]
mod tests;
