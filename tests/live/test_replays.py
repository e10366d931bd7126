"""After a session: one recording with its hash, watched again after everything was restarted, sold from, cut,
held, deleted when its time has come; and gone from everywhere within seconds when it is taken down."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.live import replays, service
from commerce.live.errors import RecordingHeld, RecordingKept
from commerce.live.video import Pictures, show_picture
from streaming.video import keeping
from streaming.video.process import VideoConfig, running
from tests.browser.stand import filmed, web, work
from tests.live import scene
from tests.live.scene import Scene
from tests.live.test_api import bearer
from tests.live.test_outlets import publisher
from tests.orders.market import order_body
from tests.streaming.video import ffmpeg
from tests.streaming.video.stage import eventually, media_lines


@dataclass
class Film:
    """A session that was on air for some seconds, with A1 pinned, then B1, and a deal on A1."""

    settings: Settings
    video: VideoConfig
    scene: Scene
    code: str
    pictures: Pictures
    http: httpx.AsyncClient

    async def replay(self) -> dict[str, Any]:
        found: dict[str, Any] = (
            (await self.http.get(f"/api/v1/live-sessions/{self.code}/replay")).raise_for_status().json()
        )
        return found

    async def addresses(self) -> list[str]:
        """Everything public of it: playlists, every segment and init, poster, recording, clips."""
        replay = await self.replay()
        base = f"/media/{self.code}/"
        found = [base + name for name in ("index.m3u8", "ll.m3u8", "poster.jpg")]
        for name in ("main", "audio"):
            playlist = (await self.http.get(f"{base}{name}.m3u8")).raise_for_status().text
            inits = [line.split('"')[1] for line in playlist.splitlines() if "EXT-X-MAP" in line]
            found += [f"{base}{name}.m3u8", *(base + uri for uri in [*inits, *media_lines(playlist)])]
        found += [one["url"] for one in replay["files"]]
        return found + [one["clip_url"] for one in replay["chapters"] if one["clip_url"]]


@contextlib.asynccontextmanager
async def filming(settings: Settings, sessions: Sessions, *, rehearsal: bool = False) -> AsyncIterator[Film]:
    ffmpeg.ensure()
    made, video = filmed(settings)
    async with web(made), work(made) as (pictures, _), running(video):
        people = await scene.planned(sessions)
        code = (await service.rehearse(people.host, people.code)).code if rehearsal else people.code
        await service.start(people.host, code)
        signed = await bearer(sessions, people.host.person_id)
        async with httpx.AsyncClient(base_url=made.public_url, headers=signed, timeout=20) as http:
            film = Film(made, video, people, code, pictures, http)
            key = (await http.post(f"/api/v1/live-sessions/{code}/stream-key")).json()

            async def shown(wanted: bool) -> bool:
                said = (await http.get(f"/api/v1/live-sessions/{code}/picture")).json()
                return bool((said["state"] == "on_air") == wanted)

            async def key_counts() -> bool:
                return bool(await pictures.wire.allowed_generation(code))

            await eventually(key_counts)
            async with publisher("ffmpeg", key["address"], key["key"]):
                await eventually(lambda: shown(True), within_s=30)
                await service.pin(people.host, code, "A1")
                await service.open_deal(people.host, code, "A1", price=80_000, quantity=5)
                await asyncio.sleep(2.5)  # pins of less than two seconds are no chapters
                await service.pin(people.host, code, "B1")
                await asyncio.sleep(2.5)
            await service.stop(people.host, code)

            async def assembled() -> bool:
                answer = await http.get(f"/api/v1/live-sessions/{code}/replay")
                return answer.status_code == 200

            await eventually(assembled, within_s=40)
            yield film


async def test_it_is_whole_after_all_processes_were_restarted(
    settings: Settings, sessions: Sessions, tmp_path: Path
) -> None:
    async with filming(settings, sessions) as film:
        before = await film.replay()
        cut = await film.http.post(
            f"/api/v1/live-sessions/{film.code}/clips", json={"chapter": before["chapters"][0]["id"]}
        )
        assert cut.status_code == 201
    again, _ = filmed(settings)  # other processes, on other ports, that have never heard of it
    async with web(again), httpx.AsyncClient(base_url=again.public_url, timeout=20) as http:
        film = replace(film, settings=again, http=http)
        replay = await film.replay()
        assert [one["sha256"] for one in replay["files"]] == [one["sha256"] for one in before["files"]]
        for one in replay["files"]:
            body = (await http.get(one["url"])).content
            assert (hashlib.sha256(body).hexdigest(), len(body)) == (one["sha256"], one["size"])
        (tmp_path / "whole.mp4").write_bytes(body)
        ffmpeg.decode(tmp_path / "whole.mp4")
        playlist = f"{again.public_url}{replay['playback_url']}"
        kinds = (await asyncio.to_thread(ffmpeg.probe, playlist, "stream=codec_name"))["streams"]
        assert {one["codec_name"] for one in kinds} >= {"h264", "aac"}
        chapters = {one["code"]: one for one in replay["chapters"]}
        assert [chapters["A1"]["price"], chapters["B1"]["price"]] == [scene.PRICE, 150_000]
        assert 2000 < chapters["B1"]["from_ms"] - chapters["A1"]["from_ms"] < 10_000
        assert chapters["A1"]["to_ms"] == chapters["B1"]["from_ms"]
        assert replay["began_ms"] <= chapters["A1"]["from_ms"]
        assert chapters["B1"]["to_ms"] <= replay["began_ms"] + replay["duration_ms"]
        assert [(one["code"], one["price"]) for one in replay["deals"]] == [("A1", 80_000)]
        clip = (await http.get(cut.json()["url"])).content
        assert hashlib.sha256(clip).hexdigest() == cut.json()["sha256"]
        (tmp_path / "clip.mp4").write_bytes(clip)
        ffmpeg.decode(tmp_path / "clip.mp4")
        assert chapters["A1"]["clip_url"] == cut.json()["url"]
        await sells(http, film.code)


async def sells(http: httpx.AsyncClient, code: str) -> None:
    """What is left is sold to who says that they watch again, at the usual price; not to who is late."""
    late = await http.post(
        f"/api/v1/live-sessions/{code}/orders",
        json=order_body(total=scene.PRICE, A1=1),
        headers={"Idempotency-Key": "late"},
    )
    assert (late.status_code, late.json()["code"]) == (409, "session_ended")
    for total, status in ((80_000, 409), (scene.PRICE, 201)):
        answer = await http.post(
            f"/api/v1/live-sessions/{code}/orders",
            json=order_body(total=total, A1=1) | {"replay": True},
            headers={"Idempotency-Key": f"again-{total}"},
        )
        assert answer.status_code == status, answer.text


async def test_a_takedown_leaves_no_address(settings: Settings, sessions: Sessions) -> None:
    async with filming(settings, sessions) as film:
        for chapter in (await film.replay())["chapters"]:
            cut = await film.http.post(
                f"/api/v1/live-sessions/{film.code}/clips", json={"chapter": chapter["id"]}
            )
            assert cut.status_code == 201
        public = await film.addresses()
        assert len(public) > 10
        for address in public:
            assert (await film.http.get(address)).status_code == 200, address
        began = time.monotonic()
        await service.takedown(film.scene.officer, film.code, "Bán hàng không đúng giấy tờ")

        async def all_gone() -> bool:
            answers = await asyncio.gather(*(film.http.get(address) for address in public))
            return {answer.status_code for answer in answers} == {410}

        await eventually(all_gone, within_s=5)
        assert time.monotonic() - began < 5
        page = await film.http.get(f"/live/{film.code}")
        assert page.status_code == 410
        assert "index.m3u8" not in page.text
        assert (await film.http.get(f"/api/v1/live-sessions/{film.code}/replay")).status_code == 404


async def test_it_is_kept_for_its_time_and_held_for_the_law(settings: Settings, sessions: Sessions) -> None:
    async with filming(settings, sessions) as film:
        with pytest.raises(RecordingKept):
            await replays.delete_rehearsal(film.scene.host, film.pictures, film.code)
        await replays.delete_due(film.pictures)
        assert (await film.http.get(f"/media/{film.code}/main.m3u8")).status_code == 200
        async with sessions.begin() as db:
            kept = (await db.execute(text("SELECT began_at, kept_until FROM recording"))).one()
            assert kept.kept_until == keeping.kept_until(int(kept.began_at.timestamp() * 1e6))
            await db.execute(text("UPDATE recording SET kept_until = now() - interval '1 day'"))
        await replays.hold(film.scene.province, film.pictures, film.code, "Công văn 12/2026")
        await replays.delete_due(film.pictures)
        assert (await film.http.get(f"/media/{film.code}/main.m3u8")).status_code == 200
        async with sessions.begin() as db:  # the mark beside the bytes protects them by itself
            await db.execute(text("UPDATE recording SET held_at = NULL"))
        await replays.delete_due(film.pictures)
        assert (await film.http.get(f"/media/{film.code}/main.m3u8")).status_code == 200
        await replays.release(film.scene.province, film.pictures, film.code)
        hashes = [one["sha256"] for one in (await film.replay())["files"]]
        await replays.delete_due(film.pictures)
        await gone(film, sessions, "kept for its time", None, hashes)


async def gone(film: Film, sessions: Sessions, why: str, by: int | None, hashes: list[str]) -> None:
    left = [entry.key for entry in await film.pictures.archive.list(f"video/{film.code}/")]
    assert left == [f"video/{film.code}/gone.json"]
    async with sessions.read() as db:
        row = (await db.execute(text("SELECT * FROM media_deletion"))).one()
        assert (row.code, row.why, row.by, row.sha256) == (film.code, why, by, hashes)
        assert row.objects > 0
        assert row.done_at is not None
        assert await db.scalar(text("SELECT deleted_at FROM recording")) is not None

    async def unseen() -> bool:
        answer = await film.http.get(f"/media/{film.code}/main.m3u8")
        return answer.status_code == 410

    await eventually(unseen, within_s=5)


async def test_a_rehearsal_gives_advice_and_is_deleted_on_request(
    settings: Settings, sessions: Sessions
) -> None:
    async with filming(settings, sessions, rehearsal=True) as film:
        assert len(film.code) > 15  # nobody guesses it
        listed = (await film.http.get("/api/v1/live-sessions")).text
        assert film.code not in listed
        order = await film.http.post(
            f"/api/v1/live-sessions/{film.code}/orders",
            json=order_body(total=scene.PRICE, A1=1) | {"replay": True},
            headers={"Idempotency-Key": "k"},
        )
        assert (order.status_code, order.json()["code"]) == (409, "rehearsal")
        page = await film.http.get(f"/host/{film.code}")
        assert "Nhận xét sau buổi phát thử" in page.text
        hashes = [one["sha256"] for one in (await film.replay())["files"]]
        await keeping.hold(film.pictures.archive, film.code, "x")
        with pytest.raises(RecordingHeld):
            await replays.delete_rehearsal(film.scene.host, film.pictures, film.code)
        await keeping.release(film.pictures.archive, film.code)
        asked = await film.http.delete(f"/api/v1/live-sessions/{film.code}/recording")
        assert asked.status_code == 204, asked.text
        await gone(film, sessions, "rehearsal, on request", film.scene.host.person_id, hashes)


async def test_those_who_keep_recordings_have_a_page(settings: Settings, sessions: Sessions) -> None:
    async with filming(settings, sessions) as film:
        officer = await bearer(sessions, film.scene.officer.person_id)
        stranger = await bearer(sessions, film.scene.stranger.person_id)
        address = f"/office/recordings/{film.code}"
        assert (await film.http.get("/office/recordings", headers=stranger)).status_code == 403
        [file] = (await film.replay())["files"]
        page = await film.http.get("/office/recordings", headers=officer)
        assert file["sha256"] in page.text
        empty = await film.http.post(f"{address}/hold", data={"note": " "}, headers=officer)
        assert empty.status_code == 422
        held = await film.http.post(f"{address}/hold", data={"note": "Công văn 12/2026"}, headers=officer)
        assert held.status_code == 303
        assert "Công văn 12/2026" in (await film.http.get("/office/recordings", headers=officer)).text
        assert await keeping.held(film.pictures.archive, film.code)
        await film.http.post(f"{address}/release", headers=officer)
        assert not await keeping.held(film.pictures.archive, film.code)
        down = await film.http.post(
            f"{address}/takedown", data={"reason": "Bán hàng không đúng giấy tờ"}, headers=officer
        )
        assert down.status_code == 303
        assert (await film.http.get(f"/live/{film.code}")).status_code == 410


async def test_a_cdn_is_named_on_the_pages(settings: Settings, sessions: Sessions) -> None:
    made, _ = filmed(settings)
    cdn = "https://cdn.test"
    made = replace(made, extra={**made.extra, "MEDIA_URL": cdn})
    people = await scene.on_air(sessions)
    await show_picture(people.code)
    async with web(made), httpx.AsyncClient(base_url=made.public_url) as http:
        page = await http.get(f"/live/{people.code}")
        told = (await http.get(f"/api/v1/live-sessions/{people.code}")).json()
    assert f'"playback_url": "{cdn}/media/{people.code}/index.m3u8"' in page.text
    assert f'src="{cdn}/media/{people.code}/poster.jpg"' in page.text
    assert told["playback_url"] == f"{cdn}/media/{people.code}/index.m3u8"
    for part in ("img-src", "media-src", "connect-src"):
        policy = next(one for one in page.headers["content-security-policy"].split(";") if part in one)
        assert cdn in policy
