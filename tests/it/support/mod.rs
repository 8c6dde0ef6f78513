//! What the stories are told with: parties at both ends of the sidecar that do exactly what they
//! are told, and the sidecar itself, in this process or as the binary.
//!
//! `wire` speaks HTTP/1 by hand, on either side, so that a test can say things that no library
//! would. `upstream` and `h2` stand on hyper, where exactness is not the point or where the frames
//! of HTTP/2 are nothing to write by hand.

pub(crate) mod ask;
pub(crate) mod dice;
pub(crate) mod fault;
pub(crate) mod folder;
pub(crate) mod h2;
pub(crate) mod pattern;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;
pub(crate) mod script;
pub(crate) mod sidecar;
pub(crate) mod tls;
pub(crate) mod upstream;
pub(crate) mod wire;

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

/// Longer than any story takes, also on a machine that does three other things. A story that is
/// not over by then hangs, and that is a failure.
const STORY_LASTS_MAX: Duration = Duration::from_secs(90);

/// Runs one story on a runtime of its own. What the story leaves running ends with it.
pub(crate) fn story(told: impl Future<Output = ()>) {
    within(STORY_LASTS_MAX, told);
}

/// The same for one whose length is the caller's choice.
pub(crate) fn within(most: Duration, told: impl Future<Output = ()>) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let runtime = LetGo(Some(runtime));
    let told = Box::pin(async { tokio::time::timeout(most, told).await });
    let over = runtime.0.as_ref().map(|runtime| runtime.block_on(told));
    assert!(matches!(over, Some(Ok(()))), "the story hangs");
}

/// A runtime that is dropped waits for its blocking work; a story that fails must not.
struct LetGo(Option<Runtime>);

impl Drop for LetGo {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until something holds that no event tells: counters that go down as connections and tasks
/// end behind our back. The one place that polls.
pub(crate) async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(45);
    while !holds().await {
        assert!(Instant::now() < deadline, "in vain: waited until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A port for a listener that has to be named before it is open. As long as this lives the system
/// gives it to nobody who does not ask for it by number.
pub(crate) struct Reserved {
    /// Bound and not listening: whoever asks for the port to be shared, as the sidecar does, may
    /// still listen at it.
    _socket: TcpSocket,
    pub(crate) port: u16,
}

impl Reserved {
    pub(crate) fn port() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self {
            _socket: socket,
            port,
        }
    }
}
