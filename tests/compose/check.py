"""Is docker-compose.yml what it promises to be? Checked without a container engine: against the
Compose Specification's own schema, then against the rules below.

Each rule must find nothing in the file as it is, and something in the same file with one thing
broken, for each way of breaking it listed below. A rule that notices nothing would be no rule.

compose-spec.json is that schema, unchanged (Apache-2.0, the Compose Specification's authors).
"""

from __future__ import annotations

import copy
import json
import pathlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import jsonschema
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "tests/compose/compose-spec.json").read_text())
PROFILES = ["redis", "pgvector", "qdrant", "all"]
SIDECAR = "outrigger"

# The variables that have names of their own, as they are used in the field. Every other one is a
# key of config/default.toml.
NAMED_VARIABLES = {
    "DATABASE_URL",
    "EMBEDDING_MODEL",
    "MEMORY_EMBEDDING_CACHE",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OUTRIGGER_QDRANT_API_KEY",
    "OUTRIGGER_QDRANT_URL",
    "REDIS_PASSWORD",
    "REDIS_URL",
    "VECTOR_SIZE",
    "VECTOR_STORE_MODE",
}


@dataclass
class Deployment:
    """docker-compose.yml with what belongs to it."""

    text: str
    compose: dict
    dockerfile: str
    settings: str
    env_files: dict[str, dict[str, str]]

    @staticmethod
    def read() -> Deployment:
        text = (ROOT / "docker-compose.yml").read_text()
        return Deployment(
            text=text,
            compose=yaml.safe_load(text),
            dockerfile=(ROOT / "config/Dockerfile").read_text(),
            settings=(ROOT / "config/default.toml").read_text(),
            env_files={
                path.stem: env_file(path) for path in (ROOT / "config/compose").glob("*.env")
            },
        )

    @property
    def services(self) -> dict[str, dict]:
        return self.compose["services"]

    def active(self, profile: str | None) -> set[str]:
        """The services that start: those without a profile, and those of this one."""
        return {
            name
            for name, service in self.services.items()
            if not service.get("profiles") or profile in service["profiles"]
        }

    def dependencies(self, name: str) -> dict[str, dict]:
        wanted = self.services[name].get("depends_on", {})
        return wanted if isinstance(wanted, dict) else {other: {} for other in wanted}


def env_file(path: pathlib.Path) -> dict[str, str]:
    lines = (line.strip() for line in path.read_text().splitlines())
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def variables_of_keys(settings: str) -> set[str]:
    """Every key of the settings file, those that are commented out for want of a default too."""
    found = set()
    section: list[str] = []
    for line in settings.splitlines():
        line = line.removeprefix("# ")
        if table := re.match(r"\[([a-z_.]+)\]$", line):
            section = table[1].split(".")
        elif key := re.match(r"([a-z][a-z0-9_]*) = ", line):
            found.add("OUTRIGGER_" + "__".join([*section, key[1]]).upper())
    return found


# ---- the rules: each yields what is wrong ------------------------------------------------------


def follows_the_schema(it: Deployment) -> Iterator[str]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for error in validator.iter_errors(it.compose):
        yield f"{'.'.join(map(str, error.absolute_path))}: {error.message}"


def every_service_has_a_health_check(it: Deployment) -> Iterator[str]:
    for name, service in it.services.items():
        check = service.get("healthcheck", {})
        if not check.get("test") or check.get("disable"):
            yield name


def every_image_is_pinned(it: Deployment) -> Iterator[str]:
    bases = re.findall(r"^FROM (\S+)", it.dockerfile, re.MULTILINE)
    for image in [*(service.get("image", "") for service in it.services.values()), *bases]:
        # A release, not a channel: `18` or `stable` will be another image next month.
        if not re.search(r":v?\d+\.\d+[^:/]*$", image):
            yield image or "a service without an image"


def only_the_sidecar_is_published(it: Deployment) -> Iterator[str]:
    for name, service in it.services.items():
        if name != SIDECAR and (service.get("ports") or service.get("network_mode") == "host"):
            yield name


