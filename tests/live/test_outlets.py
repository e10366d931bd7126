"""Stream keys and other networks: kept sealed, carried to the wire, acted on by the video process, shown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.live import outlets, service
from streaming.video.process import VideoConfig, running
from tests.browser.stand import filmed, web, work
from tests.live import scene
from tests.live.scene import Scene
from tests.live.test_api import bearer
from tests.streaming.video import ffmpeg
from tests.streaming.video.stage import eventually, free_port


@dataclass
class Market:
    http: httpx.AsyncClient
    settings: Settings
    video: VideoConfig
    scene: Scene

    async def picture(self) -> dict[str, Any]:
        answer = await self.http.get(f"/live-sessions/{self.scene.code}/picture")
        said: dict[str, Any] = answer.raise_for_status().json()
        return said

    async def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self.http.post(f"/live-sessions/{self.scene.code}/{path}", json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None


@pytest.fixture
async def market(settings: Settings, sessions: Sessions) -> AsyncIterator[Market]:
    ffmpeg.ensure()
    made, video = filmed(settings)
    async with web(made), work(made), running(video):
        people = await scene.on_air(sessions)
        signed = await bearer(sessions, people.host.person_id)
        async with httpx.AsyncClient(base_url=f"{made.public_url}/api/v1", headers=signed) as http:
            yield Market(http, made, video, people)


@contextlib.asynccontextmanager
async def publisher(program: str, address: str, key: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Programs that are not ours, as a commune would use them."""
    command = {
        "ffmpeg": (
            "ffmpeg -nostdin -v error -re -f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=f=440 "
            "-c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 30 -c:a aac -t 60 -f flv "
            f"{address}/{key}"
        ),
        "gstreamer": (
            "gst-launch-1.0 -q videotestsrc is-live=true ! video/x-raw,width=640,height=360,framerate=30/1 ! "
            "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 ! "
            "video/x-h264,profile=baseline ! h264parse ! flvmux name=mux streamable=true "
            "audiotestsrc is-live=true ! audioconvert ! "
            f"avenc_aac ! aacparse ! mux. mux. ! rtmpsink location={address}/{key}"
        ),
    }[program]
    running_ = await asyncio.create_subprocess_exec(
        *command.split(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield running_
    finally:
        with contextlib.suppress(ProcessLookupError):
            running_.kill()
        await running_.wait()


async def on_air(market: Market) -> bool:
    said = await market.picture()
    return bool(said["state"] == "on_air" and said["source"] == "rtmp" and said["width"])


async def carried(market: Market, sessions: Sessions) -> None:
    """The worker has taken all news."""

    async def none_left() -> bool:
        async with sessions.read() as db:
            return not await db.scalar(text("SELECT count(*) FROM outbox WHERE topic = 'live.outlets'"))

    await eventually(none_left)


async def test_obs_comes_in_by_its_key_and_the_old_key_no_more(
    market: Market, sessions: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first = await market.post("stream-key")
    assert first["address"] == market.settings.extra["RTMP_URL"]
    await carried(market, sessions)
    async with publisher("ffmpeg", first["address"], first["key"]):
        await eventually(lambda: on_air(market), within_s=30)
    second = await market.post("stream-key")
    assert second["key"] != first["key"]
    await carried(market, sessions)
    async with publisher("ffmpeg", first["address"], first["key"]) as refused:
        assert await asyncio.wait_for(refused.wait(), 30) != 0
    shown = (await market.http.get(f"/live-sessions/{market.scene.code}/stream-key")).json()
    assert shown == second
    for key in (first["key"], second["key"]):
        assert key.split("_")[-1] not in caplog.text


async def test_gstreamer_comes_in(market: Market, sessions: Sessions) -> None:
    if not ffmpeg.has_gstreamer():
        pytest.skip("GStreamer is not here and may not be installed")
    given = await market.post("stream-key")
    await carried(market, sessions)
    async with publisher("gstreamer", given["address"], given["key"]):
        await eventually(lambda: on_air(market), within_s=30)


async def test_a_network_that_fails_hurts_no_other(
    market: Market, sessions: Sessions, tmp_path: Path
) -> None:
    port, dead = free_port(), free_port()
    listening = await asyncio.create_subprocess_exec(
        *f"ffmpeg -nostdin -v error -y -listen 1 -i rtmp://127.0.0.1:{port}/live/good-key -c copy".split(),
        str(tmp_path / "got.flv"),
    )
    good = await market.post(
        "outlets", {"name": "Kênh tốt", "address": f"rtmp://127.0.0.1:{port}/live", "key": "good-key"}
    )
    bad = await market.post(
        "outlets", {"name": "Kênh hỏng", "address": f"rtmp://127.0.0.1:{dead}/live", "key": "x"}
    )
    assert (good["state"], good["host"]) == ("off", "127.0.0.1")
    given = await market.post("stream-key")
    await carried(market, sessions)

    async def states() -> dict[int, str]:
        return {one["id"]: one["state"] for one in (await market.picture())["outlets"]}

    async def one_sends_one_fails() -> bool:
        return await states() == {good["id"]: "sending", bad["id"]: "failed"}

    async with publisher("ffmpeg", given["address"], given["key"]):
        await eventually(one_sends_one_fails, within_s=40)
        await market.post(f"outlets/{good['id']}/pause")

        async def paused() -> bool:
            return (await states())[good["id"]] == "paused"

        await eventually(paused)
        await asyncio.wait_for(listening.wait(), 30)  # ffmpeg ends when its sender has gone
        removed = await market.http.delete(f"/live-sessions/{market.scene.code}/outlets/{bad['id']}")
        assert removed.status_code == 204
        assert await on_air(market)
    found = ffmpeg.probe(tmp_path / "got.flv", "stream=codec_name")
    assert {one["codec_name"] for one in found["streams"]} == {"h264", "aac"}


async def test_keys_are_sealed_and_told_to_nobody(market: Market, sessions: Sessions) -> None:
    key = "very-secret-key-of-facebook"
    body = {"name": "Facebook", "address": "rtmps://live-api-s.facebook.com:443/rtmp", "key": key}
    made = await market.post("outlets", body)
    assert key not in str(made)
    assert await market.post("outlets", body) == made  # a tap that came twice
    async with sessions.read() as db:
        row = (await db.execute(text("SELECT * FROM outlet"))).one()
        news = str((await db.execute(text("SELECT payload FROM outbox"))).all())
        targets = await outlets.targets(db, market.settings, row.live_session_id)
    assert key not in str(row)
    assert "facebook.com" not in str(row)
    assert key not in news
    assert (targets[0].address, targets[0].key) == (body["address"], key)
    assert key not in repr(targets)
    page = await market.http.get(f"{market.settings.public_url}/host/{market.scene.code}/outlets")
    assert "live-api-s.facebook.com" in page.text
    assert key not in page.text


async def test_what_is_wrong_is_said_field_by_field(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    signed = await bearer(sessions, made.host.person_id)
    answer = await client.post(
        f"/api/v1/live-sessions/{made.code}/outlets",
        json={"name": " ", "address": "https://facebook.com", "key": ""},
        headers=signed,
    )
    assert answer.status_code == 422
    assert {one["field"] for one in answer.json()["errors"]} == {"name", "address", "key"}
    stranger = await bearer(sessions, made.stranger.person_id)
    for path in ("stream-key", "outlets"):
        refused = await client.post(
            f"/api/v1/live-sessions/{made.code}/{path}", json={"name": "x"}, headers=stranger
        )
        assert refused.status_code in (403, 422), path


async def test_a_rehearsal_goes_nowhere_else(market: Market, sessions: Sessions) -> None:
    await service.stop(market.scene.host, market.scene.code)
    made = await service.rehearse(market.scene.host, market.scene.code)
    await service.start(market.scene.host, made.code)
    body = {"name": "Facebook", "address": "rtmp://127.0.0.1:1/live", "key": "k"}
    answer = await market.http.post(f"/live-sessions/{made.code}/outlets", json=body)
    assert answer.status_code == 201
    await carried(market, sessions)
    key = (await market.http.post(f"/live-sessions/{made.code}/stream-key")).json()
    await carried(market, sessions)
    async with publisher("ffmpeg", key["address"], key["key"]):

        async def seen() -> bool:
            said = (await market.http.get(f"/live-sessions/{made.code}/picture")).json()
            return bool(said["state"] == "on_air" and said["outlets"][0]["state"] == "off")

        await eventually(seen, within_s=30)
