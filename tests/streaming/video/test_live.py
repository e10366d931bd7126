"""From a host's WebSocket to what viewers fetch, over real Valkey and S3."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import re
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin

from streaming.video.errors import ArchiveUnavailable, BadTicket
from streaming.video.index import stored_names
from streaming.video.process import running
from streaming.video.tickets import IngestTickets
from tests.streaming.stage import ValkeyServer
from tests.streaming.video.packaging import numbers, sound_times
from tests.streaming.video.recordings import record
from tests.streaming.video.stage import SECRET, Host, Stage, config_for, eventually, media_lines, stage


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment()) as made:
        yield made


@pytest.fixture
async def two_processes(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment(), process=False) as made:
        yield made


async def fetch(made: Stage, rendition: str = "main") -> bytes:
    """Everything the media playlist names now, as one file."""
    playlist = await made.text(f"{rendition}.m3u8")
    init = playlist.split('#EXT-X-MAP:URI="')[1].split('"')[0]
    pieces = [init, *media_lines(playlist)]
    bodies = [(await made.http.get(f"{made.url}/media/{made.session}/{piece}")).content for piece in pieces]
    return b"".join(bodies)


async def end(made: Stage) -> None:
    """Ends the session and waits until every web process must know."""
    await made.studio.end(made.session)
    if made.sessions:
        sessions = made.sessions
        await eventually(lambda: made.session not in sessions.owned)
    await eventually(lambda: _over(made))


async def _over(made: Stage) -> bool:
    return "#EXT-X-ENDLIST" in await made.text("main.m3u8")


async def test_what_a_host_sends_is_what_viewers_get(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=5))
    async with host.line() as line:
        assert await host.go() == 0
        await host.record(line, len(host.chunks))
        playlist = await on_stage.text("main.m3u8")
        assert "#EXT-X-ENDLIST" not in playlist
        assert "#EXT-X-TARGETDURATION:1\n" in playlist
        low_latency = await on_stage.text("main.ll.m3u8")
        assert "#EXT-X-PART:" in low_latency
        assert "#EXT-X-PRELOAD-HINT:" in low_latency
        await host.stop(line)
    await end(on_stage)
    assert "#EXT-X-ENDLIST" in await on_stage.text("main.m3u8")
    assert numbers(await fetch(on_stage)) == list(range(150))
    heard = sound_times(await fetch(on_stage, "audio"))
    assert heard == sound_times(await fetch(on_stage))


async def test_a_line_that_breaks_loses_nothing(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=8))
    async with host.line() as line:
        await host.go()
        await host.record(line, 12)
        line.transport.abort()
    await host.record(None, 15)  # three seconds without a line
    async with host.line() as line:
        following = await host.go()
        assert following is not None
        assert following >= min(host.held)
        for number in range(following, host.at):
            await host.send(line, number)
        await host.record(line, len(host.chunks) - host.at)
        await host.stop(line)
    await end(on_stage)
    playlist = await on_stage.text("main.m3u8")
    assert "#EXT-X-DISCONTINUITY" not in playlist
    assert numbers(await fetch(on_stage)) == list(range(240))


async def test_a_reloaded_page_goes_on_as_a_discontinuity(on_stage: Stage) -> None:
    first = Host(on_stage, record(seconds=3))
    async with first.line() as line:
        await first.go()
        await first.record(line, len(first.chunks))
    second = Host(on_stage, record(seconds=3, first=90))
    async with second.line() as line:
        assert await second.go() == 0
        await second.record(line, len(second.chunks))
        await second.stop(line)
    await end(on_stage)
    playlist = await on_stage.text("main.m3u8")
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 1
    assert numbers(await fetch(on_stage)) == list(range(180))
    assert len(media_lines(playlist)) == 6


async def test_a_killed_process_costs_no_frame(two_processes: Stage, engines: Any) -> None:
    """The host holds what is not stored; whoever takes over makes the open segment again."""
    made = two_processes
    host = Host(made, record(seconds=8))
    first, second = config_for(engines.environment()), config_for(engines.environment())
    async with contextlib.AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(running(first))
        await eventually(made.wire.processes)
        async with host.line() as line:
            await host.go()
            await host.record(line, 17)
            # As after kill -9: nothing more is written, said or handed over by the first process.
            (owned,) = sessions.owned.values()
            for task in (*sessions._tasks, *owned.stream._tasks):
                task.cancel()
            sessions.owned.clear()
            line.transport.abort()
        await host.record(None, 5)
        await stack.enter_async_context(running(second))
        await eventually(lambda: _placed(made, second.address), within_s=15)
        async with host.line() as line:
            following = await host.go()
            assert following is not None
            assert following >= min(host.held)
            for number in range(following, host.at):
                await host.send(line, number)
            await host.record(line, len(host.chunks) - host.at)
            await host.stop(line)
        await end(made)
        assert numbers(await fetch(made)) == list(range(240))
        times = sound_times(await fetch(made))
        assert {b - a for a, b in pairwise(times)} == {1024}
        assert "#EXT-X-DISCONTINUITY" not in await made.text("main.m3u8")


async def _placed(made: Stage, address: str) -> bool:
    return await made.wire.place(made.session) == address


async def test_a_process_that_stops_hands_over(two_processes: Stage, engines: Any) -> None:
    made = two_processes
    host = Host(made, record(seconds=6))
    first, second = config_for(engines.environment()), config_for(engines.environment())
    async with running(first):
        await eventually(made.wire.processes)
        async with host.line() as line:
            await host.go()
            await host.record(line, 13)
    async with running(second):
        await eventually(lambda: _placed(made, second.address))
        async with host.line() as line:
            following = await host.go()
            assert following is not None
            for number in range(following, host.at):
                await host.send(line, number)
            await host.record(line, len(host.chunks) - host.at)
            await host.stop(line)
        await end(made)
        assert numbers(await fetch(made)) == list(range(180))


async def test_a_host_that_lost_too_much_begins_anew(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=4))
    host.at = 7  # nothing before chunk 7 is left, and this process has never seen the recording
    async with host.line():
        assert await host.go() is None


async def test_the_newest_host_wins(on_stage: Stage) -> None:
    first, second = Host(on_stage, record(seconds=3)), Host(on_stage, record(seconds=3))
    async with first.line() as line:
        await first.go()
        await first.record(line, 5)
        async with second.line():
            await second.go()
            await eventually(lambda: first.ends)
            assert first.ends[0]["code"] == "replaced"
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert line.close_code == 4409
            assert not second.ends


async def test_a_device_takes_over_only_when_a_person_says_so(on_stage: Stage) -> None:
    film = record(seconds=3)
    first, second = Host(on_stage, film, device="first"), Host(on_stage, film, device="second")
    async with first.line() as line:
        await first.go()
        await first.record(line, 3)
        async with second.line():
            await eventually(lambda: second.ends)
        assert second.ends.pop()["code"] == "occupied"
        second.said.clear()
        await first.record(line, 2)
        assert not first.ends
        second.take = True
        async with second.line() as other:
            await second.go()
            await eventually(lambda: first.ends)
            assert first.ends.pop()["code"] == "replaced"
            first.said.clear()
            first.mine = True  # its page only tries again, nobody touched it
            async with first.line():
                await eventually(lambda: first.ends)
            assert first.ends.pop()["code"] == "replaced"
            first.said.clear()
            await second.record(other, 2)
            assert not second.ends
            await second.stop(other)
            owned = on_stage.sessions.owned[on_stage.session]  # type: ignore[union-attr]
            await eventually(lambda: not owned.device)
    first.mine = False
    async with first.line():
        assert await first.go() is not None  # the other one has finished


async def test_a_device_whose_line_is_down_keeps_its_place(on_stage: Stage) -> None:
    film = record(seconds=3)
    first, second = Host(on_stage, film, device="first"), Host(on_stage, film, device="second")
    async with first.line() as line:
        await first.go()
        await first.record(line, 3)
    async with second.line():
        await eventually(lambda: second.ends)
    assert second.ends[0]["code"] == "occupied"
    first.mine = True
    async with first.line() as line:
        assert await first.go() is not None
        await first.record(line, 2)


async def test_nobody_is_let_in_without_a_ticket_for_this_session(on_stage: Stage) -> None:
    tickets = IngestTickets(SECRET)
    good, other, old = (
        tickets.sign(on_stage.session),
        tickets.sign("ANOTHER"),
        tickets.sign(on_stage.session, lifetime_s=-1),
    )
    forged = IngestTickets(SECRET + "!").sign(on_stage.session)
    for ticket in ("", "x", other, old, forged, good[:-1], good + "A", "é.é"):
        with pytest.raises(BadTicket):
            tickets.verify(ticket, on_stage.session)
        address = f"{on_stage.config.address}/ingest/{on_stage.session}?ticket={ticket}"
        async with connect(address) as line:
            said = msgspec.json.decode(await line.recv())
            assert said["code"] == "bad_ticket"
            with pytest.raises(ConnectionClosed):
                await line.recv()
            assert line.close_code == 4401
    assert not on_stage.sessions or not on_stage.sessions.owned


async def test_an_ended_session_takes_no_host(on_stage: Stage) -> None:
    await on_stage.studio.end(on_stage.session)
    host = Host(on_stage, record(seconds=1))
    async with host.line():
        await eventually(lambda: host.ends)
        assert host.ends[0]["code"] == "ended"
        assert host.ends[0]["text"] == "Phiên đã kết thúc."


@pytest.mark.parametrize("bad", ["text", "no number", "gap", "noise", "rate", "unsupported"])
async def test_a_hostile_sender_ends_alone(
    on_stage: Stage, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a good host is on air in the same process."""
    good = Host(on_stage, record(seconds=4))
    other = Stage(**{**on_stage.__dict__, "session": on_stage.session + "X"})
    evil = Host(other, record(seconds=2))
    async with good.line() as line, evil.line() as bad_line:
        await good.go()
        await evil.go()
        if bad == "text":
            await bad_line.send("{" * 1000)
        elif bad == "no number":
            await bad_line.send(b"\0\0")
        elif bad == "gap":
            await bad_line.send(b"\0\0\0\7" + evil.chunks[0])
        elif bad == "noise":
            await bad_line.send(b"\0\0\0\0\x1a\x45\xdf\xa3" + b"\xaa" * 100_000)
        elif bad == "unsupported":
            await bad_line.send(b"\0\0\0\0GIF89a" + b"\xaa" * 100)
        else:
            with contextlib.suppress(ConnectionClosed):
                for number in range(40):
                    await bad_line.send(number.to_bytes(4, "big") + bytes(7 << 20))
        await good.record(line, len(good.chunks))
        await good.stop(line)
        await eventually(lambda: evil.ends)
        assert evil.ends[0]["code"] in ("malformed", "too_large", "unsupported")
        assert evil.ends[0]["text"]
        assert not good.ends
    await end(on_stage)
    assert numbers(await fetch(on_stage)) == list(range(120))


