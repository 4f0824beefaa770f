"""Admin calls of the processor simulator: configuration, summary, purge, listing, counts."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.simulator_client import AT, Stopwatch, scenario, simulated
from payrouter_lab.simulator.books import Books, Totals
from payrouter_lab.simulator.wire import instant_text, instant_us, summary_json


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "payments-summary"),
        ("GET", "payments"),
        ("GET", "stats"),
        ("PUT", "configurations/token"),
        ("PUT", "configurations/delay"),
        ("PUT", "configurations/failure"),
        ("PUT", "configurations/faults"),
        ("POST", "purge-payments"),
        ("GET", "nowhere"),
    ],
)
@scenario
async def test_admin_calls_need_the_token(method, path):
    async with simulated() as client:
        assert (await client.call(method, f"/admin/{path}")).status == 401
        assert (await client.call(method, f"/admin/{path}", X_Rinha_Token="124")).status == 401


@scenario
async def test_the_token_can_be_changed():
    async with simulated() as client:
        changed = await client.admin("PUT", "configurations/token", {"token": "open sesame"})
        assert (changed.status, changed.body) == (204, b"")
        assert (await client.admin("GET", "stats")).status == 401
        client.token = "open sesame"
        assert (await client.admin("GET", "stats")).status == 200


@scenario
async def test_delay_and_failure_are_configured_and_say_what_they_were():
    async with simulated(delay_ms=20) as client:
        delay = await client.admin("PUT", "configurations/delay", {"delay": 0})
        assert (delay.status, delay.json()) == (200, {"config": "delay", "was": 20, "is": 0})
        failure = await client.admin("PUT", "configurations/failure", {"failure": True})
        assert (failure.status, failure.json()) == (200, {"config": "failure", "was": False, "is": True})
        assert (await client.pay()).status == 500
        assert (await client.health()).json() == {"failing": True, "minResponseTime": 0}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("delay", {"delay": -1}),
        ("delay", {"delay": "1"}),
        ("failure", {"failure": 1}),
        ("token", {}),
        ("delay", []),
    ],
)
@scenario
async def test_a_configuration_that_makes_no_sense_is_refused_and_changes_nothing(path, body):
    async with simulated(delay_ms=3) as client:
        assert (await client.admin("PUT", f"configurations/{path}", body)).status == 400
        assert (await client.health()).json() == {"failing": False, "minResponseTime": 3}


@scenario
async def test_unknown_admin_paths_and_methods_are_refused():
    async with simulated() as client:
        assert (await client.admin("GET", "nowhere")).status == 404
        wrong = await client.admin("GET", "purge-payments")
        assert (wrong.status, wrong.headers["allow"]) == (405, "POST")


@scenario
async def test_a_purge_empties_the_books():
    async with simulated() as client:
        await client.pay(str(uuid.UUID(int=1)))
        purged = await client.admin("POST", "purge-payments")
        assert (purged.status, purged.json()) == (200, {"message": "All payments purged."})
        assert (await client.admin("GET", "payments-summary")).json()["totalRequests"] == 0
        assert (await client.pay(str(uuid.UUID(int=1)))).status == 200


@scenario
async def test_a_summary_counts_both_ends_of_its_window_exactly():
    async with simulated(fee=Decimal("0.05")) as client:
        for microsecond in (0, 1, 2, 3):
            await client.pay(amount="0.10", at=f"2025-07-15T12:00:00.00000{microsecond}Z")

        async def count(start: str, end: str) -> int:
            response = await client.admin("GET", f"payments-summary?from={start}&to={end}")
            return response.json()["totalRequests"]

        day = "2025-07-15T"
        assert await count(f"{day}12:00:00.000001Z", f"{day}12:00:00.000002Z") == 2
        assert await count(f"{day}12:00:00.000001001Z", f"{day}12:00:00.000003999Z") == 2
        assert await count(f"{day}14:00:00.000003%2B02:00", f"{day}14:00:00.000003+02:00") == 1
        assert await count(f"{day}13:00:00Z", f"{day}14:00:00Z") == 0
        assert await count(f"{day}14:00:00Z", f"{day}11:00:00Z") == 0


@scenario
async def test_a_summary_with_a_bound_missing_counts_everything():
    async with simulated(fee=Decimal("0.15")) as client:
        for _ in range(3):
            await client.pay(amount="0.10")
        everything = b'{"totalRequests":3,"totalAmount":0.30,"totalFee":0.04,"feePerTransaction":0.15}'
        for query in ("", "?from=2030-01-01T00:00:00Z", "?to=2000-01-01T00:00:00Z", "?from=&to="):
            assert (await client.admin("GET", f"payments-summary{query}")).body == everything


@scenario
async def test_a_window_that_is_no_instant_is_refused():
    async with simulated() as client:
        assert (await client.admin("GET", "payments-summary?from=yesterday&to=today")).status == 400


def test_the_fee_is_rounded_once_at_the_total_half_to_even():
    assert '"totalFee":0.04' in summary_json(Totals(3, 30), Decimal("0.15"))
    assert '"totalFee":0.02' in summary_json(Totals(1, 50), Decimal("0.05"))
    huge = summary_json(Totals(1, 10**20 + 1), Decimal("0.05"))
    assert '"totalAmount":1000000000000000000.01,"totalFee":50000000000000000.00,' in huge


@scenario
async def test_payments_are_listed_page_by_page():
    async with simulated() as client:
        ids = [str(uuid.UUID(int=number)) for number in range(7)]
        for number, correlation_id in enumerate(ids):
            await client.pay(correlation_id, at=f"2025-07-15T12:00:0{number // 3}.5Z")
        listed, cursor, pages = [], "", 0
        while cursor is not None:
            page = (await client.admin("GET", f"payments?limit=2&after={cursor}")).json()
            listed += page["payments"]
            cursor = page["next"]
            pages += 1
        assert [payment["correlationId"] for payment in listed] == ids
        assert listed[0]["requestedAt"] == "2025-07-15T12:00:00.500000Z"
        assert listed[0]["amount"] == Decimal("19.90")
        assert pages == 4


@scenario
async def test_a_listing_can_be_bounded_on_either_side():
    async with simulated() as client:
        for second in range(4):
            await client.pay(at=f"2025-07-15T12:00:0{second}Z")

        async def count(query: str) -> int:
            return len((await client.admin("GET", f"payments?{query}")).json()["payments"])

        assert await count("from=2025-07-15T12:00:01Z") == 3
        assert await count("to=2025-07-15T12:00:01Z") == 2
        assert await count("from=2025-07-15T12:00:01Z&to=2025-07-15T12:00:02Z") == 2


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "after=nonsense", "after=1", "from=now"])
@scenario
async def test_a_listing_that_makes_no_sense_is_refused(query):
    async with simulated() as client:
        assert (await client.admin("GET", f"payments?{query}")).status == 400


@scenario
async def test_the_counts_tell_what_happened():
    async with simulated(name="fallback") as client:
        for correlation_id in (str(uuid.UUID(int=1)), str(uuid.UUID(int=1)), str(uuid.UUID(int=2))):
            await client.pay(correlation_id)
        client.simulator.configure(failing=True)
        await client.pay()
        stats = (await client.admin("GET", "stats")).json()
        assert stats == {
            "name": "fallback",
            "charged": 2,
            "duplicates": 1,
            "failed": 1,
            "refused": 0,
            "running": 0,
            "waiting": 0,
            "maxRunning": 1,
            "health": {"calls": 0, "refused": 0, "instants": []},
        }


INSTANTS = st.integers(min_value=-3_000_000, max_value=5_000_000)


@given(st.lists(st.tuples(INSTANTS, st.integers(-500, 500)), max_size=30), INSTANTS, INSTANTS, st.integers(1, 5))
def test_totals_and_pages_agree_with_counting_one_by_one(payments, from_us, to_us, limit):
    books = Books()
    for number, (requested_us, cents) in enumerate(payments):
        assert books.charge(str(number), cents, requested_us)
    inside = {str(number): cents for number, (at, cents) in enumerate(payments) if from_us <= at <= to_us}
    assert books.totals(from_us, to_us) == Totals(len(inside), sum(inside.values()))
    listed, page = [], books.page(from_us, to_us, after=None, limit=limit)
    listed += page.charges
    while page.after is not None:
        page = books.page(from_us, to_us, after=page.after, limit=limit)
        listed += page.charges
    assert len(listed) == len(inside)
    assert {charge.correlation_id: charge.cents for charge in listed} == inside


@given(st.integers(min_value=-62_135_596_800_000_000, max_value=253_402_300_799_999_999))
def test_every_instant_is_written_and_read_back_unchanged(requested_us):
    assert instant_us(instant_text(requested_us)) == requested_us


def test_a_summary_stays_quick_as_the_books_grow():
    books = Books()
    for number in range(100_000):
        books.charge(f"{number:036}", 1990, instant_us(AT) + number * 1_000)
    watch = Stopwatch()
    for _ in range(10):
        assert books.totals(instant_us(AT) + 1, instant_us(AT) + 99_998_000).payments == 99_998
    assert watch.ms / 10 < 20
