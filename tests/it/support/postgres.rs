//! A PostgreSQL with pgvector of a story's own: made when the story begins, gone when it ends, and
//! stopped, killed or started again as the story wants.
//!
//! `tests/run` says where the binaries are and, where the tests run as root (whom PostgreSQL
//! refuses), as whom to run them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use tokio_postgres::{Client, NoTls};

use super::Reserved;
use super::folder::Folder;

const BINARIES: &str = "OUTRIGGER_TEST_PG_BIN";
const ACCOUNT: &str = "OUTRIGGER_TEST_PG_USER";

pub(crate) struct Postgres {
    child: Option<Child>,
    port: Reserved,
    data: PathBuf,
    _folder: Folder,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        let home = folder.path().join("pg");
        std::fs::create_dir(&home).unwrap();
        if let Some(account) = account() {
            let done = Command::new("chown").arg(&account).arg(&home).status();
            assert!(done.unwrap().success());
        }
        let data = home.join("data");
        let made = command("initdb")
            .arg("--pgdata")
            .arg(&data)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C", "--no-sync"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "initdb failed:\n{said}");
        let mut postgres = Self {
            child: None,
            port: Reserved::port(),
            data,
            _folder: folder,
        };
        postgres.start_again();
        postgres
    }

    /// Returns once it takes connections.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let port = self.port.port.to_string();
        let mut command = command("postgres");
        command.arg("-D").arg(&self.data);
        for setting in [
            "listen_addresses=127.0.0.1",
            &format!("port={port}"),
            "unix_socket_directories=",
            "fsync=off",
            "full_page_writes=off",
            "shared_buffers=64MB",
            "max_connections=100",
            "log_error_verbosity=terse",
        ] {
            command.args(["-c", setting]);
        }
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let written = BufReader::new(child.stderr.take().unwrap());
        let (ready, is_ready) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut said = Vec::new();
            for line in written.lines().map_while(Result::ok) {
                if line.contains("ready to accept connections") {
                    drop(ready.try_send(Ok(())));
                }
                if said.len() < 50 {
                    said.push(line);
                }
            }
            drop(ready.try_send(Err(said.join("\n"))));
        });
        self.child = Some(child);
        if let Err(said) = is_ready.recv().unwrap() {
            panic!("PostgreSQL did not start:\n{said}");
        }
    }

    /// Keeps a copy of the data as they are while it does not run.
    pub(crate) fn keep(&self) {
        assert!(self.child.is_none(), "it runs");
        copy(&self.data, &self.kept());
    }

    /// Has the copy that was kept take the place of the data.
    pub(crate) fn put_back(&self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(&self.data).unwrap();
        copy(&self.kept(), &self.data);
    }

    fn kept(&self) -> PathBuf {
        self.data.with_extension("kept")
    }

    /// Ends every connection in the middle of what it does. Data is kept.
    pub(crate) fn stop(&mut self) {
        self.end("QUIT");
    }

    fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        // The account is another than ours; the number is not waited for yet, so it is still its.
        let line = format!("kill -{signal} {}", child.id());
        drop(Command::new("sh").args(["-c", &line]).status());
        drop(child.wait());
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.port
    }

    pub(crate) fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// The address of something that stands before it.
    pub(crate) fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// Settings of a sidecar over it, without its listeners, its data in `data`.
    pub(crate) fn toml(&self, data: &Folder) -> String {
        format!(
            "data_dir = \"{}\"\nprimary.kind = \"pgvector\"\nprimary.url = \"{}\"\n",
            data.path().display(),
            self.url()
        )
    }

    /// A connection that goes round the sidecar.
    pub(crate) async fn client(&self) -> Client {
        connect(&self.url()).await
    }

    /// The same to the database that PostgreSQL itself keeps, where the sidecar's is shut.
    pub(crate) async fn client_beside(&self) -> Client {
        connect(&self.url().replace("/postgres?", "/template1?")).await
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(done.unwrap().success());
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    outrigger::task::spawn("psql", async move { drop(connection.await) });
    client
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.end("QUIT");
    }
}

/// A program of PostgreSQL's, to be run as whom it lets run it.
fn command(program: &str) -> Command {
    let binaries = variable(BINARIES).unwrap_or_else(|| {
        panic!(
            "{BINARIES} is not set: it names the folder with initdb and postgres (with pgvector); \
             run these tests with tests/run, which sets it"
        )
    });
    let program = PathBuf::from(binaries).join(program);
    let mut command = match account() {
        Some(account) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={account}"));
            command.args(["--regid", &group_of(&account), "--clear-groups", "--"]);
            command.arg(program);
            command
        }
        None => Command::new(program),
    };
    // A folder that is there and may be entered by whoever it is.
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("LC_ALL", "C");
    command
}

fn account() -> Option<String> {
    variable(ACCOUNT)
}

fn group_of(account: &str) -> String {
    let printed = Command::new("id").args(["-g", account]).output().unwrap();
    String::from_utf8(printed.stdout).unwrap().trim().to_owned()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests/run tells its tests where the servers are"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}
