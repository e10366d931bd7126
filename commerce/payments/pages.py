"""The way to the card page, and the screens of those who handle a seller's money: the seller and the office.

Both have the same screens, under /seller/money and /office/money: what is awaited, what came and matched
nothing, what has to go back, and everything about the money of one order.
"""

from __future__ import annotations

from typing import Annotated, Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody

from commerce.core.errors import FieldError, Invalid, MarketError
from commerce.core.i18n import N_, current_language, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.fulfilment.service import cancel
from commerce.orders import words
from commerce.orders.models import OrderState
from commerce.payments import cards, queries, receiving, refunds, setup
from commerce.payments.models import Method, Outcome, PaymentState, RefundState
from commerce.payments.words import OUTCOME, SOURCE

Form = dict[str, str]
MONEY = access.roles(Role.SELLER, Role.OFFICER)
PLACES = ("seller", "office")
CANCELLABLE = frozenset({OrderState.PLACED, OrderState.CONFIRMED, OrderState.PACKED})


@get("/orders/{code:str}/pay", opt=access.public)
async def pay(
    code: FromPath[str], settings: NamedDependency[Settings], key: Annotated[str, QueryParameter()] = ""
) -> Response[str]:
    """On to the card company's page for this order."""
    url = await cards.checkout_url(settings, code, key)
    return Response("", status_code=303, headers={"Location": url, "Cache-Control": "no-store"})


# ---- what is awaited, what matched nothing, what has to go back


