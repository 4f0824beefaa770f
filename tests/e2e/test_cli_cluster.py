"""`migrate`, `check`, `summary`, `audit` and `dead-letters` on a cluster: running, idle, and with a store away."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from e2e.cli_client import TOKEN, new_id, payrouter, processors_json, simulator, wait_for
from e2e.cluster_client import NO_PROCESSOR, api, dispatcher, migrated, stores, with_password

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.cli_client import Service
    from payrouter_lab.cluster.servers import PostgresServer, RedisServer

COUNT = 8
PREFIX = "cli"
AWAY = "redis://127.0.0.1:1"


@dataclass
class Bed:
    """A cluster that settled `COUNT` payments of 19.90 at default."""

    folder: Path
    settings: dict[str, str]
    default: Service
    api: Service
    redis: RedisServer
    ids: list[str]

    def run(self, *arguments: str, **settings: str) -> tuple[int, str, str]:
        ended = payrouter(self.folder, *arguments, **self.settings | settings)
        assert "Traceback" not in ended.stderr
        return ended.returncode, ended.stdout, ended.stderr

    def json(self, *arguments: str, **settings: str) -> tuple[int, Any]:
        code, out, err = self.run(*arguments, "--json", **settings)
        assert out, err
        return code, json.loads(out)

    def check(self, **settings: str) -> tuple[int, dict[str, dict[str, Any]]]:
        """Return the exit code and, by subject, the worst finding."""
        code, answer = self.json("check", **settings)
        order = ["ok", "warning", "error"]
        findings = sorted(answer["findings"], key=lambda one: order.index(one["level"]))
        assert code == (0 if answer["ok"] else 1)
        return code, {one["subject"]: one for one in findings}

    def bury(self, first: int = 400) -> str:
        """Return a payment that default has refused for good, answering `first` to its first attempt."""
        one = new_id()
        self.default.faults(status=first)
        assert self.api.pay(one) == 202
        if first != 400:
            wait_for(lambda: self.api.state(one) == "pinned")
            self.default.faults(status=400)
        wait_for(lambda: self.api.state(one) == "dead-letter")
        self.default.faults(status=None)
        return one


@pytest.fixture(scope="module")
def bed(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, postgres_server: PostgresServer
) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        default = stack.enter_context(simulator(folder))
        fallback = stack.enter_context(simulator(folder, "fallback", "--fee", "0.15"))
        processors = processors_json(default=default.url, fallback=fallback.url)
        url = postgres_server.create_database("cli")
        stack.callback(postgres_server.drop_database, "cli")
        settings = migrated(folder, stores(redis_server.url, url, PREFIX, processors))
        stack.enter_context(dispatcher(folder, settings))
        serving = stack.enter_context(api(folder, settings))
        ids = [new_id() for _ in range(COUNT)]
        assert [serving.pay(one) for one in ids] == [202] * COUNT
        wait_for(lambda: serving.call("GET", "/payments-summary")[1]["default"]["totalRequests"] == COUNT)
        # The audit takes a window as closed two seconds after its end.
        time.sleep(2.1)
        yield Bed(folder, settings, default, serving, redis_server, ids)


@pytest.fixture
def idle(tmp_path: Path, redis_server: RedisServer, redis_prefix: str, postgres_url: str) -> Bed:
    """The commands on stores of their own, where nothing runs and nothing ever ran."""
    settings = stores(redis_server.url, postgres_url, redis_prefix)
    nobody: Any = None
    return Bed(tmp_path, settings, nobody, nobody, redis_server, [])


# -- migrate


def test_migrating_says_what_it_did_and_does_it_once(idle: Bed) -> None:
    code, out, err = idle.run("migrate")
    assert code == 0
    assert err.startswith("applying 0001_ledger\n")
    assert out.startswith("applied 0001_ledger\n")
    assert out.endswith(" has schema version 1 now\n")
    code, out, err = idle.run("migrate")
    assert (code, err) == (0, "")
    assert out.startswith("PostgreSQL at 127.0.0.1:")
    assert out.endswith(" has schema version 1 already: nothing to do\n")


def test_migrating_needs_no_redis_and_no_processors(idle: Bed) -> None:
    settings = idle.settings | {"PAYROUTER_REDIS_URL": AWAY}
    del settings["PAYROUTER_PROCESSORS"]
    assert payrouter(idle.folder, "migrate", **settings).returncode == 0


def test_on_a_sqlite_file_there_is_nothing_to_migrate(tmp_path: Path) -> None:
    ended = payrouter(tmp_path, "migrate")
    assert ended.returncode == 0
    assert ended.stdout.startswith("nothing to migrate: payments are kept in the SQLite file payrouter.db")
    assert not list(tmp_path.iterdir())


# -- summary and audit


def test_the_summary_is_that_of_the_ledger(bed: Bed) -> None:
    code, answer = bed.json("summary")
    assert code == 0
    assert answer["processors"]["default"]["totalRequests"] >= COUNT
    assert answer["processors"]["fallback"]["totalRequests"] == 0
    assert bed.json("summary", "--from", "2100-01-01T00:00:00Z")[1]["total"]["totalRequests"] == 0


def test_the_summary_needs_no_redis(bed: Bed) -> None:
    code, answer = bed.json("summary", PAYROUTER_REDIS_URL=AWAY)
    assert (code, answer["total"]["totalRequests"] >= COUNT) == (0, True)


def test_books_that_agree_say_so_and_a_charge_we_lack_is_found(bed: Bed) -> None:
    code, answer = bed.json("audit")
    assert (code, answer["agree"], answer["differences"]) == (0, True, [])
    assert answer["processors"]["default"]["comparedBy"] == "payment"
    books = bed.default.call("GET", "/admin/payments", **TOKEN)[1]["payments"]
    stray = {"correlationId": new_id(), "amount": 5, "requestedAt": books[0]["requestedAt"]}
    assert bed.default.call("POST", "/payments", stray)[0] == 200
    code, answer = bed.json("audit")
    assert code == 1
    [difference] = answer["differences"]
    assert (difference["difference"], difference["correlationId"]) == ("missing here", stray["correlationId"])
    bed.default.call("POST", "/admin/purge-payments", **TOKEN)
    for one in books:
        assert bed.default.call("POST", "/payments", one)[0] == 200


def test_an_unresolved_attempt_is_listed_with_its_state_and_is_no_difference(bed: Bed) -> None:
    bed.default.faults(status=502)
    pinned = new_id()
    bed.api.pay(pinned)
    wait_for(lambda: bed.api.state(pinned) == "pinned")
    time.sleep(2.1)
    code, answer = bed.json("audit")
    assert (code, answer["agree"], answer["unresolvedCount"]) == (0, True, 1)
    assert answer["unresolved"][0] == {
        "processor": "default",
        "state": "pinned",
        "correlationId": pinned,
        "amount": 19.9,
        "requestedAt": bed.api.call("GET", f"/payments/{pinned}")[1]["requestedAt"],
    }
    bed.default.faults(status=None)
    wait_for(lambda: bed.api.state(pinned) == "settled")


# -- dead letters


def test_dead_letters_are_listed_and_sent_again_all_or_none(bed: Bed) -> None:
    assert bed.run("dead-letters", "list")[1] == "no dead letters\n"
    assert bed.run("dead-letters", "retry", "--all")[1] == "no dead letters\n"
    first, second, third = (bed.bury() for _ in range(3))
    code, answer = bed.json("dead-letters", "list", "--limit", "2")
    assert (code, answer["count"]) == (0, 3)
    assert [one["correlationId"] for one in answer["deadLetters"]] == [first, second]
    assert answer["deadLetters"][0]["amount"] == 19.9
    assert "answered 400" in answer["deadLetters"][0]["reason"]

    code, out, err = bed.run("dead-letters", "retry", second.upper())
    assert (code, out, err) == (0, "1 back in the queue; the running router takes over within seconds\n", "")
    wait_for(lambda: bed.api.state(second) == "settled")

    unknown = new_id()
    code, _, err = bed.run("dead-letters", "retry", first, second, unknown)
    assert code == 1
    assert "nothing was sent again" in err
    assert f"{second} is settled" in err
    assert f"{unknown} is unknown here" in err
    assert first not in err
    assert bed.api.state(first) == "dead-letter"

    assert bed.json("dead-letters", "retry", "--all", "--yes")[1] == {"sentAgain": 2, "routerRunning": True}
    wait_for(lambda: [bed.api.state(one) for one in (first, third)] == ["settled"] * 2)


def test_one_that_is_unresolved_repeats_its_attempt(bed: Bed) -> None:
    one = bed.bury(first=502)
    requested_at = bed.api.call("GET", f"/payments/{one}")[1]["requestedAt"]
    assert bed.json("dead-letters", "list")[1]["deadLetters"][0]["unresolvedAt"] == "default"
    assert bed.run("dead-letters", "retry", one)[0] == 0
    wait_for(lambda: bed.api.state(one) == "settled")
    assert bed.default.call("GET", f"/payments/{one}")[1]["requestedAt"] == requested_at


def test_one_that_is_under_way_is_no_dead_letter(idle: Bed) -> None:
    migrated(idle.folder, idle.settings)
    waiting = new_id()
    with api(idle.folder, idle.settings) as serving:
        assert serving.pay(waiting) == 202
    code, _, err = idle.run("dead-letters", "retry", waiting)
    assert code == 1
    assert f"{waiting} is queued" in err


def test_poison_is_shown_as_what_it_is_and_cannot_be_sent(bed: Bed) -> None:
    entry = bed.redis.ask("XADD", f"{{{PREFIX}}}:queue", "*", "x", "\x1b[31mevil")
    wait_for(lambda: bed.json("dead-letters", "list")[1]["poisonCount"] == 1)
    code, answer = bed.json("dead-letters", "list")
    assert (code, answer["count"], answer["deadLetters"]) == (0, 0, [])
    assert answer["poison"] == [{"entry": entry, "beginsWith": "x \x1b[31mevil"}]
    code, out, _ = bed.run("dead-letters", "list")
    assert code == 0
    assert entry in out
    assert "\\x1b[31mevil" in out
    assert "cannot be sent" in out
    code, _, err = bed.run("dead-letters", "retry", entry)
    assert code == 2
    assert "is no payment: it cannot be sent" in err
    assert bed.json("dead-letters", "retry", "--all")[1]["sentAgain"] == 0
    code, found = bed.check()
    assert (code, found["poison"]["level"], found["poison"]["nextStep"]) == (
        0,
        "warning",
        "payrouter dead-letters list",
    )


# -- check


def test_a_sound_cluster_is_all_well(bed: Bed) -> None:
    code, found = bed.check()
    assert code == 0
    assert {name for name, one in found.items() if one["level"] != "ok"} <= {"poison"}
    assert "synced to disk before it is answered" in found["Redis"]["found"]
    assert "without a limit" in found["Redis memory"]["found"]
    assert found["dispatchers"]["found"] == "1 alive"
    assert "makes the health calls" in found["leader"]["found"]
    assert found["queue"]["found"].startswith("0 payments waiting, 0 with dispatchers; 0 unresolved")
    assert found["PostgreSQL"]["found"].startswith("version ")
    assert found["PostgreSQL durability"]["found"] == "it can be written, and syncs what it commits"
    assert found["ledger"]["found"].startswith("schema version 1, ")
    assert "payrouter.db" not in json.dumps(found)


def test_before_the_first_start_the_next_steps_are_named(idle: Bed) -> None:
    code, found = idle.check()
    assert code == 1
    assert (found["ledger"]["level"], found["ledger"]["nextStep"]) == ("error", "run payrouter migrate")
    assert (found["dispatchers"]["level"], found["dispatchers"]["found"]) == ("warning", "none alive")
    assert "payrouter dispatcher" in found["dispatchers"]["nextStep"]
    migrated(idle.folder, idle.settings)
    assert idle.check()[1]["ledger"]["found"] == "schema version 1, 0 payments settled"
    assert idle.redis.ask("KEYS", f"*{idle.settings['PAYROUTER_REDIS_PREFIX']}*") == []


def test_a_full_queue_and_dead_letters_are_warnings(bed: Bed) -> None:
    one = bed.bury()
    found = bed.check(PAYROUTER_QUEUE_LIMIT="1")[1]
    assert found["dead letters"] == {
        "level": "warning",
        "subject": "dead letters",
        "found": "1 payments need an operator",
        "nextStep": "payrouter dead-letters list",
    }
    assert bed.run("dead-letters", "retry", one)[0] == 0
    wait_for(lambda: bed.api.state(one) == "settled")


def test_waiting_payments_are_counted_and_a_nearly_full_queue_is_a_warning(idle: Bed) -> None:
    migrated(idle.folder, idle.settings)
    with api(idle.folder, idle.settings) as serving:
        assert [serving.pay(new_id()) for _ in range(4)] == [202] * 4
    found = idle.check(PAYROUTER_QUEUE_LIMIT="6")[1]["queue"]
    assert (found["level"], found["found"][:18]) == ("ok", "4 payments waiting")
    found = idle.check(PAYROUTER_QUEUE_LIMIT="5")[1]["queue"]
    assert found["level"] == "warning"
    assert "answered 503" in found["nextStep"]


def test_stores_that_are_away_are_errors_each_by_itself(bed: Bed) -> None:
    code, found = bed.check(PAYROUTER_REDIS_URL=AWAY, PAYROUTER_POSTGRES_URL="postgresql://127.0.0.1:1/x")
    assert code == 1
    for name, setting in (("Redis", "PAYROUTER_REDIS_URL"), ("PostgreSQL", "PAYROUTER_POSTGRES_URL")):
        assert found[name]["level"] == "error"
        assert "Connection refused" in found[name]["found"]
        assert found[name]["nextStep"] == f"start it, or correct {setting}"
    assert found["processor default"]["level"] == "ok"


def test_wrong_passwords_are_errors(
    idle: Bed, own_redis: Callable[..., RedisServer], own_postgres: Callable[..., PostgresServer]
) -> None:
    redis = own_redis(password="right")
    found = idle.check(
        PAYROUTER_REDIS_URL=redis.url.replace("right", "wr0ng"),
        PAYROUTER_POSTGRES_URL=with_password(own_postgres()).replace("right", "wr0ng"),
    )[1]
    assert "Redis refuses this user and password" in found["Redis"]["found"]
    assert "correct them in the url" in found["Redis"]["nextStep"]
    assert "password authentication failed" in found["PostgreSQL"]["found"]
    assert found["PostgreSQL"]["nextStep"] == "correct user and password in PAYROUTER_POSTGRES_URL"


@pytest.mark.parametrize(
    ("options", "what", "step", "may_be_allowed"),
    [
        ({"maxmemory": "50mb", "config": ["maxmemory-policy volatile-ttl"]}, "evicts", "set noeviction", True),
        ({"config": ["appendonly no"]}, "keeps nothing on disk", "set appendonly yes", True),
        ({"config": ["replicaof 127.0.0.1 1"]}, "it is a slave", "name the master in PAYROUTER_REDIS_URL", False),
    ],
)
def test_a_redis_that_is_no_safe_place_is_an_error_or_when_allowed_a_warning(  # noqa: PLR0917 - as pytest gives them
    idle: Bed,
    own_redis: Callable[..., RedisServer],
    options: dict[str, Any],
    what: str,
    step: str,
    may_be_allowed: bool,
) -> None:
    url = own_redis(**options).url
    finding = idle.check(PAYROUTER_REDIS_URL=url)[1]["Redis durability"]
    assert (finding["level"], finding["nextStep"]) == ("error", step)
    assert what in finding["found"]
    finding = idle.check(PAYROUTER_REDIS_URL=url, PAYROUTER_ALLOW_UNSAFE_STORES="true")[1]["Redis durability"]
    assert finding["level"] == ("warning" if may_be_allowed else "error")


def test_a_redis_that_is_nearly_full_is_a_warning(idle: Bed, own_redis: Callable[..., RedisServer]) -> None:
    redis = own_redis(maxmemory="4mb")
    assert idle.check(PAYROUTER_REDIS_URL=redis.url)[1]["Redis memory"]["level"] == "ok"
    used = int(next(line for line in redis.ask("INFO", "memory").splitlines() if "used_memory:" in line).split(":")[1])
    redis.ask("CONFIG", "SET", "maxmemory", used * 10 // 9)
    finding = idle.check(PAYROUTER_REDIS_URL=redis.url)[1]["Redis memory"]
    assert finding["level"] in {"warning", "error"}
    assert "raise its maxmemory" in finding["nextStep"]


@pytest.mark.parametrize(
    ("setting", "what", "allowed_level"),
    [
        ("fsync=off", "may lose settled payments", "warning"),
        ("default_transaction_read_only=on", "only be read", "error"),
    ],
)
def test_a_postgres_that_cannot_keep_what_is_settled_is_an_error(
    idle: Bed, own_postgres: Callable[..., PostgresServer], setting: str, what: str, allowed_level: str
) -> None:
    url = own_postgres(options=[setting]).url
    finding = idle.check(PAYROUTER_POSTGRES_URL=url)[1]["PostgreSQL durability"]
    assert finding["level"] == "error"
    assert what in finding["found"]
    assert finding["nextStep"]
    finding = idle.check(PAYROUTER_POSTGRES_URL=url, PAYROUTER_ALLOW_UNSAFE_STORES="true")[1]["PostgreSQL durability"]
    assert finding["level"] == allowed_level


def test_a_user_who_may_not_write_is_an_error(idle: Bed, postgres_server: PostgresServer) -> None:
    migrated(idle.folder, idle.settings)
    url = idle.settings["PAYROUTER_POSTGRES_URL"]
    database = url.rpartition("/")[2]
    user = f"reader_{database}"
    postgres_server.run_sql(f"CREATE USER {user}")
    try:
        for grant in ("USAGE ON SCHEMA payrouter", "SELECT ON ALL TABLES IN SCHEMA payrouter"):
            postgres_server.run_sql(f"GRANT {grant} TO {user}", database=database)
        found = idle.check(PAYROUTER_POSTGRES_URL=url.replace("postgres@", f"{user}@"))[1]["ledger"]
        assert (found["level"], found["found"]) == ("error", "its user may not write to our tables")
        assert "GRANT" in found["nextStep"]
    finally:
        postgres_server.run_sql(f"DROP OWNED BY {user}", database=database)
        postgres_server.run_sql(f"DROP USER {user}")


def test_a_newer_schema_is_an_error(idle: Bed, postgres_server: PostgresServer) -> None:
    migrated(idle.folder, idle.settings)
    database = idle.settings["PAYROUTER_POSTGRES_URL"].rpartition("/")[2]
    postgres_server.run_sql("INSERT INTO payrouter.migration VALUES (99, 'from the future')", database=database)
    finding = idle.check()[1]["ledger"]
    assert (finding["level"], finding["nextStep"]) == ("error", "update Payrouter")


# -- secrets


def test_passwords_in_urls_are_shown_nowhere(
    tmp_path: Path, own_redis: Callable[..., RedisServer], own_postgres: Callable[..., PostgresServer]
) -> None:
    redis, postgres = own_redis(password="s3cret"), own_postgres()
    url = with_password(postgres).replace("right", "s3cret")
    postgres.run_sql("ALTER USER postgres PASSWORD 's3cret'")
    settings = stores(redis.url, url, processors=NO_PROCESSOR.replace("://", "://me:s3cret@"))
    said = ""
    for arguments in (["migrate"], ["check"], ["check", "--json"], ["summary"], ["audit"], ["dead-letters", "list"]):
        ended = payrouter(tmp_path, *arguments, **settings)
        said += ended.stdout + ended.stderr
    assert "postgresql://postgres:***@127.0.0.1" in said
    assert "redis://:***@127.0.0.1" in said
    with dispatcher(tmp_path, settings) as sending, api(tmp_path, settings) as serving:
        redis.kill()
        postgres.stop()
        assert serving.pay(new_id()) == 503
        assert serving.call("GET", "/payments-summary")[0] == 503
        sending.line("Redis is still away")
        said += sending.err + serving.process.err
    for role in (["check"], ["summary"], ["dead-letters", "list"]):
        ended = payrouter(tmp_path, *role, **settings)
        assert ended.returncode == 1
        said += ended.stdout + ended.stderr
    assert "Connection refused" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3/cret@127.0.0.1:1/db",
        "postgresql://me:s3?cret@127.0.0.1:1/db",
        "postgresql://me:s3#cret@127.0.0.1:1/db",
        "postgresql://me:s3cret",
        "me:s3cret@127.0.0.1/db",
        "mysql://me:s3cret@127.0.0.1/db",
        "postgresql://me:s3 cret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=s3cret",
    ],
)
def test_not_even_a_malformed_url_shows_its_password(tmp_path: Path, url: str) -> None:
    settings = stores("redis://127.0.0.1:1", url)
    for changed in (settings, settings | {"PAYROUTER_REDIS_URL": url.replace("postgresql", "redis")}):
        ended = payrouter(tmp_path, "check", **changed)
        assert ended.returncode in {1, 2}
        assert "s3" not in ended.stdout + ended.stderr
        assert "cret" not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr
