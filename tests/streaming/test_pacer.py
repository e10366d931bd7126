from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from itertools import pairwise

from streaming.pacer import MAX_INTERVAL, MIN_INTERVAL, Pacer
from streaming.protocol import Snapshot
from streaming.rooms import Room, Slice
from tests.streaming.stage import eventually


class Visits:
    """When each slice was visited; each visit may take a while of the loop."""

    def __init__(self) -> None:
        self.times: dict[Slice, list[float]] = {}
        self.takes_s = 0.0

    def __call__(self, place: Slice) -> None:
        self.times.setdefault(place, []).append(time.monotonic())
        if self.takes_s:
            time.sleep(self.takes_s)


@contextlib.asynccontextmanager
async def pacing(count: int) -> AsyncIterator[tuple[Pacer, Visits, list[Slice]]]:
    room = Room("X")
    room.load(Snapshot())
    visits = Visits()
    pacer = Pacer(visits)
    places = [Slice(room, False) for _ in range(count)]
    for place in places:
        pacer.add(place)
    task = asyncio.create_task(pacer.run())
    try:
        yield pacer, visits, places
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_everybody_has_a_turn_every_interval_and_turns_are_spread() -> None:
    async with pacing(10) as (_, visits, places):
        await asyncio.sleep(2.3)
        assert set(visits.times) == set(places)
        for times in visits.times.values():
            assert 2 <= len(times) <= 4
            assert all(b - a < MAX_INTERVAL for a, b in pairwise(times))
        firsts = sorted(times[0] for times in visits.times.values())
        assert firsts[-1] - firsts[0] > 0.5 * MIN_INTERVAL


async def test_news_does_not_wait_for_its_turn_and_comes_together_when_it_comes_often() -> None:
    async with pacing(10) as (pacer, visits, places):
        await asyncio.sleep(0.05)
        before = {place: len(times) for place, times in visits.times.items()}
        began = time.monotonic()
        for _ in range(40):  # one second of news every 25 ms
            pacer.hurry(places)
            await asyncio.sleep(0.025)
        took = time.monotonic() - began
        for place in places:
            new = len(visits.times[place]) - before.get(place, 0)
            assert 2 <= new <= 4 * took / MIN_INTERVAL + took / MIN_INTERVAL + 2


async def test_the_wheel_slows_down_under_load_and_comes_back() -> None:
    async with pacing(10) as (pacer, visits, _):
        visits.takes_s = 0.15  # a second and a half of work in every turn
        await eventually(lambda: pacer.interval >= 1.5, 15)
        assert pacer.interval <= MAX_INTERVAL
        visits.takes_s = 0.0
        high = pacer.interval
        await eventually(lambda: pacer.interval < high, 10)


async def test_others_have_the_loop_between_slices() -> None:
    async with pacing(10) as (pacer, _, places):
        turns = 0
        seen: list[int] = []

        def visit(_: Slice) -> None:
            seen.append(turns)
            time.sleep(0.005)

        pacer._visit = visit

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        await asyncio.sleep(0.01)
        seen.clear()
        pacer.hurry(places)
        await eventually(lambda: len(seen) >= 10)
        task.cancel()
        assert len(set(seen)) >= 9  # somebody else ran after nearly every slice


async def test_slices_come_and_go_in_the_middle_of_a_turn() -> None:
    async with pacing(6) as (pacer, visits, places):
        await asyncio.sleep(0.5)
        pacer.hurry(places)
        pacer.remove(places[0])
        pacer.remove(places[5])
        new = Slice(places[0].room, False)
        pacer.add(new)
        gone = {place: len(visits.times.get(place, [])) for place in (places[0], places[5])}
        await asyncio.sleep(2.2)
        assert {place: len(visits.times.get(place, [])) for place in gone} == gone
        for place in (*places[1:5], new):
            assert len(visits.times[place]) >= 2
