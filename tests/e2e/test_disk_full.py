"""A full disk: clear refusals, a living process, and accepting again by itself once there is room."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from e2e.cli_client import call, new_id, payrouter, processors_json
from e2e.lives import Clients, behave, lives, pay, until

if TYPE_CHECKING:
    from pathlib import Path

ROOM_MB = 6
BALLAST_BYTES = 3 * 1024 * 1024
AGAIN_WITHIN_S = 2.0


@contextmanager
def small_disk(folder: Path):
    """Mount a disk of a few MB; skip the test where that is not allowed."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={ROOM_MB}m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def _load_until_full(router, clients, make_room) -> None:
    """Send until the disk is full, look at the router then, make room, and see it accept again."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clients.run())
        await until(lambda: clients.unavailable >= 50 or not router.alive, within_s=20)
        clients.accepted |= await asyncio.to_thread(_is_full_and_alive, router)
        before = len(clients.accepted)
        await asyncio.to_thread(make_room)
        await until(lambda: len(clients.accepted) >= before + 100, AGAIN_WITHIN_S)
        clients.stopping = True


def _is_full_and_alive(router) -> set[str]:
    """Look at a router that refuses; return what it accepted nevertheless, in the last free corner."""
    accepted = set()
    for one in (new_id() for _ in range(200)):
        status, headers = pay(router.url, one)
        if status == 503:
            break
        assert status == 202
        accepted.add(one)
    assert (status, headers["retry-after"]) == (503, "1")
    assert call(router.url, "GET", "/health")[0] == 200
    time.sleep(1.5)  # for what happens once a second
    assert router.alive, router.log.read_text()[-2000:]
    assert call(router.url, "GET", "/payments-summary")[0] == 200
    return accepted


def _fill_up_and_come_back(router, make_room) -> None:
    clients = Clients(router.port, salt=6, rate=1e9)
    asyncio.run(_load_until_full(router, clients, make_room))
    for processor in router.processors.values():
        behave(processor)
    router.wait_until_settled(len(clients.accepted), within_s=15)
    router.check_books(clients.accepted)
    print(f"{len(clients.accepted)} accepted, {clients.unavailable} answered 503 while the disk was full")
    assert not clients.others
    assert "Traceback" not in router.log.read_text()


@pytest.mark.parametrize("failing", [False, True], ids=["processors up", "processors down"])
def test_a_full_disk_refuses_clearly_and_accepts_again_by_itself_once_there_is_room(tmp_path, failing):
    with small_disk(tmp_path / "disk") as disk, lives(tmp_path, disk / "payrouter.db") as router:
        for processor in router.processors.values():
            behave(processor, failing=failing)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        router.start()
        _fill_up_and_come_back(router, ballast.unlink)
        assert "cannot preallocate" in router.log.read_text()


def test_a_limit_on_file_sizes_is_like_a_full_disk(tmp_path):
    with lives(tmp_path) as router:
        router.begin()
        pid = router.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2 * 1024 * 1024, hard))
        router.wait_until_serving()
        _fill_up_and_come_back(router, lambda: resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard)))


def test_a_router_killed_on_a_full_disk_starts_there_and_still_has_everything(tmp_path):
    with small_disk(tmp_path / "disk") as disk, lives(tmp_path, disk / "payrouter.db") as router:
        for processor in router.processors.values():
            behave(processor, failing=True)
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST_BYTES))
        router.start()
        clients = Clients(router.port, salt=7, rate=1e9)

        async def fill_up():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(clients.run())
                await until(lambda: clients.unavailable >= 50, within_s=20)
                clients.giving_up = clients.stopping = True

        asyncio.run(fill_up())
        router.kill()
        router.start()
        assert call(router.url, "GET", "/health")[0] == 200
        ballast.unlink()
        for processor in router.processors.values():
            behave(processor)
        router.wait_until_settled(len(clients.accepted), within_s=15)
        router.check_books(clients.accepted)


@pytest.mark.parametrize("room_kb", [0, 8, 20, 36, 48])
def test_a_router_that_finds_no_room_to_start_says_so_and_ends_with_one(tmp_path, room_kb):
    with small_disk(tmp_path / "disk") as disk:
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            ballast.write(bytes(ROOM_MB * 1024 * 1024))
            ballast.truncate(ROOM_MB * 1024 * 1024 - room_kb * 1024)
        ended = payrouter(
            tmp_path,
            "serve",
            PAYROUTER_DATA=str(disk / "payrouter.db"),
            PAYROUTER_BIND="127.0.0.1:0",
            PAYROUTER_PROCESSORS=processors_json(default="http://127.0.0.1:1"),
        )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert str(disk / "payrouter.db") in ended.stderr
