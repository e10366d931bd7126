"""The farmer's stall: what to pack today, one's goods with their stock, what is owed."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody

from commerce.catalog import queries as catalog
from commerce.catalog import service
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import Invalid
from commerce.core.i18n import current_language
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.orders import selling

SELLERS = access.roles(Role.SELLER)


class Count(msgspec.Struct):
    grade: Annotated[str, msgspec.Meta(max_length=20)] = ""
    counted: Annotated[str, msgspec.Meta(max_length=12)] = ""


@get("/seller", opt=SELLERS, include_in_schema=False)
async def stall(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    return await _stall(request, identity)


@post("/seller/orders/{code:str}/packed", opt=SELLERS, include_in_schema=False)
async def packed(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await selling.pack_order(identity, code)
    return redirect("/seller")


@post("/seller/products/{code:str}/stock", opt=SELLERS, include_in_schema=False)
async def count_stock(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Count],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """What was counted in the shed replaces what the book says."""
    digits = data.counted.replace(".", "").replace(" ", "")
    if not digits.isdecimal():
        return await _stall(request, identity, status=422, fault=(code, data.grade))
    try:
        await service.count_stock(identity, code, data.grade, int(digits))
    except Invalid as error:
        text = error.errors[0].text(current_language.get())
        return await _stall(request, identity, status=422, fault=(code, data.grade), text=text)
    return redirect("/seller")


@post("/seller/products/{code:str}/pause", opt=SELLERS, include_in_schema=False)
async def pause(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await service.pause_product(identity, code)
    return redirect("/seller")


@post("/seller/products/{code:str}/resume", opt=SELLERS, include_in_schema=False)
async def resume(identity: NamedDependency[Identity], code: FromPath[str]) -> Response[str]:
    await service.resume_product(identity, code)
    return redirect("/seller")


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
    )


ROUTES = [stall, packed, count_stock, pause, resume]
