"""A Chromium with a camera goes on air through broadcast.js; another Chromium watches through player.js.

The camera shows a film with its frame number in every frame, so what arrives can be compared with what was
filmed. How long it takes is measured by `measure.py`; here it is what arrives that counts.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Page

from streaming.video.index import described, stored_names
from streaming.video.playlist import Name
from streaming.video.synthetic import RATE, Loop, Sender
from tests.streaming.video.faults import narrow
from tests.streaming.video.packaging import numbers
from tests.streaming.video.site import CLOCK_FRAMES, Site, VideoProcess, site
from tests.streaming.video.stage import config_for, eventually

LOOP_MS = CLOCK_FRAMES * 1000 // 30


@pytest.fixture
async def market(engines: Any, valkey_url: str, s3_bucket: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with site(engines.environment(), tmp_path) as made:
        yield made


@pytest.fixture
async def video(market: Site) -> AsyncIterator[VideoProcess]:
    process = VideoProcess(config_for(market.environ, allowed_origins=(market.url,)))
    await process.ready(market.wire)
    yield process
    process.stop()


@pytest.fixture
def session() -> str:
    return f"B{secrets.token_hex(4)}"


async def watching(market: Site, session: str, kind: str) -> Page:
    page = await market.page(f"/view.html?session={session}&kind={kind}")
    await page.wait_for_function("window.seen.length > 20", timeout=30_000)
    return page


async def stored(market: Site, session: str) -> list[Name]:
    """Segments in S3 after the session was ended."""
    await market.studio.end(session)
    await eventually(lambda: _off(market, session), within_s=15)
    return await stored_names(market.archive, session, "main")


async def _off(market: Site, session: str) -> bool:
    return not await market.wire.on_air(session)


async def frames_in(market: Site, session: str, names: list[Name]) -> list[int]:
    """Numbers of all frames in the stored segments, in order."""
    found: list[int] = []
    for name in names:
        init = await market.archive.get(f"video/{session}/init/{name.init}.mp4")
        body = await market.archive.get(f"video/{session}/main/{name}.m4s")
        found += numbers((init or b"") + (body or b""), drawn=320)
    return found


def steps(found: list[int]) -> list[int]:
    """By how much the frame number grows from one frame to the next; the film is a loop."""
    return [(b - a) % CLOCK_FRAMES for a, b in pairwise(found)]


@pytest.mark.parametrize("kind", ["ll", "plain"])
async def test_from_camera_to_viewer(market: Site, video: VideoProcess, session: str, kind: str) -> None:
    host = await market.on_air(session)
    view = await watching(market, session, kind)
    await asyncio.sleep(4)
    state = await view.evaluate("state")
    assert state["phase"] == "playing"
    tried = [said.split()[1] for _, said in await view.evaluate("states") if len(said.split()) > 1]
    assert tried[0] == kind  # on a machine too busy for parts, plain may follow
    assert unread(await view.evaluate("complaints")) == []
    parts = [path for path in market.requests if "/main/p" in path]
    assert bool(parts) == (kind == "ll")
    seen = [number for _, number in await view.evaluate("seen")]
    filmed = {int(number) for number in await host.evaluate("frames_")}
    assert len(set(seen) & filmed) > len(set(seen)) * 0.7  # a busy machine shows the host less
    state = await host.evaluate("state")
    assert (state["phase"], state["problem"], state["size"]) == ("on", None, "640x360")
    assert state["uplink"] > 1000
    news = await market.studio.status(session)
    assert news
    assert (news.width, news.height) == (640, 360)
    await host.evaluate("cast.stop()")
    await host.wait_for_function("window.state.phase === 'ready'")
    assert len(await stored(market, session)) >= 5
    await watched_again(market, session, await host.evaluate("frames_"))


def unread(complaints: list[str]) -> list[str]:
    """What hls.js says of playlists and media, without what a busy machine's delays make it say."""
    return [
        said for said in complaints if not re.search(r"stall|nudg|gap|latency|timeout|behind", said, re.I)
    ]


async def watched_again(market: Site, session: str, filmed: dict[str, float]) -> None:
    """The replay from S3: a moment is found by the clock in the picture, and all is read without a word."""
    view = await market.page(f"/view.html?session={session}&kind=plain&live=0")
    await view.wait_for_function("window.player.moment() > 0", timeout=20_000)
    first = min(filmed.values())
    for moment in (first + 3_000, first + 1_500):
        await view.evaluate("seen.length = 0")
        await view.evaluate("moment => player.seek(moment)", moment)
        await view.wait_for_function("window.seen.length > 10", timeout=20_000)
        shown, said = await view.evaluate("[seen.at(-1)[1], player.moment()]")
        assert 0 <= said - moment < 5_000
        apart = (said - filmed[str(shown)]) % LOOP_MS
        assert min(apart, LOOP_MS - apart) < 1_500
    assert unread(await view.evaluate("complaints")) == []
    await view.context.close()


