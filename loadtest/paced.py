"""A steady load over kept connections, for latencies: requests are written beforehand, and each has
its time. What is sent late because the connection still waited for an answer counts from the time
it was due, so that a stall is not hidden.
"""

import http.client
import threading
import time
from dataclasses import dataclass, field

TIMEOUT_SECONDS = 10
TROUBLES_KEPT = 20


@dataclass(frozen=True)
class Request:
    kind: str
    method: str
    path: str
    body: bytes


@dataclass
class Measured:
    seconds: float = 0.0
    milliseconds: dict = field(default_factory=dict)  # kind -> sorted
    failures: list = field(default_factory=list)

    def count(self):
        return sum(map(len, self.milliseconds.values()))


def load(port, requests, rate, connections):
    """Sends all of them, so many a second, over so many connections."""
    measured, lock = Measured(), threading.Lock()
    began = time.monotonic() + 0.1

    def work(number):
        connection, taken, troubles, free = None, [], [], 0.0
        for at in range(number, len(requests), connections):
            request, due = requests[at], began + at / rate
            time.sleep(max(0.0, due - time.monotonic()))
            since = due if free > due else time.monotonic()
            try:
                connection = connection or connect(port)
                connection.request(request.method, request.path, request.body, HEADERS)
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    troubles.append(f"{request.kind}: {answer.status} {text[:200]!r}")
            except (OSError, http.client.HTTPException) as error:
                troubles.append(f"{request.kind}: {error!r}")
                connection = None
            free = time.monotonic()
            taken.append((request.kind, 1000 * (free - since)))
        with lock:
            measured.failures += troubles
            for kind, milliseconds in taken:
                measured.milliseconds.setdefault(kind, []).append(milliseconds)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    measured.seconds = time.monotonic() - began
    for values in measured.milliseconds.values():
        values.sort()
    return measured


HEADERS = {"content-type": "application/json"}


def connect(port):
    return http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
