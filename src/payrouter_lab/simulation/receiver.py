"""A receiver of webhooks in made-up time: it checks what it is told, and loses answers, fails, sleeps and goes away."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    import random

    from payrouter_lab.simulation.faults import Storm
    from payrouter_lab.simulation.processes import Process
    from payrouter_lab.simulation.universe import Universe

SECRET = "a secret of the simulation"
ANSWER_WITHIN_S = 10.0
NEAR_S = (0.001, 0.02)

STEPS = ("webhook:before", "webhook:after", "webhook:answered", "redis.claim_notices:after", "redis.end_notices:before",
         "redis.end_notices:after", "redis.put_off_notice:before", "redis.settled:before",
         "redis.settled:after", "postgres.settle:after", "redis.conclude:before", "redis.conclude:after")  # fmt: skip
"""Where a process may be killed so that a notice could be lost, or told twice."""


class Told(NamedTuple):
    """One webhook that arrived with a right signature, and was taken or not."""

    webhook_id: str
    type: str
    payment: dict[str, Any]


@dataclass
class Weather:
    """What goes wrong: `away` nobody listens, `broken` is the status of every answer, chances of each message else.

    `lost`: taken, and the answer never comes. `fails`: refused with 500. `slow_s`: at most so slow.
    """

    away: bool = False
    broken: int = 0
    lost: float = 0.0
    fails: float = 0.0
    slow_s: float = 0.0


class SimulatedReceiver:
    """Where webhooks arrive. `told` is in order of arrival; `wrong` says what was not as documented."""

    def __init__(self, universe: Universe, chance: random.Random) -> None:
        self.universe = universe
        self.chance = chance
        self.weather = Weather()
        self.told: list[Told] = []
        self.wrong: list[str] = []

    def arrived(self, headers: tuple[tuple[str, str], ...], body: bytes) -> int | None:
        """Take a message; return the status of the answer, None when there is none."""
        weather, draw = self.weather, self.chance.random
        given = dict(headers)
        signed = f"{given['webhook-id']}.{given['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
        if given["webhook-signature"] != f"v1,{mac}":
            self.wrong.append(f"signed {given['webhook-signature']}, should be {mac}")
        if weather.broken or draw() < weather.fails:
            return weather.broken or 500
        message = msgspec.json.decode(body)
        self.told.append(Told(given["webhook-id"], message["type"], message["data"]))
        return None if draw() < weather.lost else 204

    async def live(self, storm: Storm, for_s: float) -> None:
        """Let the weather change, and kill whoever sends, until it is over."""
        loop, chance = asyncio.get_running_loop(), self.chance
        until_s = loop.time() + for_s
        while loop.time() < until_s:
            await asyncio.sleep(chance.uniform(0.1, 2.0))
            self.weather = chance.choice(
                [
                    Weather(),
                    Weather(away=True),
                    Weather(broken=chance.choice((301, 400, 410, 503))),
                    Weather(lost=chance.choice((0.1, 0.5)), slow_s=0.5),
                    Weather(fails=chance.choice((0.1, 0.5))),
                    Weather(slow_s=chance.choice((1.0, 15.0))),
                ]
            )
            if chance.random() < 0.5:
                storm.trap(chance.choice(STEPS), chance.choice((0, 0, 1, 5)))
        self.weather = Weather()


class WireToReceiver:
    """`Receiver` of one process."""

    def __init__(self, process: Process, receiver: SimulatedReceiver) -> None:
        self._process = process
        self._receiver = receiver

    async def post(self, headers: tuple[tuple[str, str], ...], body: bytes) -> str | None:
        """Hand in one message; None once it was taken."""
        process, receiver = self._process, self._receiver
        loop, network = process.loop, receiver.universe.network
        answer: asyncio.Future[str | None] = loop.create_future()

        def tell(failure: str | None) -> None:
            if not answer.done() and not process.ended("webhook:answered"):
                answer.set_result(failure)

        def arrive() -> None:
            status = receiver.arrived(headers, body)
            if status is not None:
                failure = None if 200 <= status < 300 else f"answered {status}"
                loop.call_later(self._way_s(), tell, failure)

        if process.ended("webhook:before"):
            return await answer
        deadline = loop.call_later(ANSWER_WITHIN_S, tell, "no answer in time")
        if receiver.weather.away:
            loop.call_later(self._way_s(), tell, "cannot connect: refused")
        else:
            network.call_later(self._way_s() + receiver.weather.slow_s * receiver.chance.random(), arrive)
        process.ended("webhook:after")
        try:
            return await answer
        finally:
            deadline.cancel()

    def _way_s(self) -> float:
        return self._receiver.chance.uniform(*NEAR_S)

    async def close(self) -> None:
        """Nothing is to be closed."""
