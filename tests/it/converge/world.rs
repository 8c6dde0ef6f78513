//! Two stores, two sidecars over them, a Redis: started once, and played in many times.
//!
//! A store "embedded" is behind the sidecars as a Qdrant is: a process of its own that serves it,
//! plain. Each store is reached by the sidecars through a proxy that can have it fail, and by the
//! comparison directly: PostgreSQL by a third sidecar that follows nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::call::{Outcome, ask_within};
use super::known::Front;
use crate::support::Reserved;
use crate::support::fault::Proxy;
use crate::support::folder::Folder;
use crate::support::postgres::Postgres;
use crate::support::process::Process;
use crate::support::redis::Redis;

const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// A change of mode may take its time over it where a sidecar has just died.
const DESK_ANSWERS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Embedded,
    Pgvector,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) name: &'static str,
    primary: Kind,
    secondary: Option<Kind>,
}

const fn pair(name: &'static str, primary: Kind, secondary: Option<Kind>) -> Pair {
    Pair {
        name,
        primary,
        secondary,
    }
}

impl Pair {
    pub(super) const ALL: [Self; 3] = [
        pair("pgvector-embedded", Kind::Pgvector, Some(Kind::Embedded)),
        pair("embedded-pgvector", Kind::Embedded, Some(Kind::Pgvector)),
        pair("embedded-embedded", Kind::Embedded, Some(Kind::Embedded)),
    ];
    /// With no second store: that what was acknowledged is there, and the reference itself.
    pub(super) const ALONE: [Self; 2] = [
        pair("embedded", Kind::Embedded, None),
        pair("pgvector", Kind::Pgvector, None),
    ];

    pub(super) fn named(name: &str) -> Self {
        let mut all = Self::ALL.into_iter().chain(Self::ALONE);
        let found = all.find(|pair| pair.name == name);
        found.unwrap_or_else(|| panic!("OUTRIGGER_CONVERGE_PAIR={name}: no such pair"))
    }

    pub(super) fn is_alone(self) -> bool {
        self.secondary.is_none()
    }

    fn kinds(self) -> impl Iterator<Item = Kind> {
        std::iter::once(self.primary).chain(self.secondary)
    }
}

pub(super) struct Store {
    pub(super) kind: Kind,
    pub(super) proxy: Proxy,
    /// What it holds is told here, and nothing else is done.
    pub(super) direct: SocketAddr,
    url: String,
    _process: Process,
    _data: Folder,
}

struct Side {
    proxy: SocketAddr,
    admin: SocketAddr,
    toml: String,
    process: Mutex<Option<Process>>,
    life: AtomicUsize,
    /// What those that were killed have said.
    said: Mutex<Vec<String>>,
    _ports: [Reserved; 2],
    _data: Folder,
}

pub(super) struct World {
    pub(super) pair: Pair,
    pub(super) stores: Vec<Store>,
    sides: Vec<Side>,
    redis: Mutex<Option<Redis>>,
    _postgres: Arc<Postgres>,
}

impl World {
    pub(super) async fn new(pair: Pair, postgres: &Arc<Postgres>) -> Self {
        let redis = Redis::start().await;
        let mut stores = Vec::new();
        for (kind, role) in pair.kinds().zip(["primary", "secondary"]) {
            stores.push(store(kind, pair, role, postgres).await);
        }
        let control = database(postgres, pair, "control").await;
        let shared = shared(&stores, &control, &redis.url());
        let world = Self {
            pair,
            stores,
            sides: (0..2).map(|_| Side::new(&shared)).collect(),
            redis: Mutex::new(Some(redis)),
            _postgres: Arc::clone(postgres),
        };
        for sidecar in 0..2 {
            world.start(sidecar).await;
        }
        world
    }

    pub(super) fn proxy(&self, sidecar: usize) -> SocketAddr {
        self.sides[sidecar].proxy
    }

    /// The sidecar as it is now.
    pub(super) fn front(&self, sidecar: usize) -> Front {
        let life = self.sides[sidecar].life.load(Ordering::SeqCst);
        Front { sidecar, life }
    }

    /// Asks the admin side.
    pub(super) async fn desk(
        &self,
        sidecar: usize,
        method: &str,
        target: &str,
        body: &Value,
    ) -> Outcome {
        let admin = self.sides[sidecar].admin;
        ask_within(DESK_ANSWERS_WITHIN, admin, method, target, body).await
    }

    /// The mode that a sidecar goes by; none where it is down.
    pub(super) async fn mode(&self, sidecar: usize) -> Option<String> {
        let told = self.desk(sidecar, "GET", "/api/mode", &Value::Null).await;
        match told {
            Outcome::Said(200, body) => body["mode"].as_str().map(ToOwned::to_owned),
            Outcome::Said(..) | Outcome::NotSent | Outcome::Broken(_) => None,
        }
    }

    pub(super) async fn set_mode(&self, sidecar: usize, mode: &str) -> Outcome {
        let body = json!({"mode": mode, "force": false, "why": "a test of convergence"});
        self.desk(sidecar, "PUT", "/api/mode", &body).await
    }

    /// As `kill -9` does it; returns when it is gone.
    pub(super) async fn kill(&self, sidecar: usize) {
        let side = &self.sides[sidecar];
        let process = side.process.lock().take();
        if let Some(process) = process {
            process.signal("KILL");
            process.exit_code().await;
            side.life.fetch_add(1, Ordering::SeqCst);
            side.said.lock().push(process.said());
        }
    }

