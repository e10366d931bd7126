"""What a live session's playlists say, and their text.

`Live` is the whole state of a session on air as the video process tells it to the processes that serve
playlists: small enough to be sent whole with every part, so that a lost message costs nothing.
Times are absolute, in microseconds of Unix time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from streaming.video.media import SECOND

WINDOW = 15  # segments a live playlist holds
PARTS_OF = 3  # newest segments whose parts are listed: three target durations, as the standard asks
_NAME = re.compile(r"(\d{7,12})_(\d{1,18})_(\d{1,9})_([0-9a-f]{12})_(d?)(k?)\Z")


class Name(NamedTuple):
    """A stored segment's name holds all that a playlist says of it, so a listing of S3 is the index."""

    sequence: int
    start_us: int
    duration_us: int
    init: str
    discontinuity: bool
    independent: bool

    def __str__(self) -> str:
        flags = ("d" if self.discontinuity else "") + ("k" if self.independent else "")
        return f"{self.sequence:07d}_{self.start_us}_{self.duration_us}_{self.init}_{flags}"


def parse_name(text: str) -> Name | None:
    match = _NAME.match(text)
    if not match:
        return None
    sequence, start, duration, init, discontinuity, independent = match.groups()
    return Name(int(sequence), int(start), int(duration), init, bool(discontinuity), bool(independent))


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    name: str
    duration_us: int
    independent: bool


class Row(msgspec.Struct, array_like=True):
    """A segment: finished when it has a name, else the one that is growing."""

    sequence: int
    start_us: int
    init: str
    discontinuity: bool
    parts: list[PartRow]
    name: str = ""
    duration_us: int = 0
    independent: bool = True


class Rendition(msgspec.Struct):
    """One kind of the same pictures: `main` or `low`. `audio` is a view of `main` without rows of its own."""

    rows: list[Row] = []
    codecs: str = ""
    width: int = 0
    height: int = 0
    bits_per_second: int = 0
    dropped_discontinuities: int = 0
    next_part: str = ""


class Live(msgspec.Struct):
    session: str
    version: int = 0
    """Grows with every change; a message with a lower one is old news."""
    tag: str = ""
    """Names this run of the video process in the names of parts, so that no two parts share a name."""
    target_s: int = 1
    part_target_us: int = 340_000
    low_latency: bool = True
    renditions: dict[str, Rendition] = {}
    ended: bool = False

    def reached(self, rendition: str, sequence: int, part: int | None) -> bool:
        """Does the playlist already hold this segment, or this part of it?"""
        rows = self.renditions[rendition].rows if rendition in self.renditions else []
        if not rows:
            return False
        last = rows[-1]
        if last.sequence > sequence or (last.sequence == sequence and last.name):
            return True
        return part is not None and last.sequence == sequence and len(last.parts) > part


def multivariant(live: Live, *, low_latency: bool) -> str:
    """The playlist that names the renditions."""
    kind = ".ll.m3u8" if low_latency else ".m3u8"
    lines = ["#EXTM3U", "#EXT-X-VERSION:9", "#EXT-X-INDEPENDENT-SEGMENTS"]
    sound = ""
    for name, rendition in live.renditions.items():
        if not rendition.rows:
            continue
        sound = rendition.codecs.rsplit(",", 1)[-1]
        size = f",RESOLUTION={rendition.width}x{rendition.height}" if rendition.width else ""
        rate = max(rendition.bits_per_second, 64_000)
        lines += [_variant(rate, rendition.codecs, size), name + kind]
    if sound:
        lines += [_variant(72_000, sound), "audio" + kind]
    return "\n".join(lines) + "\n"


def _variant(rate: int, codecs: str, size: str = "") -> str:
    peak = rate * 5 // 4
    return f'#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={rate},CODECS="{codecs}"{size}'


def live_media(live: Live, rendition: str, *, low_latency: bool) -> str:
    """The media playlist of a session on air. `audio` is read off `main`."""
    source = live.renditions["main" if rendition == "audio" else rendition]
    part_s = live.part_target_us / SECOND
    control = "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES"
    if low_latency:
        control += f",PART-HOLD-BACK={3 * part_s:.3f}"
    lines = ["#EXTM3U", "#EXT-X-VERSION:9", f"#EXT-X-TARGETDURATION:{live.target_s}", control]
    if low_latency:
        lines.append(f"#EXT-X-PART-INF:PART-TARGET={part_s:.3f}")
    rows = source.rows if low_latency else [row for row in source.rows if row.name]
    if rows:
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{rows[0].sequence}")
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{source.dropped_discontinuities}")
    init = ""
    listed = rows[-1].sequence - PARTS_OF if rows else 0
    for index, row in enumerate(rows):
        if row.discontinuity and index:
            lines.append("#EXT-X-DISCONTINUITY")
        if row.init != init:
            init = row.init
            lines.append(f'#EXT-X-MAP:URI="{rendition}/init-{init}.mp4"')
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{moment(row.start_us)}")
        if low_latency and row.sequence >= listed:
            for part in row.parts:
                whole = ",INDEPENDENT=YES" if part.independent or rendition == "audio" else ""
                uri = f"{rendition}/{part.name}.m4s"
                lines.append(f'#EXT-X-PART:DURATION={part.duration_us / SECOND:.5f},URI="{uri}"{whole}')
        if row.name:
            lines += [f"#EXTINF:{row.duration_us / SECOND:.5f},", f"{rendition}/{row.name}.m4s"]
    if live.ended:
        lines.append("#EXT-X-ENDLIST")
    elif low_latency and source.next_part:
        lines.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{rendition}/{source.next_part}.m4s"')
    return "\n".join(lines) + "\n"


class Piece(NamedTuple):
    """A piece of a finished session as its playlist names it."""

    uri: str
    start_us: int
    duration_us: int
    init: str
    discontinuity: bool
    independent: bool


def pieces(names: Sequence[Name]) -> list[Piece]:
    return [Piece(f"{name}.m4s", *name[1:]) for name in names]


def stored_media(found: Sequence[Piece], rendition: str) -> str:
    """The playlist of a finished session."""
    longest = max((piece.duration_us for piece in found), default=SECOND)
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", f"#EXT-X-TARGETDURATION:{target(longest)}"]
    lines += ["#EXT-X-PLAYLIST-TYPE:VOD", "#EXT-X-MEDIA-SEQUENCE:0"]
    if all(piece.independent for piece in found):
        lines.append("#EXT-X-INDEPENDENT-SEGMENTS")
    init, end = "", 0
    for index, piece in enumerate(found):
        apart = piece.discontinuity or abs(piece.start_us - end) > SECOND // 20
        if index and apart:
            lines.append("#EXT-X-DISCONTINUITY")
        if piece.init != init:
            init = piece.init
            lines.append(f'#EXT-X-MAP:URI="{rendition}/init-{init}.mp4"')
        if apart or not index:
            lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{moment(piece.start_us)}")
        lines += [f"#EXTINF:{piece.duration_us / SECOND:.5f},", f"{rendition}/{piece.uri}"]
        end = piece.start_us + piece.duration_us
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def target(longest_us: int) -> int:
    """Target duration: rounded as the standard says, not up. Players wait three of them behind the edge."""
    return max(1, (longest_us + SECOND // 2) // SECOND)


def moment(time_us: int) -> str:
    """ISO 8601 to the millisecond."""
    whole, rest = divmod(time_us, SECOND)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest // 1000:03d}Z"
