"""The host without a phone, and the bench that is made of such hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streaming.video import bench
from streaming.video.errors import Moved
from streaming.video.index import stored_names
from streaming.video.media import SECOND
from streaming.video.synthetic import RATE, Loop, Sender
from tests.streaming.video.packaging import numbers, package, sound_times
from tests.streaming.video.recordings import picture
from tests.streaming.video.stage import Stage, config_for, eventually, stage

FPS, LOOP_S = 15, 4


def loop(codec: str = "libx264") -> Loop:
    def pictures() -> Iterator[npt.NDArray[np.uint8]]:
        return (picture(number, 320, 240) for number in range(FPS * LOOP_S))

    return Loop(
        pictures(), np.zeros(RATE * LOOP_S, np.float32), fps=FPS, bits_per_second=300_000, codec=codec
    )


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment()) as made:
        yield made


@pytest.mark.parametrize("codec", ["libx264", "libvpx"])
def test_a_loop_has_no_seam(codec: str) -> None:
    made = loop(codec)
    data = made.header() + b"".join(made.between(at, at + 170_000) for at in range(0, 10 * SECOND, 170_000))
    packaged = package(data)
    assert packaged.skipped == 0
    seen = numbers(packaged.file())
    assert seen[: 9 * FPS] == [number % (FPS * LOOP_S) for number in range(9 * FPS)]
    times = sound_times(packaged.file())
    assert {b - a for a, b in pairwise(times)} == {1024}


async def test_a_sender_goes_on_after_every_break(on_stage: Stage) -> None:
    async def address() -> str:
        return await on_stage.studio.ingest_address(on_stage.session)

    sending = asyncio.create_task(Sender(loop(), address).run())
    await eventually(lambda: _stored(on_stage, 3), within_s=15)
    sessions = on_stage.sessions
    assert sessions
    await sessions.give_up(on_stage.session, Moved())
    await eventually(lambda: _stored(on_stage, 8), within_s=20)
    sending.cancel()
    names = await stored_names(on_stage.archive, on_stage.session, "main")
    assert [name.sequence for name in names] == list(range(len(names)))
    assert not any(name.discontinuity for name in names)
    for before, after in pairwise(names):
        assert before.start_us + before.duration_us == after.start_us


async def _stored(made: Stage, count: int) -> bool:
    return len(await stored_names(made.archive, made.session, "main")) >= count


def test_the_bench_says_what_it_measured(engines: Any, valkey_url: str, s3_bucket: str) -> None:
    said: list[str] = []
    line = bench.main(2, 4, config_for(engines.environment()), say=said.append)
    assert said
    assert line["streams"] == 2
    assert 0.001 < line["cpu_per_stream"] < 0.5
    assert 0.0001 < line["floor_cpu_per_stream"] < line["cpu_per_stream"]
    assert line["segments"] >= 6
    assert line["latency_ms"] >= 1
    assert line["late_segments"] <= line["segments"]
