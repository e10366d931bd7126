"""Complaining, answering, settling. Photos are cleaned and stored first; then one transaction.

Whoever holds the key of an order complains about it; about a session anybody may. The seller answers, or the
commune's office, which is also where a refusal that the buyer does not accept is decided. A refund goes the
way of all refunds (payments.books): wanted, sent, done. An order's row is locked before its complaint's.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import photos
from commerce.catalog.models import Seller
from commerce.complaints.clocks import ANSWER_DAYS, SETTLE_DAYS, working_days_later
from commerce.complaints.errors import NoOrder, OfficeDecides, TooManyComplaints
from commerce.complaints.models import (
    COMPLAINT_STATES,
    UNSETTLED,
    Complaint,
    ComplaintHistory,
    ComplaintMessage,
    ComplaintState,
    Reason,
)
from commerce.core import clock, phone
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.text import clean
from commerce.live.models import LiveSession
from commerce.orders.models import Order
from commerce.orders.placing import random_letters
from commerce.orders.service import lock_order
from commerce.payments.books import payment_of, refundable, return_money
from commerce.payments.errors import TooMuch

MOST_PHOTOS = 3
MOST_OPEN = 3  # of one order
LEAST_WORDS, MOST_WORDS = 5, 2_000
FOLDER = "complaints"
"""Of their photos in S3, which only the parties get (pages.photo)."""
ENDS = {
    "refund": ComplaintState.REFUNDED,
    "replacement": ComplaintState.REPLACED,
    "refusal": ComplaintState.REFUSED,
}


# ---- opening


async def complain(
    storage: Storage, code: str, key: str, reason: str, words: str, pictures: Sequence[bytes]
) -> Complaint:
    """About an order, by whoever holds its key. Raises `NotFound`, `Invalid`, `TooManyComplaints`, and what
    is wrong with a photo (`catalog.errors`)."""
    said = checked(reason, words, pictures)
    async with sessions.read() as db:
        found = await db.scalar(select(Order).where(Order.code == code.upper()))
    if found is None or not hmac.compare_digest(found.key.encode(), key.encode()):
        raise NotFound
    stored = await store(storage, pictures)
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        assert order is not None, "orders are never deleted"
        already = await db.scalar(
            select(func.count())
            .select_from(Complaint)
            .where(Complaint.order_id == order.id, Complaint.state.in_(UNSETTLED))
        )
        if int(already or 0) >= MOST_OPEN:
            raise TooManyComplaints(most=MOST_OPEN)
        seller = await db.get_one(Seller, order.seller_id)
        complaint = opened(seller.commune_code, reason, order.buyer_name, order.buyer_phone, order=order)
        return await _open(db, complaint, said, stored)


async def complain_of_session(
    storage: Storage,
    code: str,
    name: str,
    number: str,
    reason: str,
    words: str,
    pictures: Sequence[bytes],
) -> Complaint:
    """About what is said or shown in a session, while it runs or afterwards. Raises as `complain`."""
    faults: list[FieldError] = []
    person, normal = " ".join(clean(name).split())[:80], phone.normalise(number)
    if not person:
        faults.append(FieldError("name", N_("Xin ghi tên để chúng tôi biết gọi bạn là gì.")))
    if normal is None:
        faults.append(FieldError("phone", N_("Số điện thoại chưa đúng. Ví dụ: 0901 234 567.")))
    said = checked(reason, words, pictures, faults)
    async with sessions.read() as db:
        session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise NotFound
    stored = await store(storage, pictures)
    async with sessions.begin() as db:
        complaint = opened(session.commune_code, reason, person, normal or "", session=session.id)
        return await _open(db, complaint, said, stored)


def checked(
    reason: str, words: str, pictures: Sequence[bytes], faults: list[FieldError] | None = None
) -> str:
    """The cleaned words. Raises `Invalid` with every fault, those found before included."""
    found = list(faults or [])
    if reason not in set(Reason):
        found.append(FieldError("reason", N_("Xin chọn chuyện gì đã xảy ra.")))
    try:
        said = checked_words(words)
    except Invalid as error:
        said = ""
        found += error.errors
    if len(pictures) > MOST_PHOTOS:
        found.append(FieldError("photos", N_("Nhiều nhất {most} ảnh."), {"most": MOST_PHOTOS}))
    if found:
        raise Invalid(*found)
    return said


def checked_words(words: str) -> str:
    said = clean(words)
    if len(said) < LEAST_WORDS:
        raise Invalid(FieldError("words", N_("Xin kể vài lời để người khác hiểu chuyện gì đã xảy ra.")))
    if len(said) > MOST_WORDS:
        raise Invalid(FieldError("words", N_("Dài quá: nhiều nhất {most} ký tự."), {"most": MOST_WORDS}))
    return said


async def store(storage: Storage, pictures: Sequence[bytes]) -> list[dict[str, Any]]:
    """Drawn anew without metadata and kept. Raises what is wrong with a photo."""
    kept = []
    for body in pictures:
        photo = await photos.clean_and_store(storage, body, FOLDER)
        kept.append(
            {
                "sha256": photo.sha256,
                "width": photo.width,
                "height": photo.height,
                "widths": photo.widths,
            }
        )
    return kept


def opened(
    commune: str,
    reason: str,
    name: str,
    number: str,
    *,
    order: Order | None = None,
    session: int | None = None,
) -> Complaint:
    return Complaint(
        code="KN" + random_letters(8),
        key=secrets.token_urlsafe(15),
        order_id=order.id if order else None,
        seller_id=order.seller_id if order else None,
        live_session_id=order.live_session_id if order else session,
        commune_code=commune,
        reason=reason,
        state=ComplaintState.OPEN,
        name=name,
        phone=number,
        due_at=working_days_later(clock.now(), ANSWER_DAYS),
    )


async def _open(
    db: AsyncSession, complaint: Complaint, words: str, stored: list[dict[str, Any]]
) -> Complaint:
    db.add(complaint)
    await db.flush()
    db.add(ComplaintHistory(subject_id=complaint.id, before="", after=ComplaintState.OPEN.value))
    db.add(ComplaintMessage(complaint_id=complaint.id, side="buyer", words=words, photos=stored))
    return complaint


# ---- the complainant goes on


async def add(storage: Storage, code: str, key: str, words: str, pictures: Sequence[bytes]) -> None:
    """More to say; on an answered or refused one it asks again, and the clock for an answer starts anew.

    Raises `NotFound`, `Invalid`, `WrongState` for one that is settled, and what is wrong with a photo.
    """
    said = checked(Reason.OTHER, words, pictures)
    async with sessions.read() as db:
        await by_key(db, code, key)
    stored = await store(storage, pictures)
    async with locked(code) as (db, complaint):
        if complaint.state != ComplaintState.OPEN:
            await move(db, complaint, ComplaintState.OPEN, by=None, due=ANSWER_DAYS)
        db.add(ComplaintMessage(complaint_id=complaint.id, side="buyer", words=said, photos=stored))


async def withdraw(code: str, key: str) -> None:
    """It is settled between them. Raises `NotFound`, `WrongState`."""
    async with sessions.read() as db:
        await by_key(db, code, key)
    async with locked(code) as (db, complaint):
        await move(db, complaint, ComplaintState.WITHDRAWN, by=None)


async def by_key(db: AsyncSession, code: str, key: str) -> Complaint:
    """Raises `NotFound` for a wrong code and a wrong key alike."""
    found = await db.scalar(select(Complaint).where(Complaint.code == code.upper()))
    if found is None or not hmac.compare_digest(found.key.encode(), key.encode()):
        raise NotFound
    return found


# ---- the seller and the office


async def answer(identity: Identity, code: str, words: str) -> None:
    """Say something; it is settled later. Raises `NotFound`, `Forbidden`, `Invalid`, `WrongState`."""
    said = checked_words(words)
    async with locked(code) as (db, complaint):
        side = await side_of(db, identity, complaint)
        if complaint.state == ComplaintState.OPEN:
            await move(db, complaint, ComplaintState.ANSWERED, by=identity.person_id, due=SETTLE_DAYS)
        db.add(
            ComplaintMessage(
                complaint_id=complaint.id, by=identity.person_id, side=side, words=said, photos=[]
            )
        )


async def resolve(identity: Identity, code: str, outcome: str, words: str, amount: int = 0) -> None:
    """The end: `refund` of `amount` dong, `replacement`, or `refusal`, always with words.

    Raises `NotFound`, `Forbidden`, `Invalid`, `WrongState`, `NoOrder`, `TooMuch` (more than was paid),
    `OfficeDecides` when a seller refuses what was refused before.
    """
    if outcome not in ENDS:
        raise Invalid(FieldError("outcome", N_("Xin chọn cách giải quyết.")))
    said = checked_words(words)
    async with locked(code) as (db, complaint):
        side = await side_of(db, identity, complaint)
        after = ENDS[outcome]
        if after is ComplaintState.REFUSED and side == "seller" and await _refused_before(db, complaint):
            raise OfficeDecides
        if after is ComplaintState.REFUNDED:
            await _refund(db, complaint, amount, identity, said)
        await move(db, complaint, after, by=identity.person_id, reason=said, resolution=said)
        db.add(
            ComplaintMessage(
                complaint_id=complaint.id, by=identity.person_id, side=side, words=said, photos=[]
            )
        )


async def _refund(
    db: AsyncSession, complaint: Complaint, amount: int, identity: Identity, reason: str
) -> None:
    if complaint.order_id is None:
        raise NoOrder
    if amount <= 0:
        raise Invalid(FieldError("amount", N_("Số tiền hoàn phải lớn hơn 0.")))
    payment = await payment_of(db, complaint.order_id)
    left = await refundable(db, payment)
    if amount > left:
        raise TooMuch(left)
    await return_money(db, payment, amount, by=identity.person_id, reason=f"{complaint.code}: {reason}"[:500])
    complaint.refund_amount = amount


async def _refused_before(db: AsyncSession, complaint: Complaint) -> bool:
    found = await db.scalar(
        select(ComplaintHistory.id)
        .where(
            ComplaintHistory.subject_id == complaint.id,
            ComplaintHistory.after == ComplaintState.REFUSED.value,
        )
        .limit(1)
    )
    return found is not None


async def side_of(db: AsyncSession, identity: Identity, complaint: Complaint) -> str:
    """`seller` for their own, `office` of the commune. Raises `Forbidden` for others."""
    if complaint.seller_id is not None:
        seller = await db.get_one(Seller, complaint.seller_id)
        if seller.person_id == identity.person_id:
            return "seller"
    if identity.may(complaint.commune_code, Role.OFFICER):
        return "office"
    raise Forbidden


@asynccontextmanager
async def locked(code: str) -> AsyncIterator[tuple[AsyncSession, Complaint]]:
    """A transaction with the complaint locked, after its order. Raises `NotFound`."""
    async with sessions.begin() as db:
        complaint = await db.scalar(select(Complaint).where(Complaint.code == code.upper()))
        if complaint is None:
            raise NotFound
        if complaint.order_id is not None:
            await db.get_one(Order, complaint.order_id, with_for_update={"key_share": True})
        await db.refresh(complaint, with_for_update=True)
        yield db, complaint


async def move(
    db: AsyncSession,
    complaint: Complaint,
    after: ComplaintState,
    *,
    by: int | None,
    due: int = 0,
    reason: str = "",
    **changes: Any,
) -> None:
    """`due`: working days until the next step has to be taken."""
    if due:
        changes["due_at"] = working_days_later(clock.now(), due)
    before = ComplaintState(complaint.state)
    await COMPLAINT_STATES.transition(db, complaint.id, before, after, by=by, reason=reason, **changes)
