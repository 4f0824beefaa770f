"""Running a coroutine from a command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of its own; what task groups wrapped around a single error is taken off.

    Raises:
        PayrouterError: whatever went wrong on purpose.
    """
    try:
        return uvloop.run(work)
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None