async def test_blocking_reload(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=8))
    async with host.line() as line:
        await host.go()
        recording = asyncio.create_task(host.record(line, 38))
        await eventually(lambda: _known(on_stage))
        last = await _last(on_stage)
        began = time.monotonic()
        playlist = await on_stage.text(f"main.m3u8?_HLS_msn={last + 2}")
        waited = time.monotonic() - began
        assert 0.5 < waited < 3.5
        assert f"/{last + 2:07d}_" in playlist
        newest = int(re.findall(r"/(\d{7})_", await on_stage.text("main.ll.m3u8"))[-1])
        partly = await on_stage.text(f"main.ll.m3u8?_HLS_msn={newest + 1}&_HLS_part=0")
        assert partly.rstrip().splitlines()[-2].startswith("#EXT-X-PART:")
        assert await on_stage.status_code(f"main.m3u8?_HLS_msn={last + 50}") == 400
        assert await on_stage.status_code("main.m3u8?_HLS_part=1") == 400
        hint = partly.split('TYPE=PART,URI="')[1].split('"')[0]
        body = (await on_stage.http.get(f"{on_stage.url}/media/{on_stage.session}/{hint}")).content
        assert body[4:8] == b"moof"
        await recording


async def _known(made: Stage) -> bool:
    answer = await made.http.get(f"{made.url}/media/{made.session}/main.m3u8")
    return answer.status_code == 200


