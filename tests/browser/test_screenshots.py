"""The pictures of the README are taken of a router that runs."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from e2e.cli_client import clean_environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.usefixtures("browser")  # there is one, or a reason why not
def test_pictures_are_taken_of_a_router_under_load(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "payrouter_lab.screenshots", str(tmp_path / "images")]
    times = ["--times", "0.3", "0.4", "1"]
    ended = subprocess.run([*command, *times], env=clean_environment(), capture_output=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    sizes = {}
    for file in (tmp_path / "images").iterdir():
        picture = file.read_bytes()
        assert picture.startswith(b"\x89PNG")
        assert len(picture) <= 200_000
        sizes[file.stem] = struct.unpack(">II", picture[16:24])
    assert sizes == {
        "overview-light": (1280, 1040),
        "overview-dark": (1280, 1040),
        "phone": (780, 1688),
        "story": (1280, 940),
        "dead-letters": (1280, 600),
    }
