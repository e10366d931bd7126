"""When an order would leave, said before it is placed. A promise is made only by the desk, with its locks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from litestar import post
from litestar.params import FromPath, JSONBody
from msgspec import Struct, field

from commerce.catalog import packing
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.html import day
from commerce.core.i18n import N_, translate
from commerce.core.web import access
from commerce.orders.errors import NoShippingDay
from commerce.orders.placing import shipping_days
from commerce.orders.queries import Item, snapshots
from commerce.orders.service import check_lines
from commerce.orders.wire import LineRequest, OrderRequest


async def days_of(lines: Sequence[tuple[Item, int]]) -> dict[int, date]:
    """By seller, of goods that have a shipping day, as it stands now. Raises `NoShippingDay`."""
    plans = {item.product_id: item.plan for item, _ in lines if item.plan}
    if not plans:
        return {}
    async with sessions.read() as db:
        calendar = await packing.read(db, plans, clock.now())
    found = shipping_days(lines, calendar)
    if isinstance(found, NoShippingDay):
        raise found
    return found


class Asked(Struct):
    lines: list[LineRequest] = field(default_factory=list)


class ShippingDay(Struct):
    seller: str
    ship_on: date | None


class ShippingDays(Struct):
    orders: list[ShippingDay]
    text: str
    """For people; empty when nothing is to be said."""


@post("/live-sessions/{code:str}/shipping-days", opt=access.public, status_code=200)
async def ask(code: FromPath[str], data: JSONBody[Asked]) -> ShippingDays:
    """When each seller's part of a basket would leave. 409 `no_shipping_day` when no day takes it."""
    lineup = await snapshots.lineup(code.upper())
    faults: list[FieldError] = []
    lines = check_lines(OrderRequest(lines=data.lines), lineup.items, faults)
    if faults:
        raise Invalid(*faults)
    found = await days_of(lines)
    sellers = {item.seller.id: item.seller.name for item, _ in lines}
    said = [
        translate(N_("{seller} gửi hàng ngày {day}.")).format(seller=sellers[seller], day=day(on))
        for seller, on in sorted(found.items(), key=lambda one: one[1])
    ]
    return ShippingDays(
        [ShippingDay(name, found.get(seller)) for seller, name in sellers.items()], " ".join(said)
    )


ROUTES = [ask]
