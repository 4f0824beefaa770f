"""What happened to one payment in one run, told in order: the run is lived again, with somebody listening."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from payrouter.adapters.rows import to_blob
from payrouter.domain.window import format_instant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from payrouter_lab.simulation.run import Options, Run

MOST_LINES = 80


class Story:
    """Listens to a run and keeps what concerns one payment; of everything else, only deaths."""

    def __init__(self, run: Run, correlation_id: str) -> None:
        self._run = run
        self._id = correlation_id
        self._blob = to_blob(correlation_id)
        self.lines: list[str] = []
        installation = run.installation
        self._redis_run = installation.redis.run
        installation.redis.run = self._script  # type: ignore[method-assign]
        self._settle = installation.rows.settle
        installation.rows.settle = self._settled  # type: ignore[method-assign]
        on_step, sent, refused = installation.on_step, run.conduct.sent, run.conduct.refused

        def step(process: Any, label: str) -> bool:
            dies = on_step(process, label)
            if dies:
                self._say(process.name, f"is killed at {label}")
            return dies

        def sends(name: str, processor: str, requested_us: int) -> None:
            if name == correlation_id:
                self._say("an attempt", f"leaves for {processor}, requestedAt {format_instant(requested_us)}")
            sent(name, processor, requested_us)

        def was_refused(name: str, processor: str, requested_us: int) -> None:
            if name == correlation_id:
                self._say(processor, "refused it, and its sender knows")
            refused(name, processor, requested_us)

        installation.on_step = step
        for processor in installation.processors.values():
            processor.on_send, processor.on_refused = sends, was_refused
            processor.on_charge = self._charged

    def _say(self, who: str, what: str) -> None:
        self.lines.append(f"{self._run.installation.universe.now_s:9.4f} s  {who} {what}")

    def _script(self, name: str, args: Sequence[bytes | str | int]) -> Any:
        payments = self._run.installation.redis.data.payments
        before = payments.get(self._blob)
        reply = self._redis_run(name, args)
        after = self._run.installation.redis.data.payments.get(self._blob)
        holder = self._holder()
        if before != after:
            self._say("Redis", f"{name}: {_text(before)} -> {_text(after)}{holder}")
        elif any(argument == self._blob for argument in args) or self._handed_out(reply):
            self._say("Redis", f"{name}: stays {_text(after)}{holder}")
        return reply

    def _handed_out(self, reply: Any) -> bool:
        return isinstance(reply, list) and self._blob in reply

    def _holder(self) -> str:
        data = self._run.installation.redis.data
        for place, blob in data.stream.items():
            if blob == self._blob:
                return f", held by {data.holder.get(place, 'nobody')}"
        return ""

    def _settled(self, rows: Any) -> list[bool]:
        written = self._settle(rows)
        for row, new in zip(rows, written, strict=True):
            intent = row.settlement.intent
            if intent.delivery.correlation_id == self._id:
                verb = "is written" if new else "was there before"
                self._say("PostgreSQL", f"charge by {intent.processor} at {format_instant(intent.requested_us)} {verb}")
        return written

    def _charged(self, correlation_id: str, processor: str) -> None:
        if correlation_id == self._id:
            self._say(processor, "charges it")


def tell(seed: int, options: Options, correlation_id: str) -> list[str]:
    """Return the story of a payment, line by line; the end of it when it is long."""
    from payrouter_lab.simulation.run import run_seed  # noqa: PLC0415 - each needs the other

    stories: list[Story] = []
    run_seed(seed, options, lambda run: stories.append(Story(run, correlation_id)))
    lines = stories[0].lines
    return lines if len(lines) <= MOST_LINES else [f"... {len(lines) - MOST_LINES} lines", *lines[-MOST_LINES:]]


def _text(record: bytes | None) -> str:
    return record.decode("utf-8", "replace") if record is not None else "nothing"
