"""Fragmented MP4 as Safari and Chrome record it, read as the bytes come. See `webm` for why it is ours.

A fragment is a `moof` (what) and an `mdat` (the bytes). Packets come out when the whole fragment is there,
both tracks in the order of their decoding times.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from streaming.video.boxes import boxes, child
from streaming.video.errors import Malformed, TooLarge, Unsupported
from streaming.video.media import IDENTITY, SECOND, AudioTrack, Mark, Packet, Tracks, VideoTrack

MAX_FRAGMENT = 16 << 20  # Chrome writes fragments of several seconds
MAX_HEADER = 1 << 20
MAX_SAMPLES = 20_000
_TOP_LEVEL = frozenset(
    b"ftyp styp moov moof mdat free skip sidx mfra prft emsg uuid wide udta meta pdin".split()
)


@dataclass(slots=True)
class _Track:
    """What the header says of a track, and where its decoding time stands."""

    what: VideoTrack | AudioTrack
    scale: int
    shift: int = 0  # ticks taken off every time, from the edit list
    duration: int = 0  # defaults from trex
    size: int = 0
    flags: int = 0
    time: int = 0


@dataclass(slots=True)
class _Reader:
    """Numbers from a payload, one after another."""

    data: bytes
    at: int = 0

    def u(self, size: int) -> int:
        self.at += size
        if self.at > len(self.data):
            raise Malformed("box ends early")
        return int.from_bytes(self.data[self.at - size : self.at], "big")

    def s32(self) -> int:
        value = self.u(4)
        return value - (1 << 32) if value >> 31 else value


@dataclass(slots=True)
class Mp4Demuxer:
    """See `PushDemuxer`."""

    tracks: Tracks | None = None
    header: bytes = b""
    skipped: int = 0
    _buffer: bytearray = field(default_factory=bytearray)
    _at: int = 0
    _pass: int = 0
    _lost: int = 0
    _by_id: dict[int, _Track] = field(default_factory=dict)

    def resume(self, mark: Mark) -> None:
        self._buffer.clear()
        self._at, self._pass = mark.offset, 0

    def feed(self, data: bytes) -> list[Packet]:
        self._buffer += data
        packets: list[Packet] = []
        while self._buffer:
            if self._pass:
                step = min(self._pass, len(self._buffer))
                self._pass -= step
            elif not (step := self._box(packets)):
                break
            del self._buffer[:step]
            self._at += step
        return packets

    def _box(self, packets: list[Packet]) -> int:
        """Takes the box at the front. Returns its length, 0 when more bytes must come first."""
        try:
            size, kind, length = self._head(0)
        except Malformed:
            return self._find_fragment()
        if not size:
            return 0
        if kind in (b"moov", b"ftyp"):
            if size > MAX_HEADER:
                raise TooLarge("header")
            if len(self._buffer) < size:
                return 0
            if not self._by_id:
                self.header += bytes(self._buffer[:size])
                if kind == b"moov":
                    self._describe(bytes(self._buffer[length:size]))
            return size
        if kind != b"moof":
            if kind == b"mdat" and not self._by_id:
                raise Unsupported("not a fragmented file")
            if len(self._buffer) < size:
                self._pass, size = size - len(self._buffer), len(self._buffer)
            return size
        try:
            following, name, _ = self._head(size)
        except Malformed:
            return size + self._find_fragment(size)
        if not following:
            if size > MAX_FRAGMENT:
                raise TooLarge("fragment")
            return 0
        whole = size + (following if name == b"mdat" else 0)
        if whole > MAX_FRAGMENT:
            raise TooLarge("fragment")
        if len(self._buffer) < whole:
            return 0
        if name == b"mdat":
            try:
                packets += self._fragment(bytes(self._buffer[:whole]), length, size)
                self._lost = 0
            except Malformed:
                self.skipped += whole
        return whole

    def _find_fragment(self, begin: int = 0) -> int:
        """Damage: go on at the next fragment. The bytes between are lost, what follows is not."""
        if not self._by_id:
            raise Malformed("header")
        found = self._buffer.find(b"moof", begin + 8)
        step = (found - 4 if found >= 0 else max(len(self._buffer) - 7, begin + 1)) - begin
        self.skipped += step
        self._lost += step
        if self._lost > MAX_FRAGMENT:
            raise Malformed("no fragment after damage")
        return step

    def _head(self, at: int) -> tuple[int, bytes, int]:
        """(size, type, bytes of the head) of the box at `at`; size 0: more bytes must come first."""
        if len(self._buffer) < at + 16:
            return 0, b"", 0
        size, kind, length = (
            int.from_bytes(self._buffer[at : at + 4], "big"),
            bytes(self._buffer[at + 4 : at + 8]),
            8,
        )
        if size == 1:
            size, length = int.from_bytes(self._buffer[at + 8 : at + 16], "big"), 16
        if size < length or kind not in _TOP_LEVEL:
            raise Malformed("box")
        return size, kind, length

    def _describe(self, moov: bytes) -> None:
        for kind, begin, end in boxes(moov):
            if kind == b"trak":
                self._read_track(moov[begin:end])
        for kind, begin, end in boxes(child(moov, b"mvex")):
            if kind != b"trex":
                continue
            trex = _Reader(child(moov, b"mvex")[begin:end], 4)
            track = self._by_id.get(trex.u(4))
            if track:
                trex.u(4)
                track.duration, track.size, track.flags = trex.u(4), trex.u(4), trex.u(4)
        if not self._by_id:
            raise Unsupported("no picture and no sound")
        video = next((t.what for t in self._by_id.values() if isinstance(t.what, VideoTrack)), None)
        audio = next((t.what for t in self._by_id.values() if isinstance(t.what, AudioTrack)), None)
        self.tracks = Tracks(video, audio)

    def _read_track(self, trak: bytes) -> None:
        handler = child(trak, b"mdia", b"hdlr")[8:12]
        kinds = [type(track.what) for track in self._by_id.values()]
        entry = child(trak, b"mdia", b"minf", b"stbl", b"stsd")[8:]
        head = _Reader(child(trak, b"tkhd"))
        wide = head.u(4) >> 24
        head.u(16 if wide else 8)
        number = head.u(4)
        head.u((12 if wide else 8) + 16)
        matrix = tuple(head.u(4) for _ in range(9))
        times = _Reader(child(trak, b"mdia", b"mdhd"))
        times.u(16 if times.u(4) >> 24 else 8)
        scale = times.u(4)
        if not 1 <= scale <= 10_000_000:
            raise Malformed("time scale")
        what: VideoTrack | AudioTrack
        if handler == b"vide" and VideoTrack not in kinds:
            what = _video_entry(entry, matrix)
        elif handler == b"soun" and AudioTrack not in kinds:
            what = _audio_entry(entry)
        else:
            return
        self._by_id[number] = _Track(what, scale, _shift(child(trak, b"edts", b"elst")))

    def _fragment(self, data: bytes, begin: int, end: int) -> list[Packet]:
        packets: list[Packet] = []
        previous = 0
        for kind, a, b in boxes(data, begin, end):
            if kind == b"traf":
                previous = self._run(data, a, b, previous, packets)
        packets.sort(key=lambda packet: packet.dts)
        first = next((packet for packet in packets if packet.kind == "video"), None)
        if first and first.key:
            first.mark = Mark(self._at)
        return packets

    def _run(self, data: bytes, begin: int, end: int, previous: int, packets: list[Packet]) -> int:
        """Packets of one `traf`. Returns where its bytes end, which is where the next one's may begin."""
        track: _Track | None = None
        duration = size = flags = 0
        at = previous
        for kind, a, b in boxes(data, begin, end):
            box = _Reader(data[a:b])
            if kind == b"tfhd":
                has = box.u(4)
                track = self._by_id.get(box.u(4))
                if track is None:
                    return previous
                at = box.u(8) - self._at if has & 1 else (0 if has & 0x20000 else previous)
                box.u(4 if has & 2 else 0)
                duration = box.u(4) if has & 8 else track.duration
                size = box.u(4) if has & 0x10 else track.size
                flags = box.u(4) if has & 0x20 else track.flags
            elif kind == b"tfdt" and track:
                track.time = box.u(8 if box.u(4) >> 24 else 4)
            elif kind == b"trun" and track:
                at = self._samples(data, box, track, (duration, size, flags), at, packets)
        return at

    def _samples(
        self,
        data: bytes,
        box: _Reader,
        track: _Track,
        defaults: tuple[int, int, int],
        at: int,
        packets: list[Packet],
    ) -> int:
        has, count = box.u(4), box.u(4)
        if count > MAX_SAMPLES:
            raise Malformed("samples")
        if has & 1:
            at = box.s32()
        first = box.u(4) if has & 4 else None
        video = isinstance(track.what, VideoTrack)
        for index in range(count):
            duration = box.u(4) if has & 0x100 else defaults[0]
            size = box.u(4) if has & 0x200 else defaults[1]
            flags = box.u(4) if has & 0x400 else (first if first is not None and not index else defaults[2])
            later = box.s32() if has & 0x800 else 0
            if at < 0 or size > len(data) - at or (not duration and not size):
                raise Malformed("sample outside of its fragment")
            dts = (track.time - track.shift) * SECOND // track.scale
            pts = (track.time - track.shift + later) * SECOND // track.scale
            if size:
                key = not video or not flags & 0x10000
                packets.append(Packet("video" if video else "audio", pts, dts, key, data[at : at + size]))
            at += size
            track.time += duration
        return at


