"""A PostgreSQL with pgvector of a tour's own: made for it, gone with it.

`tests/run` says where the binaries are and, when root (whom PostgreSQL refuses), as whom to run
them.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

BINARIES = "OUTRIGGER_TEST_PG_BIN"
ACCOUNT = "OUTRIGGER_TEST_PG_USER"
START_SECONDS_MAX = 60


class Postgres:
    """Reachable by anybody on this machine, without a password, while the tour lasts."""

    def __init__(self, folder: pathlib.Path) -> None:
        if not os.environ.get(BINARIES):
            raise SystemExit(
                f"{BINARIES} does not say where initdb and postgres are; see tests/run"
            )
        self.binaries = pathlib.Path(os.environ[BINARIES])
        self.account = os.environ.get(ACCOUNT)
        self.log = folder / "log"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        home = folder / "pg"
        home.mkdir(mode=0o700)
        if self.account:
            shutil.chown(home, self.account, pwd.getpwnam(self.account).pw_gid)
        self.data = home / "data"
        self.run(
            "initdb",
            f"--pgdata={self.data}",
            *("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"),
        )

    def options(self) -> dict[str, Any]:
        """As whom, where, and with how little of our environment its programs run."""
        switch = {}
        if self.account:
            account = pwd.getpwnam(self.account)
            switch = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
        return {**switch, "cwd": "/", "env": environment, "stdin": subprocess.DEVNULL}

    def run(self, program: str, *arguments: str) -> str:
        line = [str(self.binaries / program), *arguments]
        done = subprocess.run(line, capture_output=True, text=True, **self.options())
        if done.returncode != 0:
            raise RuntimeError(f"{program} ended with exit code {done.returncode}:\n{done.stderr}")
        return done.stdout

    def start(self) -> None:
        # A port is free when it is picked, and may be taken before the server takes it.
        for _ in range(3):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
            settings = {
                "listen_addresses": "127.0.0.1",
                "port": self.port,
                "unix_socket_directories": "",
                "shared_buffers": "64MB",
                "fsync": "off",
                "full_page_writes": "off",
            }
            given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
            with open(self.log, "wb") as output:
                self.process = subprocess.Popen(
                    [str(self.binaries / "postgres"), "-D", str(self.data), *given],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    **self.options(),
                )
            deadline = time.monotonic() + START_SECONDS_MAX
            while self.process.poll() is None and time.monotonic() < deadline:
                if "ready to accept connections" in self.log.read_text(errors="replace"):
                    return
                time.sleep(0.02)
            self.end()
        raise SystemExit(f"PostgreSQL did not start:\n{self.log.read_text(errors='replace')}")

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            # Immediate shutdown: nothing of it is kept.
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What psql says: a row a line, its columns between bars."""
        where = ["--host=127.0.0.1", f"--port={self.port}", "--username=postgres"]
        how = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        return self.run("psql", *where, *how, f"--dbname={database}", f"--command={statement}")

    def database(self, name: str) -> str:
        """A new database, and its address as a sidecar's settings name it."""
        self.sql(f'create database "{name}"')
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}?sslmode=disable"


@contextlib.contextmanager
def server() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="outrigger-pg-") as name:
        folder = pathlib.Path(name)
        # The server's account has to reach its own folder in it.
        folder.chmod(0o711)
        postgres = Postgres(folder)
        try:
            postgres.start()
            yield postgres
        finally:
            postgres.end()
