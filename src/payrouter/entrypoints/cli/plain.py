"""What every subcommand needs, servers included: no options, no tables, which would take memory that servers lack."""

from __future__ import annotations

import os
import sys
from pathlib import Path

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


def say(text: str) -> None:
    """Tell the operator something, beside what is printed for other programs."""
    sys.stderr.write(f"{text}\n")
