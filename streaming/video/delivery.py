"""What viewers fetch: playlists, segments, posters. An ASGI application that the web mounts at /media.

    /media/{session}/index.m3u8, ll.m3u8        the renditions, plain and low-latency
    /media/{session}/{rendition}.m3u8, ….ll.m3u8  one rendition: main, low, audio
    /media/{session}/{rendition}/{name}.m4s     a segment or part
    /media/{session}/{rendition}/init-{id}.mp4
    /media/{session}/poster.jpg
    /media/{session}/recording/{file}           the assembled recording and clips

Playlists are never cached; everything with a name of its own is, for ever by browsers. A CDN in front is told
to ask again after CDN_S (RFC 9213), which costs an empty 304, so that what is taken down is soon gone there
too; it needs no other rule. What is on air comes from the owner of the session over the wire (see `wire`),
all else from S3. A session that was taken down answers 410 to everything: its mark is asked for at least
every GONE_CHECK_S, whatever is in memory.
"""

from __future__ import annotations

import gzip
import logging
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from streaming.video.archive import Archive, prefix
from streaming.video.errors import ArchiveUnavailable, Malformed
from streaming.video.fmp4 import audio_only
from streaming.video.playlist import Live, live_media, multivariant
from streaming.video.shelf import Shelf, Shelves, Stored
from streaming.video.tickets import SESSION
from streaming.video.wire import Wire, WireAway

log = logging.getLogger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

PLAYLIST, SEGMENT, POSTER = "application/vnd.apple.mpegurl", "video/mp4", "image/jpeg"
FOREVER = "public, max-age=31536000, immutable"
NEVER = "no-cache, no-store, must-revalidate"
CDN_S = 3  # with GONE_CHECK_S less than five seconds, the time a takedown may take
BLOCK_S = 6.0  # three target durations of the longest kind: then the player is told to ask again
KEPT_TEXTS = 500
PIECE = 1 << 20  # bytes of a large file fetched and sent at a time

_MEDIA = re.compile(r"(main|low|audio)/(init-[0-9a-f]{12}\.mp4|[0-9a-z_-]{1,80}\.m4s)\Z")
_LIST = re.compile(r"(index|ll|(main|low|audio)(\.ll)?)\.m3u8\Z")
_FILE = re.compile(r"recording/[0-9a-z-]{1,80}\.(mp4|m3u8)\Z")
_RECORDED = re.compile(r"r([0-9a-f-]{1,40})_(\d{1,15})_(\d{1,8})\.m4s\Z")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


@dataclass(slots=True)
class Answer:
    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    cache: str = NEVER
    packed: bytes = b""
    """The body compressed, for who takes it so."""
    size: int = -1
    """Bytes of the whole answer when they come in `pieces`."""
    pieces: AsyncIterator[bytes] | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@dataclass(slots=True)
class Asked:
    """The parts of a request that matter here."""

    method: str
    range: str
    gzip: bool
    known: str
    """If-None-Match: what a cache holds."""
    query: dict[str, list[str]]

    def number(self, name: str) -> int | None:
        value = self.query.get(name, [""])[0]
        return int(value) if value.isascii() and value.isdigit() and len(value) < 12 else None


