//! Who works the outbox off: one in the fleet.
//!
//! The lead is an advisory lock of a session of its own, so it ends with whoever has it, however
//! that ends. A connection that is silently dead, or that somebody in between gives to others, does
//! not have it: it is asked now and then, and given up by us long before the server gives it up.
//!
//! Who has lost it knows that late, and what it sends to the follower then may come after what its
//! successor has sent. So it is asked once more when the follower has answered (`Asked`): only if it
//! is still held has nobody else sent anything, and only then may marks be cleared.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tracing::debug;

use super::Outbox;
use crate::error::{Result, Retry};
use crate::store::pgvector::link::{self, Fault};
use crate::store::pgvector::names::LEAD_LOCK;
use crate::task;

const DOING: &str = "take the lead";
const ASK_EVERY: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the connection may take from its beginning until it has the lock or has not.
const BEGIN_PATIENCE: Duration = Duration::from_secs(30);

/// The lead, until it is lost or dropped. Not `Clone`.
pub struct Lead {
    held: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
    asked: Asked,
}

/// Asks the server whether a lead is held.
#[derive(Clone)]
pub struct Asked {
    client: Arc<Client>,
    number: u64,
}

impl Asked {
    pub fn number(&self) -> u64 {
        self.number
    }

    /// `true`: it has been held without a break until now.
    ///
    /// Cancel safety: safe.
    pub async fn is_held(&self) -> bool {
        is_held(&self.client).await
    }
}

impl Lead {
    /// Every lead has another.
    pub fn number(&self) -> u64 {
        self.asked.number
    }

    pub fn asked(&self) -> Asked {
        self.asked.clone()
    }

    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Returns once it is lost.
    ///
    /// Cancel safety: safe.
    pub async fn lost(&self) {
        let mut held = self.held.clone();
        // Whoever keeps it says so at its end, however it ends.
        drop(held.wait_for(|is_held| !is_held).await);
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Says that the lead is lost, when it goes.
struct Held(watch::Sender<bool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}

impl Outbox {
    /// `None` where another has it.
    ///
    /// Cancel safety: safe.
    pub async fn try_lead(&self) -> Result<Option<Lead>> {
        self.shared.ready().await?;
        let found = link::within(BEGIN_PATIENCE, Retry::Safe, self.lead_once()).await;
        Ok(found?)
    }

    async fn lead_once(&self) -> Result<Option<Lead>, Fault> {
        let failed = |error| Fault::undone(DOING, error);
        let (config, tls) = self.shared.pool.beside();
        let (client, connection) = config.connect(tls.clone()).await.map_err(failed)?;
        let mut connection = Box::pin(connection);
        let is_ours = tokio::select! {
            ended = &mut connection => {
                ended.map_err(failed)?;
                return Err(link::unavailable(DOING, Retry::Safe).into());
            }
            locked = lock(&client) => locked.map_err(failed)?,
        };
        if !is_ours {
            return Ok(None);
        }
        let (held, seen) = watch::channel(true);
        let client = Arc::new(client);
        let asked = Asked {
            client: Arc::clone(&client),
            number: rand::random(),
        };
        let keeper = task::spawn("pg-lead", async move {
            let _held = Held(held);
            tokio::select! {
                ended = connection => debug!(?ended, "the connection of the lead has ended"),
                () = keep(&client) => debug!("the lead is lost"),
            }
        });
        Ok(Some(Lead {
            held: seen,
            keeper,
            asked,
        }))
    }
}

async fn lock(client: &Client) -> Result<bool, tokio_postgres::Error> {
    // Whoever stands still keeps the lead from others for about a minute.
    let settings = "set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; \
                    set tcp_keepalives_count = 3; set idle_session_timeout = 0";
    client.batch_execute(settings).await?;
    let lock = "select pg_catalog.pg_try_advisory_lock($1, 0)";
    client.query_one(lock, &[&LEAD_LOCK]).await?.try_get(0)
}

/// Returns once the lock is not held any more, or nobody says that it is.
async fn keep(client: &Client) {
    loop {
        sleep(ASK_EVERY).await;
        if !is_held(client).await {
            return;
        }
    }
}

async fn is_held(client: &Client) -> bool {
    // Asked of whichever server process answers: a pooler may have given the one with the lock away.
    let sql = "select exists (select 1 from pg_catalog.pg_locks \
               where locktype = 'advisory' and granted and pid = pg_catalog.pg_backend_pid() \
               and classid = $1::int::oid and objid = 0 and objsubid = 2)";
    let asked = timeout(PATIENCE, client.query_one(sql, &[&LEAD_LOCK])).await;
    matches!(asked, Ok(Ok(row)) if row.get::<_, bool>(0))
}
