"""Asking, proving that the number is one's own, answering; two working days for whoever must answer."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.errors import SmsUnavailable, WrongCode
from commerce.accounts.models import Person, RoleGrant
from commerce.accounts.sms import Sms
from commerce.complaints.clocks import working_days_later
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound, TooMany
from commerce.core.i18n import N_, translate
from commerce.core.phone import normalise
from commerce.core.roles import Identity, Role
from commerce.core.text import clean
from commerce.live.models import LiveSession
from commerce.orders.models import Order
from commerce.privacy import data
from commerce.privacy.errors import RequestClosed
from commerce.privacy.models import OPEN, REQUEST_STATES, DataRequest, RequestState, Wish

ANSWER_DAYS = 2  # working days, by the Personal Data Law's decree
CODE_LASTS = timedelta(minutes=10)
SHOWN_FOR = timedelta(minutes=30)
TRIES = 5
PER_DAY = 5  # requests a number may be asked for: each sends a message
TEXT = N_("Chợ Phiên: mã xem dữ liệu của bạn là {code}, dùng trong 10 phút. Không đưa mã này cho ai.")
ANSWERERS = (Role.OFFICER, Role.PROVINCE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Asked:
    code: str
    sent: bool
    """False: no message could be sent, the office calls instead."""


async def ask(phone: str, wish: str, words: str, sms: Sms) -> Asked:
    """Keeps the request with its clock and sends a code to the number. Says nothing of whether anything is
    kept about it. Raises `Invalid`, `TooMany`."""
    number = normalise(phone)
    faults = []
    if number is None:
        faults.append(FieldError("phone", N_("Số điện thoại chưa đúng. Ví dụ: 0901 234 567.")))
    if wish not in set(Wish):
        faults.append(FieldError("wish", N_("Xin chọn một việc.")))
    if wish == Wish.CORRECT and not clean(words):
        faults.append(FieldError("words", N_("Xin ghi điều cần sửa.")))
    if faults or number is None:
        raise Invalid(*faults)
    secret = f"{secrets.randbelow(1_000_000):06d}"
    request = await _keep(number, Wish(wish), words, code_hash=_hash(secret))
    try:
        await sms.send(number, translate(TEXT).format(code=secret))
    except SmsUnavailable:
        log.info("data_request_without_message", code=request)
        return Asked(request, sent=False)
    return Asked(request, sent=True)


async def ask_as(identity: Identity, wish: str) -> str:
    """A signed-in person asks about their own number, which their sign-in proves; returns the secret of the
    page that shows it."""
    request = await _keep(identity.phone, Wish(wish) if wish in set(Wish) else Wish.SEE, "", code_hash=None)
    return await _proved(request, by=identity.person_id)


async def _keep(number: str, wish: Wish, words: str, *, code_hash: str | None) -> str:
    now = clock.now()
    async with sessions.begin() as db:
        recent = await db.scalar(
            select(func.count())
            .select_from(DataRequest)
            .where(DataRequest.phone == number, DataRequest.asked_at > now - timedelta(days=1))
        )
        if (recent or 0) >= PER_DAY:
            raise TooMany
        request = DataRequest(
            code=secrets.token_hex(5).upper(),
            phone=number,
            wish=wish.value,
            words=clean(words)[:1000],
            state=RequestState.ASKED.value,
            commune_code=await _commune_of(db, number),
            due_at=working_days_later(now, ANSWER_DAYS),
            code_hash=code_hash,
            code_until=now + CODE_LASTS,
        )
        db.add(request)
    return request.code


async def _commune_of(db: AsyncSession, number: str) -> str | None:
    """Where they bought last, else where they have an account."""
    bought: str | None = await db.scalar(
        select(LiveSession.commune_code)
        .join(Order, Order.live_session_id == LiveSession.id)
        .where(Order.buyer_phone == number)
        .order_by(Order.id.desc())
        .limit(1)
    )
    if bought:
        return bought
    works: str | None = await db.scalar(
        select(RoleGrant.commune_code)
        .join(Person, Person.id == RoleGrant.person_id)
        .where(Person.phone == number, RoleGrant.commune_code.is_not(None))
        .limit(1)
    )
    return works


async def prove(code: str, typed: str) -> str:
    """The code from the message; returns the secret of the page that shows the data. Raises `WrongCode`."""
    async with sessions.begin() as db:
        request = await _locked(db, code)
        right = (
            request.state == RequestState.ASKED
            and request.code_hash is not None
            and request.tries < TRIES
            and request.code_until is not None
            and request.code_until > clock.now()
            and hmac.compare_digest(request.code_hash, _hash(typed.strip()))
        )
        request.tries += 1
    if not right:
        raise WrongCode
    return await _proved(code, by=None)


async def _proved(code: str, *, by: int | None) -> str:
    token = secrets.token_urlsafe(24)
    async with sessions.begin() as db:
        request = await _locked(db, code)
        await REQUEST_STATES.transition(
            db,
            request.id,
            RequestState.ASKED,
            RequestState.PROVED,
            by=by,
            code_hash=None,
            token_hash=_hash(token),
            token_until=clock.now() + SHOWN_FOR,
        )
    return token


async def show(token: str) -> tuple[DataRequest, data.Data]:
    """What is kept about the number, for who has proved it; asking to see is thereby answered.

    Raises `RequestClosed`.
    """
    async with sessions.begin() as db:
        request = await _by_token(db, token)
        if request.wish == Wish.SEE and request.state == RequestState.PROVED:
            await _close(db, request, RequestState.DONE, by=None, answer="")
        return request, await data.of_phone(db, request.phone)


async def erase(token: str) -> data.Data:
    """Their own number, proved: at once. Raises `RequestClosed`."""
    async with sessions.begin() as db:
        request = await _by_token(db, token)
        result = await data.erase(db, request.phone)
        if request.state == RequestState.PROVED:
            await _close(db, request, RequestState.DONE, by=None, answer=_told(result))
        return result


# ---- the office's side


async def open_requests(db: AsyncSession, identity: Identity) -> Sequence[DataRequest]:
    """Those of the officer's communes, or of everywhere for the province; what is due first comes first."""
    query = select(DataRequest).where(DataRequest.state.in_(OPEN)).order_by(DataRequest.due_at).limit(200)
    if not identity.has(Role.PROVINCE, Role.ADMIN):
        query = query.where(DataRequest.commune_code.in_(identity.communes(Role.OFFICER)))
    return (await db.scalars(query)).all()


