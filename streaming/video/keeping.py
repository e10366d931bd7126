"""After a session: one recording with its hash, clips of it, and its deletion when the time has come.

The recording is an MP4 made of the very fragments that viewers got, with an index in front, so that any
player can jump in it. The replay's playlist points into it (`Manifest.pieces`), so what is watched, what is
hashed and what is kept is one file. The single segments are deleted once it is stored and read back.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import struct
import tempfile
import time
from calendar import monthrange
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from io import BytesIO
from itertools import groupby, pairwise
from pathlib import Path
from typing import IO, Protocol

import msgspec

from streaming.video.archive import Archive, prefix
from streaming.video.boxes import full
from streaming.video.errors import Malformed
from streaming.video.fmp4 import AUDIO, VIDEO, Format, read_format
from streaming.video.index import stored_names
from streaming.video.manifest import Manifest, RecordedFile, Span, read_manifest
from streaming.video.media import SECOND
from streaming.video.playlist import Name
from streaming.video.wire import now_ms

log = logging.getLogger(__name__)

KEPT_MONTHS = 36
LONGEST_CLIP_US = 20 * 60 * SECOND  # it is made in memory
READ_AHEAD = 8  # segments fetched at once
BLOCK = 8 << 20

_CLIP = re.compile(r"[0-9a-z-]{1,60}\Z")
Progress = Callable[[int, int], None]
"""Segments done, segments in all."""


class Held(Exception):
    """The recording is kept by law and must not be deleted."""


class NothingRecorded(Exception):
    """The session has no media."""


class Deletion(msgspec.Struct):
    """What was deleted, for the log that the market keeps."""

    session: str
    why: str
    objects: int
    bytes: int
    sha256: list[str]
    """Hashes of the deleted recordings."""
    at_ms: int
    done: bool
    """False: about to begin. An entry without its second half is an interrupted deletion."""


class DeletionLog(Protocol):
    async def record(self, deletion: Deletion) -> None:
        """Must have stored the entry when it returns; nothing is deleted before that."""


# Assembling


async def assemble(archive: Archive, session: str, progress: Progress | None = None) -> Manifest:
    """Makes the recording of an ended session, or adds to it what came after a reopening. Safe to repeat.

    Raises `NothingRecorded`. Takes about a minute an hour of video.
    """
    before = await read_manifest(archive, session)
    names = await stored_names(archive, session, "main")
    if not names:
        if before is None:
            raise NothingRecorded(session)
        return before
    files = list(before.files) if before else []
    known = {span.start_us for file in files for span in file.spans}
    fresh = [name for name in names if name.start_us not in known]
    done = 0
    for init, run in groupby(fresh, key=lambda name: name.init):
        listed = list(run)
        with tempfile.TemporaryFile() as out:
            files.append(await _write_run(archive, session, f"{len(files):03d}", init, listed, out))
            await archive.put_file(_key(session, files[-1].name), out)
        await _read_back(archive, session, files[-1])
        done += len(listed)
        if progress:
            progress(done, len(fresh))
    start = files[0].spans[0].start_us
    last = files[-1].spans[-1]
    manifest = Manifest(session, files, start, last.start_us + last.duration_us - start, now_ms())
    await archive.put(f"{prefix(session)}recording/recording.json", msgspec.json.encode(manifest))
    await _delete_segments(archive, session)
    return manifest


async def _write_run(
    archive: Archive, session: str, name: str, init: str, names: list[Name], out: IO[bytes]
) -> RecordedFile:
    """Segments of one format as one MP4. The index needs their sizes, so its place is filled in last."""
    data = await archive.get(f"{prefix(session)}init/{init}.mp4")
    if data is None:
        raise Malformed("init segment is missing")
    shape = read_format(data)
    length = names[-1].start_us + names[-1].duration_us - names[0].start_us
    head = shape.init(length)
    offset = len(head) + len(_index(shape, names, [0] * len(names)))
    out.write(bytes(offset))
    spans = []
    async for segment, body in _bodies(archive, session, names):
        out.write(body)
        spans.append(
            Span(
                offset,
                len(body),
                segment.start_us,
                segment.duration_us,
                segment.discontinuity,
                segment.independent,
            )
        )
        offset += len(body)
    out.seek(0)
    out.write(head + _index(shape, names, [span.size for span in spans]))
    out.seek(0)
    digest = await asyncio.to_thread(_hash, out)
    out.seek(0)
    width, height = (shape.video.width, shape.video.height) if shape.video else (0, 0)
    return RecordedFile(name, init, digest, offset, width, height, spans)


def _index(shape: Format, names: list[Name], sizes: list[int]) -> bytes:
    """A `sidx` box: where each segment lies, so that players jump without reading all of it."""
    follow = [after.start_us - name.start_us for name, after in pairwise(names)]
    durations = [*follow, names[-1].duration_us]
    track = VIDEO if shape.video else AUDIO
    head = struct.pack(">IIQQHH", track, SECOND, 0, 0, 0, len(names))
    rows = (
        struct.pack(">III", size, duration, (1 << 31 | 1 << 28) if name.independent else 0)
        for name, size, duration in zip(names, sizes, durations, strict=True)
    )
    return full(b"sidx", 1, 0, head, *rows)


async def _bodies(archive: Archive, session: str, names: list[Name]) -> AsyncIterator[tuple[Name, bytes]]:
    """Segments in order, a few fetched ahead."""
    folder = f"{prefix(session)}main/"
    for at in range(0, len(names), READ_AHEAD):
        some = names[at : at + READ_AHEAD]
        for name, body in zip(
            some, await asyncio.gather(*(archive.get(f"{folder}{n}.m4s") for n in some)), strict=True
        ):
            if body is None:
                raise Malformed(f"segment {name.sequence} is missing")
            yield name, body


def _hash(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


async def _read_back(archive: Archive, session: str, file: RecordedFile) -> None:
    if await hash_of(archive, session, file) != file.sha256:
        raise Malformed("the stored recording differs from what was written")


async def hash_of(archive: Archive, session: str, file: RecordedFile) -> str:
    """SHA-256 of a recording as S3 has it now."""
    digest = hashlib.sha256()
    for begin in range(0, file.size, BLOCK):
        body = await archive.get(_key(session, file.name), begin, min(begin + BLOCK, file.size))
        digest.update(body or b"")
    return digest.hexdigest()


async def _delete_segments(archive: Archive, session: str) -> None:
    for rendition in ("main", "low"):
        entries = await archive.list(f"{prefix(session)}{rendition}/")
        await archive.delete(entry.key for entry in entries)


def _key(session: str, name: str) -> str:
    return f"{prefix(session)}recording/{name}.mp4"


# Clips


@dataclass(frozen=True, slots=True)
class Clip:
    address: str
    """Below the session's media: recording/clip-….mp4"""
    sha256: str
    size: int
    start_us: int
    duration_us: int


