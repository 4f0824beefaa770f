"""`python -m payrouter_lab.screenshots docs/images`: pictures of the operator's page, of a router that really runs.

A router and two simulated processors on free ports, under load: the cheaper processor refuses some payments, loses a
few answers, fails for a while and comes back. About two minutes; needs Chromium and the development extra.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from playwright.async_api import async_playwright

from payrouter.adapters.http.client import Answer, HttpPool
from payrouter.domain.processor import Processor
from payrouter.entrypoints.api.serve import serving
from payrouter.settings import Address, Settings
from payrouter_lab.cluster import binaries
from payrouter_lab.simulator import ProcessorSimulator, SimulatorOptions
from payrouter_lab.simulator.faults import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

LARGEST_BYTES = 200_000
REFUSED = 8
"""About so many payments become dead letters."""

_RATE = 120.0
_WITHIN_S = 10.0
_DRAWN_S = 0.4


@dataclass
class Scene:
    """A running router, its processors, and the ids of the payments sent to it."""

    url: str
    pages: str
    processors: tuple[ProcessorSimulator, ...]
    sent: list[str] = field(default_factory=list)


@asynccontextmanager
async def running_scene() -> AsyncIterator[Scene]:
    """Run a router, processors and clients until this is left."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="payrouter-screenshots-")))
        simulators, processors = [], []
        for name, fee, delay_ms in (("default", "0.05", 9), ("fallback", "0.15", 6)):
            one = ProcessorSimulator(SimulatorOptions(name, Decimal(fee), delay_ms=delay_ms))
            processors.append(Processor(name, f"http://127.0.0.1:{await one.start()}", Decimal(fee)))
            stack.push_async_callback(one.stop)
            simulators.append(one)
        settings = Settings(
            processors=tuple(processors),
            data=folder / "payrouter.db",
            bind=Address("127.0.0.1", 0),
            admin_bind=Address("127.0.0.1", 0),
            stop_timeout_s=1.0,
        )
        served = await stack.enter_async_context(serving(settings))
        scene = Scene(f"http://{served.address}", f"http://{served.pages}", tuple(simulators))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        load = tasks.create_task(_load(scene))
        yield scene
        load.cancel()


async def _load(scene: Scene) -> None:
    """Send payments of many amounts, at a rate that goes up and down."""
    chance = random.Random(7)
    pool = HttpPool(scene.url)
    head = pool.head("POST", "/payments", (("Content-Type", "application/json"),))
    rate = _RATE
    try:
        while True:
            rate = min(1.5 * _RATE, max(0.6 * _RATE, rate + chance.gauss(0, 4)))
            await asyncio.sleep(1 / rate)
            amount = f"{chance.lognormvariate(3.2, 0.9):.2f}"
            correlation_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            body = f'{{"correlationId":"{correlation_id}","amount":{amount}}}'.encode()
            exchange = await pool.ask(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body), within_s=_WITHIN_S)
            if not isinstance(exchange, Answer) or exchange.status != 202:
                raise RuntimeError(f"a payment was not accepted: {exchange}")
            scene.sent.append(correlation_id)
    finally:
        await pool.close()


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of calm, of the cheaper processor's outage, and after it."""

    calm_s: float = 45.0
    outage_s: float = 25.0
    back_s: float = 30.0


async def _play(scene: Scene, times: Times) -> range:
    """Let things happen, and return which payments came while the cheaper processor was down."""
    default, _ = scene.processors
    await asyncio.sleep(times.calm_s)
    default.faults = Faults(status=400)
    enough = len(scene.sent) + REFUSED
    while len(scene.sent) < enough:  # noqa: ASYNC110 - not worth an event on every payment
        await asyncio.sleep(0.01)
    default.faults = Faults(answer_lost=0.002)
    first = len(scene.sent)
    default.configure(failing=True)
    await asyncio.sleep(times.outage_s)
    last = len(scene.sent)
    default.configure(failing=False)
    await asyncio.sleep(times.back_s)
    return range(first, last)


async def _longest_story(scene: Scene, among: range) -> str:
    """Return the id of the settled payment that took the most attempts."""
    pool = HttpPool(scene.pages)
    longest, most = "", 0
    try:
        for number in among[:: max(1, len(among) // 200)]:
            head = pool.head("GET", f"/api/payments/{scene.sent[number]}")
            exchange = await pool.ask(head + b"\r\n", within_s=_WITHIN_S)
            if not isinstance(exchange, Answer) or exchange.status != 200:
                raise RuntimeError(f"a payment was not found: {exchange}")
            view: dict[str, Any] = msgspec.json.decode(exchange.body)
            if view["state"] == "settled" and view["attempts"] > most:
                longest, most = view["correlationId"], view["attempts"]
    finally:
        await pool.close()
    if not longest:
        raise RuntimeError("no payment was settled during the outage")
    return longest


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: its name, where on the page, and how it is looked at.

    `there`: what is to be seen on it. `scale`: pixels of the picture per pixel.
    """

    name: str
    view: str = ""
    there: str = ".card"
    width: int = 1280
    height: int = 860
    dark: bool = False
    scale: float = 1.0


async def _take(browser: Browser, url: str, shot: Shot, folder: Path) -> Path:
    context = await browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme="dark" if shot.dark else "light",
        device_scale_factor=shot.scale,
    )
    page = await context.new_page()
    await page.goto(f"{url}/{shot.view}")
    await page.wait_for_function("document.getElementById('live').dataset.state === 'live'")
    await page.locator(shot.there).first.wait_for()
    await asyncio.sleep(_DRAWN_S)
    path = folder / f"{shot.name}.png"
    await page.screenshot(path=path, scale="device", animations="disabled", caret="hide")
    await context.close()
    return path


async def take(folder: Path, times: Times) -> list[Path]:
    """Take every picture into a folder that is there, and return the files.

    Raises:
        MissingBinary: if there is no Chromium.
    """
    executable = binaries.path_of("chromium")
    async with running_scene() as scene, async_playwright() as playwright:
        among = await _play(scene, times)
        story = f"#payment={await _longest_story(scene, among)}"
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=executable, args=arguments)
        shots = (
            Shot("overview-light", height=1040),
            Shot("overview-dark", height=1040, dark=True),
            Shot("phone", width=390, height=844, scale=2.0),
            Shot("story", story, ".story li", height=940),
            Shot("dead-letters", "#dead-letters", "#dead-rows tr", height=600),
        )
        taken = [await _take(browser, scene.pages, shot, folder) for shot in shots]
        await browser.close()
    return taken


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures and return the exit code: 1 if something is missing or a picture is too large."""
    parser = argparse.ArgumentParser(
        prog="python -m payrouter_lab.screenshots", description="Take pictures of the operator's page under load."
    )
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    usual = astuple(Times())
    parser.add_argument(
        "--times", type=float, nargs=3, default=usual, metavar="S", help="seconds of calm, of outage, after it"
    )
    given = parser.parse_args(arguments)
    folder, times = given.folder, Times(*given.times)
    sys.stdout.write(f"letting a router work, fail over and recover for {sum(astuple(times)):.0f} s\n")
    sys.stdout.flush()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        taken = asyncio.run(take(folder, times))
    except binaries.MissingBinary as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write("".join(f"{one}: {one.stat().st_size / 1000:.0f} KB\n" for one in taken))
    large = [one.name for one in taken if one.stat().st_size > LARGEST_BYTES]
    if large:
        sys.stderr.write(f"larger than {LARGEST_BYTES / 1000:.0f} KB: {', '.join(large)}\n")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
