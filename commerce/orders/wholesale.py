"""Traders who want tonnes: they leave a quantity and a phone, and are called back.

An enquiry comes from the buyers' form (on a session or on a product) or from a helper who heard it elsewhere.
It belongs to the commune whose goods it is about: its office and helpers see it until somebody has called.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.catalog.errors import ProductNotFound
from commerce.catalog.models import Grade, ListingState, Product, Seller
from commerce.catalog.queries import as_code
from commerce.core import clock
from commerce.core import phone as phones
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.taps import once
from commerce.core.text import clean
from commerce.live.errors import SessionNotFound
from commerce.live.models import LineupItem, LiveSession
from commerce.live.service import STAFF
from commerce.orders.models import WholesaleEnquiry

KILOGRAMS = (100, 10_000_000)  # less is an order, more than 10,000 tonnes a slip of the finger
UNITS = {"kg": 1, "tonne": 1000}
CALLERS = (Role.OFFICER, *STAFF)


@dataclass(frozen=True, slots=True)
class Enquiry:
    """As typed; `quantity` may be `2`, `2,5` or `0.5`, in `unit`."""

    name: str = ""
    phone: str = ""
    quantity: str = ""
    unit: str = "tonne"
    product: str = ""
    """Short code in the session's line-up, or code of the product."""
    note: str = ""
    source: str = ""
    consent: bool = False
    """The buyer lets the commune and its sellers call this number."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An enquiry as those who call back see it."""

    id: int
    at: datetime
    name: str
    phone: str
    kilograms: int
    note: str
    product: str
    seller: str
    session_code: str | None
    called_at: datetime | None


async def note_enquiry(identity: Identity, code: str, enquiry: Enquiry, key: str = "") -> int | None:
    """A helper of the session keeps a trader's enquiry; its id, or None for a tap (`key`) that came before.

    Raises `Forbidden`, `Invalid`.
    """
    async with sessions.begin() as db:
        session = await _session(db, code)
        identity.must(session.commune_code, *STAFF)
        if await once(db, identity.person_id, key) is not None:
            return None
        return await _keep(db, enquiry, session, by=identity)


async def ask_in_session(code: str, enquiry: Enquiry) -> int:
    """A buyer asks on the session's page. Raises `SessionNotFound`, `Invalid` with every field at fault."""
    async with sessions.begin() as db:
        return await _keep(db, enquiry, await _session(db, code))


async def ask_for_product(code: str, enquiry: Enquiry) -> int:
    """A buyer asks on the product's page. Raises `ProductNotFound`, `Invalid` with every field at fault."""
    async with sessions.begin() as db:
        row = (
            await db.execute(
                select(Grade.id, Product.commune_code)
                .join(Product, Product.id == Grade.product_id)
                .join(Seller, Seller.id == Product.seller_id)
                .where(
                    Product.code == as_code(code),
                    Product.state == ListingState.APPROVED,
                    Seller.state == ListingState.APPROVED,
                )
                .order_by(Grade.position, Grade.id)
                .limit(1)
            )
        ).first()
        if row is None:
            raise ProductNotFound
        values = _checked(enquiry, needs_consent=True)
        return await _insert(db, values | {"grade_id": row.id, "commune_code": row.commune_code})


async def called(identity: Identity, enquiry_id: int) -> None:
    """Somebody of the commune has called back. Raises `NotFound`, `Forbidden`."""
    async with sessions.begin() as db:
        found = await db.get(WholesaleEnquiry, enquiry_id, with_for_update=True)
        if found is None:
            raise NotFound
        identity.must(found.commune_code, *CALLERS)
        await db.execute(
            update(WholesaleEnquiry)
            .where(WholesaleEnquiry.id == enquiry_id, WholesaleEnquiry.called_at.is_(None))
            .values(called_at=clock.now(), called_by=identity.person_id)
        )


# ---- reads


async def of_session(db: AsyncSession, session_id: int) -> list[Asked]:
    """The newest first."""
    return await _asked(db, WholesaleEnquiry.live_session_id == session_id)


