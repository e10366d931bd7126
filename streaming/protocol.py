"""Every frame a viewer may receive, one struct each, and the state of a room that they add up to.

All frames are JSON text with `type`, `seq` and `sent_ms` (Unix milliseconds). `seq` rises strictly
within a room; it is given by the bus at the moment of publishing (see `streaming.bus`), so a publisher
leaves `seq` and `sent_ms` alone. `snapshot` and `resync` restate and carry the `seq` they restate.

A frame carries the full value of its topic, so a room is the latest frame of each topic, a reader who
missed some needs only the newest, and a frame may be skipped when a newer one of its topic is there.
Only `comments` and `order` are increments: they are kept for as long as somebody may still want them.
"""

from __future__ import annotations

import time
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

import msgspec

Card = dict[str, Any]
"""A product or a deal as the pages want to show it; made by the publisher, opaque here."""

RECENT_COMMENTS = 50  # in a snapshot: what a phone shows after scrolling up twice


class State(StrEnum):
    SCHEDULED = "scheduled"
    LIVE = "live"
    ENDED = "ended"
    TAKEN_DOWN = "taken_down"

    @property
    def over(self) -> bool:
        return self in (State.ENDED, State.TAKEN_DOWN)


class Close(IntEnum):
    """Closing codes. The first two are WebSocket's own, the others are promised to clients."""

    RESTART = 1012
    TRY_AGAIN = 1013
    BAD_TICKET = 4401
    NO_SESSION = 4404
    ENDED = 4410
    TOO_MANY = 4429


class Frame(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag=str.lower):
    seq: int = 0
    sent_ms: int = 0

    increment: ClassVar[bool] = False
    """Whether the next frame of this type adds to this one instead of replacing it."""


class Tick(Frame, frozen=True, kw_only=True):
    """The counts. `viewers` is always a number: the last one known, with `stale` when it may be old."""

    viewers: int
    orders: int
    units: int
    stale: bool = False


class Pin(Frame, frozen=True, kw_only=True):
    """The product the host shows now, or none."""

    pinned: Card | None


class Deal(Frame, frozen=True, kw_only=True):
    """All deals that run now."""

    deals: list[Card]


class Stock(Frame, frozen=True, kw_only=True):
    """What is left, by line-up code, with the counts that changed it: an order shows at once."""

    stock: dict[str, int]
    orders: int
    units: int


class Comment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`text` and `name` are what a person typed: never markup. `at` is Unix milliseconds. Ids rise with time;
    a shorter one is lower than a longer one."""

    id: str
    name: str
    text: str
    at: int
    origin: str = ""
    """The other network it was said on; empty for the session's own page."""


class Comments(Frame, frozen=True, kw_only=True):
    """New comments in order, and the ids of those that must vanish from every screen."""

    comments: list[Comment] = []
    hidden: list[str] = []

    increment: ClassVar[bool] = True


class Status(Frame, frozen=True, kw_only=True, tag="state"):
    state: State
    reason: str | None = None


class Notice(Frame, frozen=True, kw_only=True):
    """A warning for all; empty text takes it away."""

    text: str


class Order(Frame, frozen=True, kw_only=True):
    """A new order, for staff rooms only. `name` is masked by the publisher; `lines` hold at least
    `product` and `quantity`; `total` is in whole minor units; `at` is Unix milliseconds."""

    code: str
    name: str
    lines: list[Card]
    total: int
    at: int

    increment: ClassVar[bool] = True


class Resync(Frame, frozen=True, kw_only=True):
    """Something was missed: forget what you know, a snapshot follows."""


class Snapshot(Frame, frozen=True, kw_only=True):
    """All of a room at `seq`."""

    viewers: int = 0
    stale: bool = False
    orders: int = 0
    units: int = 0
    pinned: Card | None = None
    deals: list[Card] = []
    stock: dict[str, int] = {}
    comments: list[Comment] = []
    state: State = State.SCHEDULED
    reason: str | None = None
    notice: str = ""

    def after(self, frame: AnyFrame) -> Snapshot:
        """The room once `frame` has happened. A frame that is not newer changes nothing."""
        if frame.seq <= self.seq:
            return self
        if isinstance(frame, Snapshot):
            return frame
        changes: dict[str, Any]
        match frame:
            case Comments(comments=new, hidden=hidden):
                # By id: news may be delivered twice, and a snapshot may already hold what a frame brings.
                known = {c.id: c for c in (*self.comments, *new)}
                for one in hidden:
                    known.pop(one, None)
                # In the order of their ids, as whoever stores them has them: processes that commit side by
                # side may be heard in another order, and both must come to the same room.
                kept = sorted(known.values(), key=lambda c: (len(c.id), c.id))
                changes = {"comments": kept[-RECENT_COMMENTS:]}
            case Notice(text=text):
                changes = {"notice": text}
            case Order() | Resync():
                changes = {}
            case _:
                changes = {name: getattr(frame, name) for name in frame.__struct_fields__}
        return msgspec.structs.replace(self, **{**changes, "seq": frame.seq, "sent_ms": frame.sent_ms})

    def same_room(self, other: Snapshot) -> bool:
        """Whether both show a reader the same, apart from the counts, which every tick restates, and from
        how far back the comments go: hiding one leaves a reader with fewer than a new snapshot has."""
        topics = ("pinned", "deals", "stock", "state", "reason", "notice")
        common = min(len(self.comments), len(other.comments)) or None
        return (
            all(getattr(self, name) == getattr(other, name) for name in topics)
            and bool(self.comments) == bool(other.comments)
            and (common is None or self.comments[-common:] == other.comments[-common:])
        )


AnyFrame = Snapshot | Tick | Pin | Deal | Stock | Comments | Status | Notice | Order | Resync

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[AnyFrame] = msgspec.json.Decoder(AnyFrame)

_UNSTAMPED = b',"seq":0,"sent_ms":0'


def encode(frame: AnyFrame) -> bytes:
    return _encoder.encode(frame)


def decode(data: bytes | str) -> AnyFrame:
    """Raises `msgspec.ValidationError` or `msgspec.DecodeError` on anything that is not a frame."""
    return _decoder.decode(data)


def topic(frame: AnyFrame) -> str:
    """Its `type` on the wire."""
    return str(type(frame).__struct_config__.tag)


def halves(frame: AnyFrame) -> tuple[bytes, bytes]:
    """A frame encoded without its `seq` and `sent_ms`: what goes before them and what goes after, so
    that the bus can put them in without reading JSON."""
    head, _, tail = _encoder.encode(msgspec.structs.replace(frame, seq=0, sent_ms=0)).partition(_UNSTAMPED)
    return head, tail


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def text_message(payload: bytes) -> bytes:
    """`payload` as one unmasked, unfragmented WebSocket text message, ready for any number of sockets."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload
