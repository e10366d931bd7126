"""Packing and sending on screen: for a seller with one thumb, for the commune office over all its sellers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody
from sqlalchemy import ColumnElement, false

from commerce.accounts.queries import office_commune
from commerce.catalog import packing
from commerce.catalog import service as catalog
from commerce.catalog.forms import ProductFields
from commerce.catalog.models import Product, Seller
from commerce.catalog.packing import Plan
from commerce.catalog.rules import locked_product
from commerce.communes import provinces
from commerce.core import clock, tables
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError, NotFound
from commerce.core.i18n import current_language
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.fulfilment import queries, service
from commerce.fulfilment.carriers import CARRIERS, sheet
from commerce.fulfilment.queries import Parcel
from commerce.orders.pages import commune_code
from commerce.orders.selling import own_seller, pack_order
from commerce.orders.wire import AddressRequest

SELLERS = access.roles(Role.SELLER)
OFFICE = access.roles(Role.OFFICER)
BOTH = access.roles(Role.SELLER, Role.OFFICER)
NEEDED = {"seller": Role.SELLER, "office": Role.OFFICER}
SHOWN_DAYS = 14

Stage = Annotated[str, QueryParameter(name="stage")]
Day = Annotated[str, QueryParameter(name="day")]
ACTS = ("packed", "send", "delivered", "refused", "returned", "address")


class Act(msgspec.Struct):
    """What one of the buttons sends; `back`: the list it stood on."""

    back: str = "/seller/parcels"
    carrier: Annotated[str, msgspec.Meta(max_length=80)] = ""
    other: Annotated[str, msgspec.Meta(max_length=80)] = ""
    tracking: Annotated[str, msgspec.Meta(max_length=80)] = ""
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    sellable: str = ""
    province: str = provinces.OURS
    commune: Annotated[str, msgspec.Meta(max_length=80)] = ""
    street: Annotated[str, msgspec.Meta(max_length=200)] = ""


# ---- the lists


@get("/seller/parcels", opt=SELLERS, include_in_schema=False)
async def own(
    request: AnyRequest, identity: NamedDependency[Identity], stage: Stage = "", day: Day = ""
) -> Response[str]:
    """The seller's own parcels, by stage."""
    return await _list(request, identity, "seller", stage, day)


@get("/office/parcels", opt=OFFICE, include_in_schema=False)
async def of_commune(
    request: AnyRequest, identity: NamedDependency[Identity], stage: Stage = "", day: Day = ""
) -> Response[str]:
    """All parcels of the commune's sellers."""
    return await _list(request, identity, "office", stage, day)


async def _whose(identity: Identity, area: str) -> ColumnElement[bool]:
    if area == "office":
        return Seller.commune_code == await office_commune(identity)
    async with sessions.read() as db:
        seller = await own_seller(db, identity)
    return Seller.id == seller.id if seller else false()


async def _list(
    request: AnyRequest,
    identity: Identity,
    area: str,
    stage: str,
    day: str,
    *,
    status: int = 200,
    problem: tuple[str, str] | None = None,
) -> Response[str]:
    """`problem`: (order code, what is wrong) when a button was refused."""
    stage = stage if stage in queries.STAGES else "pack"
    chosen = _day(day) if day else None
    whose = await _whose(identity, area)
    async with sessions.read() as db:
        counts = await queries.counts(db, whose)
        days = await queries.days(db, whose)
        found = await queries.in_stage(db, whose, stage, by=chosen if stage in ("pack", "send") else None)
    return page(
        request,
        "seller/parcels.html",
        status=status,
        area=area,
        stage=stage,
        counts=counts,
        days=days,
        today=clock.today(),
        chosen=chosen,
        parcels=found,
        carriers=CARRIERS,
        provinces=provinces.NAMES,
        here=f"/{area}/parcels?stage={stage}" + (f"&day={chosen}" if chosen else ""),
        problem=problem,
    )


def _day(text: str) -> date:
    """Raises `NotFound`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NotFound from None


# ---- the buttons


@post("/parcels/{code:str}/{act:str}", opt=BOTH, include_in_schema=False, status_code=303)
async def do(
    request: AnyRequest,
    code: FromPath[str],
    act: FromPath[str],
    data: URLEncodedBody[Act],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """One step of a parcel's way; back to the list it stood on, with the reason when it cannot be."""
    if act not in ACTS:
        raise NotFound
    try:
        await _do(identity, code, act, data)
    except MarketError as error:
        if not isinstance(error, Invalid) and error.status != 409:
            raise
        area = "office" if data.back.startswith("/office") else "seller"
        stage = "send" if act in ("send", "address") and "stage=pack" not in data.back else "pack"
        stage = {"delivered": "way", "refused": "way", "returned": "back"}.get(act, stage)
        text = " ".join(one.text(current_language.get()) for one in getattr(error, "errors", []))
        told = (code.upper(), text or error.detail_text(current_language.get()))
        return await _list(request, identity, area, stage, "", status=error.status, problem=told)
    return redirect(data.back)


