"""What the light generator is told, what it tells, and the requests it sends."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from payrouter_lab.bench.ids import payment_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Job(msgspec.Struct, frozen=True):
    """`count` payments to one address; `rate` per second, or unpaced when it is 0. Ids: see `ids`."""

    port: int
    count: int
    salt: int
    stream: int
    amount: str = "19.90"
    connections: int = 64
    rate: float = 0.0
    host: str = "127.0.0.1"
    most_connections: int = 1024
    """Paced: finding no idle connection opens another, up to this many; then payments wait their turn."""
    samples: str = ""
    """A file for every answer's instant, latency and status (`read_samples`)."""
    read_refusals: bool = False
    """Whether what refusals say is told, which costs CPU."""


class Refusal(msgspec.Struct, frozen=True):
    """An answer that was not `202`, and how often it came. `retry_after` is empty when there was none."""

    status: int
    content_type: str
    retry_after: str
    body: str
    count: int


class Sample(NamedTuple):
    """One answer: monotonic second at which its payment was sent, or should have been; latency; status."""

    sent_s: float
    latency_ms: float
    status: int


MOST_REFUSALS = 100


class Outcome(msgspec.Struct, frozen=True):
    """What came of a job. Instants are of the machine's monotonic clock, shared by all processes."""

    sent: int
    """Payments 0 to `sent` - 1 were sent; fewer than asked for only if every connection broke."""
    accepted: int
    refused: list[int]
    """Numbers of payments answered, but not `202`; in order."""
    unanswered: list[int]
    """Numbers of payments whose connection broke; in order."""
    first_sent_s: float
    last_answer_s: float
    latency_ms: dict[str, float]
    """p50, p90, p99 and max, from when a payment was sent, or should have been had a connection been idle."""
    late_ms: float
    """Paced: the p99 of how much later than planned a payment was sent."""
    refusals: list[Refusal] = []
    """With `read_refusals`: what the refusals said, each different text once; at most `MOST_REFUSALS`."""

    @property
    def accepted_per_s(self) -> float:
        """Accepted payments per second, from the first request to the last answer."""
        return self.accepted / max(1e-9, self.last_answer_s - self.first_sent_s)


def requests(job: Job) -> Iterator[bytes]:
    """Yield the job's requests, ready to be written."""
    head = f"POST /payments HTTP/1.1\r\nHost: {job.host}:{job.port}\r\nContent-Type: application/json\r\n"
    body = '{"correlationId":"%s","amount":' + job.amount + "}"
    length = len(body % payment_id(job.salt, job.stream, 0))
    pattern = f"{head}Content-Length: {length}\r\n\r\n{body}"
    for number in range(job.count):
        yield (pattern % payment_id(job.salt, job.stream, number)).encode()


def read_samples(path: Path) -> list[Sample]:
    """Return what a job with `samples` wrote, in order of the answers."""
    values = array("d")
    values.frombytes(path.read_bytes())
    return [Sample(values[at], values[at + 1], int(values[at + 2])) for at in range(0, len(values), 3)]


def quantiles(values: Iterable[float]) -> dict[str, float]:
    """Return p50, p90, p99 and max; all 0 for no values."""
    ordered = sorted(values) or [0.0]
    last = len(ordered) - 1
    named = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {name: ordered[round(share * last)] for name, share in named.items()}
