"""What sellers and the commune office do with the catalogue; one function, one transaction.

Nothing is shown before the office has reviewed it. What a seller changes afterwards in what buyers read
(words, photos) goes back to review; price, stock, season and capacity are the seller's own business at any
time. Officers act for sellers who don't tend a shop themselves (assisted mode). Everything done leaves a
line with its doer in the product's history.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts import identity
from commerce.accounts.models import Person
from commerce.catalog import assisting, photos, recognitions, stock
from commerce.catalog.errors import (
    BankAccountFixed,
    IdentityUnchecked,
    RecognitionNotFound,
    TooManyPhotos,
)
from commerce.catalog.forms import (
    GradeFields,
    ProductFields,
    RecognitionFields,
    SellerFields,
    check_grade,
    check_product,
    check_recognition,
    check_seller,
)
from commerce.catalog.models import (
    Grade,
    ListingState,
    Photo,
    Product,
    Recognition,
    Seller,
)
from commerce.catalog.rules import (
    MOST_PHOTOS,
    OFFICE,
    PRODUCT_STATES,
    REVIEWED,
    SELLER_STATES,
    check_bank,
    check_complete,
    check_new_grade,
    check_season,
    checked_reason,
    flush_unique,
    grade_of,
    line,
    locked_product,
    locked_seller,
    move,
    new_code,
    note_change,
    photo_of,
    product_keys,
    recognised_product,
    refresh_search,
    seller_keys,
    seller_line,
)
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.taps import once
from commerce.core.text import clean

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
        await check_bank(db, values)
        person = await db.get_one(Person, by.person_id)
        seller = Seller(
            commune_code=commune_code,
            demo=person.demo,
            person_id=await _farmer(db, values["phone"]) if by.may(commune_code, *OFFICE) else person.id,
            state=ListingState.REVIEW,
            **values | seller_keys(values),
        )
        db.add(seller)
        await flush_unique(db, "name", N_("Xã, phường này đã có người bán mang tên ấy."))
        await seller_line(db, seller, by, before=ListingState.DRAFT, reason="")
        await assisting.note(db, by, seller, "registered", account=seller.bank_account or "")
    return seller


async def _farmer(db: AsyncSession, phone: str) -> int | None:
    """The seller's own account, if the number of the stall already signs in as somebody."""
    return await db.scalar(select(Person.id).where(Person.phone == phone, Person.active))


async def edit_seller(by: Identity, seller_id: int, form: SellerFields) -> Seller:
    """Change what is known of a seller; a changed name or registration is reviewed again.

    Raises `SellerNotFound`, `Forbidden`, `BankAccountFixed`, `Invalid`.
    """
    values = check_seller(form, new=False)
    async with sessions.begin() as db:
        seller = await locked_seller(db, by, seller_id)
        changed = {name for name, value in values.items() if getattr(seller, name) != value}
        office = by.may(seller.commune_code, *OFFICE)
        reviewed = seller.state in (ListingState.APPROVED, ListingState.PAUSED)
        if changed & {"bank_bin", "bank_account", "bank_holder"}:
            if reviewed and not office:
                raise BankAccountFixed
            await check_bank(db, values)
        for name, value in (values | seller_keys(values)).items():
            setattr(seller, name, value)
        await flush_unique(db, "name", N_("Xã, phường này đã có người bán mang tên ấy."))
        if "name" in changed:
            await refresh_search(db, seller)
        what = f"edited: {', '.join(sorted(changed))}"
        if changed:
            await assisting.note(db, by, seller, "seller_edited", account=seller.bank_account or "")
        if changed & {"name", "registration", "kind"} and reviewed and not office:
            before = ListingState(seller.state)
            await SELLER_STATES.transition(
                db, seller.id, before, ListingState.REVIEW, by=by.person_id, reason=what
            )
            await db.refresh(seller)
        elif changed:
            await seller_line(db, seller, by, before=ListingState(seller.state), reason=what)
    return seller


async def review_seller(by: Identity, seller_id: int, verdict: ListingState, reason: str = "") -> None:
    """The office approves, refuses (with a reason) or pauses a seller, or lets a paused one go on.

    Raises `SellerNotFound`, `Forbidden`, `OwnListing`, `IdentityUnchecked`, `Invalid`, `WrongState`.
    """
    reason = checked_reason(reason, needed=verdict != ListingState.APPROVED)
    async with sessions.begin() as db:
        seller = await locked_seller(db, by, seller_id, office=True)
        if verdict == ListingState.APPROVED and seller.identity_verified_at is None:
            raise IdentityUnchecked(seller=seller.name)
        await SELLER_STATES.transition(
            db, seller.id, ListingState(seller.state), verdict, by=by.person_id, reason=reason
        )


async def verify_seller(by: Identity, seller_id: int, secret_key: str, looked: identity.Looked) -> None:
    """Notes what the office found when looking at the seller's document. Raises as `identity.record`, and
    `SellerNotFound`, `Forbidden`, `OwnListing`."""
    async with sessions.begin() as db:
        seller = await locked_seller(db, by, seller_id, office=True)
        seller.identity_verified_at = await identity.record(db, by, secret_key, looked, seller_id=seller.id)
        await seller_line(
            db, seller, by, before=ListingState(seller.state), reason=f"identity: {looked.verdict}"
        )


