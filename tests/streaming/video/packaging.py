"""A recording through demuxer and packager, and what a player would make of the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO

import av

from streaming.video.fmp4 import audio_only
from streaming.video.media import Packet, Tracks
from streaming.video.packager import Packager, open_demuxer
from streaming.video.segmenter import Event, Init, Part, Segment
from tests.streaming.video.recordings import read_number


@dataclass
class Packaged:
    events: list[Event] = field(default_factory=list)
    skipped: int = 0

    def inits(self, rendition: str = "main") -> list[Init]:
        return [e for e in self.events if isinstance(e, Init) and e.rendition == rendition]

    def parts(self, rendition: str = "main") -> list[Part]:
        return [e for e in self.events if isinstance(e, Part) and e.rendition == rendition]

    def segments(self, rendition: str = "main") -> list[Segment]:
        return [e for e in self.events if isinstance(e, Segment) and e.rendition == rendition]

    def file(self, rendition: str = "main", *, sound_only: bool = False) -> bytes:
        """The first run of segments as one file."""
        init, *_ = self.inits(rendition)
        pieces = [init.data, *(s.data for s in self.segments(rendition) if s.init == init.id)]
        return b"".join(map(audio_only, pieces) if sound_only else pieces)


def demux(data: bytes, piece: int | None = None) -> tuple[Tracks, list[Packet]]:
    demuxer = open_demuxer(data[:8])
    packets: list[Packet] = []
    for at in range(0, len(data), piece or len(data)):
        packets += demuxer.feed(data[at : at + (piece or len(data))])
    assert demuxer.tracks
    return demuxer.tracks, packets


def package(data: bytes, *, low: bool = False, start_us: int = 0, sequence: int = 0) -> Packaged:
    tracks, packets = demux(data)
    packager = Packager(tracks, start_us=start_us, sequence=sequence, low=low)
    events = [event for packet in packets for event in packager.push(packet)]
    return Packaged(events + packager.flush(), packager.skipped)


def numbers(data: bytes, drawn: int = 320) -> list[int]:
    """The frame numbers seen by someone who decodes the file."""
    with av.open(BytesIO(data), "r") as file:
        return [read_number(frame, drawn) for frame in file.decode(video=0)]


def sound_times(data: bytes) -> list[int]:
    """Ticks of all packets of sound."""
    with av.open(BytesIO(data), "r") as file:
        return [packet.pts for packet in file.demux(audio=0) if packet.pts is not None]
