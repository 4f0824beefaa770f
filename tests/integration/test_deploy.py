"""What `deploy/` promises the challenge, Compose and the servers, held against real ones where there are any.

No container runs here: Compose reads the files, Redis and PostgreSQL start with the settings given there. The image is
tested in `test_deploy_image.py`, nginx in `test_deploy_nginx.py`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import fields
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from payrouter.domain.errors import InvalidSettings
from payrouter.settings import PREFIX, Settings, load_settings
from payrouter_lab.bench.processes import ChildError
from payrouter_lab.cluster.binaries import find
from payrouter_lab.cluster.deployed import postgres_options, read_services, redis_config
from payrouter_lab.cluster.limits import rations

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter_lab.cluster.servers import PostgresServer, RedisServer

DEPLOY = Path(__file__).parents[2] / "deploy"
MAIN, OVERRIDE, PROCESSORS = (f"docker-compose{middle}.yml" for middle in ("", ".override.example", ".processors"))
CLUSTER = {"nginx", "api1", "api2", "dispatcher", "redis", "postgres"}
OFFICIAL = {"processor-default", "processor-default-db", "processor-fallback", "processor-fallback-db"}
SIMULATED = {"simulated-default", "simulated-fallback"}
SERVICES: dict[str, Any] = dict(read_services(DEPLOY / MAIN))
RATIONS = rations(SERVICES)


@cache
def understood(*words: str) -> dict[str, Any]:
    """Return what Compose makes of files and profiles, given as its own options."""
    return compose_config(*words)


def compose_config(*words: str, **variables: str) -> dict[str, Any]:
    """Return the same with variables in the environment."""
    program = find("docker-compose")
    if program is None:
        pytest.skip("docker-compose is not installed")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COMPOSE_", PREFIX))}
    environment |= variables
    done = subprocess.run(
        [program, *words, "config"],
        cwd=DEPLOY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARN" not in done.stderr.upper()
    return dict(yaml.safe_load(done.stdout))


# -- the rules of the challenge


@pytest.mark.parametrize(
    ("words", "services"),
    [
        (("-f", MAIN), CLUSTER),
        (("--profile", "admin", "-f", MAIN), CLUSTER | {"admin"}),
        (("-f", MAIN, "-f", OVERRIDE), CLUSTER),
        (("--profile", "official", "-f", PROCESSORS), OFFICIAL),
        (("--profile", "simulated", "-f", PROCESSORS), SIMULATED),
    ],
)
def test_compose_understands_each_combination_of_files(words: tuple[str, ...], services: set[str]) -> None:
    assert services <= set(understood(*words)["services"])


def test_all_services_together_stay_within_one_and_a_half_cpus_and_350_mb() -> None:
    assert set(RATIONS) == CLUSTER
    assert sum(Decimal(str(ration.cpus)) for ration in RATIONS.values()) <= Decimal("1.5")
    assert sum(ration.memory_bytes or 10**12 for ration in RATIONS.values()) <= 350 * 2**20


def test_only_port_9999_of_nginx_is_published() -> None:
    published = {name: service.get("ports") for name, service in SERVICES.items() if service.get("ports")}
    assert published == {"nginx": ["9999:9999"]}


def test_networks_are_bridges_and_only_the_dispatcher_reaches_the_processors() -> None:
    networks = understood("-f", MAIN)["networks"]
    assert networks["backend"]["driver"] == "bridge"
    assert networks["payment-processor"]["external"]
    made = understood("--profile", "official", "-f", PROCESSORS)["networks"]["payment-processor"]
    assert (made["name"], made["driver"]) == ("payment-processor", "bridge")
    assert {name for name, one in SERVICES.items() if "payment-processor" in one["networks"]} == {"dispatcher"}
    assert all("backend" in service["networks"] for service in SERVICES.values())


def test_nothing_is_privileged_replicated_or_on_the_hosts_network() -> None:
    for service in SERVICES.values():
        assert not {"privileged", "network_mode", "pid", "cap_add"} & set(service)
        assert set(service["deploy"]) == {"resources"}
        assert not service["image"].partition(":")[2].startswith("latest") or "build" in service


def test_every_service_tells_its_health_and_waits_for_what_it_needs() -> None:
    assert all(service["healthcheck"]["test"][0] == "CMD" for service in SERVICES.values())
    needs = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    assert needs["dispatcher"] == {"redis", "postgres"}
    assert needs["api1"] == needs["api2"] == {"redis", "postgres", "dispatcher"}
    assert needs["nginx"] == {"api1", "api2"}
    for name in ("api1", "api2", "dispatcher"):
        assert {one["condition"] for one in SERVICES[name]["depends_on"].values()} == {"service_healthy"}


def test_the_information_for_a_submission_names_what_is_used() -> None:
    info = json.loads((DEPLOY / "info.json").read_text())
    assert {"name", "social", "source-code-repo"} <= set(info)
    stack = {name: info[name] for name in ("langs", "storages", "messaging", "load-balancers")}
    assert stack == {
        "langs": ["python"],
        "storages": ["redis", "postgresql"],
        "messaging": ["redis-streams"],
        "load-balancers": ["nginx"],
    }


# -- settings


@pytest.mark.parametrize("name", ["api1", "api2", "dispatcher"])
def test_each_process_starts_with_settings_that_are_valid(name: str, tmp_path: Path) -> None:
    settings = load_settings(understood("-f", MAIN)["services"][name]["environment"], tmp_path)
    assert settings.clustered
    assert settings.allow_purge
    assert [(one.name, one.url, str(one.fee)) for one in settings.processors] == [
        ("default", "http://payment-processor-default:8080", "0.05"),
        ("fallback", "http://payment-processor-fallback:8080", "0.15"),
    ]
    assert settings.stop_timeout_s < float(SERVICES[name]["stop_grace_period"].removesuffix("s"))


def test_all_talk_over_sockets_in_the_volume_they_share() -> None:
    assert all("sockets:/run/payrouter" in service["volumes"] for service in SERVICES.values())
    upstreams = re.findall(r"^\s*server (unix:\S+)", (DEPLOY / "nginx.conf").read_text(), re.MULTILINE)
    assert upstreams == [SERVICES[name]["environment"][f"{PREFIX}BIND"] for name in ("api1", "api2")]
    environment = SERVICES["dispatcher"]["environment"]
    assert "--unixsocket /run/payrouter/redis.sock" in SERVICES["redis"]["command"]
    assert environment[f"{PREFIX}REDIS_URL"] == "unix:///run/payrouter/redis.sock?db=0"
    assert "-cunix_socket_directories=/var/run/postgresql,/run/payrouter" in SERVICES["postgres"]["command"]
    assert environment[f"{PREFIX}POSTGRES_URL"].endswith("?host=/run/payrouter")


def test_the_example_of_settings_has_every_setting_with_its_default(tmp_path: Path) -> None:
    example = (DEPLOY / ".env.example").read_text()
    given = dict(re.findall(rf"^#?({PREFIX}\w+)=(.*)$", example, re.MULTILINE))
    assert set(given) == {PREFIX + field.name.upper() for field in fields(Settings)} | {f"{PREFIX}CONFIG"}
    (tmp_path / ".env").write_text(re.sub(rf"^#({PREFIX})", r"\1", example, flags=re.MULTILINE))
    settings = load_settings({}, tmp_path)
    assert len(settings.processors) == 2
    defaults = Settings(processors=settings.processors)
    assert settings == defaults


def test_live_reload_adds_the_sources_to_what_is_deployed() -> None:
    services = understood("-f", MAIN, "-f", OVERRIDE)["services"]
    for name in ("api1", "api2", "dispatcher"):
        environment = services[name]["environment"]
        assert (environment["PYTHONPATH"], f"{PREFIX}REDIS_URL" in environment) == ("/src", True)
        assert "/deploy/reload.py /src payrouter" in " ".join(services[name]["entrypoint"])
        # One from the deployed service, two from the override.
        assert len(services[name]["volumes"]) == 3
    for source, _, _ in (volume.split(":") for volume in services_of(OVERRIDE)["api1"]["volumes"]):
        assert (DEPLOY / source).exists()


# -- the operator's process


def test_the_operators_process_starts_only_when_asked_for_and_serves_this_host_alone() -> None:
    admin = services_of(MAIN)["admin"]
    assert admin["profiles"] == ["admin"]
    assert "admin" not in SERVICES
    assert admin["ports"] == ["127.0.0.1:8080:8080"]
    assert set(admin["networks"]) == {"backend", "payment-processor"}
    assert (admin["command"], admin["image"]) == (["admin"], SERVICES["api1"]["image"])
    assert admin["healthcheck"]["test"][-1] == f"{PREFIX}ADMIN_BIND"


def test_the_operators_process_needs_a_token_of_whoever_starts_it(tmp_path: Path) -> None:
    words = ("--profile", "admin", "-f", MAIN)
    environment = dict(understood(*words)["services"]["admin"]["environment"])
    assert environment.pop(f"{PREFIX}ADMIN_TOKEN") is None
    with pytest.raises(InvalidSettings, match="PAYROUTER_ADMIN_TOKEN"):
        load_settings(environment, tmp_path)
    token = "only-for-this-test-0123"
    given = compose_config(*words, PAYROUTER_ADMIN_TOKEN=token)["services"]["admin"]["environment"]
    settings = load_settings(given, tmp_path)
    assert (str(settings.admin_bind), settings.admin_token) == ("0.0.0.0:8080", token)
    assert settings.clustered


# -- the stores, as they are started


def test_redis_starts_as_deployed_durable_and_within_its_memory(own_redis: Callable[..., RedisServer]) -> None:
    redis = own_redis(config=redis_config(SERVICES))
    for name, value in {
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
    }.items():
        assert redis.ask("CONFIG", "GET", name) == [name, value]
    most = int(redis.ask("CONFIG", "GET", "maxmemory")[1])
    # What it reads back before it answers: some 50 MB a second.
    assert int(redis.ask("CONFIG", "GET", "auto-aof-rewrite-min-size")[1]) <= 32 * 2**20
    assert int(redis.ask("CONFIG", "GET", "auto-aof-rewrite-percentage")[1]) == 100
    # Beside its data: buffers of clients, and the pages a rewrite of the file copies.
    assert 2**20 < most <= 0.75 * (RATIONS["redis"].memory_bytes or 0)


def test_postgres_starts_as_deployed_durable_and_small(own_postgres: Callable[..., PostgresServer]) -> None:
    postgres = own_postgres(options=postgres_options(SERVICES))
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        assert postgres.run_sql(f"SHOW {name}") == "on"
    assert postgres.run_sql("SHOW jit") == "off"
    assert int(postgres.run_sql("SHOW max_connections")) <= 20
    assert postgres.run_sql("SHOW shared_buffers") == "24MB"


# -- the processors


def services_of(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((DEPLOY / file).read_text())["services"])


@pytest.mark.parametrize(
    ("kind", "name", "fee"),
    [
        ("processor", "default", "0.05"),
        ("processor", "fallback", "0.15"),
        ("simulated", "default", "0.05"),
        ("simulated", "fallback", "0.15"),
    ],
)
def test_both_kinds_of_processors_are_where_the_settings_look_for_them(kind: str, name: str, fee: str) -> None:
    service = services_of(PROCESSORS)[f"{kind}-{name}"]
    assert service["networks"]["payment-processor"]["aliases"] == [f"payment-processor-{name}"]
    assert service["ports"] == [{"default": "8001:8080", "fallback": "8002:8080"}[name]]
    if kind == "processor":
        assert service["environment"]["TRANSACTION_FEE"] == fee
    else:
        command = service["command"]
        assert command[command.index("--fee") + 1] == fee
        assert command[command.index("--name") + 1] == name


def test_the_processors_database_refuses_a_payment_that_it_has(postgres_server: PostgresServer) -> None:
    postgres_server.create_database("processors")
    try:
        postgres_server.run_sql((DEPLOY / "processor-schema.sql").read_text(), database="processors")
        insert = (
            "INSERT INTO payments (correlationId, amount, requested_at) "
            "VALUES ('4a7901b8-7d26-4d9d-aa19-4dc1c7cf60b3', 19.90, '2025-07-15T12:34:56.000')"
        )
        postgres_server.run_sql(insert, database="processors")
        with pytest.raises(ChildError, match="duplicate key value violates unique constraint"):
            postgres_server.run_sql(insert, database="processors")
    finally:
        postgres_server.drop_database("processors")
