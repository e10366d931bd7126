"""After a session: its recording is put together, shown with what was pinned and what it cost, cut into
clips, held for the law, and deleted when its time has come.

`streaming.video.keeping` works on the bytes. Here is what is true of them and who may do what: what the
public saw is kept for `RECORDING_MONTHS` (36 unless set), a rehearsal until somebody asks for its deletion.
Every deletion is written down before it begins and once more when it is done (`MediaDeletion`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.accounts.models import Person
from commerce.catalog.models import Grade, Product
from commerce.communes.models import Commune
from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.text import clean
from commerce.live.errors import RecordingHeld, RecordingKept, RecordingNotFound, SessionNotFound
from commerce.live.models import (
    Clip,
    Deal,
    LineupItem,
    LiveSession,
    LiveState,
    MediaDeletion,
    Pin,
    Recording,
)
from commerce.live.service import STAFF
from commerce.live.video import Pictures
from streaming.video import keeping, quality
from streaming.video.archive import Archive
from streaming.video.errors import VideoError
from streaming.video.manifest import Manifest
from streaming.video.quality import Advice

KEEPERS = (Role.OFFICER, Role.PROVINCE)
"""Who may put a recording under legal hold and release it."""
LOOK_EVERY_S = 3.0
AGAIN_AFTER_S = 120.0  # a recording that could not be put together is tried again
CLIP_MOST = timedelta(minutes=20)
PIN_LEAST = timedelta(seconds=2)  # a pin that was taken away at once is no chapter
NO_PIN = timedelta(minutes=5)
KEPT_SHOWN = 100

log = structlog.get_logger()


# ---- what is shown


class Chapter(msgspec.Struct, frozen=True):
    """A stretch in which one thing was shown. Times are Unix milliseconds."""

    id: int
    code: str
    product: str
    grade: str
    unit: str
    price: int | None
    """As it was then."""
    from_ms: int
    to_ms: int
    clip: str | None = None
    """Address of the clip cut of it, below the session's media."""


class DealThen(msgspec.Struct, frozen=True):
    code: str
    price: int
    from_ms: int
    to_ms: int


class File(msgspec.Struct, frozen=True):
    path: str
    """Below the session's media."""
    sha256: str
    size: int


class Replay(msgspec.Struct, frozen=True):
    began_ms: int
    duration_ms: int
    files: list[File]
    chapters: list[Chapter]
    deals: list[DealThen]
    kept_until: datetime
    held: bool


async def replay(db: AsyncSession, live_session_id: int) -> Replay | None:
    """None while there is no recording, or not any more."""
    found = await db.get(Recording, live_session_id)
    if found is None or found.deleted_at is not None:
        return None
    end = found.began_at + timedelta(milliseconds=found.duration_ms)
    clips = {
        clip.name: f"recording/clip-{clip.name}.mp4"
        for clip in await db.scalars(select(Clip).where(Clip.live_session_id == live_session_id))
    }
    return Replay(
        began_ms=clock.unix_ms(found.began_at),
        duration_ms=found.duration_ms,
        files=[File(f"recording/{one['name']}.mp4", one["sha256"], one["size"]) for one in found.files],
        chapters=[_chapter(row, found.began_at, end, clips) for row in await _pins(db, live_session_id, end)],
        deals=await _deals(db, live_session_id, end),
        kept_until=found.kept_until,
        held=found.held_at is not None,
    )


async def _pins(db: AsyncSession, live_session_id: int, end: datetime) -> Sequence[Any]:
    rows = await db.execute(
        select(Pin, LineupItem.code, Product.name, Grade.name.label("grade"), Product.unit)
        .join(LineupItem, LineupItem.id == Pin.item_id)
        .join(Grade, Grade.id == LineupItem.grade_id)
        .join(Product, Product.id == Grade.product_id)
        .where(
            Pin.live_session_id == live_session_id,
            Pin.at < end,
            func.coalesce(Pin.until, end) - Pin.at >= PIN_LEAST,
        )
        .order_by(Pin.at, Pin.id)
    )
    return rows.all()


