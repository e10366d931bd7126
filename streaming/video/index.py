"""What S3 knows of a session: the listing of its segments is the index, there is no other."""

from __future__ import annotations

from streaming.video.archive import Archive, prefix
from streaming.video.errors import Malformed
from streaming.video.fmp4 import read_format
from streaming.video.playlist import WINDOW, Name, Rendition, Row, parse_name


async def stored_names(archive: Archive, session: str, rendition: str) -> list[Name]:
    """Stored segments in order. Of two with one number (an owner was taken for dead) the later counts."""
    folder = f"{prefix(session)}{rendition}/"
    found: dict[int, Name] = {}
    for entry in await archive.list(folder):
        name = parse_name(entry.key[len(folder) :].removesuffix(".m4s"))
        if name:
            found[name.sequence] = name
    return [found[sequence] for sequence in sorted(found)]


async def described(archive: Archive, session: str, init: str) -> tuple[str, int, int]:
    """(codecs, width, height) of an init segment; ("", 0, 0) when it is not there."""
    data = await archive.get(f"{prefix(session)}init/{init}.mp4")
    if data is None:
        return "", 0, 0
    try:
        shape = read_format(data)
    except Malformed:
        return "", 0, 0
    video = shape.video
    return shape.codecs, video.width if video else 0, video.height if video else 0


async def stored_rendition(archive: Archive, session: str, rendition: str) -> Rendition | None:
    """The newest stored segments as a live playlist shows them; None when there are none."""
    names = await stored_names(archive, session, rendition)
    if not names:
        return None
    shown = names[-WINDOW:]
    codecs, width, height = await described(archive, session, shown[-1].init)
    dropped = sum(name.discontinuity for name in names[: len(names) - len(shown) + 1])
    return Rendition([_row(name) for name in shown], codecs, width, height, dropped_discontinuities=dropped)


def _row(name: Name) -> Row:
    return Row(
        sequence=name.sequence,
        start_us=name.start_us,
        init=name.init,
        discontinuity=name.discontinuity,
        parts=[],
        name=str(name),
        duration_us=name.duration_us,
        independent=name.independent,
    )
