"""What sellers and the commune office do with the catalogue; one function, one transaction.

Nothing is shown before the office has reviewed it. What a seller changes afterwards in what buyers read
(words, photos) goes back to review; price, stock, season and capacity are the seller's own business at any
time. Officers act for sellers who don't tend a shop themselves (assisted mode). Everything done leaves a
line with its doer in the product's history.
"""

from __future__ import annotations

import secrets
from datetime import date

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.catalog import photos, recognitions, stock
from commerce.catalog.errors import (
    BankAccountFixed,
    OwnListing,
    PhotoNotFound,
    ProductNotFound,
    RecognitionNotFound,
    SellerNotFound,
    TooManyPhotos,
)
from commerce.catalog.forms import (
    GradeFields,
    ProductFields,
    RecognitionFields,
    SellerFields,
    Values,
    check_grade,
    check_product,
    check_recognition,
    check_seller,
)
from commerce.catalog.models import (
    Bank,
    Grade,
    ListingState,
    Photo,
    Product,
    ProductHistory,
    Recognition,
    Seller,
    SellerHistory,
)
from commerce.catalog.queries import as_code
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.states import StateTable
from commerce.core.storage import Storage
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


# ---- sellers


async def register_seller(by: Identity, commune_code: str, form: SellerFields) -> Seller:
    """A new seller of the commune, waiting for review: the person asking, or somebody the office acts for.

    What a made-up person makes is made up as well. Raises `Forbidden`, `Invalid`.
    """
    by.must(commune_code, Role.SELLER, *OFFICE)
    values = check_seller(form, new=True)
    async with sessions.begin() as db:
        if not commune_code.isalnum() or await db.get(Commune, commune_code) is None:
            raise Invalid(FieldError("commune", N_("Không có xã, phường nào mang mã này.")))
        await _check_bank(db, values)
        person = await db.get_one(Person, by.person_id)
        seller = Seller(
            commune_code=commune_code,
            demo=person.demo,
            person_id=None if by.may(commune_code, *OFFICE) else person.id,
            state=ListingState.REVIEW,
            **values | _seller_keys(values),
        )
        db.add(seller)
        await _flush_unique(db, "name", N_("Xã, phường này đã có người bán mang tên ấy."))
        await _seller_line(db, seller, by, before=ListingState.DRAFT, reason="")
    return seller


async def edit_seller(by: Identity, seller_id: int, form: SellerFields) -> Seller:
    """Change what is known of a seller; a changed name or registration is reviewed again.

    Raises `SellerNotFound`, `Forbidden`, `BankAccountFixed`, `Invalid`.
    """
    values = check_seller(form, new=False)
    async with sessions.begin() as db:
        seller = await _seller(db, by, seller_id)
        changed = {name for name, value in values.items() if getattr(seller, name) != value}
        office = by.may(seller.commune_code, *OFFICE)
        reviewed = seller.state in (ListingState.APPROVED, ListingState.PAUSED)
        if changed & {"bank_bin", "bank_account", "bank_holder"}:
            if reviewed and not office:
                raise BankAccountFixed
            await _check_bank(db, values)
        for name, value in (values | _seller_keys(values)).items():
            setattr(seller, name, value)
        await _flush_unique(db, "name", N_("Xã, phường này đã có người bán mang tên ấy."))
        if "name" in changed:
            await _refresh_search(db, seller)
        what = f"edited: {', '.join(sorted(changed))}"
        if changed & {"name", "registration", "kind"} and reviewed and not office:
            before = ListingState(seller.state)
            await SELLER_STATES.transition(
                db, seller.id, before, ListingState.REVIEW, by=by.person_id, reason=what
            )
            await db.refresh(seller)
        elif changed:
            await _seller_line(db, seller, by, before=ListingState(seller.state), reason=what)
    return seller


async def review_seller(by: Identity, seller_id: int, verdict: ListingState, reason: str = "") -> None:
    """The office approves, refuses (with a reason) or pauses a seller, or lets a paused one go on.

    Raises `SellerNotFound`, `Forbidden`, `OwnListing`, `Invalid`, `WrongState`.
    """
    reason = _reason(reason, needed=verdict != ListingState.APPROVED)
    async with sessions.begin() as db:
        seller = await _seller(db, by, seller_id, office=True)
        await SELLER_STATES.transition(
            db, seller.id, ListingState(seller.state), verdict, by=by.person_id, reason=reason
        )


