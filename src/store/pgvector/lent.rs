//! A connection lent for a read. Who is no longer waited for leaves nothing behind: the read is
//! cancelled at the server, and the connection is not given to the next one, who would have to wait
//! until the server has heard of it.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Client, Object};
use tokio::time::timeout;
use tokio_postgres::{Error as PgError, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::link::{self, Fault};
use super::prepared::Prepared;
use crate::error::Retry;
use crate::task;

/// How long a cancellation may take. Past it the server ends the read by its own time limit.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Lent {
    client: Option<Client>,
    tls: MakeRustlsConnect,
    prepared: Arc<Prepared>,
    /// How long one statement is waited for.
    patience: Duration,
}

impl Lent {
    pub(super) fn new(
        client: Client,
        tls: MakeRustlsConnect,
        prepared: Arc<Prepared>,
        patience: Duration,
    ) -> Self {
        let client = Some(client);
        Self {
            client,
            tls,
            prepared,
            patience,
        }
    }

    pub(super) async fn prepare(&self, text: &str) -> Result<Statement, PgError> {
        self.prepared.prepare(self, text).await
    }

    /// A statement that is sent once.
    pub(super) async fn prepare_unkept(&self, text: &str) -> Result<Statement, PgError> {
        let client: &tokio_postgres::Client = self;
        client.prepare(text).await
    }

    /// What comes while it is still worth waiting: the server's own limit has passed by then.
    pub(super) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        link::within(self.patience, Retry::Safe, answer).await
    }

    /// This is what came of it. Nothing is under way on it any more, unless nothing came.
    pub(super) fn back<T>(mut self, answered: &Result<T, Fault>) {
        match answered {
            Err(fault) if fault.is_silent() => {}
            Ok(_) | Err(_) => drop(self.client.take()),
        }
    }
}

impl Deref for Lent {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client.as_ref().expect("it is lent until it is back")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Client {
        self.client.as_mut().expect("it is lent until it is back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        let cancel = client.cancel_token();
        let tls = self.tls.clone();
        // Out of the pool: another takes its place when one is needed.
        let client = Object::take(client);
        task::spawn("pg-cancel", async move {
            match timeout(PATIENCE, cancel.cancel_query(tls)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "a read that nobody waits for runs on"),
                Err(_elapsed) => debug!("a read that nobody waits for runs on"),
            }
            drop(client);
        });
    }
}
