//! Hears of changes that other sidecars make to the catalogue.
//!
//! One connection beside the pool listens. While there is none, every call looks for itself, so a
//! lost connection costs time and never truth. A connection that is silently dead would cost truth:
//! it is asked for a sign of life now and then.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_postgres::{AsyncMessage, Client, Error as PgError};
use tracing::{debug, info};

use super::Shared;
use super::names::CHANNEL;
use crate::task::{Group, Phase, Stop};

/// How long after a lost connection another is tried, at first and at most.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(15);
const SIGN_OF_LIFE_PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn start(shared: Arc<Shared>, tasks: &Group, mut stop: Stop) {
    tasks.spawn("pg-listen", async move {
        tokio::select! {
            () = stop.reached(Phase::Draining) => {}
            () = for_ever(&shared) => {}
        }
        // Calls that are still under way look for themselves.
        shared.catalog.told(false);
    });
}

async fn for_ever(shared: &Shared) {
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        if let Err(error) = once(shared).await {
            debug!(%error, "nobody tells of changes of the catalogue; each call looks");
        }
        shared.catalog.told(false);
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE;
        }
        sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Listens until the connection ends.
async fn once(shared: &Shared) -> Result<(), PgError> {
    let (config, tls) = shared.pool.beside();
    let (client, mut connection) = config.connect(tls.clone()).await?;
    let heard = std::future::poll_fn(|cx| {
        loop {
            match connection.poll_message(cx) {
                Poll::Ready(Some(Ok(AsyncMessage::Notification(_)))) => shared.catalog.doubt(),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    tokio::select! {
        ended = heard => ended,
        ended = keep(shared, &client) => ended,
    }
}

async fn keep(shared: &Shared, client: &Client) -> Result<(), PgError> {
    client.batch_execute(&format!("listen {CHANNEL}")).await?;
    info!("listening for changes of the catalogue");
    shared.catalog.told(true);
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
