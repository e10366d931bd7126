"""What people do with orders."""

from __future__ import annotations

import hashlib
import hmac
from collections import Counter
from collections.abc import Mapping

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import packing, stock
from commerce.communes.models import Commune
from commerce.core import outbox, phone
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.settings import Settings
from commerce.core.text import clean
from commerce.live.models import Deal
from commerce.orders.desk import desk
from commerce.orders.errors import IdempotencyKeyNeeded, NotCancellable
from commerce.orders.models import BUYER_MAY_CANCEL, HOLDS_STOCK, ORDER_STATES, Order, OrderLine, OrderState
from commerce.orders.placing import TOPIC, Basket, payment_answer
from commerce.orders.queries import Item, Lineup, OrderView, SellerCard, order_by_key, snapshots
from commerce.orders.wire import (
    AddressRequest,
    OrderRequest,
    PurchaseAnswer,
    TrackedLine,
    TrackedOrder,
    TrackedStep,
)
from commerce.payments.books import close_payment
from commerce.payments.models import Method, PaymentState

PROVINCE = "66"
MAX_LINES = 50
MAX_QUANTITY = 9_999
LONGEST = {"name": 80, "street": 200, "commune": 80, "province": 40, "note": 300}


async def place_order(
    settings: Settings,
    session_code: str,
    order: OrderRequest,
    *,
    idempotency_key: str | None,
    visitor: str = "",
    source: str = "page",
    entered_by: int | None = None,
) -> PurchaseAnswer:
    """Order from a live session: one order for each seller in the basket, all of it or nothing.

    The same key with the same order gives the same answer, for 24 hours. Raises `NotFound`, `Invalid` with
    every field at fault, and the refusals of `orders.errors`; `Busy` when it may be tried again.
    """
    key = check_idempotency_key(idempotency_key)
    lineup = await snapshots.lineup(session_code.upper())
    communes = await snapshots.communes()
    basket = check(settings, order, lineup, communes, trusted=entered_by is not None)
    basket.idempotency_key = key
    basket.visitor, basket.source, basket.entered_by = visitor, source, entered_by
    return await desk.place(basket)


def check_idempotency_key(key: str | None) -> str:
    if key is None or not 1 <= len(key) <= 200 or not key.isascii() or not key.isprintable():
        raise IdempotencyKeyNeeded
    return key


def check(
    settings: Settings, order: OrderRequest, lineup: Lineup, communes: frozenset[str], *, trusted: bool
) -> Basket:
    """The basket the desk can place. `trusted`: typed in by a helper, who shows no total and no tick box and
    may ask for the address later.

    Raises `Invalid` with every field at fault.
    """
    faults: list[FieldError] = []
    lines = check_lines(order, lineup.items, faults)
    name = check_text(order.buyer.name, "buyer.name", N_("Xin ghi họ tên người nhận."), faults, "name")
    number = phone.normalise(order.buyer.phone) or ""
    if not number:
        message = N_("Số điện thoại chưa đúng. Ví dụ: 0901 234 567.")
        faults.append(FieldError("buyer.phone", message))
    commune, street = check_address(order.address, communes, faults, needed=not trusted)
    note = check_text(order.note, "note", "", faults, "note")
    method = check_payment(order.payment, lines, faults)
    if not trusted:
        check_agreement(order, faults)
    if faults:
        raise Invalid(*faults)
    return Basket(
        lineup=lineup,
        lines=lines,
        method=method,
        shown_total=order.shown_total,
        buyer_name=name,
        buyer_phone=number,
        province_code=clean(order.address.province),
        commune_code=commune,
        street=street,
        note=note,
        idempotency_key="",
        body_hash=body_hash(lineup.session_code, order),
        replay=order.replay,
        public_url=settings.public_url,
        demo=lineup.demo or settings.demo,
    )


def body_hash(session_code: str, order: OrderRequest) -> str:
    """The same for the same order however its JSON was spaced or its fields were ordered."""
    body = session_code.encode() + b"\n" + msgspec.json.encode(order)
    return hashlib.blake2b(body, digest_size=16).hexdigest()


def check_lines(
    order: OrderRequest, items: Mapping[str, Item], faults: list[FieldError]
) -> list[tuple[Item, int]]:
    """Items with their quantities; the same item twice becomes one line."""
    if not order.lines:
        faults.append(FieldError("lines", N_("Giỏ hàng đang trống. Xin chọn ít nhất một món.")))
    if len(order.lines) > MAX_LINES:
        faults.append(FieldError("lines", N_("Mỗi lần đặt nhiều nhất {most} món."), {"most": MAX_LINES}))
        return []
    wanted: dict[str, int] = {}
    for index, line in enumerate(order.lines):
        code = line.product.strip().upper()
        if code not in items:
            message = N_("Phiên này không có mã {code}.")
            faults.append(FieldError(f"lines[{index}].product", message, {"code": clean(code)[:20] or "?"}))
            continue
        wanted[code] = wanted.get(code, 0) + line.quantity
        if not 1 <= line.quantity <= MAX_QUANTITY or wanted[code] > MAX_QUANTITY:
            message = N_("Số lượng phải từ 1 đến 9.999.")
            faults.append(FieldError(f"lines[{index}].quantity", message))
    return [(items[code], quantity) for code, quantity in wanted.items()]