def published_ports_bind_loopback(it: Deployment) -> Iterator[str]:
    for name, service in it.services.items():
        for port in service.get("ports", []):
            short = str(port).rpartition(":")[0].rpartition(":")[0]
            if (port.get("host_ip") if isinstance(port, dict) else short) != "127.0.0.1":
                yield f"{name}: {port}"


def the_sidecar_listens_where_it_is_published(it: Deployment) -> Iterator[str]:
    environment = it.services[SIDECAR]["environment"]
    listeners = {
        str(environment.get(name, "")).rpartition(":")[2]
        for name in ("OUTRIGGER_LISTEN", "OUTRIGGER_ADMIN_LISTEN")
    }
    published = {str(port).rpartition(":")[2] for port in it.services[SIDECAR].get("ports", [])}
    if published != listeners:
        yield f"published {sorted(published)}, listening {sorted(listeners)}"


def both_listeners_ask_for_a_secret_of_their_own(it: Deployment) -> Iterator[str]:
    for setting, variable in [
        ("OUTRIGGER_AUTH__API_KEY", "OUTRIGGER_API_KEY"),
        ("OUTRIGGER_AUTH__ADMIN_TOKEN", "OUTRIGGER_ADMIN_TOKEN"),
    ]:
        value = it.services[SIDECAR]["environment"].get(setting) or ""
        if not value.startswith("${" + variable + ":?"):
            yield f"{setting} is {value!r}"


def the_sidecar_is_confined(it: Deployment) -> Iterator[str]:
    sidecar = it.services[SIDECAR]
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", str(sidecar.get("user", ""))):
        yield "runs as root"
    if f"USER {sidecar.get('user')}\n" not in it.dockerfile:
        yield "the image is made for another user"
    if not sidecar.get("read_only"):
        yield "its root file system can be written"
    drain = int(tomllib.loads(it.settings)["shutdown_grace"].removesuffix("s"))
    if int(sidecar.get("stop_grace_period", "10s").removesuffix("s")) <= drain:
        yield f"is killed before it has drained, which may take {drain} s"
    data = it.services[SIDECAR]["environment"].get("OUTRIGGER_DATA_DIR")
    if data not in {str(volume).partition(":")[2] for volume in sidecar.get("volumes", [])}:
        yield "its data folder is not on a volume"


def every_volume_is_declared_and_used(it: Deployment) -> Iterator[str]:
    used = {
        str(volume).partition(":")[0]
        for service in it.services.values()
        for volume in service.get("volumes", [])
    }
    yield from used ^ set(it.compose.get("volumes", {}))


def every_network_is_declared_and_used(it: Deployment) -> Iterator[str]:
    used = {
        name for service in it.services.values() for name in service.get("networks", ["default"])
    }
    yield from (used - {"default"}) ^ set(it.compose.get("networks", {}))


def the_profiles_are_the_promised_ones(it: Deployment) -> Iterator[str]:
    found = {profile for service in it.services.values() for profile in service.get("profiles", [])}
    yield from found ^ set(PROFILES)
    yield from {f"{name}.env" for name in it.env_files} ^ {f"{name}.env" for name in PROFILES}
    if it.services[SIDECAR].get("profiles"):
        yield "the sidecar runs in some profiles only"
    for name in set(it.services) - it.active("all"):
        yield f"{name} is not in the profile all"


def every_profile_has_what_it_depends_on(it: Deployment) -> Iterator[str]:
    for profile in [None, *PROFILES]:
        active = it.active(profile)
        for name in sorted(active):
            for other, how in it.dependencies(name).items():
                if other not in active and how.get("required", True):
                    yield f"{name} needs {other}, which the profile {profile} does not start"


def the_sidecar_waits_for_every_store(it: Deployment) -> Iterator[str]:
    waits = it.dependencies(SIDECAR)
    for name in set(it.services) - {SIDECAR}:
        if waits.get(name, {}).get("condition") != "service_healthy":
            yield name


