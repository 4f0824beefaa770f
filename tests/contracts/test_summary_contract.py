"""Roll-ups against a naive sum: any instants, any windows, over every engine."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.stores import PROCESSORS, Store, intent, payment, settlement
from payrouter.domain.ledger import Totals
from payrouter.domain.window import LAST_US, ROLLUP_SHIFTS, Window

if TYPE_CHECKING:
    from collections.abc import Callable

YEAR_2100_US = 4_102_444_800_000_000
BORDERS = st.builds(
    lambda shift, number, off_us: max(0, (number << shift) + off_us),
    st.sampled_from(ROLLUP_SHIFTS),
    st.one_of(st.integers(0, 3), st.integers(0, 50_000)),
    st.integers(-1, 1),
)
INSTANTS = st.one_of(BORDERS, st.integers(0, 1 << 38), st.integers(0, YEAR_2100_US))
CHARGES = st.lists(st.tuples(INSTANTS, st.sampled_from(PROCESSORS), st.integers(1, 10_000)), min_size=1, max_size=25)


def naive(charges: list[tuple[int, str, int]], window: Window) -> dict[str, Totals]:
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for at_us, processor, amount_minor in charges:
        if window.first_us <= at_us <= window.last_us:
            counts[processor] += 1
            sums[processor] += amount_minor
    return {name: Totals(count, sums[name]) for name, count in counts.items()}


async def settle(store: Store, charges: list[tuple[int, str, int]]) -> None:
    """Settle in two batches, so that the second adds to roll-ups of the first."""
    await store.queue.accept([payment(number, charge[2]) for number, charge in enumerate(charges)])
    deliveries = await store.queue.claim(len(charges))
    intents = [intent(delivery, charge[1], charge[0]) for delivery, charge in zip(deliveries, charges, strict=True)]
    await store.queue.begin(intents)
    for batch in (intents[::2], intents[1::2]):
        await store.ledger.settle([settlement(one) for one in batch])


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHARGES, st.data())
def test_a_summary_is_the_sum_of_what_was_settled_in_its_window(
    engine: Callable[[Path, int], Store], charges: list[tuple[int, str, int]], data: st.DataObject
) -> None:
    near = [at_us + off_us for at_us, _, _ in charges for off_us in (-1, 0, 1)]
    bounds = st.one_of(st.sampled_from(near), INSTANTS, st.sampled_from([0, LAST_US]))
    windows = data.draw(st.lists(st.builds(Window, bounds, bounds), min_size=1, max_size=12))

    async def compare() -> None:
        with tempfile.TemporaryDirectory() as folder:
            store = engine(Path(folder), 1000)
            await store.open()
            try:
                await settle(store, charges)
                for window in [Window(), *windows]:
                    assert await store.ledger.summary(window) == naive(charges, window)
            finally:
                await store.close()

    asyncio.run(compare())
