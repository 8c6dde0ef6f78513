"""What `compare` and `run` share: building, starting, waiting, measuring CPU, ending.

Promises:
- Everything runs on loopback, on ports the system picked, in one temporary folder.
- Whatever a `Harness` started is ended when its `with` block is left, on an exception and on
  Ctrl-C too, by the process ids it started itself. Should this interpreter be killed outright,
  the kernel ends its children (PR_SET_PDEATHSIG).
- Children get a clean environment: no QDRANT_URL, DATABASE_URL or REDIS_URL of the machine
  reaches the sidecar, so a run never touches anybody's real store.

It must never end a process that it did not start.
"""

import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOADTEST = ROOT / "loadtest"

CLIENT_VENV = ROOT / "target" / "loadtest-client"
CLIENT_REQUIREMENTS = ("qdrant-client==1.18.0", "numpy==2.4.6")

READY_SECONDS_MAX = 20
END_SECONDS_MAX = 10
BUILD_SECONDS_MAX = 3600
LOG_TAIL_LINES = 20
PR_SET_PDEATHSIG = 1

# The only variables a child inherits. The sidecar takes stores from many names (DESIGN.md,
# section 2), so a list of what may pass is safe where a list of what may not would rot.
ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "RUST_BACKTRACE")

# Settings beyond the addresses, by what a run is meant to show. Pass-through must ask the
# upstream every time; once the sidecar caches, its cache is turned off here.
PASS_THROUGH_SETTINGS = "[cache]\nenabled = false\n"


class Failure(Exception):
    """A run that cannot go on or cannot be trusted. The text is for the person at the terminal."""


class Child:
    """One process of ours with a log file, and with the processes it forked itself."""

    def __init__(self, name, process, log_path):
        self.name = name
        self.process = process
        self.log_path = log_path

    @property
    def pid(self):
        return self.process.pid

    def tree(self):
        """The process ids of this child and of everything it forked, such as nginx's workers."""
        # nginx's cache loader ends by itself after a minute, and has nothing to load.
        forked = descendants(self.pid)
        return [self.pid, *(pid for pid in forked if b"cache loader" not in command_line(pid))]

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Failure(f"{self.name} ended with code {code}:\n{self.log_tail()}")

    def log_tail(self):
        lines = self.log_path.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:]) or "    (no output)"

    def end(self):
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.tree()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()


class Harness:
    """The temporary folder and the children of one run. Use as a context manager."""

    def __init__(self):
        self.children = []
        self.names_used = 0
        self.folder = None
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        folder = tempfile.TemporaryDirectory(prefix="loadtest-")
        self.folder = Path(self.stack.enter_context(folder))
        return self

    def __exit__(self, *_):
        # A second Ctrl-C must not cut the clean-up short; it is bounded by END_SECONDS_MAX.
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
            signal.signal(each, signal.SIG_IGN)
        self.end(self.children)
        self.stack.close()

    def limit(self, seconds):
        """From now on the run has this long; then it fails, and its children are ended."""

        def give_up(*_):
            raise Failure(f"the run was given {seconds} s and is not done")

        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(seconds)

    def start(self, name, command, *, to_terminal=False, environment=None):
        """Starts a process. What it prints goes to a log file unless a person is to read it."""
        log_path = self.new_path(f"{name}.log")
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=None if to_terminal else log,
                stderr=None if to_terminal else subprocess.STDOUT,
                cwd=self.folder,
                env=clean_environment() | (environment or {}),
                # Ctrl-C then reaches this program only, which ends them in order.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        child = Child(name, process, log_path)
        self.children.append(child)
        return child

    def end(self, children):
        """Ends these children, the latest started first: proxies go before their upstreams."""
        for child in reversed(list(children)):
            child.end()
            self.children.remove(child)

    def new_path(self, name):
        """A path in the temporary folder that no other call gets."""
        self.names_used += 1
        return self.folder / f"{self.names_used}-{name}"