def _chapter(row: Any, begin: datetime, end: datetime, clips: dict[str, str]) -> Chapter:
    pin, code, product, grade, unit = row
    return Chapter(
        id=pin.id,
        code=code,
        product=product,
        grade=grade,
        unit=unit,
        price=pin.price,
        from_ms=clock.unix_ms(max(pin.at, begin)),
        to_ms=clock.unix_ms(min(pin.until or end, end)),
        clip=clips.get(_clip_name(code, pin.id)),
    )


async def _deals(db: AsyncSession, live_session_id: int, end: datetime) -> list[DealThen]:
    rows = await db.execute(
        select(Deal, LineupItem.code)
        .join(LineupItem, LineupItem.id == Deal.item_id)
        .where(Deal.live_session_id == live_session_id, Deal.starts_at < end)
        .order_by(Deal.starts_at, Deal.id)
    )
    return [
        DealThen(
            code,
            deal.price,
            clock.unix_ms(deal.starts_at),
            clock.unix_ms(min(deal.stopped_at or deal.ends_at, deal.ends_at, end)),
        )
        for deal, code in rows
    ]


# ---- clips


async def cut_clip(identity: Identity, pictures: Pictures, code: str, chapter: int) -> Clip:
    """The minutes in which one thing was shown, as a file of its own. Cutting again makes the same file.

    Raises `RecordingNotFound`, `Forbidden`.
    """
    async with sessions.read() as db:
        session = await _session(db, code)
        identity.must(session.commune_code, *STAFF, *KEEPERS)
        found = await replay(db, session.id)
        pin = await db.scalar(select(Pin).where(Pin.id == chapter, Pin.live_session_id == session.id))
    wanted = next((one for one in found.chapters if one.id == chapter), None) if found else None
    if wanted is None or pin is None or wanted.to_ms <= wanted.from_ms:
        raise RecordingNotFound
    name = _clip_name(wanted.code, chapter)
    until_ms = min(wanted.to_ms, wanted.from_ms + int(CLIP_MOST.total_seconds() * 1000))
    try:
        cut = await keeping.cut_clip(
            pictures.archive, session.code, name, wanted.from_ms * 1000, until_ms * 1000
        )
    except keeping.NothingRecorded:
        raise RecordingNotFound from None
    values = {
        "began_at": datetime.fromtimestamp(cut.start_us / 1e6, UTC),
        "duration_ms": cut.duration_us // 1000,
        "size": cut.size,
        "sha256": cut.sha256,
        "by": identity.person_id,
    }
    async with sessions.begin() as db:
        made: Clip = (
            await db.scalars(
                upsert(Clip)
                .values(live_session_id=session.id, item_id=pin.item_id, name=name, **values)
                .on_conflict_do_update(index_elements=["live_session_id", "name"], set_=values)
                .returning(Clip)
            )
        ).one()
    return made


def _clip_name(code: str, chapter: int) -> str:
    return f"{code.lower()}-{chapter}"


# ---- advice after a rehearsal


async def advice(db: AsyncSession, archive: Archive, session: LiveSession) -> list[Advice]:
    """What to do better next time: how it looked and sounded, and whether goods were shown."""
    found = quality.advise(await quality.load(archive, session.code))
    if await _longest_without_pin(db, session) > NO_PIN:
        text = "Có lúc hơn năm phút không ghim món nào. Hãy ghim món đang nói để người xem bấm mua được ngay."
        found.append(Advice("no_pin", text))
    return found


async def _longest_without_pin(db: AsyncSession, session: LiveSession) -> timedelta:
    if session.started_at is None:
        return timedelta()
    end = session.ended_at or clock.now()
    rows = await db.execute(
        select(Pin.at, Pin.until).where(Pin.live_session_id == session.id).order_by(Pin.at)
    )
    longest, free_since = timedelta(), session.started_at
    for at, until in rows:
        longest = max(longest, at - free_since)
        free_since = max(free_since, until or end)
    return max(longest, end - free_since)


# ---- holding and deleting


