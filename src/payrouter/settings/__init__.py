"""Settings: read once at the edge from the environment, `.env` and a TOML file, then plain values inward.

Later sources win: defaults, `payrouter.toml` (or the file that PAYROUTER_CONFIG names), `.env`, the environment.
"""

from payrouter.settings.fields import Address, ApiKey, Settings
from payrouter.settings.load import PREFIX, load_settings
from payrouter.settings.values import parse_address

__all__ = ["PREFIX", "Address", "ApiKey", "Settings", "load_settings", "parse_address"]
