"""schemathesis against the OpenAPI document that the router serves: every check, bounded, by seed.

It runs as a process of its own, by its command line, and its reports are read. Excluded is nothing; what the document
cannot say, `hooks` does.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from payrouter.entrypoints.cli.progress import quietly
from payrouter_lab.bench.processes import Child, ChildError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from payrouter.entrypoints.cli.progress import Tell
    from payrouter_lab.bench.bed import Bed

RUN_WITHIN_S = 900.0
_HOOKS = "payrouter_lab.badinput.hooks"
# What a run with failures ends with; anything else did not run.
_CODES = (0, 1)


@dataclass(slots=True)
class ConformanceFigures:
    """What came of a run. `statuses`: by operation, how often each status came. `checks`: checks done, by name."""

    cases: int
    seed: int
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)
    phases: dict[str, str] = field(default_factory=dict)
    accepted: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True when nothing is wrong."""
        return not self.findings


def check_conformance(bed: Bed, *, examples: int, seed: int, key: str = "", tell: Tell = quietly) -> ConformanceFigures:
    """Send calls generated from the document, at most about `examples` per operation and phase, and read the reports.

    `key`: the API key to send; some checks leave it out, to see what is answered then.
    `tell` is told how many kB it has reported.
    The processors may have charged before; what they charge meanwhile must be just what was answered 202.

    Raises:
        ChildError: if schemathesis or the router does not run to the end.
    """
    before = set(_charged(bed))
    reports = bed.directory / "schemathesis"
    reports.mkdir()
    argv = [sys.executable, "-m", "schemathesis.cli", "run", f"{bed.target.url}/openapi.json"]
    argv += ["--seed", str(seed), "--max-examples", str(examples), "--checks", "all", "--no-color", "--no-shrink"]
    argv += ["--generation-database", "none", "--request-timeout", "30"]
    argv += ["--report-json-path", str(reports / "run.json"), "--report-ndjson-path", str(reports / "events.ndjson")]
    if key:
        # The one that counts where both are sent: it takes an Authorization of its own for the key that was used.
        argv += ["--header", f"Authorization: Bearer {key}"]
    with Child("schemathesis", argv, directory=reports, env={"SCHEMATHESIS_HOOKS": _HOOKS}) as child:
        code = _waited(child, reports / "events.ndjson", tell)
    bed.check()
    if code not in _CODES or not (reports / "run.json").exists():
        raise ChildError(f"schemathesis ended with {code}:\n{child.tail()}")
    figures, accepted = read_reports(reports, seed)
    figures.accepted = len(accepted)
    if not bed.target.wait_until_settled(len(before | accepted), 60):
        figures.findings.append("not everything accepted was settled within 60 s")
    times = Counter(_charged(bed))
    charged = times.keys() - before
    figures.findings += [f"{name} was charged {count} times" for name, count in times.items() if count > 1]
    figures.findings += [f"{name} was charged and not answered 202" for name in sorted(charged - accepted)]
    figures.findings += [f"{name} was answered 202 and not charged" for name in sorted(accepted - charged - before)]
    return figures


def _waited(child: Child, events: Path, tell: Tell) -> int:
    """Return the code it ends with."""
    end_s = time.monotonic() + RUN_WITHIN_S
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.process.wait(min(1.0, max(0.0, end_s - time.monotonic())))
        if time.monotonic() > end_s:
            raise ChildError(f"schemathesis was still running after {RUN_WITHIN_S:g} s:\n{child.tail()}")
        if events.exists():
            tell(events.stat().st_size / 1000)


def read_reports(reports: Path, seed: int) -> tuple[ConformanceFigures, set[str]]:
    """Return the figures of a run and the ids of accepted payments, from `run.json` and `events.ndjson`.

    Raises:
        ChildError: if the run was cut short.
    """
    run = json.loads((reports / "run.json").read_bytes())
    if not run["complete"]:
        raise ChildError(f"schemathesis did not finish: {run['stop_reason']}")
    figures = ConformanceFigures(run["test_cases"]["generated"], seed)
    figures.phases = {name: phase["status"] for name, phase in run["phases"].items()}
    figures.findings += [_worded(one) for one in (*run["failures"], *run["errors"])]
    accepted: set[str] = set()
    for recorder in _recorders(reports / "events.ndjson"):
        for checks in recorder.get("checks", {}).values():
            figures.checks.update(check["name"] for check in checks)
        for call in recorder.get("interactions", {}).values():
            request, response = call["request"], call.get("response")
            status = response["status_code"] if response is not None else 0
            figures.statuses.setdefault(_operation(request), Counter())[status] += 1
            # 200 to a payment that was waited for.
            if status == 202 or (status == 200 and _operation(request) == "POST /payments"):
                body = json.loads(base64.b64decode(request["body"]["$base64"]))
                accepted.add(body["correlationId"].lower())
    return figures, accepted


def _recorders(events: Path) -> Iterator[dict[str, Any]]:
    for line in events.read_bytes().splitlines():
        event = msgspec.json.decode(line)
        if "ScenarioFinished" in event:
            yield event["ScenarioFinished"]["recorder"]


def _operation(request: dict[str, Any]) -> str:
    """Return the documented operation a call was meant for; `other methods` is for none."""
    path = urlsplit(request["uri"]).path
    known = "/payments/{correlationId}" if path.startswith("/payments/") else path
    return f"{request['method']} {known}" if request["method"] in {"GET", "POST"} else "other methods"


def _worded(failure: dict[str, Any]) -> str:
    return "schemathesis: " + json.dumps(failure)[:1500]


def _charged(bed: Bed) -> list[str]:
    return [charge.correlation_id for processor in bed.processors.values() for charge in processor.charges()]