async def _last(made: Stage) -> int:
    return int(re.findall(r"/(\d{7})_", await made.text("main.m3u8"))[-1])


async def test_parts_are_the_bytes_of_their_segment(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=4))
    async with host.line() as line:
        await host.go()
        await host.record(line, len(host.chunks))
        playlist = await on_stage.text("main.ll.m3u8")
        base = f"{on_stage.url}/media/{on_stage.session}/"
        parts: list[bytes] = []
        compared = 0
        for at in playlist.splitlines():
            if at.startswith("#EXT-X-PART:"):
                parts.append((await on_stage.http.get(base + at.split('URI="')[1].split('"')[0])).content)
            elif at and not at.startswith("#"):
                if parts:
                    assert b"".join(parts) == (await on_stage.http.get(base + at)).content
                    compared += 1
                parts = []
        assert compared >= 2


@pytest.mark.parametrize("low", [False, True])
async def test_players_that_are_not_ours_read_it_without_a_word(
    engines: Any, valkey_url: str, s3_bucket: str, low: bool
) -> None:
    """ffmpeg and PyAV, on air and afterwards, every playlist."""
    async with stage(engines.environment(), low_rendition=low) as made:
        host = Host(made, record(seconds=14, size=(640, 360)))
        async with host.line() as line:
            await host.go()
            sending = asyncio.create_task(host.record(line, len(host.chunks)))
            await eventually(lambda: _known(made))
            await asyncio.sleep(2)
            base = f"{made.url}/media/{made.session}/"
            names = ["index", "ll", "main", "main.ll", "audio", *(["low", "low.ll"] if low else [])]
            await asyncio.gather(*(_read(f"{base}{name}.m3u8", 3) for name in names))
            await asyncio.to_thread(_read_with_pyav, f"{base}main.m3u8", 60)
            await sending
            await host.stop(line)
        await end(made)
        names = ["index", "main", "audio", *(["low"] if low else [])]
        await asyncio.gather(*(_read(f"{base}{name}.m3u8", 60) for name in names))
        await asyncio.to_thread(_read_with_pyav, f"{base}main.m3u8", 420)


