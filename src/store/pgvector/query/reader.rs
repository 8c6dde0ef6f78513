//! One snapshot of the database, read by any number of statements at the same time.
//!
//! Statements that are asked for together travel together: futures polled side by side are sent
//! without waiting for each other. Dropping a reader ends its transaction.

use std::pin::Pin;

use deadpool_postgres::tokio_postgres::{IsolationLevel, Row, RowStream};
use deadpool_postgres::{Client, Transaction};
use futures_util::TryStreamExt;

use crate::store::pgvector::ann::Effort;
use crate::store::pgvector::filter_sql::Params;
use crate::store::pgvector::link::Fault;

/// So many statements stay prepared on one connection. Their texts hold the paths that clients
/// filter by, so there is no end to them.
const PREPARED_MAX: usize = 512;

pub(in crate::store::pgvector) struct Reader<'c> {
    transaction: Transaction<'c>,
}

impl<'c> Reader<'c> {
    pub(in crate::store::pgvector) async fn begin(client: &'c mut Client) -> Result<Self, Fault> {
        let transaction = client
            .build_transaction()
            .isolation_level(IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(|error| Fault::undone("begin to read", error))?;
        if transaction.statement_cache.size() >= PREPARED_MAX {
            transaction.statement_cache.clear();
        }
        Ok(Self { transaction })
    }

    /// How the searches that follow in this transaction are carried out.
    pub(in crate::store::pgvector) async fn set(
        &self,
        effort: Option<&Effort>,
    ) -> Result<(), Fault> {
        let Some(effort) = effort else {
            return Ok(());
        };
        let settings = effort.settings().into_iter();
        let settings: Vec<_> = settings
            .map(|(name, value)| format!("set local {name} = {value}"))
            .collect();
        let settings = settings.join("; ");
        let set = self.transaction.batch_execute(&settings).await;
        set.map_err(|error| Fault::undone("set up a search", error))
    }

    /// The rows as they come: never more than a few of them in memory.
    pub(in crate::store::pgvector) async fn stream(
        &self,
        doing: &'static str,
        text: &str,
        params: &Params,
    ) -> Result<Pin<Box<RowStream>>, Fault> {
        let undone = |error| Fault::undone(doing, error);
        let statement = self.transaction.prepare_cached(text).await;
        let statement = statement.map_err(undone)?;
        let values = params.values();
        let rows = self.transaction.query_raw(&statement, values).await;
        rows.map(Box::pin).map_err(undone)
    }

    pub(in crate::store::pgvector) async fn rows(
        &self,
        doing: &'static str,
        text: &str,
        params: &Params,
    ) -> Result<Vec<Row>, Fault> {
        let rows = self.stream(doing, text, params).await?;
        let rows: Result<Vec<_>, _> = rows.try_collect().await;
        rows.map_err(|error| Fault::undone(doing, error))
    }
}
