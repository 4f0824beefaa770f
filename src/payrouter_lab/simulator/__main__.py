"""`python -m payrouter_lab.simulator`: one simulated payment processor."""

from __future__ import annotations

import argparse
import sys
from decimal import Decimal, InvalidOperation

from payrouter_lab.simulator.simulator import run
from payrouter_lab.simulator.state import SimulatorOptions


def main(arguments: list[str] | None = None) -> int:
    """Serve one simulated processor until it is told to stop, and return the exit code."""
    given = _parser().parse_args(arguments)
    options = SimulatorOptions(
        name=given.name,
        fee=given.fee,
        token=given.token,
        delay_ms=given.delay,
        failing=given.failing,
        chunked=given.chunked,
        seed=given.seed,
    )
    return run(options, given.host, given.port)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m payrouter_lab.simulator",
        description="A payment processor to test against. What it does can be changed while it runs, "
        "with PUT /admin/configurations/… and the token.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=8001, help="port to listen on; 0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--name", default="default", help="what it calls itself in messages and counts")
    parser.add_argument("--fee", type=_fee, default="0.05", help="fee as a rate: 0.05 is 5 %%")
    parser.add_argument("--token", default="123", help="what /admin calls must send as X-Rinha-Token")
    parser.add_argument("--delay", type=_delay, default=0, metavar="MS", help="milliseconds each payment takes")
    parser.add_argument("--failing", action="store_true", help="answer payments with 500 from the start")
    parser.add_argument("--chunked", action="store_true", help="answer payments in chunked coding")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults that strike by chance")
    return parser


def _fee(text: str) -> Decimal:
    try:
        fee = Decimal(text)
        if 0 <= fee < 1:
            return fee
    except InvalidOperation:
        pass  # no number, or NaN, which cannot be compared
    raise argparse.ArgumentTypeError(f"must be a rate from 0 to below 1, such as 0.05, got {text!r}")


def _delay(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be whole milliseconds, 0 or more, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
