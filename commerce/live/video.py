"""The picture of a session: where the host sends it, where viewers find it, and its end.

`streaming.video` carries it and knows sessions by their code only; who may send, and when a session is over
or taken down, is said from here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import structlog
from sqlalchemy import select, update

from commerce.core import outbox
from commerce.core.db import sessions
from commerce.core.errors import MarketError, WrongState
from commerce.core.i18n import N_
from commerce.core.outbox import Message
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.live import outlets
from commerce.live.errors import SessionNotFound
from commerce.live.models import LiveSession, LiveState
from streaming.video.archive import Archive, ArchiveSettings, prefix, still_key
from streaming.video.delivery import Delivery
from streaming.video.errors import ArchiveUnavailable
from streaming.video.restream import seal
from streaming.video.studio import NoVideoProcess, Studio
from streaming.video.wire import News, Wire, WireAway

log = structlog.get_logger()

PLAYLIST = "/media/{code}/index.m3u8"
RETRY_S = 1.0


class NoVideo(MarketError):
    """No video process is there to take the picture; the session goes on without."""

    code = "no_video"
    status = 503
    title = N_("Chưa phát hình được")
    detail = N_("Máy chủ hình đang khởi động lại. Xin thử lại sau vài giây, phiên vẫn tiếp tục.")
    retry_after = 3


def archive_settings(settings: Settings) -> ArchiveSettings:
    return ArchiveSettings(
        settings.s3_endpoint,
        settings.s3_access_key,
        settings.s3_secret_key,
        settings.s3_bucket,
        settings.s3_region,
    )


class Pictures:
    """One process's hold on the video side: opened once, closed at its end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.wire = Wire(settings.valkey_url)
        self.archive = Archive(archive_settings(settings))
        self.studio = Studio(self.wire, self.archive, settings.secret_key)
        self.delivery = Delivery(self.wire, self.archive)

    async def close(self) -> None:
        await self.delivery.stop()
        await self.wire.close()
        self.archive.close()

    # ---- for the host

    async def ingest_address(self, by: Identity, code: str) -> str:
        """Where the host's camera sends, with a fresh ticket: asked before every attempt to connect.

        Raises `SessionNotFound`, `Forbidden`, `WrongState` (only before the end), `NoVideo`.
        """
        found = await self._run_by(by, code)
        if found.state != LiveState.LIVE:
            raise WrongState(state=found.state, wanted=LiveState.LIVE.value)
        try:
            return await self.studio.ingest_address(found.code)
        except (NoVideoProcess, WireAway) as error:
            raise NoVideo from error

    async def measure_address(self, by: Identity, code: str) -> str:
        """Where the host's page finds out how fast its line is, also before the session is on air.

        Raises `SessionNotFound`, `Forbidden`, `NoVideo`.
        """
        found = await self._run_by(by, code)
        try:
            return await self.studio.measure_address(found.code)
        except (NoVideoProcess, WireAway) as error:
            raise NoVideo from error

    @staticmethod
    async def _run_by(by: Identity, code: str) -> LiveSession:
        async with sessions.read() as db:
            found = await db.scalar(select(LiveSession).where(LiveSession.code == code.upper()))
        if found is None:
            raise SessionNotFound(code=code)
        by.must(found.commune_code, Role.HOST, Role.HELPER)
        return found

    async def status(self, by: Identity, code: str) -> News | None:
        """How the picture was within the last half minute; None when nothing came or the wire is away.

        Raises `SessionNotFound`, `Forbidden`.
        """
        found = await self._run_by(by, code)
        try:
            return await self.studio.status(found.code)
        except WireAway:
            return None

    async def still(self, code: str, minute: int, back: int = 3) -> bytes | None:
        """The picture (JPEG) at a minute (whole minutes since 1970), or up to `back` minutes before it; none
        where there was no picture, or when the session was taken down."""
        try:
            if await self.archive.size(f"{prefix(code)}gone.json") is not None:
                return None
            for earlier in range(back + 1):
                if (found := await self.archive.get(still_key(code, minute - earlier))) is not None:
                    return found
        except ArchiveUnavailable:
            log.warning("no_still", session=code)
        return None

    # ---- in the worker

    async def follow(self, stop: asyncio.Event) -> None:
        """Notes which sessions have a picture, from the video processes' news, until `stop`."""
        shown: set[str] = set()
        while not stop.is_set():
            with contextlib.suppress(WireAway):
                async for news in self.studio.news():
                    await self._note(news, shown)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_S)

    async def _note(self, news: News, shown: set[str]) -> None:
        if news.kind not in ("on_air", "stats") or news.session in shown:
            return
        try:
            await show_picture(news.session)
            shown.add(news.session)
        except Exception as error:
            log.warning("picture_not_noted", session=news.session, error=repr(error)[:200])

    async def moved(self, messages: Sequence[Message]) -> None:
        """Sessions that ended or were taken down end for the camera and, taken down, for every viewer too.

        Topic `live.moved`: {live_session_id}; idempotent.
        """
        ids = {message.payload["live_session_id"] for message in messages}
        async with sessions.read() as db:
            rows = await db.execute(
                select(LiveSession.code, LiveSession.state).where(LiveSession.id.in_(ids))
            )
            states = [(row.code, row.state) for row in rows]
        await self._carry_outlets(ids)
        for code, state in states:
            if state == LiveState.ENDED:
                await self.studio.end(code)
            elif state == LiveState.TAKEN_DOWN:
                await self.studio.take_down(code)
            elif state == LiveState.LIVE:
                await self.studio.reopen(code)

    async def outlets(self, messages: Sequence[Message]) -> None:
        """Topic `live.outlets`: {live_session_id}; its stream key or the networks it goes to have changed."""
        await self._carry_outlets({message.payload["live_session_id"] for message in messages})

    async def _carry_outlets(self, ids: set[int]) -> None:
        """Brings the wire into line with what is true. A stream key opens nothing before the session is on
        air, and a rehearsal goes nowhere else."""
        async with sessions.read() as db:
            live = await db.scalars(
                select(LiveSession).where(LiveSession.id.in_(ids), LiveSession.state == LiveState.LIVE)
            )
            found = [
                (one, [] if one.rehearsal else await outlets.targets(db, self.settings, one.id))
                for one in live
            ]
        for session, targets in found:
            if session.stream_key:
                await self.studio.stream_key(session.code, session.stream_key)
            await self.studio.send_to(session.code, seal(self.settings.secret_key, targets))


async def show_picture(code: str) -> None:
    """The session has a picture: pages and the API name its playlist from now on."""
    async with sessions.begin() as db:
        found = await db.scalar(
            update(LiveSession)
            .where(LiveSession.code == code, LiveSession.state == LiveState.LIVE, LiveSession.playback == "")
            .values(playback=PLAYLIST.format(code=code))
            .returning(LiveSession.id)
        )
        if found is not None:
            await outbox.emit(db, "live.changed", {"live_session_id": found, "parts": ["state"]})