async def test_a_line_cut_for_three_seconds_loses_nothing(
    market: Site, video: VideoProcess, session: str
) -> None:
    host = await market.on_air(session)
    view = await watching(market, session, "plain")
    before = len(await host.evaluate("states"))
    market.line.cut()
    await asyncio.sleep(3)
    market.line.mend()
    await host.wait_for_function("window.state.phase === 'on' && window.state.lag < 1.5", timeout=20_000)
    said = (await host.evaluate("states"))[before:]
    assert any(state.startswith("waiting") for state in said), said
    await asyncio.sleep(2)
    seen = await view.evaluate("seen")
    assert seen[-1][0] > seen[0][0]
    names = await stored(market, session)
    assert not any(name.discontinuity for name in names)
    _without_a_hole(names)
    assert max(steps(await frames_in(market, session, names))) <= 30


async def test_a_silent_line_is_noticed_and_loses_nothing(
    market: Site, video: VideoProcess, session: str
) -> None:
    host = await market.on_air(session)
    await asyncio.sleep(2)
    market.line.hush()
    await host.wait_for_function("window.state.phase === 'waiting'", timeout=10_000)
    await asyncio.sleep(2)
    market.line.speak()
    await host.wait_for_function("window.state.phase === 'on' && window.state.lag < 1.5", timeout=30_000)
    await asyncio.sleep(2)
    names = await stored(market, session)
    assert not any(name.discontinuity for name in names)
    _without_a_hole(names)


async def test_a_reload_is_a_discontinuity(market: Site, video: VideoProcess, session: str) -> None:
    host = await market.on_air(session)
    view = await watching(market, session, "plain")
    await asyncio.sleep(2)
    await host.reload()
    await host.evaluate("cast.prepare()")
    await host.evaluate("cast.start()")
    await host.wait_for_function("window.state?.phase === 'on'", timeout=20_000)
    await asyncio.sleep(6)
    count = len(await view.evaluate("seen"))
    await asyncio.sleep(2)
    assert len(await view.evaluate("seen")) > count  # it plays on by itself
    names = await stored(market, session)
    assert sum(name.discontinuity for name in names) == 1


async def test_a_killed_process_loses_nothing(market: Site, video: VideoProcess, session: str) -> None:
    host = await market.on_air(session)
    view = await watching(market, session, "plain")
    await asyncio.sleep(3)
    video.kill()
    await asyncio.sleep(1)
    video.restart()
    await host.wait_for_function("window.state.phase === 'waiting'", timeout=10_000)
    await host.wait_for_function("window.state.phase === 'on' && window.state.lag < 1.5", timeout=40_000)
    await asyncio.sleep(4)
    count = len(await view.evaluate("seen"))
    await asyncio.sleep(3)
    assert len(await view.evaluate("seen")) > count
    names = await stored(market, session)
    assert not any(name.discontinuity for name in names)
    _without_a_hole(names)


async def test_a_thin_line_makes_the_picture_smaller(market: Site, video: VideoProcess, session: str) -> None:
    market.line.bytes_per_s = 16_000
    page = await market.page(f"/host.html?session={session}", host=True)
    await page.evaluate("cast.prepare()")
    await page.evaluate("cast.measure()")
    state = await page.evaluate("state")
    assert 0 < state["uplink"] < 180
    assert "quá yếu" in state["problem"]["text"]
    await page.context.close()
    market.line.bytes_per_s = 110_000  # 880 kbit/s
    host = await market.on_air(session)
    state = await host.evaluate("state")
    assert 400 < state["uplink"] < 1400
    assert state["kbit"] <= 650
    market.line.bytes_per_s = 25_000
    await host.wait_for_function("kbit => window.state.kbit < kbit", arg=state["kbit"], timeout=40_000)
    assert await host.evaluate("window.states.some((one) => one.includes('slow'))")


async def test_sound_alone_and_back(market: Site, video: VideoProcess, session: str) -> None:
    await market.on_air(session)
    view = await watching(market, session, "plain")
    await view.evaluate("player.soundOnly(true)")
    await view.wait_for_function(
        "window.state.kind === 'audio' && window.state.phase === 'playing'", timeout=15_000
    )
    before = len(market.requests)
    await asyncio.sleep(4)
    assert any("/audio/" in path for path in market.requests[before:])
    assert not any("/main/" in path for path in market.requests[before:])
    await view.evaluate("player.soundOnly(false)")
    await view.wait_for_function("window.state.kind === 'plain'")
    count = len(await view.evaluate("seen"))
    await asyncio.sleep(4)
    assert len(await view.evaluate("seen")) > count


async def test_a_viewer_who_comes_first_waits_and_then_sees(
    market: Site, video: VideoProcess, session: str
) -> None:
    view = await market.page(f"/view.html?session={session}&kind=ll")
    await view.wait_for_function("window.state.note?.code === 'waiting'", timeout=15_000)
    await market.on_air(session)
    await view.wait_for_function("window.seen.length > 10", timeout=30_000)
    assert (await view.evaluate("state"))["note"] is None


async def test_a_takedown_ends_it_for_everybody(market: Site, video: VideoProcess, session: str) -> None:
    host = await market.on_air(session)
    view = await watching(market, session, "ll")
    await market.studio.take_down(session)
    await view.wait_for_function("window.state.phase === 'ended'", timeout=10_000)
    await host.wait_for_function("window.state.phase === 'over'", timeout=10_000)
    assert (await host.evaluate("state"))["problem"]["text"] == "Phiên đã kết thúc."


