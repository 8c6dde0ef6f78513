//! A way to a server that can be shut: what is sent into it waits until it is opened, and nothing
//! is lost.

use std::net::SocketAddr;

use outrigger::task;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Gate {
    pub(crate) address: SocketAddr,
    is_open: watch::Sender<bool>,
}

impl Gate {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_open, seen) = watch::channel(true);
        drop(task::spawn("gate", async move {
            while let Ok((client, _)) = listener.accept().await {
                drop(task::spawn("way", way(client, server, seen.clone())));
            }
        }));
        Self { address, is_open }
    }

    pub(crate) fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub(crate) fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn way(client: TcpStream, server: SocketAddr, mut is_open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut asks, mut hears) = client.into_split();
    let (mut answers, mut asked) = server.into_split();
    let there = async {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = asks.read(&mut piece).await.unwrap_or(0);
            let opened = is_open.wait_for(|is_open| *is_open).await.is_ok();
            if length == 0 || !opened || asked.write_all(&piece[..length]).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut answers, &mut hears);
    tokio::select! {
        () = there => {}
        _ended = back => {}
    }
}
