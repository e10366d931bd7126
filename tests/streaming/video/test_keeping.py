"""The recording after a session: one file, its hash, the replay out of it, clips, hold and deletion."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from streaming.video import keeping
from streaming.video.index import stored_names
from streaming.video.keeping import Deletion, Held, NothingRecorded
from streaming.video.media import SECOND
from tests.streaming.video import ffmpeg
from tests.streaming.video.packaging import numbers
from tests.streaming.video.recordings import record
from tests.streaming.video.stage import Host, Stage, eventually, media_lines, stage


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment()) as made:
        yield made


async def broadcast(made: Stage, *recordings: Any, pace: float = 0.3) -> None:
    """A whole session, faster than it would be."""
    for recording in recordings:
        host = Host(made, recording)
        async with host.line() as line:
            await host.go()
            await host.record(line, len(host.chunks), pace=pace)
            await host.stop(line)
    await made.studio.end(made.session)
    sessions = made.sessions
    assert sessions
    await eventually(lambda: made.session not in sessions.owned)


async def fetch(made: Stage, url: str, rendition: str = "main") -> list[bytes]:
    """What the replay's playlist names: for each init segment one file."""
    playlist = (await made.http.get(f"{url}/media/{made.session}/{rendition}.m3u8")).text
    assert playlist.endswith("#EXT-X-ENDLIST\n")
    files: list[bytes] = []
    for line in playlist.splitlines():
        if line.startswith("#EXT-X-MAP"):
            path = line.split('"')[1]
            files.append((await made.http.get(f"{url}/media/{made.session}/{path}")).content)
        elif line and not line.startswith("#"):
            answer = await made.http.get(f"{url}/media/{made.session}/{line}")
            assert answer.status_code == 200, line
            files[-1] += answer.content
    return files


class Log:
    def __init__(self) -> None:
        self.entries: list[Deletion] = []

    async def record(self, deletion: Deletion) -> None:
        self.entries.append(deletion)


async def test_the_replay_plays_from_the_file_that_is_hashed(on_stage: Stage, tmp_path: Path) -> None:
    await broadcast(on_stage, record(seconds=8))
    before = await on_stage.text("main.m3u8")
    progress: list[tuple[int, int]] = []
    manifest = await keeping.assemble(on_stage.archive, on_stage.session, lambda *done: progress.append(done))
    assert progress[-1] == (8, 8)
    (file,) = manifest.files
    whole = await on_stage.http.get(f"{on_stage.url}/media/{on_stage.session}/recording/{file.name}.mp4")
    assert whole.status_code == 200
    assert int(whole.headers["content-length"]) == file.size == len(whole.content)
    assert hashlib.sha256(whole.content).hexdigest() == file.sha256
    assert await keeping.hash_of(on_stage.archive, on_stage.session, file) == file.sha256
    assert numbers(whole.content) == list(range(240))
    path = tmp_path / "recording.mp4"
    path.write_bytes(whole.content)
    ffmpeg.decode(path)
    assert float(ffmpeg.probe(path, "format=duration")["format"]["duration"]) == pytest.approx(8, abs=0.2)
    # The segments are gone; who still has the old playlist gets them out of the recording.
    assert await stored_names(on_stage.archive, on_stage.session, "main") == []
    for line in media_lines(before):
        assert await on_stage.status_code(line) == 200
    # A web process that knew nothing of it shows the replay in longer pieces.
    from tests.streaming.video.test_live import stage_beside

    async with stage_beside(on_stage) as fresh:
        replay = await fetch(on_stage, fresh.url)
        assert numbers(replay[0]) == list(range(240))
        assert len(media_lines(await fresh.text("main.m3u8"))) == 2
        assert len((await fetch(on_stage, fresh.url, "audio"))[0]) < len(replay[0]) / 2
        assert await fresh.status_code(f"recording/{file.name}.mp4", headers={"range": "bytes=0-99"}) == 206
    assert await keeping.assemble(on_stage.archive, on_stage.session) == manifest


async def test_a_session_with_a_gap_and_a_turned_phone(on_stage: Stage) -> None:
    await broadcast(
        on_stage,
        record(seconds=3),
        record(seconds=3, first=90),
        record(seconds=3, first=180, size=(240, 320)),
    )
    manifest = await keeping.assemble(on_stage.archive, on_stage.session)
    assert [file.width for file in manifest.files] == [320, 240]
    first, second = await fetch(on_stage, on_stage.url)
    assert numbers(first) == list(range(180))
    assert numbers(second, drawn=240) == list(range(180, 270))
    playlist = await on_stage.text("main.m3u8")
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 2
    assert playlist.count("#EXT-X-PROGRAM-DATE-TIME") == 3