class Deletions:
    """`keeping.DeletionLog`: two lines of one row, the first before anything is gone."""

    def __init__(self, by: int | None = None) -> None:
        self._by = by
        self._id: int | None = None

    async def record(self, deletion: keeping.Deletion) -> None:
        async with sessions.begin() as db:
            if deletion.done:
                ended = update(MediaDeletion).where(MediaDeletion.id == self._id)
                await db.execute(ended.values(done_at=func.now(), objects=deletion.objects))
                return
            self._id = await db.scalar(
                insert(MediaDeletion)
                .values(
                    code=deletion.session,
                    why=deletion.why,
                    by=self._by,
                    objects=deletion.objects,
                    bytes=deletion.bytes,
                    sha256=deletion.sha256,
                )
                .returning(MediaDeletion.id)
            )


async def hold(identity: Identity, pictures: Pictures, code: str, note: str) -> None:
    """Nothing of the recording is deleted until it is released. Raises `Forbidden`, `Invalid`."""
    note = clean(note)
    if not note:
        raise Invalid(FieldError("note", N_("Xin ghi lý do giữ bản ghi: số văn bản hoặc yêu cầu của ai.")))
    session = await _to_keep(identity, code)
    await keeping.hold(pictures.archive, session.code, note)  # first where it protects, then where it is read
    async with sessions.begin() as db:
        held = update(Recording).where(Recording.live_session_id == session.id)
        await db.execute(held.values(held_at=func.now(), held_by=identity.person_id, hold_note=note))


async def release(identity: Identity, pictures: Pictures, code: str) -> None:
    session = await _to_keep(identity, code)
    async with sessions.begin() as db:
        held = update(Recording).where(Recording.live_session_id == session.id)
        await db.execute(held.values(held_at=None, held_by=identity.person_id))
    await keeping.release(pictures.archive, session.code)


async def _to_keep(identity: Identity, code: str) -> LiveSession:
    async with sessions.read() as db:
        session = await _session(db, code)
        identity.must(session.commune_code, *KEEPERS)
        known = await db.get(Recording, session.id)
    if known is None or known.deleted_at is not None:
        raise RecordingNotFound
    return session


async def kept(db: AsyncSession, communes: frozenset[str | None]) -> list[Any]:
    """Recordings of these communes (None among them: all), newest first, for those who keep them."""
    query = (
        select(Recording, LiveSession, Commune.name)
        .join(LiveSession, LiveSession.id == Recording.live_session_id)
        .join(Commune, Commune.code == LiveSession.commune_code)
        .where(LiveSession.rehearsal.is_(False))
        .order_by(Recording.began_at.desc())
        .limit(KEPT_SHOWN)
    )
    if None not in communes:
        query = query.where(LiveSession.commune_code.in_(communes))
    return list((await db.execute(query)).all())


async def deletions(db: AsyncSession, communes: frozenset[str | None]) -> list[Any]:
    """The log, newest first, with the name of who deleted."""
    query = (
        select(MediaDeletion, Person.name)
        .outerjoin(Person, Person.id == MediaDeletion.by)
        .join(LiveSession, LiveSession.code == MediaDeletion.code)
        .order_by(MediaDeletion.id.desc())
        .limit(KEPT_SHOWN)
    )
    if None not in communes:
        query = query.where(LiveSession.commune_code.in_(communes))
    return list((await db.execute(query)).all())


async def delete_rehearsal(identity: Identity, pictures: Pictures, code: str) -> None:
    """At the wish of those who rehearsed: every public address answers 410, and the bytes go.

    Raises `RecordingKept` for a session that was none, `RecordingHeld`, `RecordingNotFound`.
    """
    async with sessions.read() as db:
        session = await _session(db, code)
        identity.must(session.commune_code, *STAFF)
        known = await db.get(Recording, session.id)
    if not session.rehearsal:
        raise RecordingKept
    if known is None or known.deleted_at is not None:
        raise RecordingNotFound
    await _delete(pictures, session.id, session.code, "rehearsal, on request", identity.person_id)


