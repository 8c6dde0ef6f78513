"""A PostgreSQL with pgvector of a run's own, for the programs that need one.

It is found by --pg-bin, OUTRIGGER_TEST_PG_BIN or in Debian's folders. PostgreSQL refuses root: as root
it is run as --pg-user or OUTRIGGER_TEST_PG_USER. It keeps its own settings, fsync included, but for
1 GB of shared buffers, max_wal_size and what --pg says.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import harness
from harness import Failure

PROGRAMS = ("initdb", "postgres", "pgbench", "psql")
CALL_SECONDS_MAX = 3000


def add_options(add):
    add("--pg-bin", help="the folder of PostgreSQL's programs (or OUTRIGGER_TEST_PG_BIN)")
    add("--pg-user", default=os.environ.get("OUTRIGGER_TEST_PG_USER", "nobody"))
    add("--pg", action="append", default=[], metavar="SETTING=VALUE", help="for PostgreSQL")



class Postgres:
    def __init__(self, running, options):
        self.running, self.binaries = running, binaries_of(options)
        self.user = options.pg_user if os.geteuid() == 0 else None
        (self.port,) = harness.free_ports(1)
        self.folder = running.new_path("postgres")
        self.folder.mkdir()
        if self.user:
            shutil.chown(self.folder, self.user)
            running.folder.chmod(0o711)
        data = self.folder / "data"
        made = self.command("initdb", "-D", data, "-U", "postgres", "--auth=trust")
        made += ["--encoding=UTF8", "--locale=C", "--no-sync"]
        self.done(subprocess.run(made, capture_output=True, text=True, cwd="/", check=False))
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", "unix_socket_directories="]
        settings += ["shared_buffers=1GB", "max_wal_size=4GB", *options.pg]
        self.line = self.command("postgres", "-D", data)
        for setting in settings:
            self.line += ["-c", setting]
        self.child = None
        self.start()

    def start(self):
        self.child = self.running.start("postgres", self.line)
        # It listens before it answers: what was killed is recovered first.
        harness.wait_until(self.answers, self.child, "answer")

    def answers(self):
        try:
            return self.ask("select 1") == "1"
        except Failure:
            return False

    def command(self, program, *words):
        change = ["setpriv", f"--reuid={self.user}", "--regid=nogroup", "--clear-groups"]
        found = change if self.user and program in ("initdb", "postgres") else []
        return [*found, str(self.binaries / program), *map(str, words)]

    @staticmethod
    def done(run):
        if run.returncode != 0:
            raise Failure(f"{' '.join(map(str, run.args))[:200]}:\n{run.stderr[-2000:]}")
        return run.stdout

    @property
    def url(self):
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def database(self, name):
        """A new database, and its address as a sidecar's settings name it."""
        self.ask(f'create database "{name}"')
        return f"postgres://postgres@127.0.0.1:{self.port}/{name}?sslmode=disable"

    def client(self, program, *words, options=""):
        command = self.command(program, "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", *words)
        environment = harness.clean_environment() | {"PGOPTIONS": options}
        run = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CALL_SECONDS_MAX,
            check=False,
        )
        return self.done(run)

    def ask(self, sql):
        return self.client("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", sql).strip()

    def cpu_seconds(self):
        """Of the server: of what runs, and of the sessions that have ended."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        ended = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        living = 0.0
        for pid in self.child.tree():
            with contextlib.suppress(Failure):
                living += harness.cpu_seconds([pid])
        return ended + living

    def stop(self):
        self.child.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.process.wait(60)

    # --- What befalls a follower

    def kill(self):
        """At once, without a word to anybody. What was committed is there after `start`."""
        self.child.process.send_signal(signal.SIGQUIT)
        self.child.process.wait(60)
        self.running.children.remove(self.child)

    def pause(self):
        for pid in self.child.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.child.tree():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def binaries_of(options):
    given = options.pg_bin or os.environ.get("OUTRIGGER_TEST_PG_BIN")
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = [Path(given)] if given else debian
    for folder in found:
        if all((folder / name).exists() for name in PROGRAMS):
            return folder
    raise Failure("no PostgreSQL with pgbench is found: name its folder of programs with --pg-bin")


