"""What gateways report about visits, for whoever keeps the books.

A visit is one socket of one viewer. It is reported when it opens, when it closes, and again, still open,
whenever its gateway has reason to think that a report was lost. Every report holds the whole visit and
its unique `id`. The rules below give the same books in whatever order and however often reports are read:

- `Visit`: store by `id`; `left_ms = coalesce(reported, stored)`, `gateway = greatest(reported, stored)`.
- `GatewayDied`: store by (`gateway`, `room`). It is reported once, by whoever found it dead.
- A visit ended at its own `left_ms`, else when the gateway it names died, else it is still open.

A gateway that was taken for dead but lives reports its open visits under a new, greater name.
"""

from __future__ import annotations

import msgspec

VISITS = "visits"
"""The stream of the bus these records travel in."""


class Visit(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="visit"):
    id: str
    room: str
    visitor: str
    source: str
    gateway: str
    joined_ms: int
    left_ms: int | None = None

    @property
    def watched_s(self) -> float:
        """Seconds from coming to leaving; 0 while the visit is open."""
        return 0.0 if self.left_ms is None else max(0, self.left_ms - self.joined_ms) / 1000


class GatewayDied(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="gateway_died"):
    """`at_ms`: the last moment it was known to live."""

    gateway: str
    room: str
    at_ms: int


Record = Visit | GatewayDied

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[list[Record]] = msgspec.json.Decoder(list[Record])


def encode(records: list[Record]) -> bytes:
    return _encoder.encode(records)


def decode(data: bytes) -> list[Record]:
    """The records of one entry of the stream."""
    return _decoder.decode(data)
