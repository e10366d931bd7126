"""The entry of an assembled recording: its files with their hashes, and where every second of it lies."""

from __future__ import annotations

import msgspec

from streaming.video.archive import Archive, prefix
from streaming.video.media import SECOND
from streaming.video.playlist import Piece

PIECE_US = 6 * SECOND
"""A replay is read in longer pieces than a live session: nobody waits for its edge."""


class Span(msgspec.Struct, array_like=True, frozen=True):
    """One segment inside a file."""

    offset: int
    size: int
    start_us: int
    """Unix time."""
    duration_us: int
    discontinuity: bool
    independent: bool


class RecordedFile(msgspec.Struct):
    """All segments of one format in a row, as one MP4. A session has one, unless the picture was turned."""

    name: str
    init: str
    sha256: str
    size: int
    width: int
    height: int
    spans: list[Span]


class Manifest(msgspec.Struct):
    session: str
    files: list[RecordedFile]
    start_us: int
    duration_us: int
    assembled_ms: int

    def find(self, start_us: int) -> tuple[RecordedFile, Span] | None:
        """Where the segment lies that began at this moment."""
        return next(((f, s) for f in self.files for s in f.spans if s.start_us == start_us), None)

    def pieces(self) -> list[Piece]:
        """The recording as its replay's playlist names it."""
        found: list[Piece] = []
        for file in self.files:
            first = True
            spans: list[Span] = []
            for span in file.spans:
                if spans and (_length(spans) + span.duration_us > PIECE_US or not _follows(spans[-1], span)):
                    found.append(_piece(file, spans, apart=first))
                    spans, first = [], False
                spans.append(span)
            if spans:
                found.append(_piece(file, spans, apart=first))
        return found


def _length(spans: list[Span]) -> int:
    return sum(span.duration_us for span in spans)


def _follows(before: Span, after: Span) -> bool:
    return (
        not after.discontinuity and abs(before.start_us + before.duration_us - after.start_us) < SECOND // 20
    )


def _piece(file: RecordedFile, spans: list[Span], *, apart: bool) -> Piece:
    size = spans[-1].offset + spans[-1].size - spans[0].offset
    return Piece(
        uri=f"r{file.name}_{spans[0].offset}_{size}.m4s",
        start_us=spans[0].start_us,
        duration_us=_length(spans),
        init=file.init,
        discontinuity=spans[0].discontinuity or apart,
        independent=spans[0].independent,
    )


async def read_manifest(archive: Archive, session: str) -> Manifest | None:
    body = await archive.get(prefix(session) + "recording/recording.json")
    return msgspec.json.decode(body, type=Manifest) if body else None