class Delivery:
    """ASGI application for HTTP only. `stop` when the process ends."""

    def __init__(self, wire: Wire, archive: Archive, mount: str = "/media") -> None:
        self.archive = archive
        self.shelves = Shelves(wire, archive)
        self._mount = mount.rstrip("/") + "/"
        self._texts: OrderedDict[tuple[str, str], tuple[int, Answer]] = OrderedDict()

    async def stop(self) -> None:
        await self.shelves.stop()

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = str(scope["path"])
        path = path[len(self._mount) :] if path.startswith(self._mount) else path.lstrip("/")
        headers = dict(scope["headers"])
        asked = Asked(
            method=str(scope["method"]),
            range=headers.get(b"range", b"").decode("latin-1"),
            gzip=b"gzip" in headers.get(b"accept-encoding", b""),
            known=headers.get(b"if-none-match", b"").decode("latin-1"),
            query=parse_qs(scope.get("query_string", b"").decode("latin-1")),
        )
        answer = await self._answer(asked, path)
        if answer.cache == FOREVER:
            cdn = f"max-age={CDN_S}".encode()
            answer.headers += [(b"etag", _tag(path).encode()), (b"cdn-cache-control", cdn)]
        await _reply(send, asked, answer)

    async def _answer(self, asked: Asked, path: str) -> Answer:
        session, _, rest = path.partition("/")
        if asked.method == "OPTIONS":
            return Answer(204, headers=[(b"access-control-allow-methods", b"GET, HEAD, OPTIONS")])
        if asked.method not in ("GET", "HEAD"):
            return Answer(405, b"method not allowed\n", headers=[(b"allow", b"GET, HEAD, OPTIONS")])
        if not SESSION.match(session):
            return Answer(404, b"not found\n")
        try:
            shelf = await self.shelves.get(session)
            if await shelf.gone():
                return Answer(410, b"taken down\n")
            if match := _LIST.match(rest):
                return await self._playlist(shelf, asked, match[0])
            if asked.known and _tag(path) in asked.known and (_MEDIA.match(rest) or _FILE.match(rest)):
                return Answer(304, cache=FOREVER)
            if match := _MEDIA.match(rest):
                return await self._media(shelf, asked, match[1], match[2])
            if rest == "poster.jpg":
                return await self._object(shelf, asked, rest, POSTER, "public, max-age=5")
            if _FILE.match(rest):
                return await self._object(shelf, asked, rest, SEGMENT, FOREVER)
        except (ArchiveUnavailable, WireAway) as error:
            log.warning("cannot serve %s: %s", path[:120], error)
            return Answer(503, b"try again\n", headers=[(b"retry-after", b"1")])
        return Answer(404, b"not found\n")

    async def _playlist(self, shelf: Shelf, asked: Asked, name: str) -> Answer:
        stem = name.removesuffix(".m3u8")
        low_latency = stem == "ll" or stem.endswith(".ll")
        rendition = stem.removesuffix(".ll")
        source = await shelf.ready(BLOCK_S)
        if source is None:
            return Answer(404, b"nothing recorded\n")
        if isinstance(source, Stored):
            stored = source.playlist("index" if stem == "ll" else rendition)
            return Answer(200, stored, PLAYLIST) if stored else Answer(404, b"no such rendition\n")
        low_latency = low_latency and source.low_latency
        if stem in ("index", "ll"):
            return self._text(source, stem, lambda live: multivariant(live, low_latency=low_latency))
        kind = "main" if rendition == "audio" else rendition
        if kind not in source.renditions:
            return Answer(404, b"no such rendition\n")
        if refusal := await self._wait(shelf, asked, kind):
            return refusal
        return self._text(
            shelf.live or source, stem, lambda live: live_media(live, rendition, low_latency=low_latency)
        )

    def _text(self, live: Live, name: str, write: Callable[[Live], str]) -> Answer:
        """A playlist, written and compressed once for all who ask before the session goes on."""
        key = live.session, name
        known = self._texts.get(key)
        if known is None or known[0] != live.version:
            body = write(live).encode()
            known = live.version, Answer(200, body, PLAYLIST, packed=gzip.compress(body, 1))
            self._texts[key] = known
            self._texts.move_to_end(key)
            while len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
        return known[1]

    async def _wait(self, shelf: Shelf, asked: Asked, rendition: str) -> Answer | None:
        """Blocking reload: answers when the segment or part that was asked for is in the playlist."""
        sequence, part = asked.number("_HLS_msn"), asked.number("_HLS_part")
        if sequence is None:
            return None if part is None else Answer(400, b"_HLS_part without _HLS_msn\n")
        rows = shelf.live.renditions[rendition].rows if shelf.live else []
        if rows and sequence > rows[-1].sequence + 2:
            return Answer(400, b"_HLS_msn too far ahead\n")
        if not await shelf.reached(rendition, sequence, part, BLOCK_S):
            return Answer(503, b"nothing new\n", headers=[(b"retry-after", b"1")])
        return None

    async def _media(self, shelf: Shelf, asked: Asked, rendition: str, file: str) -> Answer:
        source = "main" if rendition == "audio" else rendition
        if file.startswith("init-"):
            body = await shelf.object(f"init/{file[5:]}")
        elif file.startswith("p"):
            body = await shelf.part(source, file.removesuffix(".m4s"), BLOCK_S)
        elif match := _RECORDED.match(file):
            begin, size = int(match[2]), int(match[3])
            body = await shelf.object(f"recording/{match[1]}.mp4", begin, begin + size)
        else:
            body = await shelf.object(f"{source}/{file}")
        return self._cut(asked, body, rendition)

    def _cut(self, asked: Asked, body: bytes | None, rendition: str) -> Answer:
        if body is None:
            return Answer(404, b"not found\n")
        if rendition == "audio":
            try:
                body = audio_only(body)
            except Malformed:
                return Answer(404, b"not found\n")
        return _ranged(asked, body, SEGMENT, FOREVER)

    async def _object(self, shelf: Shelf, asked: Asked, name: str, kind: str, cache: str) -> Answer:
        """A file of any size, read from S3 a piece at a time."""
        key = prefix(shelf.session) + name
        size = await self.archive.size(key)
        if size is None:
            return Answer(404, b"not found\n")
        answer, begin, end = _span(asked, size, kind, cache)
        if begin < end:
            answer.size, answer.pieces = end - begin, self._read(key, begin, end)
        return answer

    async def _read(self, key: str, begin: int, end: int) -> AsyncIterator[bytes]:
        while begin < end:
            piece = await self.archive.get(key, begin, min(begin + PIECE, end))
            if not piece:
                raise ArchiveUnavailable("object ends early")
            begin += len(piece)
            yield piece


