"""500 comments a second into one session: `python -m tests.load.comments [--rate 500] [--seconds 15]`.

Every comment has its own visitor, as the limit of a visitor is one in two seconds. A viewer on the socket
notes which came and when. Starts a demo market of its own; bounded in time; not part of `make test`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import sys
import time

import httpx
import uvloop
from websockets.asyncio.client import connect

from commerce.core import load
from commerce.core.embedded import temporary_folder
from commerce.core.supervisor import Market, Plan
from tests.streaming.stage import free_port

SESSION = "EAKNUEC"
LAST_ONES_S = 5.0


class Listener:
    """What one viewer saw of the comments: number and moment, and how many frames they came in."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []
        self.frames = 0

    async def run(self, address: str) -> None:
        async with connect(address, origin=None, max_size=None) as socket:
            async for text in socket:
                frame = json.loads(text)
                if frame["type"] == "comments":
                    now = time.time()
                    self.frames += 1
                    self.seen += [
                        (int(comment["text"][1:]), now)
                        for comment in frame["comments"]
                        if comment["text"].startswith("#")
                    ]


async def measure(url: str, rate: float, seconds: float) -> dict[str, object]:
    numbers = itertools.count(1)
    sent: dict[int, float] = {}
    stored: dict[int, int] = {}
    listener = Listener()

    def make() -> bytes:
        number = next(numbers)
        sent[number] = time.time()
        body = json.dumps({"name": f"Người xem {number}", "text": f"#{number}"}).encode()
        head = (
            f"POST /api/v1/live-sessions/{SESSION}/comments HTTP/1.1\r\nHost: {url.split('//')[1]}\r\n"
            f"Cookie: visitor=comments{number:010d}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async with httpx.AsyncClient(base_url=url) as client:
        address = (await client.get(f"/api/v1/live-sessions/{SESSION}")).json()["live_url"]
    watching = asyncio.create_task(listener.run(address))
    await asyncio.sleep(1)

    def see(status: int, body: bytes) -> None:
        if status == 202:
            stored[int(json.loads(body)["id"])] = status

    tally = await load.run(url, make, concurrency=64, seconds=seconds, warm_up=2, see=see, per_second=rate)
    await asyncio.sleep(LAST_ONES_S)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    delays = sorted(at - sent[number] for number, at in listener.seen)
    return {
        "comments_per_s": round(sum(tally.statuses.values()) / tally.elapsed, 1),
        "refused": sum(count for status, count in tally.statuses.items() if status != 202),
        "answer_p99_ms": tally.percentile_ms(99),
        "stored": len(stored),
        "seen": len(listener.seen),
        "twice": len(listener.seen) - len({number for number, _ in listener.seen}),
        "frames": listener.frames,
        "seen_after_ms": {
            "p50": round(delays[len(delays) // 2] * 1000),
            "p99": round(delays[int(len(delays) * 0.99)] * 1000),
            "max": round(delays[-1] * 1000),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=15)
    asked = parser.parse_args()
    with temporary_folder() as folder:
        plan = Plan(folder, free_port(), web=2, gateways=1, workers=1, video=0, demo=True)
        with Market(plan, report=lambda line: print(line, file=sys.stderr)) as market:
            print(json.dumps(uvloop.run(measure(market.url, asked.rate, asked.seconds))))


if __name__ == "__main__":
    main()
