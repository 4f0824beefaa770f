"""The composition root: the only place that knows which adapters are in use."""

from payrouter.bootstrap.offline import data_report, open_books, processor_books, retry_dead_letters
from payrouter.bootstrap.roles import (
    Dispatching,
    Intake,
    Router,
    running_dispatcher,
    running_intake,
    running_router,
)

__all__ = [
    "Dispatching",
    "Intake",
    "Router",
    "data_report",
    "open_books",
    "processor_books",
    "retry_dead_letters",
    "running_dispatcher",
    "running_intake",
    "running_router",
]