async def cut_clip(archive: Archive, session: str, name: str, start_us: int, end_us: int) -> Clip:
    """Some minutes of a recording as an ordinary MP4, without encoding anything again.

    Begins at the segment in which `start_us` (Unix time) lies, so up to a second early, and ends where the
    picture's format changes. `name`: lower-case letters, digits, hyphens. Raises `NothingRecorded`, and
    ValueError for a clip of no length or more than twenty minutes.
    """
    if not _CLIP.match(name) or not 0 < end_us - start_us <= LONGEST_CLIP_US:
        raise ValueError(f"clip {name!r}: {end_us - start_us} us")
    manifest = await read_manifest(archive, session)
    for file in manifest.files if manifest else []:
        spans = [s for s in file.spans if s.start_us + s.duration_us > start_us and s.start_us < end_us]
        while spans and not spans[0].independent:
            spans.pop(0)
        if not spans:
            continue
        init = await archive.get(f"{prefix(session)}init/{file.init}.mp4") or b""
        begin, end = spans[0].offset, spans[-1].offset + spans[-1].size
        body = await archive.get(_key(session, file.name), begin, end) or b""
        data = await asyncio.to_thread(remux, init + body)
        key = f"recording/clip-{name}.mp4"
        await archive.put(prefix(session) + key, data)
        length = spans[-1].start_us + spans[-1].duration_us - spans[0].start_us
        return Clip(key, hashlib.sha256(data).hexdigest(), len(data), spans[0].start_us, length)
    raise NothingRecorded(session)


def remux(data: bytes) -> bytes:
    """Our own fragments as an MP4 that every editor and network takes: times from zero, index in front."""
    import av  # here, because web processes use the rest of this module

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        with (
            av.open(BytesIO(data), "r") as source,
            av.open(str(file), "w", options={"movflags": "faststart"}) as out,
        ):
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            begin: Fraction | None = None
            for packet in source.demux():
                if packet.dts is None or packet.pts is None:
                    continue
                if begin is None:
                    begin = packet.dts * packet.time_base
                shift = int(begin / packet.time_base)
                packet.dts, packet.pts = packet.dts - shift, packet.pts - shift
                packet.stream = streams[packet.stream_index]
                out.mux(packet)
        return file.read_bytes()


# Keeping and deleting


async def hold(archive: Archive, session: str, note: str) -> None:
    """Legal hold: nothing of the session can be deleted until it is released."""
    body = msgspec.json.encode({"at_ms": now_ms(), "note": note})
    await archive.put(f"{prefix(session)}hold.json", body)


async def release(archive: Archive, session: str) -> None:
    await archive.delete([f"{prefix(session)}hold.json"])


async def held(archive: Archive, session: str) -> bool:
    return await archive.size(f"{prefix(session)}hold.json") is not None


async def delete(archive: Archive, session: str, why: str, deletions: DeletionLog) -> Deletion:
    """Deletes all media of a session, logged before and after. Raises `Held`.

    The mark of a takedown stays: its addresses go on answering 410. Safe to repeat after an interruption.
    """
    if await held(archive, session):
        raise Held(session)
    manifest = await read_manifest(archive, session)
    entries = [e for e in await archive.list(prefix(session)) if not e.key.endswith("/gone.json")]
    deletion = Deletion(
        session=session,
        why=why,
        objects=len(entries),
        bytes=sum(entry.size for entry in entries),
        sha256=[file.sha256 for file in manifest.files] if manifest else [],
        at_ms=now_ms(),
        done=False,
    )
    await deletions.record(deletion)
    # The manifest goes last: as long as it is there, a repeated deletion knows what it deletes.
    entries.sort(key=lambda entry: entry.key.endswith("recording.json"))
    await archive.delete(entry.key for entry in entries)
    deletion = msgspec.structs.replace(deletion, at_ms=now_ms(), done=True)
    await deletions.record(deletion)
    return deletion


def kept_until(start_us: int, months: int = KEPT_MONTHS) -> datetime:
    """When a recording may be deleted: the same day so many months later, or that month's last."""
    begin = datetime.fromtimestamp(start_us / SECOND, UTC)
    year, month = divmod(begin.year * 12 + begin.month - 1 + months, 12)
    day = min(begin.day, monthrange(year, month + 1)[1])
    return begin.replace(year=year, month=month + 1, day=day)


def is_due(start_us: int, months: int = KEPT_MONTHS, now_s: float | None = None) -> bool:
    return kept_until(start_us, months).timestamp() < (time.time() if now_s is None else now_s)
