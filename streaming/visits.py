"""What gateways report about visits, for whoever keeps the books.

A visit is one socket of one viewer. It is reported when it opens, when it closes, and again, still
open, whenever its gateway has reason to think that a report was lost. Every report holds the whole
visit and its unique `id`, so the reader stores by id and may read any report twice:

- `left_ms` set: the visit has ended; the truth of its own gateway, over anything stored before.
- `left_ms` none: the visit is open under `gateway`; does not reopen one whose own gateway closed it.
- `GatewayDied`: visits of that room still open under that gateway ended at `at_ms`, the last moment
  the gateway was known to live. Reported exactly once, by whoever found it dead. Should it be alive
  after all, it reports its open visits again under a new gateway name: those do reopen.
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
    gateway: str
    room: str
    at_ms: int


Record = Visit | GatewayDied

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[list[Record]] = msgspec.json.Decoder(list[Record])


def encode(records: list[Record]) -> bytes:
    return _encoder.encode(records)


def decode(data: bytes) -> list[Record]:
    return _decoder.decode(data)
