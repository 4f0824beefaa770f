"""What `deploy/` says about the servers: read, so that a cluster without containers is the deployed one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

DEPLOY = Path(__file__).parents[3] / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
NGINX_CONFIG = DEPLOY / "nginx.conf"
# Where a server listens and writes is said by whoever starts it.
_REDIS_PLACES = {"bind", "port", "unixsocket", "unixsocketperm", "dir", "daemonize", "requirepass"}
_POSTGRES_PLACES = {"listen_addresses", "port", "unix_socket_directories", "data_directory"}


class UnknownDeployment(Exception):
    """A file of `deploy/` is missing, or not what it should be."""


def read_services(compose: Path = COMPOSE) -> dict[str, Mapping[str, Any]]:
    """Return the services of a compose file that start by default, by name: those without a profile.

    Raises:
        UnknownDeployment: if there are none to read.
    """
    try:
        services = yaml.safe_load(compose.read_text(encoding="utf-8"))["services"]
        return {str(name): dict(service) for name, service in services.items() if not service.get("profiles")}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnknownDeployment(f"{compose} has no services to read: {error!r}") from error


def redis_config(services: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the lines of redis.conf that the service `redis` has as options; empty if it has none."""
    options = re.findall(r"(?:^|\s)--(\S+)\s+(.*?)(?=\s--|$)", _command(services, "redis"))
    return tuple(f"{name} {value}" for name, value in options if name not in _REDIS_PLACES)


def postgres_options(services: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the settings, `name=value`, that the service `postgres` has as options; empty if it has none."""
    options = re.findall(r"(?:^|\s)-c\s*(\w+)=(\S*)", _command(services, "postgres"))
    return tuple(f"{name}={value}" for name, value in options if name not in _POSTGRES_PLACES)


def _command(services: Mapping[str, Mapping[str, Any]], name: str) -> str:
    command = services.get(name, {}).get("command") or ""
    return command if isinstance(command, str) else " ".join(map(str, command))


def nginx_config() -> str:
    """Return nginx.conf as it is deployed.

    Raises:
        UnknownDeployment: if it is not there.
    """
    try:
        return NGINX_CONFIG.read_text(encoding="utf-8")
    except OSError as error:
        raise UnknownDeployment(f"{NGINX_CONFIG} cannot be read ({error.strerror}): run it from a checkout") from error
