"""Listing goods in one go: what the farmer's three steps gather arrives as one form and is taken whole.

One transaction makes (or changes) the product, its grades with prices and stock, its photo and paper, and
asks for review; nothing of it is there before all of it is. The form carries the key of its tap, so a phone
may send it again after a broken line and still lists one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog import assisting, photos, stock
from commerce.catalog.errors import TooManyPhotos
from commerce.catalog.forms import (
    GradeFields,
    ProductFields,
    Values,
    check_grade,
    check_paper,
    check_product,
)
from commerce.catalog.models import Grade, ListingState, Paper, Photo, Product, Seller
from commerce.catalog.rules import (
    MOST_PHOTOS,
    REVIEWED,
    check_complete,
    check_season,
    flush_unique,
    line,
    locked_product,
    locked_seller,
    move,
    new_code,
    note_change,
    product_keys,
)
from commerce.catalog.stock import COUNT_MOST
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity
from commerce.core.storage import Storage
from commerce.core.taps import once


class Offer(msgspec.Struct):
    """One grade: its name ("" when there is only one), its price in dong, how much there is to sell."""

    price: int
    left: int
    name: str = ""


class PaperFields(msgspec.Struct):
    kind: str
    number: str = ""
    expires_on: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """What the three steps gathered. `photo`, `paper_photo`: bytes as the phone sent them."""

    fields: ProductFields
    offers: list[Offer]
    photo: bytes | None = None
    paper: PaperFields | None = None
    paper_photo: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Pictures:
    photo: photos.CleanPhoto | None
    paper: photos.CleanPhoto | None


async def list_product(by: Identity, storage: Storage, seller_id: int, listing: Listing, key: str) -> str:
    """A new product, sent to the office for review; its code. The same `key` again lists nothing more.

    Raises `SellerNotFound`, `Forbidden`, `Invalid` with every fault, and what a photo may raise.
    """
    values, grades = _check(listing, new=True)
    async with sessions.read() as db:  # before any work is put into it
        await locked_seller(db, by, seller_id)
    pictures = await _store(storage, listing)
    async with sessions.begin() as db:
        code = new_code(values["name"])
        done = await once(db, by.person_id, key, code)
        if done is not None:
            return done
        seller = await locked_seller(db, by, seller_id)
        product = Product(
            code=code,
            seller_id=seller.id,
            commune_code=seller.commune_code,
            state=ListingState.DRAFT,
            demo=seller.demo,
            **values | await product_keys(db, seller, values["name"]),
        )
        db.add(product)
        await flush_unique(db, "name", N_("Người bán này đã có mặt hàng mang tên ấy."))
        await _write_offers(db, by, product, grades)
        await _write_pictures(db, by, product, listing, pictures)
        await _complete(db, product)
        await assisting.note(db, by, seller, "listed", product, offers=_told(grades))
        await move(db, by, product, ListingState.REVIEW)
    return code


async def revise_product(by: Identity, storage: Storage, code: str, listing: Listing, key: str) -> str:
    """Change a product by the same three steps. What was refused goes to review again, as does what is on
    sale when buyers would read or see something new; prices and stock hold at once.

    Raises as `list_product`, and `ProductNotFound`.
    """
    values, grades = _check(listing, new=False)
    async with sessions.read() as db:
        await locked_product(db, by, code)
    pictures = await _store(storage, listing)
    async with sessions.begin() as db:
        if await once(db, by.person_id, key, code) is not None:
            return code
        product, seller = await locked_product(db, by, code)
        changed = await _change_fields(db, product, seller, values)
        await _write_offers(db, by, product, grades)
        await _write_pictures(db, by, product, listing, pictures)
        await _complete(db, product)
        await assisting.note(db, by, seller, "revised", product, offers=_told(grades))
        if product.state in (ListingState.DRAFT, ListingState.REFUSED):
            await move(db, by, product, ListingState.REVIEW)
        else:
            seen = bool(changed & REVIEWED) or pictures.photo is not None
            await note_change(db, by, product, f"revised: {', '.join(sorted(changed))}", review=seen)
    return product.code


# ---- reading the form


def _check(listing: Listing, *, new: bool) -> tuple[Values, list[tuple[Values, int]]]:
    """Cleaned fields, and grades with their stock. Raises `Invalid` with every fault of all steps."""
    faults: list[FieldError] = []
    values: Values = {}
    try:
        values = check_product(listing.fields, new=new)
    except Invalid as error:
        faults += error.errors
    if listing.paper is not None:
        try:
            check_paper(listing.paper.kind, listing.paper.number, listing.paper.expires_on)
        except Invalid as error:
            faults += error.errors
    grades = [_check_offer(index, offer, faults) for index, offer in enumerate(listing.offers)]
    names = [grade["name"] for grade, _ in grades]
    if not names:
        faults.append(FieldError("offers", N_("Chưa có giá. Xin thêm ít nhất một hạng với giá bán.")))
    elif len(set(names)) < len(names) or (len(names) > 1 and "" in names):
        faults.append(FieldError("offers", N_("Có nhiều hạng thì mỗi hạng cần một tên, ví dụ A, B, C.")))
    if faults:
        raise Invalid(*faults)
    return values, grades


def _check_offer(index: int, offer: Offer, faults: list[FieldError]) -> tuple[Values, int]:
    try:
        grade = check_grade(GradeFields(price=offer.price, name=offer.name, position=index))
    except Invalid as error:
        faults += [
            FieldError(f"offers[{index}].{one.field}", one.message, one.values) for one in error.errors
        ]
        grade = {"name": offer.name, "price": offer.price, "position": index}
    if not 0 <= offer.left <= COUNT_MOST:
        message = N_("Số lượng là một số nguyên từ 0 đến 1.000.000.000.")
        faults.append(FieldError(f"offers[{index}].left", message))
    return grade, offer.left


def _told(grades: Sequence[tuple[Values, int]]) -> list[dict[str, Any]]:
    return [{"name": grade["name"], "price": grade["price"]} for grade, _ in grades]


async def _store(storage: Storage, listing: Listing) -> _Pictures:
    photo = await photos.clean_and_store(storage, listing.photo) if listing.photo else None
    paper = (
        await photos.clean_and_store(storage, listing.paper_photo, photos.PAPERS)
        if listing.paper_photo
        else None
    )
    return _Pictures(photo, paper)


# ---- writing


async def _change_fields(db: AsyncSession, product: Product, seller: Seller, values: Values) -> set[str]:
    """Names of the fields that are different now."""
    changed = {name for name, value in values.items() if getattr(product, name) != value}
    if "unit" in changed and product.state not in (ListingState.DRAFT, ListingState.REFUSED):
        text = N_("Đơn vị tính chỉ đổi được trước khi duyệt. Xin đăng một mặt hàng mới.")
        raise Invalid(FieldError("unit", text))
    for name in changed:
        setattr(product, name, values[name])
    if "name" in changed:
        for name, value in (await product_keys(db, seller, product.name)).items():
            setattr(product, name, value)
    check_season(product)
    await flush_unique(db, "name", N_("Người bán này đã có mặt hàng mang tên ấy."))
    return changed


async def _write_offers(
    db: AsyncSession, by: Identity, product: Product, wanted: Sequence[tuple[Values, int]]
) -> None:
    """Exactly these grades are on sale afterwards, and so much of each is free to sell."""
    known = {
        grade.name: grade for grade in await db.scalars(select(Grade).where(Grade.product_id == product.id))
    }
    for values, left in wanted:
        grade = known.pop(values["name"], None)
        if grade is None:
            grade = Grade(product_id=product.id, **values)
            db.add(grade)
        elif (grade.price, grade.active) != (values["price"], True):
            await line(db, product, by, f"price of {grade.name!r}: {grade.price} -> {values['price']}")
        grade.price, grade.position, grade.active = values["price"], values["position"], True
        await db.flush()
        await stock.set_free(db, grade.id, left, by=by.person_id)
    for grade in known.values():
        grade.active = False


async def _write_pictures(
    db: AsyncSession, by: Identity, product: Product, listing: Listing, pictures: _Pictures
) -> None:
    if pictures.photo is not None:
        product.photo_id = await _photo(db, product, pictures.photo)
    if listing.paper is not None:
        values = check_paper(listing.paper.kind, listing.paper.number, listing.paper.expires_on)
        sha256 = pictures.paper.sha256 if pictures.paper else ""
        db.add(Paper(product_id=product.id, by=by.person_id, sha256=sha256, **values))
    await db.flush()


async def _photo(db: AsyncSession, product: Product, cleaned: photos.CleanPhoto) -> int:
    """Its id; the newest photo is the one shown first."""
    same = await db.scalar(
        select(Photo.id).where(Photo.product_id == product.id, Photo.sha256 == cleaned.sha256)
    )
    if same is not None:
        return same
    count = await db.scalar(select(func.count()).where(Photo.product_id == product.id))
    if (count or 0) >= MOST_PHOTOS:
        raise TooManyPhotos(most=MOST_PHOTOS)
    photo = Photo(
        product_id=product.id,
        sha256=cleaned.sha256,
        width=cleaned.width,
        height=cleaned.height,
        widths=cleaned.widths,
        alt="",
    )
    db.add(photo)
    await db.flush()
    return photo.id


async def _complete(db: AsyncSession, product: Product) -> None:
    await db.flush()
    await check_complete(db, product)