async def answer(identity: Identity, code: str, *, how: str, words: str) -> None:
    """Whoever must answer does: `done` (called, corrected), `erase` (done for them, after seeing who they
    are), `refuse`. Raises `NotFound`, `Forbidden`, `Invalid` without words."""
    said = clean(words)[:1000]
    if not said:
        raise Invalid(FieldError("words", N_("Xin ghi đã trả lời thế nào, hoặc vì sao từ chối.")))
    async with sessions.begin() as db:
        request = await _locked(db, code)
        if not identity.has(Role.PROVINCE, Role.ADMIN):
            identity.must(request.commune_code or "", *ANSWERERS)
        after = RequestState.REFUSED if how == "refuse" else RequestState.DONE
        if how == "erase":
            said = f"{said} {_told(await data.erase(db, request.phone))}"
        await _close(db, request, after, by=identity.person_id, answer=said)


async def _close(
    db: AsyncSession, request: DataRequest, after: RequestState, *, by: int | None, answer: str
) -> None:
    before = RequestState(request.state)
    await REQUEST_STATES.transition(
        db, request.id, before, after, by=by, reason=answer, answer=answer, answered_by=by
    )


def _told(result: dict[str, Any]) -> str:
    return f"gone={result['gone']} kept={len(result['kept_orders'])}"


async def _locked(db: AsyncSession, code: str) -> DataRequest:
    found = await db.scalar(select(DataRequest).where(DataRequest.code == code.upper()).with_for_update())
    if found is None:
        raise NotFound
    return found


async def _by_token(db: AsyncSession, token: str) -> DataRequest:
    found = await db.scalar(
        select(DataRequest).where(DataRequest.token_hash == _hash(token)).with_for_update()
    )
    if found is None or _over(found.token_until):
        raise RequestClosed
    return found


def _over(until: datetime | None) -> bool:
    return until is None or until < clock.now()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
