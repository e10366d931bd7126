"""Live sessions as programs send and receive them (the HTTP contract)."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct, field

from commerce.catalog.views import Picture
from commerce.live.checklist import Condition
from commerce.live.queries import DealNow, Line, Place, Session
from streaming.protocol import Snapshot


class SessionOut(Struct, kw_only=True):
    """A session in a list. Times in UTC; counts are of committed orders."""

    code: str
    state: str
    """`scheduled`, `live`, `ended`, `cancelled` or `taken_down`."""
    title: str
    commune: Place
    host: str
    url: str
    starts_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    orders: int
    units: int
    demo: bool

    @classmethod
    def of(cls, session: Session) -> SessionOut:
        return cls(**_common(session))  # type: ignore[arg-type]


class LineOut(Struct, kw_only=True):
    """One thing that can be ordered, under its short code. Prices are whole dong for one `unit`."""

    code: str
    product: str
    product_code: str
    grade: str
    unit: str
    price: int
    deal: DealNow | None
    stock: int
    seller: str
    stars: int | None
    picture: Picture | None
    art: str
    pinnable: bool

    @classmethod
    def of(cls, line: Line) -> LineOut:
        return cls(**{name: getattr(line, name) for name in cls.__struct_fields__})


class SessionDetail(Struct, kw_only=True):
    """One session with everything its page shows."""

    code: str
    state: str
    title: str
    commune: Place
    host: str
    url: str
    starts_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    orders: int
    units: int
    demo: bool
    reason: str | None
    """Why it was taken down."""
    playback_url: str | None
    """The picture, as an HLS playlist; null while there is none."""
    live_url: str
    """The live socket with a ticket for this visitor; empty when there is nothing to hear."""
    snapshot: Snapshot
    lineup: list[LineOut]


class Ticket(Struct):
    state: str
    live_url: str


class ScheduleRequest(Struct, kw_only=True):
    commune: str
    """Its official code."""
    title: str
    starts_at: datetime
    host: int | None = None
    """Id of the person who hosts; the one who asks unless said."""
    rehearsal: bool = False


class EditRequest(Struct, kw_only=True):
    title: str | None = None
    starts_at: datetime | None = None


class OfferRequest(Struct):
    product: str
    """The product's code."""
    grade: str = ""
    code: str | None = None
    """The short code wished; one is proposed otherwise."""


class LineupRequest(Struct):
    items: list[OfferRequest]


class LineupOut(Struct):
    items: list[LineOut]


class ReasonRequest(Struct):
    reason: str = ""


class TakedownRequest(Struct):
    reason: str = ""
    issuer: str = ""
    """The authority that ordered it, if not the person who asks."""


class PinRequest(Struct):
    product: str | None = None
    """Short code; null takes the pin away."""


class DealRequest(Struct, kw_only=True):
    product: str
    price: int
    quantity: int
    minutes: int = 10
    per_buyer: int | None = None
    tap: str = ""
    """A key of the tap's own: the same again (a line that broke) opens no second deal."""


class DealOut(Struct, kw_only=True):
    product: str
    price: int
    quantity: int
    ends_at: datetime
    per_buyer: int | None


class CommentRequest(Struct):
    name: str = ""
    text: str = ""


class CommentOut(Struct):
    id: str


class ConditionOut(Struct):
    condition: str
    met: bool
    message: str
    """What to do while it is not met."""


class ChecklistOut(Struct):
    ready: bool
    conditions: list[ConditionOut] = field(default_factory=list)

    @classmethod
    def of(cls, conditions: list[Condition], words: dict[str, str]) -> ChecklistOut:
        return cls(
            all(c.met for c in conditions),
            [ConditionOut(c.name, c.met, words[c.name]) for c in conditions],
        )


def _common(session: Session) -> dict[str, object]:
    return {
        "code": session.code,
        "state": session.state.value,
        "title": session.title,
        "commune": session.commune,
        "host": session.host,
        "url": f"/live/{session.code}",
        "starts_at": session.starts_at,
        "started_at": session.started_at,
        "ended_at": session.ended_at,
        "orders": session.orders,
        "units": session.units,
        "demo": session.demo,
    }


def detail(
    session: Session, lines: list[Line], snapshot: Snapshot, *, live_url: str, playback_url: str | None
) -> SessionDetail:
    return SessionDetail(
        **_common(session),  # type: ignore[arg-type]
        reason=session.taken_down_reason or None,
        playback_url=playback_url,
        live_url=live_url,
        snapshot=snapshot,
        lineup=[LineOut.of(line) for line in lines],
    )
