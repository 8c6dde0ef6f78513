//! A database of a test's own, on the server that `OUTRIGGER_TEST_PG_URL` names; `tests/run` starts
//! one and sets it. The server is thrown away after the tests, and the databases with it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};
use uuid::Uuid;

use super::{Pgvector, PgvectorSettings};

const SERVER: &str = "OUTRIGGER_TEST_PG_URL";

pub(super) struct Scratch {
    config: Config,
    url: String,
    folder: PathBuf,
}

impl Scratch {
    pub(super) async fn make() -> Self {
        Self::make_with("").await
    }

    /// One with other properties than usual, as `create database` wants them.
    pub(super) async fn make_with(properties: &str) -> Self {
        let url = setting(SERVER).unwrap_or_else(|| {
            panic!("{SERVER} is not set: it names a database of a superuser's (see tests/run)")
        });
        let server: Config = url.parse().unwrap();
        let name = format!("scratch_{}", Uuid::new_v4().simple());
        let client = connect(&server).await;
        let create = format!("create database {name} template template0 {properties}");
        client.batch_execute(&create).await.unwrap();
        let (before, after) = url.rsplit_once('/').unwrap();
        let options = after.split_once('?').map(|(_, options)| options);
        let mut config = server;
        config.dbname(&name);
        Self {
            config,
            url: format!("{before}/{name}?{}", options.unwrap_or_default()),
            folder: std::env::temp_dir().join(format!("outrigger-{name}")),
        }
    }

    pub(super) async fn client(&self) -> Client {
        connect(&self.config).await
    }

    /// The store over this database.
    pub(super) fn store(&self) -> Pgvector {
        let patience = Duration::from_secs(60);
        let settings = PgvectorSettings {
            url: self.url.clone(),
            tls: crate::net::client_tls(None).unwrap(),
            has_authority: false,
            pool_size: 4,
            connect_timeout: patience,
            read_timeout: patience,
            write_timeout: patience,
            slow_timeout: patience,
            data_dir: self.folder.clone(),
            adopted: BTreeMap::default(),
            tells_by_redis: false,
        };
        Pgvector::new(settings).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    drop(crate::task::spawn("test-connection", async move {
        drop(connection.await);
    }));
    client
}

/// A variable of the environment.
pub(super) fn setting(name: &str) -> Option<String> {
    let value = std::env::var_os(name)?.into_string().unwrap();
    Some(value).filter(|value| !value.is_empty())
}
