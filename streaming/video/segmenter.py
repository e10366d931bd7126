"""Cuts frames into parts (a third of a second) and segments (a second, from key frame to key frame).

Times are microseconds since the session began. Every segment begins where the last one ended; a hole in the
host's stream is a discontinuity with a later start, never a segment that claims time it does not hold.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from streaming.video.fmp4 import AudioFormat, Format, VideoFormat, fragment
from streaming.video.media import SECOND, Mark, Sample

SEGMENT_US = SECOND
PART_US = 340_000  # ten frames at 30 a second, with room for jitter
LONGEST_US = 6 * SECOND  # without key frames a segment ends here, even if nothing can start at the next
STALLED_US = SECOND  # no picture for this long while sound goes on: cut by the sound


@dataclass(frozen=True, slots=True)
class Init:
    """An init segment, named by its content."""

    rendition: str
    id: str
    format: Format
    data: bytes


@dataclass(frozen=True, slots=True)
class Part:
    rendition: str
    sequence: int
    """Number of its segment."""
    number: int
    """Counts on over segments, so that the name of the next part is always known."""
    init: str
    duration_us: int
    independent: bool
    """A player can begin here."""
    discontinuity: bool
    """Its segment begins after a hole or with another format."""
    start_us: int
    """Begin of its segment."""
    frames: int
    data: bytes


@dataclass(slots=True)
class Segment:
    rendition: str
    sequence: int
    start_us: int
    duration_us: int
    init: str
    discontinuity: bool
    independent: bool
    parts: tuple[Part, ...]
    data: bytes
    audio_end_us: int
    key: bytes | None = None
    """Its first key frame, for the poster."""
    format: Format | None = None
    mark: Mark | None = None
    """Where in the host's recording the next segment begins, if reading can begin there."""


Event = Init | Part | Segment


@dataclass(slots=True)
class Segmenter:
    """One rendition. Frames go in, parts and segments come out, in order."""

    rendition: str
    audio: AudioFormat
    sequence: int
    has_picture: bool = True
    discontinuity: bool = False
    part_us: int = PART_US
    _format: Format | None = None
    _init: str = ""
    _announced: set[str] = field(default_factory=set)
    _held: Sample | None = None  # its duration is known when the next one comes
    _frame_us: int = 33_333
    _video: list[Sample] = field(default_factory=list)
    _sound: list[Sample] = field(default_factory=list)
    _parts: list[Part] = field(default_factory=list)
    _key: bytes | None = None
    _begin: int = -1  # of the open segment; -1: waiting for the first key frame
    _part_begin: int = 0
    _audio_end: int = 0
    _fragments: int = 0

    def picture(self, sample: Sample, video: VideoFormat) -> list[Event]:
        """Takes the next frame in decoding order."""
        out: list[Event] = []
        if self._held is None:
            if not sample.key:
                return out
            out += self._open(sample.dts, video)
        else:
            self._held.duration = self._frame_us = max(1, sample.dts - self._held.dts)
            self._video.append(self._held)
            changed = self._format is not None and video != self._format.video
            elapsed = sample.dts - self._begin
            if (sample.key and (changed or elapsed >= SEGMENT_US * 9 // 10)) or elapsed >= LONGEST_US:
                out += self._close_segment(sample.dts)
                if changed and sample.key:
                    self.discontinuity = True
                    out += self._open(sample.dts, video)
            elif sample.dts - self._part_begin + self._frame_us > self.part_us:
                out += self._close_part(sample.dts)
        if sample.key and self._key is None:
            self._key = sample.data
        self._held = sample
        return out

    def sound(self, samples: list[Sample]) -> list[Event]:
        """Takes the next frames of sound, in ticks."""
        if not samples:
            return []
        out: list[Event] = []
        if self._begin < 0:
            if self.has_picture:
                self._sound = [*self._sound, *samples][-500:]
                return out
            out += self._open(self._us(samples[0].dts), None)
        self._sound += samples
        end = self._us(samples[-1].dts + samples[-1].duration)
        self._audio_end = end
        if self.has_picture and end - (self._held.dts if self._held else self._begin) < STALLED_US:
            return out
        if end - self._begin >= SEGMENT_US:
            out += self._close_segment(end)
        elif end - self._part_begin >= self.part_us:
            out += self._close_part(end)
        return out

    def flush(self) -> list[Event]:
        """The stream is over: what is held goes out."""
        if self._begin < 0:
            return []
        end = self._audio_end
        if self._held:
            self._held.duration = self._frame_us
            self._video.append(self._held)
            end = self._held.dts + self._frame_us
            self._held = None
        return self._close_segment(max(end, self._part_begin + 1))

    def _us(self, ticks: int) -> int:
        return ticks * SECOND // self.audio.rate

    def _open(self, at: int, video: VideoFormat | None) -> list[Event]:
        """Begins a run of segments with one format."""
        self._format = Format(video, self.audio)
        data = self._format.init()
        self._init = hashlib.sha256(data).hexdigest()[:12]
        if self._begin < 0:
            frame = 1024 * SECOND // self.audio.rate
            self._sound = [sample for sample in self._sound if self._us(sample.dts) >= at - frame]
        self._begin = self._part_begin = at
        if self._init in self._announced:
            return []
        self._announced.add(self._init)
        return [Init(self.rendition, self._init, self._format, data)]

    def _close_part(self, at: int) -> list[Event]:
        if not self._video and not self._sound:
            return []
        self._fragments += 1
        at = max(at, self._part_begin + 1)
        part = Part(
            rendition=self.rendition,
            sequence=self.sequence,
            number=self._fragments,
            init=self._init,
            duration_us=at - self._part_begin,
            independent=bool(self._video and self._video[0].key) or not self.has_picture,
            discontinuity=self.discontinuity,
            start_us=self._begin,
            frames=len(self._video),
            data=fragment(self._fragments, self._video, self._sound),
        )
        self._parts.append(part)
        self._video, self._sound, self._part_begin = [], [], at
        return [part]

    def _close_segment(self, at: int) -> list[Event]:
        out = self._close_part(at)
        if not self._parts:
            return out
        at = self._part_begin
        segment = Segment(
            rendition=self.rendition,
            sequence=self.sequence,
            start_us=self._begin,
            duration_us=at - self._begin,
            init=self._init,
            discontinuity=self.discontinuity,
            independent=self._parts[0].independent,
            parts=tuple(self._parts),
            data=b"".join(part.data for part in self._parts),
            audio_end_us=self._audio_end,
            key=self._key,
            format=self._format,
        )
        self.sequence += 1
        self.discontinuity = False
        self._parts, self._key, self._begin = [], None, at
        return [*out, segment]
