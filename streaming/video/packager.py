"""From the packets of one recording to parts and segments. Nothing here waits or stores.

One `Packager` lives as long as one recording (epoch) of the host. What outlives it, the clock of the session
and the number of the next segment, goes in at its beginning.
"""

from __future__ import annotations

from dataclasses import dataclass

import av

from streaming.video.errors import Malformed, NoKeyFrame, Unsupported
from streaming.video.fmp4 import VideoFormat
from streaming.video.media import SECOND, Packet, PushDemuxer, Sample, Tracks
from streaming.video.mp4 import Mp4Demuxer
from streaming.video.picture import TICK, Encoder, Picture, decoder, open_picture
from streaming.video.segmenter import Event, Segment, Segmenter
from streaming.video.sound import Sound, open_sound
from streaming.video.webm import WebmDemuxer

JUMP_US = 10 * SECOND  # a recording whose clock leaps further is continued as if it had not
LATE_SOUND_US = SECOND  # sound that stays behind the picture this far is taken for missing
NO_KEY_US = 20 * SECOND
SMALL_FRAME_US = 60_000  # a little under a fifteenth of a second, for jitter
MAX_SKIPPED = 2_000  # bad packets in one recording before it is given up


def open_demuxer(begin: bytes) -> PushDemuxer:
    """The reader for a recording that begins with these bytes. Raises `Unsupported`."""
    if b"\x1a\x45\xdf\xa3".startswith(begin[:4]):
        return WebmDemuxer()
    if begin[4:8] in (b"ftyp", b"styp", b"moov", b"moof"):
        return Mp4Demuxer()
    raise Unsupported("container")


@dataclass(frozen=True, slots=True)
class Continuation:
    """What a second process must know to go on in the middle of a recording without a hole."""

    offset_us: int
    """Session time of the recording's time zero."""
    stored_us: int
    """Frames of the picture before this are already stored."""
    audio_end_us: int


class Packager:
    """Raises `Malformed`, `Unsupported`, `TooLarge` or `NoKeyFrame` when the recording cannot be followed."""

    def __init__(
        self,
        tracks: Tracks,
        *,
        start_us: int,
        sequence: int,
        low: bool = False,
        discontinuity: bool = False,
        part_us: int | None = None,
        going_on: Continuation | None = None,
    ) -> None:
        self.tracks = tracks
        self._start_us = start_us
        self._going_on = going_on
        self.offset_us: int | None = going_on.offset_us if going_on else None
        audio_from = going_on.audio_end_us if going_on else start_us
        self._sound: Sound = open_sound(tracks.audio, audio_from)
        self._picture: Picture | None = open_picture(tracks.video) if tracks.video else None
        self._shrink = _Shrink() if low and tracks.video else None
        self._renditions: list[Segmenter] = []
        for name in ("main", "low") if self._shrink else ("main",):
            segmenter = Segmenter(
                name, self._sound.format, sequence, self._picture is not None, discontinuity
            )
            if part_us:
                segmenter.part_us = part_us
            self._renditions.append(segmenter)
        self._last_us = self._key_us = start_us
        self._heard_us = audio_from

    @property
    def skipped(self) -> int:
        return self._sound.skipped + (self._picture.skipped if self._picture else 0)

    @property
    def transcoded(self) -> bool:
        """Is the picture encoded again here, at ten times the work of copying it?"""
        return self._picture is not None and self._picture.transcodes

    @property
    def level_db(self) -> float:
        return self._sound.level_db

    @property
    def time_us(self) -> int:
        """Session time of the newest packet."""
        return self._last_us

    def push(self, packet: Packet) -> list[Event]:
        """Takes the next packet in the order of the recording."""
        if self.offset_us is None:
            self.offset_us = self._start_us - packet.dts
        now = packet.dts + self.offset_us
        if abs(now - self._last_us) > JUMP_US and not self._going_on:
            self.offset_us += self._last_us - now
            now = self._last_us
        self._last_us = max(now, self._last_us)
        if self.skipped > MAX_SKIPPED:
            raise Malformed("too many bad packets")
        events = self._video(packet) if packet.kind == "video" else self._audio(packet)
        for event in events:
            if isinstance(event, Segment):
                event.mark = packet.mark
        return events

    def flush(self) -> list[Event]:
        return [event for rendition in self._renditions for event in rendition.flush()]

    def _audio(self, packet: Packet) -> list[Event]:
        assert self.offset_us is not None
        samples = self._sound.push(packet.pts + self.offset_us, packet.data)
        self._heard_us = max(self._heard_us, packet.pts + self.offset_us)
        return [event for rendition in self._renditions for event in rendition.sound(samples)]

    def _video(self, packet: Packet) -> list[Event]:
        assert self.offset_us is not None
        if self._picture is None:
            return []
        time = packet.pts + self.offset_us
        if self._going_on and time < self._going_on.stored_us:
            return []
        self._going_on = None
        events: list[Event] = []
        if time - self._key_us > NO_KEY_US:
            raise NoKeyFrame
        if time - self._heard_us > LATE_SOUND_US:
            filled = self._sound.fill(time - LATE_SOUND_US // 2)
            events += [event for rendition in self._renditions for event in rendition.sound(filled)]
        for sample, video in self._picture.push(packet, time):
            if sample.key:
                self._key_us = time
            events += self._renditions[0].picture(sample, video)
            if self._shrink:
                for small, format_ in self._shrink.push(sample, video):
                    events += self._renditions[1].picture(small, format_)
        return events


class _Shrink:
    """The small rendition: the same frames decoded, at most 15 a second, 640 pixels long, key frames kept."""

    def __init__(self) -> None:
        self._format: VideoFormat | None = None
        self._decoder: av.VideoCodecContext | None = None
        self._encoder: Encoder | None = None
        self._next = 0
        self._keys: set[int] = set()

    def push(self, sample: Sample, video: VideoFormat) -> list[tuple[Sample, VideoFormat]]:
        if video != self._format or self._decoder is None or self._encoder is None:
            self._format, self._decoder = video, decoder(video)
            self._encoder = Encoder(640, video.matrix, rate=400_000)
        coded = av.Packet(sample.data)
        coded.pts = coded.dts = sample.pts
        coded.time_base = TICK
        if sample.key:
            self._keys.add(sample.pts)
        try:
            frames = self._decoder.decode(coded)
        except av.FFmpegError:
            return []
        out: list[tuple[Sample, VideoFormat]] = []
        for frame in frames:
            time = sample.pts if frame.pts is None else frame.pts
            key = time in self._keys
            if key or time >= self._next:
                self._keys.discard(time)
                self._next = time + SMALL_FRAME_US
                out += self._encoder.push(frame, time, key)
        return out
