//! The binary, for what only a process shows: exit codes, signals, memory, what it writes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use outrigger::task;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::folder::Folder;

const BINARY: &str = env!("CARGO_BIN_EXE_outrigger");

/// A sidecar that was started and told where it listens. Killed when dropped.
pub(crate) struct Process {
    pub(crate) proxy: SocketAddr,
    pub(crate) admin: SocketAddr,
    child: Arc<Mutex<Child>>,
    log: Log,
    exit: watch::Receiver<Option<ExitStatus>>,
    _folder: Folder,
}

/// What a process has written to standard error so far, line by line.
#[derive(Clone)]
struct Log {
    lines: Arc<Mutex<Vec<String>>>,
    count: watch::Receiver<usize>,
}

impl Log {
    fn text(&self) -> String {
        self.lines.lock().join("\n")
    }

    /// Waits for a line that holds `text`. None when the process has ended without one.
    async fn line(&self, text: &str) -> Option<String> {
        let mut count = self.count.clone();
        loop {
            let seen = *count.borrow_and_update();
            let found = self
                .lines
                .lock()
                .iter()
                .find(|line| line.contains(text))
                .cloned();
            if found.is_some() {
                return found;
            }
            // Lines that came after `seen` was read wake us at once.
            if count.changed().await.is_err() {
                let late = self
                    .lines
                    .lock()
                    .iter()
                    .skip(seen)
                    .find(|line| line.contains(text))
                    .cloned();
                return late;
            }
        }
    }
}

impl Process {
    pub(crate) async fn start(toml: &str, variables: &[(&str, &str)]) -> Self {
        let folder = Folder::new();
        let file = folder.put("outrigger.toml", toml);
        let arguments = ["serve", "--config", file.to_str().unwrap()];
        Self::serve(&arguments, variables, folder).await
    }

    /// With no more than so many files and sockets open at one time.
    pub(crate) async fn with_few_descriptors(toml: &str, count: usize) -> Self {
        Self::by_shell(toml, &format!("ulimit -n {count}")).await
    }

    /// As a shell starts it after `limits`.
    pub(crate) async fn by_shell(toml: &str, limits: &str) -> Self {
        let folder = Folder::new();
        let file = folder.put("outrigger.toml", toml);
        let line = format!("{limits} && exec \"$0\" \"$@\"");
        let arguments = [
            "-c",
            &line,
            BINARY,
            "serve",
            "--config",
            file.to_str().unwrap(),
        ];
        Self::spawn(command("/bin/sh", &arguments, &[], folder.path()), folder).await
    }

    /// In a folder of its own, with nothing in its environment but `variables`.
    pub(crate) async fn serve(
        arguments: &[&str],
        variables: &[(&str, &str)],
        folder: Folder,
    ) -> Self {
        Self::spawn(command(BINARY, arguments, variables, folder.path()), folder).await
    }

    async fn spawn(mut command: Command, folder: Folder) -> Self {
        let mut child = command.spawn().unwrap();
        let written = BufReader::new(child.stderr.take().unwrap());
        let child = Arc::new(Mutex::new(child));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (counted, count) = watch::channel(0);
        let (exited, exit) = watch::channel(None);
        let (own, kept) = (Arc::clone(&child), Arc::clone(&lines));
        thread::spawn(move || {
            for line in written.lines().map_while(Result::ok) {
                kept.lock().push(line);
                counted.send_modify(|count| *count += 1);
            }
            drop(counted);
            // Its standard error is closed, so it is about to be gone.
            exited.send_replace(own.lock().wait().ok());
        });
        let log = Log { lines, count };
        let Some(up) = log.line("outrigger is up").await else {
            panic!("the sidecar did not start:\n{}", log.text())
        };
        let up: Value = serde_json::from_str(&up).unwrap();
        let address = |name: &str| up[name].as_str().unwrap().parse().unwrap();
        let (proxy, admin) = (address("proxy"), address("admin"));
        Self {
            proxy,
            admin,
            child,
            log,
            exit,
            _folder: folder,
        }
    }

    /// Sends a signal by name, to this process and no other.
    pub(crate) fn signal(&self, name: &str) {
        // Held until the signal is sent: as long as nobody waits for the process, its number
        // passes to nobody else.
        let mut child = self.child.lock();
        assert!(
            child.try_wait().unwrap().is_none(),
            "it has ended:\n{}",
            self.log.text()
        );
        let line = format!("kill -{name} {}", child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &line])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Has it stand still until it is sent `CONT`; returns when none of its threads runs any more.
    pub(crate) async fn stop(&self) {
        self.signal("STOP");
        let tasks = format!("/proc/{}/task", self.child.lock().id());
        let stands = |stat: String| {
            stat.rsplit(") ")
                .next()
                .is_some_and(|of| of.starts_with('T'))
        };
        super::until("it stands still", async || {
            let mut threads = std::fs::read_dir(&tasks).unwrap();
            threads
                .all(|of| stands(std::fs::read_to_string(of.unwrap().path().join("stat")).unwrap()))
        })
        .await;
    }

    /// Waits for a line that holds `text`.
    pub(crate) async fn says(&self, text: &str) -> String {
        let line = self.log.line(text).await;
        line.unwrap_or_else(|| panic!("it ended without saying {text:?}:\n{}", self.log.text()))
    }

    /// Everything it has written to standard error.
    pub(crate) fn said(&self) -> String {
        self.log.text()
    }

    /// Waits until it has ended; its exit code.
    pub(crate) async fn exit_code(&self) -> Option<i32> {
        let mut exit = self.exit.clone();
        let status = *exit.wait_for(Option::is_some).await.unwrap();
        status.unwrap().code()
    }

    /// The most memory it ever had.
    pub(crate) fn memory_peak_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.lock().id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.lock().kill());
    }
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the binary to its end in a folder of its own.
pub(crate) async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    run_in(Folder::new(), arguments, variables).await
}

pub(crate) async fn run_in(folder: Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Run {
    let mut command = command(BINARY, arguments, variables, folder.path());
    command.stdout(Stdio::piped());
    let child = Arc::new(Mutex::new(command.spawn().unwrap()));
    let _guard = Killed(Arc::clone(&child));
    let (out, err) = {
        let mut child = child.lock();
        (child.stdout.take().unwrap(), child.stderr.take().unwrap())
    };
    let read = |mut from: Box<dyn std::io::Read + Send>| {
        task::spawn_blocking("read", move || {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        })
    };
    let (out, err) = (read(Box::new(out)), read(Box::new(err)));
    let (out, err) = (out.await.unwrap(), err.await.unwrap());
    // Both streams have ended, so this does not take long.
    let code = child.lock().wait().unwrap().code();
    Run { code, out, err }
}

struct Killed(Arc<Mutex<Child>>);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.lock().kill());
    }
}

fn command(
    program: &str,
    arguments: &[&str],
    variables: &[(&str, &str)],
    folder: &Path,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}
