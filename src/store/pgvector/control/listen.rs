//! Hears of changes of the control tables.
//!
//! It only makes things fast: whoever waits also looks now and then. So whatever may have been
//! missed counts as a change: a connection that was lost, and one that is new.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryFutureExt as _;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Client};
use tracing::debug;

use super::{ControlTables, DOING};
use crate::error::Retry;
use crate::store::pgvector::link::{self, Fault};
use crate::task::{Group, Phase, Stop};

const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const BEGIN_PATIENCE: Duration = Duration::from_secs(10);
const SIGN_OF_LIFE_EVERY: Duration = Duration::from_secs(5);
const SIGN_OF_LIFE_PATIENCE: Duration = Duration::from_secs(5);

impl ControlTables {
    /// `changed` of this returns when there may be something new.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.heard.subscribe()
    }

    /// Begins to listen, for as long as the process runs.
    pub fn start(self: &Arc<Self>, tasks: &Group, mut stop: Stop) {
        let own = Arc::clone(self);
        tasks.spawn("pg-control", async move {
            tokio::select! {
                () = stop.reached(Phase::Ending) => {}
                () = own.listen() => {}
            }
        });
    }

    async fn listen(&self) {
        let mut pause = PAUSE;
        loop {
            match self.listen_once().await {
                Ok(()) => pause = PAUSE,
                Err(fault) => {
                    debug!(error = %fault.into_error().chain(), "the control tables are not heard");
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            self.hear();
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    fn hear(&self) {
        self.heard
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// `Ok` of a connection that has listened and ended.
    async fn listen_once(&self) -> Result<(), Fault> {
        let lost = |error| Fault::undone(DOING, error);
        let (config, tls) = self.pool.beside();
        let connected = config.connect(tls.clone()).map_err(lost);
        let connected = link::within(BEGIN_PATIENCE, Retry::Safe, connected);
        let (client, mut connection) = connected.await?;
        let heard = async {
            while let Some(Ok(message)) =
                std::future::poll_fn(|cx| connection.poll_message(cx)).await
            {
                if matches!(message, AsyncMessage::Notification(_)) {
                    self.hear();
                }
            }
        };
        let mut heard = pin!(heard);
        let began = client.batch_execute("listen qd_control").map_err(lost);
        tokio::select! {
            () = &mut heard => return Err(link::unavailable(DOING, Retry::Safe).into()),
            began = link::within(BEGIN_PATIENCE, Retry::Safe, began) => began?,
        }
        self.hear();
        tokio::select! {
            () = heard => {}
            () = dies(&client) => {}
        }
        Ok(())
    }
}

/// Returns once the connection gives no sign of life.
async fn dies(client: &Client) {
    loop {
        sleep(SIGN_OF_LIFE_EVERY).await;
        match timeout(SIGN_OF_LIFE_PATIENCE, client.batch_execute("")).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