def unwind_on_sigterm():
    """SIGTERM ends the program as Ctrl-C does, by an exception, so that clean-up runs."""

    def interrupt(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def die_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def clean_environment():
    return {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}


# --- Starting what the runs need -----------------------------------------------------------


def start_floor(harness, binary, *, bytes_=2048, delay_us=0):
    """The bare-hyper server of floor.rs. Returns the child and its port."""
    child = harness.start("floor", [binary, "--bytes", bytes_, "--delay-us", delay_us])
    prefix = "listening on 127.0.0.1:"

    def announced_port():
        # The line end matters: a line seen half written would give a wrong port.
        line, end, _ = child.log_path.read_text().partition("\n")
        return int(line[len(prefix):]) if end and line.startswith(prefix) else None

    return child, wait_until(announced_port, child, "announce its port")


@dataclass(frozen=True)
class Outrigger:
    child: Child
    port: int
    admin_port: int


def start_outrigger(harness, binary, upstream_port, *, settings=PASS_THROUGH_SETTINGS):
    """`outrigger serve` in front of an upstream that speaks Qdrant's REST API."""
    port, admin_port = free_ports(2)
    data_path = harness.new_path("outrigger-data")
    data_path.mkdir()
    config_path = harness.new_path("outrigger.toml")
    config_path.write_text(
        f'listen = "127.0.0.1:{port}"\n'
        f'admin_listen = "127.0.0.1:{admin_port}"\n'
        f'data_dir = "{data_path}"\n'
        "[primary]\n"
        'kind = "qdrant"\n'
        f'url = "http://127.0.0.1:{upstream_port}"\n'
        f"{settings}"
    )
    child = harness.start("outrigger", [binary, "serve", "--config", config_path])
    wait_for_port(port, child)
    wait_until(
        lambda: http_status(f"http://127.0.0.1:{admin_port}/readyz") == 200,
        child,
        "answer 200 at /readyz of its admin side",
    )
    return Outrigger(child, port, admin_port)


def start_outrigger_alone(harness, binary, *, settings=""):
    """`outrigger serve` on the embedded store."""
    port, admin_port = free_ports(2)
    data_path = harness.new_path("outrigger-data")
    config_path = harness.new_path("outrigger.toml")
    config_path.write_text(
        f'listen = "127.0.0.1:{port}"\n'
        f'admin_listen = "127.0.0.1:{admin_port}"\n'
        f'data_dir = "{data_path}"\n'
        "[primary]\n"
        'kind = "embedded"\n'
        f"{settings}"
    )
    child = harness.start("outrigger", [binary, "serve", "--config", config_path])
    wait_for_port(port, child)
    return Outrigger(child, port, admin_port)


class Redis:
    """A Redis on loopback that keeps nothing on disk, to be killed and to come back empty."""

    def __init__(self, harness):
        self.harness = harness
        (self.port,) = free_ports(1)
        self.child = None

    def start(self):
        require_debian(["redis-server"])
        command = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no"]
        self.child = self.harness.start("redis", command)
        wait_for_port(self.port, self.child)
        # What is killed on purpose is not looked after.
        self.harness.children.remove(self.child)

    def kill(self):
        self.child.process.kill()
        self.child.process.wait()

    def pause(self):
        self.child.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.child.process.send_signal(signal.SIGCONT)


def start_redis(harness):
    redis = Redis(harness)
    redis.start()
    return redis


# --- The Python client and numpy ------------------------------------------------------------


def run_with_client():
    """Goes on in the virtual environment that has the client, which is made when it is missing."""
    python = CLIENT_VENV / "bin" / "python"
    if Path(sys.prefix) == CLIENT_VENV:
        return
    ready = CLIENT_VENV / "ready"
    if not ready.exists() or ready.read_text() != "\n".join(CLIENT_REQUIREMENTS):
        print(f"installing {' and '.join(CLIENT_REQUIREMENTS)} into {CLIENT_VENV}", file=sys.stderr)
        venv.create(CLIENT_VENV, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if subprocess.run([*command, *CLIENT_REQUIREMENTS], check=False).returncode != 0:
            raise Failure("the Python client could not be installed")
        ready.write_text("\n".join(CLIENT_REQUIREMENTS))
    os.execv(python, [python, *sys.argv])


# --- Building -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Binaries:
    floor: Path
    outrigger: Path | None  # None when the run does without


def find_binaries(*, build, want_outrigger=True, outrigger=None, floor=None):
    """Builds what no path was given for, and makes sure that all are there."""
    given = {"floor": floor}
    if want_outrigger:
        given["outrigger"] = outrigger or os.environ.get("OUTRIGGER_BINARY")
    missing = [name for name, path in given.items() if not path]
    if build and missing:
        build_release(missing)
    found = {name: Path(path or built_path(name)).absolute() for name, path in given.items()}
    for path in found.values():
        if not os.access(path, os.X_OK):
            raise Failure(f"{path} is not a program that can be run; leave out --no-build")
    return Binaries(found["floor"], found.get("outrigger"))


def find_outrigger(given, *, build):
    """The sidecar alone, built when no path was given for it."""
    given = given or os.environ.get("OUTRIGGER_BINARY")
    if build and not given:
        build_release(["outrigger"])
    path = Path(given or built_path("outrigger")).absolute()
    if not os.access(path, os.X_OK):
        raise Failure(f"{path} is not a program that can be run; leave out --no-build")
    return path


def built_path(name):
    return target_folder() / "release" / {"outrigger": "outrigger", "floor": "examples/floor"}[name]


def build_release(names):
    targets = {"outrigger": ["--bin", "outrigger"], "floor": ["--example", "floor"]}
    command = ["cargo", "build", "--release", *(word for name in names for word in targets[name])]
    done = subprocess.run(command, cwd=ROOT, timeout=BUILD_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)} ended with code {done.returncode}")


def target_folder():
    """Asked of cargo, because CARGO_TARGET_DIR and cargo's own settings can both move it."""
    command = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"{' '.join(command)}: {done.stderr.strip()}")
    return Path(json.loads(done.stdout)["target_directory"])