async def _read(url: str, seconds: float) -> None:
    program = await asyncio.create_subprocess_exec(
        *["ffmpeg", "-nostdin", "-v", "warning", "-xerror", "-i", url, "-t", str(seconds), "-f", "null", "-"],
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(40):
        _, said = await program.communicate()
    # ffmpeg takes the init segment of a live playlist for a new one each time it reads the playlist again.
    left = [line for line in said.decode().splitlines() if "Found duplicated MOOV Atom" not in line]
    assert (program.returncode, left) == (0, []), url


def _read_with_pyav(url: str, frames: int) -> None:
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said, av.open(url, "r", timeout=20) as file:
            found = [frame for frame, _ in zip(file.decode(video=0), range(frames), strict=False)]
        assert len(found) == frames
        warned = [message for level, _, message in said if level <= av.logging.WARNING]
        assert [message for message in warned if "duplicated MOOV" not in message] == []
    finally:
        av.logging.set_level(av.logging.PANIC)


async def test_how_media_may_be_fetched(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=3))
    async with host.line() as line:
        await host.go()
        await host.record(line, len(host.chunks))
        base = f"{on_stage.url}/media/{on_stage.session}/"
        playlist = await on_stage.http.get(base + "main.m3u8", headers={"accept-encoding": "gzip"})
        assert playlist.headers["content-encoding"] == "gzip"
        assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert "no-store" in playlist.headers["cache-control"]
        assert playlist.headers["access-control-allow-origin"] == "*"
        assert gzip.compress(playlist.content)
        segment = base + media_lines(playlist.text)[0]
        whole = await on_stage.http.get(segment)
        assert "immutable" in whole.headers["cache-control"]
        assert whole.headers["accept-ranges"] == "bytes"
        assert whole.headers["cdn-cache-control"] == "max-age=3"
        known = {"if-none-match": f'"other", {whole.headers["etag"]}'}
        again = await on_stage.http.get(segment, headers=known)
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["cdn-cache-control"] == "max-age=3"
        other = await on_stage.http.get(segment, headers={"if-none-match": '"other"'})
        assert other.content == whole.content
        assert "cdn-cache-control" not in playlist.headers
        some = await on_stage.http.get(segment, headers={"range": "bytes=10-99"})
        assert (some.status_code, some.content) == (206, whole.content[10:100])
        assert some.headers["content-range"] == f"bytes 10-99/{len(whole.content)}"
        tail = await on_stage.http.get(segment, headers={"range": "bytes=-50"})
        assert tail.content == whole.content[-50:]
        beyond = await on_stage.http.get(segment, headers={"range": f"bytes={len(whole.content)}-"})
        assert beyond.status_code == 416
        head = await on_stage.http.head(segment)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) == len(whole.content)
        assert (await on_stage.http.options(segment)).status_code == 204
        assert (await on_stage.http.post(segment)).status_code == 405
        poster = await eventually(lambda: _poster(on_stage))
        assert poster.headers["content-type"] == "image/jpeg"
        assert poster.content[:2] == b"\xff\xd8"
        stills = await eventually(lambda: on_stage.archive.list(f"video/{on_stage.session}/stills/"))
        minutes = [int(entry.key.rpartition("/")[2].removesuffix(".jpg")) for entry in stills]
        assert all(0 <= time.time() // 60 - minute <= 5 for minute in minutes)  # by the clock
    for path in (
        "main/../../secret.m4s",
        "other.m3u8",
        "main/unknown.m4s",
        "recording/recording.json",
        "epoch/x",
    ):
        assert await on_stage.status_code(path) == 404, path
    assert (await on_stage.http.get(f"{on_stage.url}/media/NOBODY/index.m3u8")).status_code == 404
    assert (await on_stage.http.get(f"{on_stage.url}/media/../etc/index.m3u8")).status_code == 404


async def _poster(made: Stage) -> Any:
    answer = await made.http.get(f"{made.url}/media/{made.session}/poster.jpg")
    return answer if answer.status_code == 200 else None


async def test_a_takedown_answers_410_everywhere_within_seconds(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=6))
    async with host.line() as line:
        await host.go()
        await host.record(line, 20)
        await eventually(lambda: _poster(on_stage))
        playlist = await on_stage.text("main.ll.m3u8")
        paths = ["index.m3u8", "ll.m3u8", "main.m3u8", "main.ll.m3u8", "audio.m3u8", "poster.jpg"]
        paths += media_lines(playlist) + re.findall(r'URI="([^"]+)"', playlist)[:-1]
        for path in paths:
            assert await on_stage.status_code(path) == 200, path
        began = time.monotonic()
        await on_stage.studio.take_down(on_stage.session)
        left = set(paths)
        while left:
            known = {"if-none-match": f'"{on_stage.session}/{next(iter(left))}"'}  # a cache that asks again
            left = {path for path in left if await on_stage.status_code(path, headers=known) != 410}
            assert time.monotonic() - began < 5, left
        await eventually(lambda: host.ends)
        assert host.ends[0]["code"] == "ended"
    # Also for a web process that starts later, and when Valkey has forgotten.
    await on_stage.wire.reopen(on_stage.session)
    await asyncio.sleep(2)
    async with stage_beside(on_stage) as other:
        assert await other.status_code("main.m3u8") == 410
        await on_stage.studio.put_back(on_stage.session)
        await asyncio.sleep(2)
    async with stage_beside(on_stage) as other:
        assert await other.status_code("main.m3u8") == 200


