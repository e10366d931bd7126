"""Reach outside the market: what staff report of other networks, with a screenshot; or what an API answered.

Self-reported figures stand apart on every screen and are never added to our own. What an API tells grows for
days after a session, so it is read every few minutes on air and then ever more seldom; each reading takes the
place of the one before. A reading that staff withdrew is not written again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import insert, or_, select, update
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
from commerce.live.listening import Listener, broadcast_of
from commerce.live.models import LiveSession, NetworkAccount, NetworkListening
from commerce.live.networks import Broadcast, Figures

NETWORKS = {
    "facebook": "Facebook",
    "tiktok": "TikTok",
    "youtube": "YouTube",
    "zalo": "Zalo",
    "other": N_("Nơi khác"),
}
REPORTERS = (Role.HOST, Role.HELPER, Role.OFFICER)
MOST = 100_000_000
LOOK_EVERY_S = 30
READ = "api:"
"""Begins the `proof` of what an API answered."""
ON_AIR_EVERY = timedelta(minutes=5)
AFTERWARDS = tuple(timedelta(hours=hours) for hours in (0.1, 1, 6, 24, 48, 168))
"""When figures are read after a session's end."""
PROOF_BYTES = 5 * 1024 * 1024
_KINDS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"RIFF": "image/webp"}


log = structlog.get_logger()


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
    """The latest report of each network that was not withdrawn: what staff reported with a screenshot goes
    before what was read from an API.
    """
    found = await db.scalars(
        select(OutsideReach)
        .ext(distinct_on(OutsideReach.network))
        .where(OutsideReach.live_session_id == session_id, OutsideReach.withdrawn_at.is_(None))
        .order_by(
            OutsideReach.network, OutsideReach.by.is_(None), OutsideReach.at.desc(), OutsideReach.id.desc()
        )
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


# ---- figures that an API tells


async def follow_figures(listener: Listener) -> None:
    """For ever, by the leader, beside its other jobs: a network that does not answer holds nothing up."""
    while True:
        try:
            await read_figures(listener)
        except Exception as error:  # PostgreSQL is away
            log.warning("figures_not_read", error=repr(error)[:200])
        await asyncio.sleep(LOOK_EVERY_S)


async def read_figures(listener: Listener, *, now: datetime | None = None) -> int:
    """Ask the networks for the figures of broadcasts that are due; returns how many answered."""
    now = now or clock.now()
    async with sessions.read() as db:
        rows = await db.execute(
            select(NetworkListening, LiveSession, NetworkAccount)
            .join(LiveSession, LiveSession.id == NetworkListening.live_session_id)
            .join(NetworkAccount, NetworkAccount.id == NetworkListening.account_id)
            .where(
                NetworkListening.video != "",
                NetworkAccount.removed_at.is_(None),
                NetworkAccount.problem == "",
                or_(LiveSession.ended_at.is_(None), LiveSession.ended_at > now - AFTERWARDS[-1] * 2),
            )
        )
        due = [row for row in rows if _is_due(row[0].figures_at, row[1].ended_at, now)]
    read = 0
    for listening, session, account in due:
        broadcast = broadcast_of(listening) or Broadcast(listening.video, listening.video, "")
        figures = await listener.figures(account, broadcast, now)
        read += figures is not None
        await _keep(listening, session, account, figures, now)
    return read


def _is_due(read_at: datetime | None, ended_at: datetime | None, now: datetime) -> bool:
    if read_at is None:
        return True
    if ended_at is None:
        return now - read_at >= ON_AIR_EVERY
    return any(read_at < ended_at + after <= now for after in AFTERWARDS)


async def _keep(
    listening: NetworkListening,
    session: LiveSession,
    account: NetworkAccount,
    figures: Figures | None,
    now: datetime,
) -> None:
    async with sessions.begin() as db:
        asked = update(NetworkListening).where(NetworkListening.id == listening.id)
        await db.execute(asked.values(figures_at=now))
        if figures is None or (figures.reach is None and figures.views is None):
            return
        proof = f"{READ}{account.network}:{listening.video}"
        values = {"reach": figures.reach, "views": figures.views, "at": now}
        mine = (OutsideReach.live_session_id == session.id, OutsideReach.proof == proof)
        known = (
            await db.scalars(update(OutsideReach).where(*mine).values(**values).returning(OutsideReach.id))
        ).all()
        if not known:
            row = {"live_session_id": session.id, "network": account.network, "proof": proof}
            await db.execute(insert(OutsideReach).values(**row, note=account.name[:500], **values))


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