def require_debian(programs):
    """Installs Debian's packages of these programs where one is missing; needs root for that."""
    missing = [name for name in programs if not shutil.which(name)]
    if not missing:
        return
    if os.geteuid() != 0:
        names = " ".join(missing)
        raise Failure(f"{names} missing: install with apt-get, or run this as root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise Failure(f"apt-get {' '.join(words)}:\n{done.stdout}{done.stderr}")


# --- Ports and readiness ----------------------------------------------------------------------


def free_ports(count):
    """Ports that were free a moment ago. All are held until the last is found: no doubles."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(probe, child, purpose):
    """Polls `probe` until it returns something true, which is returned, or time is up."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        child.check_alive()
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise Failure(
        f"{child.name} did not {purpose} within {READY_SECONDS_MAX} s:\n{child.log_tail()}"
    )


def wait_for_port(port, child):
    wait_until(lambda: accepts(port), child, f"listen on port {port}")


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def http_status(url):
    """The status of a GET, or None when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return None


# --- CPU time ----------------------------------------------------------------------------------


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def descendants(pid):
    found = []
    # Children are listed by the thread that forked them; a process may go while it is read.
    with contextlib.suppress(OSError):
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, listing.read_text().split()):
                found += [child, *descendants(child)]
    return found


def cpu_seconds(pids):
    """User and system time that these processes have used, all threads, ended ones included.

    It reads each process's CPU clock (clock_getcpuclockid(3)): the same count as utime + stime
    in /proc/PID/stat, but in nanoseconds where that file has ticks of 10 ms.
    """
    try:
        return sum(time.clock_gettime(process_clock(pid)) for pid in pids)
    except OSError as error:
        raise Failure(f"one of the processes {pids} is gone: {error}") from error


def process_clock(pid):
    # The kernel's encoding; Python has no clock_getcpuclockid. 2 is the scheduler's clock.
    return (~pid << 3) | 2