async def of_communes(db: AsyncSession, communes: Collection[str]) -> list[Asked]:
    """Those still to be called first, then the newest."""
    return await _asked(db, WholesaleEnquiry.commune_code.in_(communes))


async def _asked(db: AsyncSession, which: ColumnElement[bool]) -> list[Asked]:
    rows = await db.execute(
        select(WholesaleEnquiry, Product.name, Seller.name, LiveSession.code)
        .outerjoin(Grade, Grade.id == WholesaleEnquiry.grade_id)
        .outerjoin(Product, Product.id == Grade.product_id)
        .outerjoin(Seller, Seller.id == Product.seller_id)
        .outerjoin(LiveSession, LiveSession.id == WholesaleEnquiry.live_session_id)
        .where(which)
        .order_by(WholesaleEnquiry.called_at.is_not(None), WholesaleEnquiry.id.desc())
        .limit(100)
    )
    return [
        Asked(
            one.id,
            one.at,
            one.name,
            one.phone,
            one.kilograms,
            one.note,
            product or "",
            seller or "",
            code,
            one.called_at,
        )
        for one, product, seller, code in rows
    ]


# ---- parts


async def _session(db: AsyncSession, code: str) -> LiveSession:
    session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise SessionNotFound(code=code[:24])
    return session


async def _keep(
    db: AsyncSession, enquiry: Enquiry, session: LiveSession, *, by: Identity | None = None
) -> int:
    item = enquiry.product.strip().upper()
    grade = await db.scalar(
        select(LineupItem.grade_id).where(LineupItem.live_session_id == session.id, LineupItem.code == item)
    )
    faults = []
    if item and grade is None:
        faults.append(FieldError("product", N_("Phiên này không có mã {code}."), {"code": item[:10]}))
    values = _checked(enquiry, *faults, needs_consent=by is None)
    return await _insert(
        db,
        values
        | {
            "live_session_id": session.id,
            "commune_code": session.commune_code,
            "grade_id": grade,
            "entered_by": by.person_id if by else None,
        },
    )


def _checked(enquiry: Enquiry, *more: FieldError, needs_consent: bool) -> dict[str, object]:
    """What was typed as values of the row. Raises `Invalid` with every field at fault, `more` among them."""
    number = phones.normalise(enquiry.phone)
    kilograms = _kilograms(enquiry.quantity, enquiry.unit)
    faults = list(more)
    if number is None:
        faults.append(FieldError("phone", N_("Số điện thoại chưa đúng. Ví dụ: 0901 234 567.")))
    if kilograms is None:
        faults.append(
            FieldError("quantity", N_("Xin ghi số lượng từ 100 kg đến 10.000 tấn. Ví dụ: 500 kg, 2,5 tấn."))
        )
    if needs_consent and not enquiry.consent:
        faults.append(FieldError("consent", N_("Cần bạn đồng ý thì xã mới gọi lại cho bạn được.")))
    if faults:
        raise Invalid(*faults)
    return {
        "name": " ".join(clean(enquiry.name).split())[:80],
        "phone": number,
        "kilograms": kilograms,
        "note": clean(enquiry.note)[:300],
        "source": enquiry.source[:32],
    }


async def _insert(db: AsyncSession, values: dict[str, object]) -> int:
    made: int | None = await db.scalar(
        insert(WholesaleEnquiry).values(**values).returning(WholesaleEnquiry.id)
    )
    assert made is not None
    return made


def _kilograms(quantity: str, unit: str) -> int | None:
    """Whole kilograms of `2,5` tonnes; a dot between three figures and the next is the Vietnamese thousands
    mark (`1.500 kg`), otherwise dot and comma both begin a fraction."""
    text = quantity.strip().replace(" ", "")
    if unit == "kg":
        text = text.replace(".", "").partition(",")[0]
    whole, _, part = text.replace(",", ".").partition(".")
    if not (whole + part).isascii() or not (whole + part).isdigit() or len(whole) > 8 or len(part) > 3:
        return None
    factor = UNITS.get(unit)
    if factor is None:
        return None
    kilograms = int(whole or 0) * factor + int((part + "000")[:3]) * factor // 1000
    return kilograms if KILOGRAMS[0] <= kilograms <= KILOGRAMS[1] else None
