"""Mixed traffic of Qdrant's own Python client at a steady rate, every answer checked by content.

Each client is a thread that owns some points and is the only one to write them, so it knows what is
stored: which of its points there are, with which payload, and with the vector of which version.
Whatever it reads after a write was acknowledged has to be exactly that: an older version is a stale
read, a point that is not there a lost one, one that was deleted and is there a risen one. Clients
take turns over the sidecars, and with `cross` they read through other sidecars than they write to.

A call that fails is a failure, whatever it was. What it may have touched is unknown from then on,
and is left out until it has been written again.

Clients live in processes of their own: one Python can have one thread at work at a time.
"""

import json
import math
import multiprocessing
import random
import signal
import threading
import time
import traceback
import uuid
from dataclasses import dataclass, field

from harness import Failure
from stores import VECTOR_DIFFERENCE_MAX, quantile

GROUPS = 5
KEYS = 40
# A client that was held up does not make up for more than this.
LATE_SECONDS_MAX = 1.0
TROUBLES_KEPT = 50

READS = {"retrieve": 15, "scroll": 12, "count": 11, "search": 17, "batch search": 5}
WRITES = {
    "upsert": 13, "set payload": 7, "set by filter": 4, "overwrite payload": 2,
    "delete": 4, "delete by filter": 2, "update vectors": 3, "batch": 4, "upsert, no wait": 1,
}


@dataclass(frozen=True)
class Plan:
    collection: str
    ports: tuple  # of the sidecars
    rate: float  # requests per second, of all clients together
    processes: int
    threads: int  # in each process
    size: int = 32
    cross: bool = False
    # How old a client's last write has to be before it reads through another sidecar.
    cross_after: float = 0.0
    seed: int = 1


@dataclass
class Outcome:
    calls: list = field(default_factory=list)  # (phase, name, began, seconds)
    failures: list = field(default_factory=list)  # (phase, text)
    wrong: list = field(default_factory=list)  # (phase, text)
    # What has to be stored: id -> (payload, version of the vector); and the ids nobody knows about.
    stored: dict = field(default_factory=dict)
    unknown: set = field(default_factory=set)
    audits: int = 0


def vector_of(id_, version, size):
    """Of length 1, the same everywhere for the same point and version."""
    dice = random.Random(f"{id_}:{version}")
    raw = [dice.gauss(0, 1) for _ in range(size)]
    length = math.sqrt(sum(x * x for x in raw))
    return [x / length for x in raw]


def id_of(owner, key):
    """A number, and for every third point a UUID: stores keep the two apart."""
    number = owner * 1000 + key
    return str(uuid.UUID(int=(0xA5 << 120) + number)) if key % 3 == 2 else number


