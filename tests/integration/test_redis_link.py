"""The link to Redis over a real server: what calls and scripts answer, and how it introduces itself."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from integration.raw_http import on_both_loops, scenario, unhandled
from integration.redis_peer import linked, reconnected
from payrouter.adapters.redis.answers import RedisAnswered
from payrouter.adapters.redis.scripts import Script, load_script
from payrouter.domain.errors import StoreMisconfigured, StoreUnavailable
from payrouter_lab.cluster.servers import RedisServer

if TYPE_CHECKING:
    from payrouter.adapters.redis.connection import RedisLink

ADD = Script.of("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("redis"), appendfsync="everysec") as server:
        yield server


@pytest.fixture(autouse=True)
def clean(redis):
    redis.ask("FLUSHALL")
    redis.ask("SCRIPT", "FLUSH")
    redis.ask("CONFIG", "SET", "maxmemory", "0")


# -- calls


@on_both_loops
async def test_calls_take_bytes_texts_and_numbers_and_answer_bytes_numbers_lists_and_none(redis):
    async with linked(redis.url) as link:
        assert await link.call("SET", b"\x00key", "välue") == b"OK"
        assert await link.call(b"GET", b"\x00key") == "välue".encode()
        assert await link.call("INCRBY", "n", 41) == 41
        assert await link.call("GET", "nothing") is None
        assert await link.call("MGET", "n", "nothing") == [b"41", None]


@on_both_loops
async def test_every_call_under_load_gets_its_own_answer(redis):
    async def caller(link: RedisLink, number: int) -> int:
        for turn in range(100):
            # Sizes from nothing to far more than one read of a socket.
            told = b"%d.%d." % (number, turn) + b"x" * (turn * number * 37 % 70_000)
            first, second = link.call("ECHO", told), link.call("STRLEN", "nothing")
            assert await first == told
            assert await second == 0
        return number

    async with linked(redis.url) as link:
        callers = range(50)
        assert await asyncio.gather(*[caller(link, number) for number in callers]) == list(callers)


@on_both_loops
async def test_calls_are_carried_out_in_the_order_they_were_made(redis):
    async with linked(redis.url) as link:
        answers = []
        for _ in range(5):
            answers += [link.call("INCR", "n") for _ in range(400)]
            await asyncio.sleep(0)
        assert await asyncio.gather(*answers) == list(range(1, 2001))


@on_both_loops
async def test_the_answer_to_a_call_that_was_given_up_is_given_to_nobody_else(redis):
    async with linked(redis.url) as link:
        calls = [link.call("ECHO", str(number)) for number in range(10)]
        for call in calls[::2]:
            call.cancel()
        assert await asyncio.gather(*calls[1::2]) == [b"1", b"3", b"5", b"7", b"9"]
        assert await link.call("ECHO", "after") == b"after"


@scenario
async def test_a_call_with_an_impossible_argument_sends_nothing(redis):
    async with linked(redis.url) as link:
        for wrong in [None, object(), ["list"]]:
            with pytest.raises(TypeError):
                link.call("ECHO", wrong)
        with pytest.raises(UnicodeEncodeError):
            link.call("ECHO", "\ud800")
        with pytest.raises(ValueError, match="needs a command"):
            link.call()
        assert await link.call("ECHO", "still in step") == b"still in step"


@on_both_loops
async def test_calls_beyond_the_bound_are_refused_and_not_sent(redis):
    async with linked(redis.url, most_waiting=5) as link:
        redis.pause()
        calls = [link.call("INCR", "n") for _ in range(7)]
        assert [call.done() for call in calls] == [False] * 5 + [True] * 2
        with pytest.raises(StoreUnavailable, match="5 calls to Redis wait for their answers already"):
            await calls[5]
        redis.resume()
        assert await asyncio.gather(*calls[:5]) == [1, 2, 3, 4, 5]
        assert await link.call("GET", "n") == b"5"


@on_both_loops
async def test_a_pause_of_our_own_does_not_make_answers_late(redis):
    async with linked(redis.url, call_timeout_s=0.1) as link:
        call = link.call("ECHO", "there")
        time.sleep(0.5)  # noqa: ASYNC251 - the whole process stands still, as when its quota is used up
        assert await call == b"there"


# -- scripts


@on_both_loops
async def test_a_script_is_taught_to_a_redis_that_does_not_know_it_and_runs_once(redis):
    async with linked(redis.url) as link:
        assert await link.eval(ADD, ["n"], [5]) == 5
        assert await link.eval(ADD, ["n"], [b"5"]) == 10
        await link.call("SCRIPT", "FLUSH")
        assert await asyncio.gather(*[link.eval(ADD, ["n"], ["1"]) for _ in range(3)]) == [11, 12, 13]


@on_both_loops
async def test_a_redis_that_was_restarted_is_taught_before_anything_is_asked(own_redis):
    """Else a repeated call would be taught and asked again behind what is called after it."""
    server, broken = own_redis(), Script.of("broken", "return nonsense(")
    async with linked(server.url) as link:
        with suppress(RedisAnswered):
            await link.eval(broken, [], [])
        await link.eval(ADD, ["n"], [1])
        await reconnected(link, lambda: (server.kill(), server.start()))
        assert server.ask("SCRIPT", "EXISTS", ADD.sha1, broken.sha1) == [1, 0]
        assert await link.eval(ADD, ["n"], [1]) == 2


@scenario
async def test_an_error_of_a_script_says_its_code(redis):
    own = Script.of("own", "return redis.error_reply('FENCED somebody else has it')")
    broken = Script.of("broken", "return nonsense(")
    async with linked(redis.url) as link:
        with pytest.raises(RedisAnswered, match="somebody else has it") as caught:
            await link.eval(own, [], [])
        assert caught.value.code == "FENCED"
        with pytest.raises(RedisAnswered, match="Error compiling script"):
            await link.eval(broken, [], [])
        await link.call("SET", "n", "text")
        with pytest.raises(RedisAnswered, match="not an integer"):
            await link.eval(ADD, ["n"], [1])


def test_a_script_is_the_text_of_its_files_under_the_name_redis_gives_it(redis):
    script = load_script("common", "claim")
    assert script.name == "claim"
    assert script.source.startswith(load_script("common").source)
    assert script.source.endswith(load_script("claim").source)
    assert redis.ask("SCRIPT", "LOAD", script.source) == script.sha1


# -- error answers


@scenario
async def test_an_error_answer_belongs_to_its_call_alone(redis):
    async with linked(redis.url) as link:
        await link.call("SET", "text", "x")
        wrong, right = link.call("INCR", "text"), link.call("ECHO", "right")
        with pytest.raises(RedisAnswered, match="ERR value is not an integer") as caught:
            await wrong
        assert caught.value.code == "ERR"
        assert await right == b"right"


@scenario
async def test_an_error_answer_that_nobody_looks_at_is_reported(redis):
    async with linked(redis.url) as link:
        link.call("NONSENSE")
        await link.call("PING")
    assert [type(error) for error in unhandled.clear()] == [RedisAnswered]


@scenario
async def test_a_full_redis_is_unavailable_and_a_refused_script_has_written_nothing(redis):
    write_first = Script.of("write_first", "redis.call('SET', 'a', '1') redis.call('SET', 'b', '1') return 1")
    free_first = Script.of("free_first", "redis.call('DEL', 'old') redis.call('SET', 'c', '1') return 1")
    async with linked(redis.url) as link:
        await link.call("SET", "old", "x")
        await link.call("CONFIG", "SET", "maxmemory", "1")
        for full in [link.call("SET", "a", "1"), link.eval(write_first, [], [])]:
            with pytest.raises(StoreUnavailable, match="Redis is full"):
                await full
        # Redis looks at its memory before a script's first write only, so that scripts which free memory can run.
        assert await link.eval(free_first, [], []) == 1
        assert await link.call("MGET", "a", "b", "c", "old") == [None, None, b"1", None]
        await link.call("CONFIG", "SET", "maxmemory", "0")
        assert await link.call("SET", "a", "1") == b"OK"


@scenario
async def test_a_user_without_a_permission_is_misconfigured(redis):
    redis.ask("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get", "+evalsha", "+script", "+@connection")
    async with linked(redis.url.replace("redis://", "redis://reader:pw@")) as link:
        assert await link.call("GET", "a") is None
        with pytest.raises(StoreMisconfigured, match="lacks a permission"):
            await link.call("SET", "a", "1")
        with pytest.raises(StoreMisconfigured, match="lacks a permission"):
            await link.eval(ADD, ["n"], [1])


# -- introduction


@on_both_loops
async def test_a_connection_has_its_name_and_database_also_after_it_was_lost(redis):
    async with linked(redis.url.removesuffix("/0") + "/5", name="payrouter-api-1") as link:
        await link.call("SET", "where", "five")
        for _ in range(3):
            assert await link.call("CLIENT", "GETNAME") == b"payrouter-api-1"
            assert await link.call("GET", "where") == b"five"
            await reconnected(link, lambda: redis.ask("CLIENT", "KILL", "TYPE", "normal"))
    assert redis.ask("GET", "where") is None


@on_both_loops
async def test_a_unix_socket_with_a_database_number(redis):
    async with linked(redis.socket_url.replace("db=0", "db=7")) as link:
        await link.call("SET", "where", "seven")
    async with linked(redis.url.removesuffix("/0") + "/7") as link:
        assert await link.call("GET", "where") == b"seven"


@scenario
async def test_a_user_and_a_password_full_of_special_characters(redis):
    redis.ask("ACL", "SETUSER", "Zoë:@/", "on", ">p@ss:/?#%€ word", "~*", "+@all")
    url = redis.url.replace("redis://", "redis://Zo%C3%AB%3A%40%2F:p%40ss%3A%2F%3F%23%25%E2%82%AC%20word@")
    async with linked(url) as link:
        assert await link.call("ACL", "WHOAMI") == "Zoë:@/".encode()


@scenario
async def test_a_name_that_redis_refuses_does_not_matter(redis):
    async with linked(redis.url, name="two words") as link:
        assert await link.call("PING") == b"PONG"
