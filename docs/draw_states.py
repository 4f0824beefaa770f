"""Write `docs/states.md` from the transition table, so that the drawing cannot lie. Run: `make states`."""

from __future__ import annotations

from pathlib import Path

from payrouter.domain.payment import TRANSITIONS, PaymentState

PAGE = Path(__file__).with_name("states.md")

_MEANING = {
    PaymentState.QUEUED: "accepted and durable; waits to be sent",
    PaymentState.ATTEMPTING: "the intent is written; the attempt may be on its way",
    PaymentState.PINNED: "an attempt's outcome is unknown; it is repeated there, with the same instant, until proven",
    PaymentState.SETTLED: "charged, and in the ledger; final",
    PaymentState.DEAD_LETTER: "a processor will never take it as it is; an operator can send it again",
}


def states_page() -> str:
    """Return the page: the drawing, then each state in words."""
    lines = [
        "# Payment states",
        "",
        "Drawn by `make states` from `TRANSITIONS` in `src/payrouter/domain/payment.py`. Nothing else can happen.",
        "",
        "```mermaid",
        "stateDiagram-v2",
        f"    [*] --> {_node(PaymentState.QUEUED)}: accepted",
    ]
    for (before, event), after in TRANSITIONS.items():
        lines.append(f"    {_node(before)} --> {_node(after)}: {event.value}")
    lines += [f"    {_node(PaymentState.SETTLED)} --> [*]", "```", "", "| state | meaning |", "|---|---|"]
    lines += [f"| `{state.label}` | {_MEANING[state]} |" for state in PaymentState]
    return "\n".join(lines) + "\n"


def _node(state: PaymentState) -> str:
    return state.name.lower()


if __name__ == "__main__":
    PAGE.write_text(states_page())