def _tag(path: str) -> str:
    """The entity tag of what never changes under its name."""
    return f'"{path}"'


def _ranged(asked: Asked, body: bytes, kind: str, cache: str) -> Answer:
    answer, begin, end = _span(asked, len(body), kind, cache)
    answer.body = body[begin:end]
    return answer


def _span(asked: Asked, size: int, kind: str, cache: str) -> tuple[Answer, int, int]:
    """(answer without its body, begin, end) for a whole file or the one range that was asked for."""
    match = _RANGE.match(asked.range)
    if not match or not (match[1] or match[2]):
        return Answer(200, b"", kind, cache), 0, size
    begin, end = int(match[1] or 0), min(int(match[2]) + 1 if match[2] else size, size)
    if not match[1]:
        begin, end = max(0, size - int(match[2])), size
    if begin >= end:
        return Answer(416, headers=[(b"content-range", f"bytes */{size}".encode())]), 0, 0
    place = (b"content-range", f"bytes {begin}-{end - 1}/{size}".encode())
    return Answer(206, b"", kind, cache, headers=[place]), begin, end


async def _reply(send: Send, asked: Asked, answer: Answer) -> None:
    body = answer.body
    headers = [
        (b"content-type", answer.kind.encode()),
        (b"cache-control", answer.cache.encode()),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"content-range, content-length, date"),
        (b"x-content-type-options", b"nosniff"),
        *answer.headers,
    ]
    if answer.kind == PLAYLIST:
        headers.append((b"vary", b"accept-encoding"))
        if asked.gzip:
            body = answer.packed or gzip.compress(body, 1)
            headers.append((b"content-encoding", b"gzip"))
    elif answer.kind in (SEGMENT, POSTER):
        headers.append((b"accept-ranges", b"bytes"))
    size = answer.size if answer.pieces else len(body)
    if answer.status not in (204, 304):
        headers.append((b"content-length", str(size).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.pieces and asked.method == "GET":
        async for piece in answer.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else body})
