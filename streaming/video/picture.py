"""The picture of every kind of host becomes H.264 that every phone plays: copied, else transcoded."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Protocol

import av
import numpy as np
from av.codec.context import CodecContext
from av.video.frame import VideoFrame
from PIL import Image

from streaming.video import h264
from streaming.video.errors import Malformed
from streaming.video.fmp4 import VideoFormat
from streaming.video.media import SECOND, Packet, Sample, VideoTrack

LARGEST = 1920 * 1088  # pixels that are copied; larger pictures are made smaller
KEY_EVERY_US = SECOND
TICK = Fraction(1, SECOND)
_TURNED: dict[tuple[int, ...], int] = {(0, 0x10000): 270, (0xFFFF0000, 0): 180, (0, 0xFFFF0000): 90}
"""First row of a display matrix -> degrees to turn against the clock."""


class Picture(Protocol):
    skipped: int

    @property
    def transcodes(self) -> bool:
        """Is it decoded and encoded again?"""

    def push(self, packet: Packet, time_us: int) -> list[tuple[Sample, VideoFormat]]:
        """A packet, at its presentation time since the session began; frames in microseconds."""


def open_picture(track: VideoTrack) -> Picture:
    """The way from `track` to H.264. Raises `Malformed`."""
    if track.codec != "h264":
        return TranscodedPicture(track)
    copied = CopiedPicture(track)
    if copied.config and not _copyable(copied.config):
        return TranscodedPicture(track)
    return copied


def _copyable(config: h264.Config) -> bool:
    sps = h264.parse_sps(config.sps)
    return sps.common and sps.width * sps.height <= LARGEST


class CopiedPicture:
    """H.264 goes through as it is, in one form: units with lengths, parameter sets outside."""

    def __init__(self, track: VideoTrack) -> None:
        self.skipped = 0
        self.track = track
        self.config: h264.Config | None = None
        self._lengths = 0  # bytes of a unit's length; 0: not known yet; -1: start codes
        self._format: VideoFormat | None = None
        self._last = -1
        self._instead: TranscodedPicture | None = None
        if track.config:
            self.config, self._lengths = h264.from_avcc(track.config)

    @property
    def transcodes(self) -> bool:
        return self._instead is not None

    def push(self, packet: Packet, time_us: int) -> list[tuple[Sample, VideoFormat]]:
        if self._instead:
            return self._instead.push(packet, time_us)
        try:
            units = self._units(packet.data)
            key = h264.is_idr(units)
            if key and not self._follow(h264.inband(units)):
                self._instead = TranscodedPicture(self.track)
                return self._instead.push(packet, time_us)
        except Malformed:
            self.skipped += 1
            return []
        data = h264.join(units)
        if self._format is None or not data:
            self.skipped += 1  # before the first parameter sets, or nothing but them
            return []
        dts = max(time_us - (packet.pts - packet.dts), self._last + 1)
        self._last = dts
        return [(Sample(dts, time_us, data, key), self._format)]

    def _units(self, data: bytes) -> list[bytes]:
        if not self._lengths:
            self._lengths = -1 if data[:4] == b"\0\0\0\1" or data[:3] == b"\0\0\1" else 4
        return h264.split_annexb(data) if self._lengths < 0 else h264.split_lengths(data, self._lengths)

    def _follow(self, config: h264.Config | None) -> bool:
        """Takes new parameter sets, as when a phone is turned. False: this kind cannot be copied."""
        config = config or self.config
        if config is None:
            raise Malformed("key frame without parameter sets")
        if self._format is None or config != self._format.config:
            sps = h264.parse_sps(config.sps)
            if not _copyable(config):
                return False
            self.config = config
            self._format = VideoFormat(config, sps.width, sps.height, self.track.matrix)
        return True


class TranscodedPicture:
    """VP8, VP9 and unusual H.264 are decoded and encoded again, at most 1280 pixels long."""

    transcodes = True

    def __init__(self, track: VideoTrack, longest: int = 1280) -> None:
        self.skipped = 0
        self.track = track
        self._decoder = CodecContext.create(track.codec, "r")
        self._decoder.thread_count = 1
        if track.codec == "h264" and track.config:
            self._decoder.extradata = track.config
        self._encoder = Encoder(longest, track.matrix)

    def push(self, packet: Packet, time_us: int) -> list[tuple[Sample, VideoFormat]]:
        coded = av.Packet(packet.data)
        coded.pts = coded.dts = time_us
        coded.time_base = TICK
        try:
            frames = self._decoder.decode(coded)
        except av.FFmpegError:
            self.skipped += 1
            return []
        return [
            pair
            for frame in frames
            for pair in self._encoder.push(frame, time_us if frame.pts is None else frame.pts, packet.key)
        ]


class Encoder:
    """x264 for live pictures: one frame in, one frame out; a key frame every second."""

    def __init__(self, longest: int, matrix: tuple[int, ...], rate: int = 2_000_000) -> None:
        self._longest, self._matrix, self._rate = longest, matrix, rate
        self._size = (0, 0)
        self._context: av.VideoCodecContext | None = None
        self._copied: CopiedPicture | None = None
        self._last = -1
        self._key = -KEY_EVERY_US

    def push(self, frame: VideoFrame, time_us: int, key: bool = False) -> list[tuple[Sample, VideoFormat]]:
        """`key` asks for a key frame here; one comes at least every second anyway."""
        if time_us <= self._last:
            return []
        self._last = time_us
        size = _fit(frame.width, frame.height, self._longest)
        if size != self._size:
            self._open(size)
            key = True
        assert self._context
        assert self._copied
        frame = frame.reformat(width=size[0], height=size[1], format="yuv420p")
        frame.pts, frame.time_base = time_us, TICK
        key = key or time_us - self._key >= KEY_EVERY_US
        frame.pict_type = 1 if key else 0
        if key:
            self._key = time_us
        out: list[tuple[Sample, VideoFormat]] = []
        for coded in self._context.encode(frame):
            packet = Packet("video", time_us, time_us, coded.is_keyframe, bytes(coded))
            out += self._copied.push(packet, time_us)
        return out

    def _open(self, size: tuple[int, int]) -> None:
        context = CodecContext.create("libx264", "w")
        context.width, context.height = size
        context.pix_fmt, context.time_base, context.framerate = "yuv420p", TICK, Fraction(30)
        context.thread_count = 1
        context.options = {
            "preset": "superfast",
            "tune": "zerolatency",
            "profile": "main",
            "crf": "23",
            "maxrate": str(self._rate),
            "bufsize": str(self._rate),
            "g": "600",
            "forced-idr": "1",
        }
        context.open()
        self._context, self._size = context, size
        self._copied = CopiedPicture(VideoTrack("h264", b"", *size, self._matrix))


def _fit(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size with its longer side at most `longest`, both sides even."""
    scale = min(1.0, longest / max(width, height))
    return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)


@dataclass(frozen=True, slots=True)
class Still:
    """A look at one key frame."""

    jpeg: bytes
    brightness: float
    """Mean of the picture, 0 black to 255 white: a rehearsal warns of a dark picture."""


def decoder(video: VideoFormat) -> av.VideoCodecContext:
    """A decoder for samples of ours."""
    context = CodecContext.create("h264", "r")
    context.extradata = video.config.avcc()
    context.thread_count = 1
    return context


def still(video: VideoFormat, data: bytes, longest: int = 720) -> Still | None:
    """Decodes one key frame into a poster; None when it cannot be decoded."""
    context = decoder(video)
    try:
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except av.FFmpegError:
        return None
    if not frames:
        return None
    width, height = _fit(frames[0].width, frames[0].height, longest)
    image = Image.fromarray(frames[0].reformat(width=width, height=height, format="rgb24").to_ndarray())
    image = image.rotate(_TURNED.get(video.matrix[:2], 0), expand=True)
    out = BytesIO()
    image.save(out, "JPEG", quality=80, optimize=True)
    return Still(out.getvalue(), float(np.asarray(image.convert("L")).mean()))
