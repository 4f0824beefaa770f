"""What is struck: a local cluster under load, with a fault proxy before each processor."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

import hiredis
import msgspec

from payrouter.adapters.redis.keys import Keys
from payrouter_lab.bench.calls import Processor, Target
from payrouter_lab.bench.processes import Child, Manner, free_port, listening
from payrouter_lab.cluster.local import DATABASE, FEES, LocalCluster
from payrouter_lab.cluster.programs import TOKEN, Program
from payrouter_lab.cluster.servers import NginxServer
from payrouter_lab.faults.journal import Job, Journal
from payrouter_lab.faults.ledgers import ClusterLedger
from payrouter_lab.faults.proxy import Command, ProxyFaults
from payrouter_lab.faults.slow_disk import slow_disk_prefix
from payrouter_lab.faults.watch import POLL_S, StuckError, Watch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from payrouter_lab.cluster.server import Server

DELAY_MS = 60
"""Of both processors: so that there is always something in flight."""

BACKGROUND = ProxyFaults(reset_before=0.004, answer_lost=0.008, reset_mid_answer=0.004, garbage=0.002, delayed=0.01)
"""What the proxies do all the time."""

SETTINGS = {"PAYROUTER_PATIENCE_S": "1", "PAYROUTER_ATTEMPT_TIMEOUT_S": "2"}
LOAD_ENDS_WITHIN_S = 40.0
FLOWING = 50
"""Payments accepted before anything is struck."""
FLOWS_WITHIN_S = 20.0


class FaultProxy(Program):
    """The process of `faults.proxy` before one processor."""

    def __init__(self, name: str, directory: Path, target: int, seed: int) -> None:
        self.port, self._control = free_port(), free_port()
        given = {"--port": self.port, "--target": target, "--control": self._control, "--seed": seed}
        arguments = ["payrouter_lab.faults.proxy", *(str(word) for option in given.items() for word in option)]
        super().__init__(f"proxy-{name}", directory, arguments, {}, Manner())

    def tell(self, command: Command) -> dict[str, int]:
        """Tell it what to do; return how often the proxy has done what, by deed."""
        with socket.create_connection(("127.0.0.1", self._control), timeout=5.0) as link:
            link.sendall(msgspec.json.encode(command) + b"\n")
            found: dict[str, int] = json.loads(link.makefile("rb").readline())
            return found

    def _answers(self) -> bool:
        return listening(self.port) and listening(self._control)


class LoadChild:
    """The process of `faults.load`, and what its clients saw."""

    def __init__(self, directory: Path, port: int, rate: float) -> None:
        self.job = Job(port, rate, secrets.randbits(32), str(directory / "load.journal"))
        (directory / "load.journal").touch()
        self.journal = Journal(directory / "load.journal")
        argv = [sys.executable, "-m", "payrouter_lab.faults.load", msgspec.json.encode(self.job).decode()]
        self.child = Child("load", argv, directory=directory)

    def end(self) -> None:
        """Begin no further payment, and return once all that was sent is accepted.

        Raises:
            ChildError: if the load failed.
            StuckError: if some payments are never accepted.
        """
        self.child.check()
        self.child.ask_to_stop()
        try:
            code = self.child.process.wait(LOAD_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.journal.read()
            text = f"{self.journal.unanswered} payments are not accepted, {LOAD_ENDS_WITHIN_S:g} s after the last fault"
            raise StuckError(text) from None
        if code != 0:
            self.child.check()
        self.journal.read()


class Bed:
    """Something under load that faults can strike. A context manager: all of it runs once it is entered."""

    load: LoadChild
    watch: Watch
    target: Target

    def __init__(self) -> None:
        self._stack = ExitStack()

    @property
    def services(self) -> Mapping[str, Server]:
        """Its processes, by name."""
        raise NotImplementedError

    def _start(self) -> None:
        raise NotImplementedError

    def wait_until_ready(self) -> None:
        """Return once every process serves, after some were begun again."""
        for service in self.services.values():
            service.wait_until_ready()

    def revive(self) -> list[str]:
        """Begin again what has ended though nobody killed it; return what that was, a line each, with its last words.

        Raises:
            ChildError: if the load itself has ended.
        """
        self.load.child.check()
        found = []
        for name, service in self.services.items():
            if not service.alive:
                code = service.child.process.returncode
                found.append(f"{name} ended by itself with code {code}:\n{service.child.tail()}")
                service.begin()
        return found

    def tracebacks(self) -> list[str]:
        """Return who wrote a traceback into its log, a line each with its end."""
        found = []
        for name, service in self.services.items():
            before, _, after = service.log.read_text(errors="replace").rpartition("Traceback")
            if before or after.startswith(" ("):
                found.append(f"{name} wrote a traceback into its log: {' / '.join(after.splitlines()[-3:])}")
        return found

    def leftovers(self) -> list[str]:
        """Return what should not be there once everything is settled, a line each."""
        return []

    def calm(self) -> None:
        """Let everything work as well as it can, for the end."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _processors(self, urls: Mapping[str, str]) -> dict[str, Processor]:
        """Return the simulated processors' administration; each payment takes them `DELAY_MS`."""
        found = {name: Processor(url, TOKEN) for name, url in urls.items()}
        for processor in found.values():
            self._stack.callback(processor.close)
            processor.configure(delay_ms=DELAY_MS, failing=False)
        return found

    def _target(self, url: str) -> Target:
        target = Target(url)
        self._stack.callback(target.close)
        return target

    def _begin_load(self, directory: Path, port: int, rate: float) -> LoadChild:
        """Start the load, and return once payments flow."""
        self.load = LoadChild(directory, port, rate)
        self._stack.callback(self.load.child.stop)
        deadline_s = time.monotonic() + FLOWS_WITHIN_S
        while len(self.load.journal.accepts) < FLOWING:
            self.load.child.check()
            if time.monotonic() > deadline_s:
                raise StuckError(f"the load does not flow: {len(self.load.journal.accepts)} payments are accepted")
            time.sleep(POLL_S)
            self.load.journal.read()
        return self.load


