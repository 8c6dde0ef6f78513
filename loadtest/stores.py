"""Two stores behind one or several sidecars: what `cutover`, `follower-dead` and `mirror-cost` share.

A pair is named by two kinds, the primary's first: `pgvector`, `embedded`, or `qdrant`, which is an
`outrigger serve` on an embedded store of its own and stands in for a Qdrant. Several sidecars
cannot share an embedded store, so there `embedded` means such a stand-in as well.

What is compared in the end is what each store answers when it is opened alone, by a sidecar that
knows of no other.
"""

import http.client
import json
import os
import signal
import time

import harness

KINDS = ("pgvector", "embedded", "qdrant")
SHOWN = 5
# Cosine vectors may be normalised on either side of a copy.
VECTOR_DIFFERENCE_MAX = 1e-5
PAGE = 500
CALL_SECONDS_MAX = 120


class Wrong(Exception):
    """An answer that is not what it has to be."""


def pair_of(text):
    """For argparse: `pgvector-embedded`."""
    kinds = tuple(text.split("-"))
    if len(kinds) != 2 or any(kind not in KINDS for kind in kinds):
        raise ValueError(text)
    return kinds


# --- Stores ---------------------------------------------------------------------------------------


class Embedded:
    def __init__(self, running, name):
        self.path = running.new_path(name)

    def settings(self):
        return f'kind = "embedded"\npath = "{self.path}"\n'


class Database:
    """A database of its own in a PostgreSQL that others use as well."""

    def __init__(self, server, name):
        self.server, self.url = server, server.database(name)

    def settings(self):
        return f'kind = "pgvector"\nurl = "{self.url}"\n'

    def kill(self):
        self.server.kill()

    def start(self):
        self.server.start()

    def pause(self):
        self.server.pause()

    def resume(self):
        self.server.resume()

    def cpu_seconds(self):
        return self.server.cpu_seconds()


class StandIn:
    """An `outrigger serve` that stands in for a Qdrant, to be killed and to come back."""

    def __init__(self, running, binary, name):
        self.running, self.binary, self.name = running, binary, name
        self.port, self.admin_port = harness.free_ports(2)
        self.data = running.new_path(f"{name}-data")
        self.child = None
        self.start()

    def start(self):
        config = self.running.new_path(f"{self.name}.toml")
        config.write_text(
            f'listen = "127.0.0.1:{self.port}"\nadmin_listen = "127.0.0.1:{self.admin_port}"\n'
            f'data_dir = "{self.data}"\n[primary]\nkind = "embedded"\n[cache]\nenabled = false\n'
        )
        self.child = self.running.start(self.name, [self.binary, "serve", "--config", config])
        harness.wait_for_port(self.port, self.child)

    def settings(self):
        return f'kind = "qdrant"\nurl = "http://127.0.0.1:{self.port}"\n'

    def kill(self):
        self.child.process.kill()
        self.child.process.wait()
        # What is killed on purpose is not looked after.
        self.running.children.remove(self.child)

    def pause(self):
        self.child.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.child.process.send_signal(signal.SIGCONT)

    def cpu_seconds(self):
        return harness.cpu_seconds([self.child.pid])


def build(running, binary, kind, name, server):
    """A new store of this kind; `server` is the PostgreSQL, where there is one."""
    if kind == "pgvector":
        return Database(server, name.replace("-", "_"))
    return StandIn(running, binary, name) if kind == "qdrant" else Embedded(running, name)


# --- Sidecars -------------------------------------------------------------------------------------


def start_sidecar(running, binary, primary, secondary=None, *, name="outrigger", control=None, settings=""):
    """`outrigger serve` over one store or two. `settings` begins with a table of its own."""
    port, admin_port = harness.free_ports(2)
    text = (
        f'listen = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{admin_port}"\n'
        f'data_dir = "{running.new_path(f"{name}-data")}"\n'
        f"[primary]\n{primary.settings()}"
    )
    if secondary:
        text += f"[secondary]\n{secondary.settings()}"
        if "[cutover]" not in settings:
            # Modes walk as somebody says; how well both stores agree is another test's.
            text += "[cutover]\ngate = false\n"
    if control:
        text += f'[control]\nurl = "{control}"\n'
    config = running.new_path(f"{name}.toml")
    config.write_text(text + settings)
    child = running.start(name, [binary, "serve", "--config", config])
    harness.wait_for_port(port, child)
    admin = f"http://127.0.0.1:{admin_port}/readyz"
    harness.wait_until(
        lambda: harness.http_status(admin) == 200, child, "answer 200 at /readyz of its admin side"
    )
    return harness.Outrigger(child, port, admin_port)


