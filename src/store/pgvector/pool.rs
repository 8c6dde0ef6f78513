//! Connections to PostgreSQL, and the ways of asking on them.
//!
//! A read is one statement, asked once more on another connection where the first was lost: after a
//! restart of the server, whatever stood in the pool is dead. A write is a transaction that is sent
//! whole, from `begin` to `commit`, before the first answer is waited for: one round trip, and a
//! caller that goes away leaves nothing open. It is never sent twice.
//!
//! Statements are prepared once a connection and most of them kept. Values are always parameters.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use deadpool_postgres::{
    Client, Connect, Manager, ManagerConfig, RecyclingMethod, Runtime, Transaction,
};
use futures_util::future::maybe_done;
use futures_util::{FutureExt as _, TryFutureExt as _};
use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client as PgClient, Config, Error as PgError, Row};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::debug;

use super::ann;
use super::filter_sql::Params;
use super::lent::Lent;
use super::link::{self, Fault};
use super::prepared::Prepared;
use super::tls::Address;
use super::writer::{Turns, Writer};
use crate::error::{Error, ErrorKind, Origin, Result, Retry};
use crate::task;

/// Statements that a connection keeps, those included that are not prepared by `Prepared`.
const STATEMENTS_MAX: usize = 1000;
/// How long a call waits for a connection that others use.
const TURN_PATIENCE: Duration = Duration::from_secs(30);

/// How long PostgreSQL's word that a statement took too long is waited for, after that time. A
/// server that stands still says nothing, and one that is cut off has nobody to say it to.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// The limits of the pool.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// What this process is known by where its writes are told; `on` where they are not to be.
    pub(super) own: String,
    pub(super) connections_max: usize,
    pub(super) connect_timeout: Duration,
    /// For one statement that reads.
    pub(super) read_timeout: Duration,
    /// For one statement that writes.
    pub(super) write_timeout: Duration,
    /// For one statement of a change of the tables or of a snapshot.
    pub(super) slow_timeout: Duration,
}

pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// The parameters of one statement: those of a condition in it first.
#[derive(Default)]
pub(super) struct Values {
    condition: Params,
    own: Vec<Value>,
}

impl Values {
    pub(super) fn after(condition: Params) -> Self {
        Self {
            condition,
            own: Vec::new(),
        }
    }

    /// Adds a value; how the statement names it.
    pub(super) fn push(&mut self, value: impl ToSql + Sync + Send + 'static) -> String {
        self.push_boxed(Box::new(value))
    }

    pub(super) fn push_boxed(&mut self, value: Value) -> String {
        self.own.push(value);
        format!("${}", self.condition.len() + self.own.len())
    }

    pub(super) fn refs(&self) -> Vec<&(dyn ToSql + Sync)> {
        let own = self.own.iter();
        let own = own.map(|value| value.as_ref() as &(dyn ToSql + Sync));
        self.condition.refs().into_iter().chain(own).collect()
    }
}

/// One statement with its parameters.
pub(super) struct Step {
    pub(super) sql: String,
    pub(super) values: Values,
}

impl Step {
    pub(super) fn new(sql: impl Into<String>, values: Values) -> Self {
        Self {
            sql: sql.into(),
            values,
        }
    }
}

pub(super) struct Pool {
    pool: deadpool_postgres::Pool,
    config: Config,
    tls: MakeRustlsConnect,
    limits: Limits,
    prepared: Arc<Prepared>,
    turns: Turns,
}

impl Pool {
    pub(super) fn new(address: Address, limits: Limits) -> Result<Self> {
        let Address { mut config, tls } = address;
        config
            .connect_timeout(limits.connect_timeout)
            .keepalives_idle(Duration::from_secs(30))
            .tcp_user_timeout(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("outrigger");
        }
        let connector = Connector {
            tls: tls.clone(),
            settings: session(&limits),
        };
        let how = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_connect(config.clone(), connector, how);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(limits.connections_max)
            .wait_timeout(Some(TURN_PATIENCE))
            .create_timeout(Some(limits.connect_timeout.saturating_mul(2)))
            .runtime(Runtime::Tokio1)
            .build();
        let pool = pool.map_err(|error| Error::settings("set up the pool").with_source(error))?;
        Ok(Self {
            pool,
            config,
            tls,
            prepared: Arc::default(),
            turns: Turns::of(limits.connections_max),
            limits,
        })
    }

