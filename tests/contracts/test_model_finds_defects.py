"""The model check can fail: each of these defects, planted into an engine, is found within some hundred examples.

Defects in Redis' scripts take too many of them, as each costs real calls; the simulation finds those.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from contracts.model import Model
from contracts.processes import MemoryProcess
from payrouter.adapters.memory import MemoryStore
from payrouter.domain.payment import PaymentState
from payrouter.domain.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from payrouter.domain.attempt import FailedAttempt, Intent
    from payrouter.domain.ledger import Settlement
    from payrouter.domain.payment import Payment
    from payrouter.ports.queue import Acceptance

Q, A = PaymentState.QUEUED, PaymentState.ATTEMPTING


class OnMemory(Model):
    engine = MemoryProcess


def is_found(machine: type[Model], examples: int) -> None:
    tries = settings(
        max_examples=examples,
        stateful_step_count=40,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine, settings=tries)


# -- in memory


def begin_ignores_the_receipt(store: type[MemoryStore]) -> None:
    correct = store._begin

    def begin(self: MemoryStore, intent: Intent) -> bool:
        row = self._rows.get(intent.delivery.correlation_id)
        receipt = row.receipt if row else 0
        return correct(self, replace(intent, delivery=replace(intent.delivery, receipt=receipt)))

    store._begin = begin


def begin_overwrites_a_standing_attempt(store: type[MemoryStore]) -> None:
    correct = store._begin

    def begin(self: MemoryStore, intent: Intent) -> bool:
        row = self._held(intent.delivery)
        if row is not None and row.state is A:
            row.intent = intent
        return correct(self, intent)

    store._begin = begin


def settle_ignores_the_instant(store: type[MemoryStore]) -> None:
    correct = store._settle

    def settle(self: MemoryStore, charge: Settlement) -> bool:
        row = self._rows.get(charge.intent.delivery.correlation_id)
        if row is not None and row.intent is not None and row.intent.processor == charge.intent.processor:
            charge = replace(charge, intent=replace(charge.intent, requested_us=row.intent.requested_us))
        return correct(self, charge)

    store._settle = settle


def a_charge_counts_twice(store: type[MemoryStore]) -> None:
    correct = store._settle

    def settle(self: MemoryStore, charge: Settlement) -> bool:
        row = self._rows.get(charge.intent.delivery.correlation_id)
        return correct(self, charge) or (row is not None and row.settlement == charge)

    store._settle = settle


def a_refusal_unpins(store: type[MemoryStore]) -> None:
    correct = store.conclude

    async def conclude(self: MemoryStore, failures: list[FailedAttempt]) -> None:
        for failure in failures:
            row = self._held(failure.intent.delivery)
            if row is not None and row.state is PaymentState.PINNED:
                row.state = A
        await correct(self, failures)

    store.conclude = conclude


def a_refusal_lets_an_orphan_go(store: type[MemoryStore]) -> None:
    correct = store.orphans

    async def orphans(self: MemoryStore) -> list[Intent]:
        found = await correct(self)
        for row in self._rows.values():
            row.adopted = False
        return found

    store.orphans = orphans


def a_stale_receipt_concludes(store: type[MemoryStore]) -> None:
    correct = store.conclude

    async def conclude(self: MemoryStore, failures: list[FailedAttempt]) -> None:
        for failure in failures:
            row = self._rows.get(failure.intent.delivery.correlation_id)
            if row is not None and row.receipt:
                row.receipt = failure.intent.delivery.receipt
        await correct(self, failures)

    store.conclude = conclude


def orphans_hands_out_what_is_held(store: type[MemoryStore]) -> None:
    correct = store.orphans

    async def orphans(self: MemoryStore) -> list[Intent]:
        for row in self._rows.values():
            if row.state is A:
                row.receipt = 0
        return await correct(self)

    store.orphans = orphans


def a_conflict_overwrites(store: type[MemoryStore]) -> None:
    correct = store._accept

    def accept(self: MemoryStore, payment: Payment) -> Acceptance:
        answer = correct(self, payment)
        self._rows[payment.correlation_id].payment = payment
        return answer

    store._accept = accept


def the_bound_is_off_by_one(store: type[MemoryStore]) -> None:
    correct = store._accept

    def accept(self: MemoryStore, payment: Payment) -> Acceptance:
        self._limit += 1
        answer = correct(self, payment)
        self._limit -= 1
        return answer

    store._accept = accept


def the_end_of_a_summary_is_exclusive(store: type[MemoryStore]) -> None:
    correct = store.summary

    async def summary(self: MemoryStore, window: Window) -> dict:
        return await correct(self, Window(window.first_us, window.last_us - 1))

    store.summary = summary


def a_crash_forgets_what_was_released(store: type[MemoryStore]) -> None:
    correct = store.crash

    def crash(self: MemoryStore) -> None:
        for key in [key for key, row in self._rows.items() if row.state is Q and row.receipt]:
            del self._rows[key]
        correct(self)

    store.crash = crash


def a_dead_letter_sent_again_loses_its_pin(store: type[MemoryStore]) -> None:
    correct = store.retry_dead_letters

    async def retry(self: MemoryStore, chosen: list[str] | None) -> int:
        for row in self._rows.values():
            if row.state is PaymentState.DEAD_LETTER:
                row.intent = None
        return await correct(self, chosen)

    store.retry_dead_letters = retry


IN_MEMORY = [
    begin_ignores_the_receipt,
    begin_overwrites_a_standing_attempt,
    settle_ignores_the_instant,
    a_charge_counts_twice,
    a_refusal_unpins,
    a_refusal_lets_an_orphan_go,
    a_stale_receipt_concludes,
    orphans_hands_out_what_is_held,
    a_conflict_overwrites,
    the_bound_is_off_by_one,
    the_end_of_a_summary_is_exclusive,
    a_crash_forgets_what_was_released,
    a_dead_letter_sent_again_loses_its_pin,
]


@pytest.mark.parametrize("plant", IN_MEMORY, ids=lambda plant: plant.__name__)
def test_a_defect_in_memory_is_found(monkeypatch: pytest.MonkeyPatch, plant: Callable[[type], None]) -> None:
    class Defective(MemoryStore):
        pass

    plant(Defective)
    monkeypatch.setattr("contracts.stores.MemoryStore", Defective)
    is_found(OnMemory, examples=300)