class Caller:
    """One kept connection to a proxy or an admin side; opened again when it was closed."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS_MAX)

    def ask(self, method, path, body=None, headers=None):
        """Status and text."""
        body = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise

    def call(self, method, path, body=None, headers=None):
        status, text = self.ask(method, path, body, headers)
        if status != 200:
            raise Wrong(f"{method} {path}: {status} {text[:300]}")
        return json.loads(text)


class Admin:
    """What a person or a script does at the admin side of one sidecar. Connections are not kept."""

    def __init__(self, outrigger):
        self.outrigger = outrigger

    def call(self, method, path, body=None):
        return Caller(self.outrigger.admin_port).call(method, path, body)

    def set_mode(self, mode, why):
        """What was done, or why not (`done` tells)."""
        wish = {"mode": mode, "why": why, "who": "loadtest"}
        status, text = Caller(self.outrigger.admin_port).ask("PUT", "/api/mode", wish)
        if status not in (200, 409):
            raise Wrong(f"PUT /api/mode to {mode}: {status} {text[:300]}")
        return json.loads(text)

    def sweep(self):
        self.call("POST", "/api/sync/sweep")

    def followed(self):
        """The directions that are followed, as GET /api/sync tells of them."""
        return [of for of in self.call("GET", "/api/sync")["directions"] if of["followed"]]

    def waiting(self):
        return sum(of["waiting"] for of in self.followed())

    def metric(self, name):
        """The sum over a metric's labels, or None when it is not there."""
        _, text = Caller(self.outrigger.admin_port).ask("GET", "/metrics")
        lines = (line.partition(" ") for line in text.decode().splitlines())
        found = [float(value.split()[0]) for key, _, value in lines if key.partition("{")[0] == name]
        return sum(found) if found else None


def must_set_mode(admin, mode, why="a load test"):
    said = admin.set_mode(mode, why)
    if not said["done"]:
        raise Wrong(f"{mode}: {said['status']['error']}")
    return said


def until_compared(admins, seconds_max, waiting_max=0):
    """Waits until nothing is left to compare and at most so many marks wait, at every sidecar.

    Returns the seconds that it took.
    """
    began, open_ = time.monotonic(), None
    while time.monotonic() - began < seconds_max:
        open_ = [of for admin in admins for of in admin.followed() if is_open(of, waiting_max)]
        if not open_:
            return time.monotonic() - began
        time.sleep(0.1)
    raise Wrong(f"not in sync after {seconds_max} s: {json.dumps(open_)[:1000]}")


def is_open(direction, waiting_max):
    left = direction["sweeps"] or direction["sweeping"] or direction["dead_letters"]
    return bool(left) or bool(direction["blocked"]) or direction["waiting"] > waiting_max


# --- What is in a store ---------------------------------------------------------------------------


def read_alone(running, binary, store, collection, control=None):
    """Everything in a store that no sidecar has open any more: id -> (payload, vector).

    `control` is a place of its own for the mode: that of the store is of other sidecars.
    """
    sidecar = start_sidecar(
        running, binary, store, name="reader", control=control, settings="[cache]\nenabled = false\n"
    )
    try:
        return read_all(sidecar.port, collection)
    finally:
        running.end([sidecar.child])


def read_all(port, collection):
    caller, found, offset = Caller(port), {}, None
    while True:
        body = {"limit": PAGE, "with_payload": True, "with_vector": True, "offset": offset}
        path = f"/collections/{collection}/points/scroll"
        page = caller.call("POST", path, body)["result"]
        for point in page["points"]:
            found[point["id"]] = (point["payload"] or {}, point["vector"])
        offset = page["next_page_offset"]
        if offset is None:
            return found


def differences(one, other, names):
    """What differs between two stores, told in words; nothing when they are equal."""
    told = []
    for id_ in sorted(one.keys() | other.keys(), key=str):
        if id_ not in one or id_ not in other:
            told.append(f"point {id_} is not in the {names[0] if id_ not in one else names[1]}")
        elif one[id_][0] != other[id_][0]:
            told.append(f"point {id_}: payloads {one[id_][0]} and {other[id_][0]}")
        elif not near(one[id_][1], other[id_][1]):
            told.append(f"point {id_}: the vectors differ")
    return told


def near(one, other):
    if one is None or other is None or len(one) != len(other):
        return one == other
    return all(abs(a - b) <= VECTOR_DIFFERENCE_MAX for a, b in zip(one, other))


def shown(told):
    """The first few, for a person."""
    more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return [*told[:SHOWN], *more]


# --- Figures --------------------------------------------------------------------------------------


def quantile(sorted_values, share):
    """The value that a share of them does not exceed."""
    at = min(len(sorted_values) - 1, int(share * len(sorted_values)))
    return sorted_values[at]


def heading(what):
    load = os.getloadavg()[0]
    busy = "; other work was running when this began" if load > 0.7 else ""
    return f"{what}, {os.cpu_count()} processors; load of the machine {load:.1f}{busy}"


def keep(running, folder):
    """The logs of a run that failed."""
    os.makedirs(folder, exist_ok=True)
    for log in running.folder.glob("*.log"):
        with open(os.path.join(folder, log.name), "wb") as kept:
            kept.write(log.read_bytes())