def nothing_is_required_of_a_profile_that_is_off(it: Deployment) -> Iterator[str]:
    # Compose fills in the whole file before it looks at profiles.
    for name, service in it.services.items():
        if service.get("profiles") and ":?" in json.dumps(service):
            yield name


def the_sidecar_gets_only_settings_it_knows(it: Deployment) -> Iterator[str]:
    yield from set(it.services[SIDECAR]["environment"]).difference(
        NAMED_VARIABLES, variables_of_keys(it.settings)
    )
    yield from (name for name in NAMED_VARIABLES if name not in it.settings)


def env_files_set_what_the_compose_file_takes(it: Deployment) -> Iterator[str]:
    passed_on = {
        name for name, value in it.services[SIDECAR]["environment"].items() if value is None
    }
    taken = passed_on | set(re.findall(r"\$\{(\w+)", json.dumps(it.compose)))
    for profile, variables in it.env_files.items():
        yield from (f"{profile}.env: {name}" for name in set(variables) - taken)


def env_files_name_services_of_their_profile(it: Deployment) -> Iterator[str]:
    for profile, variables in it.env_files.items():
        stores = it.active(profile) - {SIDECAR}
        named = {
            urlsplit(re.sub(r"\$\{[^}]*\}", "x", value)).hostname
            for name, value in variables.items()
            if name.endswith("_URL")
        }
        yield from (f"{profile}.env and its services differ in {name}" for name in named ^ stores)


def the_commands_at_the_top_exist(it: Deployment) -> Iterator[str]:
    commands = re.findall(r"^#   docker compose (.+)$", it.text, re.MULTILINE)
    for profile in PROFILES:
        wanted = f"--profile {profile} --env-file config/compose/{profile}.env up "
        if not any(command.startswith(wanted) for command in commands):
            yield f"no command for the profile {profile}"
    for word in re.findall(r"--profile (\w+)|config/compose/(\w+)\.env", " ".join(commands)):
        if not set(word) & set(PROFILES):
            yield " ".join(word)


def the_image_is_named_after_the_package(it: Deployment) -> Iterator[str]:
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    image = f"{package['name']}:{package['version']}"
    if it.services[SIDECAR]["image"] != image:
        yield f"the package is {image}"
    if f"rust:{package['rust-version']}." not in it.dockerfile:
        yield f"the builder is not Rust {package['rust-version']}"


# ---- what breaks each --------------------------------------------------------------------------


def changed(service: str, **values: object) -> Callable[[Deployment], None]:
    def change(it: Deployment) -> None:
        it.services[service].update(values)

    return change


def setting(name: str, value: str | None) -> Callable[[Deployment], None]:
    return lambda it: it.services[SIDECAR]["environment"].update({name: value})


def given(profile: str, **variables: str) -> Callable[[Deployment], None]:
    return lambda it: it.env_files[profile].update(variables)


def replaced(part: str, old: str, new: str) -> Callable[[Deployment], None]:
    return lambda it: setattr(it, part, getattr(it, part).replace(old, new))


HEALTHY = {"condition": "service_healthy", "required": False}

