"""Which samples were answered 202, and whether just these were charged: once each, at an amount they hold."""

from __future__ import annotations

import re
import time
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from payrouter_lab.badinput.samples import Sample, Samples
    from payrouter_lab.badinput.talk import Talked
    from payrouter_lab.bench.bed import Bed
    from payrouter_lab.bench.score import Charge

SETTLED_WITHIN_S = 60.0
_REST_S = 1.0
_NUMBER = re.compile(rb"-?[0-9]{1,12}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?")


class Oracle:
    """Knows what was sent and what was answered. A name stands for the sample whose bytes can be read to hold it."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self._sample_of: dict[str, tuple[str, int]] = {}
        self._accepts: Counter[tuple[str, int]] = Counter()
        self._before: frozenset[str] = frozenset()

    @property
    def accepted(self) -> int:
        """How many samples were answered 202 at least once."""
        return len(self._accepts)

    def begin(self, bed: Bed) -> None:
        """Remember what was charged before anything of ours was sent."""
        self._before = frozenset(charge.correlation_id for charge in _charges(bed))

    def note(self, talked: Talked) -> None:
        """Remember what a sample was answered."""
        sample = talked.sample
        key = (sample.family, sample.number)
        for name in sample.names:
            self._sample_of[name] = key
        accepts = talked.statuses.count(202)
        if accepts:
            self._accepts[key] += accepts

    def wait_until_settled(self, bed: Bed) -> None:
        """Return once everything accepted is settled and nothing more is, or after `SETTLED_WITHIN_S`."""
        deadline_s = time.monotonic() + SETTLED_WITHIN_S
        before = -1
        while time.monotonic() < deadline_s:
            settled = bed.target.settled()
            if settled == before and settled >= self.accepted + len(self._before):
                return
            before = settled
            time.sleep(_REST_S)

    def compare(self, bed: Bed) -> tuple[int, list[str]]:
        """Return how many payments the processors charged, and what is wrong with them, a line each."""
        charges = [charge for charge in _charges(bed) if charge.correlation_id not in self._before]
        return len(charges), self.judge(charges)

    def judge(self, charges: list[Charge]) -> list[str]:
        """Return what is wrong with these charges, a line each; empty when nothing is."""
        times = Counter(charge.correlation_id for charge in charges)
        wrong = [f"{name} was charged {count} times" for name, count in times.items() if count > 1]
        by_sample: dict[tuple[str, int], list[Charge]] = {}
        for charge in charges:
            key = self._sample_of.get(charge.correlation_id)
            if key is None:
                wrong.append(f"{charge.correlation_id} was charged, which nobody sent")
            else:
                by_sample.setdefault(key, []).append(charge)
        for key, found in by_sample.items():
            names = {charge.correlation_id for charge in found}
            if len(names) > self._accepts[key]:
                wrong.append(f"{_shown(key)}: {', '.join(names)} charged, but answered 202 {self._accepts[key]} times")
            wrong += [
                f"{_shown(key)}: {charge.correlation_id} was charged {charge.cents} cents, which it does not hold"
                for charge in found
                if charge.cents not in _cents(self._again(key))
            ]
        wrong += [
            f"{_shown(key)} was answered 202 and never charged" for key in self._accepts.keys() - by_sample.keys()
        ]
        return wrong

    def _again(self, key: tuple[str, int]) -> Sample:
        family, number = key
        make = {"stalled": self._samples.stalled, "good": self._samples.good}.get(family, self._samples.sample)
        return make(number)


def _charges(bed: Bed) -> list[Charge]:
    return [charge for processor in bed.processors.values() for charge in processor.charges()]


def _shown(key: tuple[str, int]) -> str:
    return f"sample {key[1]} ({key[0]})"


def _cents(sample: Sample) -> set[int]:
    """Return every amount a sample's bytes can be read to hold, in cents."""
    found = _NUMBER.findall(b"".join(sample.pieces))
    return {int(value * 100) for value in map(Decimal, (text.decode() for text in found)) if abs(value) < 10**12}
