"""Notices of bank credits: SePay and payOS tell us what came to a seller's account.

A notice is proved first (SePay: the key in `Authorization`; payOS: an HMAC over its data), then applied and
marked as seen in one transaction. The same notice again changes nothing and is answered the same; a fault
of ours is a loud 500 with nothing kept, so that the service sends it again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core.db import sessions
from commerce.core.seal import unseal
from commerce.core.text import clean
from commerce.payments.errors import NotSigned
from commerce.payments.models import BankFeed, WebhookEvent
from commerce.payments.receiving import Credit, bank_credit

SEPAY, PAYOS = "sepay", "payos"
SEAL = "payments"
"""What the services' keys are sealed for; see core.seal."""


class SepayNotice(msgspec.Struct):
    id: int
    accountNumber: str
    transferType: str
    transferAmount: int
    content: str = ""
    code: str | None = None
    subAccount: str | None = None
    referenceCode: str | None = None


class PayosData(msgspec.Struct):
    accountNumber: str
    amount: int
    description: str
    reference: str


class PayosNotice(msgspec.Struct):
    data: dict[str, Any]
    signature: str


async def take_sepay(body: bytes, authorization: str, secret_key: str) -> None:
    """Raises `NotSigned`; `msgspec.DecodeError` for a body that is no notice."""
    notice = msgspec.json.decode(body, type=SepayNotice)
    given = authorization.removeprefix("Apikey ").strip()
    feed = await find_feed(SEPAY, notice.accountNumber)
    if feed is None or not hmac.compare_digest(
        unseal(secret_key, SEAL, feed.secret).encode(), given.encode()
    ):
        raise NotSigned
    if notice.transferType != "in" or notice.transferAmount <= 0:
        return  # money that left the account is none of ours
    credit = Credit(
        SEPAY,
        str(notice.id),
        notice.transferAmount,
        memo=clean(f"{notice.code or ''} {notice.content}"),
        account=notice.accountNumber,
    )
    await apply_once(credit, feed.seller_id, msgspec.to_builtins(notice))


async def take_payos(body: bytes, secret_key: str) -> None:
    """Raises `NotSigned`; `msgspec.DecodeError` for a body that is no notice."""
    notice = msgspec.json.decode(body, type=PayosNotice)
    data = msgspec.convert(notice.data, PayosData)
    feed = await find_feed(PAYOS, data.accountNumber)
    if feed is None or not hmac.compare_digest(
        payos_signature(notice.data, unseal(secret_key, SEAL, feed.secret)), notice.signature.lower()
    ):
        raise NotSigned
    if data.amount <= 0:
        return
    credit = Credit(
        PAYOS, data.reference, data.amount, memo=clean(data.description), account=data.accountNumber
    )
    await apply_once(credit, feed.seller_id, notice.data)


def payos_signature(data: Mapping[str, Any], key: str) -> str:
    """HMAC-SHA256 over `k=v&…` with sorted keys, as payOS signs its notices."""

    def written(value: Any) -> str:
        if value is None or value in ("null", "undefined"):
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, list | dict):
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return str(value)

    text = "&".join(f"{name}={written(data[name])}" for name in sorted(data))
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


async def find_feed(service: str, account: str) -> BankFeed | None:
    async with sessions.read() as db:
        found: BankFeed | None = await db.scalar(
            select(BankFeed).where(
                BankFeed.service == service, BankFeed.account == account, BankFeed.active.is_(True)
            )
        )
        return found


async def apply_once(credit: Credit, seller_id: int, payload: dict[str, Any]) -> None:
    async with sessions.begin() as db:
        if await remember(db, credit.source, credit.external_id, payload):
            receipt = await bank_credit(db, credit, seller_id)
            if receipt is not None:
                await note_outcome(db, credit.source, credit.external_id, receipt.outcome)


async def remember(db: AsyncSession, source: str, external_id: str, payload: dict[str, Any]) -> bool:
    """Put a notice into the inbox as done; False if it was there. It holds only if the caller's transaction,
    which also applies it, commits."""
    new = await db.scalar(
        insert(WebhookEvent)
        .values(source=source, external_id=external_id, payload=payload, done_at=func.now())
        .on_conflict_do_nothing()
        .returning(WebhookEvent.id)
    )
    return new is not None


async def note_outcome(db: AsyncSession, source: str, external_id: str, outcome: str) -> None:
    event = await db.scalar(
        select(WebhookEvent).where(WebhookEvent.source == source, WebhookEvent.external_id == external_id)
    )
    assert event is not None
    event.outcome = outcome
