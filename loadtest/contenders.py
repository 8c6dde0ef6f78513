"""What `compare` compares: suites of contenders, each a function that starts one.

A suite puts the same requests to all of its contenders and says which ratios it holds them to.
"""

import json
import os
import random
import urllib.request
from dataclasses import dataclass

import harness

REQUEST_PATH = "/collections/bench/points/query"
REQUEST_BYTES = 7 * 1024
ANSWER_BYTES = 2 * 1024

# So many different questions are put to a cache, in no order: with one only, whoever asks while
# it is looked for in Redis would be given what another was given.
QUESTIONS = 1000


@dataclass(frozen=True)
class Upstream:
    child: harness.Child
    port: int


@dataclass(frozen=True)
class Target:
    """A contender that is running and can be asked."""

    child: harness.Child
    port: int
    answer_bytes: int = 0  # on the wire, head included; known once it has been probed
    admin_port: int = 0  # of an Outrigger
    tier: str = ""  # the tier of its cache that has to answer


@dataclass(frozen=True)
class Limit:
    """What the median of one contender's figure over another's is held to."""

    words: str
    figure: str
    of: str
    to: str
    most: float | None = None
    least: float | None = None

    def complaint(self, ratio):
        if self.most is not None and ratio > self.most:
            return f"{self.words} of {self.of} {ratio:.2f} times {self.to}'s, limit {self.most}"
        if self.least is not None and ratio < self.least:
            return f"{self.words} of {self.of} {ratio:.2f} times {self.to}'s, at least {self.least}"
        return None


@dataclass(frozen=True)
class Suite:
    """One question, put to several contenders. To ask a new one, add a suite to SUITES."""

    name: str
    contenders: dict  # name -> function (bench, upstream) -> Target, in the order they take turns
    bodies: list  # one of them at random for each request, all of one length
    limits: list
    upstream_is_asked: bool
    speeds: tuple = ("fast", "slow")
    connections: tuple = ("keepalive", "close")


def start_direct(_bench, upstream):
    return Target(upstream.child, upstream.port)


def start_nginx(bench, upstream):
    return start_nginx_with(bench, upstream, cache=False)


def start_nginx_cache(bench, upstream):
    return start_nginx_with(bench, upstream, cache=True)


def start_nginx_with(bench, upstream, *, cache):
    (port,) = harness.free_ports(1)
    folder = bench.harness.new_path("nginx")
    folder.mkdir()
    config_path = folder / "nginx.conf"
    workers = bench.options.nginx_workers
    config_path.write_text(nginx_config(folder, port, upstream.port, workers, cache))
    command = ["nginx", "-p", folder, "-e", "stderr", "-c", config_path]
    child = bench.harness.start("nginx", command)
    harness.wait_for_port(port, child)
    return Target(child, port)


def nginx_config(folder, port, upstream_port, workers, cache):
    # The limits on kept connections are lifted, so that nginx does not reopen them every
    # thousand requests; bodies stay in memory. Everything else is as Debian's nginx has it.
    temporary = "\n".join(
        f"    {kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # With the body in the key, or every search would be the same; with as much in memory as it
    # offers: the keys, the open files, and the kernel's own cache of their pages.
    zone = f"""
    proxy_cache_path {folder}/kept keys_zone=kept:64m max_size=1g inactive=1h use_temp_path=off;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    client_body_in_single_buffer on;
""" if cache else ""
    rules = """
            proxy_cache kept;
            proxy_cache_methods GET HEAD POST;
            proxy_cache_key "$http_api_key|$request_method|$request_uri|$request_body";
            proxy_cache_valid 200 1h;
""" if cache else ""
    return f"""
daemon off;
{"user root;" if os.geteuid() == 0 else ""}
pid {folder}/nginx.pid;
error_log stderr warn;
worker_processes {workers};
events {{
    worker_connections 4096;
}}
http {{
    access_log off;
    default_type application/json;
{temporary}
    client_body_buffer_size 64k;
    keepalive_requests 100000000;
{zone}
    upstream floor {{
        server 127.0.0.1:{upstream_port};
        keepalive 256;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://floor;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
{rules}
        }}
    }}
}}
"""


def start_outrigger(bench, upstream):
    started = harness.start_outrigger(bench.harness, bench.binaries.outrigger, upstream.port)
    return Target(started.child, started.port)


def start_outrigger_l1(bench, upstream):
    return start_outrigger_cache(bench, upstream, "l1", 'ttl = "1h"\n')


def start_outrigger_l2(bench, upstream):
    redis = harness.start_redis(bench.harness)
    bench.redis.append(redis)
    # The first tier forgets at once, so that the second is asked each time.
    url = f'ttl = "1ms"\nredis_ttl = "1h"\nredis_url = "redis://127.0.0.1:{redis.port}/0"\n'
    return start_outrigger_cache(bench, upstream, "l2", url)


def start_outrigger_cache(bench, upstream, tier, settings):
    settings = f"[cache]\nenabled = true\n{settings}"
    started = harness.start_outrigger(
        bench.harness, bench.binaries.outrigger, upstream.port, settings=settings
    )
    return Target(started.child, started.port, admin_port=started.admin_port, tier=tier)


def hits(target):
    url = f"http://127.0.0.1:{target.admin_port}/api/cache"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["tiers"][target.tier]["hits"]


def query_body(length, seed=7):
    """A Qdrant query with a vector, exactly this many bytes long, the same in every run."""
    source = random.Random(seed)
    tail = '],"limit":10,"with_payload":true}'
    text = '{"query":[0.5'
    while len(text) + len(tail) + 11 <= length:
        text += f",{source.uniform(-1, 1):.6f}"
    return (text + tail).ljust(length).encode()


SUITES = [
    Suite(
        name="pass-through",
        contenders={"direct": start_direct, "nginx": start_nginx, "outrigger": start_outrigger},
        bodies=[query_body(REQUEST_BYTES)],
        limits=[
            Limit("CPU per request", "cpu_us", "outrigger", "nginx", most=1.6),
            Limit("p99", "p99_ms", "outrigger", "nginx", most=1.25),
        ],
        upstream_is_asked=True,
    ),
    Suite(
        name="cache",
        contenders={
            "direct": start_direct,
            "nginx": start_nginx_cache,
            "outrigger": start_outrigger_l1,
            "redis": start_outrigger_l2,
        },
        bodies=[query_body(REQUEST_BYTES, seed) for seed in range(QUESTIONS)],
        limits=[
            Limit("CPU per request", "cpu_us", "outrigger", "direct", most=1.6),
            Limit("CPU per request", "cpu_us", "outrigger", "nginx", most=0.4),
            Limit("requests/s", "requests_per_second", "outrigger", "nginx", least=2.0),
            Limit("CPU per request", "cpu_us", "redis", "outrigger", most=2.5),
        ],
        upstream_is_asked=False,
        speeds=("fast",),
        connections=("keepalive",),
    ),
]
CONTENDERS = ["direct", "nginx", "outrigger", "redis"]
