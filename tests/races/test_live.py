"""Two thumbs at once on one session. Each guard has a twin without it, in which the race must happen."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.live import service
from commerce.live.checklist import ONE_VOICE, checklist
from commerce.live.errors import NotReady
from commerce.live.models import Deal, LiveSession, LiveSessionHistory, LiveState, Pin
from commerce.live.service import Offer
from tests.live import scene


async def two_sessions_of_one_commune(sessions: Sessions) -> list[tuple[scene.Scene, str]]:
    made = await scene.planned(sessions)
    second = await service.schedule_session(
        made.host, made.commune, title="Phiên thứ hai", starts_at=clock.now() + timedelta(minutes=5)
    )
    await service.set_lineup(made.host, second.code, [Offer(made.durian, "A")])
    await service.accept_rules(made.host, second.code)
    return [(made, made.code), (made, second.code)]


async def start_both(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Both have read the checklist before either has started."""
    pair = await two_sessions_of_one_commune(sessions)
    both_have_read = asyncio.Barrier(2)

    async def read_and_wait(*arguments: Any) -> Any:
        found = await checklist(*arguments)
        async with asyncio.timeout(5):
            await both_have_read.wait()
        return found

    monkeypatch.setattr(service, "checklist", read_and_wait)
    return await asyncio.gather(
        *(service.start(made.host, code) for made, code in pair), return_exceptions=True
    )


async def live_now(sessions: Sessions) -> int:
    async with sessions.read() as db:
        query = select(func.count(LiveSession.id)).where(LiveSession.state == LiveState.LIVE)
        return int(await db.scalar(query) or 0)


async def test_a_commune_has_one_voice(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = await start_both(sessions, monkeypatch)
    refused = [answer for answer in answers if isinstance(answer, NotReady)]
    assert len(refused) == 1
    assert refused[0].unmet == [(ONE_VOICE.name, ONE_VOICE.message)]
    assert await live_now(sessions) == 1


async def test_without_the_index_two_voices_speak(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sessions.begin() as db:
        await db.execute(text("DROP INDEX uq_live_session_commune_code_live"))
    assert not any(isinstance(a, Exception) for a in await start_both(sessions, monkeypatch))
    assert await live_now(sessions) == 2


async def tap_together(sessions: Sessions, made: scene.Scene) -> tuple[int, int, int]:
    """Two phones pin and open the same deal at once: (open pins, running deals, news) afterwards."""
    await asyncio.gather(
        *(service.pin(who, made.code, "A1") for who in (made.host, made.helper, made.admin)),
        *(
            service.open_deal(who, made.code, "B1", price=100_000, quantity=5)
            for who in (made.host, made.helper, made.admin)
        ),
    )
    async with sessions.read() as db:
        pins = await db.scalar(select(func.count(Pin.id)).where(Pin.until.is_(None)))
        deals = await db.scalar(select(func.count(Deal.id)).where(Deal.stopped_at.is_(None)))
        news = await db.scalar(text("SELECT count(*) FROM outbox"))
    return pins or 0, deals or 0, news or 0


async def test_taps_of_several_phones_are_one_pin_and_one_deal(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await scene.clear_news(sessions)
    assert await tap_together(sessions, made) == (1, 1, 2)


async def test_without_the_lock_taps_double(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await scene.on_air(sessions)
    await scene.clear_news(sessions)
    together = asyncio.Barrier(6)

    async def unlocked(db: Any, code: str, *_: Any) -> LiveSession:
        session: LiveSession = (await db.scalars(select(LiveSession).where(LiveSession.code == code))).one()
        async with asyncio.timeout(10):
            await together.wait()
        return session

    monkeypatch.setattr(service, "_locked", unlocked)
    pins, deals, news = await tap_together(sessions, made)
    assert (pins, deals, news) > (1, 1, 2)
    assert deals > 1


async def test_stop_and_takedown_at_once_end_in_one_story(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    answers = await asyncio.gather(
        service.stop(made.host, made.code),
        service.takedown(made.officer, made.code, "Hàng không rõ nguồn gốc"),
        service.stop(made.helper, made.code),
        return_exceptions=True,
    )
    assert (await scene.session_row(sessions, made.code)).state == LiveState.TAKEN_DOWN
    async with sessions.read() as db:
        steps = (
            await db.execute(
                select(LiveSessionHistory.before, LiveSessionHistory.after).order_by(LiveSessionHistory.id)
            )
        ).all()
    whole = [tuple(step) for step in steps]
    assert whole in (
        [("scheduled", "live"), ("live", "ended"), ("ended", "taken_down")],
        [("scheduled", "live"), ("live", "taken_down")],
    ), (whole, answers)


async def test_planning_twice_in_one_moment_gives_two_codes(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    soon = clock.now() + timedelta(hours=1)
    planned = await asyncio.gather(
        *(
            service.schedule_session(made.host, made.commune, title=f"Phiên số {n} đây", starts_at=soon)
            for n in range(6)
        )
    )
    assert {session.code for session in planned} == {"EAKNUEC", *(f"EAKNUEC{n}" for n in range(2, 7))}
