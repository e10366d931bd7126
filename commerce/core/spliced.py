"""A page that many read at once, with gaps for what is each reader's own, compressed once for all.

Compressing the session page for each visitor would cost more than everything else about answering it. So
the shared pieces are compressed one by one, each ended with a full flush: from there on deflate needs nothing
of what came before, and the pieces stay right whatever is put between them. A visitor's own words go in
between as stored blocks, which need no compression at all. What is left for each answer is the checksum of
the whole (RFC 1952), some ten microseconds.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cached_property

HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time
LAST_BLOCK = b"\x01\x00\x00\xff\xff"  # an empty stored block that says it is the last
STORED_MOST = 0xFFFF  # bytes in a stored block: its length has 16 bits


class Spliced:
    """`text` in which every one of `marks` stands for something put in later."""

    def __init__(self, text: str, marks: Sequence[str]) -> None:
        pieces = re.split("(" + "|".join(map(re.escape, marks)) + ")", text)
        self._pieces = [piece.encode() for piece in pieces[::2]]
        self._marks = pieces[1::2]

    @cached_property
    def _deflated(self) -> list[bytes]:
        return [_deflate(piece) for piece in self._pieces]

    def plain(self, values: Mapping[str, str]) -> bytes:
        """The whole text. `values` holds what goes in for each mark."""
        parts = [self._pieces[0]]
        for mark, piece in zip(self._marks, self._pieces[1:], strict=True):
            parts += (values[mark].encode(), piece)
        return b"".join(parts)

    def gzip(self, values: Mapping[str, str]) -> bytes:
        """The same as one gzip member."""
        parts = [HEADER, self._deflated[0]]
        checksum, size = zlib.crc32(self._pieces[0]), len(self._pieces[0])
        own = {mark: value.encode() for mark, value in values.items()}
        for mark, piece, deflated in zip(self._marks, self._pieces[1:], self._deflated[1:], strict=True):
            value = own[mark]
            parts += (_stored(value), deflated)
            checksum = zlib.crc32(piece, zlib.crc32(value, checksum))
            size += len(value) + len(piece)
        parts += (LAST_BLOCK, struct.pack("<II", checksum, size & 0xFFFFFFFF))
        return b"".join(parts)


def _deflate(piece: bytes) -> bytes:
    squeezer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return squeezer.compress(piece) + squeezer.flush(zlib.Z_FULL_FLUSH)


def _stored(value: bytes) -> bytes:
    """Blocks of `value` as it is; they begin on a whole byte, for a full flush comes before them."""
    blocks = (value[start : start + STORED_MOST] for start in range(0, len(value), STORED_MOST))
    return b"".join(struct.pack("<BHH", 0, len(b), len(b) ^ 0xFFFF) + b for b in blocks)