@contextlib.asynccontextmanager
async def stage_beside(made: Stage) -> AsyncIterator[Stage]:
    """A second web process that knows nothing yet."""
    from streaming.video.archive import Archive
    from streaming.video.delivery import Delivery
    from streaming.video.wire import Wire
    from tests.streaming.video.stage import web

    delivery = Delivery(Wire(made.config.valkey_url), Archive(made.config.archive))
    async with web(delivery) as url:
        yield Stage(**{**made.__dict__, "url": url})


async def test_a_web_process_that_starts_late_has_everything(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=5))
    async with host.line() as line:
        await host.go()
        await host.record(line, 20)
        async with stage_beside(on_stage) as other:
            playlist = await other.text("main.ll.m3u8")
            for path in media_lines(playlist) + re.findall(r'#EXT-X-PART:.*URI="([^"]+)"', playlist):
                assert await other.status_code(path) == 200, path


async def test_news_of_a_session(on_stage: Stage) -> None:
    kinds: list[Any] = []

    async def hear() -> None:
        async for news in on_stage.studio.news():
            if news.session == on_stage.session:
                kinds.append(news)

    hearing = asyncio.create_task(hear())
    host = Host(on_stage, record(seconds=5))
    async with host.line() as line:
        await host.go()
        await host.record(line, len(host.chunks))
        line.transport.abort()
    await eventually(lambda: any(news.kind == "gap" for news in kinds))
    status = await on_stage.studio.status(on_stage.session)
    assert status
    assert status.kind == "gap"
    assert status.gap_s >= 2
    full = [news for news in kinds if news.kind == "stats" and news.frames_per_s > 20]
    assert full
    assert (full[-1].width, full[-1].height) == (320, 240)
    assert full[-1].kbit_per_s > 100
    assert full[-1].level_db == pytest.approx(-13.5, abs=1)
    assert full[-1].key_every_s == pytest.approx(1, abs=0.1)
    assert not full[-1].transcoded
    assert 50 < [news for news in kinds if news.brightness >= 0][-1].brightness < 200
    await on_stage.studio.end(on_stage.session)
    await eventually(lambda: any(news.kind == "ended" for news in kinds))
    hearing.cancel()


