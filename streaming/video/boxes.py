"""Boxes of ISO base media files: taking apart and putting together."""

from __future__ import annotations

from collections.abc import Iterator

from streaming.video.errors import Malformed


def boxes(data: bytes, at: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(type, begin of the payload, end) of each box in data[at:end]. Raises `Malformed`."""
    end = len(data) if end is None else end
    while at < end:
        size, length = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:
            size, length = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        elif size == 0:
            size = end - at
        if size < length or at + size > end:
            raise Malformed("box longer than its parent")
        yield data[at + 4 : at + 8], at + length, at + size
        at += size


def child(data: bytes, *path: bytes) -> bytes:
    """Payload of the first box at `path`; b"" when there is none."""
    for name in path:
        for kind, begin, end in boxes(data):
            if kind == name:
                data = data[begin:end]
                break
        else:
            return b""
    return data


def box(kind: bytes, *parts: bytes) -> bytes:
    return (8 + sum(map(len, parts))).to_bytes(4, "big") + kind + b"".join(parts)


def full(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, bytes((version,)) + flags.to_bytes(3, "big"), *parts)
