"""When each slice of viewers is written to.

Ticks go round like a wheel: one turn takes `interval` seconds and every slice has its own moment in it, so
that a process with 20,000 viewers writes a little all the time instead of all at once. Whoever's turn it is
gets the newest counts there are, so a tick is never older than the last one published, however slow the
wheel. Other news does not wait for the wheel: slices with news go first, one after another, with the loop
free for others in between, and not more often than four times a turn, so that what happens meanwhile goes
out together.

The interval is one second while the process keeps up. A wheel that is behind its schedule, because this
process or the machine has too much to do, turns slower, up to MAX_INTERVAL; it comes back step by step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from streaming.rooms import Slice

MIN_INTERVAL = 1.0
MAX_INTERVAL = 4.0
"""Seconds; with the lateness of an overloaded machine still under the promised five."""
SHORTEST_S = 0.005  # sleep: what comes due within it is done together
BURST_S = 0.004  # writing without letting others have the loop
BEHIND = 0.1  # of a turn: more than this late and the wheel slows down
STRETCH = 1.25
RELAX = 0.95  # a turn, while nothing is late


class Pacer:
    """Calls `visit` for every slice when its time has come."""

    def __init__(self, visit: Callable[[Slice], None]) -> None:
        self.interval = MIN_INTERVAL
        self.late_s = 0.0
        """By how much the wheel was behind in its last full turn, at most."""
        self._visit = visit
        self._slices: list[Slice] = []
        self._urgent: dict[Slice, None] = {}
        self._wake = asyncio.Event()
        self._position = 0
        self._turn_from = 0.0
        self._worst = 0.0

    def add(self, place: Slice) -> None:
        self._slices.append(place)

    def remove(self, place: Slice) -> None:
        index = self._slices.index(place)
        del self._slices[index]
        if index < self._position:
            self._position -= 1
        self._urgent.pop(place, None)

    def hurry(self, places: Iterable[Slice]) -> None:
        """There is news for these."""
        self._urgent.update(dict.fromkeys(places))
        self._wake.set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        self._turn_from = loop.time()
        while True:
            alarm = loop.call_at(self._next_due(loop.time()), self._wake.set)
            await self._wake.wait()
            alarm.cancel()
            self._wake.clear()
            await self._send_news()
            await self._turn()

    def _next_due(self, now: float) -> float:
        """When there is something to do again, in loop time: on the wheel, or for news held back."""
        count = len(self._slices)
        part = self._position / count if self._position < count else 1.0
        wheel = self._turn_from + part * self.interval
        news = min((place.visited for place in self._urgent), default=now) + self._news_gap
        return max(now + SHORTEST_S, min(wheel, news) if self._urgent else wheel)

    @property
    def _news_gap(self) -> float:
        return self.interval / 4

    async def _send_news(self) -> None:
        now = asyncio.get_running_loop().time()
        due = [place for place in self._urgent if place.visited <= now - self._news_gap]
        for place in due:
            del self._urgent[place]
            place.visited = now
        await self._write(due)

    async def _turn(self) -> None:
        """Visit those whose moment has come since the last time."""
        loop = asyncio.get_running_loop()
        count = len(self._slices)
        progress = (loop.time() - self._turn_from) / self.interval
        due = self._slices[self._position : int(progress * count) + 1]
        if count:
            self._worst = max(self._worst, progress - self._position / count)
        self._position += len(due)
        await self._write(due)
        if progress >= 1 and self._position >= len(self._slices):
            self._next_turn(loop.time())

    def _next_turn(self, now: float) -> None:
        self.late_s = self._worst * self.interval
        overdue = now - self._turn_from - self.interval
        if self._worst > BEHIND:
            self.interval = min(MAX_INTERVAL, self.interval * STRETCH)
        else:
            self.interval = max(MIN_INTERVAL, self.interval * RELAX)
        self._turn_from = now - min(overdue, 2 * SHORTEST_S)
        self._position = 0
        self._worst = 0.0

    async def _write(self, places: list[Slice]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        for place in places:
            self._visit(place)
            if loop.time() - started > BURST_S:
                await asyncio.sleep(0)
                started = loop.time()