# ---- listing a product


async def create_product(by: Identity, seller_id: int, form: ProductFields) -> Product:
    """A draft that only its seller and the office see. Raises `SellerNotFound`, `Forbidden`, `Invalid`."""
    values = check_product(form, new=True)
    async with sessions.begin() as db:
        seller = await _seller(db, by, seller_id)
        product = Product(
            code=f"{slugify(values['name'])[:48].strip('-')}-{_random(4)}",
            seller_id=seller.id,
            commune_code=seller.commune_code,
            state=ListingState.DRAFT,
            demo=seller.demo,
            **values | await _product_keys(db, seller, values["name"]),
        )
        db.add(product)
        await _flush_unique(db, "name", N_("Người bán này đã có mặt hàng mang tên ấy."))
        await _line(db, product, by, "created")
    return product


async def edit_product(by: Identity, code: str, form: ProductFields) -> Product:
    """Change the fields given. Raises `ProductNotFound`, `Forbidden`, `Invalid`."""
    values = check_product(form, new=False)
    async with sessions.begin() as db:
        product, seller = await _product(db, by, code)
        changed = {name for name, value in values.items() if getattr(product, name) != value}
        if "unit" in changed and product.state not in (ListingState.DRAFT, ListingState.REFUSED):
            text = N_("Đơn vị tính chỉ đổi được trước khi duyệt. Xin đăng một mặt hàng mới.")
            raise Invalid(FieldError("unit", text))
        for name in changed:
            setattr(product, name, values[name])
        if "name" in changed:
            for name, value in (await _product_keys(db, seller, product.name)).items():
                setattr(product, name, value)
        _check_season(product)
        await _flush_unique(db, "name", N_("Người bán này đã có mặt hàng mang tên ấy."))
        if changed:
            what = f"edited: {', '.join(sorted(changed))}"
            await _changed(db, by, product, what, review=bool(changed & REVIEWED))
    return product


async def submit_product(by: Identity, code: str) -> None:
    """Ask the office for review. Raises `Invalid` with everything that is still missing, `WrongState`."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        await _check_complete(db, product)
        await _move(db, by, product, ListingState.REVIEW)


async def approve_product(by: Identity, code: str, *, papers_seen: bool) -> None:
    """The office has reviewed it: it is on sale. Without papers seen it cannot be pinned in a session.

    Raises `ProductNotFound`, `Forbidden`, `OwnListing`, `WrongState`.
    """
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code, office=True)
        await _check_complete(db, product)
        if papers_seen:
            product.papers_checked_at = clock.now()
        await _move(db, by, product, ListingState.APPROVED)


async def refuse_product(by: Identity, code: str, reason: str) -> None:
    """The office says what must change, of a new listing or of one on sale. Raises as `approve_product`."""
    reason = _reason(reason)
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code, office=True)
        await _move(db, by, product, ListingState.REFUSED, reason)


async def pause_product(by: Identity, code: str, reason: str = "") -> None:
    """Off the shelves for a while. Raises `ProductNotFound`, `Forbidden`, `WrongState`."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        await _move(db, by, product, ListingState.PAUSED, _reason(reason, needed=False))


async def resume_product(by: Identity, code: str) -> None:
    """A paused product back on sale: it was approved before. Raises as `pause_product`."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        await PRODUCT_STATES.transition(
            db, product.id, ListingState.PAUSED, ListingState.APPROVED, by=by.person_id
        )


async def check_papers(by: Identity, code: str, *, seen: bool) -> None:
    """The office saw the quality papers, or found them wanting: then it can no longer be pinned."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code, office=True)
        product.papers_checked_at = clock.now() if seen else None
        await _line(db, product, by, "papers seen" if seen else "papers wanting")


# ---- grades, prices, stock


