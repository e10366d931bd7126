"""What viewers say: stored, told, limited, hidden; nothing typed can break a page."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Sequence

import httpx
import pytest
from sqlalchemy import func, select

from commerce.core.batching import Batcher
from commerce.core.db import Sessions
from commerce.core.errors import Busy, Invalid, TooMany
from commerce.core.limits import RateLimit
from commerce.core.outbox import OutboxMessage, Relay
from commerce.live import comments, service
from commerce.live.errors import SessionEnded, SessionNotFound, SessionNotLive, SessionTakenDown
from commerce.live.models import Comment
from commerce.live.news import Newsroom
from commerce.live.rooms import rooms
from commerce.orders.models import Order
from commerce.worker import topics
from streaming import protocol
from streaming.bus import Bus
from tests import factories
from tests.live import scene
from tests.live.ear import Ear
from tests.live.scene import nowhere

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "<!-- --> ]]> </textarea>",
    "\u2028\u2029 \\u003cscript\\u003e",
    "javascript:alert(1)",
    "&lt;b&gt; &#x3C;b&#x3E;",
    "@live-url@ @order-key@",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘O",
    "🙏🏽👨‍👩‍👧‍👦 A1 x2",
    "a" * 500,
]


def address(code: str) -> str:
    return f"/api/v1/live-sessions/{code}/comments"


@pytest.fixture(autouse=True)
def _no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "per_visitor", RateLimit(per_second=1e6, burst=1_000_000))


async def tell(newsroom: Newsroom) -> None:
    relay = Relay(topics(newsroom, nowhere, nowhere))
    while await relay.deliver_due():
        pass


async def test_a_comment_is_taken_stored_told_and_read_as_an_order(
    client: httpx.AsyncClient, sessions: Sessions, bus: Bus
) -> None:
    made = await scene.on_air(sessions)
    newsroom = Newsroom(bus)
    await tell(newsroom)
    async with Ear(bus, made.code) as ear:
        answer = await client.post(address(made.code), json={"name": " Hoa ", "text": "A1  x2\n0901234567"})
        assert answer.status_code == 202
        await tell(newsroom)
        told = (await ear.wait(protocol.Comments))[0].comments
    async with sessions.read() as db:
        row = (await db.scalars(select(Comment))).one()
    assert answer.json() == {"id": str(row.id)}
    assert [(c.id, c.name, c.text) for c in told] == [(str(row.id), "Hoa", "A1 x2 090****567")]
    assert row.reading is not None
    assert row.reading["lines"] == [{"code": "A1", "quantity": 2, "unit": None}]
    assert (row.reading["phone"], row.reading["sure"]) == ("0901234567", True)
    async with sessions.read() as db:  # noted, never ordered
        assert await db.scalar(select(func.count()).select_from(Order)) == 0
    await newsroom.turn.close()


async def test_bad_comments_are_refused_by_field_and_change_nothing(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    for body, field in (
        ({"name": "Hoa", "text": ""}, "text"),
        ({"name": "Hoa", "text": " \u200b\u202e \n "}, "text"),
        ({"name": "Hoa", "text": "a" * 501}, "text"),
        ({"name": "x" * 41, "text": "chào"}, "name"),
        ({"name": "Hoa", "text": 5}, "text"),
        ({"name": "Hoa"}, "text"),
    ):
        answer = await client.post(address(made.code), json=body)
        assert answer.status_code == 422, (body, answer.text)
        problem = answer.json()
        assert problem["code"] == "invalid"
        assert [error["field"] for error in problem["errors"]] == [field]
        assert all(error["message"] for error in problem["errors"])
    broken = await client.post(
        address(made.code),
        content=b'{"name": "\xff", "text": "a"}',
        headers={"Content-Type": "application/json"},
    )
    assert broken.status_code == 400
    huge = await client.post(address(made.code), json={"name": "Hoa", "text": "a" * 10_000_000})
    assert huge.status_code == 413
    async with sessions.read() as db:
        assert await db.scalar(select(func.count(Comment.id))) == 0


async def test_comments_belong_to_a_session_on_air(sessions: Sessions) -> None:
    coming = await scene.planned(sessions)
    over = await scene.on_air(sessions, "24600")
    gone = await scene.on_air(sessions, "24601")
    await service.stop(over.host, over.code)
    await service.takedown(gone.host, gone.code, "Sai quy định")
    # All in one batch: each gets its own answer.
    answers = await asyncio.gather(
        *(comments.say(code, "v", "Hoa", "chào") for code in (coming.code, over.code, gone.code, "KHONGCO")),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [
        SessionNotLive,
        SessionEnded,
        SessionTakenDown,
        SessionNotFound,
    ]


async def test_many_comments_share_a_commit_and_keep_their_order(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await scene.clear_news(sessions)
    ids = await asyncio.gather(*(comments.say(made.code, f"v{n}", "Hoa", f"câu {n}") for n in range(1_000)))
    assert ids == sorted(ids)
    async with sessions.read() as db:
        texts = list(await db.scalars(select(Comment.text).order_by(Comment.id)))
        news = list(await db.scalars(select(OutboxMessage).order_by(OutboxMessage.id)))
    assert texts == [f"câu {n}" for n in range(1_000)]
    assert len(news) <= 4  # not one transaction a comment
    assert [one for message in news for one in message.payload["comments"]] == ids


async def test_nothing_typed_can_break_a_page_or_a_frame(
    client: httpx.AsyncClient, sessions: Sessions, bus: Bus
) -> None:
    made = await scene.on_air(sessions)
    newsroom = Newsroom(bus)
    await tell(newsroom)
    async with Ear(bus, made.code) as ear:
        for words in HOSTILE:
            answer = await client.post(address(made.code), json={"name": words[:40], "text": words})
            assert answer.status_code == 202, answer.text
        await tell(newsroom)
        told = [c for frame in await ear.wait(protocol.Comments) for c in frame.comments]
    assert len(told) == len(HOSTILE)
    rooms.forget(made.code)
    page = (await client.get(f"/live/{made.code}")).text
    data = re.search(r'<script type="application/json" id="session-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    shown = json.loads(data[1])["snapshot"]["comments"]
    assert [c["text"] for c in shown] == [c.text for c in told]
    lines = re.findall(r'<li data-id="\d+"><b>(.*?)</b> (.*?)</li>', page, re.DOTALL)
    assert [html.unescape(words) for _, words in lines] == [c.text for c in told]
    assert all("<" not in name + words for name, words in lines)
    assert page.count("<script") == page.count("</script>")
    assert "alert(1)</script>" not in page
    await newsroom.turn.close()


async def test_a_hidden_comment_is_gone_from_page_and_api(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    kept = await comments.say(made.code, "v", "Hoa", "ở lại")
    gone = await comments.say(made.code, "v", "Hoa", "bị ẩn")
    async with sessions.begin() as db:
        token = await factories.token(db, made.helper.person_id)
    as_helper = {"Authorization": f"Bearer {token}"}
    guest = await client.post(f"{address(made.code)}/{gone}/hide")
    assert guest.status_code == 401
    assert (await client.post(f"{address(made.code)}/{gone}/hide", headers=as_helper)).status_code == 202
    detail = (await client.get(f"/api/v1/live-sessions/{made.code}")).json()
    assert [c["id"] for c in detail["snapshot"]["comments"]] == [str(kept)]
    assert "bị ẩn" not in (await client.get(f"/live/{made.code}")).text


async def test_a_visitor_is_slowed_down_and_told_when_to_try_again(
    client: httpx.AsyncClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await scene.on_air(sessions)
    monkeypatch.setattr(comments, "per_visitor", RateLimit(per_second=0.5, burst=3))
    client.cookies.set("visitor", "visitor-number-one")
    codes = []
    for n in range(5):
        answer = await client.post(address(made.code), json={"name": "Hoa", "text": f"câu {n}"})
        codes.append(answer.status_code)
    assert codes == [202, 202, 202, 429, 429]
    assert answer.json()["code"] == "too_many_requests"
    assert int(answer.headers["retry-after"]) > 0
    client.cookies.clear()
    client.cookies.set("visitor", "visitor-number-two")
    other = await client.post(address(made.code), json={"name": "Lan", "text": "chào"})
    assert other.status_code == 202


def test_an_address_is_limited_and_our_own_machine_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comments, "per_address", RateLimit(per_second=1, burst=2))
    for n in range(20):
        comments.limit(f"v{n}", "127.0.0.1")
    comments.limit("a", "203.0.113.7")
    comments.limit("b", "203.0.113.7")
    with pytest.raises(TooMany):
        comments.limit("c", "203.0.113.7")


# ---- the parts below


def test_a_bucket_fills_again_with_time() -> None:
    now = 0.0
    limit = RateLimit(per_second=2, burst=2, clock=lambda: now)
    limit.take("a")
    limit.take("a")
    with pytest.raises(TooMany):
        limit.take("a")
    limit.take("b")
    now = 0.5
    limit.take("a")
    with pytest.raises(TooMany):
        limit.take("a")


def test_only_so_many_callers_are_remembered() -> None:
    limit = RateLimit(per_second=1, burst=1, remembered=10)
    for n in range(100):
        limit.take(str(n))
    assert len(limit._buckets) == 10


class Writer:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    async def __call__(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        await asyncio.sleep(0.01)
        if 13 in batch:
            raise ZeroDivisionError
        return [KeyError(n) if n == 7 else n * 10 for n in batch]


async def test_items_that_arrive_together_are_written_together() -> None:
    writer = Writer()
    batcher = Batcher(writer, most=50)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(20, 120)))
    assert answers == [n * 10 for n in range(20, 120)]
    assert [len(batch) for batch in writer.batches] == [50, 50]


async def test_one_bad_item_fails_alone() -> None:
    batcher = Batcher(Writer())
    answers = await asyncio.gather(*(batcher.submit(n) for n in (5, 7, 13, 20)), return_exceptions=True)
    assert [answers[0], answers[3]] == [50, 200]
    assert isinstance(answers[1], KeyError)
    assert isinstance(answers[2], ZeroDivisionError)


async def test_a_lost_engine_is_not_asked_once_for_each_item() -> None:
    calls = 0

    async def away(batch: Sequence[int]) -> list[int | Exception]:
        nonlocal calls
        calls += 1
        raise ConnectionRefusedError

    batcher: Batcher[int, int] = Batcher(away)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(100)), return_exceptions=True)
    assert all(isinstance(answer, ConnectionRefusedError) for answer in answers)
    assert calls == 1


async def test_a_full_line_says_busy() -> None:
    batcher = Batcher(Writer(), most=1, waiting=3)
    answers = await asyncio.gather(*(batcher.submit(n) for n in range(20, 30)), return_exceptions=True)
    assert sum(isinstance(answer, Busy) for answer in answers) == 7


async def test_whoever_gave_up_waiting_takes_nobody_along() -> None:
    writer = Writer()
    batcher = Batcher(writer, most=2)
    tasks = [asyncio.create_task(batcher.submit(n)) for n in range(20, 26)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[3], asyncio.CancelledError)
    assert [a for i, a in enumerate(answers) if i != 3] == [200, 210, 220, 240, 250]
    assert 23 not in [n for batch in writer.batches for n in batch]


def test_check_says_how_long_it_was() -> None:
    with pytest.raises(Invalid) as refused:
        comments.check("X", "v", "", "a" * 612)
    assert "612" in refused.value.errors[0].text("vi")
    assert comments.check("x", "v", "", "chào").name == "Khách"
