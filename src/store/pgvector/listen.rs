//! Hears of what others do: changes of the catalogue by other sidecars, and of points by whoever
//! writes to the tables in SQL.
//!
//! One connection beside the pool listens. While there is none, every call looks at the catalogue
//! itself and nothing is kept of what was read, so a lost connection costs time and never truth. A
//! connection that is silently dead, or that somebody in between gives to others, would cost truth:
//! what is told on another connection has to come back on it, at first and now and then.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::TryFutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Notification};
use tracing::{debug, info};
use uuid::Uuid;

use super::Shared;
use super::link::{self, Fault};
use super::names::{CHANNEL, LIFE_CHANNEL, ROWS_CHANNEL};
use super::outbox;
use crate::error::Retry;
use crate::store::Outside;
use crate::task::{Group, Phase, Stop};

const DOING: &str = "listen to PostgreSQL";
/// How long after a lost connection another is tried, at first and at most.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);
const SIGN_OF_LIFE_PATIENCE: Duration = Duration::from_secs(5);
const TRIGGERS_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may take from its beginning until it listens.
const BEGIN_PATIENCE: Duration = Duration::from_secs(30);

/// Who hears, and who is told.
struct Listener {
    shared: Arc<Shared>,
    outside: Arc<dyn Outside>,
    /// The last sign of life that has come back.
    alive: watch::Sender<String>,
}

pub(super) fn start(shared: Arc<Shared>, outside: Arc<dyn Outside>, tasks: &Group, mut stop: Stop) {
    let (alive, _) = watch::channel(String::new());
    let listener = Listener {
        shared,
        outside,
        alive,
    };
    tasks.spawn("pg-listen", async move {
        tokio::select! {
            () = stop.reached(Phase::Draining) => {}
            () = listener.for_ever() => {}
        }
        // Calls that are still under way look for themselves.
        listener.hears(false);
    });
}

impl Listener {
    async fn for_ever(&self) {
        let mut pause = PAUSE;
        loop {
            let began = Instant::now();
            if let Err(error) = self.once().await {
                debug!(error = %error.into_error().chain(), "nobody tells of changes; each call looks at the catalogue");
            }
            self.hears(false);
            if began.elapsed() > PAUSE_MAX {
                pause = PAUSE;
            }
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn hears(&self, is_hearing: bool) {
        self.shared.catalog.told(is_hearing);
        self.outside.hears(is_hearing);
    }

    fn hear(&self, told: &Notification) {
        if told.channel() == LIFE_CHANNEL {
            self.alive.send_replace(told.payload().to_owned());
            return;
        }
        let (cid, who) = told
            .payload()
            .split_once(' ')
            .unwrap_or((told.payload(), ""));
        if who == self.shared.pool.own() {
            return;
        }
        let cid = cid.parse().ok();
        let name = cid.and_then(|cid| self.shared.catalog.name(cid));
        if told.channel() == CHANNEL {
            self.shared.catalog.doubt();
        }
        self.outside.changed(name.as_deref());
    }

    /// Listens until the connection ends, or cannot be trusted any more.
    async fn once(&self) -> Result<(), Fault> {
        let lost = |error| Fault::undone(DOING, error);
        let (config, tls) = self.shared.pool.beside();
        let connected = config.connect(tls.clone()).map_err(lost);
        let connected = link::within(BEGIN_PATIENCE, Retry::Safe, connected);
        let (client, mut connection) = connected.await?;
        let heard = std::future::poll_fn(|cx| {
            loop {
                match connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(told)))) => self.hear(&told),
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(lost(error))),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        tokio::select! {
            ended = heard => ended,
            ended = self.keep(&client) => ended,
        }
    }

    async fn keep(&self, client: &Client) -> Result<(), Fault> {
        let lost = |error| Fault::undone(DOING, error);
        let listen = format!("listen {CHANNEL}; listen {ROWS_CHANNEL}; listen {LIFE_CHANNEL}");
        let listening = client.batch_execute(&listen).map_err(lost);
        link::within(BEGIN_PATIENCE, Retry::Safe, listening).await?;
        self.tell_oneself().await?;
        info!("listening for changes by others");
        self.hears(true);
        let mut ticks = interval_at(Instant::now() + SIGN_OF_LIFE_EVERY, SIGN_OF_LIFE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look_after_triggers().await;
            match self.tell_oneself().await {
                // Where the pool has no connection to tell on, nothing is shown about this one: it
                // is asked itself.
                Err(fault) if !fault.is_silent() => {
                    let answered = client.batch_execute("").map_err(lost);
                    link::within(SIGN_OF_LIFE_PATIENCE, Retry::Safe, answered).await?;
                }
                told => told?,
            }
        }
    }

    /// An adopted table that its owner has made anew has lost its triggers, and nothing tells. It is
    /// looked for as often as answers of a table without triggers are kept.
    async fn look_after_triggers(&self) {
        let told = self.shared.adopted.iter();
        let told = told.filter(|(_, own)| own.trigger == Some(true));
        let names: Vec<&String> = told.map(|(name, _)| name).collect();
        if names.is_empty() {
            return;
        }
        let looked = timeout(TRIGGERS_PATIENCE, outbox::repair(&self.shared.pool, &names)).await;
        let wrong = match looked {
            Ok(Ok(wrong)) => wrong,
            Ok(Err(error)) => {
                debug!(error = %error.chain(), "the triggers of adopted tables cannot be looked after");
                names.into_iter().cloned().collect()
            }
            Err(_elapsed) => names.into_iter().cloned().collect(),
        };
        for name in wrong {
            self.outside.changed(Some(&name));
        }
    }

    /// Tells on a connection of the pool, and waits until it is heard. Silent only if it was told
    /// and not heard.
    async fn tell_oneself(&self) -> Result<(), Fault> {
        let nonce = Uuid::new_v4().to_string();
        let mut alive = self.alive.subscribe();
        let sql = "select pg_catalog.pg_notify($1::text, $2::text)";
        let told = async {
            let values: [&(dyn ToSql + Sync); 2] = [&LIFE_CHANNEL, &nonce];
            self.shared.pool.query(DOING, sql, &values).await.map(drop)
        };
        match timeout(SIGN_OF_LIFE_PATIENCE, told).await {
            Ok(told) => told?,
            Err(_elapsed) => return Err(link::all_in_use().into()),
        }
        let heard = async {
            // The sender is our own.
            drop(alive.wait_for(|heard| *heard == nonce).await);
            Ok(())
        };
        link::within(SIGN_OF_LIFE_PATIENCE, Retry::Safe, heard).await
    }
}
