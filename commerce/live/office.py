"""The commune office: what waits, review of listings and sellers, recognitions, the schedule of sessions."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts import identity as identity_checks
from commerce.accounts.errors import DocumentKnown
from commerce.accounts.models import Person, RoleGrant
from commerce.accounts.pages import DocumentForm, faults_of
from commerce.accounts.queries import office_commune
from commerce.catalog import assisting, service, words
from commerce.catalog import queries as catalog
from commerce.catalog.errors import IdentityUnchecked, NotConfirmed
from commerce.catalog.forms import RecognitionFields
from commerce.catalog.models import ListingState, Product, Recognition, Seller
from commerce.catalog.recognitions import RENEWAL_OPENS, holding, holds, renewal_due
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, MarketError
from commerce.core.i18n import N_, current_language, translate
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.live import service as live
from commerce.live.checklist import checklist
from commerce.live.home import session_card
from commerce.live.models import LiveState
from commerce.live.pages import moment
from commerce.live.queries import Session, of_staff
from commerce.live.rooms import rooms

OFFICE = access.roles(Role.OFFICER)


class Verdict(msgspec.Struct):
    approve: str = ""
    papers_seen: str = ""
    usual: list[str] | str = ""
    """Reasons that were ticked; a form with a single one sends it alone."""
    reason: Annotated[str, msgspec.Meta(max_length=600)] = ""

    def whole_reason(self) -> str:
        ticked = [self.usual] if isinstance(self.usual, str) else self.usual
        return " ".join(part for part in (*ticked, self.reason) if part.strip())


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


REASONS = (
    N_("Ảnh mờ hoặc tối. Xin chụp lại ngoài trời, thấy rõ hàng."),
    N_("Ảnh không đúng món. Xin chụp chính món hàng của mình."),
    N_("Giá lạ so với chợ. Xin xem lại giá từng loại, có khi thiếu hoặc thừa số 0."),
    N_("Tên chưa rõ. Xin ghi tên món như bà con vẫn gọi, không thêm lời quảng cáo."),
    N_("Thiếu giấy tờ. Xin chụp giấy an toàn thực phẩm hoặc mã số vùng trồng."),
    N_("Nơi trồng chưa rõ. Xin ghi thôn, buôn và tên xã."),
    N_("Lời giới thiệu nói chữa bệnh hoặc nhất vùng. Xin bỏ câu ấy."),
)
"""What is most often wrong, each with the way out; said to the seller in the office's language."""


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
            await service.refuse_product(identity, code, data.whole_reason())
    except (Invalid, NotConfirmed) as error:
        faults = {code: first_fault(error)}
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
    except (Invalid, IdentityUnchecked) as error:
        return await _sellers(
            request, identity, status=error.status, faults={seller: {"": first_fault(error)}}
        )
    return redirect("/office/sellers")


