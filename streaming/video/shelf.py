"""What a web process holds of the sessions that its viewers watch.

A shelf is made when the first viewer asks and dropped a minute after the last. While it exists it hears the
owner of its session; what it holds is small: the state, the parts of the last seconds, and a share of a
common cache of segments.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from streaming.video.archive import Archive, prefix
from streaming.video.boxes import boxes
from streaming.video.errors import ArchiveUnavailable
from streaming.video.index import described, stored_names, stored_rendition
from streaming.video.manifest import Manifest, read_manifest
from streaming.video.playlist import (
    Live,
    Name,
    Piece,
    Rendition,
    Row,
    multivariant,
    parse_name,
    pieces,
    stored_media,
    target,
)
from streaming.video.wire import Order, Update, Wire, WireAway

log = logging.getLogger(__name__)

GONE_CHECK_S = 1.5
ON_AIR_CHECK_S = 1.0
STORED_S = 5.0  # a finished session is read anew after this: it may have been assembled, or gone on
UNWATCHED_S = 60.0
UNKNOWN_S = 10.0  # names that somebody tries out are not kept for long
MOST_SHELVES = 5000
OWNER_ANSWERS_S = 1.5
PARTS = 90  # of all renditions: ten seconds
CACHE_BYTES = 96 << 20


@dataclass(slots=True)
class Stored:
    """A finished session: its playlists, as text."""

    texts: dict[str, bytes]
    read_at: float = field(default_factory=time.monotonic)

    def playlist(self, name: str) -> bytes | None:
        return self.texts.get(name)


class Cache:
    """Objects of S3 in memory, the latest asked for first; each is fetched once, however many ask."""

    def __init__(self, archive: Archive, limit: int = CACHE_BYTES) -> None:
        self._archive, self._limit = archive, limit
        self._kept: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._size = 0
        self._coming: dict[tuple[str, int, int], asyncio.Task[bytes | None]] = {}

    async def get(self, key: str, begin: int = 0, end: int = 0) -> bytes | None:
        wanted = (key, begin, end)
        if (body := self._kept.get(wanted)) is not None:
            self._kept.move_to_end(wanted)
            return body
        task = self._coming.get(wanted)
        if task is None:
            task = asyncio.create_task(self._fetch(wanted))
            self._coming[wanted] = task
            task.add_done_callback(lambda _: self._coming.pop(wanted, None))
        return await asyncio.shield(task)

    async def _fetch(self, wanted: tuple[str, int, int]) -> bytes | None:
        key, begin, end = wanted
        body = await (self._archive.get(key, begin, end) if end else self._archive.get(key))
        if body is not None:
            self.put(wanted, body)
        return body

    def put(self, wanted: tuple[str, int, int], body: bytes) -> None:
        if wanted in self._kept or len(body) > self._limit // 4:
            return
        self._kept[wanted] = body
        self._size += len(body)
        while self._size > self._limit:
            self._size -= len(self._kept.popitem(last=False)[1])


class Shelf:
    """One session."""

    def __init__(self, session: str, wire: Wire, archive: Archive, cache: Cache) -> None:
        self.session = session
        self.live: Live | None = None
        self.asked_at = time.monotonic()
        self._wire, self._archive, self._cache = wire, archive, cache
        self._stored: Stored | None = None
        self._manifest: Manifest | None = None
        self._parts: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._changed = asyncio.Event()
        self._heard = asyncio.Event()
        self._loading = asyncio.Lock()
        self._gone = False
        self._gone_at = -GONE_CHECK_S
        self._tombstone_at = -1000.0
        self._on_air = False
        self._on_air_at = -ON_AIR_CHECK_S
        self._patient_until = 0.0
        self._listening: asyncio.Task[None] | None = None

    @property
    def listening(self) -> bool:
        return self._listening is not None

    async def stop(self) -> None:
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def gone(self) -> bool:
        """Was it taken down? The wire knows at once, S3 for ever."""
        now = time.monotonic()
        if now - self._gone_at < GONE_CHECK_S:
            return self._gone
        try:
            self._gone = await self._wire.closed(self.session) == "gone"
        except WireAway:
            self._tombstone_at = -1000.0
        if not self._gone and now - self._tombstone_at > 20 * GONE_CHECK_S:
            self._gone = await self._archive.size(prefix(self.session) + "gone.json") is not None
            self._tombstone_at = now
        self._gone_at = now
        return self._gone

    async def ready(self, patience_s: float) -> Live | Stored | None:
        """What there is to watch; None when nothing was recorded.

        A session that just goes on air is waited for.
        """
        self.asked_at = time.monotonic()
        on_air = await self._attend()
        if on_air and self.live and not self.live.ended and self._showable(self.live):
            return self.live
        if not on_air and self._stored and time.monotonic() - self._stored.read_at < STORED_S:
            return self._stored
        async with self._loading:
            if on_air:
                if self.live is None:
                    self.live = await self._rebuilt()
                until = time.monotonic() + patience_s
                while self.live and not self._showable(self.live) and time.monotonic() < until:
                    await self._change(until)
                return self.live if self.live and self._showable(self.live) else None
            self.live = None
            self._stored = await self._read_stored()
            return self._stored

    async def reached(self, rendition: str, sequence: int, part: int | None, patience_s: float) -> bool:
        """Waits until the playlist holds a segment or part."""
        until = time.monotonic() + patience_s
        while self.live and not self.live.reached(rendition, sequence, part):
            if self.live.ended or time.monotonic() >= until:
                return self.live.ended
            await self._change(until)
        return self.live is not None

    async def part(self, rendition: str, name: str, patience_s: float) -> bytes | None:
        """A part's bytes; one that is only hinted at is waited for."""
        self.asked_at = time.monotonic()
        await self._attend()
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if body := self._parts.get((rendition, name)):
                return body
            shown = self.live.renditions.get(rendition) if self.live else None
            if shown is None:
                return None
            if found := await self._from_segment(shown, rendition, name):
                return found
            if shown.next_part != name and not any(p.name == name for row in shown.rows for p in row.parts):
                return None
            await self._change(until)
        return None

    async def object(self, name: str, begin: int = 0, end: int = 0) -> bytes | None:
        """An object of the session, or a range of it."""
        self.asked_at = time.monotonic()
        body = await self._cache.get(prefix(self.session) + name, begin, end)
        if body is None and (segment := parse_name(name.rpartition("/")[2].removesuffix(".m4s"))):
            return await self._assembled(segment)
        return body

    async def _assembled(self, segment: Name) -> bytes | None:
        """A segment that is part of the recording now, for viewers whose playlist is older."""
        if self._manifest is None:
            self._manifest = await read_manifest(self._archive, self.session)
        place = self._manifest.find(segment.start_us) if self._manifest else None
        if place is None:
            return None
        file, span = place
        key = f"{prefix(self.session)}recording/{file.name}.mp4"
        return await self._cache.get(key, span.offset, span.offset + span.size)

    # Inside

    async def _attend(self) -> bool:
        """Is the session on air? Then its owner is heard from now on, and has had time to answer."""
        now = time.monotonic()
        if now - self._on_air_at > ON_AIR_CHECK_S:
            with contextlib.suppress(WireAway):  # then it is what it was
                self._on_air = await self._wire.on_air(self.session)
            self._on_air_at = now
        if self._on_air and self._listening is None:
            self._listening = asyncio.create_task(self._listen())
            self._patient_until = now + OWNER_ANSWERS_S
        if self._on_air and not self._heard.is_set() and now < self._patient_until:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._heard.wait(), self._patient_until - now)
        return self._on_air

    @staticmethod
    def _showable(live: Live) -> bool:
        main = live.renditions.get("main")
        return bool(main and main.codecs and any(row.name for row in main.rows))

    async def _change(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), max(0.01, until - time.monotonic()))

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(WireAway):
                async for update in self._wire.updates(self.session):
                    if update is None:
                        await self._wire.order(Order(self.session, "want"))
                    else:
                        self._take(update)
            await asyncio.sleep(0.5)

    def _take(self, update: Update) -> None:
        if update.part:
            rendition, name, body = update.part
            self._parts[rendition, name] = body
            while len(self._parts) > PARTS:
                self._parts.popitem(last=False)
        if self.live is None or update.live.version > self.live.version:
            self.live, self._stored = update.live, None
            self._put_together(update.live)
        if update.live.ended:
            self._on_air, self._on_air_at = False, time.monotonic()
        self._heard.set()
        self._changed.set()
        self._changed = asyncio.Event()

    def _put_together(self, live: Live) -> None:
        """A segment whose parts are all here need not be fetched."""
        for name, rendition in live.renditions.items():
            for row in rendition.rows[-3:]:
                bodies = [self._parts.get((name, part.name)) for part in row.parts]
                if row.name and bodies and all(bodies):
                    key = f"{prefix(self.session)}{name}/{row.name}.m4s"
                    self._cache.put((key, 0, 0), b"".join(body for body in bodies if body))

    async def _from_segment(self, shown: Rendition, rendition: str, name: str) -> bytes | None:
        """A part of a stored segment: its fragment, by its place among the parts."""
        for row in shown.rows:
            for index, part in enumerate(row.parts):
                if row.name and part.name == name:
                    body = await self.object(f"{rendition}/{row.name}.m4s")
                    return _fragment(body, index) if body else None
        return None

    async def _rebuilt(self) -> Live | None:
        """The state of a session whose owner is silent, from S3: it is on air but between two owners."""
        found = {name: await stored_rendition(self._archive, self.session, name) for name in ("main", "low")}
        shown = {name: rendition for name, rendition in found.items() if rendition}
        longest = max((row.duration_us for rendition in shown.values() for row in rendition.rows), default=0)
        return Live(self.session, renditions=shown, target_s=target(longest)) if shown else None

    async def _read_stored(self) -> Stored | None:
        manifest = await read_manifest(self._archive, self.session)
        found: dict[str, list[Piece]] = {}
        for rendition in ("main", "low"):
            if names := await stored_names(self._archive, self.session, rendition):
                found[rendition] = pieces(names)
        if manifest:
            found = {"main": [*manifest.pieces(), *found.get("main", [])]}
        if not found.get("main"):
            return None
        live = Live(self.session)
        for rendition, listed in found.items():
            codecs, width, height = await described(self._archive, self.session, listed[-1].init)
            row = Row(0, 0, listed[-1].init, False, [], "stored")
            live.renditions = live.renditions | {
                rendition: Rendition([row], codecs, width, height, 1_500_000)
            }
        texts = {name: stored_media(listed, name).encode() for name, listed in found.items()}
        texts["audio"] = stored_media(found["main"], "audio").encode()
        texts["index"] = multivariant(live, low_latency=False).encode()
        return Stored(texts)


