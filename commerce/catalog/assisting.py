"""Assisted mode: commune staff act for sellers who do not tend a shop themselves.

Whatever somebody else does to a seller's goods is noted as "by X for Y" in the transaction that does it.
What speaks in the seller's name (a listing, a price, an account) waits for the seller's word: a link goes to
their phone, is good for one answer and for three days, and shows everything that was done since the last
one. Until it is confirmed such a listing cannot be approved. Refused, it comes off the shelves and the
office is told why.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.accounts.sms import Sms
from commerce.catalog.errors import LinkGone, NotConfirmed, NothingToConfirm
from commerce.catalog.models import AssistedAct, AssistedLink, ListingState, Product, Seller
from commerce.catalog.rules import OFFICE, PRODUCT_STATES, locked_seller
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import TooMany
from commerce.core.i18n import N_, translate
from commerce.core.roles import Identity
from commerce.core.text import clean, mask_phone

LASTS = timedelta(days=3)
PER_HOUR = 5  # messages a seller may be sent; each costs money and patience
NOTE_MOST = 300
TEXT = N_("Chợ Phiên: {by} vừa làm giúp bạn trên gian hàng {seller}. Xem và xác nhận: {link}")
REFUSED = N_("Người bán không đồng ý với việc làm thay.")

CONFIRMED = "confirmed"
REFUSED_ANSWER = "refused"
REPLACED = "replaced"

ASKED = frozenset({"registered", "seller_edited", "listed", "revised", "price", "graded", "resumed"})
"""What speaks in the seller's name; the rest (stock, a pause, a parcel) is noted and shown to them."""


# ---- noting


async def note(
    db: AsyncSession, by: Identity, seller: Seller, what: str, product: Product | None = None, **detail: Any
) -> None:
    """A line "by X for Y", unless X is Y."""
    if seller.person_id == by.person_id:
        return
    if product is not None:
        detail["product"] = product.name
    await db.flush()
    await db.execute(
        insert(AssistedAct).values(
            seller_id=seller.id,
            product_id=product.id if product else None,
            by=by.person_id,
            what=what,
            detail=detail,
            needs_answer=what in ASKED,
        )
    )


async def require_confirmed(db: AsyncSession, product: Product) -> None:
    """Raises `NotConfirmed` while the seller has not said yes to what was listed in their name."""
    open_acts = await db.scalar(
        select(func.count()).where(
            AssistedAct.product_id == product.id, AssistedAct.needs_answer, AssistedAct.answer == ""
        )
    )
    if open_acts:
        raise NotConfirmed(product=product.name)


# ---- asking and answering


async def ask(by: Identity, seller_id: int, sms: Sms, public_url: str) -> str:
    """Sends the link to the seller's phone and returns it; an earlier one that waits is good no more.

    Raises `SellerNotFound`, `Forbidden`, `NothingToConfirm`, `TooMany`, `SmsUnavailable` (then ask again).
    """
    token = secrets.token_urlsafe(18)
    async with sessions.begin() as db:
        seller = await locked_seller(db, by, seller_id)
        by.must(seller.commune_code, *OFFICE)
        if not await _open_acts(db, seller.id):
            raise NothingToConfirm
        hour_ago = clock.now() - timedelta(hours=1)
        sent = await db.scalar(
            select(func.count()).where(
                AssistedLink.seller_id == seller.id, AssistedLink.created_at > hour_ago
            )
        )
        if (sent or 0) >= PER_HOUR:
            raise TooMany
        await db.execute(
            update(AssistedLink)
            .where(AssistedLink.seller_id == seller.id, AssistedLink.answer == "")
            .values(answer=REPLACED, answered_at=clock.now())
        )
        await db.execute(
            insert(AssistedLink).values(
                seller_id=seller.id,
                token_hash=_hash(token),
                by=by.person_id,
                expires_at=clock.now() + LASTS,
            )
        )
        phone, name = seller.phone, seller.name
    link = f"{public_url}/confirm/{token}"
    await sms.send(phone, translate(TEXT).format(by=by.name, seller=name, link=link))
    return link


async def answer(token: str, *, agreed: bool, note: str = "") -> str:
    """The seller's word on everything the link shows; returns the seller's name. One answer a link.

    A refusal takes what it is about off the shelves until the office has mended it. Raises `LinkGone`.
    """
    said = CONFIRMED if agreed else REFUSED_ANSWER
    async with sessions.begin() as db:
        link = await _usable(db, token, lock=True)
        seller = await db.get_one(Seller, link.seller_id)
        acts = [one for one in await _open_acts(db, seller.id) if one.at <= link.created_at]
        link.answer, link.answered_at, link.note = said, clock.now(), clean(note)[:NOTE_MOST]
        for act in acts:
            act.answer, act.answered_at = said, link.answered_at
        if not agreed:
            await _take_off(db, {act.product_id for act in acts if act.product_id}, link.note)
        return seller.name


async def _take_off(db: AsyncSession, product_ids: set[int], note: str) -> None:
    """By nobody's hand but the seller's: the history says so in words."""
    reason = " ".join(part for part in (REFUSED, note) if part)
    query = select(Product).where(Product.id.in_(product_ids)).order_by(Product.id).with_for_update()
    for product in await db.scalars(query):
        state = ListingState(product.state)
        after = ListingState.PAUSED if state == ListingState.APPROVED else ListingState.REFUSED
        if PRODUCT_STATES.allows(state, after):
            await PRODUCT_STATES.transition(db, product.id, state, after, reason=reason)


