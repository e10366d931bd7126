"""AMF0, the few types that RTMP commands are made of."""

from __future__ import annotations

import struct
from typing import Any

from streaming.video.errors import Malformed

NUMBER, BOOLEAN, STRING, OBJECT, NULL, UNDEFINED, ARRAY, END, LIST, DATE, LONG = (
    0,
    1,
    2,
    3,
    5,
    6,
    8,
    9,
    10,
    11,
    12,
)
DEEPEST = 8
MOST = 2000  # values in one message


def encode(*values: Any) -> bytes:
    return b"".join(map(_encode, values))


def _encode(value: Any) -> bytes:
    if value is None:
        return bytes((NULL,))
    if isinstance(value, bool):
        return bytes((BOOLEAN, value))
    if isinstance(value, (int, float)):
        return bytes((NUMBER,)) + struct.pack(">d", value)
    if isinstance(value, str):
        return bytes((STRING,)) + _text(value)
    pairs = b"".join(_text(name) + _encode(inner) for name, inner in value.items())
    return bytes((OBJECT,)) + pairs + b"\0\0\x09"


def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(2, "big") + data


def decode(data: bytes) -> list[Any]:
    """All values of a message. Raises `Malformed`."""
    reader = _Reader(data)
    found = []
    while reader.at < len(data):
        found.append(reader.value(0))
    return found


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.count = data, 0, 0

    def take(self, size: int) -> bytes:
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise Malformed("AMF ends early")
        self.at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def text(self, size: int) -> str:
        return self.take(self.number(size)).decode("utf-8", "replace")

    def value(self, depth: int) -> Any:
        self.count += 1
        if depth > DEEPEST or self.count > MOST:
            raise Malformed("AMF too deep or too long")
        kind = self.number(1)
        if kind == NUMBER:
            return struct.unpack(">d", self.take(8))[0]
        if kind == BOOLEAN:
            return bool(self.number(1))
        if kind in (STRING, LONG):
            return self.text(2 if kind == STRING else 4)
        if kind in (NULL, UNDEFINED):
            return None
        if kind == DATE:
            return struct.unpack(">d", self.take(10)[:8])[0]
        if kind == LIST:
            return [self.value(depth + 1) for _ in range(min(self.number(4), MOST))]
        if kind in (OBJECT, ARRAY):
            if kind == ARRAY:
                self.number(4)
            return self.pairs(depth)
        raise Malformed("AMF type")

    def pairs(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while True:
            name = self.text(2)
            if self.data[self.at : self.at + 1] == bytes((END,)):
                self.at += 1
                return found
            found[name] = self.value(depth + 1)
