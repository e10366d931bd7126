"""Money over JSON: notices of banks and card company, and what sellers and offices do by hand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Struct

from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access
from commerce.payments import cards, notices, queries, receiving, refunds, setup

money_roles = access.roles(Role.SELLER, Role.OFFICER)


class Taken(Struct):
    success: bool = True


class ReceivedRequest(Struct):
    note: str = ""


class SettleRequest(Struct):
    order: str = ""
    """The code of the order the money was for; empty: for none, `note` says why."""
    note: str = ""


class RefundRequest(Struct):
    amount: int
    reason: str


class RefundDoneRequest(Struct):
    reference: str = ""


class BankFeedRequest(Struct):
    service: str
    """`sepay` or `payos`."""
    secret: str
    """SePay: the API key it sends; payOS: the checksum key."""


class CardAccountRequest(Struct):
    account: str = ""


class CardFormView(Struct):
    client_secret: str
    account: str
    """Stripe's name of the seller's account, which the form must name too."""


class UnmatchedMoney(Struct):
    id: int
    at: datetime
    seller: str
    source: str
    amount: int
    memo: str


class RefundView(Struct):
    id: int
    order: str
    seller: str
    amount: int
    state: str
    reason: str
    created_at: datetime


@post("/webhooks/sepay", opt=access.signature, status_code=200)
async def sepay(request: AnyRequest, settings: NamedDependency[Settings]) -> Taken:
    """A credit on a seller's account, told by SePay."""
    await notices.take_sepay(
        await request.body(), request.headers.get("authorization", ""), settings.secret_key
    )
    return Taken()


@post("/webhooks/payos", opt=access.signature, status_code=200)
async def payos(request: AnyRequest, settings: NamedDependency[Settings]) -> Taken:
    """A credit on a seller's account, told by payOS."""
    await notices.take_payos(await request.body(), settings.secret_key)
    return Taken()


@post("/webhooks/stripe", opt=access.signature, status_code=200)
async def stripe(request: AnyRequest, settings: NamedDependency[Settings]) -> Taken:
    """What became of card payments and refunds, told by Stripe."""
    await cards.take_notice(settings, await request.body(), request.headers.get("stripe-signature", ""))
    return Taken()


@post("/orders/{code:str}/received", opt=money_roles, status_code=200)
async def received(
    code: FromPath[str], data: JSONBody[ReceivedRequest], identity: NamedDependency[Identity]
) -> Taken:
    """ "Đã nhận tiền" by hand: what was due has come. 409 `nothing_due`."""
    await receiving.receive_by_hand(identity, code, data.note)
    return Taken()


@post("/orders/{code:str}/card-form", opt=access.public, status_code=200)
async def card_form(
    code: FromPath[str], settings: NamedDependency[Settings], key: Annotated[str, QueryParameter()] = ""
) -> CardFormView:
    """For an app that shows Stripe's card form itself: the PaymentIntent of what is due.

    409 `nothing_due`, `not_for_cards`; 503 `payment_unavailable`.
    """
    made = await cards.card_form(settings, code, key)
    return CardFormView(made.client_secret, made.account)


@get("/payments/unmatched", opt=money_roles)
async def unmatched(identity: NamedDependency[Identity]) -> list[UnmatchedMoney]:
    """Money that matched no order, of the sellers this person handles money for."""
    found = await queries.unmatched(identity)
    return [UnmatchedMoney(row.id, row.at, row.seller, row.source, row.amount, row.memo) for row in found]


@post("/payments/unmatched/{receipt_id:int}/settle", opt=money_roles, status_code=200)
async def settle(
    receipt_id: FromPath[int], data: JSONBody[SettleRequest], identity: NamedDependency[Identity]
) -> Taken:
    """Say which order the money was for, or why it was for none."""
    if not data.order and not data.note.strip():
        raise Invalid(FieldError("note", N_("Xin ghi mã đơn, hoặc lý do khoản này không thuộc đơn nào.")))
    await receiving.settle_unmatched(identity, receipt_id, code=data.order, note=data.note)
    return Taken()


@post("/orders/{code:str}/refunds", opt=money_roles, status_code=201)
async def refund(
    code: FromPath[str], data: JSONBody[RefundRequest], identity: NamedDependency[Identity]
) -> list[RefundView]:
    """Give back all or part of what was paid, the way it came. 409 `refund_too_much`."""
    return [_shown(one) for one in await refunds.refund_order(identity, code, data.amount, data.reason)]


@get("/payments/refunds", opt=money_roles)
async def open_refunds(identity: NamedDependency[Identity]) -> list[RefundView]:
    """What still has to go back."""
    return [_shown(one) for one in await queries.open_refunds(identity)]


@post("/payments/refunds/{refund_id:int}/done", opt=money_roles, status_code=200)
async def refund_done(
    refund_id: FromPath[int], data: JSONBody[RefundDoneRequest], identity: NamedDependency[Identity]
) -> Taken:
    """The seller sent the money back by transfer or in cash."""
    await refunds.finish_by_hand(identity, refund_id, data.reference)
    return Taken()


@post("/sellers/{seller_id:int}/bank-feed", opt=money_roles, status_code=200)
async def bank_feed(
    seller_id: FromPath[int],
    data: JSONBody[BankFeedRequest],
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
) -> Taken:
    """Which service tells of credits on the seller's account, and how it proves itself."""
    await setup.set_bank_feed(identity, settings.secret_key, seller_id, data.service, data.secret)
    return Taken()


@post("/sellers/{seller_id:int}/card-account", opt=money_roles, status_code=200)
async def card_account(
    seller_id: FromPath[int], data: JSONBody[CardAccountRequest], identity: NamedDependency[Identity]
) -> Taken:
    """The seller's own Stripe account; empty switches cards off."""
    await setup.set_card_account(identity, seller_id, data.account)
    return Taken()


def _shown(row: queries.RefundRow) -> RefundView:
    return RefundView(row.id, row.order, row.seller, row.amount, row.state, row.reason, row.created_at)


ROUTES = [bank_feed, card_account, card_form, received, unmatched, settle, refund, open_refunds, refund_done]
WEBHOOKS = [sepay, payos, stripe]
