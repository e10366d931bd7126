"""The simulated public of a rehearsal, so that the console moves as it will on the day.

Guests come through the live socket and are counted like any viewer, ask as people ask, and pretend to order:
a pretended order moves the counts and shows on the console, and takes no stock, no seller's time and no row
among the orders. Rehearsals are in no measure, so nothing of it reaches a figure anybody trusts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
from dataclasses import dataclass, field

import structlog
from sqlalchemy import select, update
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import MarketError
from commerce.core.settings import Settings
from commerce.core.text import mask_name
from commerce.live import comments, queries
from commerce.live.models import LiveCounter, LiveSession, LiveState
from commerce.live.queries import Line, Session
from commerce.live.visitors import live_url
from streaming import protocol
from streaming.bus import Bus, BusAway, staff_room

GUESTS = 24
COME_WITHIN_S = 40.0
TALK_EVERY_S = (4.0, 9.0)
BUY_EVERY_S = (9.0, 18.0)
LOOK_EVERY_S = 2.0
AGAIN_S = 3.0
SOURCE = "rehearsal"

NAMES = (
    "Cô Lan",
    "Chú Hùng",
    "Mẹ Bống",
    "Anh Tuấn",
    "Chị Mai",
    "Bé Na",
    "H'Ni",
    "Y Thịnh",
    "Bà Sáu",
    "Thầy Nam",
)
SAYINGS = (
    "Cho em hỏi giá với ạ",
    "Hàng hái hôm nào vậy cô?",
    "Ship về Sài Gòn mấy ngày tới?",
    "Nghe rõ lắm cô ơi",
    "Quay gần cho xem với ạ",
    "Có giấy tờ gì không chị?",
    "Loại A khác loại B chỗ nào ạ?",
    "Nhìn ngon quá!",
    "Được kiểm hàng rồi mới trả tiền không?",
    "chốt {code} 2 sđt 0900 000 {n:03d}",
)

log = structlog.get_logger()


@dataclass
class Crowd:
    """The worker's part that fills rehearsals; one leads."""

    settings: Settings
    bus: Bus
    dice: random.Random = field(default_factory=lambda: random.Random(secrets.randbits(64)))  # noqa: S311
    _rooms: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            while True:
                try:
                    await self._look()
                except Exception as error:  # an engine is away: the next look may be better
                    log.warning("rehearsals_unknown", error=repr(error)[:200])
                await asyncio.sleep(LOOK_EVERY_S)
        finally:
            for room in self._rooms.values():
                room.cancel()
            await asyncio.gather(*self._rooms.values(), return_exceptions=True)
            self._rooms.clear()

    async def _look(self) -> None:
        """Crowds come to rehearsals that are on air, and leave those that are not any more."""
        query = select(LiveSession.code).where(LiveSession.rehearsal, LiveSession.state == LiveState.LIVE)
        async with sessions.read() as db:
            live = set(await db.scalars(query))
        for code in [code for code, task in self._rooms.items() if code not in live or task.done()]:
            room = self._rooms.pop(code)
            room.cancel()
            if room.done() and not room.cancelled():
                log.warning("rehearsal_crowd_left", session=code, error=repr(room.exception())[:200])
        for code in live - self._rooms.keys():
            self._rooms[code] = asyncio.create_task(self._fill(code))

    async def _fill(self, code: str) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(GUESTS):
                group.create_task(self._watch(code, f"rehearsal-{number:02d}-{secrets.token_hex(4)}"))
            group.create_task(self._talk(code))
            group.create_task(self._buy(code))

    async def _watch(self, code: str, visitor: str) -> None:
        await asyncio.sleep(self.dice.uniform(0, COME_WITHIN_S))
        while True:
            session = await self._session(code)
            address = live_url(self.settings, session, visitor, SOURCE) if session else ""
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                if address:
                    async with connect(address, compression=None, proxy=None, close_timeout=1) as socket:
                        async for _ in socket:
                            pass
            await asyncio.sleep(AGAIN_S)

    async def _talk(self, code: str) -> None:
        for number in itertools.count():
            await asyncio.sleep(self.dice.uniform(*TALK_EVERY_S))
            saying = self.dice.choice(SAYINGS).format(code="A1", n=number % 1000)
            with contextlib.suppress(MarketError):  # ended this moment
                await comments.say(code, f"rehearsal-{number % GUESTS:02d}", self.dice.choice(NAMES), saying)

    async def _buy(self, code: str) -> None:
        for number in itertools.count(1):
            await asyncio.sleep(self.dice.uniform(*BUY_EVERY_S))
            with contextlib.suppress(BusAway):
                await self._pretend(code, number)

    async def _pretend(self, code: str, number: int) -> None:
        """An order that is none: counted in this session and shown on its console, and nowhere else."""
        session = await self._session(code)
        if session is None:
            return
        async with sessions.read() as db:
            lines = [line for line in await queries.lineup(db, session) if line.unit != "tonne"]
        if not lines:
            return
        line, quantity = self._choose(lines), self.dice.choice((1, 1, 2, 2, 3, 5))
        total = line.price_now * quantity
        async with sessions.begin() as db:
            await db.execute(
                update(LiveCounter)
                .where(LiveCounter.live_session_id == session.id)
                .values(
                    orders=LiveCounter.orders + 1,
                    units=LiveCounter.units + quantity,
                    gmv=LiveCounter.gmv + total,
                )
            )
        sold = {"code": line.code, "product": line.product, "grade": line.grade, "unit": line.unit}
        frame = protocol.Order(
            code=f"THU{number}",
            name=mask_name(self.dice.choice(NAMES)),
            lines=[sold | {"quantity": quantity}],
            total=total,
            at=clock.unix_ms(clock.now()),
        )
        await self.bus.publish(staff_room(code), frame)

    def _choose(self, lines: list[Line]) -> Line:
        """What is pinned draws most."""
        weights = [8 if line.pinned else 3 if line.deal else 1 for line in lines]
        return self.dice.choices(lines, weights)[0]

    @staticmethod
    async def _session(code: str) -> Session | None:
        """None when it is not on air any more."""
        async with sessions.read() as db:
            found = await queries.by_code(db, code)
        return found if found.state == LiveState.LIVE else None
