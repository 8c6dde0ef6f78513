//! Refuses an upstream that is the sidecar itself.
//!
//! The application's `QDRANT_URL` points at the sidecar. Where both share one `.env`, the sidecar
//! reads it too, and would answer each request by sending it to itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::listen::Listen;
use super::mistake::{Mistake, Origin};
use super::settings::Settings;
use super::url::StoreUrl;
use crate::model::{Role, StoreKind};

/// The upstreams that lead to one of our own listeners. `bound` is what is open (or, where nothing
/// is open, `configured_addrs`); `resolve` is only asked about names whose port is one of ours.
pub fn own_listener_check(
    settings: &Settings,
    bound: &[SocketAddr],
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Vec<Mistake> {
    check(settings, bound, resolve, is_of_this_machine)
}

/// The addresses of the listeners as the settings name them.
pub fn configured_addrs(
    settings: &Settings,
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Vec<SocketAddr> {
    let addrs = |listen: &Listen| addrs_of(listen.host(), listen.port(), &resolve);
    [&settings.listen, &settings.admin_listen]
        .into_iter()
        .flat_map(addrs)
        .collect()
}

fn check(
    settings: &Settings,
    bound: &[SocketAddr],
    resolve: impl Fn(&str, u16) -> Vec<SocketAddr>,
    is_local: impl Fn(IpAddr) -> bool,
) -> Vec<Mistake> {
    let own_listener = |url: &StoreUrl| {
        let of_its_port: Vec<&SocketAddr> = bound
            .iter()
            .filter(|listener| listener.port() == url.port())
            .collect();
        if of_its_port.is_empty() {
            return None;
        }
        let addrs = addrs_of(url.host(), url.port(), &resolve);
        let is_reached = |listener: &SocketAddr| {
            addrs
                .iter()
                .any(|addr| reaches(addr.ip(), listener.ip(), &is_local))
        };
        of_its_port.into_iter().copied().find(is_reached)
    };
    let upstreams = upstreams(settings);
    upstreams
        .iter()
        .filter_map(|upstream| Some(upstream.mistake(settings, own_listener(upstream.url)?)))
        .collect()
}

struct Upstream<'s> {
    key: String,
    url: &'s StoreUrl,
    /// Whether `OUTRIGGER_QDRANT_URL` would take its place: the url of the only Qdrant.
    is_only_qdrant: bool,
}

fn upstreams(settings: &Settings) -> Vec<Upstream<'_>> {
    let roles = [Role::Primary, Role::Secondary].into_iter();
    let stores: Vec<_> = roles
        .filter_map(|role| Some((role, settings.store(role)?)))
        .filter(|(_, store)| store.kind == StoreKind::Qdrant)
        .collect();
    let is_only_qdrant = stores.len() == 1;
    let mut all = Vec::new();
    for (role, store) in stores {
        if let Some(url) = &store.url {
            all.push(Upstream {
                key: format!("{role}.url"),
                url,
                is_only_qdrant,
            });
        }
        if let Some(url) = &store.grpc_url {
            all.push(Upstream {
                key: format!("{role}.grpc_url"),
                url,
                is_only_qdrant: false,
            });
        }
    }
    all
}

impl Upstream<'_> {
    fn mistake(&self, settings: &Settings, listener: SocketAddr) -> Mistake {
        let origin = settings.given.get(&self.key);
        let setting = match origin {
            Some(Origin::Env { variable }) if variable != "QDRANT_URL" => variable.clone(),
            Some(Origin::Flag { name }) => name.clone(),
            Some(Origin::Env { .. } | Origin::File { .. } | Origin::Default) | None => {
                if self.is_only_qdrant {
                    "OUTRIGGER_QDRANT_URL".to_owned()
                } else {
                    self.key.clone()
                }
            }
        };
        // Qdrant's own ports, with a 4 for a 3: room for it beside the sidecar.
        let (port, example) = if self.key.ends_with("grpc_url") {
            (6344, self.url.at_port(6344))
        } else {
            (6343, self.url.at_port(6343))
        };
        Mistake::new(
            self.key.clone(),
            format!("is this sidecar's own listener, {listener}"),
        )
        .value(format!("{:?}", self.url.masked()))
        .origin(origin.cloned())
        .hint(format!(
            "move Qdrant to another port, for example {port}, and set {setting} to \
                 \"{example}\"; the QDRANT_URL of the application stays as it is"
        ))
    }
}

fn addrs_of(
    host: &str,
    port: u16,
    resolve: &impl Fn(&str, u16) -> Vec<SocketAddr>,
) -> Vec<SocketAddr> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip, port)];
    }
    let found = resolve(host, port);
    if found.is_empty() && host.eq_ignore_ascii_case("localhost") {
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        return loopback.map(|ip| SocketAddr::new(ip, port)).to_vec();
    }
    found
}

/// Whether a connection to `target` arrives at a listener on `listener`, ports aside.
fn reaches(target: IpAddr, listener: IpAddr, is_local: impl Fn(IpAddr) -> bool) -> bool {
    // Connecting to "any address" means this machine.
    let target = match target.to_canonical() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    if listener.is_unspecified() {
        target.is_loopback() || is_local(target)
    } else {
        listener.to_canonical() == target
    }
}

