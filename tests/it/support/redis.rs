//! A Redis of a story's own: started, killed, stopped in its tracks and looked into at will.
//!
//! `tests/run` says where the server is; without it, the one in PATH is taken.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue};

use super::folder::Folder;
use super::{Reserved, until};

pub(crate) struct Redis {
    pub(crate) address: SocketAddr,
    folder: Folder,
    options: Vec<String>,
    child: Option<Child>,
    /// Nobody else is given the port while the server is down.
    _reserved: Reserved,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// `options` as on the command line, without the dashes: `maxmemory 3mb`.
    pub(crate) async fn with(options: &[&str]) -> Self {
        let reserved = Reserved::port();
        let mut redis = Self {
            address: ([127, 0, 0, 1], reserved.port).into(),
            folder: Folder::new(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            child: None,
            _reserved: reserved,
        };
        redis.run().await;
        redis
    }

    /// Starts it, once more after it was killed, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let server = std::env::var_os("OUTRIGGER_TEST_REDIS_SERVER");
        let mut command = Command::new(server.unwrap_or_else(|| "redis-server".into()));
        command.args(["--bind", "127.0.0.1", "--appendonly", "no", "--save", ""]);
        command.args(["--port", &self.address.port().to_string()]);
        command.arg("--dir").arg(self.folder.path());
        for option in &self.options {
            let (name, value) = option.split_once(' ').unwrap();
            command.arg(format!("--{name}"));
            command.args(value.split(' '));
        }
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(quiet.stderr(Stdio::null()).spawn().unwrap());
        let answers = async || match self.connect().await {
            Ok(_) => true,
            // One with a password answers, too.
            Err(error) => error.code() == Some("NOAUTH"),
        };
        until("Redis answers", answers).await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await?;
        let () = redis::cmd("PING").query_async(&mut connection).await?;
        Ok(connection)
    }

    /// Asks it directly, words apart by spaces.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &str) -> T {
        let mut words = words.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        self.send(&command).await
    }

    pub(crate) async fn send<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let mut connection = self.connect().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }

    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        self.ask(&format!("KEYS {pattern}")).await
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Sends a signal by name: `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id();
        let line = format!("kill -{name} {id}");
        let sent = Command::new("sh").args(["-c", &line]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
