"""What latency to expect of a processor, from its own reports and from what we saw.

All instants are monotonic seconds; latencies are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass

_WEIGHT = 0.2
_STALE_SAMPLE_S = 1.0
_OVERTAKEN_S = 0.5


@dataclass(slots=True)
class Latency:
    """Observed: a moving average of answered attempts. Reported: the processor's `minResponseTime`, kept apart.

    A success never overwrites the report, nor the report the samples: the newer of the two speaks, and a report
    only speaks while it is fresh.
    """

    report_fresh_s: float = 11.0
    observed_ms: float = 0.0
    observed_s: float = float("-inf")
    reported_ms: float = 0.0
    reported_s: float = float("-inf")
    _newest_sent_s: float = float("-inf")

    def overtaken(self, now_s: float, latency_ms: float) -> bool:
        """Return whether an answer tells nothing new, as a later attempt was answered before.

        A processor fixes its delay when a request arrives: an answer tells how it was when its attempt was *sent*.
        """
        return now_s - latency_ms / 1000 < self._newest_sent_s - _OVERTAKEN_S

    def sampled(self, now_s: float, latency_ms: float, *, alone: bool = False) -> None:
        """An attempt was answered. The first sample after a pause counts alone, and so does one given as `alone`."""
        if self.overtaken(now_s, latency_ms):
            return
        self._newest_sent_s = max(self._newest_sent_s, now_s - latency_ms / 1000)
        if alone or now_s - self.observed_s > _STALE_SAMPLE_S:
            self.observed_ms = latency_ms
        else:
            self.observed_ms += (latency_ms - self.observed_ms) * _WEIGHT
        self.observed_s = now_s

    def reported(self, now_s: float, latency_ms: float) -> None:
        """A health report came."""
        self.reported_ms = latency_ms
        self.reported_s = now_s

    def expected_ms(self, now_s: float, *, silent_s: float) -> float:
        """Return what the next attempt will take.

        `silent_s` is for how long attempts have been out without any answer: a lower bound that needs no answer.
        A worse report counts at once; a better one does not erase what we saw, it only calls for a probe.
        """
        expected = self.observed_ms
        report_speaks = self.reported_s > self.observed_s and now_s - self.reported_s < self.report_fresh_s
        if report_speaks:
            expected = max(expected, self.reported_ms)
        return max(expected, silent_s * 1000)