async def test_who_may_send_from_where(on_stage: Stage) -> None:
    """Pages that are not ours are not let in; a ticket for measuring opens nothing."""
    address = await on_stage.studio.ingest_address(on_stage.session)
    with pytest.raises(InvalidStatus):
        await connect(address, origin=Origin("https://evil.example")).__aenter__()
    measuring = await on_stage.studio.measure_address(on_stage.session)
    async with connect(measuring.replace("/measure?", "?")) as line:
        assert msgspec.json.decode(await line.recv())["code"] == "bad_ticket"
    async with connect(measuring, compression=None) as line:
        for _ in range(8):
            await line.send(bytes(1 << 15))
        assert msgspec.json.decode(await line.recv())["bytes"] >= 1 << 15
    assert on_stage.sessions
    assert not on_stage.sessions.owned


async def test_a_storage_that_is_away_for_a_while_costs_nothing(
    on_stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_stage.sessions
    archive = on_stage.sessions.tools.archive
    put, away = archive.put, True

    async def sometimes(key: str, body: bytes, note: Any = None) -> None:
        if away:
            raise ArchiveUnavailable("away")
        await put(key, body, note)

    host = Host(on_stage, record(seconds=8))
    async with host.line() as line:
        await host.go()
        await host.record(line, 5)
        monkeypatch.setattr(archive, "put", sometimes)
        await host.record(line, 20)
        newest = await _last(on_stage) if await _known(on_stage) else 0
        assert newest <= 1  # nothing is named that is not stored
        assert host.stored < 8
        away = False
        await host.record(line, len(host.chunks) - host.at)
        await host.stop(line)
    await end(on_stage)
    assert numbers(await fetch(on_stage)) == list(range(240))


@pytest.mark.parametrize("how", ["killed", "hangs"])
async def test_a_wire_that_is_away_for_a_while_costs_nothing(
    engines: Any, s3_bucket: str, tmp_path: Path, how: str
) -> None:
    """Valkey dies under a session on air and comes back empty, or says nothing for a while."""
    valkey = ValkeyServer(tmp_path)
    valkey.start()
    try:
        environ = {**engines.environment(), "CHOPHIEN_VALKEY_URL": valkey.url}
        async with stage(environ) as made:
            host = Host(made, record(seconds=9))
            async with host.line() as line:
                await host.go()
                await host.record(line, 12)
                valkey.kill() if how == "killed" else valkey.hang()
                await host.record(line, 12)
                valkey.start() if how == "killed" else valkey.go_on()
                await host.record(line, len(host.chunks) - host.at)
                assert await eventually(lambda: _known(made))
                assert "#EXT-X-ENDLIST" not in await made.text("main.m3u8")
                assert not host.ends
                await host.stop(line)
            await end(made)
            assert numbers(await fetch(made)) == list(range(270))
    finally:
        valkey.kill()


async def test_an_order_that_was_not_heard_is_obeyed_all_the_same(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=4))
    async with host.line() as line:
        await host.go()
        await host.record(line, 10)
        await on_stage.wire.close_session(on_stage.session, "ended")  # and nobody told the owner
        await eventually(lambda: host.ends)
        assert host.ends[0]["code"] == "ended"
    await eventually(lambda: _over(on_stage))