    /// What this process is known by where its writes are told.
    pub(super) fn own(&self) -> &str {
        &self.limits.own
    }

    pub(super) fn slow_timeout(&self) -> Duration {
        self.limits.slow_timeout
    }

    /// A connection of one's own, beside the pool.
    pub(super) fn beside(&self) -> (&Config, &MakeRustlsConnect) {
        (&self.config, &self.tls)
    }

    pub(super) async fn get(&self) -> Result<Client, Fault> {
        let client = self.pool.get().await.map_err(link::no_connection)?;
        if client.statement_cache.size() > STATEMENTS_MAX {
            client.statement_cache.clear();
        }
        Ok(client)
    }

    /// A connection for a read: dropped before it is `back`, what runs on it is cancelled.
    pub(super) async fn lend(&self) -> Result<Lent, Fault> {
        let patience = self.limits.read_timeout.saturating_add(ON_ITS_WAY);
        let prepared = Arc::clone(&self.prepared);
        Ok(Lent::new(
            self.get().await?,
            self.tls.clone(),
            prepared,
            patience,
        ))
    }

    /// Connections that are open, those of them in use, and calls that wait for one.
    pub(super) fn census(&self) -> [usize; 3] {
        let status = self.pool.status();
        let in_use = status.size.saturating_sub(status.available);
        let waiting = status.waiting.saturating_add(self.turns.waiting());
        [status.size, in_use, waiting]
    }

    /// Asks one statement that changes nothing.
    ///
    /// Cancel safety: safe.
    pub(super) async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        match self.query_once(doing, sql, values).await {
            Err(fault) if fault.is_lost() => {
                debug!(doing, "asking again on another connection");
                self.learn(&fault);
                self.query_once(doing, sql, values).await
            }
            other => other,
        }
    }

    async fn query_once(
        &self,
        doing: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        let client = self.lend().await?;
        let asked = async {
            let statement = client.prepare(sql).await?;
            client.query(&statement, values).await
        };
        let asked = asked.map_err(|error| Fault::undone(doing, error));
        let answered = client.within(asked).await;
        client.back(&answered);
        answered
    }

    /// Carries out the steps as one transaction, sent whole; the rows that each gave. Where it
    /// fails, nothing has been done, or `Retry::OutcomeUnknown` says that this is not known.
    ///
    /// Cancel safety: not safe. Once begun it may be carried out, whoever still waits for it.
    pub(super) async fn write(
        &self,
        doing: &'static str,
        steps: &[Step],
    ) -> Result<Vec<Vec<Row>>, Fault> {
        let client = self.living(doing).await?;
        let timeout = self.limits.write_timeout.as_millis();
        let begin = format!("begin; set local statement_timeout = {timeout}");
        let patience = self.limits.write_timeout.saturating_add(ON_ITS_WAY);
        let sent = send(&client, doing, &begin, steps, &self.prepared, patience).await;
        if let Err(fault) = &sent {
            self.learn(fault);
            if fault.is_silent() {
                // Whoever came next would wait for the same.
                client.end();
            }
        }
        sent
    }

    /// Lets go of what a fault has shown to be dead or old.
    pub(super) fn learn(&self, fault: &Fault) {
        if fault.is_lost() {
            self.pool.retain(|client, _| !client.is_closed());
        }
        if fault.is_stale() {
            self.pool.manager().statement_caches.clear();
        }
    }

    /// Begins a write that needs more than one round trip.
    pub(super) async fn write_transaction<'c>(
        &self,
        client: &'c mut Client,
        doing: &'static str,
    ) -> Result<Transaction<'c>, Fault> {
        self.transaction(client, doing, self.limits.write_timeout)
            .await
    }

    /// A connection that is not known to be dead, for work that is not done twice, and a turn to
    /// write.
    pub(super) async fn living(&self, doing: &'static str) -> Result<Writer, Fault> {
        let turn = self.turns.take(TURN_PATIENCE).await?;
        // As many as may have died together, and one to be made new.
        for _ in 0..=self.limits.connections_max {
            let client = self.get().await?;
            if !client.is_closed() {
                return Ok(Writer::new(client, turn));
            }
        }
        Err(link::unavailable(doing, Retry::Safe).into())
    }

    /// A transaction for a change of the tables, with the patience that such a change needs.
    pub(super) async fn slow_transaction<'c>(
        &self,
        client: &'c mut Client,
        doing: &'static str,
    ) -> Result<Transaction<'c>, Fault> {
        self.transaction(client, doing, self.limits.slow_timeout)
            .await
    }

    async fn transaction<'c>(
        &self,
        client: &'c mut Client,
        doing: &'static str,
        timeout: Duration,
    ) -> Result<Transaction<'c>, Fault> {
        let transaction = client.transaction().await;
        let transaction = transaction.map_err(|error| Fault::undone(doing, error))?;
        let timeout = timeout.as_millis();
        let set = format!("set local statement_timeout = {timeout}");
        let done = transaction.batch_execute(&set).await;
        done.map_err(|error| Fault::undone(doing, error))?;
        Ok(transaction)
    }
}

