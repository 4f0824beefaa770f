"""Bad input at scale, in short: against one process and against a cluster, side by side, as most of it is waiting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-m", "payrouter_lab.badinput", "--silence", "1.5", "--warm-up", "0"]
ROOT = Path(__file__).parents[2]
WITHIN_S = 110


def started(results: Path, name: str, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, *options, "--keep", str(results / name), "--json", str(results / f"{name}.json")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def finished(run: subprocess.Popen[str], results: Path, name: str) -> dict:
    said, _ = run.communicate(timeout=WITHIN_S)
    print(said)
    assert run.returncode == 0, said
    return json.loads((results / f"{name}.json").read_text())


def test_bad_input_is_refused_charges_nothing_and_leaves_the_router_as_it_was(servers_directory: Path) -> None:
    # PostgreSQL has a user of its own and must be able to enter.
    results = servers_directory / "badinput"
    results.mkdir()
    runs = {
        "one": started(results, "one", "--requests", "5000", "--bursts", "5", "--examples", "20"),
        "keys": started(results, "keys", "--requests", "2000", "--bursts", "5", "--examples", "10", "--keys"),
        "cluster": started(results, "cluster", "--requests", "1000", "--bursts", "5", "--examples", "5", "--cluster"),
    }
    try:
        found = {name: finished(run, results, name) for name, run in runs.items()}
    finally:
        for run in runs.values():
            if run.poll() is None:
                os.kill(run.pid, signal.SIGTERM)
                run.wait(30)
    # Some had no key, and some came too fast.
    assert {"401", "429"} <= set(found["keys"]["bytes"]["statuses"])
    assert not {"401", "429"} & set(found["one"]["bytes"]["statuses"])
    assert found["keys"]["conformance"]["checks"]["ignored_auth"] > 10
    for figures in found.values():
        assert figures["bytes"]["findings"] == figures["conformance"]["findings"] == []
        # What was sent reached every layer: the parser, the routes, the body, the queue, the processors.
        assert {"0", "200", "202", "400", "404", "405", "413", "422", "431"} <= set(figures["bytes"]["statuses"])
        assert figures["bytes"]["charged"] >= figures["bytes"]["accepted"] > 50
        assert figures["bytes"]["good_taken"] == 5
        assert figures["conformance"]["accepted"] > 0
        assert figures["conformance"]["checks"]["response_schema_conformance"] > 50
        assert set(figures["conformance"]["phases"].values()) == {"success"}
