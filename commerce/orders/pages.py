"""Ordering without scripts, and the page of an order for the buyer who holds its key."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.communes import provinces
from commerce.communes.queries import search_communes
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError
from commerce.core.i18n import current_language, translate
from commerce.core.settings import Settings
from commerce.core.text import fold
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live.pages import session_response
from commerce.live.queries import Line
from commerce.live.rooms import Room, rooms
from commerce.live.visitors import source_of
from commerce.orders import service, shipping, words
from commerce.orders.errors import TotalChanged
from commerce.orders.placing import deposit
from commerce.orders.queries import Lineup, snapshots
from commerce.orders.wire import AddressRequest, BuyerRequest, LineRequest, OrderRequest
from commerce.payments.models import Method, PaymentState

FIELDS = {
    "buyer.name": "name",
    "buyer.phone": "phone",
    "address.province": "province",
    "address.commune": "commune",
    "address.street": "street",
}
OWED = (PaymentState.DUE, PaymentState.PARTIAL)
KeyQuery = Annotated[str, QueryParameter()]


# ---- ordering by form


@post("/live/{code:str}/orders", opt=access.public, status_code=200)
async def order_form(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[dict[str, str]],
    settings: NamedDependency[Settings],
    visitor: NamedDependency[str],
) -> Response[Any]:
    """The first sending shows the order once more (market/confirm.html), the second places it."""
    room = await rooms.get(request.app.state.bus, code)
    order = await read_form(data)
    try:
        if order.shown_total is None:
            return await confirm(request, settings, room, order, data)
        answer = await service.place_order(
            settings,
            code,
            order,
            idempotency_key=data.get("order_key"),
            visitor=visitor,
            source=source_of(request, settings),
        )
    except TotalChanged as error:
        return await confirm(request, settings, room, order, data, prices=dict(error.prices))
    except MarketError as error:
        return await session_response(
            request, settings, room, visitor, status=error.status, **faults(error, order, data)
        )
    first = answer.orders[0]
    query = urlencode({"key": first.key, "fresh": "1"})
    return redirect(f"/orders/{first.code}?{query}")


async def read_form(data: dict[str, str]) -> OrderRequest:
    """The form as an order; a commune may be named instead of coded, tone marks or not."""
    lines = [
        LineRequest(name.removeprefix("quantity-"), number(value, -1))
        for name, value in data.items()
        if name.startswith("quantity-") and value.strip() not in ("", "0")
    ]
    province = data.get("province", "")
    shown = data.get("shown_total", "")
    return OrderRequest(
        lines=lines,
        buyer=BuyerRequest(data.get("name", ""), data.get("phone", "")),
        address=AddressRequest(
            province, await commune_code(province, data.get("commune", "")), data.get("street", "")
        ),
        payment=data.get("payment", Method.COD.value),
        shown_total=number(shown, 0) if shown else None,
        consent=data.get("consent") == "1",
        note=data.get("note", ""),
        replay=data.get("replay") == "1",
    )


def number(text: str, otherwise: int) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 15 else otherwise


async def commune_code(province: str, text: str) -> str:
    """The code of what was typed, if it names one commune of our province; else the text as it is."""
    if province != provinces.OURS or text.strip() in await snapshots.communes() or not text.strip():
        return text.strip()
    async with sessions.read() as db:
        found = await search_communes(db, text, limit=10)
    exact = [one for one in found if fold(text) in (one.folded, fold(one.name))]
    matching = exact or found
    return matching[0].code if len(matching) == 1 else text


async def confirm(
    request: AnyRequest,
    settings: Settings,
    room: Room,
    order: OrderRequest,
    data: dict[str, str],
    *,
    prices: dict[str, int] | None = None,
) -> Response[str]:
    """What, from whom, how much. Raises `Invalid` as ordering does. `prices`: what has changed."""
    lineup = await snapshots.lineup(room.session.code)
    order.shown_total = 0  # it is what this page shows; everything else is checked as when ordering
    basket = service.check(settings, order, lineup, await snapshots.communes(), trusted=False)
    ships = await shipping.days_of(basket.lines)
    lines = {line.code: line for line in room.lines}
    sellers: dict[int, dict[str, Any]] = {}
    total = 0
    for wanted in order.lines:
        line = lines[wanted.product.strip().upper()]
        price = (prices or {}).get(line.code, line.price_now)
        total += price * wanted.quantity
        facts = room.sellers[line.seller_id]
        seller = sellers.setdefault(
            facts.id,
            {
                "name": facts.name,
                "address": facts.address,
                "phone": facts.phone,
                "registration": facts.registration,
                "ship_on": ships.get(facts.id),
                "lines": [],
                "total": 0,
            },
        )
        seller["lines"].append(bill_line(line, price, wanted.quantity))
        seller["total"] += price * wanted.quantity
    return page(
        request,
        "market/confirm.html",
        session={
            "code": room.session.code,
            "title": room.session.title,
            "commune": room.session.commune.name,
        },
        sellers=list(sellers.values()),
        total=total,
        buyer={
            "name": order.buyer.name,
            "phone": order.buyer.phone,
            "street": order.address.street,
            "commune_name": await commune_name(order.address.province, order.address.commune),
            "province_name": provinces.NAMES.get(order.address.province, order.address.province),
        },
        advance=advance_asked(order, lineup, sellers),
        payment_label=translate(words.METHOD[Method(order.payment)]),
        fields=[(name, value) for name, value in data.items() if name not in ("order_key", "shown_total")],
        order_key=data.get("order_key", ""),
        changed=prices is not None,
    )


def advance_asked(order: OrderRequest, lineup: Lineup, bills: dict[int, dict[str, Any]]) -> int:
    """What the sellers ask for in advance of an order paid on delivery, as the desk will reckon it."""
    if order.payment != Method.COD:
        return 0
    fresh: Counter[int] = Counter()
    cards = {}
    for wanted in order.lines:
        item = lineup.items[wanted.product.strip().upper()]
        cards[item.seller.id] = item.seller
        bill = next(one for one in bills[item.seller.id]["lines"] if one["code"] == item.code)
        fresh[item.seller.id] += bill["unit_price"] * wanted.quantity if item.fresh else 0
    return sum(deposit(card, fresh[number], bills[number]["total"]) for number, card in cards.items())


def bill_line(line: Line, price: int, quantity: int) -> dict[str, Any]:
    return {
        "code": line.code,
        "name": line.product,
        "grade": line.grade,
        "quantity": quantity,
        "unit": line.unit,
        "unit_price": price,
        "amount": price * quantity,
    }


async def commune_name(province: str, code: str) -> str:
    if province != provinces.OURS:
        return code
    async with sessions.read() as db:
        return await service.commune_name(db, code)


def faults(error: MarketError, order: OrderRequest, data: dict[str, str]) -> dict[str, Any]:
    """What the session page needs to show the form again with what is wrong with it."""
    language = current_language.get()
    errors = {}
    if isinstance(error, Invalid):
        errors = {FIELDS.get(one.field, one.field): one.text(language) for one in error.errors}
    quantity = {line.product: max(0, line.quantity) for line in order.lines}
    return {
        "form": data | {"quantity": quantity},
        "errors": errors,
        "problem": {
            "status": error.status,
            "code": error.code,
            "title": error.title_text(language),
            "detail": error.detail_text(language),
            **error.extra(language),
        },
    }


ROUTES = [order_form]
