//! What the statements of one request read by.
//!
//! A statement sees one moment of the database by itself, so a request that is answered by one
//! needs no transaction around it. Several are read in one snapshot, which is held from the first of
//! them on; dropping the reader ends it. Statements that are asked for together travel together:
//! futures polled side by side are sent without waiting for each other, the beginning of the
//! transaction among them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::tokio_postgres::{Row, RowStream};
use futures_util::{FutureExt, TryFutureExt, TryStreamExt};

use crate::store::explain;
use crate::store::pgvector::ann::Effort;
use crate::store::pgvector::filter_sql::Params;
use crate::store::pgvector::lent::Lent;
use crate::store::pgvector::link::Fault;

pub(in crate::store::pgvector) struct Reader<'c> {
    client: &'c Lent,
    /// A snapshot is held, or about to be.
    is_held: AtomicBool,
    brings_payload: bool,
}

impl<'c> Reader<'c> {
    /// Where `brings_payload` is true, the statements that find points give their payloads too.
    #[expect(
        clippy::needless_pass_by_ref_mut,
        reason = "nobody else may ask on the connection meanwhile: it may hold a snapshot"
    )]
    pub(in crate::store::pgvector) fn new(client: &'c mut Lent, brings_payload: bool) -> Self {
        Self {
            client,
            is_held: AtomicBool::new(false),
            brings_payload,
        }
    }

    /// Whatever is asked for from now on is read from one snapshot, and by these settings.
    /// Idempotent, but for the settings.
    pub(in crate::store::pgvector) async fn hold(
        &self,
        effort: Option<&Effort>,
    ) -> Result<(), Fault> {
        if self.is_held.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let mut text = "begin isolation level repeatable read, read only".to_owned();
        for (name, value) in effort.map(Effort::settings).unwrap_or_default() {
            text += &format!("; set local {name} = {value}");
        }
        let begun = async {
            let begun = self.client.batch_execute(&text).await;
            begun.map_err(|error| Fault::undone("begin to read", error))
        };
        self.client.within(begun).await
    }

    /// What is selected last of points that are found, alias `c`.
    pub(in crate::store::pgvector) fn brought(&self) -> &'static str {
        if self.brings_payload {
            ", c.payload::text"
        } else {
            ""
        }
    }

    /// The same inside of a statement that orders what it finds: printed are only those payloads
    /// that are left.
    pub(in crate::store::pgvector) fn carried(&self) -> &'static str {
        if self.brings_payload {
            ", c.payload"
        } else {
            ""
        }
    }

    /// The payload of the point in a row that ends with `brought`.
    pub(in crate::store::pgvector) fn payload(&self, row: &Row) -> Result<Option<String>, Fault> {
        if !self.brings_payload {
            return Ok(None);
        }
        let text = row.try_get(row.len().saturating_sub(1));
        text.map_err(|error| Fault::undone("read a payload", error))
    }

    /// The rows as they come: never more than a few of them in memory.
    pub(in crate::store::pgvector) async fn stream(
        &self,
        doing: &'static str,
        text: &str,
        params: &Params,
    ) -> Result<Rows<'_>, Fault> {
        let undone = |error| Fault::undone(doing, error);
        if explain::is_wanted() {
            // In a box of its own: next to nobody asks.
            Box::pin(plan(self.client, text, params)).await?;
        }
        let prepared = async { self.client.prepare(text).await.map_err(undone) };
        let statement = self.client.within(prepared).await?;
        let values = params.values();
        let begun = async {
            let rows = self.client.query_raw(&statement, values).await;
            rows.map(Box::pin).map_err(undone)
        };
        Ok(Rows {
            doing,
            rows: self.client.within(begun).await?,
            client: self.client,
        })
    }

    pub(in crate::store::pgvector) async fn rows(
        &self,
        doing: &'static str,
        text: &str,
        params: &Params,
    ) -> Result<Vec<Row>, Fault> {
        let mut rows = self.stream(doing, text, params).await?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().await? {
            all.push(row);
        }
        Ok(all)
    }
}

/// Tells whoever wants to know how a statement is going to be carried out, on the connection and with
/// the settings that it is sent with. It is planned for its values; PostgreSQL may later have one plan
/// for all.
pub(in crate::store::pgvector) async fn plan(
    client: &Lent,
    text: &str,
    params: &Params,
) -> Result<(), Fault> {
    let undone = |error| Fault::undone("explain a statement", error);
    let asked = async {
        let statement = client.prepare_unkept(&format!("explain {text}")).await;
        let (statement, values) = (statement.map_err(undone)?, params.refs());
        client.query(&statement, &values).await.map_err(undone)
    };
    let rows = client.within(asked).await?;
    let line = |row: &Row| row.try_get::<_, String>(0).map_err(undone);
    explain::tell(explain::Statement {
        text: text.to_owned(),
        plan: rows.iter().map(line).collect::<Result<_, _>>()?,
    });
    Ok(())
}

/// The rows of one statement that are still to come.
pub(in crate::store::pgvector) struct Rows<'c> {
    doing: &'static str,
    rows: Pin<Box<RowStream>>,
    client: &'c Lent,
}

impl Rows<'_> {
    pub(in crate::store::pgvector) async fn next(&mut self) -> Result<Option<Row>, Fault> {
        let (doing, client) = (self.doing, self.client);
        let next = self.rows.try_next();
        let next = next.map_err(|error| Fault::undone(doing, error));
        client.within(next).await
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if *self.is_held.get_mut() {
            // Sent when it is polled for the first time. Whoever has the connection next comes
            // behind it.
            drop(self.client.batch_execute("rollback").now_or_never());
        }
    }
}
