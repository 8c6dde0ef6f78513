"""Starts the sidecar on an empty store, and counts what the tours did.

A tour does not know what it talks to: it gets a `Target`. That is how the same tours run against
any other store.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS_MAX = 60
END_SECONDS_MAX = 60

# The settings of a sidecar over the store it brings along.
EMBEDDED = '[primary]\nkind = "embedded"\n'

# A loopback has no need of TLS.
warnings.filterwarnings("ignore", "Api key is used with an insecure connection")


@dataclass(frozen=True)
class Target:
    """Where the tours go. Set once, by run.py, before any tour is loaded."""

    url: str
    api_key: str | None = None

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2].strip("/"))


def build() -> pathlib.Path:
    """The binary of this tree, built unless it is there already: a stale one proves nothing."""
    subprocess.run(
        ["cargo", "build", "--quiet", "--locked", "--bin", "outrigger"], cwd=ROOT, check=True
    )
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target"))
    return ROOT / target / "debug" / "outrigger"


class Sidecar:
    """One process with a data folder of its own, both gone at the end."""

    def __init__(self, binary: pathlib.Path, folder: pathlib.Path, store: str) -> None:
        config = folder / "outrigger.toml"
        config.write_text(
            'listen = "127.0.0.1:0"\n'
            'admin_listen = "127.0.0.1:0"\n'
            f"data_dir = {json.dumps(str(folder / 'data'))}\n"
            '[log]\nformat = "json"\n'
            f"{store}"
        )
        self.log = folder / "log"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [binary, "serve", "--config", config],
                cwd=folder,
                # Nothing else: our settings, and the stores', can come from the environment.
                env={"PATH": os.defpath, "RUST_BACKTRACE": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def target(self) -> Target:
        """Waits for the line that says where it listens."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while self.process.poll() is None and time.monotonic() < deadline:
            for line in self.lines():
                if "proxy" in line:
                    return Target(f"http://{line['proxy']}")
            time.sleep(0.02)
        raise SystemExit(f"the sidecar did not start:\n{self.log.read_text(errors='replace')}")

    def lines(self) -> Iterator[dict]:
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                yield json.loads(line)

    def end(self) -> list[str]:
        """What was wrong with it, or with its end."""
        troubles = []
        if self.process.poll() is not None:
            troubles.append(f"it had ended, with exit code {self.process.returncode}")
        self.process.terminate()
        try:
            if (code := self.process.wait(timeout=END_SECONDS_MAX)) != 0 and not troubles:
                troubles.append(f"told to stop, it ended with exit code {code}")
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            troubles.append(f"told to stop, it was there after {END_SECONDS_MAX} seconds")
        text = self.log.read_text(errors="replace")
        if "panicked" in text or any(line.get("level") == "ERROR" for line in self.lines()):
            troubles.append(f"its log has errors:\n{text[-8000:]}")
        return troubles


@contextlib.contextmanager
def sidecar(binary: pathlib.Path, outcome: Outcome, store: str = EMBEDDED) -> Iterator[Target]:
    """`store` is what the settings say of it, and of anything else that comes after it."""
    with tempfile.TemporaryDirectory(prefix="outrigger-clients-") as folder:
        process = Sidecar(binary, pathlib.Path(folder), store)
        try:
            yield process.target()
        finally:
            # Not a test that passes, or a run without tests would have passed one.
            if troubles := process.end():
                outcome.say("the_sidecar_takes_no_harm", "\n".join(troubles))


class Patient(unittest.IsolatedAsyncioTestCase):
    """Tests with a loop that does not mind being blocked: that is what a synchronous client does."""

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().slow_callback_duration = 600


class Outcome(unittest.TestResult):
    """Says one line a test, as it ends; what went wrong follows it. `tests/run` reads these."""

    def __init__(self) -> None:
        super().__init__()
        self.passed: list[str] = []
        self.failed: list[str] = []

    def say(self, name: str, trouble: str | None) -> None:
        (self.failed if trouble else self.passed).append(name)
        print(f"{'FAILED' if trouble else 'ok'} {name}", flush=True)
        if trouble:
            print("    " + trouble.rstrip().replace("\n", "\n    "), flush=True)

    def name(self, test: unittest.TestCase) -> str:
        words = test.id().split(".")[-2:]
        return ".".join(words) if len(words) == 2 else test.id()

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.say(self.name(test), None)

    def addFailure(self, test: unittest.TestCase, error: tuple) -> None:
        self.say(self.name(test), error_text(error))

    addError = addFailure

    def addSubTest(self, test: unittest.TestCase, part: unittest.TestCase, error: tuple) -> None:
        if error is not None:
            self.say(f"{self.name(test)} {part.id().partition(' ')[2]}", error_text(error))

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        # Nothing here may be skipped: what cannot run has not been shown.
        self.say(self.name(test), f"skipped: {reason}")

    def summary(self, about: str) -> int:
        """The last line, and the exit code."""
        print(f"clients: {len(self.passed)} passed, {len(self.failed)} failed; {about}")
        sys.stdout.flush()
        return 1 if self.failed or not self.passed else 0


def error_text(error: tuple) -> str:
    return "".join(traceback.format_exception(*error, limit=-4))