    /// Returns when it takes calls.
    pub(super) async fn start(&self, sidecar: usize) {
        let side = &self.sides[sidecar];
        let started = timeout(STARTS_WITHIN, Process::start(&side.toml, &[])).await;
        *side.process.lock() = Some(started.expect("a sidecar starts in time"));
    }

    pub(super) async fn restart_redis(&self, down: Duration) {
        let redis = self.redis.lock().take();
        if let Some(mut redis) = redis {
            redis.kill();
            tokio::time::sleep(down).await;
            redis.run().await;
            *self.redis.lock() = Some(redis);
        }
    }

    /// What the sidecars have warned of since `forget_said`.
    pub(super) fn said(&self) -> String {
        let mut told = String::new();
        for (at, side) in self.sides.iter().enumerate() {
            let mut said = side.said.lock().clone();
            said.extend(side.process.lock().as_ref().map(Process::said));
            let lines: Vec<&str> = said.iter().flat_map(|text| text.lines()).collect();
            let odd = |line: &&&str| line.contains("WARN") || line.contains("ERROR");
            let odd: Vec<&&str> = lines.iter().filter(odd).collect();
            for line in odd.iter().skip(odd.len().saturating_sub(60)) {
                told += &format!("S{} {line}\n", at + 1);
            }
        }
        told
    }

    pub(super) fn forget_said(&self) {
        for side in &self.sides {
            side.said.lock().clear();
        }
    }
}

impl Side {
    fn new(shared: &str) -> Self {
        let ports = [Reserved::port(), Reserved::port()];
        let [proxy, admin] = [0, 1].map(|at: usize| ([127, 0, 0, 1], ports[at].port).into());
        let data = Folder::new();
        let toml = format!(
            "listen = \"{proxy}\"\nadmin_listen = \"{admin}\"\ndata_dir = \"{}\"\n{shared}",
            data.path().display()
        );
        Self {
            proxy,
            admin,
            toml,
            process: Mutex::default(),
            life: AtomicUsize::new(0),
            said: Mutex::default(),
            _ports: ports,
            _data: data,
        }
    }
}

/// What both sidecars are told. What fails is given up soon, and tried again soon.
fn shared(stores: &[Store], control: &str, redis: &str) -> String {
    let mut toml = format!(
        "mode = \"primary_only\"\nfence_timeout = \"1s\"\nmirror.doubt = \"1s\"\ncontrol.url = \"{control}\"\n\
         cache.enabled = true\ncache.settle_ms = 5\ncache.ttl = \"20ms\"\n\
         cache.redis_url = \"{redis}\"\nlog.format = \"json\"\ncutover.gate = false\n"
    );
    for (store, role) in stores.iter().zip(["primary", "secondary"]) {
        let kind = match store.kind {
            Kind::Embedded => "qdrant",
            Kind::Pgvector => "pgvector",
        };
        let url = &store.url;
        for (key, value) in [
            ("kind", format!("\"{kind}\"")),
            ("url", format!("\"{url}\"")),
            ("connect_timeout", "\"500ms\"".to_owned()),
            ("read_timeout", "\"1s\"".to_owned()),
            ("write_timeout", "\"2s\"".to_owned()),
            ("breaker_failures", "5".to_owned()),
            ("breaker_open", "\"50ms\"".to_owned()),
            ("breaker_open_max", "\"200ms\"".to_owned()),
        ] {
            toml += &format!("{role}.{key} = {value}\n");
        }
    }
    toml
}

async fn store(kind: Kind, pair: Pair, role: &str, postgres: &Arc<Postgres>) -> Store {
    let data = Folder::new();
    let plain = format!(
        "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\ndata_dir = \"{}\"\n\
         cache.enabled = false\nprimary.kind = ",
        data.path().display()
    );
    match kind {
        Kind::Embedded => {
            let process = Process::start(&format!("{plain}\"embedded\"\n"), &[]).await;
            let proxy = Proxy::http(process.proxy).await;
            Store {
                kind,
                direct: process.proxy,
                url: format!("http://{}", proxy.address),
                proxy,
                _process: process,
                _data: data,
            }
        }
        Kind::Pgvector => {
            let url = database(postgres, pair, role).await;
            let own = database(postgres, pair, &format!("{role}_reader")).await;
            let toml =
                format!("{plain}\"pgvector\"\nprimary.url = \"{url}\"\ncontrol.url = \"{own}\"\n");
            let process = Process::start(&toml, &[]).await;
            let proxy = Proxy::tcp(([127, 0, 0, 1], postgres.port()).into()).await;
            let port = |port: u16| format!(":{port}/");
            Store {
                kind,
                direct: process.proxy,
                url: url.replace(&port(postgres.port()), &port(proxy.address.port())),
                proxy,
                _process: process,
                _data: data,
            }
        }
    }
}

/// Makes a database; its address.
async fn database(postgres: &Postgres, pair: Pair, of: &str) -> String {
    let name = format!("{}_{of}", pair.name.replace('-', "_"));
    let made = format!("create database \"{name}\" template template0");
    postgres.client().await.batch_execute(&made).await.unwrap();
    postgres.url().replace("/postgres?", &format!("/{name}?"))
}
