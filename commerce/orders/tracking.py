"""The order's page for the buyer who holds its key: what happens to it now, how to pay, what went back.

The part that changes (market/order_now.html) is fetched again by the page itself while it is looked at; it
carries a mark of what it shows, and a page that shows the same is answered 204.
"""

from __future__ import annotations

import hashlib
import io
from typing import Annotated, Any
from urllib.parse import urlencode

import segno
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody
from markupsafe import Markup

from commerce.communes import provinces
from commerce.communes.queries import all_communes
from commerce.complaints import queries as complaints
from commerce.core.db import sessions
from commerce.core.errors import Invalid, NotFound
from commerce.core.i18n import current_language, translate
from commerce.core.settings import Settings
from commerce.core.text import mask_phone
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.orders import service, words
from commerce.orders.models import BUYER_MAY_CANCEL, OrderState
from commerce.orders.pages import FIELDS, commune_code
from commerce.orders.queries import OrderView, Siblings, again, order_by_key, siblings
from commerce.orders.wire import AddressRequest
from commerce.payments import vietqr
from commerce.payments.models import Method, PaymentState, RefundState

AWAITING = (OrderState.PLACED, OrderState.CONFIRMED)
KeyQuery = Annotated[str, QueryParameter()]
Form = dict[str, str]


def order_address(code: str, key: str) -> str:
    return f"/orders/{code}?{urlencode({'key': key})}"


@get("/orders/{code:str}", opt=access.public)
async def order_page(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    key: KeyQuery = "",
    fresh: KeyQuery = "",
    paid: KeyQuery = "",
) -> Response[str]:
    """The order, for whoever holds its key; anybody else finds nothing. `paid`: back from the card page."""
    return await _page(request, settings, code, key, fresh=fresh == "1", back_from_card=paid == "card")


@get("/orders/{code:str}/now", opt=access.public, include_in_schema=False)
async def order_now(
    request: AnyRequest,
    code: FromPath[str],
    settings: NamedDependency[Settings],
    key: KeyQuery = "",
    seen: KeyQuery = "",
    paid: KeyQuery = "",
) -> Response[Any]:
    """The part that changes, or 204 when the page shows it already."""
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        around = await siblings(db, found.order)
    if seen == version(found):
        return Response(None, status_code=204, headers={"Cache-Control": "no-store"})
    context = now_context(found, around.bank, settings, back_from_card=paid == "card")
    return page(request, "market/order_now.html", **context)


@get("/orders/{code:str}/qr.png", opt=access.public, include_in_schema=False)
async def qr_picture(code: FromPath[str], key: KeyQuery = "") -> Response[bytes]:
    """The transfer's code as a picture: a phone cannot scan its own screen, banking apps open pictures.

    Raises `NotFound` when nothing is to be transferred.
    """
    async with sessions.read() as db:
        text = transfer_code(await order_by_key(db, code, key))
    if text is None:
        raise NotFound
    drawn = io.BytesIO()
    segno.make_qr(text, error="m").save(drawn, kind="png", scale=12, border=4)
    headers = {
        "Cache-Control": "no-store",
        "Content-Disposition": f'attachment; filename="{code.upper()}.png"',
    }
    return Response(drawn.getvalue(), media_type="image/png", headers=headers)


@post("/orders/{code:str}/cancel", opt=access.public, status_code=303)
async def cancel_form(
    code: FromPath[str], data: URLEncodedBody[Form], settings: NamedDependency[Settings]
) -> Response[str]:
    key = data.get("key", "")
    reason = data.get("other", "").strip() or data.get("reason", "")
    await service.cancel_order(code, key, reason, public_url=settings.public_url)
    return redirect(order_address(code.upper(), key))


