"""Web processes as in production: one key is one order at all of them; one that is asked to stop answers
everybody who waits; a full desk says so."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import httpx
import pytest
from sqlalchemy import text

from commerce.core.db import sessions
from commerce.orders import desk as desks
from tests.orders.hands import served
from tests.orders.market import ledger_is_right, one, open_market, order_body
from tests.streaming.stage import eventually

URL = "/api/v1/live-sessions/EAKNUEC/orders"
LOCK = text("SELECT 1 FROM stock FOR UPDATE")
BLOCKED = """
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'chophien desk'
        AND wait_event_type = 'Lock' AND datname = current_database()
"""
WAITERS = 60


async def send(client: httpx.AsyncClient, key: str) -> httpx.Response:
    return await client.post(URL, json=order_body(), headers={"Idempotency-Key": key})


@pytest.mark.usefixtures("sessions")
async def test_one_key_at_two_processes_is_one_order(environ: dict[str, str]) -> None:
    await open_market(A1=100)
    async with served(environ, processes=2) as web:
        for key in ("a", "b", "c"):
            # As many connections as requests: the kernel spreads them over the processes.
            async with httpx.AsyncClient(base_url=web.url, timeout=60) as crowd:
                answers = await asyncio.gather(*(send(crowd, key) for _ in range(30)))
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.text for answer in answers}) == 1
    assert await one('SELECT count(*) FROM "order"') == 3
    assert await ledger_is_right()


async def at_the_desk(client: httpx.AsyncClient) -> int:
    """Orders that the process has taken in so far: waiting, or in a batch."""
    said = (await client.get("/metrics")).text
    names = ("chophien_orders_waiting", "chophien_order_batch_sum")
    found = [re.search(rf"^{name} (\S+)", said, re.MULTILINE) for name in names]
    return sum(int(float(number[1])) for number in found if number)


async def deaf(url: str) -> bool:
    """No new connection is taken."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    except ConnectionError:
        return True
    writer.close()
    return False


@pytest.mark.usefixtures("sessions")
async def test_a_process_that_is_asked_to_stop_answers_everybody_who_waits(environ: dict[str, str]) -> None:
    await open_market(A1=100)
    async with (
        served(environ, processes=1) as web,
        httpx.AsyncClient(base_url=web.url, timeout=60) as crowd,
        httpx.AsyncClient(base_url=web.url, timeout=60) as onlooker,
    ):
        async with sessions.begin() as db:
            await db.execute(LOCK)  # the desk waits for us
            asked = [asyncio.create_task(send(crowd, f"k{number}")) for number in range(WAITERS)]

            async def all_there() -> bool:
                return await at_the_desk(onlooker) == WAITERS

            await eventually(all_there, within=60)
            web.processes[0].terminate()
            await eventually(lambda: deaf(web.url), within=60)
        statuses = Counter(answer.status_code for answer in await asyncio.gather(*asked))
        assert set(statuses) <= {201, 503}, "an answer for everybody, of a very busy machine a refusal"
        await asyncio.to_thread(web.processes[0].wait, 20)
    assert await one('SELECT count(*) FROM "order"') == statuses[201] > 0
    assert await ledger_is_right()


async def test_a_full_desk_says_when_to_come_again(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "MAX_WAITING", 3)
    monkeypatch.setattr(desks, "PATIENCE_S", 60.0)
    await open_market(A1=100)

    async with sessions.begin() as db:
        await db.execute(LOCK)
        asked = [asyncio.create_task(send(client, "first"))]
        await eventually(lambda: one(BLOCKED), within=60)
        asked += [asyncio.create_task(send(client, f"k{number}")) for number in range(3)]
        await eventually(lambda: desks.desk.waiting == 3, within=60)
        refused = await send(client, "one too many")
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert int(refused.headers["retry-after"]) > 0
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {201}
    assert (await send(client, "one too many")).status_code == 201
    assert await one('SELECT count(*) FROM "order"') == 5