async def _delete(pictures: Pictures, session_id: int, code: str, why: str, by: int | None = None) -> None:
    """Unseen first, then gone. Raises `RecordingHeld`."""
    if await keeping.held(pictures.archive, code):
        raise RecordingHeld
    await pictures.studio.take_down(code)
    try:
        await keeping.delete(pictures.archive, code, why, Deletions(by))
    except keeping.Held:
        raise RecordingHeld from None
    async with sessions.begin() as db:
        gone = update(Recording).where(Recording.live_session_id == session_id)
        await db.execute(gone.values(deleted_at=func.now()))
        await db.execute(delete(Clip).where(Clip.live_session_id == session_id))
        await db.execute(update(LiveSession).where(LiveSession.id == session_id).values(playback=""))


async def delete_due(pictures: Pictures) -> None:
    """Job: recordings whose time is over go, unless the law holds them."""
    async with sessions.read() as db:
        due = (
            await db.execute(
                select(LiveSession.id, LiveSession.code)
                .join(Recording, Recording.live_session_id == LiveSession.id)
                .where(
                    Recording.kept_until < func.now(),
                    Recording.held_at.is_(None),
                    Recording.deleted_at.is_(None),
                )
                .order_by(Recording.kept_until)
                .limit(100)
            )
        ).all()
    for session_id, code in due:
        try:
            await _delete(pictures, session_id, code, "kept for its time")
            log.info("recording_deleted", session=code)
        except RecordingHeld:
            log.warning("recording_held", session=code)


# ---- putting recordings together


@dataclass
class Assembler:
    """The worker's part that turns the segments of ended sessions into recordings; one leads."""

    pictures: Pictures
    settings: Settings

    def __post_init__(self) -> None:
        self._not_before: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            try:
                await self.round()
            except Exception as error:  # an engine is away: the next round may be better
                log.warning("not_assembled", error=repr(error)[:200])
            await asyncio.sleep(LOOK_EVERY_S)

    async def round(self) -> None:
        """Every session that waits, oldest first. Raises what the engines raise."""
        now = asyncio.get_running_loop().time()
        for session_id, code in await self._waiting():
            if self._not_before.get(code, 0) > now or await self._owned(code):
                continue
            try:
                await self._assemble(session_id, code)
                self._not_before.pop(code, None)
            except (VideoError, keeping.NothingRecorded) as error:
                self._not_before[code] = now + AGAIN_AFTER_S
                log.warning("recording_not_assembled", session=code, error=repr(error)[:200])

    async def _waiting(self) -> list[tuple[int, str]]:
        """Sessions that are over, had a picture, and have no recording yet."""
        async with sessions.read() as db:
            rows = await db.execute(
                select(LiveSession.id, LiveSession.code)
                .outerjoin(Recording, Recording.live_session_id == LiveSession.id)
                .where(
                    LiveSession.state.in_((LiveState.ENDED, LiveState.TAKEN_DOWN)),
                    LiveSession.playback != "",
                    Recording.live_session_id.is_(None),
                )
                .order_by(LiveSession.ended_at)
            )
            return [(row.id, row.code) for row in rows]

    async def _owned(self, code: str) -> bool:
        """Does a living video process still hold the last of it?"""
        owner = await self.pictures.wire.owner(code)
        return owner is not None and await self.pictures.wire.place(code) == owner

    async def _assemble(self, session_id: int, code: str) -> None:
        manifest = await keeping.assemble(self.pictures.archive, code)
        async with sessions.begin() as db:
            row = insert(Recording).values(live_session_id=session_id, **_facts(manifest, self.settings))
            await db.execute(row)
        log.info("recording_assembled", session=code, seconds=manifest.duration_us // 1_000_000)


def _facts(manifest: Manifest, settings: Settings) -> dict[str, Any]:
    months = int(settings.extra.get("RECORDING_MONTHS", keeping.KEPT_MONTHS))
    return {
        "began_at": datetime.fromtimestamp(manifest.start_us / 1e6, UTC),
        "duration_ms": manifest.duration_us // 1000,
        "files": [
            {"name": f.name, "sha256": f.sha256, "size": f.size, "width": f.width, "height": f.height}
            for f in manifest.files
        ],
        "size": sum(file.size for file in manifest.files),
        "kept_until": keeping.kept_until(manifest.start_us, months),
    }


async def _session(db: AsyncSession, code: str) -> LiveSession:
    found: LiveSession | None = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
    if found is None:
        raise SessionNotFound(code=code[:24])
    return found
