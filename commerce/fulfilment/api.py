"""What sellers and offices do with an order after it was placed."""

from __future__ import annotations

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from commerce.core.roles import Identity, Role
from commerce.core.web import access
from commerce.fulfilment import service
from commerce.orders.selling import pack_order

sellers_and_office = access.roles(Role.SELLER, Role.OFFICER)


class Done(Struct):
    state: str


class SendRequest(Struct):
    carrier: str = ""
    tracking: str = ""


class ReasonRequest(Struct):
    reason: str = ""


class ReturnRequest(Struct):
    sellable: bool = False


@post("/orders/{code:str}/confirm", opt=sellers_and_office, status_code=200)
async def confirm(code: FromPath[str], identity: NamedDependency[Identity]) -> Done:
    """The seller has spoken to the buyer."""
    await service.confirm(identity, code)
    return Done("confirmed")


@post("/orders/{code:str}/packed", opt=sellers_and_office, status_code=200)
async def packed(code: FromPath[str], identity: NamedDependency[Identity]) -> Done:
    """The parcel is ready to go."""
    await pack_order(identity, code)
    return Done("packed")


@post("/orders/{code:str}/send", opt=sellers_and_office, status_code=200)
async def send(code: FromPath[str], data: JSONBody[SendRequest], identity: NamedDependency[Identity]) -> Done:
    """The parcel leaves. 409 `not_paid_yet` for an order paid in advance that is not paid."""
    await service.send(identity, code, carrier=data.carrier, tracking=data.tracking)
    return Done("shipped")


@post("/orders/{code:str}/delivered", opt=sellers_and_office, status_code=200)
async def delivered(code: FromPath[str], identity: NamedDependency[Identity]) -> Done:
    """The buyer has it, and paid what was due."""
    await service.delivered(identity, code)
    return Done("delivered")


@post("/orders/{code:str}/refused", opt=sellers_and_office, status_code=200)
async def refused(
    code: FromPath[str], data: JSONBody[ReasonRequest], identity: NamedDependency[Identity]
) -> Done:
    """The buyer did not take it."""
    await service.refused(identity, code, data.reason)
    return Done("refused")


@post("/orders/{code:str}/returned", opt=sellers_and_office, status_code=200)
async def returned(
    code: FromPath[str], data: JSONBody[ReturnRequest], identity: NamedDependency[Identity]
) -> Done:
    """A refused parcel is back in the store."""
    await service.returned(identity, code, sellable=data.sellable)
    return Done("returned")


@post("/orders/{code:str}/seller-cancel", opt=sellers_and_office, status_code=200)
async def cancel(
    code: FromPath[str], data: JSONBody[ReasonRequest], identity: NamedDependency[Identity]
) -> Done:
    """The seller cannot fulfil it; a reason is needed."""
    await service.cancel(identity, code, data.reason)
    return Done("cancelled")


ROUTES = [confirm, packed, send, delivered, refused, returned, cancel]
