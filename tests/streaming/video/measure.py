"""Figures from camera to screen: `python -m tests.streaming.video.measure [SECONDS] [steady|troubles|lines]`.

A Chromium films a clock (720p, 30 a second), another plays it; both note which frame they see when. Then what
a viewer sees when the line of the host is cut or silent, the page reloaded, the video process killed; and,
with `lines`, what viewers on lines of several kinds get. Prints one JSON line for each. Run it on a machine
that does nothing else.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from playwright.async_api import Page

from commerce.core.embedded import Engines, temporary_folder
from streaming.video.index import stored_names
from tests.streaming.video.faults import narrow
from tests.streaming.video.site import CLOCK_FRAMES, Site, VideoProcess, site
from tests.streaming.video.stage import config_for

LOOP_MS = CLOCK_FRAMES * 1000 // 30
Seen = list[tuple[float, int]]


def report(name: str, **figures: Any) -> None:
    print(json.dumps({"measured": name, **figures, "load": os.getloadavg()[0]}), flush=True)


def delays(seen: Seen, filmed: dict[int, float]) -> list[float]:
    """Milliseconds from a frame in the host's preview to the same frame on the viewer's screen."""
    return [(at - filmed[number]) % LOOP_MS for at, number in seen if number in filmed]


def stalls(seen: Seen) -> list[float]:
    """Milliseconds for which the picture stood still, where that was more than a quarter of a second."""
    return [b - a for (a, _), (b, _) in pairwise(seen) if b - a > 250]


def missed(seen: Seen) -> int:
    """Frames in the longest leap of what was shown."""
    return max(((b - a) % CLOCK_FRAMES for (_, a), (_, b) in pairwise(seen)), default=0)


async def look(page: Page) -> Seen:
    return [(at, number) for at, number in await page.evaluate("seen")]


async def steady(market: Site, host: Page, session: str, kind: str, seconds: float) -> None:
    page = await market.page(f"/view.html?session={session}&kind={kind}")
    await page.wait_for_function("window.seen.length > 60", timeout=30_000)
    await page.evaluate("seen.length = 0")
    await asyncio.sleep(seconds)
    seen = await look(page)
    filmed = {int(k): v for k, v in (await host.evaluate("frames_")).items()}
    found = sorted(delays(seen, filmed))
    report(
        f"delay, {kind}",
        p50_ms=round(statistics.median(found)),
        p95_ms=round(found[len(found) * 95 // 100]),
        frames=len(seen),
        seconds=seconds,
        stalls=len(stalls(seen)),
        longest_stall_ms=round(max(stalls(seen), default=0)),
        kind_at_the_end=(await page.evaluate("state"))["kind"],
    )
    await page.context.close()


async def trouble(market: Site, name: str, kind: str, process: VideoProcess) -> None:
    session = f"M{secrets.token_hex(4)}"
    host = await market.on_air(session)
    page = await market.page(f"/view.html?session={session}&kind={kind}")
    await page.wait_for_function("window.seen.length > 60", timeout=30_000)
    await asyncio.sleep(5)
    await page.evaluate("seen.length = 0")
    await asyncio.sleep(1)
    if name == "line cut for 3 s":
        market.line.cut()
        await asyncio.sleep(3)
        market.line.mend()
    elif name == "line silent for 6 s":
        market.line.hush()
        await asyncio.sleep(6)
        market.line.speak()
    elif name == "page reloaded":
        await host.reload()
        await host.evaluate("cast.prepare()")
        await host.evaluate("cast.start()")
    elif name == "video process killed":
        process.kill()
        await asyncio.sleep(1)  # what a supervisor takes
        process.restart()
    await asyncio.sleep(15)
    seen = await look(page)
    await host.evaluate("cast.stop()")
    await market.studio.end(session)
    await asyncio.sleep(2)
    names = await stored_names(market.archive, session, "main")
    holes = [(b.start_us - a.start_us - a.duration_us) / 1e6 for a, b in pairwise(names)]
    report(
        name,
        kind=kind,
        longest_stall_s=round(max(stalls(seen), default=0) / 1000, 1),
        all_stalls_s=round(sum(stalls(seen)) / 1000, 1),
        longest_leap_frames=missed(seen),
        hole_in_recording_s=round(max(holes, default=0), 2),
        discontinuities=sum(one.discontinuity for one in names),
    )
    await page.context.close()
    await host.context.close()


async def on_line(market: Site, host: Page, session: str, name: str, kbit: float, ms: float) -> None:
    """A viewer whose browser knows of the line what a phone's would; of a minute the second half counts."""
    page = await market.page("/clock.js")
    await narrow(await page.context.new_cdp_session(page), kbit=kbit, round_trip_ms=ms)
    await page.goto(f"{market.url}/view.html?session={session}&kind=auto")
    await asyncio.sleep(30)
    await page.evaluate("seen.length = 0")
    await asyncio.sleep(30)
    seen, state = await look(page), await page.evaluate("state")
    filmed = {int(k): v for k, v in (await host.evaluate("frames_")).items()}
    found = delays(seen, filmed)
    report(
        f"viewer on {name}",
        kinds=[said for _, said in await page.evaluate("states")],
        kind_at_the_end=state["kind"],
        note=(state["note"] or {}).get("code"),
        lines=await page.evaluate("document.querySelector('video').videoHeight"),
        p50_ms=round(statistics.median(found)) if found else None,
        stalls=len(stalls(seen)),
        longest_stall_ms=round(max(stalls(seen), default=0)),
        megabytes_hour=state["megabytes_hour"],
    )
    await page.context.close()


LINES = (("4G, 10 Mbit/s, 60 ms", 10_000, 60), ("4G, 4 Mbit/s, 300 ms", 4_000, 300),
         ("3G, 1.2 Mbit/s, 300 ms", 1_200, 300), ("2G, 150 kbit/s, 600 ms", 150, 600))  # fmt: skip
TROUBLES = ("line cut for 3 s", "line silent for 6 s", "page reloaded", "video process killed")


async def run(seconds: float, troubles: tuple[str, ...] = TROUBLES, *, lines: bool = False) -> None:
    with (
        temporary_folder() as folder,
        Engines(folder, environ={}) as engines,
        tempfile.TemporaryDirectory() as films,
    ):
        async with site(engines.environment(), Path(films), size=(1280, 720)) as market:
            process = VideoProcess(
                config_for(market.environ, allowed_origins=(market.url,), low_rendition=lines)
            )
            await process.ready(market.wire)
            if seconds:
                session = f"M{secrets.token_hex(4)}"
                host = await market.on_air(session)
                await asyncio.sleep(4)
                for kind in ("ll", "plain"):
                    await steady(market, host, session, kind, seconds)
                await host.context.close()
            if lines:
                session = f"M{secrets.token_hex(4)}"
                host = await market.on_air(session)
                await asyncio.sleep(4)
                for name, kbit, ms in LINES:
                    await on_line(market, host, session, name, kbit, ms)
                await host.context.close()
            for name in troubles:
                for kind in ("ll", "plain"):
                    await trouble(market, name, kind, process)
            process.stop()


if __name__ == "__main__":
    wanted = set(sys.argv[1:])
    lasting = next((float(word) for word in wanted if word.isdigit()), 60.0)
    alone = wanted & {"troubles", "lines"}
    asyncio.run(
        run(
            0.0 if alone else lasting,
            () if wanted & {"steady", "lines"} else TROUBLES,
            lines="lines" in wanted,
        )
    )
