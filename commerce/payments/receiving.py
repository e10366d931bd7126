"""Money that came in: counted once, against the right order, with a defined outcome for every case.

    the order waits for it     counted; less than asked leaves the order waiting, more is a refund wanted
    it was paid already        the second payment is a refund wanted; a notice of money that a person had
                               already ticked off by hand proves that tick and counts nothing
    the order expired          goods still there: taken again and paid; else a refund wanted
    the order was cancelled    a refund wanted
    no such order or account   on the list of unmatched money, where a person decides

Everything runs with the order's row locked, so two notices, an expiry and a cancellation of one order come
one after another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import packing, stock
from commerce.catalog.models import Seller
from commerce.core.db import sessions
from commerce.core.errors import NotFound
from commerce.core.roles import Identity, Role
from commerce.orders.models import ORDER_STATES, Order, OrderState
from commerce.orders.service import goods_of, lock_order, take_deals_again, tell_of_goods
from commerce.payments.books import payment_of, want_refund
from commerce.payments.errors import NothingDue
from commerce.payments.models import PAYMENT_STATES, Outcome, Payment, PaymentState, Receipt

CODE = re.compile(r"DL\d{5}[A-HJKMNP-Z2-9]{6}")
WAITING = (PaymentState.DUE, PaymentState.PARTIAL)
BY_HAND, CARD = "hand", "stripe"
"""Sources of receipts: a person's tick, the card company."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Money on its way into the books: who told us (`source`), under which id of theirs, what of it."""

    source: str
    external_id: str
    amount: int
    memo: str = ""
    account: str = ""
    by: int | None = None
    note: str = ""


def codes_in(memo: str) -> list[str]:
    """Order codes in a transfer's text, which banks garnish with their own and break with blanks."""
    letters = re.sub(r"[^A-Z0-9]", "", memo.upper())
    return list(dict.fromkeys(CODE.findall(memo.upper()) + CODE.findall(letters)))


async def bank_credit(db: AsyncSession, credit: Credit, seller_id: int) -> Receipt | None:
    """A transfer to a seller's account. None if this credit is in the books already."""
    order = None
    for code in codes_in(credit.memo):
        found = await lock_order(db, code)
        if found is not None and found.seller_id == seller_id:
            order = found
            break
    receipt = await _enter(db, credit, seller_id)
    if receipt is not None and order is not None:
        await _count(db, receipt, order)
    return receipt


async def card_credit(db: AsyncSession, credit: Credit, order: Order) -> Receipt | None:
    """A card payment for a locked order. None if it is in the books already."""
    receipt = await _enter(db, credit, order.seller_id)
    if receipt is not None:
        await _count(db, receipt, order)
    return receipt


async def receive_by_hand(identity: Identity, code: str, note: str = "") -> None:
    """ "Đã nhận tiền": the seller, or the office for them, saw what was due arrive. Who and when is kept.

    Raises `NotFound`, `Forbidden`, `NothingDue` (so a second tap does nothing).
    """
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        if order is None:
            raise NotFound
        await must_handle_money(db, identity, order.seller_id)
        payment = await payment_of(db, order.id)
        if payment.state not in WAITING:
            raise NothingDue
        credit = Credit(
            BY_HAND,
            f"{payment.id}-{payment.paid}",
            payment.due_now or payment.left,
            memo=order.code,
            by=identity.person_id,
            note=note,
        )
        receipt = await _enter(db, credit, order.seller_id)
        if receipt is None:
            raise NothingDue
        await _count(db, receipt, order)


async def settle_unmatched(
    identity: Identity, receipt_id: int, *, code: str = "", note: str = "", returned: bool = False
) -> None:
    """A person decides about money that matched nothing: it was for the order `code`, it was sent back
    (`note`: the bank's number), or `note` says why neither.

    Raises `NotFound`, `Forbidden`, `NothingDue` when somebody has decided already.
    """
    async with sessions.begin() as db:
        order = await lock_order(db, code) if code else None
        if code and order is None:
            raise NotFound
        receipt = await db.get(Receipt, receipt_id, with_for_update=True)
        if receipt is None or receipt.seller_id is None:
            raise NotFound
        await must_handle_money(db, identity, receipt.seller_id)
        if order is not None and order.seller_id != receipt.seller_id:
            raise NotFound
        if receipt.outcome != Outcome.UNMATCHED:
            raise NothingDue
        receipt.by, receipt.note = identity.person_id, note
        if order is None:
            receipt.outcome = Outcome.RETURNED if returned else Outcome.SETTLED
        else:
            await _count(db, receipt, order)