class Client:
    def __init__(self, plan, number, clients, shared):
        from qdrant_client import models

        self.plan, self.number, self.models, self.shared = plan, number, models, shared
        self.clients, self.home = clients, number % len(clients)
        self.dice = random.Random((plan.seed << 20) + number)
        self.ids = [id_of(number, key) for key in range(KEYS)]
        self.points = {}  # key -> (payload, version of the vector)
        self.unknown = set()
        self.version = 0
        self.last_write = 0.0
        self.audited = 0
        self.outcome = Outcome()

    # --- The loop

    def run(self):
        plan, interval = self.plan, self.plan.processes * self.plan.threads / self.plan.rate
        due = time.monotonic() + self.dice.random() * interval
        while not self.shared.stop.wait(max(0.0, due - time.monotonic())):
            phase = self.shared.phase.value
            name = self.choose()
            began = time.monotonic()
            self.step(name)
            now = time.monotonic()
            self.outcome.calls.append((phase, name, began, now - began))
            due = max(due + interval, now - LATE_SECONDS_MAX)
        # With nothing under way any more: the last word on what this client wrote.
        self.step("audit")
        self.outcome.stored = {self.ids[key]: told for key, told in self.points.items()}
        self.outcome.unknown = {self.ids[key] for key in self.unknown}
        return self.outcome

    def choose(self):
        wanted = self.shared.audit.value
        if self.audited < wanted:
            self.audited = wanted
            return "audit"
        if len(self.points) < KEYS // 3:
            return "upsert"
        kinds = READS | WRITES
        return self.dice.choices(list(kinds), list(kinds.values()))[0]

    def step(self, name):
        touched = set()
        try:
            getattr(self, "do_" + name.replace(" ", "_").replace(",", ""))(touched)
        except Exception as error:  # whatever it is, a client of ours got no answer
            for key in touched:
                self.points.pop(key, None)
            self.unknown |= touched
            text = f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
            self.trouble(self.outcome.failures, f"{name}: {text}")

    def trouble(self, where, text):
        with self.shared.troubles.get_lock():
            self.shared.troubles.value += 1
        if len(where) < TROUBLES_KEPT:
            where.append((self.shared.phase.value, f"{time.strftime('%H:%M:%S')} {text}"))

    def wrong(self, what, text):
        self.trouble(self.outcome.wrong, f"{what}: client {self.number}: {text}")

    # --- Where to

    def writer(self):
        self.last_write = time.monotonic()
        return self.clients[self.home]

    def reader(self):
        """Another sidecar than that of the writes, now and then."""
        plan = self.plan
        ripe = time.monotonic() - self.last_write >= plan.cross_after
        if plan.cross and ripe and len(self.clients) > 1 and self.dice.random() < 0.3:
            away = self.dice.randrange(1, len(self.clients))
            return self.clients[(self.home + away) % len(self.clients)]
        return self.clients[self.home]

    # --- What is stored

    def some(self, keys, most):
        keys = sorted(keys)
        return self.dice.sample(keys, min(len(keys), self.dice.randint(1, most)))

    def payload(self, key):
        return {
            "owner": self.number, "key": key, "group": key % GROUPS, "version": self.version,
            "text": f"what was said the {self.version}th time about point {key}",
        }

    def point(self, key):
        vector = vector_of(self.ids[key], self.version, self.plan.size)
        return self.models.PointStruct(id=self.ids[key], vector=vector, payload=self.payload(key))

    def mine(self, **more):
        models = self.models
        named = {"owner": self.number, **more}
        return models.Filter(must=[
            models.FieldCondition(key=key, match=models.MatchValue(value=value))
            for key, value in named.items()
        ])

    def put(self, keys):
        for key in keys:
            self.points[key] = (self.payload(key), self.version)
            self.unknown.discard(key)

    def patch(self, keys, changes):
        for key in keys:
            payload, vector = self.points[key]
            self.points[key] = ({**payload, **changes}, vector)

    def in_group(self, group):
        return {key for key in self.points if key % GROUPS == group}

    # --- Writes. `touched` is told first: what fails half-way is not known.

    def do_upsert(self, touched, wait=True):
        keys = self.some(range(KEYS), 4)
        touched.update(keys)
        self.version += 1
        self.writer().upsert(self.plan.collection, [self.point(key) for key in keys], wait=wait)
        self.put(keys)

    def do_upsert_no_wait(self, touched):
        # Stores of ours have applied it when they answer.
        self.do_upsert(touched, wait=False)

    def do_set_payload(self, touched):
        keys = self.some(self.points, 3)
        touched.update(keys)
        self.version += 1
        changes = {"version": self.version, "mood": f"m{self.version}"}
        ids = [self.ids[key] for key in keys]
        self.writer().set_payload(self.plan.collection, changes, points=ids)
        self.patch(keys, changes)

    def do_set_by_filter(self, touched):
        group = self.dice.randrange(GROUPS)
        keys = self.in_group(group)
        touched.update(keys, {key for key in self.unknown if key % GROUPS == group})
        self.version += 1
        changes = {"version": self.version, "season": self.version % 4}
        self.writer().set_payload(self.plan.collection, changes, points=self.mine(group=group))
        self.patch(keys, changes)

    def do_overwrite_payload(self, touched):
        keys = self.some(self.points, 1)
        touched.update(keys)
        self.version += 1
        payload = self.payload(keys[0])
        self.writer().overwrite_payload(
            self.plan.collection, payload, points=[self.ids[keys[0]]]
        )
        self.points[keys[0]] = (payload, self.points[keys[0]][1])

    def do_update_vectors(self, touched):
        keys = self.some(self.points, 2)
        touched.update(keys)
        self.version += 1
        size, models = self.plan.size, self.models
        vectors = [
            models.PointVectors(id=self.ids[key], vector=vector_of(self.ids[key], self.version, size))
            for key in keys
        ]
        self.writer().update_vectors(self.plan.collection, vectors)
        for key in keys:
            self.points[key] = (self.points[key][0], self.version)

    def do_delete(self, touched):
        keys = self.some(self.points, 2)
        touched.update(keys)
        self.writer().delete(self.plan.collection, [self.ids[key] for key in keys])
        for key in keys:
            del self.points[key]

    def do_delete_by_filter(self, touched):
        group = self.dice.randrange(GROUPS)
        keys = self.in_group(group)
        unknown = {key for key in self.unknown if key % GROUPS == group}
        touched.update(keys, unknown)
        self.writer().delete(self.plan.collection, self.mine(group=group))
        for key in keys:
            del self.points[key]
        self.unknown -= unknown

    def do_batch(self, touched):
        models = self.models
        put = self.some(range(KEYS), 3)
        gone = [key for key in self.some(self.points, 1) if key not in put]
        touched.update(put, gone)
        self.version += 1
        changes = {"version": self.version, "mood": "batch"}
        points = models.PointsList(points=[self.point(key) for key in put])
        ids = [self.ids[key] for key in put]
        operations = [
            models.UpsertOperation(upsert=points),
            models.SetPayloadOperation(
                set_payload=models.SetPayload(payload=changes, points=ids[:1])
            ),
        ]
        if gone:
            ids = models.PointIdsList(points=[self.ids[key] for key in gone])
            operations.append(models.DeleteOperation(delete=ids))
        self.writer().batch_update_points(self.plan.collection, operations)
        self.put(put)
        self.patch(put[:1], changes)
        for key in gone:
            del self.points[key]

    # --- Reads

    def do_retrieve(self, _):
        keys = self.some(set(range(KEYS)) - self.unknown, 5)
        found = self.reader().retrieve(
            self.plan.collection, [self.ids[key] for key in keys], with_payload=True, with_vectors=True
        )
        self.judge("retrieve", found, keys)

    def do_scroll(self, _):
        group = self.dice.randrange(GROUPS)
        found, _more = self.reader().scroll(
            self.plan.collection, self.mine(group=group), limit=KEYS, with_payload=True,
            with_vectors=self.dice.random() < 0.5,
        )
        self.judge("scroll", found, range(group, KEYS, GROUPS))

    def do_audit(self, _):
        self.outcome.audits += 1
        found, _more = self.reader().scroll(
            self.plan.collection, self.mine(), limit=KEYS * 2, with_payload=True, with_vectors=True
        )
        self.judge("audit", found, range(KEYS))

    def do_count(self, _):
        expected, unknown = len(self.points), len(self.unknown)
        counted = self.reader().count(self.plan.collection, self.mine(), exact=True).count
        if not expected <= counted <= expected + unknown:
            what = "lost" if counted < expected else "risen"
            self.wrong(what, f"count: {counted} of {expected} points")

    def search(self, key):
        """One of our own points, asked for by its own vector."""
        payload, version = self.points[key]
        vector = vector_of(self.ids[key], version, self.plan.size)
        chosen = self.mine(group=payload["group"]) if self.dice.random() < 0.5 else self.mine()
        return vector, chosen

    def judge_first(self, how, key, found):
        if not found:
            return self.wrong("lost", f"{how}: nothing is found, expected {self.ids[key]}")
        ours = [point for point in found if point.id == self.ids[key]]
        if found[0].id != self.ids[key] and not (ours and found[0].score - ours[0].score < 1e-5):
            self.wrong("stale", f"{how}: the first is {found[0].id}, expected {self.ids[key]}")
        self.judge(how, ours, [key])

    def do_search(self, touched):
        keys = self.some(self.points, 1)
        vector, chosen = self.search(keys[0])
        found = self.reader().query_points(
            self.plan.collection, query=vector, query_filter=chosen, limit=5, with_payload=True
        )
        self.judge_first("search", keys[0], found.points)

    def do_batch_search(self, _):
        models, keys = self.models, self.some(self.points, 3)
        requests = []
        for key in keys:
            vector, chosen = self.search(key)
            requests.append(models.QueryRequest(
                query=vector, filter=chosen, limit=3, with_payload=True, with_vector=True
            ))
        answers = self.reader().query_batch_points(self.plan.collection, requests)
        for key, answer in zip(keys, answers, strict=True):
            self.judge_first("batch search", key, answer.points)

    def judge(self, how, found, keys):
        """Whether these points, and only these of the keys, are there as they were written."""
        seen = {point.id: point for point in found}
        for key in keys:
            if key in self.unknown:
                continue
            point = seen.get(self.ids[key])
            if key not in self.points:
                if point is not None:
                    self.wrong("risen", f"{how}: {self.ids[key]} was deleted, and is {point.payload}")
                continue
            payload, version = self.points[key]
            if point is None:
                self.wrong("lost", f"{how}: {self.ids[key]}, written as version {payload['version']}")
            elif point.payload != payload:
                self.wrong("stale", f"{how}: {self.ids[key]} is {point.payload}, not {payload}")
            elif point.vector is not None and not self.is_vector(key, version, point.vector):
                self.wrong("stale", f"{how}: {self.ids[key]} has not the vector of version {version}")

    def is_vector(self, key, version, vector):
        wanted = vector_of(self.ids[key], version, self.plan.size)
        return all(abs(a - b) <= VECTOR_DIFFERENCE_MAX for a, b in zip(wanted, vector, strict=True))


