"""One recording of a host (an epoch): from its first byte to the moment it stops or another one begins.

A browser sends a recording in numbered chunks. What has been stored of it is remembered beside each stored
segment (`Mark`, chunk, clock), and its header beside the session; with these another process takes over a
recording in the middle, to the frame, as long as the host still holds the chunks that were not stored.
"""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections import deque

import msgspec

from streaming.video.errors import Malformed, TooLarge
from streaming.video.media import Mark, Packet, PushDemuxer, Tracks
from streaming.video.packager import Continuation, Packager, open_demuxer
from streaming.video.segmenter import Event

MAX_CHUNK = 8 << 20  # Chrome's MP4 comes in pieces of seconds
MAX_RATE = 2_500_000  # bytes a second, with room for a burst after a gap
MAX_BURST = 64 << 20


class Place(msgspec.Struct):
    """Where a recording can be taken up: stored beside the segment that ends there."""

    recording: str
    offset: int
    state: int
    chunk: int
    skip: int
    """Bytes of that chunk that are stored already."""
    clock_us: int
    """Session time of the recording's time zero."""
    stored_us: int
    audio_end_us: int


class Epoch(msgspec.Struct):
    """A recording's entry in the archive."""

    id: str
    origin_us: int
    """Unix time of the session's time zero, in microseconds."""
    header: str = ""
    """Base64 of the bytes before its first media."""
    source: str = ""

    def header_bytes(self) -> bytes:
        return b64decode(self.header)


class Recording:
    """Not safe for several threads at once: the stream that owns it feeds it in order."""

    def __init__(self, recording_id: str, source: str, *, low: bool, part_us: int | None = None) -> None:
        self.id, self.source = recording_id, source
        self.tag = secrets.token_hex(4)
        self.next_chunk = 0
        self.received = 0
        self.packager: Packager | None = None
        self.tracks: Tracks | None = None
        self._low, self._part_us = low, part_us
        self._demuxer: PushDemuxer | None = None
        self._begin = b""  # until there are enough bytes to tell the container
        self._waiting: list[Packet] = []
        self._starts: deque[tuple[int, int]] = deque()  # (offset, chunk)
        self._skip = 0
        self._going_on: Continuation | None = None
        self.sequence = 0
        self.start_us = 0
        self.discontinuity = False

    @property
    def header(self) -> bytes:
        return self._demuxer.header if self._demuxer else b""

    @property
    def begun(self) -> bool:
        """Has the first packet been packaged?"""
        return self.packager is not None

    def restore(self, epoch: Epoch, place: Place) -> None:
        """Makes a new object go on where a stored one stopped. Raises `Malformed` when it cannot."""
        header = epoch.header_bytes()
        self._demuxer = open_demuxer(header[:8])
        self._demuxer.feed(header)
        if self._demuxer.tracks is None:
            raise Malformed("stored header")
        self.tracks = self._demuxer.tracks
        self._demuxer.resume(Mark(place.offset, place.state))
        self._demuxer.header = header
        self.next_chunk, self._skip = place.chunk, place.skip
        self.received = place.offset - place.skip
        self._going_on = Continuation(place.clock_us, place.stored_us, place.audio_end_us)

    def feed(self, data: bytes) -> list[Packet]:
        """The next chunk. Returns its packets; `package` turns them into events."""
        if len(data) > MAX_CHUNK:
            raise TooLarge("chunk")
        self._starts.append((self.received, self.next_chunk))
        self.received += len(data)
        self.next_chunk += 1
        if self._skip:
            data, self._skip = data[self._skip :], 0
        if self._demuxer is None:
            self._begin += data
            if len(self._begin) < 8:
                return []
            self._demuxer, data = open_demuxer(self._begin[:8]), self._begin
            self._begin = b""
        packets = self._demuxer.feed(data)
        self.tracks = self._demuxer.tracks
        return packets

    def package(self, packets: list[Packet]) -> list[Event]:
        """Packets become events; the clock of the first one is what `start_us` says."""
        if not packets or self.tracks is None:
            return []
        if self.packager is None:
            self.packager = Packager(
                self.tracks,
                start_us=self.start_us,
                sequence=self.sequence,
                low=self._low,
                discontinuity=self.discontinuity,
                part_us=self._part_us,
                going_on=self._going_on,
            )
        return [event for packet in packets for event in self.packager.push(packet)]

    def flush(self) -> list[Event]:
        return self.packager.flush() if self.packager else []

    def place(self, mark: Mark, end_us: int, audio_end_us: int) -> Place | None:
        """What to remember beside the segment that ends at `mark`."""
        if self.packager is None or self.packager.offset_us is None:
            return None
        index = bisect_right(self._starts, (mark.offset, 1 << 62)) - 1
        if index < 0:
            return None
        start, chunk = self._starts[index]
        return Place(
            recording=self.id,
            offset=mark.offset,
            state=mark.state,
            chunk=chunk,
            skip=mark.offset - start,
            clock_us=self.packager.offset_us,
            stored_us=end_us,
            audio_end_us=audio_end_us,
        )

    def forget_before(self, chunk: int) -> None:
        """Everything before this chunk is stored."""
        while self._starts and self._starts[0][1] < chunk:
            self._starts.popleft()


def epoch_entry(recording: Recording, origin_us: int) -> Epoch:
    return Epoch(recording.id, origin_us, b64encode(recording.header).decode(), recording.source)
