"""The composition root: the only place that knows which adapters are in use."""

from payrouter.bootstrap.offline import DeadLetters, Installation, installation, processor_books
from payrouter.bootstrap.roles import (
    Dispatching,
    Intake,
    Router,
    running_dispatcher,
    running_intake,
    running_router,
)

__all__ = [
    "DeadLetters",
    "Dispatching",
    "Installation",
    "Intake",
    "Router",
    "installation",
    "processor_books",
    "running_dispatcher",
    "running_intake",
    "running_router",
]