RULES: dict[Callable[[Deployment], Iterator[str]], list[Callable[[Deployment], None]]] = {
    follows_the_schema: [changed("redis", restrat="always"), changed("redis", ports={})],
    every_service_has_a_health_check: [
        changed("redis", healthcheck={"interval": "5s"}),
        changed("redis", healthcheck={"disable": True}),
    ],
    every_image_is_pinned: [
        changed("qdrant", image="qdrant/qdrant:latest"),
        changed("qdrant", image="qdrant/qdrant"),
        replaced("dockerfile", "FROM debian:", "FROM debian:stable-slim #"),
    ],
    only_the_sidecar_is_published: [
        changed("qdrant", ports=["127.0.0.1:6343:6333"]),
        changed("redis", network_mode="host"),
    ],
    published_ports_bind_loopback: [
        changed(SIDECAR, ports=["6333:6333"]),
        changed(SIDECAR, ports=["0.0.0.0:6333:6333"]),
        changed(SIDECAR, ports=[{"target": 6333, "published": "6333"}]),
    ],
    the_sidecar_listens_where_it_is_published: [setting("OUTRIGGER_LISTEN", "0.0.0.0:6335")],
    both_listeners_ask_for_a_secret_of_their_own: [
        setting("OUTRIGGER_AUTH__API_KEY", None),
        setting("OUTRIGGER_AUTH__ADMIN_TOKEN", "${OUTRIGGER_ADMIN_TOKEN:-}"),
    ],
    the_sidecar_is_confined: [
        changed(SIDECAR, user="0:0"),
        changed(SIDECAR, user="1000:1000"),
        changed(SIDECAR, read_only=False),
        changed(SIDECAR, stop_grace_period="30s"),
        changed(SIDECAR, volumes=["outrigger-data:/data"]),
    ],
    every_volume_is_declared_and_used: [changed("qdrant", volumes=["other:/qdrant/storage"])],
    every_network_is_declared_and_used: [changed("qdrant", networks=["other"])],
    the_profiles_are_the_promised_ones: [
        changed("redis", profiles=["redis"]),
        changed("redis", profiles=["cache", "all"]),
        changed(SIDECAR, profiles=PROFILES),
        lambda it: it.env_files.pop("redis"),
    ],
    every_profile_has_what_it_depends_on: [
        changed(SIDECAR, depends_on={"redis": {"condition": "service_healthy"}}),
        changed("qdrant", depends_on=["redis"]),
    ],
    the_sidecar_waits_for_every_store: [
        changed(SIDECAR, depends_on=["redis", "qdrant", "pgvector"]),
        changed(SIDECAR, depends_on={"redis": HEALTHY, "qdrant": HEALTHY}),
    ],
    nothing_is_required_of_a_profile_that_is_off: [
        changed("pgvector", environment={"POSTGRES_PASSWORD": "${POSTGRES_PASSWORD:?}"}),
    ],
    the_sidecar_gets_only_settings_it_knows: [
        setting("OUTRIGGER_CACHE_MEMORY_MB", "64"),
        setting("QDRANT_URL", "http://qdrant:6333"),
        replaced("settings", "OPENAI_BASE_URL", "OPENAI_URL"),
    ],
    env_files_set_what_the_compose_file_takes: [given("redis", REDIS_URI="redis://redis:6379/0")],
    env_files_name_services_of_their_profile: [
        given("redis", REDIS_URL="redis://cache:6379/0"),
        given("redis", OUTRIGGER_QDRANT_URL="http://qdrant:6333"),
        lambda it: it.env_files["all"].pop("REDIS_URL"),
    ],
    the_commands_at_the_top_exist: [
        replaced("text", "pgvector.env", "pg.env"),
        replaced("text", "--profile all", "--profile everything"),
    ],
    the_image_is_named_after_the_package: [
        changed(SIDECAR, image="outrigger:0.0.0"),
        replaced("dockerfile", "rust:", "rust:1."),
    ],
}


def notices(rule: Callable, deployment: Deployment, breakage: Callable) -> bool:
    broken = copy.deepcopy(deployment)
    breakage(broken)
    return any(True for _ in rule(broken))


def main() -> int:
    deployment = Deployment.read()
    passed = failed = 0
    for rule, breakages in RULES.items():
        wrong = list(rule(deployment))
        for number, breakage in enumerate(breakages, start=1):
            if not notices(rule, deployment, breakage):
                wrong.append(f"breakage {number} of the rule goes unnoticed")
        if wrong:
            failed += 1
            print(f"FAILED {rule.__name__}: {'; '.join(wrong)}")
        else:
            passed += 1
            print(f"ok     {rule.__name__}")
    print(f"compose: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
