"""What is built is what users install: one wheel with everything in it."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from payrouter import __version__

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_both_packages_their_data_and_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"payrouter-{__version__}-")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = f"payrouter-{__version__}.dist-info"
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = archive.read(f"{info}/METADATA").decode()
    assert {
        "payrouter/__main__.py",
        "payrouter/py.typed",
        "payrouter/adapters/sqlite/schema.sql",
        "payrouter/adapters/sqlite/upgrade_2.sql",
        *(f"payrouter/entrypoints/admin/static/{name}" for name in ("index.html", "login.html", "app.css", "app.js")),
        "payrouter_lab/simulator/__main__.py",
        f"{info}/licenses/LICENSE",
    } <= names
    assert "payrouter = payrouter.__main__:main" in entry_points
    assert "License-Expression: MIT" in metadata
    assert not any(name.startswith("tests/") for name in names)
