"""Merchants: post payments in bursts, repeat what was not answered, now and then ask twice or send nonsense."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.domain.money import format_minor

if TYPE_CHECKING:
    import random

    from payrouter_lab.simulation.installation import Installation

ANSWER_WITHIN_S = 3.0
GIVES_UP_AFTER = 12
"""Tries without a `202`, after which a client leaves."""

NONSENSE = (b"-1", b"0", b"1.001", b"1e400", b'"19.90"', b"null", b"99999999999999999999")


@dataclass(slots=True)
class Asked:
    """One payment as its client knows it. `promised`: answered `202`; `possible`: it may have been taken."""

    correlation_id: str
    amount_minor: int
    promised: bool = False
    possible: bool = False
    promised_s: float = 0.0


@dataclass
class Clients:
    """All merchants of one run. `asked` is everything they know, `answers` what they were answered how often."""

    installation: Installation
    chance: random.Random
    payments: int
    for_s: float
    asked: dict[str, Asked] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=dict)
    wrongs: list[tuple[str, str]] = field(default_factory=list)
    """CorrelationId, and what was wrong with an answer."""
    _left: int = 0

    @property
    def done(self) -> bool:
        """Whether everybody has got an answer or given up."""
        return self._left == 0

    async def run(self) -> None:
        """Come and go."""
        chance, loop = self.chance, asyncio.get_running_loop()
        self._left = left = self.payments
        number = 0
        pause_s = self.for_s * 12 / self.payments
        while left:
            for _ in range(min(left, chance.choice((1, 1, 2, 5, 10, 40)))):
                left -= 1
                number += 1
                loop.create_task(self._client(number))
            await asyncio.sleep(chance.expovariate(1 / pause_s))

    async def _client(self, number: int) -> None:
        chance = self.chance
        one = Asked(f"{number:08x}-{chance.getrandbits(16):04x}-4000-8000-{number:012x}", chance.randint(1, 10_000_000))
        self.asked[one.correlation_id] = one
        try:
            if chance.random() < 0.01:
                await self._send_nonsense(number)
            await self._pay(one)
            if chance.random() < 0.03:
                await asyncio.sleep(chance.uniform(0, 10))
                await self._repeat(one)
        finally:
            self._left -= 1

    async def _pay(self, one: Asked) -> None:
        for _ in range(GIVES_UP_AFTER):
            status, said = await self._post(one.correlation_id, format_minor(one.amount_minor).encode())
            if status == 202:
                one.promised = one.possible = True
                one.promised_s = self.installation.universe.now_s
                return
            # A full queue has certainly not taken it; whatever else went wrong says nothing.
            one.possible |= not (status == 503 and b"which is the limit" in said)
            if status not in (0, 503):
                self.wrongs.append((one.correlation_id, f"was answered {status} {said.decode()}"))
                return
            await asyncio.sleep(self.chance.uniform(0.05, 0.5))

    async def _repeat(self, one: Asked) -> None:
        """Ask again for what was answered: the same once more, or another amount under the same id."""
        if not one.promised:
            return
        if self.chance.random() < 0.5:
            status, said = await self._post(one.correlation_id, format_minor(one.amount_minor).encode())
            if status not in (0, 202, 503):
                self.wrongs.append((one.correlation_id, f"repeated was answered {status} {said.decode()}"))
        else:
            status, said = await self._post(one.correlation_id, format_minor(one.amount_minor + 1).encode())
            # What Redis has forgotten is found in the ledger before it is sent, and becomes a dead letter.
            forgotten = (202,) if self.installation.shape.remember_settled < self.payments else ()
            if status not in (0, 409, 503, *forgotten):
                self.wrongs.append((one.correlation_id, f"with another amount was answered {status} {said.decode()}"))

    async def _send_nonsense(self, number: int) -> None:
        correlation_id = f"{number:08x}-0bad-4000-8000-{number:012x}"
        status, said = await self._post(correlation_id, self.chance.choice(NONSENSE))
        if status not in (0, 400, 422, 503):
            self.wrongs.append((correlation_id, f"nonsense was answered {status} {said.decode()}"))

    async def _post(self, correlation_id: str, amount: bytes) -> tuple[int, bytes]:
        """Return status and body; status 0 for no answer. The balancer asks one API, and another if it is not there."""
        loop, installation = asyncio.get_running_loop(), self.installation
        answer: asyncio.Future[tuple[int, bytes]] = loop.create_future()
        body = b'{"correlationId":"%b","amount":%b}' % (correlation_id.encode(), amount)

        def tell(status: int, said: bytes) -> None:
            if not answer.done():
                answer.set_result((status, said))

        apis = list(installation.apis)
        self.chance.shuffle(apis)
        if not any(api.ask(b"POST", b"/payments", body, tell) for api in apis):
            await asyncio.sleep(0.05)
            return 0, b""
        late = loop.call_later(ANSWER_WITHIN_S, tell, 0, b"")
        status, said = await answer
        late.cancel()
        self.answers[status] = self.answers.get(status, 0) + 1
        return status, said
