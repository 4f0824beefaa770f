from __future__ import annotations

from decimal import Decimal

import pytest

from payrouter.domain.processor import Processor, by_fee


@pytest.mark.parametrize(
    ("fee", "words"), [("0.05", "5 %"), ("0.15", "15 %"), ("0.1", "10 %"), ("0", "0 %"), ("0.0025", "0.25 %")]
)
def test_a_fee_reads_as_a_percentage(fee: str, words: str) -> None:
    assert Processor("any", "http://any", Decimal(fee)).fee_percent == words


def test_processors_are_ranked_by_fee_and_equal_fees_keep_the_operator_s_order() -> None:
    first, dear, second, cheap = (
        Processor(name, "http://any", Decimal(fee))
        for name, fee in [("first", "0.05"), ("dear", "0.15"), ("second", "0.05"), ("cheap", "0.01")]
    )
    assert by_fee((first, dear, second, cheap)) == (cheap, first, second, dear)
