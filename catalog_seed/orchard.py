"""The generated picture of the demo session: a drawn orchard, sent as a host's phone would send it.

`python -m catalog_seed.orchard --url http://127.0.0.1:8000` signs in as the demo host, asks where to send and
sends numbered chunks of a recording over the ingest WebSocket; it reconnects and resumes like the page does.
A loop of a few seconds is drawn and encoded once; afterwards its packets are only stamped anew, which costs
about a hundredth of a core.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import math
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import httpx
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

WIDTH, HEIGHT, FPS = 640, 360, 15
LOOP_S = 8
RATE = 48_000
CHUNK_S = 0.5
HELD = 60  # chunks kept until the server has stored them: what a phone would hold
RETRY_S = 2.0
SESSION, PHONE, PASSWORD = "EAKNUEC", "0900000001", "chophien-demo"


# ---- the loop


def draw(number: int) -> Image.Image:
    """One frame: sky, basalt hills, durians swaying on a branch, the words that it is made up (without
    marks: the font that comes with the library has none)."""
    turn = 2 * math.pi * number / (FPS * LOOP_S)
    image = Image.new("RGB", (WIDTH, HEIGHT), (243, 210, 160))
    pen = ImageDraw.Draw(image)
    pen.ellipse((470 + 8 * math.sin(turn), 60, 550 + 8 * math.sin(turn), 140), fill=(236, 217, 29))
    for offset, colour in ((200, (201, 139, 97)), (240, (156, 90, 58)), (285, (125, 38, 20))):
        hill = [(x, offset + 18 * math.sin(x / 90 + offset)) for x in range(0, WIDTH + 20, 20)]
        pen.polygon([*hill, (WIDTH, HEIGHT), (0, HEIGHT)], fill=colour)
    for row in range(4):
        for x in range(-40, WIDTH + 40, 46):
            y = 300 + row * 18
            pen.ellipse((x + row * 23, y, x + row * 23 + 40, y + 22), fill=(52, 96 - row * 8, 30))
    pen.line((0, 30, WIDTH, 48), fill=(74, 44, 26), width=14)
    for place, phase in ((150, 0.0), (320, 1.7), (480, 3.1)):
        _durian(pen, place + 10 * math.sin(turn * 2 + phase), 120 + 4 * math.cos(turn * 2 + phase))
    pen.rectangle((0, HEIGHT - 34, WIDTH, HEIGHT), fill=(28, 18, 12))
    font = ImageFont.load_default(20)
    pen.text((14, HEIGHT - 30), "HINH MINH HOA - VUON SAU RIENG EA KNUEC", font=font, fill=(236, 217, 29))
    return image


def _durian(pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
    pen.line((x, 44, x, y - 44), fill=(74, 44, 26), width=6)
    spikes = []
    for step in range(48):
        angle, far = 2 * math.pi * step / 48, (1.0 if step % 2 else 1.16)
        spikes.append((x + 46 * far * math.cos(angle), y + 56 * far * math.sin(angle)))
    pen.polygon(spikes, fill=(103, 122, 28))
    for ring in range(1, 4):
        for step in range(6 * ring):
            angle = 2 * math.pi * step / (6 * ring)
            cx, cy = x + 12 * ring * math.cos(angle), y + 15 * ring * math.sin(angle)
            pen.polygon([(cx - 4, cy + 4), (cx, cy - 5), (cx + 4, cy + 4)], fill=(141, 160, 48))


def hum() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """A quiet gong that fits the loop: whole periods, so that its end meets its beginning."""
    at = np.arange(RATE * LOOP_S) / RATE
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * at / (LOOP_S / 4))
    tones = np.sin(2 * np.pi * 220 * at) + 0.6 * np.sin(2 * np.pi * 330 * at)
    return (0.05 * swell * tones).astype(np.float32).reshape(1, -1)


@dataclass(frozen=True, slots=True)
class Piece:
    """A packet of the loop; times in milliseconds."""

    stream: int
    at_ms: int
    data: bytes
    key: bool


class Loop:
    def __init__(self) -> None:
        self.file = io.BytesIO()
        with av.open(self.file, "w", format="matroska") as out:
            video = out.add_stream("libx264", rate=FPS)
            video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            video.bit_rate = 350_000
            video.options = {"preset": "veryfast", "profile": "baseline", "g": str(FPS), "bf": "0"}
            sound = out.add_stream("libopus", rate=RATE)
            sound.bit_rate = 32_000
            for number in range(FPS * LOOP_S):
                frame = av.VideoFrame.from_ndarray(np.asarray(draw(number)), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FPS)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            samples = av.AudioFrame.from_ndarray(hum(), format="flt", layout="mono")
            samples.sample_rate, samples.pts = RATE, 0
            out.mux(sound.encode(samples))
            out.mux(sound.encode(None))
        self.pieces = sorted(self._read(), key=lambda piece: piece.at_ms)

    def _read(self) -> Iterator[Piece]:
        self.file.seek(0)
        with av.open(self.file, "r") as source:
            for packet in source.demux():
                if packet.pts is not None and packet.time_base is not None:
                    at = max(0, round(float(packet.pts * packet.time_base) * 1000))
                    if at < LOOP_S * 1000:
                        yield Piece(packet.stream.index, at, bytes(packet), bool(packet.is_keyframe))


class Sink(io.RawIOBase):
    """Takes what the muxer writes; cannot seek, as no recording phone can."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]

    def take(self) -> bytes:
        taken, self.written = bytes(self.written), bytearray()
        return taken


