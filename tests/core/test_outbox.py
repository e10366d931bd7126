"""The outbox: at least once, never held up, dead rows visible."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from commerce.core import outbox
from commerce.core.db import Sessions
from commerce.core.outbox import Message, Relay, emit


class Recorder:
    """A topic's function that remembers, and fails for payloads marked bad."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.batches: list[int] = []

    async def __call__(self, messages: Sequence[Message]) -> None:
        self.batches.append(len(messages))
        if any(message.payload.get("bad") for message in messages):
            raise ValueError("bad payload")
        self.seen += [message.payload["n"] for message in messages]


async def put(sessions: Sessions, *numbers: int, bad: bool = False) -> None:
    async with sessions.begin() as db:
        for number in numbers:
            await emit(db, "news", {"n": number, "bad": bad})


async def rows(sessions: Sessions) -> int:
    async with sessions.read() as db:
        return int(await db.scalar(text("SELECT count(*) FROM outbox")) or 0)


async def test_what_commits_is_delivered_in_order_and_in_one_batch(sessions: Sessions) -> None:
    recorder = Recorder()
    await put(sessions, 1, 2, 3)
    assert await Relay({"news": recorder}).deliver_due() == 3
    assert (recorder.seen, recorder.batches, await rows(sessions)) == ([1, 2, 3], [3], 0)


async def test_what_rolls_back_is_never_told(sessions: Sessions) -> None:
    async def fail() -> None:
        async with sessions.begin() as db:
            await emit(db, "news", {"n": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await Relay({"news": Recorder()}).deliver_due() == 0


async def test_one_bad_row_does_not_hold_up_the_others(sessions: Sessions) -> None:
    recorder = Recorder()
    await put(sessions, 1)
    await put(sessions, 2, bad=True)
    await put(sessions, 3)
    await Relay({"news": recorder}).deliver_due()
    assert recorder.seen == [1, 3]
    async with sessions.read() as db:
        left = (await db.execute(text("SELECT error, attempts, due_at > now() AS later FROM outbox"))).one()
    assert "bad payload" in left.error
    assert (left.attempts, left.later) == (1, True)


async def test_a_row_given_up_stays_visible(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_ATTEMPTS", 1)
    await put(sessions, 1, bad=True)
    relay = Relay({"news": Recorder()})
    await relay.deliver_due()
    async with sessions.begin() as db:
        await db.execute(text("UPDATE outbox SET due_at = now()"))
    assert await relay.deliver_due() == 0
    async with sessions.read() as db:
        dead = await outbox.dead_messages(db)
    assert [message.topic for message in dead] == ["news"]


async def test_two_relays_share_the_work_and_deliver_each_row_once(sessions: Sessions) -> None:
    await put(sessions, *range(1200))
    recorder = Recorder()
    relays = [Relay({"news": recorder}) for _ in range(4)]
    while sum(await asyncio.gather(*(relay.deliver_due() for relay in relays))):
        pass
    assert sorted(recorder.seen) == list(range(1200))


async def test_a_crash_between_work_and_deletion_delivers_again(sessions: Sessions) -> None:
    await put(sessions, 7)
    recorder = Recorder()

    async def work_and_die(messages: Sequence[Message]) -> None:
        await recorder(messages)
        raise asyncio.CancelledError  # as if the process had gone

    with pytest.raises(asyncio.CancelledError):
        await Relay({"news": work_and_die}).deliver_due()
    assert await Relay({"news": recorder}).deliver_due() == 0  # the lease still holds
    async with sessions.begin() as db:
        await db.execute(text("UPDATE outbox SET claimed_until = now() - interval '1 second'"))
    await Relay({"news": recorder}).deliver_due()
    assert recorder.seen == [7, 7]


async def test_notify_wakes_the_relay(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "POLL_S", 60.0)
    recorder = Recorder()
    stop = asyncio.Event()
    running = asyncio.create_task(Relay({"news": recorder}).run(stop))
    await asyncio.sleep(0.5)  # listening by now
    await put(sessions, 1)
    for _ in range(100):
        if recorder.seen:
            break
        await asyncio.sleep(0.02)
    stop.set()
    running.cancel()
    assert recorder.seen == [1]
