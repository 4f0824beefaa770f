"""`payrouter migrate`."""

from __future__ import annotations

import typer

from payrouter.bootstrap import installation
from payrouter.entrypoints.cli.plain import say, settings_in_force
from payrouter.entrypoints.running import run_async


def migrate() -> None:
    """Bring the tables in PostgreSQL up to what this version needs; nothing happens when they are.

    Run it before the first start and after every update. Several at once do no harm: one works, the others wait. A
    PostgreSQL that is still starting is waited for. The SQLite file of `payrouter serve` needs no migration.

    Example: `payrouter migrate`
    """
    for line in run_async(installation(settings_in_force(need_processors=False)).migrate(say)):
        typer.echo(line)
