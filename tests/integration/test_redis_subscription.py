"""News from Redis over a real server: None whenever something may have been missed, then every message in order."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest

from integration.raw_http import on_both_loops, scenario, until
from integration.redis_peer import Peer, fake_redis
from payrouter.adapters.redis.subscription import Subscription
from payrouter_lab.bench.processes import free_port


@asynccontextmanager
async def subscribed(url: str, **options):
    """Give a subscription that is up, its first None read, and close it."""
    subscription = Subscription(url, "news", **options)
    try:
        assert await anext(subscription) is None
        yield subscription
    finally:
        await subscription.close()


def channels(redis) -> list[str]:
    return redis.ask("PUBSUB", "CHANNELS")


@on_both_loops
async def test_none_comes_first_then_every_message_in_order(own_redis):
    redis = own_redis()
    async with subscribed(redis.url) as subscription:
        assert channels(redis) == ["news"]
        redis.ask("PUBLISH", "other", "not ours")
        for number in range(3):
            redis.ask("PUBLISH", "news", f"{number}")
        assert [await anext(subscription) for _ in range(3)] == [b"0", b"1", b"2"]


@on_both_loops
async def test_after_a_restart_none_comes_again_and_then_messages(own_redis, caplog):
    redis = own_redis()
    async with subscribed(redis.url) as subscription:
        redis.ask("PUBLISH", "news", "before")
        assert await anext(subscription) == b"before"
        waiting = asyncio.ensure_future(anext(subscription))
        redis.kill()
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await asyncio.to_thread(redis.start)
        assert await waiting is None
        redis.ask("PUBLISH", "news", "after")
        assert await anext(subscription) == b"after"
    assert "lost the news of Redis" in caplog.text


@on_both_loops
async def test_a_silent_redis_is_noticed_without_any_message(own_redis):
    redis = own_redis()
    async with subscribed(redis.url, ping_s=0.1) as subscription:
        # Some pings long: an answered ping keeps the connection.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.5)
        waiting = asyncio.ensure_future(anext(subscription))
        redis.pause()
        await until(lambda: subscription._pipe is None)
        redis.resume()
        assert await waiting is None
        redis.ask("PUBLISH", "news", "after")
        assert await anext(subscription) == b"after"


@scenario
async def test_none_replaces_messages_that_a_slow_reader_left_lying(own_redis):
    redis = own_redis()
    async with subscribed(redis.url, most_unread=3) as subscription:
        for number in range(7):
            redis.ask("PUBLISH", "news", f"{number}")
        redis.ask("PUBLISH", "news", "end")
        await until(lambda: b"end" in subscription._unread)
        assert [await anext(subscription) for _ in range(2)] == [None, b"end"]


@on_both_loops
async def test_closing_ends_the_readers_loop_and_the_connection(own_redis):
    redis = own_redis()
    subscription = Subscription(redis.url, "news")
    read = []

    async def reader():
        async for message in subscription:
            read.append(message)  # noqa: PERF401 - read while it is being filled

    reading = asyncio.ensure_future(reader())
    await until(lambda: read == [None])
    await subscription.close()
    await reading
    await until(lambda: channels(redis) == [])
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)
    await subscription.close()


@on_both_loops
async def test_closing_while_it_connects_ends_the_readers_loop(own_redis, caplog):
    redis = own_redis()
    redis.pause()
    for pause_s in (0.0, 0.0005, 0.02):
        subscription = Subscription(redis.url, "news")
        reading = asyncio.ensure_future(anext(subscription, b"ended"))
        await asyncio.sleep(pause_s)
        await subscription.close()
        assert await reading == b"ended"
    redis.resume()
    assert [record for record in caplog.records if record.name == "payrouter"] == []


@scenario
async def test_closing_between_two_attempts_to_connect_ends_the_readers_loop_at_once():
    subscription = Subscription(f"redis://127.0.0.1:{free_port()}/0", "news")
    reading = asyncio.ensure_future(anext(subscription, b"ended"))
    # Attempts at 0, 50, 150, 350 and 750 ms.
    await asyncio.sleep(0.45)
    began_s = time.monotonic()
    await subscription.close()
    assert await reading == b"ended"
    assert time.monotonic() - began_s < 0.1


@scenario
async def test_reconnecting_does_not_make_it_ask_more_often_whether_redis_is_there():
    connections = 0
    pings = 0

    async def talk(peer: Peer) -> None:
        nonlocal connections, pings
        connections += 1
        while True:
            command = await peer.command()
            if command[0] == b"SUBSCRIBE":
                peer.say(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")
            elif connections < 4:
                return
            else:
                pings += 1
                peer.say(b"*2\r\n$4\r\npong\r\n$0\r\n\r\n")

    async with fake_redis(talk) as url:
        subscription = Subscription(url, "news", ping_s=0.4)
        for _ in range(4):
            assert await anext(subscription) is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 1.0)
        await subscription.close()
    assert 2 <= pings <= 4


@on_both_loops
async def test_a_cancelled_reader_may_come_back(own_redis):
    redis = own_redis()
    subscription = Subscription(redis.url, "news")
    for pause_s in (0.0, 0.0005, 0.02):
        reading = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(pause_s)
        reading.cancel()
        await asyncio.wait([reading])
    reading = asyncio.ensure_future(anext(subscription))
    await until(lambda: channels(redis) == ["news"])
    redis.ask("PUBLISH", "news", "message")
    while (message := await reading) is None:
        reading = asyncio.ensure_future(anext(subscription))
    assert message == b"message"
    await subscription.close()


@scenario
async def test_none_is_given_only_when_redis_has_confirmed_and_before_what_follows():
    confirmed = asyncio.Event()

    async def talk(peer: Peer) -> None:
        assert await peer.command() == [b"SUBSCRIBE", b"news"]
        await confirmed.wait()
        message = b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nfirst\r\n"
        peer.say(b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n" + message)
        while True:
            await peer.command()

    async with fake_redis(talk) as url:
        subscription = Subscription(url, b"news")
        reading = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0.05)
        assert not reading.done()
        confirmed.set()
        assert await reading is None
        assert await anext(subscription) == b"first"
        await subscription.close()


@scenario
async def test_a_user_who_may_not_read_the_channel_is_said_so_and_can_be_given_the_right(own_redis, caplog):
    redis = own_redis()
    redis.ask("ACL", "SETUSER", "reader", "on", ">pw", "+@all", "resetchannels")
    subscription = Subscription(redis.url.replace("redis://", "redis://reader:pw@"), "news")
    reading = asyncio.ensure_future(anext(subscription))
    await until(lambda: "Redis refuses the channel" in caplog.text)
    assert not reading.done()
    redis.ask("ACL", "SETUSER", "reader", "allchannels")
    assert await reading is None
    await subscription.close()
