"""What a host is told after a rehearsal."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from streaming.video import quality
from streaming.video.quality import Quality, advise
from streaming.video.wire import News
from tests.streaming.video.recordings import record
from tests.streaming.video.stage import Host, Stage, eventually, stage


@pytest.fixture
async def on_stage(engines: Any, valkey_url: str, s3_bucket: str) -> AsyncIterator[Stage]:
    async with stage(engines.environment()) as made:
        yield made


GOOD: dict[str, Any] = {"width": 720, "height": 1280, "frames_per_s": 30, "level_db": -22, "brightness": 120}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({}, None),
        ({"level_db": -60}, "quiet"),
        ({"level_db": -1}, "loud"),
        ({"brightness": 20}, "dark"),
        ({"brightness": 250}, "glaring"),
        ({"width": 180, "height": 320}, "small"),
        ({"frames_per_s": 5}, "jerky"),
        ({"key_every_s": 6}, "key_frames"),
        ({"brightness": -1}, None),  # not looked at yet
    ],
)
def test_one_fault_one_piece_of_advice(fault: dict[str, Any], code: str | None) -> None:
    counted = Quality()
    for _ in range(60):
        counted.count(News("X", "stats", **{**GOOD, **fault}), was_on=True)
    assert [advice.code for advice in advise(counted)] == ([code] if code else [])


def test_a_fault_that_passes_is_not_worth_a_word() -> None:
    counted = Quality()
    for second in range(100):
        counted.count(News("X", "stats", **{**GOOD, "brightness": 20 if second < 15 else 120}), was_on=True)
    assert advise(counted) == []


def test_gaps_are_counted_once_each() -> None:
    counted = Quality()
    for second in range(60):
        gap = 20 <= second < 26 or 40 <= second < 43
        news = News("X", "gap" if gap else "stats", **GOOD, gap_s=3)
        counted.count(news, was_on=second in (20, 40))
    assert (counted.gaps, counted.gap_seconds) == (2, 9)
    assert [advice.code for advice in advise(counted)] == ["gaps"]


async def test_a_dark_and_quiet_rehearsal(on_stage: Stage) -> None:
    host = Host(on_stage, record(seconds=8, bright=0, loud=0.001, size=(640, 360)))
    async with host.line() as line:
        await host.go()
        await host.record(line, len(host.chunks))
        await host.stop(line)
    await on_stage.studio.end(on_stage.session)
    await eventually(lambda: on_stage.archive.size(f"video/{on_stage.session}/quality.json"))
    counted = await quality.load(on_stage.archive, on_stage.session)
    assert counted.seconds >= 6
    assert {"quiet", "dark"} <= {advice.code for advice in advise(counted)}
