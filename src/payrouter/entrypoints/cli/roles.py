"""`payrouter api` and `payrouter dispatcher`: the processes of a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.entrypoints.api.serve import answer_until_stopped, dispatch_until_stopped
from payrouter.entrypoints.cli.plain import say, settings_in_force
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from payrouter.settings import Address


def api() -> None:
    """Accept payments and answer questions about them: one of several behind a load balancer.

    Needs PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL. PAYROUTER_BIND is host:port or unix:/path. A payment is
    answered 202 once Redis has it on disk; dispatchers hand it to a processor.

    Example: `PAYROUTER_BIND=unix:/run/payrouter/api1.sock payrouter api`
    """
    settings = settings_in_force()

    def announce(address: Address) -> None:
        say(f"payrouter api is listening on {address}")

    run_async(answer_until_stopped(settings, announce))


def dispatcher() -> None:
    """Hand payments to processors: one of several, on one host or many.

    Needs PAYROUTER_REDIS_URL and PAYROUTER_POSTGRES_URL. One of the dispatchers, the leader, asks the processors for
    their health. When one dies, another takes over within three seconds.

    Example: `payrouter dispatcher`
    """
    settings = settings_in_force()
    names = ", ".join(f"{one.name} ({one.fee_percent})" for one in settings.processors)

    def announce() -> None:
        say(f"payrouter dispatcher is routing to {names}")

    run_async(dispatch_until_stopped(settings, announce))
