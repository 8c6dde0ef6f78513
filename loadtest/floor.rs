//! The floor: the least an HTTP server built on hyper can do with a request.
//!
//! It reads every request to the end of its body and answers with the same JSON bytes: no
//! routing, no parsing, no logging. It has two uses. Measured directly, it is the floor that
//! nothing built on hyper goes below; behind a proxy, it is an upstream that is faster than
//! the proxy, so that the figures are the proxy's own.
//!
//! It must never do more than this: every comparison in `loadtest/` rests on its being cheap.
//!
//! ```text
//! floor [--port 0] [--bytes 2048] [--delay-us 0] [--threads <processors>]
//! ```
//!
//! It listens on 127.0.0.1 only (port 0: the system picks one) and prints
//! `listening on 127.0.0.1:PORT` as its first line. With `--delay-us` each answer is held back
//! for at least that long, rounded up to the next tick of tokio's millisecond clock.
#![expect(
    clippy::disallowed_methods,
    reason = "a server on its own: nothing of the sidecar, its task names included, runs in it"
)]

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const USAGE: &str = "usage: floor [--port N] [--bytes N] [--delay-us N] [--threads N]";
const LISTEN_BACKLOG: u32 = 4096;

fn main() -> ExitCode {
    let settings = match Settings::parse(std::env::args().skip(1)) {
        Ok(settings) => settings,
        Err(mistake) => return complain(&format!("{mistake}\n{USAGE}"), 2),
    };
    match run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&error.to_string(), 3),
    }
}

fn complain(message: &str, code: u8) -> ExitCode {
    // Nobody is left to tell when stderr itself is closed.
    let _closed = writeln!(io::stderr(), "floor: {message}");
    ExitCode::from(code)
}

struct Settings {
    port: u16,
    answer: Answer,
    threads: usize,
}

impl Settings {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut port = 0;
        let mut bytes = 2048;
        let mut delay_us = 0;
        let mut threads = std::thread::available_parallelism().map_or(1, usize::from);
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--port" => port = number(&flag, &value)?,
                "--bytes" => bytes = number(&flag, &value)?,
                "--delay-us" => delay_us = number(&flag, &value)?,
                "--threads" => threads = number(&flag, &value)?,
                _ => return Err(format!("unknown flag {flag}")),
            }
        }
        if threads == 0 {
            return Err("--threads must be at least 1".to_owned());
        }
        let answer = Answer {
            body: answer_body(bytes)?,
            delay: Duration::from_micros(delay_us),
        };
        Ok(Self {
            port,
            answer,
            threads,
        })
    }
}

fn number<N: std::str::FromStr>(flag: &str, value: &str) -> Result<N, String> {
    value
        .parse()
        .map_err(|_not_a_number| format!("{flag} does not take {value}"))
}

/// What every request gets, and when.
#[derive(Clone, Copy)]
struct Answer {
    /// Leaked on purpose: `Bytes` over a static slice is cloned without counting references, so
    /// the threads share no cache line that is written to.
    body: &'static [u8],
    delay: Duration,
}

/// One Qdrant query reply, its payload padded so that the whole is `length` bytes long.
fn answer_body(length: usize) -> Result<&'static [u8], String> {
    const HEAD: &str =
        r#"{"result":{"points":[{"id":1,"version":7,"score":0.93,"payload":{"text":""#;
    const TAIL: &str = r#""}}]},"status":"ok","time":0.000042}"#;
    let shortest = HEAD.len() + TAIL.len();
    let padding = length
        .checked_sub(shortest)
        .ok_or_else(|| format!("--bytes must be at least {shortest}"))?;
    Ok(format!("{HEAD}{}{TAIL}", "x".repeat(padding))
        .into_bytes()
        .leak())
}

fn run(settings: &Settings) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(settings.threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = listen(settings.port)?;
        writeln!(io::stdout(), "listening on {}", listener.local_addr()?)?;
        // A task rather than this future: what `block_on` polls stays on the main thread, and
        // each accepted connection would then have to wake a worker.
        tokio::spawn(accept(listener, settings.answer))
            .await
            .map_err(io::Error::other)
    })
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    // Linux hands the option down to accepted sockets, which saves a system call for each.
    socket.set_nodelay(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(LISTEN_BACKLOG)
}

async fn accept(listener: TcpListener, answer: Answer) {
    loop {
        // A client that is gone again before its turn, or a moment without free descriptors:
        // neither is a reason to stop. The yield keeps the second from starving the connections
        // whose end would free some.
        match listener.accept().await {
            Ok((stream, _peer)) => drop(tokio::spawn(serve(stream, answer))),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn serve(stream: TcpStream, answer: Answer) {
    let service = service_fn(move |request| respond(request, answer));
    // An error here is a client that hung up. wrk does so with every connection at its end.
    let _hung_up = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn respond(
    mut request: Request<Incoming>,
    answer: Answer,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // A frame that fails ends the body too: hyper then closes the connection by itself.
    while let Some(Ok(_frame)) = request.body_mut().frame().await {}
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    let mut response = Response::new(Full::new(Bytes::from_static(answer.body)));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
