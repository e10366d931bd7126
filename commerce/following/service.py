"""What a device follows, and telling it: who must hear what is found in the database, sent in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import structlog
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.html import time as clock_time
from commerce.core.i18n import LANGUAGES, N_, translate
from commerce.core.settings import Settings
from commerce.following import push
from commerce.following.errors import NoPushHere
from commerce.following.models import Follow, Kind, PushDevice, PushNotice, Reminder
from commerce.following.push import Outcome, Target
from commerce.live.models import LiveSession, LiveState

MOST_REMINDERS = 50  # sessions a device may wait for
BEFORE = timedelta(minutes=15)  # a reminder comes so long before the session
STALE = timedelta(minutes=45)  # what could not be told by then is no news any more
BATCH = 200
AT_ONCE = 32  # messages on their way at the same time
LEASE_S = 120  # longer than a batch can take: 200 / 32 rounds of 10 s
ATTEMPTS = 6
EVERY_S = 3.0

log = structlog.get_logger()


# ---- what a device wants


async def set_following(
    settings: Settings,
    target: Target,
    *,
    language: str,
    communes: Collection[str],
    sessions_: Collection[str],
) -> tuple[list[str], list[str]]:
    """From now on this device follows these communes and waits for these sessions, and no others.

    The device sends all of it each time, so a tap that is sent twice or late does no harm. What does not
    exist (any more) is left out; returns what holds now. With nothing left the device is forgotten.
    Raises `NoPushHere`.
    """
    if not push.allowed(settings, target.endpoint) or not push.usable(target.p256dh, target.auth):
        raise NoPushHere
    async with sessions.begin() as db:
        codes = (await db.scalars(select(Commune.code).where(Commune.code.in_(communes)))).all()
        waited = (
            await db.execute(
                select(LiveSession.id, LiveSession.code).where(
                    LiveSession.code.in_([code.upper() for code in list(sessions_)[:MOST_REMINDERS]]),
                    LiveSession.state.in_((LiveState.SCHEDULED, LiveState.LIVE)),
                    LiveSession.rehearsal.is_(False),
                )
            )
        ).all()
        if not codes and not waited:
            await db.execute(delete(PushDevice).where(PushDevice.endpoint == target.endpoint))
            return [], []
        values = {
            "p256dh": target.p256dh,
            "auth": target.auth,
            "language": language if language in LANGUAGES else LANGUAGES[0],
        }
        device = await db.scalar(
            upsert(PushDevice)
            .values(endpoint=target.endpoint, **values)
            .on_conflict_do_update(index_elements=[PushDevice.endpoint], set_=values)
            .returning(PushDevice.id)
        )
        ids = [row.id for row in waited]
        gone_follows = delete(Follow).where(Follow.device_id == device, Follow.commune_code.not_in(codes))
        gone_reminders = delete(Reminder).where(
            Reminder.device_id == device, Reminder.live_session_id.not_in(ids)
        )
        await db.execute(gone_follows)
        await db.execute(gone_reminders)
        if codes:
            rows = [{"device_id": device, "commune_code": code} for code in codes]
            await db.execute(upsert(Follow).values(rows).on_conflict_do_nothing())
        if ids:
            rows = [{"device_id": device, "live_session_id": one} for one in ids]
            await db.execute(upsert(Reminder).values(rows).on_conflict_do_nothing())
    return sorted(codes), sorted(row.code for row in waited)


# ---- who must hear what

_NOTICES = (
    # Those who wait: shortly before, when it begins, when it is called off.
    """
    INSERT INTO push_notice (device_id, live_session_id, kind)
    SELECT r.device_id, s.id, 'soon' FROM live_session s JOIN reminder r ON r.live_session_id = s.id
    WHERE s.state = 'scheduled' AND NOT s.rehearsal AND s.starts_at BETWEEN :now AND :soon
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO push_notice (device_id, live_session_id, kind)
    SELECT r.device_id, s.id, 'live' FROM live_session s JOIN reminder r ON r.live_session_id = s.id
    WHERE s.state = 'live' AND NOT s.rehearsal AND s.started_at > :stale
      AND r.created_at < s.started_at
    ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO push_notice (device_id, live_session_id, kind)
    SELECT r.device_id, s.id, 'cancelled' FROM live_session s JOIN reminder r ON r.live_session_id = s.id
    WHERE s.state = 'cancelled' AND s.starts_at > :now
    ON CONFLICT DO NOTHING
    """,
    # Those who follow the commune hear that it is on air, unless they came while it was.
    """
    INSERT INTO push_notice (device_id, live_session_id, kind)
    SELECT f.device_id, s.id, 'live' FROM live_session s JOIN follow f ON f.commune_code = s.commune_code
    WHERE s.state = 'live' AND NOT s.rehearsal AND s.started_at > :stale
      AND f.created_at < s.started_at
    ON CONFLICT DO NOTHING
    """,
)


async def note_due(now: datetime | None = None) -> int:
    """Writes down what is to be told now; safe to do again and in several processes. How many are new."""
    now = now or clock.now()
    new = 0
    async with sessions.begin() as db:
        for statement in _NOTICES:
            done = await db.execute(text(statement), {"now": now, "soon": now + BEFORE, "stale": now - STALE})
            new += getattr(done, "rowcount", 0)
    return new


# ---- telling


@dataclass(frozen=True, slots=True)
class _Due:
    id: int
    device_id: int
    target: Target
    message: dict[str, str]
    attempts: int
    stale: bool


_CLAIM = text("""
    WITH due AS (
        UPDATE push_notice SET due_at = now() + make_interval(secs => :lease), attempts = attempts + 1
        WHERE id IN (
            SELECT id FROM push_notice WHERE done_at IS NULL AND due_at <= now()
            ORDER BY due_at LIMIT :batch FOR UPDATE SKIP LOCKED)
        RETURNING id, device_id, live_session_id, kind, attempts)
    SELECT due.id, due.device_id, due.kind, due.attempts, d.endpoint, d.p256dh, d.auth, d.language,
           s.code, s.title, s.starts_at, s.started_at, s.state, c.name AS commune
    FROM due JOIN push_device d ON d.id = due.device_id JOIN live_session s ON s.id = due.live_session_id
    JOIN commune c ON c.code = s.commune_code
    ORDER BY due.id