@post("/orders/{code:str}/address", opt=access.public, status_code=303, include_in_schema=False)
async def address_form(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Form],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Where to send an order that a helper typed in without an address."""
    key, province = data.get("key", ""), data.get("province", "")
    commune = await commune_code(province, data.get("commune", ""))
    address = AddressRequest(province, commune, data.get("street", ""))
    try:
        await service.give_address(code, key, data.get("name", ""), address)
    except Invalid as error:
        language = current_language.get()
        errors = {FIELDS.get(one.field, one.field): one.text(language) for one in error.errors}
        return await _page(request, settings, code, key, status=error.status, errors=errors, form=data)
    return redirect(order_address(code.upper(), key))


# ---- what the page shows


async def _page(
    request: AnyRequest,
    settings: Settings,
    code: str,
    key: str,
    *,
    status: int = 200,
    fresh: bool = False,
    back_from_card: bool = False,
    errors: Form | None = None,
    form: Form | None = None,
) -> Response[str]:
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        around = await siblings(db, found.order)
        once_more = await again(db, found.lines)
        commune = found.order.commune_code
        if found.order.province_code == provinces.OURS:
            commune = await service.commune_name(db, commune)
        missing = service.lacks_address(found.order)
        communes = [one.name for one in await all_communes(db)] if missing else []
        after = {"ship_on": found.order.ship_on, "complaints": await complaints.of_order(db, found.order.id)}
    return page(
        request,
        "market/order.html",
        status=status,
        **order_context(found, around, commune),
        again=once_more,
        **now_context(found, around.bank, settings, back_from_card=back_from_card),
        fresh=fresh,
        after=after,
        asked={"missing": missing, "errors": errors or {}, "form": form or {}, "communes": communes},
        provinces=provinces.choices() if missing else [],
        reasons=[translate(one) for one in words.CANCEL_REASONS],
    )


def order_context(found: OrderView, around: Siblings, commune: str) -> dict[str, Any]:
    """What does not change while one looks."""
    order, seller = found.order, found.seller
    place = [order.street, commune, provinces.NAMES.get(order.province_code, order.province_code)]
    return {
        "lines": [
            {
                "code": line.item_code,
                "name": line.product_name,
                "grade": line.grade_name,
                "quantity": line.quantity,
                "unit": line.unit,
                "unit_price": line.unit_price,
                "amount": line.amount,
            }
            for line in found.lines
        ],
        "seller": {
            "name": seller.name,
            "phone": seller.phone,
            "address": seller.address,
            "registration": seller.registration,
        },
        "buyer": {
            "name": order.buyer_name,
            "phone_masked": mask_phone(order.buyer_phone),
            "address": ", ".join(part for part in place if part),
        },
        "session": around.session,
        "others": [
            {"code": code, "url": order_address(code, key), "seller": name}
            for code, key, name in around.orders
        ],
    }


def now_context(
    found: OrderView, bank: str | None, settings: Settings, *, back_from_card: bool = False
) -> dict[str, Any]:
    """What the part that changes shows."""
    order = found.order
    return {
        "order": {
            "code": order.code,
            "key": order.key,
            "state": order.state,
            "placed_at": order.placed_at,
            "total": order.total,
            "note": order.note,
            "cancellable": order.state in BUYER_MAY_CANCEL,
            "payment": payment_context(found, bank, settings),
        },
        "steps": steps(found),
        "refunds": [
            {
                "amount": one.amount,
                "label": translate(words.REFUND[RefundState(one.state)]),
                "done": one.state == RefundState.DONE,
                "reference": one.reference if one.state == RefundState.DONE else "",
            }
            for one in found.refunds
        ],
        "version": version(found),
        "waiting_for_card": back_from_card and found.payment.due_now > 0 and order.state in AWAITING,
    }


def version(found: OrderView) -> str:
    """A mark of everything that the part that changes tells."""
    payment = found.payment
    told = [found.order.state, payment.state, payment.paid, payment.refunded, found.order.street]
    told += [(refund.id, refund.state) for refund in found.refunds]
    return hashlib.blake2b(repr(told).encode(), digest_size=6).hexdigest()


def transfer_code(found: OrderView) -> str | None:
    """What the QR code says while a transfer is awaited: the whole sum, what is left of it, or a deposit."""
    order, seller, payment = found.order, found.seller, found.payment
    if payment.method == Method.CARD or not payment.due_now or order.state not in AWAITING:
        return None
    if not (seller.bank_bin and seller.bank_account):
        return None
    return vietqr.payload(seller.bank_bin, seller.bank_account, payment.due_now, order.code)


def payment_context(found: OrderView, bank: str | None, settings: Settings) -> dict[str, Any]:
    order, seller, payment = found.order, found.seller, found.payment
    state = PaymentState(payment.state)
    code = transfer_code(found)
    awaited = payment.due_now if order.state in AWAITING else 0
    card = awaited and payment.method != Method.VIETQR and found.takes_cards
    back = order_address(order.code, order.key)
    stand_in = {
        "account": seller.bank_account or "",
        "amount": payment.due_now,
        "memo": order.code,
        "back": settings.public_url + back,
    }
    return {
        "method": payment.method,
        "label": translate(words.METHOD[Method(payment.method)]),
        "state": state.value,
        "state_label": translate(words.PAYMENT[state]),
        # Our own drawing, no text of others in it.
        "qr_svg": Markup(vietqr.svg(code)) if code else None,  # noqa: S704
        "qr_picture": f"/orders/{order.code}/qr.png?{urlencode({'key': order.key})}",
        "due_now": awaited,
        "paid": payment.paid,
        "refunded": payment.refunded,
        "left": payment.left if state in (PaymentState.DUE, PaymentState.PARTIAL) else 0,
        "deposit": 0 < payment.advance < payment.amount,
        "on_delivery": payment.amount - max(payment.advance, payment.paid),
        "memo": order.code,
        "bank": bank,
        "account": seller.bank_account,
        "holder": seller.bank_holder,
        "expires_at": order.expires_at,
        "checkout_url": f"/orders/{order.code}/pay?{urlencode({'key': order.key})}" if card else None,
        "stand_in": f"{settings.extra['STAND_IN']}/bank?{urlencode(stand_in)}"
        if code and order.demo and settings.extra.get("STAND_IN")
        else None,
    }


WAY = (OrderState.PLACED, OrderState.CONFIRMED, OrderState.PACKED, OrderState.SHIPPED, OrderState.DELIVERED)


def steps(found: OrderView) -> list[dict[str, Any]]:
    """What happened, what is now, and, while it goes well, what is to come."""
    state = OrderState(found.order.state)
    done = [
        {
            "title": translate(words.STATE[OrderState(step.after)]),
            "at": step.at,
            # Reasons of people; those the market writes are for its books.
            "note": step.reason if step.after in (OrderState.CANCELLED, OrderState.REFUSED) else None,
            "state": "done",
        }
        for step in found.history
    ]
    if done:
        done[-1]["state"] = "now"
    if state not in WAY:
        return done
    later = WAY[WAY.index(state) + 1 :]
    return done + [
        {"title": translate(words.STATE[one]), "at": None, "note": None, "state": "later"} for one in later
    ]


ROUTES = [order_page, order_now, qr_picture, cancel_form, address_form]