async def _usable(db: AsyncSession, token: str, *, lock: bool = False) -> AssistedLink:
    query = select(AssistedLink).where(AssistedLink.token_hash == _hash(token))
    link = await db.scalar(query.with_for_update() if lock else query)
    if link is None or link.answer or link.expires_at <= clock.now():
        raise LinkGone
    return link


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


async def _open_acts(db: AsyncSession, seller_id: int) -> Sequence[AssistedAct]:
    return (
        await db.scalars(
            select(AssistedAct)
            .where(AssistedAct.seller_id == seller_id, AssistedAct.needs_answer, AssistedAct.answer == "")
            .order_by(AssistedAct.id)
        )
    ).all()


# ---- reading


@dataclass(frozen=True, slots=True)
class Act:
    """One line of the log. `said`: the seller's answer, `told` for what needs none, empty while it waits."""

    at: datetime
    by: str
    seller_id: int
    seller: str
    what: str
    detail: dict[str, Any]
    product_code: str | None
    said: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a link shows."""

    seller: str
    commune_code: str
    by: str
    acts: list[Act]
    products: list[str]
    """Codes of the listings it is about."""
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Waiting:
    """A seller whose word is waited for."""

    seller_id: int
    seller: str
    phone: str
    """Masked."""
    acts: int
    since: datetime
    sent_at: datetime | None
    """When the link that is good now was sent."""
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Refusal:
    seller_id: int
    seller: str
    at: datetime
    note: str


async def shown(token: str) -> Shown:
    """Raises `LinkGone`."""
    async with sessions.read() as db:
        link = await _usable(db, token)
        seller = await db.get_one(Seller, link.seller_id)
        person = await db.get_one(Person, link.by)
        acts = await _acts(
            db,
            AssistedAct.seller_id == seller.id,
            AssistedAct.needs_answer,
            AssistedAct.answer == "",
            AssistedAct.at <= link.created_at,
        )
        acts.reverse()
        codes = list(dict.fromkeys(act.product_code for act in acts if act.product_code))
        return Shown(seller.name, seller.commune_code, person.name, acts, codes, link.expires_at)


async def log(db: AsyncSession, commune_code: str, limit: int = 100) -> list[Act]:
    """Everything that was done for sellers of the commune, the newest first."""
    return await _acts(db, Seller.commune_code == commune_code, limit=limit)


async def log_of(db: AsyncSession, seller_id: int, limit: int = 20) -> list[Act]:
    """What was done for one seller, the newest first."""
    return await _acts(db, AssistedAct.seller_id == seller_id, limit=limit)


async def _acts(db: AsyncSession, *where: Any, limit: int = 200) -> list[Act]:
    rows = await db.execute(
        select(AssistedAct, Person.name, Seller.name, Product.code)
        .join(Seller, Seller.id == AssistedAct.seller_id)
        .join(Person, Person.id == AssistedAct.by)
        .outerjoin(Product, Product.id == AssistedAct.product_id)
        .where(*where)
        .order_by(AssistedAct.id.desc())
        .limit(limit)
    )
    return [
        Act(
            at=act.at,
            by=by,
            seller_id=act.seller_id,
            seller=seller,
            what=act.what,
            detail=act.detail,
            product_code=code,
            said=act.answer or ("" if act.needs_answer else "told"),
        )
        for act, by, seller, code in rows
    ]


async def waiting(db: AsyncSession, commune_code: str) -> list[Waiting]:
    """Sellers whose word is waited for, the longest first."""
    rows = await db.execute(
        select(Seller, func.count(), func.min(AssistedAct.at))
        .join(AssistedAct, AssistedAct.seller_id == Seller.id)
        .where(Seller.commune_code == commune_code, AssistedAct.needs_answer, AssistedAct.answer == "")
        .group_by(Seller.id)
        .order_by(func.min(AssistedAct.at))
    )
    found = rows.all()
    links = {
        link.seller_id: link
        for link in await db.scalars(
            select(AssistedLink)
            .where(
                AssistedLink.seller_id.in_([row.Seller.id for row in found]),
                AssistedLink.answer == "",
                AssistedLink.expires_at > clock.now(),
            )
            .order_by(AssistedLink.id)
        )
    }

    def one(seller: Seller, count: int, since: datetime) -> Waiting:
        link = links.get(seller.id)
        return Waiting(
            seller_id=seller.id,
            seller=seller.name,
            phone=mask_phone(seller.phone),
            acts=count,
            since=since,
            sent_at=link.created_at if link else None,
            expires_at=link.expires_at if link else None,
        )

    return [one(*row) for row in found]


async def refusals(db: AsyncSession, commune_code: str, limit: int = 10) -> list[Refusal]:
    """Of the last thirty days, the newest first."""
    rows = await db.execute(
        select(AssistedLink, Seller.name)
        .join(Seller, Seller.id == AssistedLink.seller_id)
        .where(
            Seller.commune_code == commune_code,
            AssistedLink.answer == REFUSED_ANSWER,
            AssistedLink.answered_at > clock.now() - timedelta(days=30),
        )
        .order_by(AssistedLink.answered_at.desc())
        .limit(limit)
    )
    return [
        Refusal(link.seller_id, name, link.answered_at or link.created_at, link.note) for link, name in rows
    ]


async def unconfirmed(db: AsyncSession, product_codes: Sequence[str]) -> set[str]:
    """Those of the products whose seller has not said yes yet."""
    rows = await db.scalars(
        select(Product.code)
        .join(AssistedAct, AssistedAct.product_id == Product.id)
        .where(Product.code.in_(product_codes), AssistedAct.needs_answer, AssistedAct.answer == "")
    )
    return set(rows)
