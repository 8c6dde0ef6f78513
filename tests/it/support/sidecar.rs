//! The sidecar in this process, on ports that the system picks.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use outrigger::app::{self, Running};
use outrigger::config::{self, Env, Settings, Sources};
use outrigger::metrics::Metrics;
use outrigger::model::Role;

use super::ask::{Answer, Ask};
use super::folder::Folder;
use super::until;
use super::wire::Wire;

/// Settings for a sidecar in front of the Qdrant at `url`, as TOML. `more` is written with dotted
/// keys (`server.header_timeout = "1s"`), for a table may be opened only once.
///
/// No connection is kept for later, so that "all connections have ended" can be waited for. The
/// cache is off unless `more` speaks of it: most stories are of what passes through.
pub(crate) fn in_front_of(url: &str, more: &str) -> String {
    let kept = if more.contains("primary.idle_connections_max") {
        ""
    } else {
        "primary.idle_connections_max = 0\n"
    };
    let cache = if more.contains("cache.") {
        ""
    } else {
        "cache.enabled = false\n"
    };
    let listeners = "listen = \"127.0.0.1:0\"\nadmin_listen = \"127.0.0.1:0\"\n";
    let primary = format!("primary.kind = \"qdrant\"\nprimary.url = \"{url}\"\n");
    let listeners = if more.contains("listen = ") {
        ""
    } else {
        listeners
    };
    format!("{listeners}{primary}{kept}{cache}{more}\n")
}

pub(crate) fn settings(toml: &str) -> Settings {
    let folder = Folder::new();
    let file = folder.put("outrigger.toml", toml);
    let sources = Sources {
        file: Some(file),
        default_file: None,
        env: Env::default(),
        flags: Vec::new(),
    };
    config::load(sources)
        .map_err(|mistakes| mistakes.to_string())
        .unwrap()
        .settings
}

pub(crate) struct Sidecar {
    running: Running,
    at_rest: BTreeMap<&'static str, usize>,
}

impl Sidecar {
    pub(crate) async fn before(url: &str, more: &str) -> Self {
        Self::with(&in_front_of(url, more)).await
    }

    pub(crate) async fn with(toml: &str) -> Self {
        let running = app::start(settings(toml)).await.unwrap();
        let at_rest = running.tasks().live();
        Self { running, at_rest }
    }

    pub(crate) fn proxy(&self) -> SocketAddr {
        self.running.proxy
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.running.admin
    }

    /// Where it can be stopped.
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub(crate) fn stages(&self) -> &outrigger::stage::Stages {
        self.running.stages()
    }

    /// Returns when it has looked at the control store so often, and done its part each time.
    pub(crate) async fn looks(&self, times: usize) {
        for _ in 0..times {
            self.running.changer().fleet().look().await.unwrap();
        }
    }

    pub(crate) async fn connect(&self) -> Wire {
        Wire::connect(self.proxy()).await
    }

    /// Asks on a connection of its own.
    pub(crate) async fn ask(&self, ask: &Ask) -> Answer {
        ask.over(&mut self.connect().await).await
    }

    pub(crate) async fn ask_admin(&self, ask: &Ask) -> Answer {
        ask.over(&mut Wire::connect(self.admin()).await).await
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.running.metrics()
    }

    /// The value of one metric with these labels, as a scrape shows it; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.running.metrics().render(&self.running.tasks().live());
        sum_of(&text, name, labels)
    }

    /// Waits until nothing is left of whatever went on: no request in flight, no connection to
    /// either side, no task but those that are always there.
    pub(crate) async fn at_rest(&self) {
        let metrics = self.running.metrics();
        let clients = metrics.listener("proxy").open;
        let stores = metrics.store(Role::Primary).connections;
        let left = || {
            let requests = metrics.in_flight.get();
            (
                requests,
                clients.get(),
                stores.get(),
                self.running.tasks().live(),
            )
        };
        let none = (0, 0, 0, self.at_rest.clone());
        until("nothing is left running or open", async || left() == none).await;
    }

    pub(crate) async fn until_metric(&self, name: &str, labels: &[&str], value: f64) {
        let what = format!("{name} is at least {value}");
        until(&what, async || self.metric(name, labels) >= value).await;
    }

    pub(crate) fn into_running(self) -> Running {
        self.running
    }
}

/// The sum over every line of a scrape that has this name and these labels (`store="primary"`).
pub(crate) fn sum_of(scrape: &str, name: &str, labels: &[&str]) -> f64 {
    let values = scrape.lines().filter_map(|line| {
        let (left, value) = line.rsplit_once(' ')?;
        let (found, pairs) = left.split_once('{').unwrap_or((left, ""));
        let fits = found == name && labels.iter().all(|label| pairs.contains(label));
        fits.then(|| value.parse::<f64>().unwrap())
    });
    values.sum()
}
