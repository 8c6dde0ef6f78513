//! The statements that connections keep prepared.
//!
//! A statement that is kept costs its backend some seventy times the length of its text, and texts
//! hold the paths that clients filter by, so there is no end to them. Long ones are not kept, and
//! what is kept of a connection's is bounded in number and in length; past that it begins anew.

use std::sync::{Arc, Weak};

use deadpool_postgres::{ClientWrapper, StatementCache};
use parking_lot::Mutex;
use tokio_postgres::{Error as PgError, Statement};

/// A longer one takes longer to plan than to parse.
const TEXT_BYTES_MAX: usize = 8 << 10;
/// Of one connection.
const BYTES_MAX: usize = 512 << 10;
const STATEMENTS_MAX: usize = 512;

/// How many bytes of text each connection keeps.
#[derive(Default)]
pub(super) struct Prepared {
    kept: Mutex<Vec<(Weak<StatementCache>, usize)>>,
}

impl Prepared {
    /// Cancel safety: safe.
    pub(super) async fn prepare(
        &self,
        client: &ClientWrapper,
        text: &str,
    ) -> Result<Statement, PgError> {
        if text.len() > TEXT_BYTES_MAX {
            return client.prepare(text).await;
        }
        let cache = &client.statement_cache;
        let before = cache.size();
        let statement = client.prepare_cached(text).await?;
        if cache.size() > before {
            let bytes = self.note(cache, text.len());
            if bytes > BYTES_MAX || cache.size() > STATEMENTS_MAX {
                // Each is let go of when nobody uses it any more.
                cache.clear();
                self.forget(cache);
            }
        }
        Ok(statement)
    }

    /// The bytes that the connection keeps now.
    fn note(&self, cache: &Arc<StatementCache>, bytes: usize) -> usize {
        let mut kept = self.kept.lock();
        kept.retain(|(other, _)| other.strong_count() > 0);
        let of_it = |(other, _): &&mut (Weak<StatementCache>, usize)| is(other, cache);
        match kept.iter_mut().find(of_it) {
            Some((_, sum)) => {
                *sum = sum.saturating_add(bytes);
                *sum
            }
            None => {
                kept.push((Arc::downgrade(cache), bytes));
                bytes
            }
        }
    }

    fn forget(&self, cache: &Arc<StatementCache>) {
        self.kept.lock().retain(|(other, _)| !is(other, cache));
    }
}

fn is(other: &Weak<StatementCache>, cache: &Arc<StatementCache>) -> bool {
    std::ptr::eq(other.as_ptr(), Arc::as_ptr(cache))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pgvector::scratch::Scratch;

    async fn kept(client: &tokio_postgres::Client) -> (i64, i64) {
        let sql = "select count(*), coalesce(sum(length(statement)), 0)::bigint \
                   from pg_prepared_statements";
        let rows = client.simple_query(sql).await.unwrap();
        let row = rows.iter().find_map(|message| {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                Some(row)
            } else {
                None
            }
        });
        let number = |at| row.unwrap().get(at).unwrap().parse().unwrap();
        (number(0), number(1))
    }

    #[tokio::test]
    async fn what_a_connection_keeps_prepared_is_bounded_in_number_and_in_length() {
        let scratch = Scratch::make().await;
        let store = scratch.store();
        let client = store.shared.pool.get().await.unwrap();
        let prepared = Prepared::default();
        let ask = async |name: String| {
            let text = format!("select 1 as a{name}");
            drop(prepared.prepare(&client, &text).await.unwrap());
            kept(&client).await
        };
        assert_eq!(ask("x".repeat(TEXT_BYTES_MAX)).await.0, 0);
        assert_eq!(ask("b".to_owned()).await.0, 1);
        assert_eq!(ask("b".to_owned()).await.0, 1);
        let mut most = (0, 0);
        for n in 0..200 {
            let (count, bytes) = ask(format!("{n}{}", "x".repeat(5_000))).await;
            most = (most.0.max(count), most.1.max(bytes));
        }
        assert!((90..=105).contains(&most.0), "{most:?}");
        assert!(most.1 <= i64::try_from(BYTES_MAX).unwrap(), "{most:?}");
        for n in 0..1_200 {
            let count = ask(n.to_string()).await.0;
            most = (most.0.max(count), most.1);
        }
        assert!((500..=512).contains(&most.0), "{most:?}");
    }
}
