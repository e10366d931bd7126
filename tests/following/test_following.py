"""Who follows a commune or waits for a session hears of it: on a phone of ours that decrypts what comes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text, update

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.core.settings import Settings
from commerce.following import push, service
from commerce.following.push import Outcome, Target
from commerce.live.models import LiveSession
from tests import factories
from tests.following.phone import Phone, PushService, vouched


@pytest.fixture
def line() -> Iterator[PushService]:
    made = PushService()
    yield made
    made.close()


@pytest.fixture
async def sender() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=5) as made:
        yield made


async def planned(sessions: Sessions, code: str = "PHIEN", *, minutes: float = 10) -> int:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        return await factories.live_session(
            db, host, {}, code=code, state="scheduled", starts_at=clock.now() + timedelta(minutes=minutes)
        )


async def change(sessions: Sessions, session: int, **values: Any) -> None:
    async with sessions.begin() as db:
        await db.execute(update(LiveSession).where(LiveSession.id == session).values(**values))


async def goes_live(sessions: Sessions, session: int) -> None:
    await change(sessions, session, state="live", started_at=clock.now() + timedelta(seconds=1))


async def follow(client: httpx.AsyncClient, phone: Phone, **wanted: list[str]) -> httpx.Response:
    return await client.put("/api/v1/following", json={"subscription": phone.subscription, **wanted})


async def tell(settings: Settings, sender: httpx.AsyncClient) -> None:
    await service.note_due()
    await service.send_due(settings, sender)


async def test_a_reminder_comes_before_the_session_and_once_it_is_on_air(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    session = await planned(sessions)
    phone, other = Phone(line, "hoa"), Phone(line, "binh")
    answer = await follow(client, phone, sessions=["phien"])
    assert answer.json() == {"communes": [], "sessions": ["PHIEN"]}

    await tell(settings, sender)
    await tell(settings, sender)
    [soon] = phone.heard()
    assert soon["title"] == "Sắp đến phiên: Phiên sầu riêng"
    assert soon["url"] == "/live/PHIEN?s=push"

    await goes_live(sessions, session)
    await tell(settings, sender)
    await tell(settings, sender)
    assert [one["title"] for one in phone.heard()] == [
        "Sắp đến phiên: Phiên sầu riêng",
        "Đang phiên: Phiên sầu riêng",
    ]
    assert not other.posts


async def test_the_message_is_signed_with_the_key_browsers_were_given(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    await planned(sessions)
    phone, stranger = Phone(line, "hoa"), Phone(line, "hoa")
    await follow(client, phone, sessions=["PHIEN"])
    await tell(settings, sender)
    [post] = phone.posts
    key = (await client.get("/api/v1/push-key")).json()["key"]
    claims = vouched(post, key)
    assert claims["aud"] == line.url
    assert time.time() < claims["exp"] <= time.time() + 24 * 3600
    assert int(post.headers["ttl"]) > 0
    with pytest.raises(Exception):  # noqa: B017 - another phone's keys cannot read it, in whatever way
        stranger.heard()


def test_the_key_is_the_markets_own_and_lasts(settings: Settings) -> None:
    other = replace(settings, secret_key="x" * 40)
    assert push.public_key(settings) == push.public_key(replace(settings))
    assert push.public_key(settings) != push.public_key(other)


async def test_followers_hear_when_their_commune_is_on_air_unless_they_came_while_it_was(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    session = await planned(sessions, minutes=300)
    early, late, gone = Phone(line, "early"), Phone(line, "late"), Phone(line, "gone")
    await follow(client, early, communes=[factories.EA_KNUEC])
    await follow(client, gone, communes=[factories.EA_KNUEC])
    await goes_live(sessions, session)
    await change(sessions, session, started_at=clock.now())
    await follow(client, late, communes=[factories.EA_KNUEC])
    answer = await follow(client, gone, communes=[])  # no more
    assert answer.json() == {"communes": [], "sessions": []}
    await tell(settings, sender)
    assert [one["title"] for one in early.heard()] == ["Đang phiên: Phiên sầu riêng"]
    assert not late.posts
    assert not gone.posts
    async with sessions.read() as db:
        assert await db.scalar(text("SELECT count(*) FROM push_device")) == 2


async def test_a_session_called_off_is_told_and_not_announced(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    session = await planned(sessions)
    phone = Phone(line, "hoa")
    await follow(client, phone, sessions=["PHIEN"])
    await service.note_due()  # "soon" is written down, and then …
    await change(sessions, session, state="cancelled")
    await tell(settings, sender)
    assert [one["title"] for one in phone.heard()] == ["Phiên đã hoãn: Phiên sầu riêng"]


async def test_rehearsals_are_nobodys_news(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    session = await planned(sessions)
    phone = Phone(line, "hoa")
    await follow(client, phone, communes=[factories.EA_KNUEC], sessions=["PHIEN"])
    await change(sessions, session, rehearsal=True)
    await goes_live(sessions, session)
    await tell(settings, sender)
    assert not phone.posts


async def test_a_phone_that_said_no_is_forgotten_and_a_weak_service_is_asked_again(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    await planned(sessions)
    no, weak = Phone(line, "no"), Phone(line, "weak")
    for phone in (no, weak):
        await follow(client, phone, sessions=["PHIEN"])
    line.answers = {"/no": 410, "/weak": 503}
    await tell(settings, sender)
    async with sessions.begin() as db:
        assert await db.scalar(text("SELECT count(*) FROM push_device")) == 1
        assert await db.scalar(text("SELECT min(due_at) > now() FROM push_notice")) is True
        await db.execute(text("UPDATE push_notice SET due_at = now()"))
    line.answers = {}
    await tell(settings, sender)
    assert len(no.posts) == 1
    assert len(weak.posts) == 2
    await tell(settings, sender)
    assert len(weak.posts) == 2


async def test_two_workers_at_once_tell_each_phone_once(
    client: httpx.AsyncClient,
    sessions: Sessions,
    settings: Settings,
    line: PushService,
    sender: httpx.AsyncClient,
) -> None:
    import asyncio

    await planned(sessions)
    phones = [Phone(line, f"phone{number}") for number in range(12)]
    for phone in phones:
        await follow(client, phone, sessions=["PHIEN"])
    await asyncio.gather(*(service.note_due() for _ in range(4)))
    await asyncio.gather(*(service.send_due(settings, sender) for _ in range(4)))
    assert [len(phone.heard()) for phone in phones] == [1] * 12


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "https://169.254.169.254/latest",
        "https://fcm.googleapis.com.evil.test/x",
        "https://fcm.googleapis.com:22/x",
        "https://user@fcm.googleapis.com/x",
        "http://127.0.0.1:5432/",
        "not an address",
    ],
)
def test_only_push_services_are_called(settings: Settings, endpoint: str) -> None:
    assert not push.allowed(replace(settings, environment="production"), endpoint)


async def test_what_cannot_be_told_is_refused_at_once(
    client: httpx.AsyncClient, sessions: Sessions, line: PushService
) -> None:
    await planned(sessions)
    phone = Phone(line, "hoa")
    for change_ in (
        {"endpoint": "https://intranet.test/x"},
        {"keys": {"p256dh": "AAAA", "auth": phone.subscription["keys"]["auth"]}},
        {"keys": {"p256dh": phone.subscription["keys"]["p256dh"], "auth": "AAAA"}},
    ):
        body = {"subscription": phone.subscription | change_, "sessions": ["PHIEN"]}
        answer = await client.put("/api/v1/following", json=body)
        assert answer.status_code == 422
        assert answer.json()["code"] == "no_push_here"


async def test_an_address_that_is_no_longer_allowed_is_never_called(
    settings: Settings, line: PushService, sender: httpx.AsyncClient
) -> None:
    phone = Phone(line, "hoa")
    keys = phone.subscription["keys"]
    strict = replace(settings, environment="production")
    target = Target(phone.subscription["endpoint"], keys["p256dh"], keys["auth"])
    assert await push.send(sender, strict, target, {"title": "x"}) is Outcome.GONE
    assert not phone.posts
