"""Opening a connection to Redis: connect, say who we are, choose the database, see that it serves."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import TYPE_CHECKING, Any

from payrouter.adapters.log_lines import fact
from payrouter.adapters.redis.answers import RedisAnswered
from payrouter.domain.errors import StoreMisconfigured, StoreUnavailable, StoreUncertain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter.adapters.redis.address import RedisAddress
    from payrouter.adapters.redis.pipe import Pipe
    from payrouter.adapters.redis.scripts import Script

_log = logging.getLogger("payrouter")
_FIRST_PAUSE_S = 0.05
# Payments are refused until the next attempt, however long Redis was away before.
_LONGEST_PAUSE_S = 0.25
_SERVED_WELL_S = 1.0
_QUIET_S = 5.0


async def connect(
    pipe: Pipe, address: RedisAddress, name: str, within_s: float, scripts: Sequence[Script] = ()
) -> None:
    """Connect a new pipe and make it ready for calls, with these scripts loaded; it is ended when that fails.

    Raises:
        StoreUnavailable: not now, perhaps later.
        StoreMisconfigured: not without a change of configuration.
    """
    try:
        async with asyncio.timeout(within_s):
            await address.connect(asyncio.get_running_loop(), lambda: pipe)
            await _greet(pipe, address, name)
            await _teach(pipe, address, scripts)
    except BaseException as error:
        pipe.end("could not be opened")
        match error:
            case TimeoutError():
                raise StoreUnavailable(
                    f"Redis at {address} did not answer within {round(within_s, 2):g} s{_hint(address)}"
                ) from None
            case ssl.SSLError() if not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                raise StoreMisconfigured(f"no TLS with Redis at {address}: {error}") from error
            case OSError():
                raise StoreUnavailable(f"cannot connect to Redis at {address}: {error.strerror or error}") from error
        raise


async def _greet(pipe: Pipe, address: RedisAddress, name: str) -> None:
    steps: dict[str, tuple[str | int, ...]] = {}
    if address.password is not None:
        steps["AUTH"] = ("AUTH", *filter(None, [address.user]), address.password)
    if address.db:
        steps["SELECT"] = ("SELECT", address.db)
    steps["CLIENT"] = ("CLIENT", "SETNAME", name)
    # The others are answered also while Redis reads its data from disk.
    steps["PING"] = ("PING",)
    answers = await asyncio.gather(*map(pipe.call, steps.values()), return_exceptions=True)
    for step, answer in zip(steps, answers, strict=True):
        _judge(step, answer, pipe, address)


async def _teach(pipe: Pipe, address: RedisAddress, scripts: Sequence[Script]) -> None:
    """Load scripts; one that Redis refuses fails when it is run."""
    await asyncio.gather(*[pipe.call(("SCRIPT", "LOAD", one.source)) for one in scripts], return_exceptions=True)
    if pipe.ended:
        raise StoreUnavailable(f"Redis at {address} hung up at once ({pipe.reason})")


def _judge(step: str, answer: Any, pipe: Pipe, address: RedisAddress) -> None:
    """Raise what an answer to a step of the greeting means, if it was not the right one."""
    match answer:
        case StoreUnavailable() if pipe.fault is not None:
            temporary = isinstance(pipe.fault, StoreUnavailable)
            raise (StoreUnavailable if temporary else StoreMisconfigured)(f"{address}: {pipe.fault}")
        case StoreUncertain():
            raise StoreUnavailable(f"Redis at {address} hung up on our greeting ({pipe.reason}){_hint(address)}")
        case RedisAnswered() if step == "CLIENT":
            pass  # the name is for people only
        case RedisAnswered():
            raise StoreMisconfigured(f"Redis at {address} refuses {step}: {answer.text}; correct the url")
        case StoreUnavailable() | StoreMisconfigured():
            raise type(answer)(f"{address}: {answer}")
        case BaseException():
            raise answer
        case _ if step == "PING" and answer != b"PONG":
            raise StoreMisconfigured(f"what listens at {address} is not Redis: it answered PING with {answer!r:.60}")


def _hint(address: RedisAddress) -> str:
    """Return what to look at when a server does not talk to us at all."""
    if address.socket_path is not None:
        return ""
    other = "without TLS (redis://)" if address.tls else "with TLS (rediss://)"
    return f"; is it one {other}, or has it too many connections (maxclients)?"


class Attempts:
    """Growing pauses between attempts to connect, and log lines about them, the same one every few seconds at most."""

    def __init__(self) -> None:
        self._pause_s = 0.0
        self._topic = ""
        self._said_s = 0.0

    def next_pause_s(self) -> float:
        """Return the pause before the next attempt: none at first, then 50 ms, doubling up to 250 ms."""
        pause_s = self._pause_s
        self._pause_s = min(max(_FIRST_PAUSE_S, 2 * pause_s), _LONGEST_PAUSE_S)
        return pause_s

    def ended(self, lasted_s: float) -> None:
        """Begin anew after a connection that served well; one that broke at once was just another attempt."""
        if lasted_s >= _SERVED_WELL_S:
            self._pause_s = 0.0

    def warn(self, topic: str, line: str) -> None:
        """Log a warning, unless the last one was on this topic and just before."""
        now_s = asyncio.get_running_loop().time()
        if topic != self._topic or now_s - self._said_s >= _QUIET_S:
            self._topic, self._said_s = topic, now_s
            _log.warning("%s", line, extra=fact("waiting_for_store"))
