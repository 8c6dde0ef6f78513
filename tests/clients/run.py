"""The real clients against Outrigger.

    run.py [--binary PATH] [--store embedded|pgvector] TOUR
    run.py --url URL [--api-key KEY] TOUR      against a server that is there already

TOUR is python, javascript, langchain, llamaindex, mem0 or adopt. The Python that runs this has to
have the packages of the requirements.txt of that name; the JavaScript client is looked for in the
folder that OUTRIGGER_TEST_NODE_MODULES names. `tests/run` sees to both.

A sidecar is started for the tour, on an empty store (the embedded one unless --store says pgvector;
then a PostgreSQL of its own, too) and ports of its own. Without --binary it is built first. The
tour adopt is always over pgvector: frameworks write tables there, and sidecars serve those.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import pathlib
import subprocess
import sys
import unittest
from typing import Any

import harness
import postgres

ADOPTED = ["mem0", "langchain", "llamaindex", "open_webui", "vecs", "dify", "anythingllm"]

# What a tour is made of, and the packages whose versions its summary names.
TOURS = {
    "python": (
        ["tour_collections", "tour_points", "tour_queries", "tour_whole"],
        ["qdrant-client"],
    ),
    "langchain": (["tour_langchain"], ["langchain-core", "langchain-qdrant", "qdrant-client"]),
    "llamaindex": (
        ["tour_llamaindex"],
        ["llama-index-core", "llama-index-vector-stores-qdrant", "qdrant-client"],
    ),
    "mem0": (["tour_mem0"], ["mem0ai", "qdrant-client"]),
    "javascript": ([], []),
    "adopt": (
        [*(f"adopt.tour_{name}" for name in ADOPTED)],
        ["mem0ai", "langchain-postgres", "llama-index-vector-stores-postgres", "vecs"],
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--binary", type=pathlib.Path)
    parser.add_argument("--store", choices=["embedded", "pgvector"], default="embedded")
    parser.add_argument("--url")
    parser.add_argument("--api-key")
    parser.add_argument("--only", help="tests whose name has this in it")
    parser.add_argument("tour", choices=sorted(TOURS))
    given = parser.parse_args()

    outcome = harness.Outcome()
    with contextlib.ExitStack() as stack:
        if given.tour == "adopt":
            binary = given.binary.resolve() if given.binary else harness.build()
            server = stack.enter_context(postgres.server())
            # Imported here: only this tour has what it needs.
            scene = importlib.import_module("adopt.scene")
            rig = scene.Rig(server, binary, outcome, stack)
            return outcome.summary(python(rig, outcome, given.tour, given.only))
        if given.url:
            target = harness.Target(given.url.rstrip("/"), given.api_key)
        else:
            binary = given.binary.resolve() if given.binary else harness.build()
            store = harness.EMBEDDED
            if given.store == "pgvector":
                server = stack.enter_context(postgres.server())
                store = pgvector(server.database("outrigger"))
            target = stack.enter_context(harness.sidecar(binary, outcome, store))
        if given.tour == "javascript":
            about = javascript(target, outcome, given.only)
        else:
            about = python(target, outcome, given.tour, given.only)
    return outcome.summary(about)


def pgvector(address: str) -> str:
    return f'[primary]\nkind = "pgvector"\nurl = {json.dumps(address)}\n'


def python(target: Any, outcome: harness.Outcome, tour: str, only: str | None) -> str:
    modules, packages = TOURS[tour]
    for module in modules:
        for test in importlib.import_module(module).tests(target):
            if only is None or only in test.id():
                unittest.TestSuite([test]).run(outcome)
    versions = [f"{package} {importlib.metadata.version(package)}" for package in packages]
    return ", ".join(versions)


def javascript(target: harness.Target, outcome: harness.Outcome, only: str | None) -> str:
    """The tour says one JSON line a test, and one with the versions at its end."""
    script = pathlib.Path(__file__).with_name("tour_javascript.mjs")
    process = subprocess.Popen(
        ["node", script, target.url, target.api_key or "", only or ""],
        stdout=subprocess.PIPE,
        text=True,
    )
    about = None
    for line in process.stdout:
        kind, _, rest = line.rstrip("\n").partition(" ")
        if kind == "ok":
            outcome.say(rest, None)
        elif kind == "not":
            name, _, trouble = rest.partition(" ")
            outcome.say(name, trouble.replace("\\n", "\n"))
        elif kind == "versions":
            about = rest
        else:
            print(line, end="")
    if process.wait() != 0 or about is None:
        outcome.say("javascript", f"the tour broke off: exit code {process.returncode}")
    return about or "the tour broke off"


if __name__ == "__main__":
    sys.exit(main())
