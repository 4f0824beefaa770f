"""`payrouter simulate-processor`."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated

import typer

from payrouter_lab.simulator import SimulatorOptions, run


def simulate_processor(  # noqa: PLR0913 - one parameter per option
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8001,
    fee: Annotated[str, typer.Option(help="Share of an amount it keeps: 0.05 is 5 %.")] = "0.05",
    name: Annotated[str, typer.Option(help="What it calls itself.")] = "default",
    token: Annotated[str, typer.Option(help="What /admin calls must send as X-Rinha-Token.")] = "123",  # noqa: S107 - the documented one
    delay_ms: Annotated[int, typer.Option(min=0, help="Milliseconds each payment takes.")] = 0,
    failing: Annotated[bool, typer.Option("--failing", help="Answer payments with 500 from the start.")] = False,
    chunked: Annotated[bool, typer.Option("--chunked", help="Answer payments in chunked coding.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Run one simulated payment processor, to try the router against.

    What it does can be changed while it runs, with its /admin calls. It forgets its books when it stops.

    Example: `payrouter simulate-processor --port 8002 --fee 0.15 --name fallback --delay-ms 100`
    """
    options = SimulatorOptions(
        name=name, fee=_fee(fee), token=token, delay_ms=delay_ms, failing=failing, chunked=chunked
    )
    raise typer.Exit(run(options, host, port))


def _fee(text: str) -> Decimal:
    try:
        fee = Decimal(text)
        if 0 <= fee < 1:
            return fee
    except InvalidOperation:
        pass  # no number, or NaN, which cannot be compared
    raise typer.BadParameter(f"--fee must be a share from 0 to below 1, such as 0.05 for 5 %, got {text!r}")
