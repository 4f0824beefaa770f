"""What PostgreSQL and the way to it can say, as our errors. Everything else is a defect of ours and stays as it is.

Codes are those of the manual's appendix "PostgreSQL Error Codes".
"""

from __future__ import annotations

import ssl

import asyncpg

from payrouter.domain.errors import StoreError, StoreIncompatible, StoreMisconfigured, StoreUnavailable

# Not without somebody changing something.
_MISCONFIGURED = {
    "28000": "correct PAYROUTER_POSTGRES_URL, or the server's pg_hba.conf",
    "28P01": "correct user and password in PAYROUTER_POSTGRES_URL",
    "3D000": "create the database, or correct PAYROUTER_POSTGRES_URL",
    "42501": "grant the user what it needs",
    "25006": "PAYROUTER_POSTGRES_URL must lead to the primary, and the user be allowed to write",
}
_INCOMPATIBLE = {"3F000", "42P01", "42703"}

# By class, the first two characters: connection (08), conflicts between transactions (40), out of disk, memory or
# connections (53), locks (55), an operator's doing such as a shutdown (57), I/O (58), damage (XX).
_UNAVAILABLE = {"08", "40", "53", "55", "57", "58", "XX"}


def translate(error: BaseException, where: str) -> StoreError | None:
    """Return what an error means for whoever relies on the server at `where`; None for a defect of ours."""
    match error:
        case asyncpg.PostgresError():
            return _answered(error, where)
        case asyncpg.ClientConfigurationError() | ssl.SSLCertVerificationError():
            return StoreMisconfigured(f"cannot use {where}: {_text(error)}; correct PAYROUTER_POSTGRES_URL")
        case TimeoutError():
            return StoreUnavailable(f"{where} did not answer in time")
        case OSError():
            return StoreUnavailable(f"cannot reach {where}: {error.strerror or _text(error)}")
        case asyncpg.InterfaceError() if isinstance(error, ValueError):
            return None  # an argument that does not fit its column
        case asyncpg.InterfaceError() | asyncpg.InternalClientError():
            return StoreUnavailable(f"the connection to {where} broke: {_text(error)}")
    return None


def _answered(error: asyncpg.PostgresError, where: str) -> StoreError | None:
    code = error.sqlstate or ""
    if code in _MISCONFIGURED:
        return StoreMisconfigured(f"{where} refuses: {_text(error)}; {_MISCONFIGURED[code]}")
    if code in _INCOMPATIBLE:
        return StoreIncompatible(f"{where} lacks tables of ours: {_text(error)}; run payrouter migrate")
    if code[:2] in _UNAVAILABLE:
        return StoreUnavailable(f"{where}: {_text(error)}")
    return None


def _text(error: BaseException) -> str:
    """Return the first line of what was said; details belong to the server's log."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