""")

TITLES = {
    Kind.SOON: N_("Sắp đến phiên: {title}"),
    Kind.LIVE: N_("Đang phiên: {title}"),
    Kind.CANCELLED: N_("Phiên đã hoãn: {title}"),
}
TEXTS = {
    Kind.SOON: N_("{commune} lên sóng lúc {time}. Bấm để vào xem."),
    Kind.LIVE: N_("{commune} đang bán trực tiếp. Bấm để vào xem và đặt hàng."),
    Kind.CANCELLED: N_("{commune} không lên sóng lúc {time} như đã báo."),
}


def message(
    kind: Kind, language: str, *, code: str, title: str, commune: str, starts_at: datetime
) -> dict[str, str]:
    """What the service worker shows. `tag`: a later message about a session replaces an earlier one.
    `?s=push` tells the counts how the visitor came."""
    return {
        "title": translate(TITLES[kind], language).format(title=title),
        "body": translate(TEXTS[kind], language).format(commune=commune, time=clock_time(starts_at)),
        "url": f"/live/{code}?s=push",
        "tag": code,
    }


async def send_due(settings: Settings, client: httpx.AsyncClient) -> int:
    """One batch of what is due; returns how many were tried."""
    async with sessions.begin() as db:
        rows = (await db.execute(_CLAIM, {"lease": LEASE_S, "batch": BATCH})).all()
    now = clock.now()
    due = [
        _Due(
            row.id,
            row.device_id,
            Target(row.endpoint, row.p256dh, row.auth),
            message(
                Kind(row.kind),
                row.language,
                code=row.code,
                title=row.title,
                commune=row.commune,
                starts_at=row.starts_at,
            ),
            row.attempts,
            stale=_stale(Kind(row.kind), row.state, row.started_at, row.starts_at, now),
        )
        for row in rows
    ]
    turn = asyncio.Semaphore(AT_ONCE)

    async def tell(one: _Due) -> tuple[_Due, Outcome]:
        if one.stale:
            return one, Outcome.REFUSED
        async with turn:
            return one, await push.send(client, settings, one.target, one.message)

    await _note_outcomes(await asyncio.gather(*(tell(one) for one in due)))
    return len(due)


def _stale(kind: Kind, state: str, started_at: datetime | None, starts_at: datetime, now: datetime) -> bool:
    """Whether it would be wrong to say it now: after a retry, or after a worker was away for long."""
    match kind:
        case Kind.SOON:
            return state != LiveState.SCHEDULED or starts_at < now - timedelta(minutes=5)
        case Kind.LIVE:
            return state != LiveState.LIVE or started_at is None or started_at < now - STALE
        case Kind.CANCELLED:
            return starts_at < now


async def _note_outcomes(told: Collection[tuple[_Due, Outcome]]) -> None:
    gone = [one.device_id for one, outcome in told if outcome is Outcome.GONE]
    async with sessions.begin() as db:
        for outcome in (Outcome.SENT, Outcome.REFUSED):
            ids = [one.id for one, how in told if how is outcome]
            if ids:
                await db.execute(
                    update(PushNotice)
                    .where(PushNotice.id.in_(ids))
                    .values(done_at=func.now(), outcome=outcome.value)
                )
        for one, outcome in told:
            if outcome is not Outcome.LATER:
                continue
            given_up = one.attempts >= ATTEMPTS
            again = func.now() + timedelta(seconds=min(300, 5 * 2**one.attempts))
            await db.execute(
                update(PushNotice)
                .where(PushNotice.id == one.id)
                .values(due_at=again, done_at=func.now() if given_up else None, outcome=outcome.value)
            )
        if gone:
            await db.execute(delete(PushDevice).where(PushDevice.id.in_(gone)))
            log.info("push_devices_gone", count=len(gone))


async def keep_telling(settings: Settings) -> None:
    """Until cancelled: a part of the leading worker."""
    async with httpx.AsyncClient(timeout=10, follow_redirects=False) as client:
        while True:
            try:
                await note_due()
                tried = await send_due(settings, client)
            except Exception as error:
                log.warning("push_failed", exc_info=error)
                tried = 0
            if tried < BATCH:
                await asyncio.sleep(EVERY_S)
