"""OBS's way in, with publishers that are not ours; and strangers who try it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from streaming.video import amf
from streaming.video.errors import BadTicket, Malformed
from streaming.video.index import stored_names
from streaming.video.tickets import IngestTickets
from tests.streaming.video.recordings import record
from tests.streaming.video.stage import SECRET, Host, Stage, eventually, stage


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment()) as made:
        yield made


def address(made: Stage, key: str) -> str:
    return f"rtmp://127.0.0.1:{made.config.rtmp_port}/live/{key}"


async def publish(made: Stage, key: str, seconds: float, *more: str) -> asyncio.subprocess.Process:
    """Debian's ffmpeg as OBS: a test picture and a tone, in real time."""
    picture = ["-f", "lavfi", "-i", "testsrc=size=320x240:rate=30"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=44100"]
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-pix_fmt", "yuv420p"]
    return await asyncio.create_subprocess_exec(
        *[
            "ffmpeg",
            "-nostdin",
            "-v",
            "error",
            "-re",
            *picture,
            *tone,
            *x264,
            "-c:a",
            "aac",
            "-ac",
            "2",
            "-t",
            str(seconds),
            *more,
        ],
        *["-f", "flv", address(made, key)],
        stderr=asyncio.subprocess.PIPE,
    )


async def test_ffmpeg_goes_on_air(on_stage: Stage) -> None:
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    program = await publish(on_stage, key, 7, "-bf", "2")
    await eventually(lambda: _segments(on_stage, 2), within_s=20)
    assert "#EXTM3U" in await on_stage.text("main.m3u8")
    news = await eventually(lambda: on_stage.studio.status(on_stage.session))
    _, said = await program.communicate()
    assert program.returncode == 0, said
    assert news.source == "rtmp"
    await asyncio.sleep(0.5)
    names = await stored_names(on_stage.archive, on_stage.session, "main")
    length = sum(name.duration_us for name in names) / 1e6
    assert length == pytest.approx(7, abs=0.2)
    assert all(name.independent for name in names)
    assert not any(name.discontinuity for name in names)


async def _segments(made: Stage, count: int) -> bool:
    return len(await stored_names(made.archive, made.session, "main")) >= count


@pytest.mark.parametrize("silent", ["-an", "-vn"])
async def test_only_a_picture_or_only_sound(on_stage: Stage, silent: str) -> None:
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    program = await publish(on_stage, key, 4, silent)
    _, said = await program.communicate()
    assert program.returncode == 0, said
    await eventually(lambda: _segments(on_stage, 2))


@pytest.mark.parametrize("kind", ["wrong", "rotated", "never allowed", "empty", "another session"])
async def test_a_wrong_key_is_refused(on_stage: Stage, kind: str) -> None:
    tickets = IngestTickets(SECRET)
    key = {
        "wrong": f"{on_stage.session}_1_{'a' * 29}",
        "rotated": tickets.stream_key(on_stage.session, 1),
        "never allowed": tickets.stream_key(on_stage.session, 1),
        "empty": "",
        "another session": tickets.stream_key("ANOTHER", 1),
    }[kind]
    if kind != "never allowed":
        await on_stage.studio.stream_key(on_stage.session, 2)
    program = await publish(on_stage, key, 2)
    await program.communicate()
    assert program.returncode != 0
    assert not await _segments(on_stage, 1)
    assert not on_stage.sessions or not on_stage.sessions.owned


async def test_no_wire_no_entry(on_stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot be made is a check that failed."""
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    assert on_stage.sessions
    monkeypatch.setattr(on_stage.sessions.tools.wire, "_valkey", _Away())
    program = await publish(on_stage, key, 2)
    await program.communicate()
    assert program.returncode != 0


class _Away:
    def __getattr__(self, name: str) -> Any:
        raise ConnectionError


async def test_guessing_is_slowed_down(on_stage: Stage) -> None:
    """After five wrong keys from one address even the right one waits."""
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    for number in range(5):
        program = await publish(on_stage, f"{key[:-2]}{number}z", 1)
        await program.communicate()
        assert program.returncode != 0
    program = await publish(on_stage, key, 1)
    await program.communicate()
    assert program.returncode != 0


async def test_a_browser_and_obs_replace_each_other(on_stage: Stage) -> None:
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    host = Host(on_stage, record(seconds=6))
    async with host.line() as line:
        await host.go()
        await host.record(line, 10)
        program = await publish(on_stage, key, 4)
        await eventually(lambda: host.ends)
        assert host.ends[0]["code"] == "replaced"
        await program.communicate()
    again = Host(on_stage, record(seconds=4))
    async with again.line() as line:
        await again.go()
        await again.record(line, 15)
        await again.stop(line)
    await on_stage.studio.end(on_stage.session)
    await eventually(lambda: on_stage.session not in on_stage.sessions.owned)  # type: ignore[union-attr]
    names = await stored_names(on_stage.archive, on_stage.session, "main")
    assert sum(name.discontinuity for name in names) == 2
    assert [name.sequence for name in names] == list(range(len(names)))


async def test_the_end_of_a_session_ends_obs(on_stage: Stage) -> None:
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    program = await publish(on_stage, key, 60)
    await eventually(lambda: _segments(on_stage, 1), within_s=20)
    await on_stage.studio.end(on_stage.session)
    async with asyncio.timeout(15):
        await program.communicate()
    assert program.returncode != 0


async def test_strangers_are_bounded_in_time_and_size(on_stage: Stage) -> None:
    """Noise, half a handshake, huge lengths and silence; a publisher beside them does not notice."""
    key = await on_stage.studio.stream_key(on_stage.session, 1)
    program = await publish(on_stage, key, 8)
    random_ = random.Random(7)
    port = on_stage.config.rtmp_port
    hello = b"\x03" + bytes(1536) + bytes(1536)
    tries = [
        random_.randbytes(10_000),
        b"GET / HTTP/1.1\r\n\r\n",
        hello[:100],
        hello + random_.randbytes(5000),
        hello + b"\x03\0\0\0\xff\xff\xff\x14\0\0\0\0" + bytes(100_000),  # a command of 16 MB
        hello + b"\x02\0\0\0\0\0\4\1\0\0\0\0\xff\xff\xff\xff",  # chunks of 4 GB
        hello + b"".join(bytes((0x40 | n,)) + b"\0\0\0\0\0\1\x14\0" for n in range(3, 63)),
        hello + b"\x03\0\0\0\0\0\x09\x14\0\0\0\0" + b"\x03" * 9,
        *(hello + b"\x03\0\0\0\0\0\x40\x14\0\0\0\0" + random_.randbytes(64) for _ in range(60)),
    ]
    began = time.monotonic()
    for data in tries:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(data)
            await writer.drain()
            writer.write_eof()
            await asyncio.wait_for(reader.read(), 12)
        writer.close()
    assert time.monotonic() - began < 60
    _, said = await program.communicate()
    assert program.returncode == 0, said
    assert await _segments(on_stage, 3)


def test_amf_survives_anything() -> None:
    values: list[Any] = ["publish", 5.0, None, "key", {"a": True, "b": {"c": "đ"}}]
    assert amf.decode(amf.encode(*values)) == values
    random_ = random.Random(3)
    good = amf.encode(*values)
    for _ in range(3000):
        hurt = bytearray(good)
        for _ in range(random_.randint(1, 4)):
            hurt[random_.randrange(len(hurt))] = random_.randrange(256)
        with contextlib.suppress(Malformed):
            amf.decode(bytes(hurt))
    with pytest.raises(Malformed):
        amf.decode(b"\x03\0\1a" * 100)


def test_stream_keys() -> None:
    tickets = IngestTickets(SECRET)
    key = tickets.stream_key("EAKNUEC", 3)
    assert re.fullmatch(r"EAKNUEC_3_[a-z2-7]{29}", key)
    assert tickets.verify_stream_key(key) == ("EAKNUEC", 3)
    assert tickets.stream_key("EAKNUEC", 4)[10:] != key[10:]
    altered = [key[:-1], key + "a", key.upper(), key.replace("_3_", "_4_")]
    for bad in [*altered, "EAKNUEC_3_", "", "đ_1_x", "a_²_b", "X_-1_y"]:
        with pytest.raises(BadTicket):
            tickets.verify_stream_key(bad)
