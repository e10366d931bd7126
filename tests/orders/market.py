"""A small market for tests: plain functions that write the rows a story needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy import select, text

from commerce.catalog import stock
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.roles import Role
from commerce.live.models import Deal, LineupItem
from commerce.orders.wire import OrderRequest
from tests import factories

COMMUNE = factories.EA_KNUEC
PRICE = 185_000


@dataclass
class Goods:
    """One thing on sale: its line-up code and the ids behind it."""

    code: str
    grade_id: int
    product_id: int
    seller_id: int
    item_id: int


@dataclass
class Market:
    session_id: int
    session_code: str
    goods: dict[str, Goods]


async def add_deal(
    item_id: int,
    session_id: int,
    *,
    price: int,
    quantity: int,
    per_buyer: int | None = None,
    seconds: float = 600,
) -> int:
    async with sessions.begin() as db:
        deal = Deal(
            live_session_id=session_id,
            item_id=item_id,
            price=price,
            quantity=quantity,
            per_buyer=per_buyer,
            ends_at=clock.now() + timedelta(seconds=seconds),
        )
        db.add(deal)
        await db.flush()
        return deal.id


async def open_market(**on_hand: int) -> Market:
    """A live session EAKNUEC. `A1=100, B1=5`: letters are sellers, each code 185.000 đ a kilogram."""
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        sellers: dict[str, int] = {}
        found: dict[str, tuple[int, int, int]] = {}
        for code, quantity in (on_hand or {"A1": 100}).items():
            if code[0] not in sellers:
                sellers[code[0]] = await factories.seller(db)
            seller = sellers[code[0]]
            product, grades = await factories.product(db, seller, grades={"A": (PRICE, 0)})
            if quantity:
                await stock.receive(db, grades["A"], quantity)
            found[code] = (grades["A"], product, seller)
        items = {code: grade for code, (grade, _, _) in found.items()}
        session = await factories.live_session(db, host, items, code="EAKNUEC")
        rows = await db.execute(select(LineupItem.code, LineupItem.id))
        goods = {code: Goods(code, *found[code], item_id) for code, item_id in rows}
    return Market(session, "EAKNUEC", goods)


def order_body(total: int | None = None, payment: str = "cod", **lines: int) -> dict[str, Any]:
    """The JSON of an order; `A1=2` are its lines, 185.000 đ each unless `total` says otherwise."""
    lines = lines or {"A1": 1}
    return {
        "lines": [{"product": code, "quantity": quantity} for code, quantity in lines.items()],
        "buyer": {"name": "Nguyễn Thị Hoa", "phone": "0901234567"},
        "address": {"province": "66", "commune": COMMUNE, "street": "thôn 1"},
        "payment": payment,
        "shown_total": sum(lines.values()) * PRICE if total is None else total,
        "consent": True,
    }


def order_request(total: int | None = None, payment: str = "cod", **lines: int) -> OrderRequest:
    return msgspec.convert(order_body(total, payment, **lines), OrderRequest)


async def one(sql: str, **values: Any) -> Any:
    """The single value a query finds."""
    async with sessions.read() as db:
        return (await db.execute(text(sql), values)).scalar()


async def change(sql: str, **values: Any) -> None:
    async with sessions.begin() as db:
        await db.execute(text(sql), values)


async def ledger_is_right() -> bool:
    async with sessions.read() as db:
        return not await stock.rebuild_check(db)
