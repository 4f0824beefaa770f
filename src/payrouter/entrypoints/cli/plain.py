"""What every subcommand needs, servers included: no options, no tables, which would take memory that servers lack."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from payrouter.adapters.log_lines import fact
from payrouter.adapters.log_output import configure_logs, flush_logs, writes_json
from payrouter.domain.errors import InvalidSettings
from payrouter.settings import Settings, load_settings


def settings_in_force(*, need_processors: bool = True) -> Settings:
    """Return the settings of this folder and environment.

    Raises:
        InvalidSettings: with every finding; also when processors are needed and none is named.
    """
    settings = load_settings(os.environ, Path.cwd())
    if need_processors and not settings.processors:
        example = '[{"name":"default","url":"http://127.0.0.1:8001","fee":"0.05"}]'
        raise InvalidSettings([f"PAYROUTER_PROCESSORS must name at least one processor, like {example}"])
    return settings


def server_settings(*, need_processors: bool = True) -> Settings:
    """Return the settings in force, and write log lines from now on as they say.

    Raises:
        InvalidSettings: as `settings_in_force` does.
    """
    settings = settings_in_force(need_processors=need_processors)
    configure_logs(settings.log_level, settings.log_format)
    return settings


def tell(level: int, event: str, text: str) -> None:
    """Tell the operator of a server something: a line of its log where that is for machines, else as it is."""
    if writes_json():
        logging.getLogger("payrouter").log(level, "%s", text, extra=fact(event))
    else:
        say(text)


def say(text: str) -> None:
    """Tell the operator something, beside what is printed for other programs, and after what was logged before."""
    flush_logs()
    sys.stderr.write(f"{text}\n")