def _fragment(segment: bytes, index: int) -> bytes:
    """The bytes of fragment `index`: a moof and its mdat."""
    ends = [end for kind, _, end in boxes(segment) if kind == b"mdat"]
    return segment[ends[index - 1] if index else 0 : ends[index]] if index < len(ends) else b""


class Shelves:
    """All sessions that are watched through this process."""

    def __init__(self, wire: Wire, archive: Archive) -> None:
        self._wire, self._archive = wire, archive
        self._cache = Cache(archive)
        self._shelves: dict[str, Shelf] = {}
        self._sweeping: asyncio.Task[None] | None = None

    async def get(self, session: str) -> Shelf:
        """The shelf of a session; also of one that does not exist. Raises `ArchiveUnavailable` if there are
        too many."""
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep())
        shelf = self._shelves.get(session)
        if shelf is None:
            if len(self._shelves) >= MOST_SHELVES:
                raise ArchiveUnavailable("too many sessions asked for")
            shelf = self._shelves[session] = Shelf(session, self._wire, self._archive, self._cache)
        return shelf

    async def stop(self) -> None:
        if self._sweeping:
            self._sweeping.cancel()
        await asyncio.gather(*(shelf.stop() for shelf in self._shelves.values()))
        self._shelves.clear()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(5)
            now = time.monotonic()
            for session, shelf in list(self._shelves.items()):
                if now - shelf.asked_at > (UNWATCHED_S if shelf.listening else UNKNOWN_S):
                    del self._shelves[session]
                    await shelf.stop()
