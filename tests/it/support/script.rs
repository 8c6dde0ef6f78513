//! An upstream that follows a script, down to the single byte.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use outrigger::task;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::wire::Wire;

pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    connections: watch::Receiver<usize>,
    heads: watch::Receiver<usize>,
    ended: watch::Receiver<usize>,
}

impl Script {
    /// Plays `scene` on every connection; it is told how many came before.
    pub(crate) async fn start<F, Fut>(scene: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, scene)
    }

    pub(crate) fn on<F, Fut>(listener: TcpListener, scene: F) -> Self
    where
        F: Fn(usize, Wire) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let (count_connections, connections) = watch::channel(0);
        let (count_heads, heads) = watch::channel(0);
        let (count_ended, ended) = watch::channel(0);
        drop(task::spawn("script", async move {
            let scene = Arc::new(scene);
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let before = *count_connections.borrow();
                count_connections.send_modify(|count| *count += 1);
                let wire = Wire::new(stream).counting(count_heads.clone());
                let (scene, ended) = (Arc::clone(&scene), count_ended.clone());
                drop(task::spawn("scene", async move {
                    scene(before, wire).await;
                    ended.send_modify(|count| *count += 1);
                }));
            }
        }));
        Self {
            address,
            connections,
            heads,
            ended,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many connections came.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.borrow()
    }

    /// How many requests came, at least their heads.
    pub(crate) fn heads(&self) -> usize {
        *self.heads.borrow()
    }

    pub(crate) async fn saw_heads(&self, count: usize) {
        self.heads
            .clone()
            .wait_for(|seen| *seen >= count)
            .await
            .unwrap();
    }

    /// Waits until so many scenes are over.
    pub(crate) async fn saw_ends(&self, count: usize) {
        self.ended
            .clone()
            .wait_for(|seen| *seen >= count)
            .await
            .unwrap();
    }
}

/// An address that is taken and refuses every connection. Whoever holds the socket may let it
/// listen.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An address that never answers a connection: its queue is full and nobody takes from it. Lasts
/// as long as what it returns.
pub(crate) async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let (socket, address) = refusing();
    let listener = socket.listen(1).unwrap();
    let mut queued = Vec::new();
    loop {
        let patience = std::time::Duration::from_millis(300);
        match tokio::time::timeout(patience, TcpStream::connect(address)).await {
            Ok(stream) => queued.push(stream.unwrap()),
            Err(_) => return (listener, queued, address),
        }
        assert!(queued.len() < 100, "the queue has no end");
    }
}