async def _do(identity: Identity, code: str, act: str, data: Act) -> None:
    if act == "packed":
        await pack_order(identity, code)
    elif act == "send":
        carrier = data.other or data.carrier
        await service.send(identity, code, carrier=carrier, tracking=data.tracking)
    elif act == "delivered":
        await service.delivered(identity, code)
    elif act == "refused":
        await service.refused(identity, code, data.reason)
    elif act == "returned":
        await service.returned(identity, code, sellable=data.sellable == "1")
    else:
        commune = await commune_code(data.province, data.commune)
        await service.add_address(identity, code, AddressRequest(data.province, commune, data.street))


# ---- paper


PAPERS = ("dong-goi.pdf", "phieu-a6.pdf", "phieu-80mm.pdf")


def _print(name: str, parcels: Sequence[Parcel], day: date, demo: bool) -> bytes:
    """In a thread: the first paper loads what makes papers."""
    from commerce.fulfilment import papers

    if name == "dong-goi.pdf":
        return papers.packing_list(parcels, day, demo=demo)
    return (papers.slips_a6 if name == "phieu-a6.pdf" else papers.slips_80mm)(parcels, demo=demo)


@get(
    ["/seller/parcels/{day:str}/{name:str}", "/office/parcels/{day:str}/{name:str}"],
    opt=BOTH,
    include_in_schema=False,
)
async def paper(
    request: AnyRequest,
    day: FromPath[str],
    name: FromPath[str],
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
) -> Response[bytes]:
    """A day's `dong-goi.pdf`, `phieu-a6.pdf`, `phieu-80mm.pdf`, `van-chuyen.xlsx` or `van-chuyen.csv`."""
    chosen = _day(day)
    area = request.url.path.split("/")[1]
    if not identity.has(NEEDED[area], Role.ADMIN):
        raise NotFound
    whose = await _whose(identity, area)
    async with sessions.read() as db:
        found = await queries.leaving(db, whose, chosen)
    file = f"{name.partition('.')[0]}-{chosen}"
    if name in PAPERS:
        body = await asyncio.to_thread(_print, name, found, chosen, settings.demo)
    elif name in ("van-chuyen.xlsx", "van-chuyen.csv"):
        return await tables.file([sheet(found, "van-chuyen")], name.partition(".")[2], file)
    else:
        raise NotFound
    return tables.attachment(body, f"{file}.pdf", tables.PDF, shown=True)


# ---- season and hands


class Days(msgspec.Struct):
    harvest_from: str = ""
    harvest_to: str = ""
    capacity: Annotated[str, msgspec.Meta(max_length=12)] = ""


@get("/seller/days/{code:str}", opt=BOTH, include_in_schema=False)
async def days(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    """When a product can leave and how much of it a day, with what is promised already."""
    return await _days(request, identity, code, None, {})


@post("/seller/days/{code:str}", opt=BOTH, include_in_schema=False, status_code=303)
async def set_days(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[Days],
    identity: NamedDependency[Identity],
) -> Response[str]:
    digits = data.capacity.replace(".", "").replace(" ", "") or "0"
    try:
        fields = ProductFields(
            harvest_from=date.fromisoformat(data.harvest_from) if data.harvest_from else None,
            harvest_to=date.fromisoformat(data.harvest_to) if data.harvest_to else None,
            capacity_per_day=int(digits) if int(digits) else None,
        )
        await catalog.edit_product(identity, code, fields)
    except ValueError:
        raise NotFound from None  # no browser sends such a day or number
    except Invalid as error:
        faults = {one.field: one.text(current_language.get()) for one in error.errors}
        return await _days(request, identity, code, data, faults)
    return redirect("/seller")


async def _days(
    request: AnyRequest, identity: Identity, code: str, sent: Days | None, faults: dict[str, str]
) -> Response[str]:
    async with sessions.read() as db:
        product, _ = await locked_product(db, identity, code)
        plan = _plan(product)
        calendar = await packing.read(db, {product.id: plan}, clock.now())
    first = packing.earliest(clock.now())
    shown = [first + timedelta(days=offset) for offset in range(SHOWN_DAYS)]
    booked: list[dict[str, Any]] = [
        {
            "day": day,
            "units": calendar.promised.get((product.id, day), 0),
            "open": bool(calendar.room(plan, day)),
        }
        for day in shown
    ]
    return page(
        request,
        "seller/days.html",
        status=422 if faults else 200,
        product=product,
        form=sent
        or Days(
            str(product.harvest_from or ""),
            str(product.harvest_to or ""),
            str(product.capacity_per_day or ""),
        ),
        booked=booked,
        errors=faults,
    )


def _plan(product: Product) -> Plan:
    return Plan(product.id, product.harvest_from, product.harvest_to, product.capacity_per_day)


ROUTES = [own, of_commune, do, paper, days, set_days]
