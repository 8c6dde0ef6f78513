//! Where we listen: a host and a port, as typed. Names are resolved when the listener is opened,
//! not here.

use std::fmt;
use std::net::IpAddr;

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listen {
    /// A name or an address; an IPv6 address without its brackets.
    host: String,
    port: u16,
}

impl Listen {
    /// `host:port`. A host is required: `:6333` would open every interface without saying so.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        // Not `u16::from_str` alone, which would take a sign.
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok()?;
        let host = match host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
        {
            Some(inside) => {
                inside.parse::<std::net::Ipv6Addr>().ok()?;
                inside
            }
            // Bare colons are ambiguous: is `::1:6333` an address with a port, or an address?
            None if host.contains(':') => return None,
            None => host,
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        if !is_address && !is_name(host) {
            return None;
        }
        Some(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Any free port that only this machine can reach.
    pub(super) fn free_loopback() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 0,
        }
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    /// 0 lets the system choose one.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether only this machine can reach it. A name other than `localhost` counts as beyond:
    /// what it stands for is not known here.
    pub fn is_loopback(&self) -> bool {
        match self.ip() {
            Some(ip) => ip.to_canonical().is_loopback(),
            None => self.host.eq_ignore_ascii_case("localhost"),
        }
    }

    /// Whether both cannot be open at once.
    pub(super) fn clashes_with(&self, other: &Self) -> bool {
        if self.port == 0 || self.port != other.port {
            return false;
        }
        let is_any = |listen: &Self| listen.ip().is_some_and(|ip| ip.is_unspecified());
        self.host.eq_ignore_ascii_case(&other.host)
            || is_any(self)
            || is_any(other)
            || (self.is_loopback() && other.is_loopback() && (self.is_name() || other.is_name()))
    }

    fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    fn is_name(&self) -> bool {
        self.ip().is_none()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

fn is_name(host: &str) -> bool {
    let is_name_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // All digits and dots, yet no address: a mistyped one, not a name.
    let is_number = host
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    !host.is_empty() && !is_number && host.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u16, bool)>) {
        let listen = Listen::parse(text);
        let found = listen
            .as_ref()
            .map(|at| (at.host(), at.port(), at.is_loopback()));
        assert_eq!(found, expected, "{text}");
        if let Some(listen) = &listen {
            assert_eq!(listen.to_string(), text);
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        check("127.0.0.1:6333", Some(("127.0.0.1", 6333, true)));
        check("127.9.9.9:0", Some(("127.9.9.9", 0, true)));
        check("localhost:6333", Some(("localhost", 6333, true)));
        check("[::1]:6333", Some(("::1", 6333, true)));
        check("[::ffff:127.0.0.1]:1", Some(("::ffff:127.0.0.1", 1, true)));
        check("0.0.0.0:6333", Some(("0.0.0.0", 6333, false)));
        check("[::]:6333", Some(("::", 6333, false)));
        check("sidecar.internal:80", Some(("sidecar.internal", 80, false)));
        for wrong in [
            "6333",
            ":6333",
            "localhost",
            "localhost:",
            "localhost:+80",
            "a:65536",
        ] {
            check(wrong, None);
        }
        for wrong in [
            "http://a:1",
            "[localhost]:1",
            "256.0.0.1:1",
            "a b:1",
            "",
            "*:1",
            "[::1:1",
            "::1:1",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn two_listeners_clash_when_one_address_serves_both() {
        let clash = |a: &str, b: &str| {
            let (a, b) = (Listen::parse(a).unwrap(), Listen::parse(b).unwrap());
            assert_eq!(a.clashes_with(&b), b.clashes_with(&a));
            a.clashes_with(&b)
        };
        assert!(clash("127.0.0.1:1", "127.0.0.1:1"));
        assert!(clash("127.0.0.1:1", "0.0.0.0:1"));
        assert!(clash("localhost:1", "127.0.0.1:1"));
        assert!(!clash("127.0.0.1:1", "127.0.0.1:2"));
        assert!(!clash("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!clash("127.0.0.1:0", "127.0.0.1:0"));
    }
}