@get(["/seller/money", "/office/money"], opt=MONEY, include_in_schema=False)
async def money(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """All sellers' money that this person handles."""
    return await _money(request, identity)


@post(
    ["/seller/money/unmatched/{receipt:int}", "/office/money/unmatched/{receipt:int}"],
    opt=MONEY,
    include_in_schema=False,
)
async def settle(
    request: AnyRequest,
    receipt: FromPath[int],
    data: URLEncodedBody[Form],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """It was for this order, or it has been sent back."""
    code, note = data.get("order", "").strip(), data.get("note", "").strip()
    returned = data.get("act") == "returned"
    try:
        if not returned and not code:
            raise Invalid(FieldError("order", N_("Xin ghi mã đơn, ví dụ DL24505ABC234.")))
        await receiving.settle_unmatched(
            identity, receipt, code="" if returned else code, note=note, returned=returned
        )
    except MarketError as error:
        return await _money(request, identity, fault=("unmatched", receipt, error))
    return redirect(f"/{place(request)}/money#unmatched")


@post(
    ["/seller/money/refunds/{refund:int}", "/office/money/refunds/{refund:int}"],
    opt=MONEY,
    include_in_schema=False,
)
async def send_back(
    request: AnyRequest,
    refund: FromPath[int],
    data: URLEncodedBody[Form],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """Somebody begins to send it, or has sent it with the bank's number."""
    try:
        if data.get("act") == "start":
            await refunds.start_by_hand(identity, refund)
        else:
            await refunds.finish_by_hand(identity, refund, data.get("reference", ""))
    except MarketError as error:
        return await _money(request, identity, fault=("refund", refund, error))
    back = data.get("back", "")
    return redirect(f"/{place(request)}/money/orders/{back}" if back else f"/{place(request)}/money#refunds")


async def _money(
    request: AnyRequest, identity: Identity, *, fault: tuple[str, int, MarketError] | None = None
) -> Response[str]:
    kind, number, error = fault or ("", 0, None)
    return page(
        request,
        "money/index.html",
        status=error.status if error else 200,
        place=place(request),
        awaited=await queries.awaited(identity),
        unmatched=await queries.unmatched(identity),
        refunds=await queries.open_refunds(identity),
        receipts=await queries.latest_receipts(identity),
        fault={"kind": kind, "id": number, "text": _sentence(error) if error else ""},
        **_words(),
    )


# ---- one order


@get(
    ["/seller/money/orders/{code:str}", "/office/money/orders/{code:str}"],
    opt=MONEY,
    include_in_schema=False,
)
async def order_money(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    """The money of one order: who paid what and when, and what can be done about it."""
    return await _order(request, identity, code)


@post(
    ["/seller/money/orders/{code:str}/{act:str}", "/office/money/orders/{code:str}/{act:str}"],
    opt=MONEY,
    include_in_schema=False,
)
async def act_on_order(
    request: AnyRequest,
    code: FromPath[str],
    act: FromPath[str],
    data: URLEncodedBody[Form],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """`received`: what was due has come. `refund`: part or all goes back. `cancel`: with a reason."""
    try:
        if act == "received":
            await receiving.receive_by_hand(identity, code, data.get("note", ""))
        elif act == "refund":
            await refunds.refund_order(identity, code, whole(data.get("amount", "")), data.get("reason", ""))
        else:
            await cancel(identity, code, data.get("reason", ""))
    except MarketError as error:
        return await _order(request, identity, code, fault=(act, error))
    return redirect(f"/{place(request)}/money/orders/{code.upper()}")


async def _order(
    request: AnyRequest, identity: Identity, code: str, *, fault: tuple[str, MarketError] | None = None
) -> Response[str]:
    found = await queries.books_of(identity, code)
    state = OrderState(found.order.state)
    payment = found.payment
    return page(
        request,
        "money/order.html",
        status=fault[1].status if fault else 200,
        place=place(request),
        found=found,
        state_label=translate(words.STATE[state]),
        payment_label=translate(words.PAYMENT[PaymentState(payment.state)]),
        method_label=translate(words.METHOD[Method(payment.method)]),
        steps=[
            {"title": translate(words.STATE[OrderState(step.after)]), "at": step.at, "by": by}
            | {"reason": step.reason if step.after in (OrderState.CANCELLED, OrderState.REFUSED) else ""}
            for step, by in found.history
        ],
        owed=payment.due_now or (payment.left if payment.state in ("due", "partial") else 0),
        cancellable=state in CANCELLABLE,
        fault={"act": fault[0], "text": _sentence(fault[1])} if fault else {"act": "", "text": ""},
        **_words(),
    )


# ---- how the sellers are paid


@post(["/seller/money/deposit", "/office/money/deposit"], opt=MONEY, include_in_schema=False)
async def deposit(
    request: AnyRequest, data: URLEncodedBody[Form], identity: NamedDependency[Identity]
) -> Response[str]:
    """What a seller asks for in advance of orders paid on delivery."""
    seller = whole(data.get("seller", ""))
    await setup.set_deposit(
        identity, seller, percent=whole(data.get("percent", "0")), fee=whole(data.get("fee", "0"))
    )
    return redirect(f"/{place(request)}/money/setup")


@get(["/seller/money/setup", "/office/money/setup"], opt=MONEY, include_in_schema=False)
async def how_paid(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Each seller's account, cards, bank notices, and what they ask for in advance."""
    return page(
        request, "money/setup.html", place=place(request), sellers=await queries.ways_of_sellers(identity)
    )


def place(request: AnyRequest) -> str:
    """`seller` or `office`: whose screen this is, by its address."""
    first: str = request.url.path.split("/")[1]
    return first if first in PLACES else PLACES[0]


def whole(text: str) -> int:
    """`200.000 đ` -> 200000; -1 for what is no number."""
    digits = "".join(one for one in text if one.isascii() and one.isdigit())
    return int(digits) if 0 < len(digits) < 13 else -1 if text.strip() else 0


def _sentence(error: MarketError) -> str:
    language = current_language.get()
    if isinstance(error, Invalid):
        return " ".join(one.text(language) for one in error.errors)
    return error.detail_text(language)


def _words() -> dict[str, Any]:
    return {
        "sources": {one: translate(label) for one, label in SOURCE.items()},
        "outcomes": {one.value: translate(OUTCOME[one]) for one in Outcome},
        "refund_states": {one.value: translate(words.REFUND[one]) for one in RefundState},
        "methods": {one.value: translate(words.METHOD[one]) for one in Method},
    }


ROUTES = [pay, money, settle, send_back, order_money, act_on_order, deposit, how_paid]