async def test_a_session_opened_again_grows(on_stage: Stage) -> None:
    await broadcast(on_stage, record(seconds=3))
    first = await keeping.assemble(on_stage.archive, on_stage.session)
    await on_stage.studio.reopen(on_stage.session)
    await broadcast(on_stage, record(seconds=3, first=90))
    manifest = await keeping.assemble(on_stage.archive, on_stage.session)
    assert [f.sha256 for f in manifest.files][:1] == [f.sha256 for f in first.files]
    assert len(manifest.files) == 2
    await asyncio.sleep(5.5)  # a finished session is read anew
    joined = b"".join(await fetch(on_stage, on_stage.url))
    assert numbers(joined) == list(range(180))


async def test_clips_are_cut_without_encoding(on_stage: Stage, tmp_path: Path) -> None:
    await broadcast(on_stage, record(seconds=8))
    manifest = await keeping.assemble(on_stage.archive, on_stage.session)
    start = manifest.start_us + 2 * SECOND + 400_000
    clip = await keeping.cut_clip(on_stage.archive, on_stage.session, "a1", start, start + 2 * SECOND)
    body = (await on_stage.http.get(f"{on_stage.url}/media/{on_stage.session}/{clip.address}")).content
    assert (len(body), hashlib.sha256(body).hexdigest()) == (clip.size, clip.sha256)
    assert numbers(body) == list(range(60, 150))
    assert body.index(b"moov") < body.index(b"mdat")
    path = tmp_path / "clip.mp4"
    path.write_bytes(body)
    assert float(ffmpeg.probe(path, "format=duration")["format"]["duration"]) == pytest.approx(3, abs=0.1)
    with pytest.raises(NothingRecorded):
        await keeping.cut_clip(
            on_stage.archive, on_stage.session, "a2", start + 3600 * SECOND, start + 3601 * SECOND
        )
    for name, length in (("A1", 1), ("../x", 1), ("ok", 0), ("ok", 3600 * SECOND)):
        with pytest.raises(ValueError, match="clip"):
            await keeping.cut_clip(on_stage.archive, on_stage.session, name, start, start + length)


async def test_what_is_held_is_not_deleted_and_every_deletion_is_logged(on_stage: Stage) -> None:
    await broadcast(on_stage, record(seconds=3))
    manifest = await keeping.assemble(on_stage.archive, on_stage.session)
    log = Log()
    await keeping.hold(on_stage.archive, on_stage.session, "complaint 17")
    with pytest.raises(Held):
        await keeping.delete(on_stage.archive, on_stage.session, "retention", log)
    assert log.entries == []
    await keeping.release(on_stage.archive, on_stage.session)

    class Broken:
        async def record(self, deletion: Deletion) -> None:
            raise OSError

    with pytest.raises(OSError):
        await keeping.delete(on_stage.archive, on_stage.session, "retention", Broken())
    assert await on_stage.archive.list(f"video/{on_stage.session}/")  # no log, no deletion
    await on_stage.studio.take_down(on_stage.session)
    await keeping.delete(on_stage.archive, on_stage.session, "retention", log)
    assert [entry.done for entry in log.entries] == [False, True]
    assert log.entries[0].sha256 == [manifest.files[0].sha256]
    assert log.entries[0].objects >= 4
    assert log.entries[0].bytes > manifest.files[0].size
    left = await on_stage.archive.list(f"video/{on_stage.session}/")
    assert [entry.key.rpartition("/")[2] for entry in left] == ["gone.json"]
    await eventually(lambda: _gone(on_stage))


async def _gone(made: Stage) -> bool:
    return await made.status_code("main.m3u8") == 410


async def test_nothing_recorded(on_stage: Stage) -> None:
    with pytest.raises(NothingRecorded):
        await keeping.assemble(on_stage.archive, on_stage.session)


def test_how_long_recordings_are_kept() -> None:
    start = int(datetime(2025, 8, 24, 9, tzinfo=UTC).timestamp() * SECOND)
    assert keeping.kept_until(start) == datetime(2028, 8, 24, 9, tzinfo=UTC)
    assert keeping.kept_until(int(datetime(2024, 1, 31, tzinfo=UTC).timestamp()) * SECOND, 1).day == 29
    assert not keeping.is_due(start, now_s=datetime(2028, 8, 24, 8, tzinfo=UTC).timestamp())
    assert keeping.is_due(start, now_s=datetime(2028, 8, 24, 10, tzinfo=UTC).timestamp())
