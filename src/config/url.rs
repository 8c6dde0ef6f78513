//! Addresses of the parties we talk to.
//!
//! A user and a password may stand in such an address, so `Debug` and `masked` hide the password,
//! and there is no `Display`: what needs the whole text asks with `expose`.
//!
//! Qdrant's clients put port 6333 where a URL names none, for `https` too, and so do we: a URL
//! that works there means the same here.

use std::fmt;

use url::{Host, Url};

use super::secret::MASK;

pub(super) const QDRANT_REST_PORT: u16 = 6333;
pub(super) const QDRANT_GRPC_PORT: u16 = 6334;
const POSTGRES_PORT: u16 = 5432;
const REDIS_PORT: u16 = 6379;

/// A checked address: of a store, of Redis, of the embeddings service.
#[derive(Clone, Eq, PartialEq)]
pub struct StoreUrl {
    text: String,
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

impl StoreUrl {
    /// A Qdrant, by REST or by gRPC: `http` or `https`, a path in front of Qdrant's own allowed.
    pub(super) fn parse_qdrant(text: &str, default_port: u16) -> Result<Self, &'static str> {
        Self::parse_http(text, Some(default_port))
    }

    /// An HTTP service; without a port, the usual one of its scheme.
    pub(super) fn parse_service(text: &str) -> Result<Self, &'static str> {
        Self::parse_http(text, None)
    }

    fn parse_http(text: &str, default_port: Option<u16>) -> Result<Self, &'static str> {
        let url = parse(text)?;
        let is_tls = match url.scheme() {
            "http" => false,
            "https" => true,
            _ => return Err("is neither http:// nor https://"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a user or a password; the key goes into api_key");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("holds a query or a fragment");
        }
        let usual = if is_tls { 443 } else { 80 };
        let port = match written_port(text).or(url.port()) {
            Some(0) => return Err("names port 0"),
            Some(port) => port,
            None => default_port.unwrap_or(usual),
        };
        let host = host_of(&url).ok_or("names no host")?;
        let path = url.path().trim_end_matches('/').to_owned();
        // Said only where leaving it out would mean another one.
        let authority = if default_port.is_none() && port == usual {
            with_brackets(&host)
        } else {
            with_port(&host, port)
        };
        let text = format!("{}://{authority}{path}", url.scheme());
        Ok(Self {
            text,
            is_tls,
            host,
            port,
            path,
        })
    }

    /// PostgreSQL. Kept as typed but for the driver that SQLAlchemy wants in the scheme
    /// (`postgresql+psycopg://`), which is dropped. Several hosts and none (a socket named in the
    /// query) are allowed.
    pub fn parse_postgres(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let not_postgres = "is not postgres://";
        let (scheme, rest) = text.split_once("://").ok_or(not_postgres)?;
        if !is_postgres_scheme(scheme) || rest.is_empty() {
            return Err(not_postgres);
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let hosts = authority
            .rsplit_once('@')
            .map_or(authority, |(_, hosts)| hosts);
        let first = hosts.split(',').next().unwrap_or_default();
        let (host, port) = match first.rsplit_once(':') {
            // What stands for a port and is none is often a password with a slash in it.
            Some((host, port)) if !first.ends_with(']') => {
                let port = port.parse().ok();
                (
                    host,
                    port.ok_or("has a port that is no number, or characters to be escaped")?,
                )
            }
            Some(_) | None => (first, POSTGRES_PORT),
        };
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let text = format!("postgresql://{rest}");
        Ok(Self {
            text,
            is_tls: false,
            host,
            port,
            path: path.to_owned(),
        })
    }

    /// Redis, Valkey or DragonflyDB, alone, as a cluster or behind sentinels.
    pub(super) fn parse_redis(text: &str) -> Result<Self, &'static str> {
        let url = parse(text)?;
        let scheme = url.scheme();
        let kind = scheme.split_once('-').map_or(scheme, |(kind, _)| kind);
        let layout = scheme.split_once('-').map_or("", |(_, layout)| layout);
        if !["redis", "rediss"].contains(&kind) || !["", "cluster", "sentinel"].contains(&layout) {
            return Err("is neither redis:// nor rediss://, with -cluster or -sentinel");
        }
        let host = host_of(&url).ok_or("names no host")?;
        let port = url.port().unwrap_or(REDIS_PORT);
        let (is_tls, path) = (kind == "rediss", url.path().to_owned());
        Ok(Self {
            text: text.trim().to_owned(),
            is_tls,
            host,
            port,
            path,
        })
    }

    /// Stands in where there is nothing to check an address by. No settings are handed out with it.
    pub(super) fn unchecked(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_tls: false,
            host: String::new(),
            port: 0,
            path: String::new(),
        }
    }

    /// The whole address, password included. Never for a log, an error, a metric or an answer.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The address for people to see.
    pub fn masked(&self) -> String {
        mask(&self.text)
    }

    /// Whether the scheme asks for TLS. PostgreSQL says that in its query instead.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A name or an address, an IPv6 address without brackets. Empty for a PostgreSQL socket.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same address at another port, for a proposal.
    pub(super) fn at_port(&self, port: u16) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", with_port(&self.host, port), self.path)
    }

    /// Whether both lead to one place, whoever asks and by whichever scheme.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        let is_same_host = self.host.eq_ignore_ascii_case(&other.host);
        is_same_host && self.port == other.port && self.path == other.path
    }

    /// Host and port as they stand in a URL, brackets and all.
    pub fn authority(&self) -> String {
        with_port(&self.host, self.port)
    }

    /// What stands in front of every path: empty, or `/some/prefix` without a slash at its end.
    /// Of a PostgreSQL or Redis address, everything from the database on.
    pub fn path_prefix(&self) -> &str {
        &self.path
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

pub(super) fn is_postgres_scheme(scheme: &str) -> bool {
    let scheme = scheme.split_once('+').map_or(scheme, |(name, _)| name);
    ["postgres", "postgresql"].contains(&scheme)
}

/// Hides what may be a password in something that may be a URL, right or wrong. Where it cannot
/// tell, it hides more rather than less.
pub(super) fn mask(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        let is_plain = !text.contains('@') && !text.to_ascii_lowercase().contains("password");
        return if is_plain {
            text.to_owned()
        } else {
            MASK.to_owned()
        };
    };
    let (before_query, query) = match rest.split_once('?') {
        // Of a password with a question mark in it, or in the query: no telling where it ends.
        Some((_, query)) if query.contains('@') => return format!("{scheme}://{MASK}"),
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    let mut shown = format!("{scheme}://");
    match before_query.rsplit_once('@') {
        // HTTP has no users of ours: whatever stands there may be a token.
        Some((_, host)) if scheme.starts_with("http") => shown.extend([MASK, "@", host]),
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => shown.extend([name, ":", MASK, "@", host]),
            None => shown.push_str(before_query),
        },
        None => shown.push_str(before_query),
    }
    if let Some(query) = query {
        let pairs: Vec<String> = query.split('&').map(mask_pair).collect();
        shown.push('?');
        shown.push_str(&pairs.join("&"));
    }
    shown
}

