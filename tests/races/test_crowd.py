"""A crowd at real processes: 100 in stock, 5,000 buyers at once, two web processes; then with kills.

Every buyer does what the page does: on no answer, 5xx or "busy" the same order is sent again with its key.
A kill comes in the middle however fast the market or slow the machine is: half of the buyers are there and
the first of them has an answer; the other half comes while it dies.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from commerce.catalog import stock
from commerce.core.db import sessions
from commerce.core.embedded import temporary_folder
from commerce.core.embedded.folder import port_is_free
from commerce.core.supervisor import Market, Plan
from tests.orders.market import ledger_is_right, one, open_market, order_body

BUYERS = 5_000
IN_STOCK = 100
MUCH = 3_000
TRIES = 200
PORTS = range(26_100, 26_400, 10)


@pytest.fixture
def market() -> Iterator[Market]:
    port = next(port for port in PORTS if all(port_is_free(port + i) for i in range(5)))
    with temporary_folder() as folder:
        plan = Plan(folder, port=port, web=2, gateways=0, workers=0, video=0)
        with Market(plan, environ={"PATH": os.environ["PATH"]}) as running:
            yield running


@dataclass
class Crowd:
    port: int
    answers: Counter[str] = field(default_factory=Counter)
    """by code: `placed`, `sold_out`, or what else came last"""
    codes: list[str] = field(default_factory=list)
    unclear: Counter[int] = field(default_factory=Counter)
    """statuses after which a buyer had to ask again; 0: no answer"""
    kill: Callable[[], None] | None = None
    """called when the first order was answered 201, before anybody else gets to run"""
    killed: asyncio.Event = field(default_factory=asyncio.Event)

    async def buy(self, number: int) -> None:
        if self.kill is not None and number % 2:
            await self.killed.wait()
        body = order_body(A1=1)
        body["buyer"]["phone"] = f"09{number:08d}"
        key = uuid.uuid4().hex
        for attempt in range(TRIES):
            status, answer = await self.send(json.dumps(body).encode(), key)
            if status == 201:
                self.codes.append(answer["orders"][0]["code"])
                self.answers["placed"] += 1
                if self.kill is not None and not self.killed.is_set():
                    self.kill()
                    self.killed.set()
                break
            if 400 <= status < 500:
                self.answers[answer["code"]] += 1
                break
            self.unclear[status] += 1
            await asyncio.sleep(0.1 + 0.01 * attempt)
        else:
            self.answers[f"gave up after {status}"] += 1

    async def send(self, body: bytes, key: str) -> tuple[int, dict[str, Any]]:
        """(status, answer); (0, {}) when the line broke."""
        head = (
            f"POST /api/v1/live-sessions/EAKNUEC/orders HTTP/1.1\r\nHost: market\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(head.encode() + body)
                raw = await asyncio.wait_for(reader.read(), 30)
            finally:
                writer.close()
            top, _, rest = raw.partition(b"\r\n\r\n")
            return int(top[9:12]), json.loads(rest)
        except (OSError, TimeoutError, ValueError):
            return 0, {}

    async def all_buy(self, buyers: int = BUYERS) -> None:
        await asyncio.gather(*(self.buy(number) for number in range(buyers)))


async def check_the_books(*crowds: Crowd, sold: int, left: int) -> None:
    codes = [code for crowd in crowds for code in crowd.codes]
    assert len(set(codes)) == len(codes) == sold, "one order answered to two buyers"
    missing = (
        'SELECT count(*) FROM unnest(CAST(:codes AS text[])) c WHERE c NOT IN (SELECT code FROM "order")'
    )
    assert await one(missing, codes=codes) == 0, "answered 201 and lost"
    assert await one('SELECT count(*) FROM "order"') == sold
    assert await one("SELECT on_hand - reserved FROM stock") == left
    assert await one("SELECT orders FROM live_counter") == sold
    assert await one("SELECT count(*) FROM payment") == sold
    assert await ledger_is_right()


@pytest.fixture
async def goods(market: Market) -> AsyncIterator[int]:
    """The grade that everybody wants."""
    sessions.configure(market.environment()["CHOPHIEN_DATABASE_URL"])
    yield (await open_market(A1=IN_STOCK)).goods["A1"].grade_id
    await sessions.close()


async def test_5000_buyers_for_100_units(market: Market, goods: int) -> None:
    crowd = Crowd(market.plan.port)
    await crowd.all_buy()
    assert crowd.answers == {"placed": IN_STOCK, "sold_out": BUYERS - IN_STOCK}
    assert not crowd.unclear, "nobody had to ask twice"
    await check_the_books(crowd, sold=IN_STOCK, left=0)


@pytest.mark.parametrize("victim", ["web-1", "postgres"])
async def test_a_kill_in_the_middle_loses_and_doubles_nothing(
    market: Market, goods: int, victim: str
) -> None:
    """First with 100 units, which are soon gone; then with so many that orders are placed before, while and
    after the process dies."""

    def kill() -> None:
        os.kill(market.pids()[victim], signal.SIGKILL)

    for_few, for_many = Crowd(market.plan.port, kill=kill), Crowd(market.plan.port, kill=kill)
    await for_few.all_buy()
    assert for_few.killed.is_set()
    assert for_few.answers == {"placed": IN_STOCK, "sold_out": BUYERS - IN_STOCK}
    await check_the_books(for_few, sold=IN_STOCK, left=0)

    while victim not in market.pids():  # noqa: ASYNC110 - the supervisor has no event for it
        await asyncio.sleep(0.1)
    async with sessions.begin() as db:
        await stock.receive(db, goods, MUCH)
    await for_many.all_buy()
    assert for_many.killed.is_set()
    assert for_many.answers == {"placed": MUCH, "sold_out": BUYERS - MUCH}
    await check_the_books(for_few, for_many, sold=IN_STOCK + MUCH, left=0)
