"""What holds for every act on sellers and products: who may do it, what must be there, how it is noted.

Functions take `db` inside a transaction and never commit.
"""

from __future__ import annotations

import secrets

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.errors import OwnListing, PhotoNotFound, ProductNotFound, SellerNotFound
from commerce.catalog.forms import Values
from commerce.catalog.models import (
    Bank,
    Grade,
    ListingState,
    Photo,
    Product,
    ProductHistory,
    Seller,
    SellerHistory,
)
from commerce.catalog.queries import as_code
from commerce.communes.models import Commune
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.states import StateTable
from commerce.core.text import clean, fold, search_text, slugify, sort_key

ALLOWED = {
    ListingState.DRAFT: frozenset({ListingState.REVIEW}),
    ListingState.REVIEW: frozenset({ListingState.APPROVED, ListingState.REFUSED}),
    ListingState.REFUSED: frozenset({ListingState.REVIEW}),
    # An approved one may be refused later: the office takes a listing down and says why.
    ListingState.APPROVED: frozenset({ListingState.PAUSED, ListingState.REVIEW, ListingState.REFUSED}),
    ListingState.PAUSED: frozenset({ListingState.APPROVED, ListingState.REVIEW, ListingState.REFUSED}),
}
SELLER_STATES = StateTable(model=Seller, history=SellerHistory, allowed=ALLOWED)
PRODUCT_STATES = StateTable(model=Product, history=ProductHistory, allowed=ALLOWED)

OFFICE = (Role.OFFICER,)
RECOGNISERS = (Role.OFFICER, Role.PROVINCE)
REVIEWED = frozenset({"name", "industry", "description", "origin", "shelf_life"})
"""What buyers read, and the office must have read before them."""
MOST_PHOTOS = 8
MOST_GRADES = 12
REASON_LENGTHS = (5, 500)
NO_ID = 2**63  # no row is numbered so high, and PostgreSQL cannot even be asked for it
_CODE_LETTERS = "23456789abcdefghjkmnpqrstuvwxyz"  # none that are mistaken for another


# ---- who may touch what


async def locked_seller(db: AsyncSession, by: Identity, seller_id: int, *, office: bool = False) -> Seller:
    """Locked. For its own person or the office; with `office` for the office alone, and not for oneself."""
    known = 0 < seller_id < NO_ID
    seller = await db.get(Seller, seller_id, with_for_update=True) if known else None
    if seller is None:
        raise SellerNotFound
    require(by, seller, office=office)
    return seller


async def locked_product(
    db: AsyncSession, by: Identity, code: str, *, office: bool = False
) -> tuple[Product, Seller]:
    """As `_seller`, the product locked."""
    product = await product_by_code(db, code)
    seller = await db.get_one(Seller, product.seller_id)
    require(by, seller, office=office)
    return product, seller


def require(by: Identity, seller: Seller, *, office: bool) -> None:
    officer = by.may(seller.commune_code, *OFFICE)
    own = seller.person_id == by.person_id and by.may(seller.commune_code, Role.SELLER)
    if office and own and officer:
        raise OwnListing
    if not (officer or (own and not office)):
        raise Forbidden


async def product_by_code(db: AsyncSession, code: str) -> Product:
    product = await db.scalar(select(Product).where(Product.code == as_code(code)).with_for_update())
    if product is None:
        raise ProductNotFound
    return product


async def recognised_product(db: AsyncSession, by: Identity, code: str) -> Product:
    product = await product_by_code(db, code)
    by.must(product.commune_code, *RECOGNISERS)
    return product


async def grade_of(db: AsyncSession, product: Product, name: str) -> Grade:
    found = await db.scalar(
        select(Grade).where(Grade.product_id == product.id, Grade.name == name, Grade.active)
    )
    if found is None:
        raise Invalid(FieldError("grade", N_("Mặt hàng này không có hạng “{name}”."), {"name": name}))
    return found


async def photo_of(db: AsyncSession, product: Product, photo_id: int) -> Photo:
    query = select(Photo).where(Photo.id == photo_id, Photo.product_id == product.id)
    found = await db.scalar(query) if photo_id < NO_ID else None
    if found is None:
        raise PhotoNotFound
    return found


# ---- rules


async def check_complete(db: AsyncSession, product: Product) -> None:
    """What buyers must be told before they order is there. Raises `Invalid` with every gap."""
    gaps: list[FieldError] = []
    if not await db.scalar(select(func.count()).where(Grade.product_id == product.id, Grade.active)):
        gaps.append(FieldError("grades", N_("Chưa có giá. Xin thêm ít nhất một hạng với giá bán.")))
    if not product.origin:
        gaps.append(FieldError("origin", N_("Chưa ghi nơi trồng, nơi làm ra.")))
    if not product.shelf_life and product.industry in ("food", "drink", "medicinal"):
        gaps.append(FieldError("shelf_life", N_("Chưa ghi hạn dùng hoặc cách bảo quản.")))
    if product.photo_id is None and not product.art:
        gaps.append(FieldError("photo", N_("Chưa có ảnh. Xin chụp ít nhất một tấm.")))
    if gaps:
        raise Invalid(*gaps)


