"""Page beacons: which cards were seen and tapped, what went into a basket. Counted, never in the way.

They travel through a stream of the bus to `analytics.ingest`. When the wire is away they are dropped, with a
metric: a page is never told that counting failed, and no buyer waits for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from weakref import WeakKeyDictionary

import msgspec
from prometheus_client import Counter

from commerce.core import clock
from commerce.core.batching import Batcher
from commerce.core.errors import Busy, FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.limits import RateLimit
from streaming.bus import Bus, BusAway

STREAM = "page_events"
MOST = 100  # events a request
OLDEST_MS = 3_600_000  # a page that was asleep for longer has nothing to tell of this session
SKEW_STEP_MS = 60_000
"""A phone's clock is put right by whole minutes: what the network takes is no fault of the clock, and a
request that arrives twice says the same moments twice, which are then counted once."""
_ITEM = re.compile(r"[A-Z][0-9]{1,2}|")

DROPPED = Counter("chophien_beacons_dropped_total", "Page events that could not be counted")

per_visitor = RateLimit(per_second=2, burst=20)


class Kind(StrEnum):
    IMPRESSION = "impression"
    CLICK = "click"
    BASKET = "basket"


class Beacon(msgspec.Struct, frozen=True):
    """One event as a page sends it; without a product it is about the session's own card."""

    kind: Kind
    product: str = ""
    """Short code in the session's line-up: A1."""
    at: int | None = None
    """Unix milliseconds by the page's clock; none means now."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One event in the stream."""

    session: str
    visitor: str
    kind: str
    product: str
    at_ms: int


_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[list[Event]] = msgspec.json.Decoder(list[Event])


def decode(data: bytes) -> list[Event]:
    """The events of one entry of the stream."""
    return _decoder.decode(data)


def check(session: str, visitor: str, beacons: Sequence[Beacon], sent: int | None = None) -> list[Event]:
    """Raises `Invalid` with every beacon at fault. `sent`: when the page sent them, by its own clock; what
    that clock is wrong by is taken off. What is then not within the last hour happened now.
    """
    now = clock.unix_ms()
    faults = []
    if len(beacons) > MOST:
        faults.append(FieldError("", N_("Gửi nhiều nhất {most} mục một lần."), {"most": MOST}))
    for index, beacon in enumerate(beacons[:MOST]):
        if not _ITEM.fullmatch(beacon.product):
            faults.append(
                FieldError(f"[{index}].product", N_("Mã gồm một chữ cái và một hoặc hai chữ số, ví dụ A1."))
            )
    if faults:
        raise Invalid(*faults)
    skew = 0 if sent is None else round((now - sent) / SKEW_STEP_MS) * SKEW_STEP_MS
    return [
        Event(session.upper()[:40], visitor, beacon.kind.value, beacon.product, _moment(beacon.at, skew, now))
        for beacon in beacons
    ]


def _moment(at: int | None, skew: int, now: int) -> int:
    return at + skew if at is not None and now - OLDEST_MS <= at + skew <= now else now


class Beacons:
    """Appends events of many requests to the stream in one entry."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._line: Batcher[list[Event], None] = Batcher(self._append, most=200, waiting=2_000)

    async def send(self, events: list[Event]) -> None:
        """Never raises for the wire's sake."""
        if not events:
            return
        try:
            await self._line.submit(events)
        except (BusAway, Busy):
            DROPPED.inc(len(events))

    async def _append(self, batch: Sequence[list[Event]]) -> list[Exception | None]:
        events = [event for one in batch for event in one]
        try:
            await self._bus.append(STREAM, _encode(events))
        except BusAway as error:
            return [error for _ in batch]
        return [None for _ in batch]


_senders: WeakKeyDictionary[Bus, Beacons] = WeakKeyDictionary()


def sender(bus: Bus) -> Beacons:
    """The line in front of this bus."""
    return _senders.setdefault(bus, Beacons(bus))