# ---- listing a product


async def create_product(by: Identity, seller_id: int, form: ProductFields) -> Product:
    """A draft that only its seller and the office see. Raises `SellerNotFound`, `Forbidden`, `Invalid`."""
    values = check_product(form, new=True)
    async with sessions.begin() as db:
        seller = await locked_seller(db, by, seller_id)
        product = Product(
            code=new_code(values["name"]),
            seller_id=seller.id,
            commune_code=seller.commune_code,
            state=ListingState.DRAFT,
            demo=seller.demo,
            **values | await product_keys(db, seller, values["name"]),
        )
        db.add(product)
        await flush_unique(db, "name", N_("Người bán này đã có mặt hàng mang tên ấy."))
        await line(db, product, by, "created")
        await assisting.note(db, by, seller, "listed", product)
    return product


async def edit_product(by: Identity, code: str, form: ProductFields) -> Product:
    """Change the fields given. Raises `ProductNotFound`, `Forbidden`, `Invalid`."""
    values = check_product(form, new=False)
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
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
        if changed:
            what = f"edited: {', '.join(sorted(changed))}"
            await note_change(db, by, product, what, review=bool(changed & REVIEWED))
            await assisting.note(db, by, seller, "revised", product)
    return product


async def submit_product(by: Identity, code: str) -> None:
    """Ask the office for review. Raises `Invalid` with everything that is still missing, `WrongState`."""
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code)
        await check_complete(db, product)
        await move(db, by, product, ListingState.REVIEW)


async def approve_product(by: Identity, code: str, *, papers_seen: bool) -> None:
    """The office has reviewed it: it is on sale. Without papers seen it cannot be pinned in a session.

    Raises `ProductNotFound`, `Forbidden`, `OwnListing`, `NotConfirmed`, `WrongState`.
    """
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code, office=True)
        await check_complete(db, product)
        await assisting.require_confirmed(db, product)
        if papers_seen:
            product.papers_checked_at = clock.now()
        await move(db, by, product, ListingState.APPROVED)


async def refuse_product(by: Identity, code: str, reason: str) -> None:
    """The office says what must change, of a new listing or of one on sale. Raises as `approve_product`."""
    reason = checked_reason(reason)
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code, office=True)
        await move(db, by, product, ListingState.REFUSED, reason)


async def pause_product(by: Identity, code: str, reason: str = "") -> None:
    """Off the shelves for a while. Raises `ProductNotFound`, `Forbidden`, `WrongState`."""
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        await move(db, by, product, ListingState.PAUSED, checked_reason(reason, needed=False))
        await assisting.note(db, by, seller, "paused", product)


async def resume_product(by: Identity, code: str) -> None:
    """A paused product back on sale: it was approved before. Raises as `pause_product`."""
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        await PRODUCT_STATES.transition(
            db, product.id, ListingState.PAUSED, ListingState.APPROVED, by=by.person_id
        )
        await assisting.note(db, by, seller, "resumed", product)


async def check_papers(by: Identity, code: str, *, seen: bool) -> None:
    """The office saw the quality papers, or found them wanting: then it can no longer be pinned."""
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code, office=True)
        product.papers_checked_at = clock.now() if seen else None
        await line(db, product, by, "papers seen" if seen else "papers wanting")


# ---- grades, prices, stock


async def add_grade(by: Identity, code: str, form: GradeFields) -> Grade:
    """One more grade with its price; one that was taken off comes back with the new price.

    Raises `ProductNotFound`, `Forbidden`, `Invalid`.
    """
    values = check_grade(form)
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        grades = list(await db.scalars(select(Grade).where(Grade.product_id == product.id)))
        on_sale = [grade for grade in grades if grade.active]
        check_new_grade(values["name"], on_sale)
        grade = next((known for known in grades if known.name == values["name"]), None)
        if grade is None:
            grade = Grade(product_id=product.id, **values)
            db.add(grade)
        else:
            grade.price, grade.position, grade.active = values["price"], values["position"], True
        await db.flush()
        await line(db, product, by, f"grade {grade.name!r} at {grade.price}")
        await assisting.note(db, by, seller, "graded", product, grade=grade.name, price=grade.price)
    return grade


async def change_price(by: Identity, code: str, grade_name: str, price: int) -> None:
    """From now on; orders carry the price they were placed at. Raises as `add_grade`."""
    values = check_grade(GradeFields(price=price, name=grade_name))
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        grade = await grade_of(db, product, values["name"])
        before, grade.price = grade.price, values["price"]
        await line(db, product, by, f"price of {grade.name!r}: {before} -> {grade.price}")
        await assisting.note(
            db, by, seller, "price", product, grade=grade.name, before=before, price=grade.price
        )