@post("/office/sellers/{seller:int}/identity", opt=OFFICE, include_in_schema=False)
async def verify_seller(
    request: AnyRequest,
    seller: FromPath[int],
    data: URLEncodedBody[DocumentForm],
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """The office looked at the seller's document; its number is hashed and forgotten."""
    try:
        await service.verify_seller(identity, seller, settings.secret_key, data.looked())
    except (Invalid, DocumentKnown) as error:
        return await _sellers(request, identity, status=error.status, faults={seller: faults_of(error)})
    return redirect(f"/office/sellers#s-{seller}")


# ---- recognitions


class RecognitionForm(msgspec.Struct):
    product: Annotated[str, msgspec.Meta(max_length=80)] = ""
    stars: Annotated[str, msgspec.Meta(max_length=2)] = "3"
    score: Annotated[str, msgspec.Meta(max_length=8)] = ""
    decision: Annotated[str, msgspec.Meta(max_length=120)] = ""
    issuer: Annotated[str, msgspec.Meta(max_length=160)] = "UBND tỉnh Đắk Lắk"
    granted_on: Annotated[str, msgspec.Meta(max_length=10)] = ""
    expires_on: Annotated[str, msgspec.Meta(max_length=10)] = ""

    def fields(self) -> RecognitionFields:
        """Raises `Invalid` with every field that is no number or no day."""
        faults = []
        granted, expires = _day(self.granted_on), _day(self.expires_on)
        if granted is None:
            faults.append(FieldError("granted_on", N_("Xin chọn ngày.")))
        score = _points(self.score)
        if score is None and self.score.strip():
            faults.append(FieldError("score", N_("Xin ghi số điểm, ví dụ 78,5.")))
        if not self.product:
            faults.append(FieldError("product", N_("Xin chọn món hàng.")))
        if faults or granted is None:
            raise Invalid(*faults)
        stars = int(self.stars) if self.stars in ("3", "4", "5") else 0
        return RecognitionFields(
            stars=stars,
            decision=self.decision,
            issuer=self.issuer,
            granted_on=granted,
            expires_on=expires,
            score=score,
        )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _points(text: str) -> float | None:
    whole, _, part = text.strip().replace(",", ".").partition(".")
    digits = whole + part
    return float(f"{whole}.{part or 0}") if digits.isascii() and digits.isdigit() and whole else None


@get("/office/ocop", opt=OFFICE, include_in_schema=False)
async def recognitions(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Every recognition of the commune with its decision and its last day, those that run out first."""
    return await _recognitions(request, identity, RecognitionForm())


@post("/office/ocop", opt=OFFICE, include_in_schema=False)
async def record_recognition(
    request: AnyRequest, data: URLEncodedBody[RecognitionForm], identity: NamedDependency[Identity]
) -> Response[str]:
    try:
        await service.record_recognition(identity, data.product, data.fields())
    except Invalid as error:
        return await _recognitions(request, identity, data, error)
    return redirect("/office/ocop")


@post("/office/ocop/{code:str}/{recognition:int}/withdraw", opt=OFFICE, include_in_schema=False)
async def withdraw_recognition(
    request: AnyRequest,
    code: FromPath[str],
    recognition: FromPath[int],
    data: URLEncodedBody[Verdict],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """The authority took it back; it is shown nowhere from now on."""
    try:
        await service.withdraw_recognition(identity, code, recognition, data.reason)
    except Invalid as error:
        return await _recognitions(request, identity, RecognitionForm(), error)
    return redirect("/office/ocop")


async def _recognitions(
    request: AnyRequest, identity: Identity, form: RecognitionForm, error: Invalid | None = None
) -> Response[str]:
    code = await office_commune(identity)
    async with sessions.read() as db:
        rows = (
            await db.execute(
                select(Recognition, Product, Seller.name)
                .join(Product, Product.id == Recognition.product_id)
                .join(Seller, Seller.id == Product.seller_id)
                .where(Product.commune_code == code)
                .order_by(Recognition.expires_on, Recognition.id)
            )
        ).all()
        products = await catalog.listings(db, commune=code)
    today = clock.today()
    return page(
        request,
        "office/ocop.html",
        status=error.status if error else 200,
        rows=[
            {
                "it": row.Recognition,
                "product": row.Product,
                "seller": row.name,
                "holds": holds(row.Recognition, today),
                "due": renewal_due(row.Recognition, today),
                "days": (row.Recognition.expires_on - today).days,
            }
            for row in rows
        ],
        products=[(one.product.code, one.product.name) for one in products],
        form=form,
        errors=faults_of(error),
    )


# ---- the schedule of sessions


class ScheduleForm(msgspec.Struct):
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    host: Annotated[str, msgspec.Meta(max_length=19)] = ""
    day: Annotated[str, msgspec.Meta(max_length=10)] = ""
    time: Annotated[str, msgspec.Meta(max_length=8)] = "19:30"


@get("/office/schedule", opt=OFFICE, include_in_schema=False)
async def schedule(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """The commune's coming sessions day by day, what each still lacks, and planning one more."""
    return await _schedule(request, identity, ScheduleForm())


@post("/office/schedule", opt=OFFICE, include_in_schema=False)
async def plan(
    request: AnyRequest, data: URLEncodedBody[ScheduleForm], identity: NamedDependency[Identity]
) -> Response[str]:
    try:
        await live.schedule_session(
            identity,
            await office_commune(identity),
            title=data.title,
            starts_at=moment(data.day, data.time),
            host_id=int(data.host) if data.host.isdecimal() else 0,
        )
    except Invalid as error:
        return await _schedule(request, identity, data, error)
    return redirect("/office/schedule")


@post("/office/schedule/{code:str}", opt=OFFICE, include_in_schema=False)
async def move_session(
    request: AnyRequest,
    code: FromPath[str],
    data: URLEncodedBody[ScheduleForm],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """Another day or time."""
    try:
        await live.edit_session(identity, code, starts_at=moment(data.day, data.time))
    except Invalid as error:
        return await _schedule(request, identity, data, error, moved=code)
    rooms.forget(code)
    return redirect("/office/schedule")


@post("/office/schedule/{code:str}/cancel", opt=OFFICE, include_in_schema=False)
async def cancel_session(
    code: FromPath[str], data: URLEncodedBody[Verdict], identity: NamedDependency[Identity]
) -> Response[str]:
    await live.cancel(identity, code, data.reason)
    rooms.forget(code)
    return redirect("/office/schedule")


async def _schedule(
    request: AnyRequest,
    identity: Identity,
    form: ScheduleForm,
    error: Invalid | None = None,
    moved: str = "",
) -> Response[str]:
    code = await office_commune(identity)
    async with sessions.read() as db:
        found = [
            one for one in await of_staff(db, {code}) if one.state in (LiveState.SCHEDULED, LiveState.LIVE)
        ]
        unmet = {one.code: [c for c in await checklist(db, one.id) if not c.met] for one in found}
        hosts = await db.execute(
            select(Person.id, Person.name, Person.identity_verified_at)
            .join(RoleGrant, RoleGrant.person_id == Person.id)
            .where(RoleGrant.role == Role.HOST, RoleGrant.commune_code == code, Person.active)
            .order_by(Person.name)
        )
        people = [(str(row.id), row.name) for row in hosts]
    days: dict[date, list[Session]] = {}
    for one in sorted(found, key=lambda one: one.starts_at):
        days.setdefault(clock.local(one.starts_at).date(), []).append(one)
    return page(
        request,
        "office/schedule.html",
        status=error.status if error else 200,
        days=days,
        unmet=unmet,
        hosts=people,
        form=form,
        moved=moved,
        today=clock.today(),
        errors={"time" if name == "starts_at" else name: text for name, text in faults_of(error).items()},
    )


async def _waiting(db: AsyncSession, code: str) -> dict[str, int]:
    async def count(model: Any, *where: Any) -> int:
        return int(await db.scalar(select(func.count()).select_from(model).where(*where)) or 0)

    hosts = select(RoleGrant.person_id).where(RoleGrant.role == Role.HOST, RoleGrant.commune_code == code)
    return {
        "listings": await count(Product, Product.commune_code == code, Product.state == ListingState.REVIEW),
        "word": len(await assisting.waiting(db, code)),
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
        codes = [one.product.code for one in waiting]
        return page(
            request,
            "office/listings.html",
            status=status,
            pages=[await catalog.product_page(db, one, on_sale_only=False) for one in codes],
            faults=faults or {},
            papers=await catalog.papers_of(db, codes),
            paper_name=words.paper,
            alike={one: await catalog.prices_of_the_like(db, one) for one in codes},
            unconfirmed=await assisting.unconfirmed(db, codes),
            reasons=[translate(reason) for reason in REASONS],
        )


async def _sellers(
    request: AnyRequest,
    identity: Identity,
    *,
    status: int = 200,
    faults: dict[int, dict[str, str]] | None = None,
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
        record = await identity_checks.checks(db, seller_ids=[one.id for one in waiting])
    return page(
        request,
        "office/sellers.html",
        status=status,
        sellers=waiting,
        faults=faults or {},
        records={one.id: record.get(("seller", one.id), []) for one in waiting},
        empty_form=DocumentForm(),
    )


def first_fault(error: MarketError) -> str:
    language = current_language.get()
    return error.errors[0].text(language) if isinstance(error, Invalid) else error.detail_text(language)


ROUTES = [
    office,
    listings,
    review_listing,
    sellers,
    review_seller,
    verify_seller,
    recognitions,
    record_recognition,
    withdraw_recognition,
    schedule,
    plan,
    move_session,
    cancel_session,
]