class ClusterBed(Bed):
    """A cluster of two APIs and two dispatchers, two proxies, and `rate` payments a second.

    `slow_fsync_s`: how much longer each sync of Redis takes. `seed`: of what proxies do by chance. `template`: as of
    `PostgresServer`.
    """

    def __init__(  # noqa: PLR0913 - what a run of the storm can be told
        self,
        directory: Path,
        *,
        rate: float,
        seed: int,
        appendfsync: str = "always",
        slow_fsync_s: float = 0.0,
        template: Path | None = None,
    ) -> None:
        super().__init__()
        self.directory = directory
        self.rate = rate
        ports = {name: free_port() for name in FEES}
        self.proxies = {name: FaultProxy(name, directory, port, seed) for name, port in ports.items()}
        processors = [
            {"name": name, "url": f"http://127.0.0.1:{self.proxies[name].port}", "fee": fee}
            for name, fee in FEES.items()
        ]
        self.cluster = LocalCluster(
            directory / "cluster",
            apis=2,
            dispatchers=2,
            port=0,
            processor_ports=ports,
            settings={"PAYROUTER_PROCESSORS": json.dumps(processors), **SETTINGS},
            prefixes={"redis": slow_disk_prefix(directory, slow_fsync_s)} if slow_fsync_s else {},
            appendfsync=appendfsync,
            postgres_template=template,
        )

    @property
    def services(self) -> Mapping[str, Server]:
        """nginx, api1, dispatcher1, redis, postgres, processor-default, ...; not the proxies."""
        return self.cluster.services

    def _start(self) -> None:
        for proxy in self.proxies.values():
            self._stack.enter_context(proxy)
        self._stack.enter_context(self.cluster)
        processors = self._processors(self.cluster.processor_urls)
        self.target = self._target(self.cluster.url)
        ledger = self._stack.enter_context(ClusterLedger(self.cluster.postgres.url_of(DATABASE)))
        load = self._begin_load(self.directory, self.cluster.port, self.rate)
        self.watch = Watch(load.job, load.journal, ledger, processors, self._kept)
        self.misbehave(BACKGROUND)

    def misbehave(self, faults: ProxyFaults) -> None:
        """Set what both proxies do from now on."""
        for proxy in self.proxies.values():
            proxy.tell(Command(faults))

    def reload_nginx(self) -> None:
        """Let nginx replace its workers."""
        nginx = self.cluster.services["nginx"]
        assert isinstance(nginx, NginxServer)
        nginx.reload()

    def cut_processors(self) -> None:
        """Reset every connection between dispatchers and processors."""
        for proxy in self.proxies.values():
            proxy.tell(Command(cut=True))

    def cut_redis(self) -> None:
        """Let Redis end every client's connection."""
        self.cluster.redis.ask("CLIENT", "KILL", "SKIPME", "yes")

    def cut_postgres(self) -> None:
        """Let PostgreSQL end every session."""
        self.cluster.postgres.run_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    @property
    def deeds(self) -> dict[str, int]:
        """How often the proxies have done what so far, added up."""
        found: dict[str, int] = {}
        for proxy in self.proxies.values():
            for deed, times in proxy.tell(Command()).items():
                found[deed] = found.get(deed, 0) + times
        return found

    @property
    def asked_again(self) -> int:
        """How often processors were asked for a charge they had made before."""
        return sum(one.call("GET", "/admin/stats")["duplicates"] for one in self.watch.processors.values())

    def calm(self) -> None:
        """Let proxies and processors behave."""
        self.misbehave(ProxyFaults())
        for processor in self.watch.processors.values():
            processor.configure(delay_ms=0, failing=False)

    def leftovers(self) -> list[str]:
        """Return also what Redis still has."""
        keys = Keys()
        # A dispatcher clears up a moment after the ledger has it.
        deadline_s = time.monotonic() + 5.0
        while found := self._in_redis(keys):
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.05)
        return found

    def _in_redis(self, keys: Keys) -> list[str]:
        ask = self.cluster.redis.ask
        left: dict[str, Any] = {
            "payments": ask("HLEN", keys.payments),
            "entries in the queue": ask("XLEN", keys.queue),
            "waiting, by the counter": int(ask("HGET", keys.meta, "waiting") or 0),
            "to be sent again": ask("ZCARD", keys.again),
            "orphans": ask("ZCARD", keys.orphans),
            "dead letters": ask("ZCARD", keys.dead),
            "poison": ask("HLEN", keys.poison),
        }
        return [f"Redis still has {what}: {count}" for what, count in left.items() if count]

    def _kept(self, correlation_ids: list[str]) -> set[str] | None:
        try:
            numbers = [UUID(one).bytes for one in correlation_ids]
            records = self.cluster.redis.ask("HMGET", Keys().payments, *numbers)
        except (OSError, hiredis.ReplyError):
            return None
        return {one for one, record in zip(correlation_ids, records, strict=True) if record is not None}
