"""The parts that judge bad input: each finds what it is there to find."""

from __future__ import annotations

import asyncio
import json

import pytest

from integration.raw_http import read_request, scripted
from payrouter_lab.badinput import talk as talking
from payrouter_lab.badinput.conformance import read_reports
from payrouter_lab.badinput.memory import growth_mb
from payrouter_lab.badinput.oracle import Oracle
from payrouter_lab.badinput.samples import FAMILIES, Samples
from payrouter_lab.badinput.talk import NotHttpError, Talked, statuses_of, talk
from payrouter_lab.bench.score import Charge

SAMPLES = Samples(seed=1, salt=7)
GOOD = SAMPLES.good(1)
(NAME,) = GOOD.names
OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"


# -- samples


def test_a_sample_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    numbers = range(0, 600, 7)
    again = Samples(seed=1, salt=7)
    assert [SAMPLES.sample(number) for number in numbers] == [again.sample(number) for number in numbers]
    other = Samples(seed=2, salt=7)
    same = sum(SAMPLES.sample(number).pieces == other.sample(number).pieces for number in numbers)
    assert same < len(numbers) / 4


def test_every_family_has_its_turn_and_every_sample_names_a_payment_of_its_own() -> None:
    samples = [SAMPLES.sample(number) for number in range(3 * len(FAMILIES))]
    assert {sample.family for sample in samples} == set(FAMILIES)
    assert all(sample.names for sample in samples)
    assert len(frozenset.union(*(sample.names for sample in samples))) >= len(samples)


def test_a_stalled_sample_is_the_beginning_of_a_request_and_no_more() -> None:
    for number in range(50):
        head, _, body = b"".join(SAMPLES.stalled(number).pieces).partition(b"\r\n\r\n")
        assert b"POST /payments HTTP/1.1".startswith(head[:23])
        assert not body.endswith(b"}")


# -- answers


@pytest.mark.parametrize(
    ("data", "statuses"),
    [
        (b"", []),
        (OK, [202]),
        (OK * 3, [202, 202, 202]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, [202]),
    ],
)
def test_answers_are_told_apart(data: bytes, statuses: list[int]) -> None:
    assert statuses_of(data) == statuses


@pytest.mark.parametrize(
    "data",
    [
        b"<html>Bad Request</html>",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        OK[:-1],
        OK + b"?",
    ],
)
def test_what_is_no_answer_is_not_taken_for_one(data: bytes) -> None:
    with pytest.raises(NotHttpError):
        statuses_of(data)


# -- one conversation


def converse(answer, sample=GOOD, **named) -> Talked:
    async def run() -> Talked:
        async with scripted(answer) as port:
            return await asyncio.wait_for(talk("127.0.0.1", port, sample, **named), 5)

    return asyncio.run(run())


def test_a_server_that_answers_and_waits_is_hung_up_on() -> None:
    async def answer(reader, writer) -> None:
        await read_request(reader)
        writer.write(OK)
        assert await reader.read() == b""

    talked = converse(answer)
    assert (talked.statuses, talked.closed_first, talked.wrong) == ([202], False, "")


def test_silence_is_hung_up_on_after_a_while() -> None:
    async def listen(reader, writer) -> None:
        await reader.read()

    talked = converse(listen, silence_s=0.1)
    assert (talked.statuses, talked.closed_first, talked.wrong) == ([], False, "")


def test_a_server_that_answers_rubbish_is_found() -> None:
    async def answer(reader, writer) -> None:
        await read_request(reader)
        writer.write(b"what?")

    assert "is not HTTP" in converse(answer).wrong


def test_a_server_that_never_closes_is_found(monkeypatch) -> None:
    monkeypatch.setattr(talking, "CLOSED_WITHIN_S", 0.2)

    async def hang(reader, writer) -> None:
        await asyncio.sleep(4)

    assert "neither answered nor closed" in converse(hang, silence_s=0.1).wrong


def test_a_server_that_waits_for_a_stalled_client_for_ever_is_found(monkeypatch) -> None:
    monkeypatch.setattr(talking, "STALLED_S", 0.2)

    async def listen(reader, writer) -> None:
        await reader.read()

    assert "although incomplete" in converse(listen, SAMPLES.stalled(1)).wrong


def test_a_payment_that_was_waited_for_counts_as_accepted() -> None:
    waited_for = b"HTTP/1.1 200 OK\r\nPreference-Applied: wait=1\r\nContent-Length: 2\r\n\r\n{}"
    assert statuses_of(waited_for + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") == [202, 200]


# -- the books


def judged(statuses: list[int], *charges: Charge) -> list[str]:
    oracle = Oracle(SAMPLES)
    oracle.note(Talked(GOOD, statuses))
    return oracle.judge(list(charges))


def test_what_was_answered_202_and_charged_once_is_right() -> None:
    assert judged([202], Charge(NAME, 1990)) == []
    assert judged([422]) == []


@pytest.mark.parametrize(
    ("statuses", "charges", "finding"),
    [
        ([422], [(NAME, 1990)], "answered 202 0 times"),
        ([], [(NAME, 1990)], "answered 202 0 times"),
        ([202], [], "never charged"),
        ([202], [(NAME, 1990), (NAME, 1990)], "charged 2 times"),
        ([202], [(NAME, 1991)], "1991 cents"),
        ([202], [(NAME, 1990), ("00000000-0000-4000-8000-000000000000", 1)], "which nobody sent"),
    ],
)
def test_a_charge_too_many_or_too_few_is_found(statuses, charges, finding: str) -> None:
    (found,) = judged(statuses, *(Charge(*one) for one in charges))
    assert finding in found


# -- memory


def test_growth_is_that_of_the_second_half() -> None:
    assert growth_mb([20, 30, 40, 41, 41, 41, 41, 41, 41]) == 0
    assert growth_mb([float(number) for number in range(20, 40)]) >= 7
    assert growth_mb([30, 31, 32]) == 0


# -- schemathesis' reports


def test_failures_in_a_report_are_findings(tmp_path) -> None:
    run = {
        "complete": True,
        "stop_reason": "completed",
        "test_cases": {"generated": 3},
        "phases": {"fuzzing": {"status": "failure"}},
        "failures": [{"code": "ST001", "title": "Server error"}],
        "errors": [],
    }
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "events.ndjson").write_text('{"EngineStarted": {}}\n')
    figures, accepted = read_reports(tmp_path, seed=1)
    assert "Server error" in figures.findings[0]
    assert not figures.sound
    assert accepted == set()
