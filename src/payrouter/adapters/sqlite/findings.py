"""What a data file shows, in words for whoever runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from payrouter.adapters.sqlite.file_report import report_on
from payrouter.domain.payment import PaymentState
from payrouter.ports.findings import Finding, Level

if TYPE_CHECKING:
    from pathlib import Path

LITTLE_BYTES = 1_000_000_000
TOO_LITTLE_BYTES = 50_000_000


def look_at(path: Path) -> list[Finding]:
    """Return what there is to say about a data file; changes nothing."""
    report = report_on(path)
    subject = f"data file {path}"
    if report.free_bytes is None:
        folder = path.absolute().parent
        step = f"create {folder}, or choose another PAYROUTER_DATA"
        return [Finding(Level.ERROR, subject, "its folder is not there", step)]
    findings = []
    if report.problem:
        findings.append(Finding(Level.ERROR, subject, report.problem, "mend that, or choose another PAYROUTER_DATA"))
    elif report.size_bytes:
        use = "in use by a running router" if report.in_use else "no router runs on it"
        findings.append(Finding(Level.OK, subject, f"schema is right, {_size(report.size_bytes)}, {use}"))
    else:
        findings.append(Finding(Level.OK, subject, "not there yet; payrouter serve creates it"))
    if not report.writable:
        step = f"give this user the right to write to {path} and its folder"
        findings.append(Finding(Level.ERROR, subject, "cannot be written", step))
    findings.append(_free_finding(report.free_bytes))
    dead = report.unsettled.get(PaymentState.DEAD_LETTER, 0)
    if dead:
        step = "payrouter dead-letters list"
        findings.append(Finding(Level.WARNING, "dead letters", f"{dead} payments need an operator", step))
    return findings


def _free_finding(free_bytes: int) -> Finding:
    step = "make room: a full disk means that no payment can be accepted"
    if free_bytes < TOO_LITTLE_BYTES:
        return Finding(Level.ERROR, "free disk", _size(free_bytes), step)
    if free_bytes < LITTLE_BYTES:
        return Finding(Level.WARNING, "free disk", _size(free_bytes), step)
    return Finding(Level.OK, "free disk", _size(free_bytes))


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
