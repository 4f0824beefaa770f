"""Payment processors in made-up time: the simulator's own code behind a network that loses, garbles and delays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from payrouter.adapters.http.client import Answer, Exchange, HttpPool, NeverSent, NoAnswer, PoolLimits
from payrouter.adapters.http.message import Request
from payrouter_lab.simulator.books import Books
from payrouter_lab.simulator.edge import Edge
from payrouter_lab.simulator.state import ProcessorState, SimulatorOptions
from payrouter_lab.simulator.wire import decode_payment

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from payrouter.adapters.http.client import _Request
    from payrouter_lab.simulation.processes import Process
    from payrouter_lab.simulation.universe import Universe

NEAR_S = (0.0002, 0.003)
STALE_FOR_S = 2.0


@dataclass
class Mischief:
    """What goes wrong between a processor and us, as chances of each request. Charged or not, the answer suffers.

    `unreachable`: nothing listens. `lost`: charged, no answer. `reset`: charged, the answer breaks off.
    `cut_before`: the connection breaks before the processor reads anything. `garbage`: `200` with a broken body.
    `odd_status`: charged, and answered with a status that says nothing of it. `storm`: `429`, not charged.
    `straggles`: the answer comes late, up to `late_s`. `stale`: its records are some seconds old.
    """

    unreachable: float = 0.0
    lost: float = 0.0
    reset: float = 0.0
    cut_before: float = 0.0
    garbage: float = 0.0
    odd_status: float = 0.0
    storm: float = 0.0
    straggles: float = 0.0
    late_s: float = 1.0
    stale: float = 0.0


class _WatchedBooks(Books):
    __slots__ = ("_told",)

    def __init__(self, told: Callable[[str], None]) -> None:
        super().__init__()
        self._told = told

    def charge(self, correlation_id: str, cents: int, requested_us: int) -> bool:
        new = super().charge(correlation_id, cents, requested_us)
        if new:
            self._told(correlation_id)
        return new


ODD_STATUSES = (201, 302, 408, 502, 503, 504)


class SimulatedProcessor:
    """One processor: its books and behaviour (`state`), and the way to it (`mischief`).

    `posts` counts what arrived, by correlationId: instants in order.
    """

    def __init__(self, universe: Universe, chance: random.Random, options: SimulatorOptions) -> None:
        self.universe = universe
        self.chance = chance
        self.name = options.name
        self.state = ProcessorState(options)
        self.mischief = Mischief()
        self.health_calls_s: list[float] = []
        self.charged_s: dict[str, float] = {}
        self.most_in_flight = 0
        """Of one process."""
        self.on_send: Callable[[str, str, int], None] = lambda _id, _name, _at: None
        """Told each attempt that leaves: correlationId, processor, instant."""
        self.on_refused: Callable[[str, str, int], None] = lambda _id, _name, _at: None
        """Told each attempt that was certainly not charged, once its sender knows."""
        self.on_charge: Callable[[str, str], None] = lambda _id, _name: None
        """Told each charge: correlationId, processor."""
        self.state.books = _WatchedBooks(self._charged)
        self._edge: Edge | None = None

    def _charged(self, correlation_id: str) -> None:
        self.charged_s[correlation_id] = self.universe.now_s
        self.on_charge(correlation_id, self.name)

    def start(self) -> None:
        """Listen. To be called where the network is the running loop."""
        self._edge = Edge(self.state)

    def restart(self) -> None:
        """Die and come back: what sleeps in its delay is never charged, and nobody gets an answer."""
        assert self._edge is not None
        self._edge.close()
        self._edge = Edge(self.state)

    def one_way_s(self) -> float:
        """Draw how long something takes to get there, or back."""
        return NEAR_S[0] + (NEAR_S[1] - NEAR_S[0]) * self.chance.random()

    def happens(self, chance: float) -> bool:
        """Draw whether something of this probability happens."""
        return chance > 0 and self.chance.random() < chance

    def arrived(self, request: Request, reply: SimulatedReply) -> None:
        """Take a request off the wire."""
        assert self._edge is not None
        if request.target.endswith(b"service-health"):
            self.health_calls_s.append(self.universe.now_s)
        elif request.method == b"POST" and self.happens(self.mischief.storm):
            reply.send(429)
            return
        elif request.method == b"GET" and self._is_stale(request):
            reply.send(404)
            return
        self._edge.handle(request, reply)  # type: ignore[arg-type]

    def _is_stale(self, request: Request) -> bool:
        charged_s = self.charged_s.get(request.target.rpartition(b"/")[2].decode())
        fresh = charged_s is not None and self.universe.now_s - charged_s < STALE_FOR_S
        return fresh and self.happens(self.mischief.stale)


@dataclass(eq=False)
class SimulatedReply:
    """Where the processor's code answers one request, as `Reply`; and what the network makes of it."""

    processor: SimulatedProcessor
    tell: Callable[[Exchange, float], object]
    is_payment: bool
    client_gone: bool = False
    answered: bool = field(default=False)

    def send(
        self,
        status: int,
        body: bytes = b"",
        *,
        content_type: bytes = b"application/json",  # noqa: ARG002 - as Reply has it
        headers: tuple[tuple[bytes, bytes], ...] = (),  # noqa: ARG002
        chunked: bool = False,  # noqa: ARG002
    ) -> None:
        """Answer."""
        self.answered = True
        processor, mischief = self.processor, self.processor.mischief
        back_s = processor.one_way_s()
        if processor.happens(mischief.straggles):
            back_s += mischief.late_s * processor.chance.random()
        exchange: Exchange = Answer(status, body)
        if self.is_payment:
            if processor.happens(mischief.lost):
                exchange = NoAnswer("the connection was closed before the answer came")
            elif processor.happens(mischief.reset):
                exchange = NoAnswer("the connection was reset in the middle of the answer")
            elif status == 200 and processor.happens(mischief.garbage):
                exchange = Answer(200, b"<html>payment proc")
            elif status == 200 and processor.happens(mischief.odd_status):
                exchange = Answer(processor.chance.choice(ODD_STATUSES), b"")
        self.tell(exchange, back_s)

    def send_raw(self, head: bytes, body: bytes) -> None:
        """Answer with a head that was made before."""
        self.send(int(head[9:12]), body)

    def abort(self) -> None:
        """Hang up without an answer."""
        self.answered = True
        self.tell(NoAnswer("the connection was closed before the answer came"), self.processor.one_way_s())


