"""The engines: where payments are kept. The only module that knows which one is in use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from payrouter.application.dispatch import Pace
    from payrouter.ports.coordination import HealthCalls, Lease, NewsBoard
    from payrouter.ports.ledger import Ledger
    from payrouter.ports.notices import Notices
    from payrouter.ports.observation import NodeBoard
    from payrouter.ports.queue import PaymentQueue
    from payrouter.settings import Settings


@dataclass(frozen=True, slots=True)
class Coordination:
    """How dispatchers agree on a leader and tell each other news. `forget` drops what a purge ended."""

    lease: Lease
    news: NewsBoard
    node: str
    forget: Callable[[], None]


class Pause(Protocol):
    """Writes down, or tells, that a processor is paused, or goes on."""

    async def __call__(self, processor: str, *, paused: bool) -> None:
        """Do it.

        Raises:
            StoreUnavailable: if it cannot be done.
        """
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """Opened stores. `tasks` run for as long as they are used; `where` says where what is not settled waits.

    `nodes`: where processes tell of themselves. `pause`: write down, or tell, that an operator paused a processor or
    let it go on; `paused` at the start.

    `notices` is what webhooks are still to tell, None where nobody is told.

    `coordination` is how several dispatchers agree, `tell_purge` how they learn of a purge; None where there is only
    one, which then has to be told of a pause itself.
    """

    queue: PaymentQueue
    ledger: Ledger
    health_calls: HealthCalls
    pace: Pace
    where: str
    tasks: tuple[Callable[[], Coroutine[Any, Any, None]], ...]
    nodes: NodeBoard
    pause: Pause
    paused: frozenset[str] = frozenset()
    coordination: Coordination | None = None
    tell_purge: Callable[[], Coroutine[Any, Any, None]] | None = None
    notices: Notices | None = None


@asynccontextmanager
async def opened_engine(settings: Settings, *, dispatches: bool) -> AsyncIterator[Engine]:
    """Open the engine that the settings name; `dispatches`: for a process that hands payments to processors.

    Raises:
        StoreError: if it cannot be used; the text says why.
    """
    # Imported only where it is used: each process of a cluster, and the single one, has little memory.
    if settings.clustered:
        from payrouter.bootstrap.cluster import cluster_engine  # noqa: PLC0415

        async with cluster_engine(settings, dispatches=dispatches) as engine:
            yield engine
    else:
        from payrouter.bootstrap.embedded import embedded_engine  # noqa: PLC0415

        async with embedded_engine(settings) as engine:
            yield engine