async def add_grade(by: Identity, code: str, form: GradeFields) -> Grade:
    """One more grade with its price; one that was taken off comes back with the new price.

    Raises `ProductNotFound`, `Forbidden`, `Invalid`.
    """
    values = check_grade(form)
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        grades = list(await db.scalars(select(Grade).where(Grade.product_id == product.id)))
        on_sale = [grade for grade in grades if grade.active]
        _check_new_grade(values["name"], on_sale)
        grade = next((known for known in grades if known.name == values["name"]), None)
        if grade is None:
            grade = Grade(product_id=product.id, **values)
            db.add(grade)
        else:
            grade.price, grade.position, grade.active = values["price"], values["position"], True
        await db.flush()
        await _line(db, product, by, f"grade {grade.name!r} at {grade.price}")
    return grade


async def change_price(by: Identity, code: str, grade_name: str, price: int) -> None:
    """From now on; orders carry the price they were placed at. Raises as `add_grade`."""
    values = check_grade(GradeFields(price=price, name=grade_name))
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        grade = await _grade(db, product, values["name"])
        before, grade.price = grade.price, values["price"]
        await _line(db, product, by, f"price of {grade.name!r}: {before} -> {grade.price}")


async def retire_grade(by: Identity, code: str, grade_name: str) -> None:
    """No longer on sale. The last grade cannot go: pause the product instead. Raises as `add_grade`."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        grade = await _grade(db, product, clean(grade_name).upper())
        others = await db.scalar(
            select(func.count()).where(Grade.product_id == product.id, Grade.active, Grade.id != grade.id)
        )
        if not others and product.state != ListingState.DRAFT:
            text = N_("Đây là hạng cuối cùng. Muốn ngừng bán thì hãy tạm dừng mặt hàng.")
            raise Invalid(FieldError("grade", text))
        grade.active = False
        await _line(db, product, by, f"grade {grade.name!r} taken off")


async def count_stock(by: Identity, code: str, grade_name: str, counted: int) -> None:
    """So much is in the store. Raises as `add_grade`, and `OutOfStock` below what is promised already."""
    if not 0 <= counted <= 1_000_000_000:
        raise Invalid(FieldError("counted", N_("Số lượng là một số nguyên từ 0 đến 1.000.000.000.")))
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        grade = await _grade(db, product, clean(grade_name).upper())
        await stock.adjust(db, grade.id, counted, by=by.person_id)


# ---- photos


async def add_photo(by: Identity, storage: Storage, code: str, data: bytes, alt: str = "") -> Photo:
    """A photo of the product, cleaned and stored; the first one is shown first.

    Raises `ProductNotFound`, `Forbidden`, `NotAPhoto`, `PhotoTooLarge`, `PhotoTooSmall`, `TooManyPhotos`.
    """
    async with sessions.read() as db:  # before any work is put into it
        await _product(db, by, code)
    cleaned = await photos.clean_and_store(storage, data)
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        known = list(await db.scalars(select(Photo).where(Photo.product_id == product.id)))
        same = next((photo for photo in known if photo.sha256 == cleaned.sha256), None)
        if same is not None:
            return same
        if len(known) >= MOST_PHOTOS:
            raise TooManyPhotos(most=MOST_PHOTOS)
        photo = Photo(
            product_id=product.id,
            sha256=cleaned.sha256,
            width=cleaned.width,
            height=cleaned.height,
            widths=cleaned.widths,
            alt=clean(alt)[:200],
        )
        db.add(photo)
        await db.flush()
        if product.photo_id is None:
            product.photo_id = photo.id
        await _changed(db, by, product, f"photo {photo.sha256[:8]} added", review=True)
    return photo


async def show_first(by: Identity, code: str, photo_id: int) -> None:
    """Which photo lists show. Raises `ProductNotFound`, `Forbidden`, `PhotoNotFound`."""
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        product.photo_id = (await _photo(db, product, photo_id)).id


async def remove_photo(by: Identity, code: str, photo_id: int) -> None:
    """Takes it off the product; the bytes stay, another product may show the same photo.

    Raises `ProductNotFound`, `Forbidden`, `PhotoNotFound`.
    """
    async with sessions.begin() as db:
        product, _ = await _product(db, by, code)
        photo = await _photo(db, product, photo_id)
        await db.delete(photo)
        await db.flush()
        if product.photo_id == photo.id:
            product.photo_id = await db.scalar(
                select(func.min(Photo.id)).where(Photo.product_id == product.id)
            )
        await _line(db, product, by, f"photo {photo.sha256[:8]} removed")


# ---- recognitions


async def record_recognition(by: Identity, code: str, form: RecognitionFields) -> Recognition:
    """One more decision in the product's history; the latest that holds is the one that is shown.

    Raises `ProductNotFound`, `Forbidden`, `Invalid`.
    """
    values = check_recognition(form)
    async with sessions.begin() as db:
        product = await _recognised(db, by, code)
        values["expires_on"] = form.expires_on or recognitions.last_day(form.granted_on)
        recognition = Recognition(product_id=product.id, demo=product.demo, **values)
        db.add(recognition)
        await _flush_unique(db, "decision", N_("Quyết định này đã được ghi cho mặt hàng."))
        await _line(db, product, by, f"recognised {form.stars} stars by {values['decision']}")
    return recognition


async def withdraw_recognition(
    by: Identity, code: str, recognition_id: int, reason: str, *, on: date | None = None
) -> None:
    """The authority took it back: it does not count from that day (today) on.

    Raises `ProductNotFound`, `Forbidden`, `RecognitionNotFound`, `Invalid`.
    """
    reason = _reason(reason)
    async with sessions.begin() as db:
        product = await _recognised(db, by, code)
        found = await db.scalar(
            select(Recognition).where(Recognition.id == recognition_id, Recognition.product_id == product.id)
        )
        if found is None:
            raise RecognitionNotFound
        day = on or clock.today()
        if day < found.granted_on:
            raise Invalid(FieldError("on", N_("Ngày thu hồi phải sau ngày công nhận.")))
        found.withdrawn_on, found.withdrawn_reason = day, reason
        await _line(db, product, by, f"recognition {found.decision} withdrawn")


# ---- who may touch what


async def _seller(db: AsyncSession, by: Identity, seller_id: int, *, office: bool = False) -> Seller:
    """Locked. For its own person or the office; with `office` for the office alone, and not for oneself."""
    known = 0 < seller_id < NO_ID
    seller = await db.get(Seller, seller_id, with_for_update=True) if known else None
    if seller is None:
        raise SellerNotFound
    _require(by, seller, office=office)
    return seller


async def _product(
    db: AsyncSession, by: Identity, code: str, *, office: bool = False
) -> tuple[Product, Seller]:
    """As `_seller`, the product locked."""
    product = await _locked_product(db, code)
    seller = await db.get_one(Seller, product.seller_id)
    _require(by, seller, office=office)
    return product, seller


def _require(by: Identity, seller: Seller, *, office: bool) -> None:
    officer = by.may(seller.commune_code, *OFFICE)
    own = seller.person_id == by.person_id and by.may(seller.commune_code, Role.SELLER)
    if office and own and officer:
        raise OwnListing
    if not (officer or (own and not office)):
        raise Forbidden


async def _locked_product(db: AsyncSession, code: str) -> Product:
    product = await db.scalar(select(Product).where(Product.code == as_code(code)).with_for_update())
    if product is None:
        raise ProductNotFound
    return product


async def _recognised(db: AsyncSession, by: Identity, code: str) -> Product:
    product = await _locked_product(db, code)
    by.must(product.commune_code, *RECOGNISERS)
    return product


async def _grade(db: AsyncSession, product: Product, name: str) -> Grade:
    found = await db.scalar(
        select(Grade).where(Grade.product_id == product.id, Grade.name == name, Grade.active)
    )
    if found is None:
        raise Invalid(FieldError("grade", N_("Mặt hàng này không có hạng “{name}”."), {"name": name}))
    return found


async def _photo(db: AsyncSession, product: Product, photo_id: int) -> Photo:
    query = select(Photo).where(Photo.id == photo_id, Photo.product_id == product.id)
    found = await db.scalar(query) if photo_id < NO_ID else None
    if found is None:
        raise PhotoNotFound
    return found


# ---- rules


async def _check_complete(db: AsyncSession, product: Product) -> None:
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


def _check_season(product: Product) -> None:
    """The window as it is after the change, of which one end may have been there before."""
    if product.harvest_from and product.harvest_to and product.harvest_from > product.harvest_to:
        raise Invalid(FieldError("harvest_to", N_("Ngày cuối vụ phải sau ngày đầu vụ.")))


def _check_new_grade(name: str, on_sale: list[Grade]) -> None:
    names = {grade.name for grade in on_sale}
    if name in names:
        raise Invalid(FieldError("name", N_("Hạng này đã có. Muốn đổi giá thì sửa giá của nó.")))
    if names and ("" in names or not name):
        raise Invalid(FieldError("name", N_("Có nhiều hạng thì mỗi hạng cần một tên, ví dụ A, B, C.")))
    if len(names) >= MOST_GRADES:
        raise Invalid(FieldError("name", N_("Tối đa {most} hạng."), {"most": MOST_GRADES}))


async def _check_bank(db: AsyncSession, values: Values) -> None:
    number = values.get("bank_bin")
    if number is None:
        return
    query = select(Bank.bin).where(Bank.bin == number, Bank.current, Bank.takes_vietqr)
    if await db.scalar(query) is None:
        raise Invalid(FieldError("bank_bin", N_("Ngân hàng này không nhận chuyển khoản bằng VietQR.")))


def _reason(text: str, *, needed: bool = True) -> str:
    text = clean(text)
    least, most = REASON_LENGTHS
    if (needed and len(text) < least) or len(text) > most:
        message = N_("Xin ghi lý do, từ {least} đến {most} chữ, để người bán biết phải sửa gì.")
        raise Invalid(FieldError("reason", message, {"least": least, "most": most}))
    return text


# ---- changes and their history


async def _move(
    db: AsyncSession, by: Identity, product: Product, after: ListingState, reason: str = ""
) -> None:
    await db.flush()
    before = ListingState(product.state)
    await PRODUCT_STATES.transition(db, product.id, before, after, by=by.person_id, reason=reason)


async def _changed(db: AsyncSession, by: Identity, product: Product, what: str, *, review: bool) -> None:
    """Notes a change; one that buyers see goes back to review unless the office made it itself."""
    shown = product.state in (ListingState.APPROVED, ListingState.PAUSED)
    if review and shown and not by.may(product.commune_code, *OFFICE):
        await _move(db, by, product, ListingState.REVIEW, what)
        await db.refresh(product)
    else:
        await _line(db, product, by, what)


async def _line(db: AsyncSession, product: Product, by: Identity, what: str) -> None:
    """A line of history that is no change of state."""
    await db.flush()
    await db.execute(
        insert(ProductHistory).values(
            subject_id=product.id, before=product.state, after=product.state, by=by.person_id, reason=what
        )
    )


async def _seller_line(
    db: AsyncSession, seller: Seller, by: Identity, *, before: ListingState, reason: str
) -> None:
    await db.execute(
        insert(SellerHistory).values(
            subject_id=seller.id, before=before, after=seller.state, by=by.person_id, reason=reason
        )
    )


async def _flush_unique(db: AsyncSession, field: str, message: str) -> None:
    """Writes what is pending; a name that is taken already is the field's fault, not a crash."""
    try:
        await db.flush()
    except IntegrityError as error:
        if "uq_" in str(error.orig):
            raise Invalid(FieldError(field, message)) from error
        raise


# ---- keys


def _seller_keys(values: Values) -> Values:
    if "name" not in values:
        return {}
    return {"folded": fold(values["name"]), "sort_key": sort_key(values["name"])}


async def _product_keys(db: AsyncSession, seller: Seller, name: str) -> Values:
    commune = await db.get_one(Commune, seller.commune_code)
    return {
        "folded": fold(name),
        "sort_key": sort_key(name),
        "search": search_text(name, seller.name, commune.name),
    }


async def _refresh_search(db: AsyncSession, seller: Seller) -> None:
    for product in await db.scalars(select(Product).where(Product.seller_id == seller.id)):
        product.search = (await _product_keys(db, seller, product.name))["search"]


def _random(length: int) -> str:
    return "".join(secrets.choice(_CODE_LETTERS) for _ in range(length))