class SimulatedPool(HttpPool):
    """A process's connections to one processor."""

    def __init__(self, process: Process, processor: SimulatedProcessor, url: str, limits: PoolLimits) -> None:
        super().__init__(url, limits)
        self._process = process
        self._processor = processor
        self._in_flight = 0

    def _send_or_wait(self, request: _Request) -> None:
        process, processor = self._process, self._processor
        line, _, rest = request.data.partition(b"\r\n")
        method, target, _ = line.split(b" ")
        kind = "send" if method == b"POST" else "health" if target.endswith(b"service-health") else "prove"
        if process.ended(f"{kind}:before"):
            return
        universe, loop = processor.universe, process.loop
        told: list[Exchange] = []
        head, _, body = rest.partition(b"\r\n\r\n")
        attempt = decode_payment(body) if kind == "send" else None
        if attempt is not None:
            processor.on_send(attempt.correlation_id, processor.name, attempt.requested_us)

        def tell(exchange: Exchange) -> None:
            # The first counts: an answer, or the end of our patience.
            if not told and not process.ended(f"{kind}:answered"):
                told.append(exchange)
                deadline.cancel()
                self._in_flight -= kind == "send"
                if attempt is not None and _is_refusal(exchange):
                    processor.on_refused(attempt.correlation_id, processor.name, attempt.requested_us)
                request.done(exchange)

        self._in_flight += kind == "send"
        processor.most_in_flight = max(processor.most_in_flight, self._in_flight)
        deadline = loop.call_at(request.deadline_s, tell, NoAnswer("no answer in time"))
        if processor.happens(processor.mischief.unreachable):
            loop.call_later(processor.one_way_s(), tell, NeverSent("cannot connect: refused"))
            return
        headers = [(name.lower(), value) for name, _, value in (one.partition(b": ") for one in head.split(b"\r\n"))]
        arriving = Request(method, target, headers, body)
        reply = SimulatedReply(
            processor, lambda exchange, back_s: loop.call_later(back_s, tell, exchange), kind == "send"
        )
        if processor.happens(processor.mischief.cut_before):
            loop.call_later(2 * processor.one_way_s(), tell, NoAnswer("the connection was reset"))
        else:
            universe.network.call_later(processor.one_way_s(), processor.arrived, arriving, reply)
        process.ended(f"{kind}:after")

    async def close(self) -> None:
        """Nothing is to be closed."""


def _is_refusal(exchange: Exchange) -> bool:
    """Return whether this proves that its attempt was not charged, by the processors' contract."""
    return isinstance(exchange, NeverSent) or (isinstance(exchange, Answer) and exchange.status in (400, 429, 500))
