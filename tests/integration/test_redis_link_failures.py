"""The link to Redis when Redis goes away, is late or says nonsense: nothing is sent twice, nothing answered wrongly."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time

import pytest

from integration.raw_http import on_both_loops, scenario, unhandled, until
from integration.redis_peer import Peer, fake_redis, linked, reconnected, working
from payrouter.adapters.redis.connection import RedisLink
from payrouter.adapters.redis.opening import Attempts
from payrouter.adapters.redis.scripts import Script
from payrouter.domain.errors import StoreUnavailable, StoreUncertain


async def outcome(call) -> str:
    """Return what became of a call: "answered", or the name of its error."""
    try:
        await call
    except StoreUnavailable as error:
        return type(error).__name__
    return "answered"


# -- a real server


@on_both_loops
async def test_a_kill_leaves_calls_in_flight_uncertain_then_refuses_at_once_then_mends_itself(own_redis):
    redis = own_redis()
    async with linked(redis.url) as link:
        await link.call("SET", "durable", "yes")
        redis.pause()
        in_flight = [link.call("INCR", "n") for _ in range(300)]
        redis.kill()
        assert {await outcome(call) for call in in_flight} == {"StoreUncertain"}

        began_s = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no connection to Redis at redis://127") as caught:
            await link.call("INCR", "n")
        assert time.monotonic() - began_s < 0.02
        assert not isinstance(caught.value, StoreUncertain)
        assert not link.up

        redis.start()
        await working(link)
        assert link.up
        assert await link.call("GET", "durable") == b"yes"


@on_both_loops
async def test_what_a_kill_under_load_left_uncertain_was_done_once_or_not_at_all(own_redis):
    redis = own_redis()
    fates: dict[str, str] = {}

    async def call(link: RedisLink, name: str) -> None:
        fates[name] = await outcome(link.call("INCR", name))

    async with linked(redis.url) as link:
        for burst in range(10):
            names = [f"{burst}.{number}" for number in range(100)]
            calls = [asyncio.ensure_future(call(link, name)) for name in names]
            await asyncio.sleep(0)
            if burst == 5:
                redis.kill()
            await asyncio.gather(*calls)
        redis.start()
        await working(link)
        counts = dict(zip(fates, await link.call("MGET", *fates), strict=True))
    assert set(fates.values()) == {"answered", "StoreUncertain", "StoreUnavailable"}
    possible = {"answered": {b"1"}, "StoreUncertain": {None, b"1"}, "StoreUnavailable": {None}}
    assert [name for name, fate in fates.items() if counts[name] not in possible[fate]] == []


@on_both_loops
async def test_a_redis_that_stands_still_makes_calls_uncertain_in_time_and_its_late_answers_reach_nobody(own_redis):
    redis = own_redis()
    async with linked(redis.url, call_timeout_s=0.4) as link:
        redis.pause()
        began_s = time.monotonic()
        late = [link.call("ECHO", "late") for _ in range(20)]
        with pytest.raises(StoreUncertain, match=r"no answer within 0.4 s"):
            await late[0]
        assert 0.4 <= time.monotonic() - began_s < 0.8
        assert {await outcome(call) for call in late} == {"StoreUncertain"}
        assert await outcome(link.call("ECHO", "refused")) == "StoreUnavailable"
        redis.resume()
        await working(link)
        assert await link.call("ECHO", "new") == b"new"


@on_both_loops
async def test_a_late_call_is_noticed_although_others_follow_it_all_the_time(own_redis):
    redis = own_redis()
    async with linked(redis.url, call_timeout_s=0.2) as link:
        redis.pause()
        first = link.call("PING")
        began_s = time.monotonic()
        while not first.done():
            link.call("PING")
            await asyncio.sleep(0.01)
        assert await outcome(first) == "StoreUncertain"
        assert time.monotonic() - began_s < 0.4
        redis.resume()


@scenario
async def test_a_call_is_given_its_whole_time_also_when_it_follows_another():
    async def talk(peer: Peer) -> None:
        await peer.command()
        await asyncio.sleep(0.07)
        peer.say(b"+first\r\n")
        await peer.command()
        await peer.command()

    async with fake_redis(talk) as url, linked(url, call_timeout_s=0.4) as link:
        assert await link.call("FIRST") == b"first"
        began_s = time.monotonic()
        assert await outcome(link.call("SECOND")) == "StoreUncertain"
        assert 0.4 <= time.monotonic() - began_s < 0.8


@scenario
async def test_calls_without_a_pause_between_them_are_not_late_as_long_as_each_is_answered(own_redis):
    redis = own_redis()
    async with linked(redis.url, call_timeout_s=0.1) as link:
        until_s = time.monotonic() + 0.5
        waiting = link.call("PING")
        while time.monotonic() < until_s:
            following = link.call("PING")
            assert await waiting == b"PONG"
            waiting = following


@scenario
async def test_a_replica_is_unavailable_until_the_address_leads_to_a_primary(own_redis):
    redis = own_redis(config=["replicaof 127.0.0.1 1"])
    script = Script.of("write", "return redis.call('SET', 'a', '1')")
    async with linked(redis.url) as link:
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await link.call("SET", "a", "1")
        await working(link)
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await link.eval(script, [], [])
        # The next address lookup may lead elsewhere, so the link must look.
        await reconnected(link, lambda: link.call("SET", "a", "1"))
        redis.ask("REPLICAOF", "NO", "ONE")
        await working(link)
        assert await link.call("SET", "a", "1") == b"OK"


@scenario
async def test_calls_wait_out_a_redis_that_reads_its_data(own_redis, caplog):
    redis = own_redis(config=["key-load-delay 300"])
    async with linked(redis.url) as link:
        await asyncio.gather(*[link.call("SET", str(number), "x") for number in range(5000)])
        redis.kill()
        starting = asyncio.ensure_future(asyncio.to_thread(redis.start))
        await until(lambda: not link.up)
        assert await outcome(link.call("GET", "4999")) == "StoreUnavailable"
        await working(link)
        assert await link.call("GET", "4999") == b"x"
        await starting
    assert "Redis is still reading its data from disk" in caplog.text


@scenario
async def test_a_disconnect_is_said_once_and_futures_nobody_awaits_make_no_noise(own_redis, caplog):
    redis = own_redis()
    async with linked(redis.url) as link:
        redis.pause()
        for _ in range(1000):
            link.call("PING")
        redis.kill()
        await until(lambda: not link.up)
        for _ in range(1000):
            link.call("PING")
        redis.start()
        await working(link)
    warnings = [one for one in caplog.records if one.name == "payrouter" and one.levelno >= logging.WARNING]
    lines = [warning.getMessage() for warning in warnings]
    lost = [line for line in lines if "lost Redis" in line]
    assert len(lost) == 1
    assert "1000 calls are without an answer" in lost[0]
    assert len(lines) <= 3
    assert unhandled.contexts == []


# -- closing


@on_both_loops
async def test_closing_leaves_calls_in_flight_uncertain_and_later_ones_refused(own_redis):
    redis = own_redis()
    async with linked(redis.url) as link:
        redis.pause()
        in_flight = link.call("PING")
        await link.close()
        assert await outcome(in_flight) == "StoreUncertain"
        with pytest.raises(StoreUnavailable, match="closed"):
            await link.call("PING")
        await link.close()
        redis.resume()


@on_both_loops
async def test_closing_while_it_reconnects_leaves_nothing_behind(own_redis):
    redis = own_redis()
    for pause_s in (0.0, 0.02):
        async with linked(redis.url) as link:
            redis.pause()
            late = link.call("PING")
            # Cut from our side: the paused server takes the next connection and does not answer its greeting.
            link._pipe.end("cut by the test")
            assert await outcome(late) == "StoreUncertain"
            await asyncio.sleep(pause_s)
            await link.close()
            redis.resume()


@scenario
async def test_a_link_that_was_never_opened_refuses_calls_and_can_be_closed():
    link = RedisLink("redis://127.0.0.1:1/0")
    with pytest.raises(StoreUnavailable, match="not opened yet"):
        await link.call("PING")
    await link.close()


# -- a server that misbehaves


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "closed by Redis"),
        (b"$100\r\nonly the beginning", "closed by Redis"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "this is not Redis"),
        (b"+one\r\n+two\r\n+three\r\n", ""),
    ],
    ids=["nothing", "half an answer", "another protocol", "more answers than calls"],
)
@on_both_loops
async def test_a_call_is_never_sent_twice_and_no_answer_outlives_its_connection(said, reason):
    connections = 0
    commands: list[bytes] = []

    async def talk(peer: Peer) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await peer.command()
            peer.say(b"+first\r\n")
            commands.append((await peer.command())[0])
            commands.append((await peer.command())[0])
            peer.say(said)
            return
        while True:
            commands.append((await peer.command())[0])
            peer.say(b"+%b\r\n" % commands[-1])

    async with fake_redis(talk) as url, linked(url) as link:
        assert await link.call("WARM") == b"first"
        calls = [link.call("ONE"), link.call("TWO")]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await until(lambda: connections == 2)
        await until(lambda: link.up)
        assert await link.call("NEW") == b"NEW"
        assert commands == [b"ONE", b"TWO", b"NEW"]
    if b"+one" in said:
        assert answers == [b"one", b"two"]
    else:
        assert [type(answer) for answer in answers] == [StoreUncertain] * 2
        assert reason in str(answers[0])


@on_both_loops
async def test_answers_may_come_in_any_pieces():
    answers = b"+one\r\n$3\r\ntwo\r\n*2\r\n:3\r\n$-1\r\n-ERR four\r\n"

    async def talk(peer: Peer) -> None:
        for _ in range(4):
            await peer.command()
        for byte in answers:
            peer.say(bytes([byte]))
            await asyncio.sleep(0)
        await peer.command()

    async with fake_redis(talk) as url, linked(url) as link:
        calls = [link.call("CALL") for _ in range(4)]
        answered = await asyncio.gather(*calls, return_exceptions=True)
        assert answered[:3] == [b"one", b"two", [3, None]]
        assert answered[3].text == "ERR four"


def test_however_long_redis_was_away_it_is_noticed_a_quarter_of_a_second_after_it_came_back():
    attempts = Attempts()
    pauses_s = [attempts.next_pause_s() for _ in range(20)]
    assert pauses_s[:3] == [0.0, 0.05, 0.1]
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == 0.25
    attempts.ended(lasted_s=0.5)
    assert attempts.next_pause_s() == 0.25, "one that broke so soon was just another attempt"
    attempts.ended(lasted_s=1.0)
    assert attempts.next_pause_s() == 0.0


@scenario
async def test_a_connection_that_always_breaks_at_once_is_tried_ever_more_seldom():
    connected_s: list[float] = []

    async def talk(peer: Peer) -> None:
        connected_s.append(time.monotonic())
        if len(connected_s) == 1:
            await peer.command()

    async with fake_redis(talk) as url, linked(url) as link:
        link.call("HANG", "UP")
        await until(lambda: len(connected_s) == 6)
    pauses_s = [after - before for before, after in itertools.pairwise(connected_s)]
    assert pauses_s[-1] > 0.2
    assert sum(pauses_s) < 3


@scenario
async def test_a_script_is_not_repeated_when_its_answer_was_lost():
    commands: list[list[bytes]] = []

    async def talk(peer: Peer) -> None:
        while True:
            commands.append(await peer.command())
            if commands[-1][0] == b"EVALSHA" and len(commands) > 1:
                return
            peer.say(b"-NOSCRIPT No matching script.\r\n" if commands[-1][0] == b"EVALSHA" else b"+OK\r\n")

    script = Script.of("any", "return 1")
    async with fake_redis(talk) as url, linked(url) as link:
        with pytest.raises(StoreUncertain):
            await link.eval(script, ["key"], ["argument"])
        await until(lambda: link.up)
    evalsha = [b"EVALSHA", script.sha1.encode(), b"1", b"key", b"argument"]
    load = [b"SCRIPT", b"LOAD", b"return 1"]
    assert commands == [evalsha, load, evalsha, load]
