"""What the meter counts, against the facts it is told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from payrouter.application.meter import Fanout, Meter
from payrouter.domain.attempt import Delivery, Intent
from payrouter.domain.events import (
    AttemptFailed,
    HealthCallFailed,
    LeadershipChanged,
    PaymentBuried,
    PaymentsAccepted,
    PaymentsSettled,
    StoreFailed,
)
from payrouter.domain.ledger import Settlement
from payrouter.domain.metrics import BY_NAME, CATALOGUE, Kind
from payrouter.domain.payment import Payment
from payrouter.domain.processor import Processor
from payrouter.ports.queue import Acceptance

S = 1_000_000
PROCESSORS = (Processor("default", "http://a", Decimal("0.05")), Processor("fallback", "http://b", Decimal("0.15")))


@pytest.fixture
def meter() -> Meter:
    return Meter(PROCESSORS)


def counts(meter: Meter) -> dict[tuple[str, ...], float]:
    return {(one.name, *one.labels): one.value for one in meter.counts()}


def settlement(amount_minor: int, *, accepted_us: int, requested_us: int, settled_us: int, name="default"):
    delivery = Delivery("id", amount_minor, accepted_us, 1)
    return Settlement(Intent(delivery, name, requested_us, "cheapest|1.0|0|32|0.00|"), settled_us, 12.0)


def test_accepted_payments_are_counted_by_what_became_of_them(meter):
    payments = [Payment(str(number), 100, 1 * S) for number in range(3)]
    results = [Acceptance.ACCEPTED, Acceptance.DUPLICATE, Acceptance.ACCEPTED]
    meter.publish(PaymentsAccepted(payments, results, 1 * S + 3000))
    meter.publish(PaymentsAccepted(payments[:1], ["unavailable"], 2 * S))
    found = counts(meter)
    assert found["payments_accepted_total", "accepted"] == 2
    assert found["payments_accepted_total", "duplicate"] == 1
    assert found["payments_accepted_total", "unavailable"] == 1
    [accept] = [one for one in meter.distributions() if one.name == "accept_seconds"]
    assert sum(accept.buckets) == 4
    assert accept.sum == pytest.approx(3 * 0.003 + 1.0)
    assert accept.buckets[BY_NAME["accept_seconds"].buckets.index(0.005)] == 3


def test_settled_payments_count_money_and_time_once_and_their_attempts_each_time(meter):
    one = settlement(1990, accepted_us=1 * S, requested_us=3 * S, settled_us=4 * S)
    meter.publish(PaymentsSettled([one, one], [True, False], 4 * S + 20_000))
    found = counts(meter)
    assert found["payments_settled_total", "default"] == 1
    assert found["settled_amount_minor_total", "default"] == 1990
    assert found["fees_minor_total", "default"] == 100  # 99.5, half to even
    assert found["attempts_total", "default", "charged"] == 2
    by_name = {(one.name, *one.labels): one for one in meter.distributions()}
    assert by_name["queue_wait_seconds", "default"].sum == pytest.approx(2.0)
    assert by_name["settle_seconds",].sum == pytest.approx(0.04)
    assert sum(by_name["attempt_seconds", "default", "charged"].buckets) == 2


def test_failures_are_counted_by_kind(meter):
    for outcome in ("refused", "outcome unknown", "invalid"):
        meter.publish(AttemptFailed("id", "default", outcome, "answered 500", 250.0))
    meter.publish(PaymentBuried("id", "default", "answered 400"))
    meter.publish(HealthCallFailed("fallback", "no answer"))
    meter.publish(StoreFailed("settling", "gone"))
    found = counts(meter)
    assert [found["attempts_total", "default", one] for one in ("refused", "unknown", "invalid")] == [1, 1, 1]
    assert found["dead_letters_total", "default"] == found["health_call_failures_total", "fallback"] == 1
    assert found["store_failures_total", "settling"] == 1


def test_it_knows_whether_this_process_leads(meter):
    meter.publish(LeadershipChanged("node", leading=True))
    assert meter.leading
    meter.publish(LeadershipChanged("node", leading=False))
    assert not meter.leading


def test_a_former_processor_has_no_fee(meter):
    one = settlement(1990, accepted_us=0, requested_us=0, settled_us=0, name="former")
    meter.publish(PaymentsSettled([one], [True], 0))
    assert ("fees_minor_total", "former") not in counts(meter)


def test_every_fact_reaches_every_sink():
    told: list[tuple[str, object]] = []

    class Sink:
        def __init__(self, name):
            self.name = name

        def publish(self, event):
            told.append((self.name, event))

    fact = StoreFailed("settling", "gone")
    Fanout(Sink("one"), Sink("other")).publish(fact)
    assert told == [("one", fact), ("other", fact)]


def test_names_follow_the_conventions():
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER), metric.name
        assert bool(metric.buckets) is (metric.kind is Kind.HISTOGRAM), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert metric.help.endswith("."), metric.name


def test_counts_and_histograms_are_in_the_catalogue_with_as_many_labels(meter):
    test_failures_are_counted_by_kind(meter)
    test_settled_payments_count_money_and_time_once_and_their_attempts_each_time(meter)
    for one in (*meter.counts(), *meter.distributions()):
        assert len(one.labels) == len(BY_NAME[one.name].labels), one.name
