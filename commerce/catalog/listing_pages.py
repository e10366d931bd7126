"""The three steps of listing: for a seller, or for commune staff who list for one (assisted mode).

The page is one form that works without scripts; listing.js shows it step by step, keeps it on the device and
sends it again after a broken line. A script gets the answer as JSON, faults included.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import photos, words
from commerce.catalog.errors import PhotoNotFound, SellerNotFound
from commerce.catalog.forms import INDUSTRIES, PAPERS, ProductFields
from commerce.catalog.listing import Listing, Offer, PaperFields, list_product, revise_product
from commerce.catalog.models import Grade, ListingState, Paper, Photo, Product, Seller, Stock, Unit
from commerce.catalog.queries import last_reason
from commerce.catalog.rules import locked_product, locked_seller
from commerce.catalog.usual import USUAL
from commerce.catalog.views import Picture
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError
from commerce.core.i18n import current_language
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.text import clean
from commerce.core.web import AnyRequest, access, page, redirect, wants_json

LISTERS = access.roles(Role.SELLER, Role.OFFICER)
TWO_PHOTOS = 2 * photos.MOST_BYTES + 256 * 1024
GRADES = ("A", "B", "C")
FOR = Annotated[int, QueryParameter(name="for")]

Form = dict[str, Any]


@get("/seller/new", opt=LISTERS, include_in_schema=False)
async def new(request: AnyRequest, identity: NamedDependency[Identity], seller: FOR = 0) -> Response[str]:
    """An empty listing, with what is already known of the seller filled in. `for`: the seller acted for."""
    async with sessions.read() as db:
        stall = await _stall(db, identity, seller)
        return await _page(request, db, identity, stall, None, _begin(await _place(db, stall)))


@post("/seller/new", opt=LISTERS, include_in_schema=False, request_max_body_size=TWO_PHOTOS, status_code=201)
async def send_new(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    storage: NamedDependency[Storage],
    seller: FOR = 0,
) -> Response[Any]:
    data = await _read(request)
    async with sessions.read() as db:
        stall = await _stall(db, identity, seller)
    try:
        code = await list_product(identity, storage, stall.id, _listing(data), data.get("key", ""))
    except MarketError as error:
        return await _refused(request, identity, stall, None, data, error)
    return _sent(request, identity, stall, code)


@get("/seller/products/{code:str}/edit", opt=LISTERS, include_in_schema=False)
async def edit(
    request: AnyRequest, code: FromPath[str], identity: NamedDependency[Identity]
) -> Response[str]:
    """The same three steps over what is there; after a refusal with what the office said."""
    async with sessions.read() as db:
        product, stall = await locked_product(db, identity, code)
        return await _page(request, db, identity, stall, product, await _as_form(db, product))


@post(
    "/seller/products/{code:str}/edit",
    opt=LISTERS,
    include_in_schema=False,
    request_max_body_size=TWO_PHOTOS,
    status_code=201,
)
async def send_edited(
    request: AnyRequest,
    code: FromPath[str],
    identity: NamedDependency[Identity],
    storage: NamedDependency[Storage],
) -> Response[Any]:
    data = await _read(request)
    async with sessions.read() as db:
        product, stall = await locked_product(db, identity, code)
    try:
        await revise_product(identity, storage, product.code, _listing(data), data.get("key", ""))
    except MarketError as error:
        return await _refused(request, identity, stall, product, data, error)
    return _sent(request, identity, stall, product.code)


@get("/seller/papers/{paper_id:int}", opt=LISTERS, include_in_schema=False)
async def paper(
    paper_id: FromPath[int], identity: NamedDependency[Identity], storage: NamedDependency[Storage]
) -> Response[bytes]:
    """The picture of a paper, for its seller and the office alone."""
    async with sessions.read() as db:
        row = await db.get(Paper, paper_id) if paper_id < 2**63 else None
        product = await db.get(Product, row.product_id) if row else None
        if row is None or product is None or not row.sha256:
            raise PhotoNotFound
        await locked_product(db, identity, product.code)
    for width in reversed(photos.WIDTHS):
        stored = await storage.get(photos.key(row.sha256, width, photos.PAPERS))
        if stored is not None:
            headers = {"Cache-Control": "private, no-store"}
            return Response(stored[0], media_type="image/webp", headers=headers)
    raise PhotoNotFound


# ---- who for


async def _stall(db: AsyncSession, identity: Identity, seller_id: int) -> Seller:
    """The seller acted for, or one's own stall. Raises `SellerNotFound`, `Forbidden`."""
    if not seller_id:
        own = await db.scalar(
            select(Seller.id).where(Seller.person_id == identity.person_id).order_by(Seller.id).limit(1)
        )
        if own is None:
            raise SellerNotFound
        seller_id = own
    return await locked_seller(db, identity, seller_id)


def _home(identity: Identity, stall: Seller) -> str:
    return "/seller" if stall.person_id == identity.person_id else f"/office/assist/{stall.id}"


async def _place(db: AsyncSession, stall: Seller) -> str:
    commune = await db.get_one(Commune, stall.commune_code)
    return f"{commune.name}, Đắk Lắk"


# ---- the form as it comes and as it is


async def _read(request: AnyRequest) -> Form:
    """Text fields as text, the first file that is not empty of each name as bytes."""
    sent = await request.form()
    data: Form = {}
    for name, value in sent.multi_items():
        if isinstance(value, UploadFile):
            body = await value.read()
            if body and name not in data:
                data[name] = body
        else:
            data[name] = str(value)
    return data


_AMOUNT = re.compile(r"(\d+)(?:k|nghin|nghìn|ngàn|ngan)", re.IGNORECASE)


