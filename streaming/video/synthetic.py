"""A host without a phone: a short loop, encoded once, sent for ever as a browser would send it.

Demo and bench feed sessions with it through the public ingest WebSocket. Looping costs only the new time
stamps, about a hundredth of a core.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from av.codec.context import CodecContext
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from streaming.video import h264, webm
from streaming.video.media import SECOND

RATE = 48_000
CHUNK_S = 0.2
HELD = 150  # chunks kept until the server has stored them: half a minute, as a phone would hold
RETRY_S = 1.0
SILENCE_S = 4.0
_UNKNOWN = b"\x01" + b"\xff" * 7

Picture = npt.NDArray[np.uint8]
Sound = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Block:
    """A frame of the loop."""

    track: int
    at_us: int
    key: bool
    data: bytes


class Loop:
    """Frames and a sound of the same length, H.264 and Opus, a key frame every second."""

    def __init__(
        self,
        pictures: Iterable[Picture],
        sound: Sound,
        *,
        fps: int,
        bits_per_second: int,
        codec: str = "libx264",
    ) -> None:
        """`pictures`: RGB, an even number of seconds of them: neighbouring key frames must differ in a number
        that x264 alternates. `sound`: one channel at 48,000 a second. `codec`: libx264 or libvpx."""
        self._h264 = codec == "libx264"
        self.config = b""
        self.width = self.height = 0
        blocks = [*self._pictures(pictures, fps, bits_per_second), *self._sound(sound)]
        self.blocks = sorted(blocks, key=lambda block: block.at_us)
        self._times = [block.at_us for block in self.blocks]
        self.length_us = len(sound) * SECOND // RATE

    def _pictures(self, pictures: Iterable[Picture], fps: int, bits_per_second: int) -> list[Block]:
        encoder = CodecContext.create("libx264", "w") if self._h264 else CodecContext.create("libvpx", "w")
        encoder.pix_fmt, encoder.framerate, encoder.time_base = "yuv420p", Fraction(fps), Fraction(1, fps)
        encoder.gop_size, encoder.bit_rate, encoder.thread_count = fps, bits_per_second, 1
        x264 = {"preset": "veryfast", "profile": "baseline", "tune": "zerolatency", "sc_threshold": "0"}
        vp8 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
        encoder.options = x264 if self._h264 else vp8
        blocks = []
        for number, picture in enumerate(pictures):
            if not self.width:
                self.height, self.width = picture.shape[:2]
                encoder.width, encoder.height = self.width, self.height
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            blocks += [self._block(packet, number * SECOND // fps) for packet in encoder.encode(frame)]
        return blocks

    def _block(self, packet: av.Packet[av.VideoStream], at_us: int) -> Block:
        data = bytes(packet)
        if self._h264:
            units = h264.split_annexb(data)
            if not self.config and (config := h264.inband(units)):
                self.config = config.avcc()
            data = h264.join(units)
        return Block(1, at_us, packet.is_keyframe, data)

    @staticmethod
    def _sound(sound: Sound) -> list[Block]:
        encoder = CodecContext.create("libopus", "w")
        encoder.sample_rate, encoder.layout, encoder.format = RATE, "mono", "flt"
        encoder.bit_rate = 48_000
        frame = av.AudioFrame.from_ndarray(sound.reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        packets = encoder.encode(frame)
        return [Block(2, (packet.pts or 0) * SECOND // RATE, True, bytes(packet)) for packet in packets]

    def header(self) -> bytes:
        """The begin of a live recording in Matroska, as Chrome writes it."""
        video = _element(webm.VIDEO, _number(webm.WIDTH, self.width), _number(webm.HEIGHT, self.height))
        audio = _element(webm.AUDIO, _number(webm.CHANNELS, 1))
        codec = b"V_MPEG4/ISO/AVC" if self._h264 else b"V_VP8"
        private = [_element(webm.PRIVATE, self.config)] if self.config else []
        head = b"OpusHead\1\1" + (312).to_bytes(2, "little") + RATE.to_bytes(4, "little") + b"\0\0\0"
        tracks = (
            _element(webm.TRACK_ENTRY, _number(webm.NUMBER, 1), _number(webm.KIND, 1),
                     _element(webm.CODEC, codec), *private, video),
            _element(webm.TRACK_ENTRY, _number(webm.NUMBER, 2), _number(webm.KIND, 2),
                     _element(webm.CODEC, b"A_OPUS"), _element(webm.PRIVATE, head), audio),
        )  # fmt: skip
        kind = _element(webm.EBML, _element(webm.DOC_TYPE, b"matroska"))
        info = _element(webm.INFO, _number(webm.TIMESTAMP_SCALE, 1_000_000))
        return kind + webm.SEGMENT.to_bytes(4, "big") + _UNKNOWN + info + _element(webm.TRACKS, *tracks)

    def between(self, begin_us: int, end_us: int) -> bytes:
        """What is recorded between two moments of an endless recording, as one cluster; b"" if nothing is."""
        cluster_ms = begin_us // 1000
        out = []
        for turn in range(begin_us // self.length_us, end_us // self.length_us + 1):
            start_us = turn * self.length_us
            first, last = (bisect_left(self._times, moment - start_us) for moment in (begin_us, end_us))
            for block in self.blocks[first:last]:
                time = ((start_us + block.at_us) // 1000 - cluster_ms).to_bytes(2, "big", signed=True)
                head = bytes((0x80 | block.track,)) + time + (b"\x80" if block.key else b"\0")
                out.append(_element(webm.SIMPLE_BLOCK, head + block.data))
        return _element(webm.CLUSTER, _number(webm.TIMESTAMP, cluster_ms), *out) if out else b""


def _element(identity: int, *parts: bytes) -> bytes:
    size = sum(map(len, parts))
    name = identity.to_bytes((identity.bit_length() + 7) // 8, "big")
    return name + (size | 1 << 56).to_bytes(8, "big") + b"".join(parts)


def _number(identity: int, value: int) -> bytes:
    return _element(identity, value.to_bytes(max(1, (value.bit_length() + 7) // 8), "big"))


class Sender:
    """Sends a loop for ever: a line that breaks is opened again, and what the server lacks is sent again."""

    def __init__(
        self, loop: Loop, address: Callable[[], Awaitable[str]], chunk_s: float = CHUNK_S, device: str = ""
    ) -> None:
        """`address` is asked before every attempt to connect, for the ticket and because sessions move. With
        the name of a `device` it gives way to any other and comes back when that has finished."""
        self._device = device
        self._loop, self._address, self._chunk_s = loop, address, chunk_s
        self.sent_bytes = 0
        self._begin()

    def _begin(self) -> None:
        self._id = secrets.token_urlsafe(12)
        self._held: deque[tuple[int, bytes]] = deque([(0, self._loop.header())])
        self._next = 1
        self._begun = time.monotonic()
        self._until_us = 0

    async def run(self) -> None:
        """Until it is cancelled. Raises nothing of the network."""
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError, ValueError):
                async with connect(await self._address(), compression=None, max_size=1 << 20) as line:
                    await self._talk(line)
            await asyncio.sleep(RETRY_S)

    async def _talk(self, line: ClientConnection) -> None:
        if self._next - self._held[0][0] > HELD:
            self._begin()  # too long away
        await self._greet(line)
        recording: asyncio.Task[None] | None = None
        try:
            while True:
                said = json.loads(await asyncio.wait_for(line.recv(), SILENCE_S))
                if said["type"] == "go":
                    if recording is None:
                        recording = asyncio.create_task(self._record(line, said["next"]))
                elif said["type"] == "ack":
                    while len(self._held) > 1 and self._held[0][0] <= said["stored"]:
                        self._held.popleft()
                elif said["type"] == "again":
                    self._begin()
                    await self._greet(line)
                else:
                    return
        finally:
            if recording:
                recording.cancel()

    async def _greet(self, line: ClientConnection) -> None:
        hello = {"type": "hello", "recording": self._id, "first": self._held[0][0], "device": self._device}
        await line.send(json.dumps(hello))

    async def _record(self, line: ClientConnection, following: int) -> None:
        for number, data in list(self._held):
            if number >= following:
                await self._send(line, number, data)
        while True:
            now_us = int((time.monotonic() - self._begun) * SECOND)
            data = self._loop.between(self._until_us, now_us)
            self._until_us = now_us
            if data:
                self._held.append((self._next, data))
                self._next += 1
                if len(self._held) > HELD:
                    return await line.close()
                await self._send(line, self._next - 1, data)
            await asyncio.sleep(self._chunk_s)

    async def _send(self, line: ClientConnection, number: int, data: bytes) -> None:
        self.sent_bytes += len(data)
        await line.send(number.to_bytes(4, "big") + data)
