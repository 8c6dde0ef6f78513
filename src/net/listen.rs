//! Binding a listener, and telling the reader of an error what to do when the port is taken.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use crate::error::{Error, ErrorKind, Origin, Result, Retry};

/// Python clients open a connection for every request to localhost, so bursts must fit.
const BACKLOG: u32 = 4096;

/// A listener and where it really listens: the port may have been left to the system.
pub struct Bound {
    pub(super) listener: TcpListener,
    pub address: SocketAddr,
}

/// Binds the first address that `text` resolves to. `flag` is the setting to name in the cure.
pub async fn bind(text: &str, flag: &'static str) -> Result<Bound> {
    let trouble = |doing: String, error: std::io::Error| {
        Error::new(ErrorKind::Settings, Origin::Proxy, Retry::Never, doing).with_source(error)
    };
    let addresses: Vec<_> = lookup_host(text)
        .await
        .map_err(|error| trouble(format!("resolve the address {text} of {flag}"), error))?
        .collect();
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match listen(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = error,
        }
    }
    let doing = if last.kind() == std::io::ErrorKind::AddrInUse {
        format!(
            "listen on {text}: the port is taken, most likely by Qdrant or another Outrigger; \
             stop it, or choose another address with {flag}"
        )
    } else {
        format!("listen on {text} (setting {flag})")
    };
    Err(trouble(doing, last))
}

fn listen(address: SocketAddr) -> std::io::Result<Bound> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    // On Linux an accepted socket inherits this, which saves a system call a connection.
    socket.set_nodelay(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let address = listener.local_addr()?;
    Ok(Bound { listener, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_told_with_the_cure() {
        let first = bind("127.0.0.1:0", "--listen").await.unwrap();
        let error = bind(&first.address.to_string(), "--listen")
            .await
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .contains("choose another address with --listen"),
            "{error}"
        );
        assert_eq!(error.kind(), ErrorKind::Settings);
    }

    #[tokio::test]
    async fn accepted_sockets_send_at_once() {
        let bound = bind("127.0.0.1:0", "--listen").await.unwrap();
        let client = tokio::net::TcpStream::connect(bound.address);
        let (client, accepted) = tokio::join!(client, bound.listener.accept());
        assert!(accepted.unwrap().0.nodelay().unwrap());
        drop(client);
    }
}
