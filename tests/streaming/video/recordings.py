"""Recordings as hosts send them, made here: a moving picture with a number in its corner, and a tone.

The frame number is written into the picture as 16 squares, black or white, so that a test can read back
which frames a viewer got (`read_number`), whatever was done to the stream in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from io import BytesIO
from typing import cast

import av
import numpy as np
import numpy.typing as npt
from av.container import OutputContainer

SQUARE = 16
BITS = 16


@dataclass(frozen=True)
class Recording:
    data: bytes
    frames: int
    fps: int
    container: str

    def chunks(self, size: int) -> list[bytes]:
        return [self.data[at : at + size] for at in range(0, len(self.data), size)]


def picture(
    number: int, width: int, height: int, bright: int = 128, square: int = SQUARE
) -> npt.NDArray[np.uint8]:
    """RGB frame `number`."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, :, 0] = (np.arange(width) + 5 * number) % 256 * (bright / 128)
    image[:, :, 1] = bright
    image[:, :, 2] = ((np.arange(height) + 3 * number) % 256 * (bright / 128))[:, None]
    for bit in range(BITS):
        image[:square, bit * square : (bit + 1) * square] = 255 if number >> bit & 1 else 0
    return image


def read_number(frame: av.VideoFrame, drawn: int = 320) -> int:
    """The number in a frame that was `drawn` pixels wide, whatever its width is now."""
    luma = frame.reformat(format="gray").to_ndarray()
    square = SQUARE * frame.width / drawn
    bits = min(BITS, int(frame.width / square))  # a narrow picture shows the lower ones
    return sum(1 << bit for bit in range(bits) if luma[int(square / 2), int((bit + 0.5) * square)] > 127)


def tone(
    rate: int, seconds: float, channels: int, at: float = 0.0, loud: float = 0.3
) -> npt.NDArray[np.float32]:
    time = at + np.arange(int(rate * seconds)) / rate
    return np.tile((loud * np.sin(2 * np.pi * 440 * time)).astype(np.float32), (channels, 1))


@cache
def record(
    *,
    container: str = "webm",
    video: str | None = "libx264",
    audio: str | None = "libopus",
    seconds: float = 6,
    fps: int = 30,
    size: tuple[int, int] = (320, 240),
    key_every: int = 30,
    channels: int = 1,
    rate: int = 48_000,
    b_frames: int = 0,
    first: int = 0,
    profile: str = "baseline",
    pix_fmt: str = "yuv420p",
    bright: int = 128,
    loud: float = 0.3,
) -> Recording:
    """A recording in `webm` (Matroska, live) or `mp4` (fragments), as MediaRecorder would give it."""
    out = BytesIO()
    options = {"live": "1", "cluster_time_limit": "120"}
    if container == "mp4":
        options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    target = av.open(out, "w", format="matroska" if container == "webm" else "mp4", options=options)
    shown = (
        _picture_stream(target, video, fps, size, key_every, b_frames, profile, pix_fmt) if video else None
    )
    layout = "stereo" if channels == 2 else "mono"
    heard = cast("av.AudioStream", target.add_stream(audio, rate=rate)) if audio else None
    if heard:
        heard.codec_context.layout = layout
    count = int(seconds * fps)
    for number in range(count):
        if shown:
            frame = av.VideoFrame.from_ndarray(picture(first + number, *size, bright), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            target.mux(shown.encode(frame))
        if heard:
            sound = tone(rate, 1 / fps, channels, number / fps, loud)
            part = av.AudioFrame.from_ndarray(sound, format="fltp", layout=layout)
            part.sample_rate, part.pts, part.time_base = rate, number * rate // fps, Fraction(1, rate)
            target.mux(heard.encode(part))
    if shown:
        target.mux(shown.encode(None))
    if heard:
        target.mux(heard.encode(None))
    target.close()
    return Recording(out.getvalue(), count, fps, container)


def _picture_stream(
    target: OutputContainer,
    codec: str,
    fps: int,
    size: tuple[int, int],
    key_every: int,
    b_frames: int,
    profile: str,
    pix_fmt: str,
) -> av.VideoStream:
    stream = cast("av.VideoStream", target.add_stream(codec, rate=fps))
    stream.width, stream.height = size
    stream.pix_fmt = pix_fmt
    stream.codec_context.gop_size = key_every
    stream.codec_context.thread_count = 1
    if codec == "libx264":
        x264: dict[str, object] = {
            "preset": "ultrafast",
            "profile": profile,
            "bf": str(b_frames),
            "sc_threshold": "0",
        }
        stream.options = x264 if b_frames else {**x264, "tune": "zerolatency"}
    else:
        stream.bit_rate = 500_000
        stream.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    return stream
