"""From the stall to the buyer's door: confirm, send, deliver, refuse, come back; or cancel.

Each act locks the order first, as everything that happens to an order does. A seller acts for their own
orders; the office of the commune may act for any of its sellers (assisted mode), and history says who did.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import stock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.text import clean
from commerce.fulfilment.errors import AddressMissing, AlreadyReturned, NotPaidYet
from commerce.fulfilment.models import SHIPMENT_STATES, Shipment, ShipmentHistory, ShipmentState
from commerce.orders.models import HOLDS_STOCK, ORDER_STATES, Order, OrderState
from commerce.orders.queries import snapshots
from commerce.orders.service import check_address, close_order, goods_of, lacks_address, lock_order
from commerce.orders.wire import AddressRequest
from commerce.payments.books import close_payment, payment_of
from commerce.payments.models import PaymentState
from commerce.payments.receiving import Credit, card_credit, must_handle_money
from commerce.settlement import taxes

CARRIER = "carrier"


@asynccontextmanager
async def acting(identity: Identity, code: str) -> AsyncIterator[tuple[AsyncSession, Order]]:
    """A transaction with the order locked, for somebody who may act for its seller.

    Raises `NotFound`, `Forbidden`.
    """
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        if order is None:
            raise NotFound
        await must_handle_money(db, identity, order.seller_id)
        yield db, order


async def confirm(identity: Identity, code: str) -> None:
    """The seller has spoken to the buyer. Raises `WrongState`."""
    async with acting(identity, code) as (db, order):
        await _move(db, order, OrderState.CONFIRMED, identity)


async def send(identity: Identity, code: str, *, carrier: str = "", tracking: str = "") -> None:
    """The parcel leaves: its goods leave the stock. Raises `WrongState`, `NotPaidYet`, `AddressMissing`."""
    async with acting(identity, code) as (db, order):
        if lacks_address(order):
            raise AddressMissing
        payment = await payment_of(db, order.id)
        if payment.paid < payment.advance:
            raise NotPaidYet
        await _move(db, order, OrderState.SHIPPED, identity)
        await stock.ship(db, (await goods_of(db, order))[0], order_id=order.id, by=identity.person_id)
        shipment = Shipment(
            order_id=order.id,
            state=ShipmentState.SENT,
            carrier=clean(carrier)[:80],
            tracking=clean(tracking)[:80],
        )
        db.add(shipment)
        await db.flush()
        db.add(
            ShipmentHistory(
                subject_id=shipment.id, before="", after=ShipmentState.SENT.value, by=identity.person_id
            )
        )


async def add_address(identity: Identity, code: str, address: AddressRequest) -> None:
    """Where to send an order that has no address yet, as the buyer said by phone.

    Raises `Invalid`, and `NotFound` for an order that has one.
    """
    faults: list[FieldError] = []
    commune, street = check_address(address, await snapshots.communes(), faults)
    if faults:
        raise Invalid(*faults)
    async with acting(identity, code) as (_, order):
        if not lacks_address(order) or order.state not in HOLDS_STOCK:
            raise NotFound
        order.province_code, order.commune_code, order.street = clean(address.province), commune, street


async def delivered(identity: Identity, code: str) -> None:
    """The buyer has it; cash that was due is with the carrier for the seller. Raises `WrongState`."""
    async with acting(identity, code) as (db, order):
        await _move(db, order, OrderState.DELIVERED, identity)
        await _carried(db, order, ShipmentState.SENT, ShipmentState.DELIVERED, identity)
        payment = await payment_of(db, order.id)
        if payment.state in (PaymentState.DUE, PaymentState.PARTIAL):
            due = payment.amount - payment.paid
            credit = Credit(CARRIER, f"order {order.id}", due, memo=order.code, by=identity.person_id)
            await card_credit(db, credit, order)
        await taxes.adjust(db, order.id)


async def refused(identity: Identity, code: str, reason: str) -> None:
    """The buyer did not take it: nothing is owed any more, what was paid goes back. Raises `WrongState`."""
    async with acting(identity, code) as (db, order):
        text = clean(reason)[:500]
        await _move(db, order, OrderState.REFUSED, identity, text)
        await _carried(db, order, ShipmentState.SENT, ShipmentState.REFUSED, identity, text)
        await close_payment(db, order.id, by=identity.person_id, reason="refused")


async def returned(identity: Identity, code: str, *, sellable: bool) -> None:
    """A refused parcel is back; `sellable`: its goods can be sold again. Raises `AlreadyReturned`."""
    async with acting(identity, code) as (db, order):
        shipment = await db.scalar(select(Shipment).where(Shipment.order_id == order.id).with_for_update())
        if shipment is None or shipment.state != ShipmentState.REFUSED:
            raise AlreadyReturned
        await _carried(db, order, ShipmentState.REFUSED, ShipmentState.RETURNED, identity)
        if sellable:
            await stock.take_back(
                db, (await goods_of(db, order))[0], order_id=order.id, by=identity.person_id
            )


async def cancel(identity: Identity, code: str, reason: str) -> None:
    """The seller cannot fulfil it; the buyer is told why. Raises `Invalid`, `WrongState`."""
    text = clean(reason)[:500]
    if not text:
        raise Invalid(FieldError("reason", N_("Xin ghi lý do huỷ để người mua biết.")))
    async with acting(identity, code) as (db, order):
        await close_order(db, order, OrderState.CANCELLED, by=identity.person_id, reason=text)


async def _move(
    db: AsyncSession, order: Order, after: OrderState, identity: Identity, reason: str = ""
) -> None:
    before = OrderState(order.state)
    await ORDER_STATES.transition(db, order.id, before, after, by=identity.person_id, reason=reason)


async def _carried(
    db: AsyncSession,
    order: Order,
    before: ShipmentState,
    after: ShipmentState,
    identity: Identity,
    reason: str = "",
) -> None:
    shipment = (await db.scalars(select(Shipment).where(Shipment.order_id == order.id))).one()
    await SHIPMENT_STATES.transition(db, shipment.id, before, after, by=identity.person_id, reason=reason)
