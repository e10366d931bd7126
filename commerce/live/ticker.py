"""The counts of every room, once a second, by one process of the market (core.leader).

Nothing is accumulated here: orders and units are read from the committed counters, viewers from presence, so
whatever crashed is right again at the next tick. What changes by the clock alone (a deal that ends) is
noticed here as well, and a leader that takes over brings every room into line with what is true.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from commerce.core.db import sessions
from commerce.live import queries
from commerce.live.news import News, Newsroom
from commerce.live.queries import Pulse
from streaming import protocol

INTERVAL_S = 1.0
RESTATE_EVERY = 60
"""Ticks between two comparisons of a room with its rows: a net under all that could go wrong in between."""

log = structlog.get_logger()


class Ticker:
    def __init__(self, newsroom: Newsroom) -> None:
        self.newsroom = newsroom
        self.bus = newsroom.bus
        self._viewers: dict[str, int] = {}
        """The last number known of each room, said again as stale while presence is unknown."""
        self._deals: dict[int, tuple[int, ...]] = {}
        self._well = True
        self.ticked_at: float | None = None
        """Unix time of the last whole tick of this process."""

    async def run(self) -> None:
        """Until cancelled. A second that cannot be ticked is left out; the beat does not move for it."""
        loop = asyncio.get_running_loop()
        self._deals.clear()
        beat = loop.time()
        number = 0
        while True:
            try:
                await self.tick(number)
                self._well, self.ticked_at = True, time.time()
            except Exception as error:  # an engine is away: the next second may be better
                if self._well:
                    log.warning("not_ticked", error=repr(error)[:200])
                self._well = False
                self._deals.clear()  # so that every room is restated when it is
            number += 1
            beat += INTERVAL_S
            if loop.time() > beat + INTERVAL_S:
                beat = loop.time()  # a long stop is not made up for with a burst
            await asyncio.sleep(max(0.0, beat - loop.time()))

    async def tick(self, number: int = 0) -> None:
        """One round. Raises what the engines raise."""
        async with self.newsroom.turn:
            async with sessions.read() as db:
                pulses = await queries.pulses(db)
            viewers = await self.bus.viewers(pulse.code for pulse in pulses)
            await self._recall([code for code, count in viewers.items() if count is None])
            unknown = await asyncio.gather(*(self._publish(pulse, viewers[pulse.code]) for pulse in pulses))
        restate = {pulse.live_session_id for pulse, lost in zip(pulses, unknown, strict=True) if lost}
        restate |= {pulse.live_session_id for pulse in pulses if self._is_due(pulse, number)}
        await self._tell_deals(pulses, restate)
        if restate:
            await self.newsroom.restate(restate)

    async def _recall(self, rooms: list[str]) -> None:
        """What the leader before this one counted last, for rooms that cannot be counted just now."""
        for room in rooms:
            if room not in self._viewers:
                known = await self.bus.get_snapshot(room)
                self._viewers[room] = known.viewers if known else 0

    async def _publish(self, pulse: Pulse, viewers: int | None) -> bool:
        """True when the wire has no snapshot of the room."""
        if viewers is not None:
            self._viewers[pulse.code] = viewers
        tick = protocol.Tick(
            viewers=self._viewers.get(pulse.code, 0),
            orders=pulse.orders,
            units=pulse.units,
            stale=viewers is None,
        )
        return not (await self.bus.publish(pulse.code, tick)).complete

    def _is_due(self, pulse: Pulse, number: int) -> bool:
        """New to this leader, or its turn in a long round that spreads the rooms over the seconds."""
        new = pulse.live_session_id not in self._deals
        return new or (number + pulse.live_session_id) % RESTATE_EVERY == 0

    async def _tell_deals(self, pulses: list[Pulse], restated: set[int]) -> None:
        """Rooms in which a deal began or ended since the last tick, by the clock or by its last unit."""
        changed = {
            pulse.live_session_id: News(parts={"deal"})
            for pulse in pulses
            if self._deals.get(pulse.live_session_id, ()) != pulse.deals
            and pulse.live_session_id not in restated
        }
        self._deals = {pulse.live_session_id: pulse.deals for pulse in pulses}
        known = {pulse.code for pulse in pulses}
        self._viewers = {code: count for code, count in self._viewers.items() if code in known}
        if changed:
            await self.newsroom.tell(changed)