async def retire_grade(by: Identity, code: str, grade_name: str) -> None:
    """No longer on sale. The last grade cannot go: pause the product instead. Raises as `add_grade`."""
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        grade = await grade_of(db, product, clean(grade_name).upper())
        others = await db.scalar(
            select(func.count()).where(Grade.product_id == product.id, Grade.active, Grade.id != grade.id)
        )
        if not others and product.state != ListingState.DRAFT:
            text = N_("Đây là hạng cuối cùng. Muốn ngừng bán thì hãy tạm dừng mặt hàng.")
            raise Invalid(FieldError("grade", text))
        grade.active = False
        await line(db, product, by, f"grade {grade.name!r} taken off")
        await assisting.note(db, by, seller, "retired", product, grade=grade.name)


async def count_stock(by: Identity, code: str, grade_name: str, counted: int) -> None:
    """So much is in the store. Raises as `add_grade`, and `OutOfStock` below what is promised already."""
    if not 0 <= counted <= stock.COUNT_MOST:
        raise Invalid(FieldError("counted", N_("Số lượng là một số nguyên từ 0 đến 1.000.000.000.")))
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        grade = await grade_of(db, product, clean(grade_name).upper())
        await stock.adjust(db, grade.id, counted, by=by.person_id)
        await assisting.note(db, by, seller, "stock", product, grade=grade.name, counted=counted)


async def change_stock(by: Identity, code: str, grade_name: str, change: int, key: str) -> int:
    """So much more, or less, to sell; what is left then. A tap that comes twice (`key`) counts once.

    Raises as `add_grade`.
    """
    if not -stock.COUNT_MOST <= change <= stock.COUNT_MOST:
        raise Invalid(FieldError("change", N_("Số lượng là một số nguyên từ 0 đến 1.000.000.000.")))
    async with sessions.begin() as db:
        product, seller = await locked_product(db, by, code)
        grade = await grade_of(db, product, clean(grade_name).upper())
        if await once(db, by.person_id, key) is not None:
            return await stock.add_free(db, grade.id, 0)
        left = await stock.add_free(db, grade.id, change, by=by.person_id)
        await assisting.note(db, by, seller, "stock", product, grade=grade.name, left=left)
        return left


# ---- photos


async def add_photo(by: Identity, storage: Storage, code: str, data: bytes, alt: str = "") -> Photo:
    """A photo of the product, cleaned and stored; the first one is shown first.

    Raises `ProductNotFound`, `Forbidden`, `NotAPhoto`, `PhotoTooLarge`, `PhotoTooSmall`, `TooManyPhotos`.
    """
    async with sessions.read() as db:  # before any work is put into it
        await locked_product(db, by, code)
    cleaned = await photos.clean_and_store(storage, data)
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code)
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
        await note_change(db, by, product, f"photo {photo.sha256[:8]} added", review=True)
    return photo


async def show_first(by: Identity, code: str, photo_id: int) -> None:
    """Which photo lists show. Raises `ProductNotFound`, `Forbidden`, `PhotoNotFound`."""
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code)
        product.photo_id = (await photo_of(db, product, photo_id)).id


async def remove_photo(by: Identity, code: str, photo_id: int) -> None:
    """Takes it off the product; the bytes stay, another product may show the same photo.

    Raises `ProductNotFound`, `Forbidden`, `PhotoNotFound`.
    """
    async with sessions.begin() as db:
        product, _ = await locked_product(db, by, code)
        photo = await photo_of(db, product, photo_id)
        await db.delete(photo)
        await db.flush()
        if product.photo_id == photo.id:
            product.photo_id = await db.scalar(
                select(func.min(Photo.id)).where(Photo.product_id == product.id)
            )
        await line(db, product, by, f"photo {photo.sha256[:8]} removed")


# ---- recognitions


async def record_recognition(by: Identity, code: str, form: RecognitionFields) -> Recognition:
    """One more decision in the product's history; the latest that holds is the one that is shown.

    Raises `ProductNotFound`, `Forbidden`, `Invalid`.
    """
    values = check_recognition(form)
    async with sessions.begin() as db:
        product = await recognised_product(db, by, code)
        values["expires_on"] = form.expires_on or recognitions.last_day(form.granted_on)
        recognition = Recognition(product_id=product.id, demo=product.demo, **values)
        db.add(recognition)
        await flush_unique(db, "decision", N_("Quyết định này đã được ghi cho mặt hàng."))
        await line(db, product, by, f"recognised {form.stars} stars by {values['decision']}")
    return recognition


async def withdraw_recognition(
    by: Identity, code: str, recognition_id: int, reason: str, *, on: date | None = None
) -> None:
    """The authority took it back: it does not count from that day (today) on.

    Raises `ProductNotFound`, `Forbidden`, `RecognitionNotFound`, `Invalid`.
    """
    reason = checked_reason(reason)
    async with sessions.begin() as db:
        product = await recognised_product(db, by, code)
        found = await db.scalar(
            select(Recognition).where(Recognition.id == recognition_id, Recognition.product_id == product.id)
        )
        if found is None:
            raise RecognitionNotFound
        day = on or clock.today()
        if day < found.granted_on:
            raise Invalid(FieldError("on", N_("Ngày thu hồi phải sau ngày công nhận.")))
        found.withdrawn_on, found.withdrawn_reason = day, reason
        await line(db, product, by, f"recognition {found.decision} withdrawn")
