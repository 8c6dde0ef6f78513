//! Writes to a collection that has text indexes: the words of every payload that changes change in
//! the same transaction.
//!
//! What a payload becomes is known only once it is written, so this takes more than the one round
//! trip: the rows are read back under their locks.

use tokio_postgres::Row;

use super::{DOING, number};
use crate::store::pgvector::Shared;
use crate::store::pgvector::catalog::Known;
use crate::store::pgvector::link::Fault;
use crate::store::pgvector::payload;
use crate::store::pgvector::pool::Step;

impl Shared {
    /// As `Pool::write`. `at` is the step that gives the operation's number.
    pub(super) async fn write_words(
        &self,
        known: &Known,
        steps: &[Step],
        at: usize,
    ) -> Result<Vec<Vec<Row>>, Fault> {
        let done = self.write_words_once(known, steps, at).await;
        if let Err(fault) = &done {
            self.pool.learn(fault);
        }
        done
    }

    async fn write_words_once(
        &self,
        known: &Known,
        steps: &[Step],
        at: usize,
    ) -> Result<Vec<Vec<Row>>, Fault> {
        // Nothing counts before the commit.
        let undone = |error| Fault::undone(DOING, error);
        let mut client = self.pool.living(DOING).await?;
        let transaction = self.pool.write_transaction(&mut client, DOING).await?;
        let mut answers = Vec::with_capacity(steps.len());
        for step in steps {
            let statement = transaction.prepare_cached(&step.sql).await;
            let statement = statement.map_err(undone)?;
            let rows = transaction.query(&statement, &step.values.refs()).await;
            answers.push(rows.map_err(undone)?);
        }
        let number = number(answers.get(at).map_or(&[][..], Vec::as_slice))?;
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let sql = format!(
            "select c.pid, c.payload::text from {} c where c.ver = $1",
            known.points_table()
        );
        let rows = transaction.query(&sql, &[&number]).await.map_err(undone)?;
        let mut points = Vec::with_capacity(rows.len());
        for row in &rows {
            let text: &str = row.try_get(1).map_err(undone)?;
            points.push((row.try_get(0).map_err(undone)?, payload::decode(text)?));
        }
        for text in &known.texts {
            let written = text
                .words
                .write(&*transaction, (known.cid, text.ino), &points);
            written.await.map_err(undone)?;
        }
        let done = transaction.commit().await;
        done.map_err(|error| Fault::unknown(DOING, error))?;
        Ok(answers)
    }
}
