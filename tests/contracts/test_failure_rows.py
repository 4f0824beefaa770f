"""Failed attempts as engines store them, and as earlier versions did."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from payrouter.adapters.rows import add_failure, read_failure_lines, read_failures, write_failure, write_failures
from payrouter.domain.ledger import KEPT_FAILURES, AttemptRecord

RECORDS = st.builds(
    AttemptRecord,
    st.integers(0, 2**53),
    st.text(max_size=20),
    st.text(max_size=20),
    st.text(max_size=60),
    st.none() | st.integers(0, 2**53),
    st.none() | st.integers(0, 10**7).map(lambda tenths: tenths / 10),
    st.none() | st.text(max_size=60),
)


@given(st.lists(RECORDS, max_size=KEPT_FAILURES + 3).map(tuple))
def test_what_was_written_is_read(records: tuple[AttemptRecord, ...]) -> None:
    kept = records[-KEPT_FAILURES:]
    assert read_failures(write_failures(records)) == kept
    assert read_failure_lines(b"\n".join(map(write_failure, records))) == records
    text = None
    for record in records:
        text = add_failure(text, record)
    assert read_failures(text) == kept


def test_rows_of_earlier_versions_are_read_and_stay_beside_new_ones() -> None:
    old = AttemptRecord(7, "default", "refused", "answered 500")
    new = AttemptRecord(9, "default", "refused", "answered 500", 8, 1.5, "cheapest|5.0|0|256|0.00|")
    assert read_failures('[[7,"default","refused","answered 500"]]') == (old,)
    assert read_failures(add_failure('[[7,"default","refused","answered 500"]]', new)) == (old, new)
    assert read_failure_lines(b'[7,"default","refused","answered 500"]\n' + write_failure(new)) == (old, new)
