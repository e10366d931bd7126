"""The commune office: what waits, and the review of listings and sellers."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person, RoleGrant
from commerce.catalog import queries as catalog
from commerce.catalog import service
from commerce.catalog.models import ListingState, Product, Recognition, Seller
from commerce.catalog.recognitions import RENEWAL_OPENS, holding
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import Forbidden, Invalid
from commerce.core.i18n import current_language
from commerce.core.roles import Identity, Role
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live.home import session_card
from commerce.live.models import LiveState
from commerce.live.queries import of_staff

OFFICE = access.roles(Role.OFFICER)


class Verdict(msgspec.Struct):
    approve: str = ""
    papers_seen: str = ""
    reason: Annotated[str, msgspec.Meta(max_length=600)] = ""


@get("/office", opt=OFFICE, include_in_schema=False)
async def office(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """What waits for the commune's staff, oldest duties first."""
    code = await office_commune(identity)
    async with sessions.read() as db:
        commune = await db.get_one(Commune, code)
        waiting = await _waiting(db, code)
        coming = [one for one in await of_staff(db, {code}) if one.state == LiveState.SCHEDULED]
        expiring = await _expiring(db, code)
    cards = [session_card(session, 0) for session in coming]
    return page(
        request, "office/index.html", commune=commune, waiting=waiting, coming=cards, expiring=expiring
    )


@get("/office/listings", opt=OFFICE, include_in_schema=False)
async def listings(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Products waiting for review, with all that buyers will read."""
    return await _listings(request, identity)


@post("/office/listings/{code:str}", opt=OFFICE, include_in_schema=False)
async def review_listing(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Verdict],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """Approve, or refuse with a reason that the seller reads."""
    try:
        if data.approve:
            await service.approve_product(identity, code, papers_seen=bool(data.papers_seen))
        else:
            await service.refuse_product(identity, code, data.reason)
    except Invalid as error:
        faults = {code: error.errors[0].text(current_language.get())}
        return await _listings(request, identity, status=error.status, faults=faults)
    return redirect("/office/listings")


@get("/office/sellers", opt=OFFICE, include_in_schema=False)
async def sellers(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Sellers waiting for review."""
    return await _sellers(request, identity)


@post("/office/sellers/{seller:int}", opt=OFFICE, include_in_schema=False)
async def review_seller(
    request: AnyRequest,
    seller: FromPath[int],
    data: URLEncodedBody[Verdict],
    identity: NamedDependency[Identity],
) -> Response[str]:
    verdict = ListingState.APPROVED if data.approve else ListingState.REFUSED
    try:
        await service.review_seller(identity, seller, verdict, data.reason)
    except Invalid as error:
        faults = {seller: error.errors[0].text(current_language.get())}
        return await _sellers(request, identity, status=error.status, faults=faults)
    return redirect("/office/sellers")


async def office_commune(identity: Identity) -> str:
    """The commune whose office this person is; an administrator without one looks over the first shoulder.

    Raises `Forbidden` when there is none.
    """
    own = sorted(code for code in identity.communes(Role.OFFICER) if code)
    if own:
        return own[0]
    async with sessions.read() as db:
        first = await db.scalar(
            select(RoleGrant.commune_code)
            .where(RoleGrant.role == Role.OFFICER, RoleGrant.commune_code.is_not(None))
            .order_by(RoleGrant.id)
            .limit(1)
        )
    if first is None:
        raise Forbidden
    return first


async def _waiting(db: AsyncSession, code: str) -> dict[str, int]:
    async def count(model: Any, *where: Any) -> int:
        return int(await db.scalar(select(func.count()).select_from(model).where(*where)) or 0)

    hosts = select(RoleGrant.person_id).where(RoleGrant.role == Role.HOST, RoleGrant.commune_code == code)
    return {
        "listings": await count(Product, Product.commune_code == code, Product.state == ListingState.REVIEW),
        "sellers": await count(Seller, Seller.commune_code == code, Seller.state == ListingState.REVIEW),
        "hosts": await count(Person, Person.id.in_(hosts), Person.identity_verified_at.is_(None)),
    }


async def _expiring(db: AsyncSession, code: str) -> list[dict[str, Any]]:
    """Recognitions whose renewal is open (180 days before their last day), soonest first."""
    today = clock.today()
    rows = await db.execute(
        select(Product.name, Product.code, Recognition.stars, Recognition.expires_on)
        .join(Product, Product.id == Recognition.product_id)
        .where(
            Product.commune_code == code,
            holding(today),
            Recognition.expires_on <= today + RENEWAL_OPENS,
        )
        .order_by(Recognition.expires_on)
    )
    return [
        {"name": row.name, "code": row.code, "stars": row.stars, "expires_on": row.expires_on}
        | {"days": (row.expires_on - today).days}
        for row in rows
    ]


async def _listings(
    request: AnyRequest, identity: Identity, *, status: int = 200, faults: dict[str, str] | None = None
) -> Response[str]:
    code = await office_commune(identity)
    async with sessions.read() as db:
        waiting = await catalog.listings(db, commune=code, state=ListingState.REVIEW)
        pages = [await catalog.product_page(db, one.product.code, on_sale_only=False) for one in waiting]
    return page(request, "office/listings.html", status=status, pages=pages, faults=faults or {})


async def _sellers(
    request: AnyRequest, identity: Identity, *, status: int = 200, faults: dict[int, str] | None = None
) -> Response[str]:
    code = await office_commune(identity)
    async with sessions.read() as db:
        waiting = list(
            await db.scalars(
                select(Seller)
                .where(Seller.commune_code == code, Seller.state == ListingState.REVIEW)
                .order_by(Seller.id)
            )
        )
    return page(request, "office/sellers.html", status=status, sellers=waiting, faults=faults or {})


ROUTES = [office, listings, review_listing, sellers, review_seller]
