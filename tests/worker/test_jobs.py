"""Housekeeping, and that nothing is emitted that nobody hears."""

from __future__ import annotations

import ast
import asyncio
from datetime import timedelta
from importlib import import_module
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, text

from commerce.accounts.models import SignIn
from commerce.core import clock, heartbeat
from commerce.core.db import Sessions
from commerce.core.heartbeat import Heartbeat
from commerce.core.outbox import OutboxMessage
from commerce.live.news import Newsroom
from commerce.orders.models import IdempotencyKey
from commerce.worker import JOBS, Job, run_jobs, topics
from streaming.bus import Bus
from tests import factories
from tests.live.scene import nowhere

ROOT = Path(__file__).parents[2]


def emitted() -> set[str]:
    """Topics of all calls of `emit`, as the source says."""
    found: set[str] = set()
    for path in (ROOT / "commerce").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or len(call.args) < 3:
                continue
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name != "emit":
                continue
            topic = call.args[1]
            if isinstance(topic, ast.Constant):
                found.add(str(topic.value))
            elif isinstance(topic, ast.Name):
                module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                found.add(getattr(import_module(module), topic.id))
            else:
                raise AssertionError(f"{path}: a topic that cannot be read: {ast.dump(topic)}")
    return found


async def test_every_topic_that_is_emitted_is_heard(bus: Bus) -> None:
    found = emitted()
    assert {"live.changed", "live.ordered"} <= found
    assert found <= set(topics(Newsroom(bus), nowhere, nowhere))


async def test_what_is_old_is_forgotten_and_the_rest_stays(sessions: Sessions) -> None:
    now = clock.now()
    async with sessions.begin() as db:
        person = await factories.person(db)
        for hours in (1, 25):
            at = now - timedelta(hours=hours)
            key = {"key": f"{hours}", "body_hash": "", "purchase_id": 1, "answer": {}, "at": at}
            await db.execute(insert(IdempotencyKey).values(**key))
            days = timedelta(days=hours)
            await db.execute(
                insert(SignIn).values(token_hash=f"{hours}", person_id=person, expires_at=now - days)
            )
            await db.execute(
                insert(OutboxMessage).values(topic="old news", payload={}, dead_at=now - 2 * days)
            )
    for job in JOBS:
        if job.name.startswith("forget"):
            await job.do()
    async with sessions.read() as db:
        assert list(await db.scalars(select(IdempotencyKey.key))) == ["1"]
        assert list(await db.scalars(select(SignIn.token_hash))) == ["1"]
        assert await db.scalar(select(func.count(OutboxMessage.id))) == 1


async def test_a_job_that_fails_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    async def broken() -> None:
        done.append("broken")
        raise ZeroDivisionError

    async def sound() -> None:
        done.append("sound")

    jobs = [Job("broken", 0.5, broken), Job("sound", 3600, sound)]
    task = asyncio.create_task(run_jobs(jobs))
    await asyncio.sleep(1.3)
    task.cancel()
    assert done[:2] == ["broken", "sound"]
    assert done.count("sound") == 1
    assert done.count("broken") == 2


async def test_every_job_runs_on_an_empty_market(sessions: Sessions) -> None:
    for job in JOBS:
        await job.do()


async def test_a_silent_process_is_not_counted_as_alive(sessions: Sessions) -> None:
    await heartbeat.beat("worker@a:1", {"leads_since": 1.0})
    await heartbeat.beat("worker@b:2", {"leads_since": None})
    await heartbeat.beat("worker@b:2", {"leads_since": 1.0})
    async with sessions.begin() as db:
        await db.execute(
            text("UPDATE heartbeat SET seen_at = now() - interval '1 minute' WHERE name = 'worker@a:1'")
        )
        beats = await heartbeat.alive(db, "worker")
    assert [(beat.name, beat.figures) for beat in beats] == [("worker@b:2", {"leads_since": 1.0})]
    async with sessions.begin() as db:
        await db.execute(text("UPDATE heartbeat SET seen_at = now() - interval '2 days'"))
    await heartbeat.beat("worker@c:3", {})
    async with sessions.read() as db:
        assert list(await db.scalars(select(Heartbeat.name))) == ["worker@c:3"]
