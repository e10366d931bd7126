"""Orders that helpers bring in: confirmed from comments, or typed in from TikTok, Facebook, Zalo, the phone.

They are placed like any other, on the order desk, with cash on delivery; each carries who entered it and
where it was seen. A name or an address that was not said may come later: the buyer is called back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import phone as phones
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.settings import Settings
from commerce.core.text import clean, mask_name, mask_phone, without_phones
from commerce.live import candidates
from commerce.live.comment_orders import Doubt, Reading, read
from commerce.live.errors import CommentsSettled, SessionNotFound
from commerce.live.models import LiveSession
from commerce.live.service import STAFF
from commerce.orders.errors import IdempotencyConflict
from commerce.orders.models import BUYER_MAY_CANCEL, Order, OrderLine
from commerce.orders.queries import snapshots
from commerce.orders.service import check_address, lock_order, place_order
from commerce.orders.wire import AddressRequest, LineRequest, OrderRequest, PurchaseAnswer
from commerce.payments.models import Method

FROM_COMMENT = "comment"
OUTSIDE = ("tiktok", "facebook", "zalo", "phone")
"""Where a typed order may have been seen."""


async def confirm_comments(
    settings: Settings, identity: Identity, code: str, ids: Sequence[int], order: OrderRequest
) -> PurchaseAnswer:
    """One buyer's comments become an order, once. Phone and name, if left open, are those of the comments.

    Raises `Forbidden`, `CommentsSettled` when somebody was first, and what `place_order` raises.
    """
    claimed = await candidates.claim(identity, code, ids)
    order.buyer.phone = order.buyer.phone.strip() or claimed.reading.phone or ""
    order.buyer.name = order.buyer.name.strip() or claimed.name
    order.payment = Method.COD.value
    try:
        answer = await place_order(
            settings,
            code,
            order,
            idempotency_key=claimed.key,
            visitor=claimed.visitor,
            source=claimed.origin or FROM_COMMENT,
            entered_by=identity.person_id,
        )
    except IdempotencyConflict:
        raise CommentsSettled from None
    await candidates.settle(identity, claimed)
    return answer


async def enter_order(
    settings: Settings, identity: Identity, code: str, order: OrderRequest, *, source: str, key: str
) -> PurchaseAnswer:
    """An order that was seen or heard outside. Raises `Forbidden`, and what `place_order` raises."""
    async with sessions.read() as db:
        await _session(db, identity, code)
    if source not in OUTSIDE:
        message = N_("Xin chọn nơi thấy đơn: TikTok, Facebook, Zalo hay điện thoại.")
        raise Invalid(FieldError("source", message))
    number = phones.normalise(order.buyer.phone)
    if not order.buyer.name.strip() and number:
        order.buyer.name = f"Khách {number[-3:]}"  # until the call; buyers outside rarely give their name
    order.payment = Method.COD.value
    return await place_order(
        settings, code, order, idempotency_key=key, source=source, entered_by=identity.person_id
    )


async def add_address(identity: Identity, order_code: str, address: AddressRequest) -> None:
    """The address of an entered order, asked by phone. Raises `NotFound`, `Invalid`."""
    faults: list[FieldError] = []
    commune, street = check_address(address, await snapshots.communes(), faults)
    if faults:
        raise Invalid(*faults)
    async with sessions.begin() as db:
        order = await lock_order(db, order_code)
        if order is None or order.live_session_id is None:
            raise NotFound
        session = await db.get_one(LiveSession, order.live_session_id)
        if not identity.may(session.commune_code, *STAFF):
            raise NotFound
        if order.entered_by is None or order.state not in BUYER_MAY_CANCEL:
            raise NotFound
        order.province_code, order.commune_code, order.street = clean(address.province), commune, street


# ---- what is typed

_PART = re.compile(
    r"(?:(?P<before>\d{1,5})\s*[x×*]?\s*)?(?P<code>[A-Za-z]\d{1,2})"
    r"(?:\s*[x×*:=\-]?\s*(?P<after>\d{1,5}))?\s*[^\W\d]*"
)
_STREET = re.compile(
    r"\b(?:địa chỉ|dia chi|đ/c|đc|giao(?: về| ve| đến| tới)?|ship(?: về| ve)?|gửi(?: về)?|về)\b"
    r"\s*:?\s*(?P<street>.+)$",
    re.IGNORECASE | re.DOTALL,
)


def lines_of(text: str) -> list[LineRequest]:
    """`A1 2, B1 x1; 3 C1` as lines; one each unless said. Raises `Invalid`."""
    lines = []
    for part in re.split(r"[,;+\n]+", text):
        if not part.strip():
            continue
        match = _PART.fullmatch(part.strip())
        if match is None or (match["before"] and match["after"]):
            raise Invalid(FieldError("lines", N_("Xin ghi mã và số lượng, ví dụ: A1 2, B1 1.")))
        lines.append(LineRequest(match["code"].upper(), int(match["before"] or match["after"] or 1)))
    return lines


@dataclass(frozen=True, slots=True)
class Pasted:
    """A comment of another network, taken apart for the form; what was not found is empty."""

    name: str
    lines: str
    phone: str
    street: str
    doubts: list[str]


def take_apart(text: str, units: Mapping[str, str]) -> Pasted:
    """Fields out of a pasted comment; `units` by line-up code. Copies often have the name in a line above."""
    name, newline, rest = text.strip().partition("\n")
    if not newline or any(char.isdigit() for char in name):
        name, rest = "", text
    reading = read(rest, units) or Reading(doubts=[Doubt.WORDS])
    street = _STREET.search(clean(rest))
    return Pasted(
        name=clean(name)[:80],
        lines=", ".join(f"{line.code} {line.quantity}" for line in reading.lines),
        phone=reading.phone or "",
        street=without_phones(street["street"]).strip(" ,.;-\n")[:200] if street else "",
        doubts=reading.doubts,
    )


# ---- what the desk shows


@dataclass(frozen=True, slots=True)
class Entered:
    """An order that a helper brought in, masked."""

    code: str
    name: str
    phone: str
    total: int
    source: str
    placed_at: datetime
    lines: list[OrderLine]
    needs_address: bool


async def entered_orders(db: AsyncSession, session_id: int, limit: int = 30) -> list[Entered]:
    """The newest first; those without an address stay on top."""
    rows = (
        await db.scalars(
            select(Order)
            .where(
                Order.live_session_id == session_id,
                Order.entered_by.is_not(None),
                Order.state.in_(BUYER_MAY_CANCEL),
            )
            .order_by(Order.street != "", Order.id.desc())
            .limit(limit)
        )
    ).all()
    lines: dict[int, list[OrderLine]] = {row.id: [] for row in rows}
    for line in await db.scalars(
        select(OrderLine).where(OrderLine.order_id.in_(lines)).order_by(OrderLine.id)
    ):
        lines[line.order_id].append(line)
    return [
        Entered(
            row.code,
            mask_name(row.buyer_name),
            mask_phone(row.buyer_phone),
            row.total,
            row.source,
            row.placed_at,
            lines[row.id],
            not row.street,
        )
        for row in rows
    ]


async def _session(db: AsyncSession, identity: Identity, code: str) -> LiveSession:
    session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise SessionNotFound(code=code)
    identity.must(session.commune_code, *STAFF)
    return session
