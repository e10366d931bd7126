"""Reach outside the market: what staff report of other networks, with a screenshot; or what an API answered.

Self-reported figures stand apart on every screen and are never added to our own.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.models import OutsideReach
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Forbidden, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.storage import Storage
from commerce.core.text import clean
from commerce.live.errors import SessionNotFound
from commerce.live.models import LiveSession

NETWORKS = {
    "facebook": "Facebook",
    "tiktok": "TikTok",
    "youtube": "YouTube",
    "zalo": "Zalo",
    "other": N_("Nơi khác"),
}
REPORTERS = (Role.HOST, Role.HELPER, Role.OFFICER)
MOST = 100_000_000
PROOF_BYTES = 5 * 1024 * 1024
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


@dataclass(frozen=True, slots=True)
class Reported:
    id: int
    network: str
    reach: int | None
    views: int | None
    note: str
    proof: str
    by: int | None
    at: datetime


async def of_session(db: AsyncSession, session_id: int) -> Sequence[Reported]:
    """The latest report of each network that was not withdrawn."""
    found = await db.scalars(
        select(OutsideReach)
        .ext(distinct_on(OutsideReach.network))
        .where(OutsideReach.live_session_id == session_id, OutsideReach.withdrawn_at.is_(None))
        .order_by(OutsideReach.network, OutsideReach.at.desc(), OutsideReach.id.desc())
    )
    return [Reported(r.id, r.network, r.reach, r.views, r.note, r.proof, r.by, r.at) for r in found]


async def report(
    identity: Identity,
    storage: Storage,
    code: str,
    *,
    network: str,
    reach: int | None,
    views: int | None,
    proof: bytes,
    note: str = "",
) -> int:
    """What a session reached elsewhere, with the screenshot that shows it. Raises `Invalid`, `Forbidden`."""
    kind = _check(network, reach, views, proof)
    async with sessions.read() as db:
        session = await _session(db, code, identity)
    key = f"outside/{session.id}/{secrets.token_hex(16)}"
    await storage.put(key, proof, kind)
    async with sessions.begin() as db:
        made: int | None = await db.scalar(
            insert(OutsideReach)
            .values(
                live_session_id=session.id,
                network=network,
                reach=reach,
                views=views,
                note=clean(note)[:500],
                proof=key,
                by=identity.person_id,
            )
            .returning(OutsideReach.id)
        )
    assert made is not None
    return made


async def withdraw(identity: Identity, code: str, report_id: int) -> None:
    """Take a report back; it stays in the table. A second time changes nothing."""
    async with sessions.begin() as db:
        session = await _session(db, code, identity)
        await db.execute(
            update(OutsideReach)
            .where(
                OutsideReach.id == report_id,
                OutsideReach.live_session_id == session.id,
                OutsideReach.withdrawn_at.is_(None),
            )
            .values(withdrawn_at=clock.now())
        )


async def _session(db: AsyncSession, code: str, identity: Identity) -> LiveSession:
    session = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if session is None:
        raise SessionNotFound(code=code[:40])
    if not identity.may(session.commune_code, *REPORTERS):
        raise Forbidden
    return session


def _check(network: str, reach: int | None, views: int | None, proof: bytes) -> str:
    """The screenshot's content type."""
    faults = []
    if network not in NETWORKS:
        faults.append(FieldError("network", N_("Xin chọn mạng xã hội.")))
    if reach is None and views is None:
        faults.append(FieldError("reach", N_("Xin ghi số người tiếp cận hoặc số lượt xem.")))
    for field, value in (("reach", reach), ("views", views)):
        if value is not None and not 0 <= value <= MOST:
            faults.append(FieldError(field, N_("Số phải từ 0 đến {most}."), {"most": MOST}))
    kind = next((kind for start, kind in _KINDS.items() if proof.startswith(start)), None)
    if kind is None or len(proof) > PROOF_BYTES:
        faults.append(FieldError("proof", N_("Xin đính ảnh chụp màn hình (PNG, JPEG, WebP, tối đa 5 MB).")))
    if faults:
        raise Invalid(*faults)
    assert kind is not None
    return kind