class Recorder:
    """An endless recording of the loop, asked for its next chunk as time goes by."""

    def __init__(self, loop: Loop) -> None:
        self.id = secrets.token_urlsafe(12)
        self.loop = loop
        self.sink = Sink()
        loop.file.seek(0)
        with av.open(loop.file, "r") as source:
            options = {"live": "1", "cluster_time_limit": "500", "flush_packets": "1"}
            self.out = av.open(self.sink, "w", format="matroska", options=options)
            self.streams = [self.out.add_stream_from_template(stream) for stream in source.streams]
        self.sent_ms = 0
        self.number = -1

    def until(self, ms: int) -> tuple[int, bytes] | None:
        """Everything up to this moment of the recording, as the next numbered chunk."""
        begin, self.sent_ms = self.sent_ms, ms
        length = LOOP_S * 1000
        for round_ in range(begin // length, ms // length + 1):
            for piece in self.loop.pieces:
                at = round_ * length + piece.at_ms
                if begin <= at < ms:
                    self._mux(piece, at)
        data = self.sink.take()
        if not data:
            return None
        self.number += 1
        return self.number, data

    def _mux(self, piece: Piece, at_ms: int) -> None:
        packet = av.Packet(piece.data)
        packet.stream = self.streams[piece.stream]
        packet.time_base = Fraction(1, 1000)
        packet.pts = packet.dts = at_ms
        packet.is_keyframe = piece.key
        self.out.mux(packet)


# ---- the phone


class Phone:
    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = Loop()
        self.begin()

    def begin(self) -> None:
        self.recorder = Recorder(self.loop)
        self.held: deque[tuple[int, bytes]] = deque()
        self.began = time.monotonic()

    async def run(self) -> None:
        """For ever: a line that breaks is opened again and goes on where the server is."""
        while True:
            with contextlib.suppress(OSError, WebSocketException, httpx.HTTPError, KeyError, ValueError):
                async with connect(await self.address(), max_size=1 << 20, compression=None) as line:
                    await self.talk(line)
            await asyncio.sleep(RETRY_S)

    async def address(self) -> str:
        async with httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=10) as client:
            signed = await client.post("/login", json={"phone": PHONE, "password": PASSWORD})
            bearer = {"Authorization": f"Bearer {signed.json()['token']}"}
            client.cookies.clear()
            answer = await client.post(f"/live-sessions/{SESSION}/ingest", headers=bearer)
            return str(answer.json()["url"])

    async def talk(self, line: ClientConnection) -> None:
        if len(self.held) >= HELD:
            self.begin()  # too long away: what was held no longer fits on a phone
        first = self.held[0][0] if self.held else self.recorder.number + 1
        hello = {"type": "hello", "recording": self.recorder.id, "first": first}
        await line.send(json.dumps(hello))
        listening = asyncio.create_task(self.listen(line))
        try:
            while not listening.done():
                await asyncio.sleep(CHUNK_S)
                await self.record(line)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def record(self, line: ClientConnection) -> None:
        chunk = self.recorder.until(int((time.monotonic() - self.began) * 1000))
        if chunk is not None:
            self.held.append(chunk)
            await self.send(line, chunk)
        while len(self.held) > HELD:
            self.held.popleft()

    async def send(self, line: ClientConnection, chunk: tuple[int, bytes]) -> None:
        await line.send(chunk[0].to_bytes(4, "big") + chunk[1])

    async def listen(self, line: ClientConnection) -> None:
        async for message in line:
            said = json.loads(message)
            match said.get("type"):
                case "go":
                    for chunk in [held for held in self.held if held[0] >= said["next"]]:
                        await self.send(line, chunk)
                case "ack":
                    while self.held and self.held[0][0] < said["stored"]:
                        self.held.popleft()
                case "again":
                    self.begin()
                    return
                case "end":
                    return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    asyncio.run(Phone(parser.parse_args().url.rstrip("/")).run())


if __name__ == "__main__":
    main()
