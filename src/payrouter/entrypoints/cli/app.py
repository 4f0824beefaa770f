"""The `payrouter` command: where it starts, and how it ends.

Exit codes: 0 done, 1 it did not work (the message says why and what to do), 2 wrong usage or settings.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from payrouter.adapters.log_output import configure_logs
from payrouter.domain.errors import InvalidSettings, PayrouterError
from payrouter.entrypoints.cli.plain import tell

if TYPE_CHECKING:
    from collections.abc import Callable

# Imports inside functions: a server has little memory, and what reads options and draws tables takes 12 MB.
# ruff: noqa: PLC0415

_INTERRUPTED = 130
"""What a shell expects of a process that Ctrl-C ended."""


def run_cli() -> None:
    """Run the command line and turn errors raised on purpose into one clear message."""
    # A server's own settings come later, once they are read; every other command talks to people.
    configure_logs(form="text")
    try:
        _command(sys.argv[1:])()
    except InvalidSettings as error:
        tell(logging.CRITICAL, "ended", f"payrouter: {error}")
        sys.exit(2)
    except PayrouterError as error:
        tell(logging.CRITICAL, "ended", f"payrouter: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)


def _command(words: list[str]) -> Callable[[], None]:
    """Return what the words ask for. A server that is given no options needs nobody to read them."""
    match words:
        case ["serve"]:
            from payrouter.entrypoints.cli.serve import serve

            return serve
        case ["api"]:
            from payrouter.entrypoints.cli.roles import api

            return api
        case ["dispatcher"]:
            from payrouter.entrypoints.cli.roles import dispatcher

            return dispatcher
        case ["admin"]:
            from payrouter.entrypoints.cli.roles import admin

            return admin
        case _:
            from payrouter.entrypoints.cli.commands import app

            return app