async def test_a_process_that_was_taken_for_dead_lets_go(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=4))
    async with host.line() as line:
        await host.go()
        await host.record(line, 10)
        key = on_stage.wire._key("owner", on_stage.session)
        await on_stage.wire._valkey.set(key, "ws://127.0.0.1:1")  # another one has it
        await eventually(lambda: host.ends)
        assert host.ends[0]["code"] == "moved"
    sessions = on_stage.sessions
    assert sessions
    await eventually(lambda: on_stage.session not in sessions.owned)
    assert await on_stage.wire.owner(on_stage.session) == "ws://127.0.0.1:1"


async def test_two_hosts_by_turns_keep_one_clock(on_stage: Stage) -> None:
    """Another phone takes over and the first one comes back with what it still holds."""
    first, second = Host(on_stage, record(seconds=9)), Host(on_stage, record(seconds=3))
    async with first.line() as line:
        await first.go()
        await first.record(line, 12)
        async with second.line() as other:
            await second.go()
            await second.record(other, 2)
    first.said.clear()
    async with first.line():
        assert await first.go() is None  # its recording was closed: the page begins a new one
    again = Host(on_stage, record(seconds=3))
    async with again.line() as line:
        await again.go()
        await again.record(line, len(again.chunks))
        await again.stop(line)
    await end(on_stage)
    names = await stored_names(on_stage.archive, on_stage.session, "main")
    assert [name.sequence for name in names] == list(range(len(names)))
    for before, after in pairwise(names):
        assert before.start_us + before.duration_us <= after.start_us + 1000
