"""Everything that is kept about one phone number, for its owner; and its erasure, as far as the law lets."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Update, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import AccountEvent, Person, RoleGrant, SignIn
from commerce.catalog.models import Seller
from commerce.complaints.models import Complaint
from commerce.core import clock
from commerce.core.db import sessions
from commerce.live.models import Comment, LiveSession
from commerce.orders.models import Order, OrderLine, WholesaleEnquiry
from commerce.policies import service as policies
from commerce.policies.documents import RULES

KEPT_FOR = timedelta(days=3 * 366)  # orders: 3 years by the E-commerce Law; a day more does no harm
GONE = ""  # what stands where a name or a number was

Data = dict[str, Any]


async def of_phone(db: AsyncSession, phone: str) -> Data:
    """By kind, in the words of the file that people take with them."""
    person = await db.scalar(select(Person).where(Person.phone == phone))
    return {
        "phone": phone,
        "account": await _account(db, person) if person else None,
        "orders": await _orders(db, phone),
        "wholesale_enquiries": [
            {"at": one.at, "name": one.name, "kilograms": one.kilograms, "note": one.note}
            for one in await db.scalars(
                select(WholesaleEnquiry).where(WholesaleEnquiry.phone == phone).order_by(WholesaleEnquiry.id)
            )
        ],
        "complaints": [
            {"code": one.code, "at": one.created_at, "name": one.name, "state": one.state}
            for one in await db.scalars(
                select(Complaint).where(Complaint.phone == phone).order_by(Complaint.id)
            )
        ],
        "comments": [
            {"session": code, "at": comment.at, "name": comment.name, "text": comment.text}
            for comment, code in await db.execute(
                select(Comment, LiveSession.code)
                .join(LiveSession, LiveSession.id == Comment.live_session_id)
                .where(Comment.reading["phone"].astext == phone)
                .order_by(Comment.id)
            )
        ],
    }


async def _orders(db: AsyncSession, phone: str) -> list[Data]:
    rows = (
        await db.execute(
            select(Order, Seller.name)
            .join(Seller, Seller.id == Order.seller_id)
            .where(Order.buyer_phone == phone)
            .order_by(Order.id)
        )
    ).all()
    lines: dict[int, list[Data]] = {order.id: [] for order, _ in rows}
    for line in await db.scalars(
        select(OrderLine).where(OrderLine.order_id.in_(lines)).order_by(OrderLine.id)
    ):
        lines[line.order_id].append(
            {
                "product": line.product_name,
                "grade": line.grade_name,
                "quantity": line.quantity,
                "unit": line.unit,
                "amount": line.amount,
            }
        )
    return [
        {
            "code": order.code,
            "placed_at": order.placed_at,
            "state": order.state,
            "seller": seller,
            "name": order.buyer_name,
            "street": order.street,
            "commune": order.commune_code,
            "province": order.province_code,
            "note": order.note,
            "total": order.total,
            "currency": order.currency,
            "payment": order.payment_method,
            "came_from": order.source,
            "consent_at": order.consent_at,
            "consent_rules": await policies.in_force(db, RULES, order.consent_at),
            "kept_until": order.placed_at + KEPT_FOR,
            "lines": lines[order.id],
        }
        for order, seller in rows
    ]


async def _account(db: AsyncSession, person: Person) -> Data:
    roles = await db.scalars(select(RoleGrant).where(RoleGrant.person_id == person.id).order_by(RoleGrant.id))
    devices = await db.scalars(select(SignIn).where(SignIn.person_id == person.id).order_by(SignIn.id))
    events = await db.scalars(
        select(AccountEvent).where(AccountEvent.person_id == person.id).order_by(AccountEvent.id)
    )
    return {
        "name": person.name,
        "opened_at": person.created_at,
        "identity_verified_at": person.identity_verified_at,
        "roles": [{"role": one.role, "commune": one.commune_code} for one in roles],
        "devices": [{"device": one.device, "since": one.created_at} for one in devices],
        "events": [{"what": one.what, "at": one.at} for one in events],
        "accepted": [
            {"policy": one.policy, "version": one.version, "at": one.at}
            for one in await policies.acceptances(db, person.id)
        ],
    }


async def erase(db: AsyncSession, phone: str) -> Data:
    """Takes away what may go; says what went and what must stay: orders within their three years and what
    belongs to them, and accounts that work for a commune, which its office closes."""
    now = clock.now()
    enquiries = await db.execute(
        delete(WholesaleEnquiry).where(WholesaleEnquiry.phone == phone).returning(WholesaleEnquiry.id)
    )
    comments = await db.execute(
        update(Comment)
        .where(Comment.reading["phone"].astext == phone)
        .values(name=GONE, text=GONE, reading=None, hidden_at=now)
        .returning(Comment.id)
    )
    old = await db.execute(_forgotten(Order.buyer_phone == phone).returning(Order.id))
    gone = {
        "wholesale_enquiries": len(enquiries.all()),
        "comments": len(comments.all()),
        "orders": len(old.all()),
    }
    kept = [
        {"code": code, "until": placed_at + KEPT_FOR}
        for code, placed_at in await db.execute(
            select(Order.code, Order.placed_at).where(Order.buyer_phone == phone).order_by(Order.id)
        )
    ]
    account = await db.scalar(select(Person.id).where(Person.phone == phone, Person.active)) is not None
    return {"gone": gone, "kept_orders": kept, "kept_account": account}


def _forgotten(which: ColumnElement[bool]) -> Update:
    """Orders past their time lose who bought them."""
    return (
        update(Order)
        .where(which, Order.placed_at < clock.now() - KEPT_FOR)
        .values(buyer_name=GONE, buyer_phone=GONE, street=GONE, note=GONE, visitor=GONE)
    )


async def forget_old_buyers() -> None:
    """A job: names, numbers and addresses go when an order's three years are over; its sums stay."""
    async with sessions.begin() as db:
        await db.execute(_forgotten(Order.buyer_phone != GONE))