def check_text(text: str, field: str, needed: str, faults: list[FieldError], limit: str) -> str:
    """The cleaned text; `needed` is what to say when it is empty, none if it may be."""
    cleaned = " ".join(clean(text).split())
    if needed and not cleaned:
        faults.append(FieldError(field, needed))
    elif len(cleaned) > LONGEST[limit]:
        message = N_("Dài quá: nhiều nhất {most} ký tự.")
        faults.append(FieldError(field, message, {"most": LONGEST[limit]}))
    return cleaned


def check_address(
    address: AddressRequest, communes: frozenset[str], faults: list[FieldError], *, needed: bool = True
) -> tuple[str, str]:
    """Commune and street. Addresses have two levels; only our own province's communes are known here."""

    def part(text: str, name: str, missing: str) -> str:
        return check_text(text, f"address.{name}", missing if needed else "", faults, name)

    province = part(address.province, "province", N_("Xin chọn tỉnh, thành phố."))
    commune = part(address.commune, "commune", N_("Xin chọn xã, phường."))
    if province == PROVINCE and commune and commune not in communes:
        message = N_("Tỉnh Đắk Lắk không có xã, phường mang mã này. Xin chọn lại trong danh sách.")
        faults.append(FieldError("address.commune", message))
    return commune, part(address.street, "street", N_("Xin ghi thôn, buôn, đường hoặc số nhà."))


def check_payment(text: str, lines: list[tuple[Item, int]], faults: list[FieldError]) -> Method:
    sellers = [item.seller for item, _ in lines]
    if text not in set(Method):
        message = N_("Xin chọn cách trả tiền: khi nhận hàng (cod), chuyển khoản (vietqr) hoặc thẻ (card).")
        faults.append(FieldError("payment", message))
        return Method.COD
    method = Method(text)
    if method is Method.VIETQR and not all(seller.bank_bin and seller.bank_account for seller in sellers):
        message = N_("Người bán chưa nhận chuyển khoản. Xin chọn trả tiền khi nhận hàng.")
        faults.append(FieldError("payment", message))
    if method is Method.CARD and not all(seller.takes_cards for seller in sellers):
        message = N_("Người bán chưa nhận thẻ. Xin chọn cách trả tiền khác.")
        faults.append(FieldError("payment", message))
    return method


def check_agreement(order: OrderRequest, faults: list[FieldError]) -> None:
    if order.shown_total is None:
        message = N_("Thiếu tổng tiền người mua đã xem và đồng ý.")
        faults.append(FieldError("shown_total", message))
    if not order.consent:
        message = N_("Cần bạn đồng ý để người bán dùng tên, số điện thoại và địa chỉ cho việc giao hàng.")
        faults.append(FieldError("consent", message))


# ---- after it was placed


async def track_order(code: str, key: str, *, public_url: str) -> TrackedOrder:
    """What the holder of the key may see. Raises `NotFound`."""
    async with sessions.read() as db:
        return tracked(await order_by_key(db, code, key), public_url)


async def cancel_order(code: str, key: str, reason: str, *, public_url: str) -> TrackedOrder:
    """The buyer cancels before the parcel is packed. Raises `NotFound`, `NotCancellable`."""
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        if order is None or not hmac.compare_digest(order.key.encode(), key.encode()):
            raise NotFound
        if order.state not in BUYER_MAY_CANCEL:
            raise NotCancellable
        await close_order(db, order, OrderState.CANCELLED, by=None, reason=clean(reason)[:500])
    return await track_order(code, key, public_url=public_url)


def lacks_address(order: Order) -> bool:
    """A helper typed it in without one; it cannot be sent before the buyer or the office has given it."""
    return not (order.street and order.commune_code)


async def give_address(code: str, key: str, name: str, address: AddressRequest) -> None:
    """The buyer says where to send an order that lacks an address. Raises `NotFound`, `Invalid`."""
    faults: list[FieldError] = []
    who = check_text(name, "buyer.name", N_("Xin ghi họ tên người nhận."), faults, "name")
    communes = frozenset(await snapshots.communes())
    commune, street = check_address(address, communes, faults)
    if faults:
        raise Invalid(*faults)
    async with sessions.begin() as db:
        order = await lock_order(db, code)
        if order is None or not hmac.compare_digest(order.key.encode(), key.encode()):
            raise NotFound
        if not lacks_address(order) or order.state not in HOLDS_STOCK:
            raise NotFound
        order.buyer_name = who
        order.province_code, order.commune_code, order.street = clean(address.province), commune, street


