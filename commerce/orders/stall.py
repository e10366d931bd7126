"""The farmer's stall: what to pack today, one's goods with their stock, what is owed."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from commerce.catalog import assisting, service, words
from commerce.catalog import queries as catalog
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_, current_language
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect, wants_json
from commerce.orders import selling

SELLERS = access.roles(Role.SELLER)
TENDERS = access.roles(Role.SELLER, Role.OFFICER)
"""Who looks after goods: the seller, or commune staff for them."""


class Count(msgspec.Struct):
    grade: Annotated[str, msgspec.Meta(max_length=20)] = ""
    counted: Annotated[str, msgspec.Meta(max_length=20)] = ""
    change: Annotated[str, msgspec.Meta(max_length=20)] = ""
    key: Annotated[str, msgspec.Meta(max_length=64)] = ""


@get("/seller", opt=SELLERS, include_in_schema=False)
async def stall(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    return await _stall(request, identity)


@post("/seller/orders/{code:str}/packed", opt=SELLERS, include_in_schema=False)
async def packed(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await selling.pack_order(identity, code)
    return redirect("/seller")


class Left(msgspec.Struct):
    left: int


@post("/seller/products/{code:str}/stock", opt=TENDERS, include_in_schema=False)
async def count_stock(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Count],
    identity: NamedDependency[Identity],
) -> Response[Any]:
    """A tap of the large buttons (`change`, with the tap's `key`), or what was counted in the shed."""
    try:
        if data.change:
            change = number(data.change.removeprefix("+").removeprefix("-"))
            signed = -change if data.change.startswith("-") else change
            left = await service.change_stock(identity, code, data.grade, signed, data.key)
            if wants_json(request):
                return Response(Left(left), status_code=200)
        else:
            await service.count_stock(identity, code, data.grade, number(data.counted))
    except Invalid as error:
        if wants_json(request):
            raise
        text = error.errors[0].text(current_language.get())
        return await _stall(request, identity, status=422, fault=(code, data.grade), text=text)
    return await _back(identity, code)


def number(text: str) -> int:
    """`1.200` and `1 200` are twelve hundred. Raises `Invalid`."""
    digits = text.replace(".", "").replace(" ", "")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 15):
        raise Invalid(FieldError("counted", N_("Xin ghi một số nguyên, ví dụ 120.")))
    return int(digits)


@post("/seller/products/{code:str}/pause", opt=TENDERS, include_in_schema=False)
async def pause(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await service.pause_product(identity, code)
    return await _back(identity, code)


@post("/seller/products/{code:str}/resume", opt=TENDERS, include_in_schema=False)
async def resume(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await service.resume_product(identity, code)
    return await _back(identity, code)


async def _back(identity: Identity, code: str) -> Response[str]:
    """To the goods: on one's own stall, or on the page of the seller one acts for."""
    async with sessions.read() as db:
        seller = await catalog.seller_of(db, code)
    own = seller.person_id == identity.person_id
    return redirect(f"{'/seller' if own else f'/office/assist/{seller.id}'}#p-{code}")


async def _stall(
    request: AnyRequest,
    identity: Identity,
    *,
    status: int = 200,
    fault: tuple[str, str] | None = None,
    text: str = "",
) -> Response[str]:
    async with sessions.read() as db:
        seller = await selling.own_seller(db, identity)
        commune = await db.get(Commune, seller.commune_code) if seller else None
        waiting = await selling.to_pack(db, seller.id) if seller else []
        products = await catalog.listings(db, person_id=identity.person_id) if seller else []
        owed = await selling.owed(db, seller.id) if seller else 0
        acts = await assisting.log_of(db, seller.id, 8) if seller else []
    return page(
        request,
        "seller/index.html",
        status=status,
        seller=seller,
        commune=commune,
        to_pack=waiting,
        products=products,
        owed=owed,
        fault=fault,
        fault_text=text,
        acts=acts,
        act_text=words.act,
        tap_key=lambda: secrets.token_urlsafe(9),
    )


ROUTES = [stall, packed, count_stock, pause, resume]
