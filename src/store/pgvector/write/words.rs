//! Writes to a collection that has text indexes: the words of every payload that changes change in
//! the same transaction.
//!
//! What a payload becomes is known only once it is written, so this takes more than the one round
//! trip: the rows are read back under their locks.

use deadpool_postgres::Transaction;
use futures_util::future::try_join_all;
use tokio_postgres::Row;

use super::{DOING, Plan, marked};
use crate::store::pgvector::Shared;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::payload;
use crate::store::pgvector::pool::{Step, Values};

impl Shared {
    /// As `Pool::write`. The last of the steps gives the points that have a new payload, and those.
    pub(super) async fn write_words(
        &self,
        known: &Known,
        steps: &[Step],
    ) -> Result<Vec<Vec<Row>>, Fault> {
        let done = self.write_words_once(known, steps).await;
        if let Err(fault) = &done {
            self.pool.learn(fault);
        }
        done
    }

    async fn write_words_once(
        &self,
        known: &Known,
        steps: &[Step],
    ) -> Result<Vec<Vec<Row>>, Fault> {
        // Nothing counts before the commit.
        let undone = |error| Fault::undone(DOING, error);
        let mut client = self.pool.living(DOING).await?;
        let transaction = self.pool.write_transaction(&mut client, DOING).await?;
        let answers = together(&transaction, steps).await?;
        let rows = answers.last().map_or(&[][..], Vec::as_slice);
        let mut points = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| row.len() > 1) {
            let (pid, text): (Option<i64>, Option<&str>) = (
                row.try_get(row.len().saturating_sub(2)).map_err(undone)?,
                row.try_get(row.len().saturating_sub(1)).map_err(undone)?,
            );
            // A row without a point gives the operation's number alone.
            if let (Some(pid), Some(text)) = (pid, text) {
                points.push((pid, payload::decode(text)?));
            }
        }
        let words = known.texts.iter();
        let words = words.flat_map(|text| text.words.steps((known.cid, text.ino), &points));
        together(&transaction, &words.collect::<Vec<_>>()).await?;
        let done = transaction.commit().await;
        done.map_err(|error| Fault::unknown(DOING, error))?;
        Ok(answers)
    }
}

/// Sends the steps in their order, without a wait in between. Nothing counts before the commit.
async fn together(transaction: &Transaction<'_>, steps: &[Step]) -> Result<Vec<Vec<Row>>, Fault> {
    let undone = |error| Fault::undone(DOING, error);
    let mut statements = Vec::with_capacity(steps.len());
    for step in steps {
        let prepared = transaction.prepare_cached(&step.sql).await;
        statements.push(prepared.map_err(undone)?);
    }
    let values: Vec<_> = steps.iter().map(|step| step.values.refs()).collect();
    let answers = statements.iter().zip(&values);
    let answers = answers.map(|(statement, values)| transaction.query(statement, values));
    try_join_all(answers).await.map_err(undone)
}

impl Plan {
    /// Has the last step give the points whose payload changes, and what it becomes.
    pub(super) fn tell_payloads(&mut self, known: &Known) {
        if let Some(keys) = self.named.take() {
            let mut values = Values::default();
            let condition = marked(known, keys, &mut values);
            let points = known.points_table();
            let sql = format!("select c.pid, c.payload::text from {points} c where {condition}");
            self.steps.push(Step::new(sql, values));
        }
    }
}