fn mask_pair(pair: &str) -> String {
    let Some((name, _)) = pair.split_once('=') else {
        return pair.to_owned();
    };
    let lower = name.to_ascii_lowercase();
    let is_secret = ["pass", "pwd", "secret", "token", "key"]
        .iter()
        .any(|word| lower.contains(word));
    if is_secret {
        format!("{name}={MASK}")
    } else {
        pair.to_owned()
    }
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let text = text.trim();
    // `host:6333/x` parses, as the scheme `host`.
    if !text.contains("://") {
        return Err("is not a URL");
    }
    // The error's text holds nothing of the URL, but says less than the hint that follows.
    Url::parse(text)
        .ok()
        .filter(Url::has_host)
        .ok_or("is not a URL")
}

fn host_of(url: &Url) -> Option<String> {
    let host = match url.host()? {
        Host::Domain(name) => name.to_owned(),
        Host::Ipv4(ip) => ip.to_string(),
        Host::Ipv6(ip) => ip.to_string(),
    };
    Some(host).filter(|host| !host.is_empty())
}

fn with_port(host: &str, port: u16) -> String {
    format!("{}:{port}", with_brackets(host))
}

fn with_brackets(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

/// The port as it is written. `Url` forgets one that is usual for its scheme, and 443 written in
/// an `https` URL is not the same as none: without one, Qdrant's port would be taken.
fn written_port(text: &str) -> Option<u16> {
    let rest = text.trim().split_once("://")?.1;
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    host.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &StoreUrl) -> (&str, bool, &str, u16, &str) {
        (
            url.expose(),
            url.is_tls(),
            url.host(),
            url.port(),
            url.path_prefix(),
        )
    }

    #[test]
    fn a_qdrant_without_a_port_listens_where_its_clients_look() {
        let check = |text: &str, expected: (&str, bool, &str, u16, &str)| {
            let url = StoreUrl::parse_qdrant(text, QDRANT_REST_PORT).unwrap();
            assert_eq!(parts(&url), expected, "{text}");
        };
        check("http://q", ("http://q:6333", false, "q", 6333, ""));
        check("https://q/", ("https://q:6333", true, "q", 6333, ""));
        check("https://q:443", ("https://q:443", true, "q", 443, ""));
        check(
            "http://q:80/a/b/",
            ("http://q:80/a/b", false, "q", 80, "/a/b"),
        );
        check(
            " http://[::1]:6343 ",
            ("http://[::1]:6343", false, "::1", 6343, ""),
        );
        check("HTTP://Q", ("http://q:6333", false, "q", 6333, ""));
        let grpc = StoreUrl::parse_qdrant("http://q", QDRANT_GRPC_PORT).unwrap();
        assert_eq!(grpc.authority(), "q:6334");
    }

    #[test]
    fn another_service_listens_where_its_scheme_says() {
        let check = |text: &str, expected: (&str, u16)| {
            let url = StoreUrl::parse_service(text).unwrap();
            assert_eq!((url.expose(), url.port()), expected);
        };
        check("https://h/v1/", ("https://h/v1", 443));
        check("http://h:80/v1", ("http://h/v1", 80));
        check("http://[::1]:8080", ("http://[::1]:8080", 8080));
    }

    #[test]
    fn what_is_no_address_of_a_qdrant_is_refused() {
        for wrong in [
            "",
            "q:6333",
            "q",
            "ftp://q",
            "http://",
            "http://q:0",
            "http://q:99999",
            "http://u:p@q",
            "http://u@q",
            "http://q?x=1",
            "http://q#x",
            "postgres://q",
        ] {
            assert!(
                StoreUrl::parse_qdrant(wrong, QDRANT_REST_PORT).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn postgres_addresses_are_taken_as_they_are_used() {
        let check = |text: &str, expected: (&str, bool, &str, u16, &str)| {
            assert_eq!(
                parts(&StoreUrl::parse_postgres(text).unwrap()),
                expected,
                "{text}"
            );
        };
        let plain = "postgresql://u:p@h/db";
        check("postgres://u:p@h/db", (plain, false, "h", 5432, "/db"));
        check(
            "postgresql+asyncpg://u:p@h/db",
            (plain, false, "h", 5432, "/db"),
        );
        let two = "postgresql://u@a:1,b:2/db?sslmode=require";
        check(two, (two, false, "a", 1, "/db?sslmode=require"));
        let socket = "postgresql:///db?host=/run/postgresql";
        check(
            socket,
            (socket, false, "", 5432, "/db?host=/run/postgresql"),
        );
        check(
            "postgres://[::1]/d",
            ("postgresql://[::1]/d", false, "::1", 5432, "/d"),
        );
        for wrong in [
            "",
            "postgres://",
            "mysql://h/db",
            "h/db",
            "postgres://u:p/w@h/db",
        ] {
            assert!(StoreUrl::parse_postgres(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn redis_addresses_of_every_layout_are_taken() {
        let check = |text: &str, expected: (bool, &str, u16, &str)| {
            let url = StoreUrl::parse_redis(text).unwrap();
            assert_eq!(
                (url.is_tls(), url.host(), url.port(), url.path_prefix()),
                expected,
                "{text}"
            );
        };
        check("redis://127.0.0.1:6379/0", (false, "127.0.0.1", 6379, "/0"));
        check("rediss://:pw@h", (true, "h", 6379, ""));
        check("redis-cluster://h:7000?node=i:7001", (false, "h", 7000, ""));
        check("rediss-sentinel://h:26379", (true, "h", 26379, ""));
        for wrong in ["http://h", "redis://", "redis-other://h", "h:6379"] {
            assert!(StoreUrl::parse_redis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_password_is_ever_shown() {
        let check = |text: &str, expected: &str| assert_eq!(mask(text), expected);
        check("http://h:6333/a", "http://h:6333/a");
        check("postgres://u:s3cret@h/db?a=b", "postgres://u:***@h/db?a=b");
        check("postgres://u@h/db", "postgres://u@h/db");
        check("postgres://u:s3/c@r:et@h/db", "postgres://u:***@h/db");
        check("postgres://u:s3?cret@h/db", "postgres://***");
        check(
            "postgres://h/db?user=u&password=s3cret",
            "postgres://h/db?user=u&password=***",
        );
        check("postgres://h/db?password=s3@cret", "postgres://***");
        check("redis://:s3cret@h:6379/0", "redis://:***@h:6379/0");
        check("https://s3cret@h/x", "https://***@h/x");
        check("u:s3cret@h/db", "***");
        check("host=h password=s3cret", "***");
        check("nonsense", "nonsense");
        let url = StoreUrl::parse_postgres("postgres://u:s3cret@h/db").unwrap();
        assert_eq!(format!("{url:?}"), "postgresql://u:***@h/db");
    }
}
