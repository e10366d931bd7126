"""The generated picture of the demo session: a drawn orchard, sent as a host's phone would send it.

`python -m catalog_seed.orchard --url http://127.0.0.1:8000` signs in as the demo host, asks where to send and
sends the loop over the public ingest WebSocket.
"""

from __future__ import annotations

import argparse
import asyncio
import math

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from streaming.video.synthetic import RATE, Loop, Sender

WIDTH, HEIGHT, FPS = 640, 360, 15
LOOP_S = 8
BITS_PER_SECOND = 350_000
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


def hum() -> npt.NDArray[np.float32]:
    """A quiet gong that fits the loop: whole periods, so that its end meets its beginning."""
    at = np.arange(RATE * LOOP_S) / RATE
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * at / (LOOP_S / 4))
    tones = np.sin(2 * np.pi * 220 * at) + 0.6 * np.sin(2 * np.pi * 330 * at)
    return (0.05 * swell * tones).astype(np.float32)


def record() -> Loop:
    pictures = (np.asarray(draw(number)) for number in range(FPS * LOOP_S))
    return Loop(pictures, hum(), fps=FPS, bits_per_second=BITS_PER_SECOND)


# ---- the phone


class Host:
    """The demo host as a program: signed in once, asks for a fresh address before every attempt."""

    def __init__(self, url: str) -> None:
        self.http = httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=10)
        self.bearer: dict[str, str] = {}

    async def address(self) -> str:
        """Waits until the session is on air and a video process is there."""
        while True:
            try:
                return await self._ask()
            except (httpx.HTTPError, KeyError):
                self.bearer = {}
                await asyncio.sleep(RETRY_S)

    async def _ask(self) -> str:
        if not self.bearer:
            signed = await self.http.post("/login", json={"phone": PHONE, "password": PASSWORD})
            self.bearer = {"Authorization": f"Bearer {signed.json()['token']}"}
            self.http.cookies.clear()
        answer = await self.http.post(f"/live-sessions/{SESSION}/ingest", headers=self.bearer)
        return str(answer.json()["url"])


async def send(url: str) -> None:
    loop = await asyncio.to_thread(record)
    await Sender(loop, Host(url).address, device="orchard").run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    asyncio.run(send(parser.parse_args().url.rstrip("/")))


if __name__ == "__main__":
    main()
