"""One unsettled payment as Redis keeps it: `state;amount;accepted_us;entry` and so on, readable in `redis-cli`.

`entry` is the payment's place in the stream. Scripts read the parts that every state has; the rest, the attempt, is
only there while one stands: `processor;requested_us;reason`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from payrouter.domain.payment import PaymentState

_LETTERS = {
    PaymentState.QUEUED: "Q",
    PaymentState.ATTEMPTING: "A",
    PaymentState.PINNED: "P",
    PaymentState.DEAD_LETTER: "D",
}
_STATES = {letter.encode(): state for state, letter in _LETTERS.items()}
# Parts that tell of an attempt; a dead letter has them if one is unresolved.
_ATTEMPT_PARTS = {
    PaymentState.QUEUED: (0,),
    PaymentState.ATTEMPTING: (3,),
    PaymentState.PINNED: (3,),
    PaymentState.DEAD_LETTER: (0, 3),
}
_MOST_DIGITS = 18  # the ledger's numbers have 64 bits


@dataclass(frozen=True, slots=True)
class Record:
    """A payment that is not settled. `attempt`: processor, requestedAt (UTC us) and reason; None while none stands."""

    state: PaymentState
    amount_minor: int
    accepted_us: int
    entry: str
    attempts: int
    attempt: tuple[str, int, str] | None = None

    def encode(self) -> bytes:
        """Return the stored form."""
        text = f"{_LETTERS[self.state]};{self.amount_minor};{self.accepted_us};{self.entry};{self.attempts}"
        if self.attempt is not None:
            processor, requested_us, reason = self.attempt
            text += f";{processor};{requested_us};{reason}"
        return text.encode()

    def begun(self, processor: str, requested_us: int, reason: str) -> Record:
        """Return the record with one more attempt under way."""
        attempt = (processor, requested_us, reason)
        return replace(self, state=PaymentState.ATTEMPTING, attempts=self.attempts + 1, attempt=attempt)

    def moved(self, state: PaymentState, *, forget: bool) -> Record:
        """Return the record in another state; `forget`: the attempt does not stand any more."""
        return replace(self, state=state, attempt=None if forget else self.attempt)

    @property
    def pinned_to(self) -> str | None:
        """The processor at which an attempt stands."""
        return self.attempt[0] if self.attempt is not None else None


def decode(text: bytes) -> Record:
    """Return the record that `Record.encode` or a script wrote.

    Raises:
        ValueError: if it is anything else: somebody spoilt it.
    """
    letter, amount, accepted_us, entry, attempts, *attempt = text.split(b";", 7)
    state = _STATES.get(letter)
    if state is None or len(attempt) not in _ATTEMPT_PARTS[state] or max(len(amount), len(accepted_us)) > _MOST_DIGITS:
        raise ValueError(f"not a payment's record: {text[:80]!r}")
    stands = (attempt[0].decode(), int(attempt[1]), attempt[2].decode()) if attempt else None
    return Record(state, int(amount), int(accepted_us), entry.decode(), int(attempts), stands)


def decode_or_none(text: bytes) -> Record | None:
    """Return a record, None for one that is not there (empty) or was spoilt."""
    try:
        return decode(text) if text else None
    except ValueError:
        return None
