"""Bad requests as bytes, by family. Pure: sample `number` of a seed is always the same bytes.

Most samples hold a payment that would be good without its flaw, with an id of the sample's own: so whatever a
processor charges can be traced to the sample it came from.
"""

from __future__ import annotations

import itertools
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from payrouter_lab.badinput.flaws_http import (
    any_request,
    chunks,
    flipped,
    head,
    headers,
    length,
    noise,
    smuggled,
    spliced,
    targets,
    truncated,
)
from payrouter_lab.badinput.flaws_json import nested, numbers, text
from payrouter_lab.badinput.good import GoodPayment
from payrouter_lab.bench.ids import payment_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Streams of ids (see `payrouter_lab.bench.ids`).
_BAD, _STALLED, _GOOD = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Sample:
    """What is sent on one connection: `pieces` in order, `pause_s` apart.

    `names`: the correlationIds it may be read to hold, whatever the flaw. `stalled`: it ends in the middle of a
    request, and the client neither goes on nor hangs up. `head_only`: one HEAD, whose answer has no body.
    """

    number: int
    family: str
    pieces: tuple[bytes, ...]
    names: frozenset[str]
    pause_s: float = 0.0
    stalled: bool = False
    head_only: bool = False


class Samples:
    """The samples of one run. `seed` decides the flaws, `salt` the ids, so that a run can be
    repeated on the same router.

    Raises:
        ValueError: for a salt beyond 32 bits.
    """

    def __init__(self, seed: int, salt: int) -> None:
        if not 0 <= salt < 2**32:
            raise ValueError(f"salt must have 32 bits, got {salt}")
        self._seed = seed
        self._salt = salt

    def sample(self, number: int) -> Sample:
        """Return sample `number`; families take turns."""
        family = FAMILIES[number % len(FAMILIES)]
        chance = random.Random(f"{self._seed}/{number}")
        payment = self._payment(_BAD, number, chance)
        return self._made(
            number,
            family,
            payment.name,
            _FLAWS[family](chance, payment),
            pause_s=chance.choice((0.0, 0.002, 0.05)) if family == "dribble" else 0.0,
            head_only=family == "head",
        )

    def stalled(self, number: int) -> Sample:
        """Return a sample that stops in the middle of its head or body and waits."""
        chance = random.Random(f"{self._seed}/stalled/{number}")
        payment = self._payment(_STALLED, number, chance)
        data = payment.post()
        return self._made(number, "stalled", payment.name, [data[: chance.randrange(1, len(data))]], stalled=True)

    def good(self, number: int) -> Sample:
        """Return a good payment, to see whether they are still taken."""
        payment = GoodPayment(payment_id(self._salt, _GOOD, number), "19.90")
        return self._made(number, "good", payment.name, [payment.post(b"Connection: close\r\n")])

    def _payment(self, stream: int, number: int, chance: random.Random) -> GoodPayment:
        amount = f"{chance.randrange(1, 10**6)}.{chance.randrange(100):02d}"
        return GoodPayment(payment_id(self._salt, stream, number), amount)

    def _made(  # noqa: PLR0913 - a sample's fields
        self,
        number: int,
        family: str,
        name: str,
        pieces: Sequence[bytes],
        *,
        pause_s: float = 0.0,
        stalled: bool = False,
        head_only: bool = False,
    ) -> Sample:
        told = {found.decode() for found in _UUID.findall(b"".join(pieces).lower())}
        return Sample(number, family, tuple(pieces), frozenset(told | {name}), pause_s, stalled, head_only)


# -- the families


def _pipelined(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    others = [any_request(chance, payment) for _ in range(chance.randrange(1, 12))]
    flawed = b"".join(chance.choice((flipped, truncated, length, text))(chance, payment))
    others.insert(chance.randrange(len(others) + 1), flawed)
    # 16 may wait; then the server stops reading until it has answered some.
    return [b"".join(others) + payment.post() * chance.choice((0, 0, 1, 40))]


def _dribble(chance: random.Random, payment: GoodPayment) -> list[bytes]:
    data = b"".join(chance.choice((headers, length, chunks, text, numbers))(chance, payment))
    cuts = sorted({0, len(data), *(chance.randrange(len(data)) for _ in range(chance.randrange(1, 16)))})
    return [data[start:end] for start, end in itertools.pairwise(cuts)]


_FLAWS: dict[str, Callable[[random.Random, GoodPayment], list[bytes]]] = {
    "noise": noise,
    "flipped bits": flipped,
    "truncated": truncated,
    "spliced": spliced,
    "headers": headers,
    "Content-Length": length,
    "chunks": chunks,
    "smuggling": smuggled,
    "pipelined": _pipelined,
    "dribble": _dribble,
    "nested JSON": nested,
    "numbers": numbers,
    "text": text,
    "targets": targets,
    "head": head,
}
FAMILIES = tuple(_FLAWS)
"""Every family; sample `number` is of family `number` modulo their count."""