/// Whether the address is one of this machine's. The only socket of this room: it is bound to a
/// free port and pointed at the address, and the system chooses the address to send from. That is
/// the same one only if it is local. Nothing is sent. (To try and bind to the address itself would
/// not do: with `ip_nonlocal_bind`, usual beside keepalived, that works for any address.)
fn is_of_this_machine(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = UdpSocket::bind((any, 0)).and_then(|socket| {
        // Any port will do.
        socket.connect((ip, 9))?;
        socket.local_addr()
    });
    source.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Env, Sources, load};

    const LAN: &str = "10.0.0.7:6333";

    /// A small world: `qdrant` is elsewhere, `sidecar` is us, `localhost` is both loopbacks.
    fn resolve(host: &str, port: u16) -> Vec<SocketAddr> {
        let ips: &[&str] = match host {
            "localhost" => &["::1", "127.0.0.1"],
            "sidecar" => &["10.0.0.7"],
            "qdrant" => &["10.0.0.8"],
            _ => &[],
        };
        ips.iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), port))
            .collect()
    }

    fn mistakes(variables: &[(&str, &str)], bound: &[&str]) -> Vec<String> {
        let env: Env = variables.iter().copied().collect();
        let settings = load(Sources {
            env,
            ..Sources::default()
        })
        .unwrap()
        .settings;
        let bound: Vec<SocketAddr> = bound.iter().map(|addr| addr.parse().unwrap()).collect();
        let is_local = |ip: IpAddr| SocketAddr::new(ip, 6333) == LAN.parse().unwrap();
        let found = check(&settings, &bound, resolve, is_local);
        found.iter().map(ToString::to_string).collect()
    }

    fn is_refused(url: &str, bound: &str) -> bool {
        !mistakes(&[("QDRANT_URL", url)], &[bound]).is_empty()
    }

    #[test]
    fn an_upstream_that_is_our_own_listener_is_refused() {
        for url in [
            "http://127.0.0.1",
            "http://localhost:6333/x",
            "http://0.0.0.0:6333",
        ] {
            assert!(is_refused(url, "127.0.0.1:6333"), "{url}");
            assert!(is_refused(url, "0.0.0.0:6333"), "{url}");
            assert!(is_refused(url, "[::]:6333"), "{url}");
        }
        assert!(is_refused(
            "http://[::ffff:127.0.0.1]:6333",
            "127.0.0.1:6333"
        ));
        assert!(
            is_refused("http://sidecar:6333", "0.0.0.0:6333"),
            "our own name in a network"
        );
        assert!(is_refused("http://sidecar:6333", LAN));
    }

    #[test]
    fn another_port_or_another_machine_is_not_us() {
        assert!(!is_refused("http://127.0.0.1:6343", "127.0.0.1:6333"));
        assert!(!is_refused("http://qdrant:6333", "0.0.0.0:6333"));
        assert!(!is_refused("http://no-such-host:6333", "0.0.0.0:6333"));
        assert!(!is_refused("http://127.0.0.2:6333", "127.0.0.1:6333"));
        assert!(!is_refused("http://sidecar:6333", "127.0.0.1:6333"));
    }

    #[test]
    fn the_cure_names_the_setting_that_is_to_be_changed() {
        let bound = ["127.0.0.1:6333", "127.0.0.1:6330"];
        assert_eq!(
            mistakes(&[("QDRANT_URL", "http://127.0.0.1:6333")], &bound),
            [
                "primary.url: \"http://127.0.0.1:6333\" is this sidecar's own listener, \
                 127.0.0.1:6333 (from env QDRANT_URL); move Qdrant to another port, for example \
                 6343, and set OUTRIGGER_QDRANT_URL to \"http://127.0.0.1:6343\"; the QDRANT_URL \
                 of the application stays as it is"
            ]
        );
        let both = [
            ("OUTRIGGER_SECONDARY__URL", "http://qdrant"),
            ("OUTRIGGER_SECONDARY__GRPC_URL", "http://localhost:6330"),
        ];
        let found = mistakes(&both, &bound);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("set OUTRIGGER_SECONDARY__GRPC_URL to \"http://localhost:6344\"")
        );
    }

    #[test]
    fn this_machine_knows_its_own_addresses() {
        assert!(is_of_this_machine(Ipv4Addr::LOCALHOST.into()));
        // From a block that was never given out.
        assert!(!is_of_this_machine(Ipv4Addr::new(240, 0, 0, 1).into()));
    }

    #[test]
    fn configured_listeners_resolve_to_addresses() {
        let env: Env = [("OUTRIGGER_LISTEN", "localhost:6333")]
            .into_iter()
            .collect();
        let settings = load(Sources {
            env,
            ..Sources::default()
        })
        .unwrap()
        .settings;
        let addrs: Vec<String> = configured_addrs(&settings, resolve)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(addrs, ["[::1]:6333", "127.0.0.1:6333", "127.0.0.1:6330"]);
    }
}