def check_season(product: Product) -> None:
    """The window as it is after the change, of which one end may have been there before."""
    if product.harvest_from and product.harvest_to and product.harvest_from > product.harvest_to:
        raise Invalid(FieldError("harvest_to", N_("Ngày cuối vụ phải sau ngày đầu vụ.")))


def check_new_grade(name: str, on_sale: list[Grade]) -> None:
    names = {grade.name for grade in on_sale}
    if name in names:
        raise Invalid(FieldError("name", N_("Hạng này đã có. Muốn đổi giá thì sửa giá của nó.")))
    if names and ("" in names or not name):
        raise Invalid(FieldError("name", N_("Có nhiều hạng thì mỗi hạng cần một tên, ví dụ A, B, C.")))
    if len(names) >= MOST_GRADES:
        raise Invalid(FieldError("name", N_("Tối đa {most} hạng."), {"most": MOST_GRADES}))


async def check_bank(db: AsyncSession, values: Values) -> None:
    number = values.get("bank_bin")
    if number is None:
        return
    query = select(Bank.bin).where(Bank.bin == number, Bank.current, Bank.takes_vietqr)
    if await db.scalar(query) is None:
        raise Invalid(FieldError("bank_bin", N_("Ngân hàng này không nhận chuyển khoản bằng VietQR.")))


def checked_reason(text: str, *, needed: bool = True) -> str:
    text = clean(text)
    least, most = REASON_LENGTHS
    if (needed and len(text) < least) or len(text) > most:
        message = N_("Xin ghi lý do, từ {least} đến {most} chữ, để người bán biết phải sửa gì.")
        raise Invalid(FieldError("reason", message, {"least": least, "most": most}))
    return text


# ---- changes and their history


async def move(
    db: AsyncSession, by: Identity, product: Product, after: ListingState, reason: str = ""
) -> None:
    await db.flush()
    before = ListingState(product.state)
    await PRODUCT_STATES.transition(db, product.id, before, after, by=by.person_id, reason=reason)


async def note_change(db: AsyncSession, by: Identity, product: Product, what: str, *, review: bool) -> None:
    """Notes a change; one that buyers see goes back to review unless the office made it itself."""
    shown = product.state in (ListingState.APPROVED, ListingState.PAUSED)
    if review and shown and not by.may(product.commune_code, *OFFICE):
        await move(db, by, product, ListingState.REVIEW, what)
        await db.refresh(product)
    else:
        await line(db, product, by, what)


async def line(db: AsyncSession, product: Product, by: Identity, what: str) -> None:
    """A line of history that is no change of state."""
    await db.flush()
    await db.execute(
        insert(ProductHistory).values(
            subject_id=product.id, before=product.state, after=product.state, by=by.person_id, reason=what
        )
    )


async def seller_line(
    db: AsyncSession, seller: Seller, by: Identity, *, before: ListingState, reason: str
) -> None:
    await db.execute(
        insert(SellerHistory).values(
            subject_id=seller.id, before=before, after=seller.state, by=by.person_id, reason=reason
        )
    )


async def flush_unique(db: AsyncSession, field: str, message: str) -> None:
    """Writes what is pending; a name that is taken already is the field's fault, not a crash."""
    try:
        await db.flush()
    except IntegrityError as error:
        if "uq_" in str(error.orig):
            raise Invalid(FieldError(field, message)) from error
        raise


# ---- keys


def seller_keys(values: Values) -> Values:
    if "name" not in values:
        return {}
    return {"folded": fold(values["name"]), "sort_key": sort_key(values["name"])}


async def product_keys(db: AsyncSession, seller: Seller, name: str) -> Values:
    commune = await db.get_one(Commune, seller.commune_code)
    return {
        "folded": fold(name),
        "sort_key": sort_key(name),
        "search": search_text(name, seller.name, commune.name),
    }


async def refresh_search(db: AsyncSession, seller: Seller) -> None:
    for product in await db.scalars(select(Product).where(Product.seller_id == seller.id)):
        product.search = (await product_keys(db, seller, product.name))["search"]


def new_code(name: str) -> str:
    """`Cà phê bột` -> `ca-phe-bot-7k2m`."""
    ending = "".join(secrets.choice(_CODE_LETTERS) for _ in range(4))
    return f"{slugify(name)[:48].strip('-')}-{ending}"
