"""A session as its public page shows it, read at most once a second by each process however many ask."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from commerce.core.db import sessions
from commerce.core.spliced import Spliced
from commerce.live import queries
from commerce.live.models import LiveState
from commerce.live.queries import Line, SellerFacts, Session
from streaming.bus import Bus, BusAway
from streaming.protocol import Snapshot

FRESH_S = 1.0
RENEW_S = 0.5  # older than this is shown once more while it is read anew
KEPT = 500  # rooms remembered by a process: more than a province has on a day


@dataclass(frozen=True, slots=True)
class Room:
    session: Session
    lines: list[Line]
    sellers: dict[int, SellerFacts]
    snapshot: Snapshot
    bodies: dict[str, Spliced] = field(default_factory=dict)
    """Pages made from it, by language; they live as long as it does."""
    rendering: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rooms:
    """The process's memory of rooms. Read anew in the background while they are asked for, so that at any
    rate of asking nobody but the first waits for a reading."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[float, Room]] = {}
        self._reading: dict[str, asyncio.Task[Room]] = {}

    async def get(self, bus: Bus, code: str) -> Room:
        """At most a second old. Raises `SessionNotFound`."""
        code = code.upper()
        known = self._rooms.get(code)
        age = time.monotonic() - known[0] if known else FRESH_S
        if known is not None and age < RENEW_S:
            return known[1]
        task = self._reading.get(code)
        if task is None:
            task = self._reading[code] = asyncio.create_task(self._read(bus, code))
            task.add_done_callback(lambda done: self._finished(code, done))
        if known is not None and age < FRESH_S:
            return known[1]
        # Shielded: one who goes away must not take the answer from the others who wait for it.
        return await asyncio.shield(task)

    def forget(self, code: str) -> None:
        """After a change made here, so that whoever made it sees it: also not what is being read now."""
        self._rooms.pop(code.upper(), None)
        self._reading.pop(code.upper(), None)

    def clear(self) -> None:
        self._rooms.clear()
        self._reading.clear()

    async def _read(self, bus: Bus, code: str) -> Room:
        began = time.monotonic()
        room = await read_room(bus, code)
        if self._reading.get(code) is asyncio.current_task():
            if len(self._rooms) >= KEPT:
                self._rooms.clear()
            self._rooms[code] = (began, room)
        return room

    def _finished(self, code: str, task: asyncio.Task[Room]) -> None:
        if self._reading.get(code) is task:
            del self._reading[code]
        if not task.cancelled():
            task.exception()  # told to those who waited; a reading in the background is simply tried again


async def read_room(bus: Bus, code: str) -> Room:
    """What is true now: rows from PostgreSQL, viewers and seq from the wire (0 and stale without it)."""
    viewers, stale, seq = await _from_wire(bus, code)
    async with sessions.read() as db:
        session = await queries.by_code(db, code)
        lines = await queries.lineup(db, session)
        sellers = await queries.sellers(db, {line.seller_id for line in lines})
        live = session.state == LiveState.LIVE
        snapshot = await queries.snapshot(db, session, lines, viewers=viewers, stale=live and stale, seq=seq)
    return Room(session, lines, sellers, snapshot)


async def _from_wire(bus: Bus, code: str) -> tuple[int, bool, int]:
    """Read before the rows: what is published later has a greater seq and comes over the socket."""
    try:
        known = await bus.get_snapshot(code.upper())
    except (BusAway, ValueError):
        return 0, True, 0
    return (known.viewers, known.stale, known.seq) if known else (0, True, 0)


rooms = Rooms()
