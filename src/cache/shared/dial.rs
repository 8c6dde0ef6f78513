//! How Redis is reached: alone, as a cluster, or behind sentinels.
//!
//! `redis://[user:password@]host:port[/number][?…]`, and the same with `rediss`, `redis-cluster`,
//! `rediss-cluster`, `redis-sentinel`, `rediss-sentinel`. In the query stand `node=host:port`, once
//! for each further node or sentinel; `master=NAME`, which the sentinels know it by; and
//! `prefix=TEXT`, which all our keys begin with. `redis_password` is the password of Redis itself;
//! behind sentinels, a password in the URL is theirs then.
//!
//! Only commands that Valkey and DragonflyDB have as well are sent, in RESP2.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use futures_util::future::join_all;
use percent_encoding::percent_decode_str;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::sentinel::{Sentinel, SentinelNodeConnectionInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisResult, TlsMode, Value,
};

use crate::clock::Clock;
use crate::config::{Secret, StoreUrl};
use crate::error::{Error, Result};

const CONNECT_MAX: Duration = Duration::from_secs(1);
const PREFIX: &str = "outrigger:";
const MASTER: &str = "mymaster";
/// Commands that wait to be written. Past it, who asks waits, as long as the deadline allows.
const QUEUED_MAX: usize = 1024;

/// Where the second tier is, and how long answers live there.
#[derive(Clone)]
pub struct RedisSettings {
    layout: Layout,
    nodes: Vec<(String, u16)>,
    is_tls: bool,
    node_login: Login,
    sentinel_login: Login,
    pub(super) prefix: String,
    /// For people, without secrets.
    pub(super) shown: String,
    pub(super) ttl: Duration,
    pub(super) ttl_when_blind: Duration,
    /// What tells the store that is asked from every other.
    pub(super) store: Vec<u8>,
    pub(super) clock: Clock,
}

#[derive(Clone)]
enum Layout {
    Alone,
    Cluster,
    Sentinels { master: String },
}

#[derive(Clone, Default)]
struct Login {
    user: Option<String>,
    password: Option<Secret>,
    /// Of the database.
    number: i64,
}

/// A connection that many use at one time.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What a dial brings: a connection, what is heard of the channels, and which run this is, if
/// Redis says.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    pub(super) messages: PubSubStream,
    pub(super) run: Option<String>,
}