/// Sends `begin`, the steps and `commit`, then waits for what comes back: so long for each, as each
/// has its own limit at the server.
async fn send(
    client: &Client,
    doing: &'static str,
    begin: &str,
    steps: &[Step],
    prepared: &Prepared,
    patience: Duration,
) -> Result<Vec<Vec<Row>>, Fault> {
    type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, PgError>> + Send + 'a>>;
    let mut statements = Vec::with_capacity(steps.len());
    for step in steps {
        let prepared = prepared.prepare(client, &step.sql);
        let prepared = prepared.map_err(|error| Fault::undone(doing, error));
        // Nothing has been begun.
        statements.push(link::within(patience, Retry::Safe, prepared).await?);
    }
    let values: Vec<_> = steps.iter().map(|step| step.values.refs()).collect();
    let nothing = |done: Result<(), PgError>| done.map(|()| Vec::new());
    // What cannot even be encoded fails before it is sent, and so before the end is chosen. All
    // that PostgreSQL fails at it undoes itself.
    let failure = AtomicBool::new(false);
    let has_failed = &failure;
    let mut answers: Vec<Answer<'_>> = Vec::with_capacity(steps.len() + 2);
    answers.push(Box::pin(async move {
        nothing(client.batch_execute(begin).await)
    }));
    for (statement, values) in statements.iter().zip(&values) {
        let answer = client.query(statement, values);
        answers.push(Box::pin(
            answer.inspect_err(|_| has_failed.store(true, Ordering::Relaxed)),
        ));
    }
    answers.push(Box::pin(async move {
        let end = match has_failed.load(Ordering::Relaxed) {
            true => "rollback",
            false => "commit",
        };
        nothing(client.batch_execute(end).await)
    }));
    let mut answers: Vec<_> = answers.into_iter().map(maybe_done).collect();
    // Each of these puts its message on its way when it is first polled. Without a wait in between,
    // no other call can come in.
    poll_fn(|cx| {
        for answer in &mut answers {
            // Whether it is there already is asked below.
            let _ = answer.poll_unpin(cx);
        }
        Poll::Ready(())
    })
    .await;
    let last = answers.len().saturating_sub(1);
    let mut rows = Vec::with_capacity(steps.len());
    let mut failed = None;
    // To the end also after a fault, so that nothing is under way when another gets the connection.
    for (at, mut answer) in answers.into_iter().enumerate() {
        let came = (&mut answer).map(Ok);
        link::within(patience, Retry::OutcomeUnknown, came).await?;
        match Pin::new(&mut answer).take_output() {
            Some(Ok(found)) if at > 0 && at < last => rows.push(found),
            Some(Ok(_)) | None => {}
            // The first thing that went wrong is the cause of the rest. If PostgreSQL says so
            // itself, the commit behind it undid everything.
            Some(Err(error)) if at < last => {
                failed.get_or_insert_with(|| Fault::before_commit(doing, error));
            }
            Some(Err(error)) => {
                failed.get_or_insert_with(|| Fault::unknown(doing, error));
            }
        }
    }
    match failed {
        Some(fault) => Err(fault),
        None => Ok(rows),
    }
}

