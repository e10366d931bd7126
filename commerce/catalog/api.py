"""Products, sellers and the OCOP register for programs; each handler parses, calls one function, answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated

import msgspec
from litestar import Router, delete, get, patch, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, MultipartBody, QueryParameter

from commerce.catalog import photos, queries, service
from commerce.catalog.forms import GradeFields, ProductFields, RecognitionFields, SellerFields
from commerce.catalog.models import ListingState
from commerce.catalog.queries import Search
from commerce.catalog.views import (
    GradeView,
    ListingView,
    Picture,
    ProductPage,
    RecognitionView,
    RegisterPage,
    SearchPage,
    SellerCard,
)
from commerce.core import access
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage

PHOTO_BODY = photos.MOST_BYTES + 64 * 1024
sellers_and_office = access.roles(Role.SELLER, Role.OFFICER)
office = access.roles(Role.OFFICER)
recognisers = access.roles(Role.OFFICER, Role.PROVINCE)


# ---- for everybody


@get("/products", opt=access.public, summary="What is on sale")
async def list_products(
    q: FromQuery[str] = "",
    commune: FromQuery[str] = "",
    stars: FromQuery[str] = "",
    seller: FromQuery[str] = "",
    page: FromQuery[str] = "",
) -> SearchPage:
    """`q` folds tone marks and case; `commune` is a code, `stars` 3 to 5, `seller` a number. Empty: any."""
    search = Search.parse(q, commune, stars, seller, page)
    async with sessions.read() as db:
        return await queries.search_products(db, search)


@get("/products/{code:str}", opt=access.public, summary="One product")
async def one_product(code: FromPath[str]) -> ProductPage:
    async with sessions.read() as db:
        return await queries.product_page(db, code)


@get("/sellers/{seller_id:int}", opt=access.public, summary="Who sells")
async def one_seller(seller_id: FromPath[int]) -> SellerCard:
    async with sessions.read() as db:
        return await queries.seller_card(db, seller_id)


@get("/register", opt=access.public, summary="OCOP products as reported; nobody sells them here")
async def list_register(
    q: FromQuery[str] = "",
    commune: FromQuery[str] = "",
    stars: FromQuery[str] = "",
    page: FromQuery[str] = "",
) -> RegisterPage:
    """Reference data with its sources. `stars` is null unless a recognition surely still holds."""
    search = Search.parse(q, commune, stars, page=page)
    async with sessions.read() as db:
        return await queries.search_register(db, search)


class BankOut(msgspec.Struct, frozen=True):
    bin: str
    short_name: str
    name: str


@get("/banks", opt=access.public, summary="Banks that receive transfers by VietQR")
async def list_banks() -> list[BankOut]:
    async with sessions.read() as db:
        found = await queries.banks_for_transfer(db)
    return [BankOut(bank.bin or "", bank.short_name, bank.name) for bank in found]


# ---- sellers


class NewSeller(SellerFields, kw_only=True):
    commune: str


class SellerOut(msgspec.Struct, frozen=True):
    id: int
    name: str
    state: str


class Verdict(msgspec.Struct):
    state: ListingState
    reason: str = ""


@post("/sellers", opt=sellers_and_office, summary="Register a seller, for review")
async def register_seller(identity: NamedDependency[Identity], data: JSONBody[NewSeller]) -> SellerOut:
    seller = await service.register_seller(identity, data.commune, data)
    return SellerOut(seller.id, seller.name, seller.state)


@patch("/sellers/{seller_id:int}", opt=sellers_and_office, summary="Change what is known of a seller")
async def edit_seller(
    identity: NamedDependency[Identity], seller_id: FromPath[int], data: JSONBody[SellerFields]
) -> SellerOut:
    seller = await service.edit_seller(identity, seller_id, data)
    return SellerOut(seller.id, seller.name, seller.state)


@post("/sellers/{seller_id:int}/review", opt=office, status_code=204, summary="Approve, refuse or pause")
async def review_seller(
    identity: NamedDependency[Identity], seller_id: FromPath[int], data: JSONBody[Verdict]
) -> None:
    await service.review_seller(identity, seller_id, data.state, data.reason)


# ---- listing


class NewProduct(ProductFields, kw_only=True):
    seller: int


class ProductOut(msgspec.Struct, frozen=True):
    code: str
    name: str
    state: str


class Approval(msgspec.Struct):
    papers_seen: bool


class Because(msgspec.Struct):
    reason: str = ""


class Papers(msgspec.Struct):
    seen: bool


@get("/listings", opt=sellers_and_office, summary="One's own products, or a commune's, in any state")
async def list_listings(
    identity: NamedDependency[Identity],
    commune: FromQuery[str] = "",
    in_state: Annotated[str, QueryParameter(name="state")] = "",  # `state` is Litestar's own
) -> list[ListingView]:
    """Officers name their commune; sellers get their own."""
    if in_state and in_state not in list(ListingState):
        options = {"options": ", ".join(ListingState)}
        raise Invalid(FieldError("state", N_("Cần chọn một trong: {options}."), options))
    if Search.parse(commune=commune).commune:
        identity.must(commune, Role.OFFICER)
    async with sessions.read() as db:
        return await queries.listings(
            db,
            commune=commune or None,
            person_id=None if commune else identity.person_id,
            state=ListingState(in_state) if in_state else None,
        )


@post("/products", opt=sellers_and_office, summary="Begin to list a product")
async def create_product(identity: NamedDependency[Identity], data: JSONBody[NewProduct]) -> ProductOut:
    product = await service.create_product(identity, data.seller, data)
    return ProductOut(product.code, product.name, product.state)


@patch("/products/{code:str}", opt=sellers_and_office, summary="Change the fields given")
async def edit_product(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[ProductFields]
) -> ProductOut:
    product = await service.edit_product(identity, code, data)
    return ProductOut(product.code, product.name, product.state)


@post("/products/{code:str}/submit", opt=sellers_and_office, status_code=204, summary="Ask for review")
async def submit_product(identity: NamedDependency[Identity], code: FromPath[str]) -> None:
    await service.submit_product(identity, code)


@post("/products/{code:str}/approve", opt=office, status_code=204, summary="Put it on sale")
async def approve_product(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[Approval]
) -> None:
    await service.approve_product(identity, code, papers_seen=data.papers_seen)


@post("/products/{code:str}/refuse", opt=office, status_code=204, summary="Say what must change")
async def refuse_product(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[Because]
) -> None:
    await service.refuse_product(identity, code, data.reason)


@post("/products/{code:str}/pause", opt=sellers_and_office, status_code=204, summary="Off the shelves")
async def pause_product(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[Because]
) -> None:
    await service.pause_product(identity, code, data.reason)


@post("/products/{code:str}/resume", opt=sellers_and_office, status_code=204, summary="Back on sale")
async def resume_product(identity: NamedDependency[Identity], code: FromPath[str]) -> None:
    await service.resume_product(identity, code)


@post("/products/{code:str}/papers", opt=office, status_code=204, summary="Quality papers seen or wanting")
async def check_papers(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[Papers]
) -> None:
    await service.check_papers(identity, code, seen=data.seen)


# ---- grades, prices, stock


class NewPrice(msgspec.Struct):
    price: int
    grade: str = ""


class Counted(msgspec.Struct):
    counted: int
    grade: str = ""


class WhichGrade(msgspec.Struct):
    grade: str = ""


@post("/products/{code:str}/grades", opt=sellers_and_office, summary="One more grade with its price")
async def add_grade(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[GradeFields]
) -> GradeView:
    grade = await service.add_grade(identity, code, data)
    return GradeView(grade.id, grade.name, grade.price, 0)


@post("/products/{code:str}/price", opt=sellers_and_office, status_code=204, summary="Change a price")
async def change_price(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[NewPrice]
) -> None:
    await service.change_price(identity, code, data.grade, data.price)


@post("/products/{code:str}/retire", opt=sellers_and_office, status_code=204, summary="Take a grade off")
async def retire_grade(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[WhichGrade]
) -> None:
    await service.retire_grade(identity, code, data.grade)


@post("/products/{code:str}/stock", opt=sellers_and_office, status_code=204, summary="What was counted")
async def count_stock(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[Counted]
) -> None:
    await service.count_stock(identity, code, data.grade, data.counted)


# ---- photos


@dataclass
class PhotoUpload:
    photo: UploadFile
    alt: str = ""


class PhotoOut(msgspec.Struct, frozen=True):
    id: int
    picture: Picture


@post(
    "/products/{code:str}/photos",
    opt=sellers_and_office,
    request_max_body_size=PHOTO_BODY,
    summary="Add a photo (JPEG, PNG or WebP, at most 12 MB)",
)
async def add_photo(
    identity: NamedDependency[Identity],
    storage: NamedDependency[Storage],
    code: FromPath[str],
    data: MultipartBody[PhotoUpload],
) -> PhotoOut:
    """Whatever the file carries besides its pixels is dropped."""
    photo = await service.add_photo(identity, storage, code, await data.photo.read(), data.alt)
    return PhotoOut(photo.id, Picture.of(photo, ""))


@post(
    "/products/{code:str}/photos/{photo_id:int}/first",
    opt=sellers_and_office,
    status_code=204,
    summary="The photo that lists show",
)
async def show_first(
    identity: NamedDependency[Identity], code: FromPath[str], photo_id: FromPath[int]
) -> None:
    await service.show_first(identity, code, photo_id)


@delete("/products/{code:str}/photos/{photo_id:int}", opt=sellers_and_office, summary="Remove a photo")
async def remove_photo(
    identity: NamedDependency[Identity], code: FromPath[str], photo_id: FromPath[int]
) -> None:
    await service.remove_photo(identity, code, photo_id)


# ---- recognitions


class Withdrawal(msgspec.Struct):
    reason: Annotated[str, msgspec.Meta(max_length=500)]
    on: date | None = None


@get("/products/{code:str}/recognitions", opt=recognisers, summary="All decisions about a product")
async def list_recognitions(
    identity: NamedDependency[Identity], code: FromPath[str]
) -> list[RecognitionView]:
    async with sessions.read() as db:
        return await queries.recognition_history(db, identity, code)


@post("/products/{code:str}/recognitions", opt=recognisers, summary="Record a decision")
async def record_recognition(
    identity: NamedDependency[Identity], code: FromPath[str], data: JSONBody[RecognitionFields]
) -> RecognitionView:
    recognition = await service.record_recognition(identity, code, data)
    async with sessions.read() as db:
        history = await queries.recognition_history(db, identity, code)
    return next(line for line in history if line.id == recognition.id)


@post(
    "/products/{code:str}/recognitions/{recognition_id:int}/withdraw",
    opt=recognisers,
    status_code=204,
    summary="The authority took it back",
)
async def withdraw_recognition(
    identity: NamedDependency[Identity],
    code: FromPath[str],
    recognition_id: FromPath[int],
    data: JSONBody[Withdrawal],
) -> None:
    await service.withdraw_recognition(identity, code, recognition_id, data.reason, on=data.on)


ROUTES = [
    Router(
        "/",
        tags=["catalogue"],
        route_handlers=[
            list_products,
            one_product,
            one_seller,
            list_register,
            list_banks,
            register_seller,
            edit_seller,
            review_seller,
            list_listings,
            create_product,
            edit_product,
            submit_product,
            approve_product,
            refuse_product,
            pause_product,
            resume_product,
            check_papers,
            add_grade,
            change_price,
            retire_grade,
            count_stock,
            add_photo,
            show_first,
            remove_photo,
            list_recognitions,
            record_recognition,
            withdraw_recognition,
        ],
    )
]
