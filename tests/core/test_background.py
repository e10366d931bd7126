"""What /readyz, /metrics and `doctor` say of the workers."""

from __future__ import annotations

import re
import time
from typing import Any

import httpx
from sqlalchemy import text

from commerce.core import heartbeat, outbox
from commerce.core.background import look
from commerce.core.db import Sessions
from commerce.core.doctor import check_background


async def beat(**figures: Any) -> None:
    now = time.time()
    await heartbeat.beat("worker@here:1", {"leads_since": now - 90, "ticked_at": now, **figures})


async def run(sessions: Sessions, statement: str) -> None:
    async with sessions.begin() as db:
        await db.execute(text(statement))


async def troubles() -> str:
    return "; ".join((await look()).troubles)


async def test_a_market_whose_worker_leads_is_well(client: httpx.AsyncClient, sessions: Sessions) -> None:
    await beat()
    await heartbeat.beat("worker@here:2", {"leads_since": None, "ticked_at": None})
    body = (await client.get("/readyz")).json()
    assert (body["background"]["workers"], body["background"]["leading"]) == (2, 1)
    assert body["background"]["troubles"] == []
    assert 0 <= body["background"]["tick_age_s"] < 10
    (finding,) = check_background(body, "look")
    assert finding.state == "ok"
    figures = (await client.get("/metrics")).text
    assert "chophien_workers 2.0" in figures
    assert "chophien_news_waiting 0.0" in figures


async def test_a_market_without_workers_serves_and_says_so(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 200, "pages are served and orders taken without workers"
    (trouble,) = answer.json()["background"]["troubles"]
    assert "no worker" in trouble
    (finding,) = check_background(answer.json(), "look")
    assert (finding.state, finding.mend) == ("wrong", "look")


async def test_a_worker_that_fell_silent_is_not_counted(sessions: Sessions) -> None:
    await beat()
    await run(sessions, "UPDATE heartbeat SET seen_at = now() - interval '1 minute'")
    assert (await look()).workers == 0


async def test_old_ticks_and_nobody_leading_are_troubles(sessions: Sessions) -> None:
    await beat(ticked_at=time.time() - 60)
    assert re.search(r"told [67]\d s ago", await troubles())
    await beat(ticked_at=None)
    assert re.search(r"told 9\d s ago", await troubles())
    await beat(ticked_at=None, leads_since=time.time())
    assert await troubles() == "", "who has just begun to lead has a moment"
    await beat(leads_since=None)
    assert "no worker leads" in await troubles()


async def test_news_that_waits_or_was_given_up_is_a_trouble(sessions: Sessions) -> None:
    await beat()
    async with sessions.begin() as db:
        for number in range(3):
            await outbox.emit(db, "news", {"n": number})
    assert await troubles() == "", "news of this moment is no trouble"
    await run(sessions, "UPDATE outbox SET due_at = now() + interval '1 minute' WHERE payload->>'n' = '0'")
    assert (await look()).news_late_s < 10
    await run(sessions, "UPDATE outbox SET due_at = now() - interval '1 minute' WHERE payload->>'n' = '1'")
    await run(sessions, "UPDATE outbox SET dead_at = now() WHERE payload->>'n' = '2'")
    said = await troubles()
    assert re.search(r"2 news wait, the oldest for [67]\d s; ", said)
    assert said.endswith("1 news could not be delivered and were given up")


async def test_without_postgresql_nothing_is_claimed(client: httpx.AsyncClient, monkeypatch: Any) -> None:
    async def away() -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr("commerce.core.background.look", away)
    body = (await client.get("/readyz")).json()
    assert body["background"] is None
    (finding,) = check_background(body, "look")
    assert finding.state == "wrong"
    assert "chophien_workers NaN" in (await client.get("/metrics")).text