/// What holds for every session, whatever the role and the database have by default. The gate is
/// right only if a statement sees what was committed before it. The schema of the extension is
/// found there, for it may be in any.
/// A sidecar that stands still or is cut off keeps others from its locks for about a minute; not
/// every system can tell that a client has gone while it waits for an answer.
///
/// Statements that are to be planned for the values they come with see to that themselves
/// (`filter_sql::planned_anew`). Compiling a plan would take longer than most of them run.
fn session(limits: &Limits) -> String {
    let (timeout, own) = (limits.read_timeout.as_millis(), &limits.own);
    format!(
        "set statement_timeout = {timeout}; set idle_in_transaction_session_timeout = '60s'; \
         set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; \
         set tcp_keepalives_count = 3; \
         do $$ begin set client_connection_check_interval = '10s'; \
         exception when others then null; end $$; \
         set lock_timeout = 0; set default_transaction_isolation = 'read committed'; \
         set default_transaction_read_only = off; set default_transaction_deferrable = off; \
         set client_min_messages = warning; set datestyle = iso; set extra_float_digits = 1; \
         set standard_conforming_strings = on; \
         set jit = off; set qd.own = '{own}'; set plan_cache_mode = auto; \
         select pg_catalog.set_config('search_path', \
         coalesce((select pg_catalog.quote_ident(n.nspname::text) \
         from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace \
         where e.extname = 'vector'), 'public'), false); {ann}",
        ann = ann::session(),
    )
}

/// Opens connections in tasks that have a name.
struct Connector {
    tls: MakeRustlsConnect,
    settings: String,
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(PgClient, JoinHandle<()>), PgError>> + Send + 'a>>;

impl Connect for Connector {
    fn connect(&self, config: &Config) -> Connecting<'_> {
        let (config, tls) = (config.clone(), self.tls.clone());
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            let driver = task::spawn("pg-connection", async move {
                if let Err(error) = connection.await {
                    debug!(%error, "a connection to PostgreSQL has ended");
                }
            });
            client.batch_execute(&self.settings).await?;
            Ok((client, driver))
        })
    }
}

/// A step that was to give a row has given none.
pub(super) fn one_row<'r>(rows: &'r [Row], doing: &'static str) -> Result<&'r Row> {
    rows.first()
        .ok_or_else(|| Error::new(ErrorKind::Nonsense, Origin::Pgvector, Retry::Never, doing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::pgvector::scratch::Scratch;

    #[tokio::test]
    async fn of_a_write_with_a_value_that_cannot_be_encoded_nothing_stays() {
        let scratch = Scratch::make().await;
        let client = scratch.client().await;
        client
            .batch_execute("create table kept (n int)")
            .await
            .unwrap();
        let store = scratch.store();
        let step = |value: Value| {
            let mut values = Values::default();
            let place = values.push_boxed(value);
            Step::new(
                format!("insert into public.kept values ({place}::int)"),
                values,
            )
        };
        // The driver does not take a text for an int.
        let steps = [step(Box::new(1)), step(Box::new("2")), step(Box::new(3))];
        let fault = store.shared.pool.write("try", &steps).await.unwrap_err();
        assert!(!fault.is_lost() && !fault.is_silent(), "{fault:?}");
        let sql = "select count(*) from kept";
        let left: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 0);
        let steps = [step(Box::new(1)), step(Box::new(3))];
        store.shared.pool.write("try", &steps).await.unwrap();
        let left: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
        assert_eq!(left, 2);
    }
}
