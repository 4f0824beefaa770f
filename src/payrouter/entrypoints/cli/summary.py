"""`payrouter summary`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from payrouter.bootstrap import installation
from payrouter.domain.ledger import Totals
from payrouter.domain.money import fee_minor, format_minor
from payrouter.entrypoints.cli.common import (
    FromOption,
    JsonOption,
    ToOption,
    print_json,
    terminal,
    window_between,
    window_in_words,
    window_json,
)
from payrouter.entrypoints.cli.plain import settings_in_force
from payrouter.entrypoints.numbers import money
from payrouter.entrypoints.running import run_async

if TYPE_CHECKING:
    from payrouter.domain.processor import Processor
    from payrouter.domain.window import Window


@dataclass(frozen=True, slots=True)
class Row:
    """One processor's part. `fee_minor` is None for a former processor, whose fee is not known any more."""

    name: str
    totals: Totals
    fee_minor: int | None
    share: float


def summary(*, from_text: FromOption = None, to_text: ToOption = None, as_json: JsonOption = False) -> None:
    """Show settled payments, amounts and fees per processor, from the ledger.

    Works while a router runs and when none does. Amounts are exact; the share is that of the amount.

    Example: `payrouter summary --from 2026-01-31T00:00:00Z --to 2026-01-31T23:59:59.999Z`
    """
    window = window_between(from_text, to_text)
    settings = settings_in_force(need_processors=False)
    found = rows(run_async(installation(settings).summary(window)), settings.processors)
    if as_json:
        print_json(_json(found, window))
    else:
        console = terminal()
        console.print(_table(found, window))
        if any(row.fee_minor is None for row in found):
            console.print("Fees are known of processors in PAYROUTER_PROCESSORS only.")


def rows(totals: dict[str, Totals], processors: tuple[Processor, ...]) -> list[Row]:
    """Return a row per processor: configured ones in the operator's order, then former ones by name."""
    fees = {one.name: one.fee for one in processors}
    whole = sum(total.amount_minor for total in totals.values())
    found = []
    for name in (*fees, *sorted(totals.keys() - fees.keys())):
        total = totals.get(name, Totals())
        fee = fee_minor(total.amount_minor, fees[name]) if name in fees else None
        found.append(Row(name, total, fee, total.amount_minor / whole if whole else 0.0))
    return found


def _sum(found: list[Row]) -> tuple[Totals, int]:
    count = sum(row.totals.count for row in found)
    amount = sum(row.totals.amount_minor for row in found)
    return Totals(count, amount), sum(row.fee_minor or 0 for row in found)


def _table(found: list[Row], window: Window) -> Table:
    table = Table(title=f"Settled payments, {window_in_words(window)}", title_justify="left", show_footer=True)
    whole, fees = _sum(found)
    table.add_column("Processor", "Total")
    table.add_column("Payments", str(whole.count), justify="right")
    table.add_column("Amount", format_minor(whole.amount_minor), justify="right")
    table.add_column("Fees", format_minor(fees), justify="right")
    table.add_column("Share", "100.0 %" if whole.amount_minor else "", justify="right")
    for row in found:
        fee = "unknown" if row.fee_minor is None else format_minor(row.fee_minor)
        amount = format_minor(row.totals.amount_minor)
        table.add_row(row.name, str(row.totals.count), amount, fee, f"{100 * row.share:.1f} %")
    return table


def _json(found: list[Row], window: Window) -> dict[str, Any]:
    whole, fees = _sum(found)
    return {
        **window_json(window),
        "processors": {row.name: _totals(row.totals, row.fee_minor) | {"share": round(row.share, 6)} for row in found},
        "total": _totals(whole, fees),
    }


def _totals(totals: Totals, fee: int | None) -> dict[str, Any]:
    return {
        "totalRequests": totals.count,
        "totalAmount": money(totals.amount_minor),
        "totalFee": None if fee is None else money(fee),
    }