def _shift(elst: bytes) -> int:
    """Ticks that the edit list takes off: encoders put their warm-up there. Only one edit is followed."""
    if len(elst) < 8:
        return 0
    edits = _Reader(elst)
    wide = edits.u(4) >> 24
    if edits.u(4) != 1:
        return 0
    edits.u(8 if wide else 4)
    start = edits.u(8) if wide else edits.u(4)
    return start if start < 1 << 31 else 0


def _video_entry(entry: bytes, matrix: tuple[int, ...]) -> VideoTrack:
    kind = entry[4:8]
    width, height = struct.unpack_from(">HH", entry.ljust(36, b"\0"), 32)
    matrix = matrix if len(matrix) == 9 else IDENTITY
    if kind in (b"avc1", b"avc3"):
        return VideoTrack("h264", child(entry[86:], b"avcC"), width, height, matrix)
    if kind == b"vp09":
        return VideoTrack("vp9", b"", width, height, matrix)
    raise Unsupported("picture codec")


def _audio_entry(entry: bytes) -> AudioTrack:
    kind, entry = entry[4:8], entry.ljust(36, b"\0")
    channels, rate = struct.unpack_from(">H", entry, 24)[0], struct.unpack_from(">H", entry, 32)[0]
    if kind == b"Opus":
        dops = child(entry[36:], b"dOps")
        if len(dops) < 11:
            raise Malformed("Opus without its head")
        _, channels, skip, rate, gain = struct.unpack_from(">BBHIh", dops)
        head = b"OpusHead\1" + struct.pack("<BHIh", channels, skip, rate, gain) + b"\0"
        return AudioTrack("opus", head, 48_000, channels)
    if kind == b"mp4a":
        config = _decoder_config(child(entry[36:], b"esds")[4:])
        return AudioTrack("aac", config, rate, channels)
    raise Unsupported("sound codec")


def _decoder_config(data: bytes) -> bytes:
    """AudioSpecificConfig out of the descriptors of an `esds` box (ISO/IEC 14496-1, 7.2.6)."""
    at = 0
    while at + 2 <= len(data):
        tag, at, size = data[at], at + 1, 0
        for _ in range(4):
            byte = data[at] if at < len(data) else 0
            size, at = size << 7 | byte & 0x7F, at + 1
            if not byte & 0x80:
                break
        if tag == 3:  # the elementary stream: step over its own fields, go on with what is inside
            at += 3
        elif tag == 4:
            if data[at : at + 1] not in (b"\x40", b"\x67"):
                raise Unsupported("sound codec")
            at += 13
        elif tag == 5:
            return data[at : at + size]
        else:
            at += size
    raise Malformed("AAC without its configuration")
