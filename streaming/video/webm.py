"""WebM and Matroska as browsers record them, read as the bytes come.

Written for input from strangers: it runs in Python, where a wrong length is an exception and not a write out
of bounds; it holds at most one element in memory; and it never waits, so one process reads any number of
recordings. Nesting is not followed: a cluster ends where the next element of its parent begins, which is how
live recordings are written (sizes unknown) and what makes it easy to find the way again after damage.

It can resume in the middle (`Mark`), which is what lets a second process go on where a killed one stopped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Literal

from streaming.video.errors import Malformed, TooLarge, Unsupported
from streaming.video.media import AudioTrack, Mark, Packet, Tracks, VideoTrack

EBML, SEGMENT, INFO, TRACKS, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0x1F43B675
TIMESTAMP, SIMPLE_BLOCK, BLOCK_GROUP, BLOCK, REFERENCE = 0xE7, 0xA3, 0xA0, 0xA1, 0xFB
DOC_TYPE, TIMESTAMP_SCALE, TRACK_ENTRY = 0x4282, 0x2AD7B1, 0xAE
NUMBER, KIND, CODEC, PRIVATE, VIDEO, AUDIO = 0xD7, 0x83, 0x86, 0x63A2, 0xE0, 0xE1
WIDTH, HEIGHT, RATE, CHANNELS = 0xB0, 0xBA, 0xB5, 0x9F

MAX_ELEMENT = 4 << 20  # a 720p key frame at the highest rate allowed is 300 KB
MAX_HEADER = 1 << 20
MAX_LOST = 4 << 20  # bytes passed over in search of the next cluster before giving up

_ENTERED = frozenset({SEGMENT, CLUSTER})
_WANTED = frozenset({EBML, INFO, TRACKS, TIMESTAMP, SIMPLE_BLOCK, BLOCK_GROUP})
_CLUSTER_ID = CLUSTER.to_bytes(4, "big")


class WebmDemuxer:
    """See `PushDemuxer`."""

    def __init__(self) -> None:
        self.tracks: Tracks | None = None
        self.header = b""
        self.skipped = 0
        self._start = bytearray()  # everything up to the first cluster
        self._buffer = bytearray()
        self._at = 0  # offset of _buffer[0] in the recording
        self._pass = 0  # bytes still to come of an element that nobody wants
        self._lost = 0
        self._scale = 1000  # nanoseconds in one thousandth of a tick: microseconds in a tick
        self._cluster = -1
        self._kinds: dict[int, Literal["video", "audio"]] = {}

    def resume(self, mark: Mark) -> None:
        self._buffer.clear()
        self._at, self._pass, self._cluster = mark.offset, 0, mark.state

    def feed(self, data: bytes) -> list[Packet]:
        if not self.header:
            self._start += data
        self._buffer += data
        packets: list[Packet] = []
        at = min(self._pass, len(self._buffer))
        self._pass -= at
        while not self._pass and (step := self._element(at, packets)):
            at += step
            if at > len(self._buffer):
                self._pass = at - len(self._buffer)
                at = len(self._buffer)
        del self._buffer[:at]
        self._at += at
        if not self.header and len(self._start) > MAX_HEADER:
            raise TooLarge("header")
        return packets

    def _element(self, at: int, packets: list[Packet]) -> int:
        """Takes the element at `at`. Returns how far to go on, 0 when more bytes must come first."""
        head = _head(self._buffer, at)
        if head is None:
            return 0
        identity, size, length = head
        if identity == CLUSTER:
            self._enter_cluster(self._at + at)
        if identity in _ENTERED:
            return length
        if identity < 0 or size < 0:
            return self._find_cluster(at)
        if identity not in _WANTED:
            return length + size
        if size > MAX_ELEMENT:
            return self._find_cluster(at)
        end = at + length + size
        if end > len(self._buffer):
            return 0
        try:
            self._read(identity, bytes(self._buffer[at + length : end]), self._at + at, packets)
        except Malformed:
            if not self.header:
                raise
            self.skipped += size
        return length + size

    def _read(self, identity: int, body: bytes, offset: int, packets: list[Packet]) -> None:
        if identity == TIMESTAMP:
            self._cluster = _number(body)
        elif identity == SIMPLE_BLOCK:
            self._block(body, bool(len(body) > 3 and body[3] & 0x80), offset, packets)
        elif identity == BLOCK_GROUP:
            self._group(body, offset, packets)
        elif not self.header:
            self._describe(identity, body)

    def _enter_cluster(self, offset: int) -> None:
        if not self.header:
            if self.tracks is None:
                raise Malformed("media before the tracks")
            self.header = bytes(self._start[:offset])
            self._start.clear()
        self._cluster = -1

    def _find_cluster(self, at: int) -> int:
        """Damage: go on at the next cluster. The bytes between are lost, what follows is not."""
        if not self.header:
            raise Malformed("header")
        found = self._buffer.find(_CLUSTER_ID, at + 1)
        step = (found if found >= 0 else max(len(self._buffer) - 3, at)) - at
        self.skipped += step
        self._lost += step
        if self._lost > MAX_LOST:
            raise Malformed("no cluster after damage")
        return step

    def _describe(self, identity: int, body: bytes) -> None:
        if identity == EBML:
            for child, value in _children(body):
                if child == DOC_TYPE and value.rstrip(b"\0") not in (b"webm", b"matroska"):
                    raise Unsupported("document type")
        elif identity == INFO:
            for child, value in _children(body):
                if child == TIMESTAMP_SCALE:
                    scale = _number(value)
                    if not 1000 <= scale <= 1_000_000_000:
                        raise Unsupported("timestamp scale")
                    self._scale = scale // 1000
        elif identity == TRACKS:
            self._read_tracks(body)

    def _read_tracks(self, body: bytes) -> None:
        video: VideoTrack | None = None
        audio: AudioTrack | None = None
        for child, entry in _children(body):
            if child != TRACK_ENTRY:
                continue
            number, track = _track(entry)
            if isinstance(track, VideoTrack) and video is None:
                video, self._kinds[number] = track, "video"
            elif isinstance(track, AudioTrack) and audio is None:
                audio, self._kinds[number] = track, "audio"
        if video is None and audio is None:
            raise Unsupported("no picture and no sound")
        self.tracks = Tracks(video, audio)

    def _group(self, body: bytes, offset: int, packets: list[Packet]) -> None:
        block, key = b"", True
        for child, value in _children(body):
            if child == BLOCK:
                block = value
            elif child == REFERENCE:
                key = False
        self._block(block, key, offset, packets)

    def _block(self, body: bytes, key: bool, offset: int, packets: list[Packet]) -> None:
        number, length = _vint(body, 0)
        kind = self._kinds.get(number)
        if kind is None and number > 0:
            return  # another track: subtitles, a second camera
        if kind is None or self._cluster < 0 or len(body) <= length + 3 or body[length + 2] & 0x06:
            self.skipped += len(body)  # no frame, no time, or several frames in one block
            return
        ticks = self._cluster + int.from_bytes(body[length : length + 2], "big", signed=True)
        time = ticks * self._scale
        mark = Mark(offset, self._cluster) if key and kind == "video" else None
        packets.append(Packet(kind, time, time, key or kind == "audio", body[length + 3 :], mark))
        self._lost = 0


def _head(data: bytearray, at: int) -> tuple[int, int, int] | None:
    """(id, size, bytes of both) of the element at `at`. Id -1: damage; size -1: unknown; None: wait."""
    if at >= len(data):
        return None
    width = 9 - data[at].bit_length()
    if width > 4:
        return -1, -1, 1
    if at + width >= len(data):
        return None
    more = 9 - data[at + width].bit_length()
    if more > 8:
        return -1, -1, 1
    end = at + width + more
    if end > len(data):
        return None
    size = int.from_bytes(data[at + width : end], "big") & ((1 << 7 * more) - 1)
    if size == (1 << 7 * more) - 1:
        size = -1
    return int.from_bytes(data[at : at + width], "big"), size, width + more


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """(value, bytes) of a number in its own length; (-1, 0) is damage."""
    width = 9 - data[at].bit_length() if at < len(data) else 9
    if width > 8 or at + width > len(data):
        return -1, 0
    return int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1), width


def _number(data: bytes) -> int:
    if not 0 < len(data) <= 8:
        raise Malformed("number")
    return int.from_bytes(data, "big")


def _children(body: bytes) -> Iterator[tuple[int, bytes]]:
    view, at = bytearray(body), 0
    while (head := _head(view, at)) is not None:
        identity, size, length = head
        if identity < 0 or size < 0 or at + length + size > len(body):
            raise Malformed("element longer than its parent")
        yield identity, body[at + length : at + length + size]
        at += length + size


def _track(entry: bytes) -> tuple[int, VideoTrack | AudioTrack | None]:
    values = dict(_children(entry))
    number, codec, private = (
        _number(values.get(NUMBER, b"")),
        values.get(CODEC, b""),
        values.get(PRIVATE, b""),
    )
    if VIDEO in values:
        inner = dict(_children(values[VIDEO]))
        width, height = _number(inner.get(WIDTH, b"")), _number(inner.get(HEIGHT, b""))
        if codec == b"V_MPEG4/ISO/AVC":
            return number, VideoTrack("h264", private, width, height)
        if codec in (b"V_VP8", b"V_VP9"):
            return number, VideoTrack("vp8" if codec == b"V_VP8" else "vp9", b"", width, height)
        raise Unsupported("picture codec")
    if AUDIO in values:
        inner = dict(_children(values[AUDIO]))
        channels = _number(inner.get(CHANNELS, b"\1"))
        if codec == b"A_OPUS":
            return number, AudioTrack("opus", private, 48_000, channels)
        if codec == b"A_AAC":
            return number, AudioTrack("aac", private, round(_real(inner.get(RATE, b""))), channels)
        raise Unsupported("sound codec")
    return number, None


def _real(data: bytes) -> float:
    if len(data) not in (4, 8):
        raise Malformed("number")
    value: float = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
    if not 7_000 <= value <= 192_000:
        raise Unsupported("sampling rate")
    return value