impl RedisSettings {
    /// `store` is whatever tells the store that is asked from every other; it goes no further than
    /// into a digest.
    pub fn new(url: &StoreUrl, password: Option<&Secret>, store: Vec<u8>) -> Result<Self> {
        let wrong = |what: &str| {
            let shown = url.masked();
            Error::settings(format!("cache.redis_url: {shown} {what}"))
        };
        let parsed = url::Url::parse(url.expose())
            .map_err(|error| wrong("is not a URL").with_source(error))?;
        let (mut nodes, mut master, mut prefix) =
            (vec![(url.host().to_owned(), url.port())], None, None);
        for (name, value) in parsed.query_pairs() {
            match &*name {
                "node" => {
                    let node = value.rsplit_once(':');
                    let node = node.and_then(|(host, port)| Some((host, port.parse().ok()?)));
                    let (host, port) = node.ok_or_else(|| wrong("has a node without a port"))?;
                    nodes.push((host.to_owned(), port));
                }
                "master" => master = Some(value.into_owned()),
                "prefix" => prefix = Some(value.into_owned()),
                _ => return Err(wrong("says more in its query than node, master and prefix")),
            }
        }
        let layout = match parsed.scheme().split_once('-') {
            None => Layout::Alone,
            Some((_, "cluster")) => Layout::Cluster,
            Some(_) => Layout::Sentinels {
                master: master.unwrap_or_else(|| MASTER.to_owned()),
            },
        };
        let number = match parsed.path().trim_matches('/') {
            "" => 0,
            text => text
                .parse()
                .ok()
                .filter(|number| *number >= 0)
                .ok_or_else(|| wrong("has a path that is no number of a database"))?,
        };
        if number != 0 && matches!(layout, Layout::Cluster) {
            return Err(wrong("names a database, and a cluster has only one"));
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(Cow::into_owned);
        let user = Some(parsed.username()).filter(|user| !user.is_empty());
        let user = user.map(decoded).transpose();
        let in_url = parsed.password().map(decoded).transpose();
        let (Ok(user), Ok(in_url)) = (user, in_url) else {
            return Err(wrong("has a user or a password that is no text"));
        };
        let in_url = in_url.map(Secret::new);
        let login = |user, password, number| Login {
            user,
            password,
            number,
        };
        let (node_login, sentinel_login) = match (password.cloned(), &layout) {
            (None, _) => (login(user, in_url, number), Login::default()),
            (password, Layout::Alone | Layout::Cluster) => {
                (login(user, password, number), Login::default())
            }
            (password, Layout::Sentinels { .. }) => {
                (login(None, password, number), login(user, in_url, 0))
            }
        };
        Ok(Self {
            layout,
            nodes,
            is_tls: url.is_tls(),
            node_login,
            sentinel_login,
            prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
            shown: url.masked(),
            ttl: Duration::ZERO,
            ttl_when_blind: Duration::ZERO,
            store,
            clock: Clock::system(),
        })
    }

    /// How long answers live in Redis, and in the process while the other sidecars are not heard.
    #[must_use]
    pub fn keeping(mut self, ttl: Duration, ttl_when_blind: Duration) -> Self {
        self.ttl = ttl;
        self.ttl_when_blind = ttl_when_blind;
        self
    }

    /// Connects for asking and for listening, and returns when both work.
    ///
    /// Cancel safety: safe; what was opened is closed.
    pub(super) async fn dial(&self, channels: &[String]) -> RedisResult<Dialled> {
        let (connection, listens) = match &self.layout {
            Layout::Alone => {
                let client = Client::open(self.first(&self.node_login)?)?;
                (Connection::one(&client).await?, client)
            }
            Layout::Sentinels { master } => {
                let mut sentinel = Sentinel::build(self.all(&self.sentinel_login)?)?;
                let mut node = SentinelNodeConnectionInfo::default()
                    .set_redis_connection_info(redis_info(&self.node_login))
                    .set_tcp_settings(tcp());
                if self.is_tls {
                    node = node.set_tls_mode(TlsMode::Secure);
                }
                let client = sentinel.async_master_for(master, Some(&node)).await?;
                (Connection::one(&client).await?, client)
            }
            Layout::Cluster => {
                // A command is never sent twice: see the rule of tokens in `shared`.
                let mut builder = ClusterClientBuilder::new(self.all(&self.node_login)?)
                    .retries(0)
                    .connection_timeout(CONNECT_MAX)
                    .response_timeout(CONNECT_MAX)
                    .tcp_settings(tcp());
                if let Some(user) = &self.node_login.user {
                    builder = builder.username(user);
                }
                if let Some(password) = &self.node_login.password {
                    builder = builder.password(password.expose());
                }
                if self.is_tls {
                    builder = builder.tls(TlsMode::Secure);
                }
                let connection = builder.build()?.get_async_connection().await?;
                (Connection::Cluster(connection), self.any_node().await?)
            }
        };
        let mut listening = listens.get_async_pubsub().await?;
        listening.subscribe(channels).await?;
        let run = connection.run().await;
        Ok(Dialled {
            connection,
            messages: listening.into_on_message(),
            run,
        })
    }

    /// A node of the cluster that answers. What is published at one is heard at all.
    async fn any_node(&self) -> RedisResult<Client> {
        let mut last = None;
        for node in self.all(&self.node_login)? {
            let client = Client::open(node)?;
            match Connection::one(&client).await {
                Ok(_works) => return Ok(client),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| {
            let kind = redis::ErrorKind::InvalidClientConfig;
            redis::RedisError::from((kind, "no node is named"))
        }))
    }

    fn all(&self, login: &Login) -> RedisResult<Vec<ConnectionInfo>> {
        let nodes = self.nodes.iter();
        nodes.map(|node| self.node(node, login)).collect()
    }

    fn first(&self, login: &Login) -> RedisResult<ConnectionInfo> {
        let (host, port) = self.nodes.first().cloned().unwrap_or_default();
        self.node(&(host, port), login)
    }

    fn node(&self, (host, port): &(String, u16), login: &Login) -> RedisResult<ConnectionInfo> {
        let (host, port) = (host.clone(), *port);
        let address = if self.is_tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?;
        let info = info.set_tcp_settings(tcp());
        Ok(info.set_redis_settings(redis_info(login)))
    }
}

fn redis_info(login: &Login) -> RedisConnectionInfo {
    let mut info = RedisConnectionInfo::default().set_db(login.number);
    if let Some(user) = &login.user {
        info = info.set_username(user);
    }
    if let Some(password) = &login.password {
        info = info.set_password(password.expose());
    }
    info
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn tcp() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

impl Connection {
    async fn one(client: &Client) -> RedisResult<Self> {
        // Deadlines are kept by who asks.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUED_MAX);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Self::One(connection.await?))
    }

    /// Cancel safety: safe; the command may have been sent.
    pub(super) async fn ask(&self, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::One(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Several at once. Alone, they are done in this order; in a cluster, in any.
    ///
    /// Cancel safety: safe; any of them may have been sent.
    pub(super) async fn ask_all(&self, commands: Vec<Cmd>) -> RedisResult<Vec<RedisResult<Value>>> {
        match self {
            Self::One(connection) => {
                let mut pipeline = redis::Pipeline::with_capacity(commands.len());
                for command in commands {
                    pipeline.add_command(command);
                }
                pipeline.ignore_errors();
                pipeline.query_async(&mut connection.clone()).await
            }
            Self::Cluster(_) => {
                let asked = commands.into_iter().map(|command| self.ask(command));
                Ok(join_all(asked).await)
            }
        }
    }

    /// Which run of Redis this is; of a cluster, of all its masters. `None` where it is not told.
    pub(super) async fn run(&self) -> Option<String> {
        let info = redis::cmd("INFO");
        let told = match self {
            Self::One(_) => self.ask(info).await,
            Self::Cluster(connection) => {
                let masters = MultipleNodeRoutingInfo::AllMasters;
                let routing = RoutingInfo::MultiNode((masters, None));
                connection.clone().route_command(info, routing).await
            }
        };
        let mut texts = Vec::new();
        let told = told.ok()?;
        gather(&told, &mut texts);
        let runs = texts.iter().map(|text| {
            let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            line("run_id:")
                .or_else(|| line("master_replid:"))
                .map(str::trim)
        });
        let mut runs: Vec<&str> = runs.collect::<Option<_>>()?;
        runs.sort_unstable();
        (!runs.is_empty()).then(|| runs.join(" "))
    }
}

/// The longer texts of an answer, whatever its shape: one `INFO`, or one for each node.
fn gather<'v>(value: &'v Value, texts: &mut Vec<Cow<'v, str>>) {
    let text = if let Value::BulkString(bytes) = value {
        String::from_utf8_lossy(bytes)
    } else if let Value::VerbatimString { text, .. } = value {
        Cow::Borrowed(text.as_str())
    } else {
        let values = value.as_sequence().unwrap_or_default();
        values.iter().for_each(|value| gather(value, texts));
        let pairs = value.as_map_iter().into_iter().flatten();
        pairs.for_each(|(_, value)| gather(value, texts));
        return;
    };
    if text.contains('\n') {
        texts.push(text);
    }
}

#[cfg(test)]
mod tests;
