"""`payrouter api`, `payrouter dispatcher` and `payrouter admin`: the processes of a cluster."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from payrouter.entrypoints.api.serve import administrate_until_stopped, answer_until_stopped, dispatch_until_stopped
from payrouter.entrypoints.cli.plain import server_settings, tell
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from payrouter.settings import Address


def api() -> None:
    """Accept payments and answer questions about them: one of several behind a load balancer.

    Needs PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL. PAYROUTER_BIND is host:port or unix:/path. A payment is
    answered 202 once Redis has it on disk; dispatchers hand it to a processor.

    Example: `PAYROUTER_BIND=unix:/run/payrouter/api1.sock payrouter api`
    """
    settings = server_settings()

    def announce(address: Address) -> None:
        tell(logging.INFO, "started", f"payrouter api is listening on {address}")

    run_async(answer_until_stopped(settings, announce))


def dispatcher() -> None:
    """Hand payments to processors: one of several, on one host or many.

    Needs PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL. One of the dispatchers, the leader, asks the processors for
    their health. When one dies, another takes over within three seconds.

    Example: `payrouter dispatcher`
    """
    settings = server_settings()
    names = ", ".join(f"{one.name} ({one.fee_percent})" for one in settings.processors)

    def announce() -> None:
        tell(logging.INFO, "started", f"payrouter dispatcher is routing to {names}")

    run_async(dispatch_until_stopped(settings, announce))


def admin() -> None:
    """Show the operator's pages of a cluster: dashboard, metrics, dead letters, audit.

    Needs PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL. It listens on PAYROUTER_ADMIN_BIND, and beyond loopback
    it needs PAYROUTER_ADMIN_TOKEN. Payments do not depend on it: stop it whenever you like. `payrouter serve` on a
    SQLite file shows the same pages itself.

    Example: `PAYROUTER_ADMIN_BIND=127.0.0.1:8080 payrouter admin`
    """
    settings = server_settings()

    def announce(address: Address) -> None:
        tell(logging.INFO, "started", f"payrouter admin is on http://{address}")

    run_async(administrate_until_stopped(settings, announce))
