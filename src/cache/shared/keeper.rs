//! What keeps the connection to Redis: it dials, listens to the other sidecars, sends renewals, and
//! looks by a heartbeat whether all that still works.
//!
//! Whatever breaks, everything is made anew, in one order: listen; forget all local tokens, for
//! what was said meanwhile was not heard; renew in Redis what was not confirmed; then let others
//! ask. Renewals are told only after the tokens stand: who hears of one and looks up at once has to
//! find the new token.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use redis::aio::PubSubStream;
use redis::{Cmd, Msg, RedisResult, Value};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::dial::{Connection, Dialled};
use super::keys::Place;
use super::link::{self, Fault, Open};
use super::renewal::Batch;
use super::{LOOK_UP_MAX, SILENCE_MAX, Shared, millis, new_token, token_of};
use crate::cache::scope::{Scope, Slot};
use crate::task::{Phase, Stop};

/// A token that nobody renews for so long is made anew.
pub(super) const TOKEN_LIFE: Duration = Duration::from_hours(30 * 24);
const BEAT: Duration = Duration::from_millis(250);
const DIAL_MAX: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a renewal or a heartbeat may take. Longer, and the connection is given up.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Batches of renewals under way at one time.
const BATCHES_MAX: usize = 4;
const LAST_WORDS_MAX: Duration = Duration::from_millis(250);
const SLOT_BYTES: usize = 6;