def whole(text: str) -> int:
    """`90.000`, `90 000`, `90k` and `90 nghìn` are ninety thousand; -1 for what is no number."""
    digits = re.sub(r"[\s.,₫đ]", "", clean(text))
    short = _AMOUNT.fullmatch(digits)
    if short:
        return int(short[1][:9]) * 1000
    return int(digits[:12]) if digits.isascii() and digits.isdigit() else -1


def _listing(data: Form) -> Listing:
    def text(name: str) -> str:
        value = data.get(name, "")
        return value if isinstance(value, str) else ""

    def file(name: str) -> bytes | None:
        value = data.get(name)
        return value if isinstance(value, bytes) else None

    names = [""] if text("grading") != "many" else _grade_names(data)
    offers = [
        Offer(price=whole(text(f"price-{name}")), left=max(-1, whole(text(f"left-{name}") or "0")), name=name)
        for name in names
        if text(f"price-{name}").strip() or not name
    ]
    fields = ProductFields(
        name=text("name"),
        unit=text("unit"),
        industry=text("industry"),
        description=text("description"),
        origin=text("origin"),
        shelf_life=text("shelf_life"),
        fresh=bool(text("fresh")),
        art=text("art"),
    )
    fields.harvest_from, fields.harvest_to = _day(text("harvest_from")), _day(text("harvest_to"))
    wants_paper = text("paper_kind") or file("paper_photo")
    paper = PaperFields(text("paper_kind"), text("paper_number"), text("paper_expires_on"))
    return Listing(fields, offers, file("photo"), paper if wants_paper else None, file("paper_photo"))


def _grade_names(data: Form) -> list[str]:
    """In their own order: a form's fields come in none."""
    named = [name.removeprefix("price-") for name in data if name.startswith("price-")]
    return sorted(name for name in named if name)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _begin(place: str) -> Form:
    return {"grading": "one", "unit": "kg", "industry": "food", "origin": place}


async def _as_form(db: AsyncSession, product: Product) -> Form:
    """What the form would have to send for the product to be as it is."""
    rows = await db.execute(
        select(Grade.name, Grade.price, Stock.on_hand - Stock.reserved)
        .outerjoin(Stock, Stock.grade_id == Grade.id)
        .where(Grade.product_id == product.id, Grade.active)
        .order_by(Grade.position, Grade.id)
    )
    form: Form = {
        name: getattr(product, name)
        for name in ("name", "unit", "industry", "description", "origin", "shelf_life", "art")
    }
    form |= {"fresh": "1" if product.fresh else "", "grading": "one"}
    for name in ("harvest_from", "harvest_to"):
        form[name] = getattr(product, name).isoformat() if getattr(product, name) else ""
    for name, price, free in rows:
        form[f"price-{name}"], form[f"left-{name}"] = f"{price:,}".replace(",", "."), str(free or 0)
        if name:
            form["grading"] = "many"
    return form


# ---- answers


class Sent(msgspec.Struct):
    code: str
    url: str


def _sent(request: AnyRequest, identity: Identity, stall: Seller, code: str) -> Response[Any]:
    url = f"{_home(identity, stall)}#p-{code}"
    return Response(Sent(code, url), status_code=201) if wants_json(request) else redirect(url)


async def _refused(
    request: AnyRequest,
    identity: Identity,
    stall: Seller,
    product: Product | None,
    data: Form,
    error: MarketError,
) -> Response[str]:
    """The form again with every fault at its field; photos must be chosen anew without scripts."""
    if wants_json(request):
        raise error
    language = current_language.get()
    if isinstance(error, Invalid):
        errors = {one.field: one.text(language) for one in error.errors}
    else:
        errors = {"photo": error.detail_text(language)}
    async with sessions.read() as db:
        return await _page(
            request, db, identity, stall, product, data, status=error.status, errors=_by_input(data, errors)
        )


def _by_input(data: Form, errors: dict[str, str]) -> dict[str, str]:
    """`offers[1].price` is the second price that was given: named as its input is."""
    offers = _listing(data).offers

    def name(field: str) -> str:
        match = re.fullmatch(r"offers\[(\d+)\]\.(\w+)", field)
        return f"{match[2]}-{offers[int(match[1])].name}" if match else field

    return {name(field): text for field, text in errors.items()}


async def _page(
    request: AnyRequest,
    db: AsyncSession,
    identity: Identity,
    stall: Seller,
    product: Product | None,
    form: Form,
    *,
    status: int = 200,
    errors: dict[str, str] | None = None,
) -> Response[str]:
    picture = await db.get(Photo, product.photo_id) if product and product.photo_id else None
    refused = product is not None and product.state == ListingState.REFUSED
    code = product.code if product else ""
    return page(
        request,
        "seller/listing.html",
        status=status,
        seller={"id": stall.id, "name": stall.name},
        assisted=stall.person_id != identity.person_id,
        home=_home(identity, stall),
        action=f"/seller/products/{code}/edit" if code else f"/seller/new?for={stall.id}",
        code=code,
        state=product.state if product else "draft",
        picture=Picture.of(picture, product.name) if product and picture else None,
        reason=await last_reason(db, product.id) if product and refused else "",
        form={name: value for name, value in form.items() if isinstance(value, str)},
        grades=[*GRADES, *(name for name in _grade_names(form) if name not in GRADES)],
        errors=errors or {},
        usual=USUAL,
        usual_data={one.key: asdict(one) for one in USUAL},
        units=list(Unit),
        industries=[(name, words.industry(name)) for name in INDUSTRIES],
        papers=[(kind, words.paper(kind)) for kind in PAPERS],
        key=form.get("key") or secrets.token_urlsafe(12),
    )


ROUTES = [new, send_new, edit, send_edited, paper]
