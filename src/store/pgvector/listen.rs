//! Hears of what others do: changes of the catalogue by other sidecars, and of points by whoever
//! writes to the tables in SQL.
//!
//! One connection beside the pool listens. While there is none, every call looks at the catalogue
//! itself and nothing is kept of what was read, so a lost connection costs time and never truth. A
//! connection that is silently dead would cost truth: it is asked for a sign of life now and then.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Error as PgError, Notification};
use tracing::{debug, info};

use super::Shared;
use super::names::{CHANNEL, ROWS_CHANNEL};
use crate::store::Outside;
use crate::task::{Group, Phase, Stop};

/// How long after a lost connection another is tried, at first and at most.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE_PATIENCE: Duration = Duration::from_secs(5);

/// Who hears, and who is told.
struct Listener {
    shared: Arc<Shared>,
    outside: Arc<dyn Outside>,
}

pub(super) fn start(shared: Arc<Shared>, outside: Arc<dyn Outside>, tasks: &Group, mut stop: Stop) {
    let listener = Listener { shared, outside };
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
                debug!(%error, "nobody tells of changes; each call looks at the catalogue");
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
        let cid = told.payload().parse().ok();
        let name = cid.and_then(|cid| self.shared.catalog.name(cid));
        if told.channel() == CHANNEL {
            self.shared.catalog.doubt();
        }
        self.outside.changed(name.as_deref());
    }

    /// Listens until the connection ends.
    async fn once(&self) -> Result<(), PgError> {
        let (config, tls) = self.shared.pool.beside();
        let (client, mut connection) = config.connect(tls.clone()).await?;
        let heard = std::future::poll_fn(|cx| {
            loop {
                match connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(told)))) => self.hear(&told),
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
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

    async fn keep(&self, client: &Client) -> Result<(), PgError> {
        let listen = format!("listen {CHANNEL}; listen {ROWS_CHANNEL}");
        client.batch_execute(&listen).await?;
        info!("listening for changes by others");
        self.hears(true);
        let mut ticks = interval_at(Instant::now() + SIGN_OF_LIFE_EVERY, SIGN_OF_LIFE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match timeout(SIGN_OF_LIFE_PATIENCE, client.batch_execute("")).await {
                Ok(answered) => answered?,
                // As good as ended.
                Err(_elapsed) => return Ok(()),
            }
        }
    }
}
