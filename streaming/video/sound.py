"""Sound of every kind of host becomes AAC-LC on one clock that counts samples since the session began.

Players stumble over small holes in sound far more than over holes in pictures. So whatever the host sends
(Opus or AAC, with holes, drift, or no sound at all), frames come out one after another without a hole: what
is missing for a moment is silence, what overlaps is left out.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext

from streaming.video.errors import Unsupported
from streaming.video.fmp4 import AudioFormat, audio_format
from streaming.video.media import SECOND, AudioTrack, Sample

FRAME = 1024  # samples in one AAC frame
SLACK_US = 60_000  # a hole or overlap this small is jitter of the clock, not of the sound
QUIET_DB = -90.0


class Sound(Protocol):
    format: AudioFormat
    skipped: int

    @property
    def level_db(self) -> float:
        """Loudness of the last second, 0 is the loudest."""

    def push(self, time_us: int, data: bytes) -> list[Sample]:
        """One packet of the host, at its time since the session began; AAC frames in ticks of the rate."""

    def fill(self, until_us: int) -> list[Sample]:
        """Silence up to a time, when the host sends a picture but no sound."""


def open_sound(track: AudioTrack | None, from_us: int) -> Sound:
    """The way from `track` to AAC; frames begin at `from_us`. Raises `Unsupported`."""
    if track is None:
        return CopiedSound(AudioFormat(), None, from_us)
    if track.codec == "aac":
        plain = audio_format(track.config)
        if plain:
            return CopiedSound(plain, track.config, from_us)
    if track.channels not in (1, 2):
        raise Unsupported("more than two channels")
    return EncodedSound(track, from_us)


def _ticks(time_us: int, rate: int) -> int:
    """Rounded up, as `Segmenter` rounds down: a tick survives the way to microseconds and back."""
    return -(-time_us * rate // SECOND)


@lru_cache(maxsize=32)
def silence(sound: AudioFormat) -> bytes:
    """One AAC frame of silence."""
    encoder = _encoder(sound)
    frames = [frame for _ in range(4) for frame in encoder.encode(_silent(sound))]
    return bytes(frames[-1])


def _silent(sound: AudioFormat) -> AudioFrame:
    zeros = np.zeros((sound.channels, FRAME), np.float32)
    frame = AudioFrame.from_ndarray(zeros, format="fltp", layout="stereo" if sound.channels == 2 else "mono")
    frame.sample_rate = sound.rate
    return frame


def _encoder(sound: AudioFormat) -> av.AudioCodecContext:
    encoder = CodecContext.create("aac", "w")
    encoder.sample_rate = sound.rate
    encoder.layout = "stereo" if sound.channels == 2 else "mono"
    encoder.format = "fltp"
    encoder.bit_rate = 64_000 if sound.channels == 1 else 96_000
    encoder.options = {"aac_coder": "fast"}  # half the work of the default, and no worse from 64 kbit/s on
    encoder.time_base = Fraction(1, sound.rate)
    encoder.open()
    return encoder


class _Meter:
    """Loudness over about a second."""

    def __init__(self, rate: int) -> None:
        self.window, self.power, self.count, self.level_db = rate, 0.0, 0, QUIET_DB

    def take(self, frame: AudioFrame) -> None:
        values = frame.to_ndarray()
        if values.dtype != np.float32:
            values = values.astype(np.float32) / 32768
        self.power += float(np.vdot(values, values)) / max(1, values.shape[0])
        self.count += frame.samples
        if self.count >= self.window:
            mean = self.power / self.count
            self.level_db = max(QUIET_DB, 10 * float(np.log10(mean))) if mean > 0 else QUIET_DB
            self.power, self.count = 0.0, 0


class CopiedSound:
    """AAC-LC goes through as it is. Also the source of silence for a host without a microphone."""

    def __init__(self, sound: AudioFormat, config: bytes | None, from_us: int) -> None:
        self.format, self.skipped = sound, 0
        self._next = _ticks(from_us, sound.rate)
        self._seen = 0
        self._meter = _Meter(sound.rate // 10)  # a tenth of the packets is listened to
        self._decoder: av.AudioCodecContext | None = None
        if config:
            self._decoder = CodecContext.create("aac", "r")
            self._decoder.extradata = config

    @property
    def level_db(self) -> float:
        return self._meter.level_db

    def push(self, time_us: int, data: bytes) -> list[Sample]:
        slack = SLACK_US * self.format.rate // SECOND
        ahead = _ticks(time_us, self.format.rate) - self._next
        if ahead < -slack:
            self.skipped += 1
            return []
        samples = [self._frame(silence(self.format)) for _ in range(ahead // FRAME if ahead > slack else 0)]
        self._listen(data)
        samples.append(self._frame(data))
        return samples

    def fill(self, until_us: int) -> list[Sample]:
        missing = _ticks(until_us, self.format.rate) - self._next
        return [self._frame(silence(self.format)) for _ in range(missing // FRAME)]

    def _frame(self, data: bytes) -> Sample:
        self._next += FRAME
        return Sample(self._next - FRAME, self._next - FRAME, data, duration=FRAME)

    def _listen(self, data: bytes) -> None:
        self._seen += 1
        if self._decoder is None or self._seen % 20 > 1:  # two in a row: each frame leans on the one before
            return
        try:
            for frame in self._decoder.decode(av.Packet(data)):
                self._meter.take(frame)
        except av.FFmpegError:
            self.skipped += 1


class EncodedSound:
    """Opus, or an unusual AAC, is decoded and encoded again."""

    def __init__(self, track: AudioTrack, from_us: int) -> None:
        self.format = AudioFormat(48_000, track.channels)
        self.skipped = 0
        self._start = self._fed = _ticks(from_us, self.format.rate)
        self._encoder = _encoder(self.format)
        self._meter = _Meter(self.format.rate)
        self._decoder = CodecContext.create("opus" if track.codec == "opus" else "aac", "r")
        if track.config:
            self._decoder.extradata = track.config
        layout = "stereo" if track.channels == 2 else "mono"
        self._even = av.AudioResampler(format="fltp", layout=layout, rate=self.format.rate)

    @property
    def level_db(self) -> float:
        return self._meter.level_db

    def push(self, time_us: int, data: bytes) -> list[Sample]:
        samples: list[Sample] = []
        slack = SLACK_US * self.format.rate // SECOND
        ahead = _ticks(time_us, self.format.rate) - self._fed
        if ahead < -slack:
            self.skipped += 1
            return []
        try:
            frames = self._decoder.decode(av.Packet(data))
            frames = [even for frame in frames for even in self._even.resample(_untimed(frame))]
        except (av.FFmpegError, ValueError):
            self.skipped += 1
            return []
        if ahead > slack:
            samples += self._silence(ahead)
        for frame in frames:
            self._meter.take(frame)
            samples += self._encode(frame)
        return samples

    def fill(self, until_us: int) -> list[Sample]:
        return self._silence(_ticks(until_us, self.format.rate) - self._fed)

    def _silence(self, ticks: int) -> list[Sample]:
        return [sample for _ in range(ticks // FRAME) for sample in self._encode(_silent(self.format))]

    def _encode(self, frame: AudioFrame) -> list[Sample]:
        frame.pts = self._fed - self._start
        frame.time_base = Fraction(1, self.format.rate)
        self._fed += frame.samples
        samples = []
        for packet in self._encoder.encode(frame):
            tick = self._start + (packet.pts or 0)
            if tick >= self._start:  # the first frame is the encoder's own run-up
                samples.append(Sample(tick, tick, bytes(packet), duration=FRAME))
        return samples


def _untimed(frame: AudioFrame) -> AudioFrame:
    frame.pts = None
    return frame