async def test_a_camera_that_is_refused_says_what_to_do(market: Site, session: str) -> None:
    page = await market.page(f"/host.html?session={session}", host=True)
    for name, word in (
        ("NotAllowedError", "cho phép"),
        ("NotFoundError", "Không tìm thấy"),
        ("NotReadableError", "ứng dụng khác"),
    ):
        await page.evaluate(
            """name => navigator.mediaDevices.getUserMedia = async () => {
                throw new DOMException("", name)
            }""",
            name,
        )
        await page.evaluate("cast.prepare()")
        assert word in (await page.evaluate("state"))["problem"]["text"]
    await page.evaluate("cast.measure()")  # no video process is there
    assert "Chưa nối được" in (await page.evaluate("state"))["problem"]["text"]
    await page.context.set_offline(True)
    await page.evaluate("cast.measure()")
    assert "Chưa có mạng" in (await page.evaluate("state"))["problem"]["text"]
    await page.evaluate("delete globalThis.MediaRecorder; cast.prepare()")
    assert "không quay được" in (await page.evaluate("state"))["problem"]["text"]
    await page.evaluate("Object.defineProperty(window, 'isSecureContext', { value: false }); cast.prepare()")
    assert "https" in (await page.evaluate("state"))["problem"]["text"]


async def test_flipped_muted_turned_and_kept_awake(market: Site, video: VideoProcess, session: str) -> None:
    page = await market.page(f"/host.html?session={session}", host=True)
    await page.evaluate(
        "window.awake = []; void (navigator.wakeLock.request = async (what) => {"
        " awake.push(what); return { release: async () => awake.push('released') } })"
    )
    await page.evaluate("cast.prepare()")
    await page.evaluate("cast.start()")
    await page.wait_for_function("window.state.phase === 'on' && window.state.lag < 1.5", timeout=20_000)
    assert await page.evaluate("awake") == ["screen"]
    await page.wait_for_function("window.state.level > 0.2", timeout=10_000)  # the camera beeps every second
    await page.evaluate("cast.mute(true)")

    async def silent() -> bool:
        news = await market.studio.status(session)
        return bool(news and news.level_db < -80)

    await eventually(silent, within_s=15)
    await page.evaluate("cast.mute(false)")
    await page.evaluate("cast.flip()")
    await page.wait_for_function("window.state.phase === 'on' && window.state.lag < 1.5", timeout=20_000)
    await asyncio.sleep(2)
    turned = "preview.srcObject.getVideoTracks()[0].applyConstraints({ width: 202, height: 360 })"
    await page.evaluate(turned)
    await page.wait_for_function("window.state.size === '202x360' && window.state.lag < 1.5", timeout=20_000)
    await asyncio.sleep(3)
    await page.evaluate("cast.stop()")
    assert await page.evaluate("awake") == ["screen", "released"]
    names = await stored(market, session)
    assert sum(name.discontinuity for name in names) == 2
    shapes = {name.init: await described(market.archive, session, name.init) for name in names}
    assert {shape[1:] for shape in shapes.values()} == {(640, 360), (202, 360)}


async def test_parts_that_come_too_slowly_give_way_to_plain(
    market: Site, video: VideoProcess, session: str
) -> None:
    await market.on_air(session)
    view = await watching(market, session, "ll")
    line = await view.context.new_cdp_session(view)
    await narrow(line, kbit=3_000, round_trip_ms=900)
    await view.wait_for_function(
        "window.state.kind === 'plain' && window.state.phase === 'playing'", timeout=60_000
    )


async def test_a_line_too_thin_for_the_picture_carries_the_sound(
    market: Site, video: VideoProcess, session: str
) -> None:
    """A picture of 800 kbit/s on a line of 300."""
    noise = np.random.default_rng(1).integers(0, 256, (30, 240, 320, 3), np.uint8)
    film = Loop(iter(noise), np.zeros(RATE * 2, np.float32), fps=15, bits_per_second=800_000)
    sending = asyncio.create_task(Sender(film, lambda: market.studio.ingest_address(session)).run())
    try:
        await eventually(lambda: market.wire.on_air(session), within_s=20)
        view = await market.page(f"/view.html?session={session}&kind=plain")
        playing = "window.state?.kind === '%s' && window.state.phase === 'playing'"
        await view.wait_for_function(playing % "plain", timeout=30_000)
        line = await view.context.new_cdp_session(view)
        await narrow(line, kbit=300, round_trip_ms=100)
        await view.wait_for_function(playing % "audio", timeout=90_000)
        assert await view.evaluate("window.state.note.code") == "sound_only"
        heard = await view.evaluate("document.querySelector('video').currentTime")
        await view.wait_for_function(
            f"document.querySelector('video').currentTime > {heard + 3}", timeout=20_000
        )
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


def _without_a_hole(names: list[Name]) -> None:
    assert [name.sequence for name in names] == list(range(len(names)))
    for before, after in pairwise(names):
        assert before.start_us + before.duration_us == after.start_us