async def lock_order(db: AsyncSession, code: str) -> Order | None:
    """The order, locked: the first lock of everything that happens to an order after it was placed."""
    return await db.scalar(select(Order).where(Order.code == code.upper()).with_for_update(key_share=True))


async def close_order(
    db: AsyncSession, order: Order, after: OrderState, *, by: int | None, reason: str
) -> None:
    """Cancel or expire a locked order: its goods and deals are given back, its money goes back.

    Raises `WrongState` when the order is past it.
    """
    before = OrderState(order.state)
    await ORDER_STATES.transition(
        db, order.id, before, after, by=by, reason=reason, expires_at=None, ship_on=None
    )
    held, deals = await goods_of(db, order)
    await close_payment(db, order.id, by=by, reason=reason)
    await stock.release(db, held, order_id=order.id, by=by)
    if order.ship_on is not None:
        await packing.give_back(db, held, order.ship_on)
    for deal_id, units in sorted(deals.items()):
        await db.execute(update(Deal).where(Deal.id == deal_id).values(taken=Deal.taken - units))
    await tell_of_goods(db, order, held)


async def goods_of(db: AsyncSession, order: Order) -> tuple[Counter[int], Counter[int]]:
    """Units by grade, and by deal those whose price came from one."""
    held: Counter[int] = Counter()
    deals: Counter[int] = Counter()
    for line in await db.scalars(select(OrderLine).where(OrderLine.order_id == order.id)):
        held[line.grade_id] += line.quantity
        if line.deal_id is not None:
            deals[line.deal_id] += line.quantity
    return held, deals


async def take_deals_again(db: AsyncSession, order: Order, deals: Mapping[int, int]) -> bool:
    """An expired order comes back at the prices it was promised: if its deals still have as many units, and
    its buyer has not used them up since. That a deal is over does not matter, it was ordered in time."""
    rows = select(Deal).where(Deal.id.in_(list(deals))).order_by(Deal.id).with_for_update(key_share=True)
    for deal in (await db.scalars(rows)).all():
        had = await db.scalar(
            select(func.coalesce(func.sum(OrderLine.quantity), 0))
            .join(Order, Order.id == OrderLine.order_id)
            .where(
                OrderLine.deal_id == deal.id,
                Order.buyer_phone == order.buyer_phone,
                Order.state.not_in((OrderState.CANCELLED, OrderState.EXPIRED)),
            )
        )
        most = deal.quantity if deal.per_buyer is None else deal.per_buyer
        if deal.taken + deals[deal.id] > deal.quantity or int(had or 0) + deals[deal.id] > most:
            return False
    for deal_id, units in sorted(deals.items()):
        await db.execute(update(Deal).where(Deal.id == deal_id).values(taken=Deal.taken + units))
    return True


async def tell_of_goods(db: AsyncSession, order: Order, goods: Mapping[int, int]) -> None:
    """Whoever watches the order's session learns that there is more, or less, of these grades."""
    if order.live_session_id is not None:
        news = {"live_session_id": order.live_session_id, "grade_ids": sorted(goods), "order_ids": []}
        await outbox.emit(db, TOPIC, news)


def tracked(found: OrderView, public_url: str) -> TrackedOrder:
    order, payment, seller = found.order, found.payment, found.seller
    card = SellerCard(
        seller.id,
        seller.name,
        seller.commune_code,
        seller.bank_bin,
        seller.bank_account,
        found.takes_cards,
    )
    method, state = Method(payment.method), PaymentState(payment.state)
    answer = payment_answer(method, state, card, order.code, order.key, payment.due_now, public_url)
    answer.paid, answer.refunded = payment.paid, payment.refunded
    return TrackedOrder(
        code=order.code,
        state=order.state,
        seller=found.seller.name,
        placed_at=order.placed_at,
        expires_at=order.expires_at,
        total=order.total,
        currency=order.currency,
        lines=[
            TrackedLine(
                line.item_code,
                line.product_name,
                line.grade_name,
                line.unit,
                line.unit_price,
                line.quantity,
                line.amount,
            )
            for line in found.lines
        ],
        payment=answer,
        history=[TrackedStep(step.after, step.at, step.reason) for step in found.history],
        ship_on=order.ship_on,
        cancellable=order.state in BUYER_MAY_CANCEL,
        demo=order.demo,
    )


async def commune_name(db: AsyncSession, code: str) -> str:
    """`Xã Ea Knuếc`; what was written, if it is no commune of the province."""
    return await db.scalar(select(Commune.name).where(Commune.code == code)) or code