# --- Processes ------------------------------------------------------------------------------------


class Shared:
    """What the processes of clients and the program that started them tell one another."""

    def __init__(self, context):
        self.stop, self.phase = context.Event(), context.Value("i", 0)
        self.audit = context.Value("i", 0)
        self.troubles, self.ready = context.Value("i", 0), context.Value("i", 0)
        self.go = context.Event()


def work(plan, process, shared, pipe):
    from qdrant_client import QdrantClient

    # Ctrl-C is for the program that started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    clients = [QdrantClient(url=f"http://127.0.0.1:{port}") for port in plan.ports]
    with shared.ready.get_lock():
        shared.ready.value += 1
    shared.go.wait()
    outcomes = []

    def one(number):
        client = Client(plan, number, clients, shared)
        try:
            outcomes.append(client.run())
        except BaseException:  # a bug of ours must not pass for a quiet run
            client.trouble(client.outcome.failures, traceback.format_exc()[-1000:])
            outcomes.append(client.outcome)

    first = process * plan.threads
    threads = [threading.Thread(target=one, args=(first + at,)) for at in range(plan.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pipe.send(outcomes)


class Traffic:
    """Starts with `start`, and ends with `finish`. `phase` names what is going on from now on."""

    def __init__(self, plan):
        self.plan = plan
        # By fork: nothing of ours runs in threads, and the client is imported once.
        self.context = multiprocessing.get_context("fork")
        self.names = ["the start"]
        self.shared = Shared(self.context)
        self.processes = []
        self.began = self.ended = 0.0

    def start(self, seconds_max=120):
        """Returns when all clients are there and begin."""
        import qdrant_client  # noqa: F401 (once, and not in every process)

        for number in range(self.plan.processes):
            ours, theirs = self.context.Pipe(duplex=False)
            process = self.context.Process(
                target=work, args=(self.plan, number, self.shared, theirs), daemon=True
            )
            process.start()
            theirs.close()
            self.processes.append((process, ours))
        deadline = time.monotonic() + seconds_max
        while self.shared.ready.value < self.plan.processes:
            if time.monotonic() > deadline:
                raise Failure(f"the clients were not ready within {seconds_max} s")
            time.sleep(0.05)
        self.shared.go.set()
        self.began = time.monotonic()

    def phase(self, name):
        self.names.append(name)
        with self.shared.phase.get_lock():
            self.shared.phase.value = len(self.names) - 1

    def audit(self):
        """Has every client read all that it owns, as its next request."""
        with self.shared.audit.get_lock():
            self.shared.audit.value += 1

    def troubles(self):
        return self.shared.troubles.value

    def finish(self, seconds_max=60):
        """Lets what is under way end; what all clients saw, as one."""
        self.shared.stop.set()
        self.shared.go.set()
        self.ended = time.monotonic()
        whole, deadline = Outcome(), time.monotonic() + seconds_max
        for process, pipe in self.processes:
            try:
                is_there = pipe.poll(max(0.0, deadline - time.monotonic()))
                outcomes = pipe.recv() if is_there else []
            except EOFError:
                outcomes = []
            if not outcomes:
                whole.failures.append((0, "a process of clients ended without a word"))
            for each in outcomes:
                whole.calls += each.calls
                whole.failures += each.failures
                whole.wrong += each.wrong
                whole.stored |= each.stored
                whole.unknown |= each.unknown
                whole.audits += each.audits
            process.join(5)
            if process.is_alive():
                process.kill()
        return whole

    def told(self, troubles):
        """What went wrong, the earliest first, with what was going on at the time."""
        return [f"in {self.names[phase]}: {text}" for phase, text in sorted(troubles)]

    def rate(self, outcome):
        return len(outcome.calls) / max(1e-9, self.ended - self.began)


def is_write(name):
    return name in WRITES


def slowest(names, calls, *, writes):
    """Milliseconds of the slowest call, what it was and when, in words."""
    ours = [call for call in calls if is_write(call[1]) == writes]
    phase, name, _, seconds = max(ours, key=lambda call: call[3], default=(0, "none", 0.0, 0.0))
    return f"{1000 * seconds:.0f} ms ({name}, {names[phase]})"


def table(names, calls):
    """Lines: requests, and p50, p99 and the longest of writes and reads, by phase."""
    figures = lambda what: f"{what + ': p50':>13}{'p99':>8}{'longest':>9}"
    yield f"  {'':30}{'requests':>9}{figures('writes')}{figures('reads')}"
    merged = {}
    for phase, name, _, seconds in calls:
        label = names[phase] if phase < len(names) else "?"
        merged.setdefault(label, ([], []))[0 if is_write(name) else 1].append(seconds * 1000)
    for label, (writes, reads) in sorted(merged.items(), key=lambda item: names.index(item[0])):
        line = f"  {label:30}{len(writes) + len(reads):9}"
        for values, width in ((writes, 13), (reads, 13)):
            values.sort()
            if values:
                line += f"{quantile(values, 0.5):{width}.1f}{quantile(values, 0.99):8.1f}{values[-1]:9.1f}"
            else:
                line += f"{'-':>{width}}{'-':>8}{'-':>9}"
        yield line


def missing(outcome, found, size):
    """Acknowledged writes that a store does not have, and what it has too much, in words.

    `found` is what `stores.read_all` gave.
    """
    told = []
    for id_, (payload, version) in outcome.stored.items():
        if id_ not in found:
            told.append(f"point {id_} is lost")
        elif found[id_][0] != payload:
            told.append(f"point {id_} is {json.dumps(found[id_][0])}, not {json.dumps(payload)}")
        else:
            wanted = vector_of(id_, version, size)
            if any(abs(a - b) > VECTOR_DIFFERENCE_MAX for a, b in zip(wanted, found[id_][1])):
                told.append(f"point {id_} has not the vector of version {version}")
    known = outcome.stored.keys() | outcome.unknown
    return told + [f"point {id_} was deleted" for id_ in found if id_ not in known]