impl Shared {
    pub(super) async fn keep(self: Arc<Self>, mut stop: Stop) {
        let mut pause = PAUSE_MIN;
        let mut told = false;
        loop {
            let began = Instant::now();
            let fault = tokio::select! {
                () = stop.reached(Phase::Draining) => break,
                Err(fault) = Box::pin(self.session()) => fault,
            };
            self.lost(fault, &mut told);
            // One that has worked for a while begins anew.
            if began.elapsed() > DIAL_MAX + PAUSE_MAX {
                (pause, told) = (PAUSE_MIN, false);
            }
            tokio::select! {
                () = stop.reached(Phase::Draining) => break,
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if let Some(open) = self.link.open() {
            let last_words = self.renew_due(&open.connection);
            // Who stays hears it or not: their entries live on until their time is over.
            drop(tokio::time::timeout(LAST_WORDS_MAX, last_words).await);
        }
    }

    /// From dialling to whatever ends it.
    async fn session(&self) -> Result<Infallible, Fault> {
        let channels = [
            self.keys.channel(),
            self.keys.own_channel(self.instance),
            self.keys.company(&self.settings.store),
        ];
        let dialled = tokio::time::timeout(DIAL_MAX, self.settings.dial(&channels));
        let dialled = dialled.await.map_err(|_elapsed| Fault::Timeout)?;
        let Dialled {
            connection,
            messages,
            run,
        } = dialled.map_err(|error| link::fault_of(&error))?;
        self.generations.forget_all();
        if run.is_none() {
            // It does not say whether it is the one from before: nothing from before may hold.
            let _nobody_waits = self.renewals.want(&[Scope::World.slot()], Duration::ZERO);
        }
        self.renew_due(&connection).await?;
        self.look_around(&connection).await?;
        let run = run.unwrap_or_default();
        let place = Place::of(&self.settings.store, &run);
        self.link.set(Some(Arc::new(Open {
            connection: connection.clone(),
            place,
        })));
        self.health.connected(true);
        info!(redis = %self.settings.shown, "the second tier of the cache is up");
        tokio::select! {
            ended = self.listen(messages) => ended,
            ended = self.beat(&connection, &run) => ended,
            ended = self.send(&connection) => ended,
            () = self.link.breaks() => Err(Fault::Lost),
        }
    }

    fn lost(&self, fault: Fault, told: &mut bool) {
        let was_up = self.link.open().is_some();
        self.echo.store(0, Ordering::SeqCst);
        self.link.set(None);
        self.health.connected(false);
        self.renewals.let_go();
        self.metrics.redis_error(fault.as_str());
        self.show_first_tier();
        if was_up || !*told {
            let redis = &self.settings.shown;
            let fault = fault.as_str();
            warn!(%redis, fault, "the second tier of the cache is lost; answers are served without");
            *told = true;
        }
    }

    fn show_first_tier(&self) {
        let serves = !self.is_blind() || !self.settings.ttl_when_blind.is_zero();
        self.metrics.l1_up.set(i64::from(serves));
    }

    /// The tokens that every answer depends on, so that not each of the first answers has to find
    /// them missing.
    async fn look_around(&self, connection: &Connection) -> Result<(), Fault> {
        let world = Scope::World.slot();
        let mut commands: Vec<Cmd> = [world, Scope::Anything.slot(), Scope::Catalog.slot()]
            .map(|slot| self.token_if_none(slot))
            .into();
        commands.push(get(&self.keys.token(world)));
        let answers = answered(connection.ask_all(commands)).await?;
        // A Redis that is full takes none; that is no reason to do without it.
        if let Some(Ok(value)) = answers.last() {
            let token = token_of(value).unwrap_or_default();
            self.world.store(token, Ordering::SeqCst);
        }
        Ok(())
    }

    fn token_if_none(&self, slot: Slot) -> Cmd {
        let mut command = self.new_token(slot);
        command.arg("NX");
        command
    }

    fn new_token(&self, slot: Slot) -> Cmd {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.token(slot))
            .arg(&new_token().to_le_bytes()[..])
            .arg("PX")
            .arg(millis(TOKEN_LIFE));
        command
    }

    /// Hears what others renew, and our own heartbeat.
    async fn listen(&self, mut messages: PubSubStream) -> Result<Infallible, Fault> {
        let own = self.keys.own_channel(self.instance);
        let company = self.keys.company(&self.settings.store);
        while let Some(message) = messages.next().await {
            if message.get_channel_name() == own {
                self.heard_ourselves(&message);
            } else if message.get_channel_name() == company {
                if message.get_payload_bytes() != self.instance.to_le_bytes() {
                    self.company.store(self.now(), Ordering::SeqCst);
                }
            } else {
                self.heard(message.get_payload_bytes());
            }
        }
        Err(Fault::Lost)
    }

    fn heard_ourselves(&self, message: &Msg) {
        if let Ok(sent) = message.get_payload_bytes().try_into() {
            let was_blind = self.is_blind();
            // What counts is when it was sent: all that was said before that has been heard.
            self.echo
                .fetch_max(u64::from_le_bytes(sent), Ordering::SeqCst);
            if was_blind {
                self.show_first_tier();
            }
        }
    }

    fn heard(&self, payload: &[u8]) {
        let Some((sender, slots)) = payload.split_first_chunk() else {
            return self.misheard();
        };
        if u64::from_le_bytes(*sender) == self.instance {
            return;
        }
        let (slots, rest) = slots.as_chunks::<SLOT_BYTES>();
        if !rest.is_empty() {
            return self.misheard();
        }
        for [low, high, hold @ ..] in slots {
            let slot = Slot::from_number(u16::from_le_bytes([*low, *high]));
            let hold = u64::from(u32::from_le_bytes(*hold));
            self.generations.heard(slot, Duration::from_millis(hold));
        }
        self.metrics.messages.inc();
    }

    /// Somebody said something that we do not understand. It may have been anything.
    fn misheard(&self) {
        self.metrics.redis_error(link::NONSENSE);
        self.generations.forget_all();
    }

    /// Sends what is to be renewed, until something fails.
    async fn send(&self, connection: &Connection) -> Result<Infallible, Fault> {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(sent) = under_way.next(), if !under_way.is_empty() => sent?,
                () = self.renewals.come(), if under_way.len() < BATCHES_MAX => {
                    if let Some(batch) = self.renewals.take() {
                        under_way.push(self.send_batch(connection, batch));
                    }
                }
            }
        }
    }

    async fn renew_due(&self, connection: &Connection) -> Result<(), Fault> {
        while let Some(batch) = self.renewals.take() {
            self.send_batch(connection, batch).await?;
        }
        Ok(())
    }

    async fn send_batch(&self, connection: &Connection, batch: Batch) -> Result<(), Fault> {
        let slots = batch.renewed.iter().map(|renewed| renewed.slot);
        let mut tokens: Vec<Cmd> = slots.clone().map(|slot| self.new_token(slot)).collect();
        let mut message = self.instance.to_le_bytes().to_vec();
        for renewed in &batch.renewed {
            message.extend(renewed.slot.number().to_le_bytes());
            let hold = u32::try_from(millis(renewed.hold)).unwrap_or(u32::MAX);
            message.extend(hold.to_le_bytes());
        }
        let mut telling = redis::cmd("PUBLISH");
        telling.arg(self.keys.channel()).arg(message);
        let in_order = matches!(connection, Connection::One(_));
        if in_order {
            tokens.push(telling.clone());
        }
        let mut refused = false;
        for answer in answered(connection.ask_all(tokens)).await? {
            match answer.map_err(|error| link::fault_of(&error)) {
                Ok(_set) => {}
                Err(Fault::Full) => refused = true,
                Err(fault) => return Err(fault),
            }
        }
        if refused {
            // A full Redis takes no new token, and lets go of an old one all the same.
            self.metrics.redis_error(Fault::Full.as_str());
            let gone = slots.map(|slot| {
                let mut command = redis::cmd("DEL");
                command.arg(self.keys.token(slot));
                command
            });
            for answer in answered(connection.ask_all(gone.collect())).await? {
                answer.map_err(|error| link::fault_of(&error))?;
            }
        }
        if refused || !in_order {
            let told = tokio::time::timeout(ANSWER_MAX, connection.ask(telling)).await;
            let told = told.map_err(|_elapsed| Fault::Timeout)?;
            told.map_err(|error| link::fault_of(&error))?;
        }
        self.metrics.renewals.inc();
        batch.done();
        Ok(())
    }

    /// Sees at short intervals that Redis answers, takes what is written, and that what is said on
    /// a channel comes back.
    async fn beat(&self, connection: &Connection, run: &str) -> Result<Infallible, Fault> {
        let began = Instant::now();
        let mut ticks = tokio::time::interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.renewals.settle();
            if began.elapsed() > SILENCE_MAX && self.is_blind() {
                return Err(Fault::Silent);
            }
            let sent = Instant::now();
            let mut probe = redis::cmd("SET");
            probe.arg(self.keys.probe(self.instance)).arg(1);
            probe.arg("PX").arg(millis(SILENCE_MAX * 10));
            let mut telling = redis::cmd("PUBLISH");
            telling.arg(self.keys.own_channel(self.instance));
            telling.arg(&self.now().to_le_bytes()[..]);
            let mut there = redis::cmd("PUBLISH");
            there.arg(self.keys.company(&self.settings.store));
            there.arg(&self.instance.to_le_bytes()[..]);
            for answer in answered(connection.ask_all(vec![probe, telling, there])).await? {
                match answer.map_err(|error| link::fault_of(&error)) {
                    Ok(_well) => {}
                    Err(Fault::Full) => self.metrics.redis_error(Fault::Full.as_str()),
                    Err(fault) => return Err(fault),
                }
            }
            if sent.elapsed() < LOOK_UP_MAX {
                self.health.rested();
            }
            // A cluster goes on while one of its masters is replaced.
            if matches!(connection, Connection::Cluster(_)) {
                let now = tokio::time::timeout(ANSWER_MAX, connection.run()).await;
                if now.map_err(|_elapsed| Fault::Timeout)?.unwrap_or_default() != run {
                    return Err(Fault::NotServing);
                }
            }
        }
    }
}

fn get(name: &str) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(name);
    command
}

async fn answered(
    asked: impl Future<Output = RedisResult<Vec<RedisResult<Value>>>>,
) -> Result<Vec<RedisResult<Value>>, Fault> {
    match tokio::time::timeout(ANSWER_MAX, asked).await {
        Ok(answers) => answers.map_err(|error| link::fault_of(&error)),
        Err(_elapsed) => Err(Fault::Timeout),
    }
}
