"""Every error the product raises on purpose, as a tree.

PayrouterError
├── InvalidInput            what a client sent cannot be a payment or a window      (400, 422)
├── InvalidSettings         what the operator configured cannot work                (exit code 2)
├── AddressInUse            the address to listen on cannot be bound                (exit code 1)
└── StoreError
    ├── StoreUnavailable    nothing can be made durable just now; try again later   (503)
    │   └── StoreUncertain  the connection broke: it may or may not be durable      (503)
    ├── StoreMisconfigured  it is there, but cannot be used as it is configured     (exit code 1)
    ├── StoreInUse          another router has this file                            (exit code 1)
    └── StoreIncompatible   the file is not ours, or from a newer version           (exit code 1)

An adapter may add its own kind of StoreError for answers that only it understands (`RedisAnswered`).
"""

from __future__ import annotations


class PayrouterError(Exception):
    """Base of everything raised on purpose. Its text is meant for people."""


class InvalidInput(PayrouterError):
    """What a client sent cannot be understood (`syntax`) or is not allowed."""

    def __init__(self, detail: str, *, syntax: bool = False) -> None:
        super().__init__(detail)
        self.syntax = syntax


class InvalidSettings(PayrouterError):
    """The configuration cannot work; carries every finding, not only the first."""

    def __init__(self, findings: list[str]) -> None:
        super().__init__("invalid settings:\n" + "\n".join(f"  - {finding}" for finding in findings))
        self.findings = findings


class AddressInUse(PayrouterError):
    """An address cannot be listened on."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"cannot listen on {address}: {reason}; stop what uses it or choose another address")


class StoreError(PayrouterError):
    """Base of what can go wrong where payments are kept."""


class StoreUnavailable(StoreError):
    """Nothing can be made durable just now (disk full, I/O error). Nothing was lost; try again later."""


class StoreUncertain(StoreUnavailable):
    """The connection broke after sending: it may or may not have been written. Repeat it, it is idempotent."""


class StoreMisconfigured(StoreError):
    """The store is there, but cannot be used as it is configured: a wrong password, another service."""


class StoreInUse(StoreError):
    """Another router process holds this store."""


class StoreIncompatible(StoreError):
    """The store was written by something else, or by a newer version."""
