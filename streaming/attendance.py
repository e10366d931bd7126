"""Who is here: what one gateway tells the bus about presence and visits.

Several times a second the visitors who came and went are reported, and once a second a sign of life.
After any doubt (no answer, the bus does not know us, the wire was down) everything is told again under a
new name; see `streaming.bus` for why that never counts anybody twice, and `streaming.visits` for visits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Iterable
from itertools import islice

from msgspec.structs import replace

from streaming import visits
from streaming.bus import CHUNK, Bus, BusAway
from streaming.protocol import now_ms
from streaming.visits import Visit

FLUSH_S = 0.25
ALIVE_S = 1.0
VISITS_AN_ENTRY = 500
VISITS_WAITING = 200_000  # while the wire is down; the oldest go first
RETOLD_MS = 10_000  # visits closed less long ago are told again after a doubt

_log = logging.getLogger(__name__)


class _Presence:
    """Visitors of one room on this gateway."""

    def __init__(self, name: str) -> None:
        self.name = name
        """Under which the bus knows us; a new one after every doubt."""
        self.former: list[str] = []
        """Names the bus may still have us under."""
        self.told = False
        self.known = False
        self.tabs: dict[str, int] = {}
        self.changed: set[str] = set()
        self.reported_at = 0.0


class Attendance:
    def __init__(self, bus: Bus) -> None:
        self.gateway = secrets.token_hex(6)
        self._bus = bus
        self._generation = 0
        self._rooms: dict[str, _Presence] = {}
        self._open: dict[str, Visit] = {}
        self._waiting: deque[Visit] = deque(maxlen=VISITS_WAITING)
        self._closed: deque[Visit] = deque(maxlen=VISITS_WAITING)
        self._number = 0

    # What happens

    def joined(self, room: str, visitor: str, source: str) -> str:
        """A viewer came; returns the id of the visit."""
        presence = self._rooms.get(room)
        if presence is None:
            presence = self._rooms[room] = _Presence(self._new_name())
        tabs = presence.tabs.get(visitor, 0)
        presence.tabs[visitor] = tabs + 1
        if tabs == 0:
            presence.changed.add(visitor)
        self._number += 1
        visit = Visit(
            id=f"{self.gateway}-{self._number:x}",
            room=room,
            visitor=visitor,
            source=source,
            gateway=presence.name,
            joined_ms=now_ms(),
        )
        self._open[visit.id] = visit
        self._waiting.append(visit)
        return visit.id

    def left(self, visit_id: str) -> None:
        visit = self._open.pop(visit_id)
        presence = self._rooms[visit.room]
        tabs = presence.tabs[visit.visitor] - 1
        if tabs:
            presence.tabs[visit.visitor] = tabs
        else:
            del presence.tabs[visit.visitor]
            presence.changed.add(visit.visitor)
        closed = replace(visit, gateway=presence.name, left_ms=now_ms())
        self._waiting.append(closed)
        self._closed.append(closed)

    def tabs(self, room: str, visitor: str) -> int:
        """Open sockets of a visitor in a room, on this gateway."""
        presence = self._rooms.get(room)
        return presence.tabs.get(visitor, 0) if presence else 0

    def doubt(self) -> None:
        """The wire was down: nobody knows what the bus still has of us."""
        for presence in self._rooms.values():
            presence.known = False

    # Telling

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_S)
            try:
                await self.flush()
            except BusAway:
                pass  # all is told again when it is back
            except Exception:
                _log.exception("could not report who is here")

    async def flush(self) -> None:
        """Report what has changed. Raises `BusAway`; the next call then tells everything."""
        while self._closed and (self._closed[0].left_ms or 0) < now_ms() - RETOLD_MS:
            self._closed.popleft()
        try:
            for room, presence in list(self._rooms.items()):
                await self._flush_room(room, presence)
            await self._tell_visits()
        except BaseException:
            self.doubt()
            raise

    async def leave(self) -> None:
        """Go: report the last visits and take ourselves out of every room."""
        await self._tell_visits()
        for room, presence in self._rooms.items():
            for name in (presence.name, *presence.former):
                await self._bus.leave(name, room)
        self._rooms.clear()

    async def _flush_room(self, room: str, presence: _Presence) -> None:
        now = asyncio.get_running_loop().time()
        if not presence.known:
            await self._tell_all(room, presence)
        elif presence.changed or now - presence.reported_at >= ALIVE_S:
            await self._tell_changes(room, presence)
        else:
            return
        presence.reported_at = now
        if not presence.tabs and not presence.changed:
            del self._rooms[room]
            await self._bus.leave(presence.name, room)

    async def _tell_changes(self, room: str, presence: _Presence) -> None:
        changed, presence.changed = presence.changed, set()
        for some in _chunks(changed) or [[]]:
            joined = [visitor for visitor in some if visitor in presence.tabs]
            left = [visitor for visitor in some if visitor not in presence.tabs]
            if not await self._bus.report(presence.name, room, joined, left):
                await self._tell_all(room, presence)
                return

    async def _tell_all(self, room: str, presence: _Presence) -> None:
        """Everything under a new name, then drop the old ones: nobody is missing in between."""
        presence.known = False
        if presence.told:
            presence.former.append(presence.name)
            presence.name = self._new_name()
            self._tell_visits_again(room, presence.name)
        presence.told = True
        presence.changed = set()
        for some in _chunks(presence.tabs) or [[]]:
            await self._bus.report(presence.name, room, some, [], first=True)
        while presence.former:
            await self._bus.leave(presence.former[-1], room)
            presence.former.pop()
        presence.known = True

    def _tell_visits_again(self, room: str, name: str) -> None:
        self._waiting.extend(replace(visit, gateway=name) for visit in self._closed if visit.room == room)
        for visit in [visit for visit in self._open.values() if visit.room == room]:
            self._open[visit.id] = replace(visit, gateway=name)
            self._waiting.append(self._open[visit.id])

    async def _tell_visits(self) -> None:
        while self._waiting:
            some: list[visits.Record] = list(islice(self._waiting, VISITS_AN_ENTRY))
            await self._bus.append(visits.VISITS, visits.encode(some))
            for _ in some:  # those told are at the left end; new ones have come in at the right
                self._waiting.popleft()

    def _new_name(self) -> str:
        self._generation += 1
        return f"{self.gateway}.{self._generation:06}"


def _chunks(items: Iterable[str]) -> list[list[str]]:
    rest = list(items)
    return [rest[i : i + CHUNK] for i in range(0, len(rest), CHUNK)]
