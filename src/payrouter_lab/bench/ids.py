"""The correlationIds the benchmarks send: computed from numbers, so nobody has to write them down.

`bench/schedule.js` computes the same ones. The leading 32 bits are scrambled, so an index over them sees
random keys, as with real UUIDs; the rest says openly which stream and number it was.
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF


def scramble(key: int) -> int:
    """Return MurmurHash3's 32-bit finalizer of `key`: one to one, and without order."""
    key ^= key >> 16
    key = key * 0x85EBCA6B & _MASK
    key ^= key >> 13
    key = key * 0xC2B2AE35 & _MASK
    return key ^ key >> 16


def payment_id(salt: int, stream: int, number: int) -> str:
    """Return the id of a stream's payment: version 4 in form. `stream` below 2^16, `number` below 2^48."""
    key = (((stream << 16) + number) & _MASK) ^ salt
    return f"{scramble(key):08x}-{stream:04x}-4{salt & 0xFFF:03x}-8000-{number:012x}"
