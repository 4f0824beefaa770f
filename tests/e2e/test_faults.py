"""The storm in its short form, as `make faults FAULTS_ARGS=--short` runs it: every fault once, and nothing is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from e2e.cli_client import clean_environment
from payrouter_lab.faults.catalogue import cluster_faults
from payrouter_lab.faults.disk import disk_faults
from payrouter_lab.faults.proxy import Deed

if TYPE_CHECKING:
    from pathlib import Path

WITHIN_S = 110.0


def test_every_fault_strikes_once_and_nothing_is_lost_doubled_or_different(servers_directory: Path, postgres_template):
    file = servers_directory / "faults.json"
    argv = [sys.executable, "-m", "payrouter_lab.faults", "--short", "--seed", "1", "--rate", "150", "--lenient-times"]
    argv += ["--json", str(file), "--dir", str(servers_directory), "--postgres-template", str(postgres_template)]
    ended = subprocess.run(argv, env=clean_environment(), capture_output=True, text=True, timeout=WITHIN_S, check=False)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(file.read_text())
    rounds = {one["fault"]: one for one in found["rounds"]}
    expected = [one.name for one in (*cluster_faults(), *disk_faults())]
    assert [one["fault"] for one in found["rounds"] if one["fault"] in expected] == expected
    for name, one in rounds.items():
        assert (one["lost"], one["doubled"], one["differing"], one["stuck"]) == (0, 0, 0, 0), name
        assert one["settled_s"] is not None, name
    for name in expected:
        assert rounds[name]["accepting_s"] is not None, name
        assert rounds[name]["in_flight"] > 0, f"{name} struck while nothing was in flight"
    for name in ("kill -9 redis", "restart redis", "disk full (one SQLite file)"):
        assert rounds[name]["refused"] > 0, f"{name} refused nothing: it struck nothing"
    assert rounds["kill -9 nginx"]["unanswered"] > 0
    for name in ("kill -9 api1", "kill -9 api2"):
        assert (rounds[name]["refused"], rounds[name]["unanswered"]) == (0, 0)
    assert all(found["proxies"].get(deed, 0) > 0 for deed in Deed), found["proxies"]
    assert found["asked_again"] > 0, "no fault hit a charge: this tested little"
    assert found["accepted"] > 3000