async def must_handle_money(db: AsyncSession, identity: Identity, seller_id: int) -> None:
    """The seller's own person, or the office of the seller's commune. Raises `Forbidden`."""
    seller = await db.get_one(Seller, seller_id)
    if seller.person_id != identity.person_id:
        identity.must(seller.commune_code, Role.OFFICER)


async def _enter(db: AsyncSession, credit: Credit, seller_id: int) -> Receipt | None:
    """Into the books as unmatched, once by (source, external id); None if it was there."""
    found = await db.scalar(
        insert(Receipt)
        .values(
            source=credit.source,
            external_id=credit.external_id,
            seller_id=seller_id,
            amount=credit.amount,
            account=credit.account,
            memo=credit.memo,
            outcome=Outcome.UNMATCHED,
            by=credit.by,
            note=credit.note,
        )
        .on_conflict_do_nothing()
        .returning(Receipt.id)
    )
    return None if found is None else await db.get_one(Receipt, found)


async def _count(db: AsyncSession, receipt: Receipt, order: Order) -> None:
    """Decide what the money is for a locked order."""
    payment = await payment_of(db, order.id)
    receipt.payment_id = payment.id
    if order.state == OrderState.EXPIRED and await _take_again(db, order, payment, receipt.amount):
        await db.refresh(payment)
    if payment.state in WAITING:
        await _pay(db, receipt, order, payment)
    elif earlier := await _same_money(db, receipt, payment):
        receipt.outcome, receipt.confirms = Outcome.MATCHED, earlier.id
    else:
        late = payment.state == PaymentState.CANCELLED
        receipt.outcome = Outcome.LATE if late else Outcome.EXCESS
        reason = "late" if late else "paid twice"
        await want_refund(
            db, payment, receipt.amount, by=receipt.by, reason=reason, of_excess=True, receipt_id=receipt.id
        )
    await db.flush()


async def _pay(db: AsyncSession, receipt: Receipt, order: Order, payment: Payment) -> None:
    counted = min(receipt.amount, payment.amount - payment.paid)
    excess = receipt.amount - counted
    before = PaymentState(payment.state)
    paid = payment.paid + counted
    after = PaymentState.PAID if paid == payment.amount else PaymentState.PARTIAL
    receipt.counted = counted
    if after is before:  # another part, and still not all
        payment.paid = paid
    else:
        reason = f"{receipt.source} {receipt.external_id}"
        await PAYMENT_STATES.transition(
            db, payment.id, before, after, by=receipt.by, reason=reason, paid=paid
        )
    if paid >= payment.advance:
        order.expires_at = None  # the goods wait for nothing any more
        receipt.outcome = Outcome.EXCESS if excess else Outcome.MATCHED
    else:
        receipt.outcome = Outcome.PARTIAL
    if excess:
        await want_refund(
            db,
            payment,
            excess,
            by=receipt.by,
            reason="more than asked",
            of_excess=True,
            receipt_id=receipt.id,
        )


async def _same_money(db: AsyncSession, receipt: Receipt, payment: Payment) -> Receipt | None:
    """A tick by hand for this amount that no notice has proved yet."""
    if receipt.source == BY_HAND:
        return None
    proved = select(Receipt.confirms).where(Receipt.confirms.is_not(None))
    found: Receipt | None = await db.scalar(
        select(Receipt)
        .where(
            Receipt.payment_id == payment.id,
            Receipt.source == BY_HAND,
            Receipt.amount == receipt.amount,
            Receipt.id.not_in(proved),
        )
        .order_by(Receipt.id)
        .limit(1)
    )
    return found


async def _take_again(db: AsyncSession, order: Order, payment: Payment, amount: int) -> bool:
    """Late money for an expired order: all it waited for, and goods still there (at the price of a deal: also
    of that deal), bring it back to life."""
    if payment.state != PaymentState.CANCELLED or payment.paid or amount < payment.advance:
        return False
    wanted, deals = await goods_of(db, order)
    if stock.shortages(await stock.lock(db, wanted), wanted):
        return False
    fits, day = await packing.book_again(db, wanted)
    if not fits:
        return False
    if not await take_deals_again(db, order, deals):
        if day is not None:
            await packing.give_back(db, wanted, day)
        return False
    await stock.reserve(db, wanted, order_id=order.id)
    reason = "money came late"
    await ORDER_STATES.transition(
        db, order.id, OrderState.EXPIRED, OrderState.PLACED, reason=reason, ship_on=day
    )
    await PAYMENT_STATES.transition(db, payment.id, PaymentState.CANCELLED, PaymentState.DUE, reason=reason)
    await tell_of_goods(db, order, wanted)
    return True
