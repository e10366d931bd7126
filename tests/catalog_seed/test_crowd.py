"""The demo's public: as many as the model case had, and nobody's nuisance."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.server import ServerConnection, serve

from catalog_seed import chatter, crowd
from catalog_seed.crowd import Crowd, Guest, arrivals_per_s, order_share
from commerce.core import phone
from commerce.live.comment_orders import read

SESSION: dict[str, Any] = {
    "code": "EAKNUEC",
    "demo": True,
    "live_url": "",
    "snapshot": {"pinned": {"code": "A1"}},
    "lineup": [
        {"code": "A1", "unit": "kg", "price": 185_000, "deal": None, "stock": 500},
        {"code": "B3", "unit": "kg", "price": 260_000, "deal": {"price": 229_000}, "stock": 3},
        {"code": "B8", "unit": "piece", "price": 380_000, "deal": None, "stock": 0},
    ],
}


def test_a_session_s_arrivals_are_the_model_case_s_views() -> None:
    seconds = range(crowd.MODEL_LASTS_S)
    for scale in (0.02, 1.0):
        views = sum(arrivals_per_s(scale, second + 0.5) for second in seconds)
        assert views == pytest.approx(scale * crowd.MODEL_VIEWS, rel=0.01)
    rates = [arrivals_per_s(1, second) for second in seconds]
    assert max(rates) == rates[int(0.06 * crowd.MODEL_LASTS_S)], "the rush comes early"
    assert min(rates) > 0
    assert arrivals_per_s(1, crowd.MODEL_LASTS_S + 60) == arrivals_per_s(1, 60), "and begins again"


def test_the_default_crowd_is_of_the_size_a_small_machine_bears() -> None:
    dice = random.Random(1)
    stays = [Guest.come(dice, order_share(0.02)).stay_s for _ in range(20_000)]
    average = sum(stays) / len(stays)
    assert 15 < arrivals_per_s(0.02, 7_000) * average < arrivals_per_s(0.02, 432) * average < 120
    assert sum(stay < 10 for stay in stays) / len(stays) == pytest.approx(0.35, abs=0.1), "many only glance"


def test_orders_in_proportion_and_often_enough_to_be_seen() -> None:
    assert order_share(1) == crowd.ORDERS
    views_per_s = 0.02 * crowd.MODEL_VIEWS / crowd.MODEL_LASTS_S
    assert 6 <= 1 / (order_share(0.02) * views_per_s) <= 12, "seconds from order to order"
    dice = random.Random(2)
    guests = [Guest.come(dice, 0.1) for _ in range(20_000)]
    assert sum(guest.buys for guest in guests) / len(guests) == pytest.approx(0.1, abs=0.01)


def test_guests_have_numbers_that_are_nobody_s() -> None:
    dice = random.Random(3)
    for _ in range(500):
        guest = Guest.come(dice, 0.1)
        assert guest.phone.startswith("0900")
        assert phone.normalise(guest.phone) == guest.phone
        assert guest.visitor.startswith("demo")


def test_most_orders_by_comment_can_be_read() -> None:
    """They are written as people write them, so that the demo shows the helper's desk at work."""
    dice = random.Random(4)
    understood = 0
    for _ in range(400):
        text = chatter.comment_order(dice, "A1", "kg", 3, "0900123456")
        reading = read(text, {"A1": "kg", "B1": "box"})
        lines = [(line.code, line.quantity) for line in reading.lines] if reading else []
        understood += lines == [("A1", 3)]
    assert understood > 320, f"{understood} of 400"
    assert all(len(text) <= 200 for text in chatter.REMARKS)
    assert len(set(chatter.REMARKS)) >= 40


# ---- against a market that answers as the real one does


class FakeMarket:
    """Answers of the public interface; what was asked is kept."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: dict[str, list[httpx.Response | Exception]] = {}
        self.session = dict(SESSION)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        import msgspec

        body = msgspec.json.decode(request.content) if request.content else None
        self.asked.append((request.method, request.url.path, dict(request.headers), body))
        kind = request.url.path.rsplit("/", 1)[1]
        if self.answers.get(kind):
            answer = self.answers[kind].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        known = {
            "live-sessions": httpx.Response(200, json=[self.session]),
            "EAKNUEC": httpx.Response(200, json=self.session),
            "ticket": httpx.Response(200, json={"live_url": self.session["live_url"]}),
            "communes": httpx.Response(200, json=[{"code": "24505"}]),
            "orders": httpx.Response(201, json={}),
            "comments": httpx.Response(202, json={}),
            "events": httpx.Response(202),
        }
        return known[kind]

    def orders(self) -> list[tuple[str, dict[str, Any]]]:
        return [
            (headers["idempotency-key"], body)
            for method, path, headers, body in self.asked
            if path.endswith("/orders")
        ]


@asynccontextmanager
async def visiting(market: FakeMarket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    """A crowd in a hurry at this market."""
    sleep = asyncio.sleep
    monkeypatch.setattr("catalog_seed.crowd.asyncio.sleep", lambda seconds: sleep(seconds / 100))
    made = Crowd("http://market.test", 0.02, random.Random(5))
    transport = httpx.MockTransport(market)
    async with httpx.AsyncClient(base_url=made.url, headers=crowd.HEADERS, transport=transport) as made.http:
        yield made


BUYER = Guest("demo1", "Lan Anh", "0900123456", "zalo", 60.0, remarks=2, buys=True)


async def test_a_guest_watches_comments_taps_and_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    market = FakeMarket()
    async with visiting(market, monkeypatch) as people:
        await people._take_part(BUYER, market.session)
    [(_, order)] = market.orders()
    item = next(item for item in SESSION["lineup"] if item["code"] == order["lines"][0]["product"])
    price = (item["deal"] or item)["price"]
    assert order["shown_total"] == price * order["lines"][0]["quantity"]
    assert order["lines"][0]["quantity"] <= item["stock"]
    assert (order["consent"], order["buyer"]["phone"]) == (True, "0900123456")
    assert "(minh hoạ)" in order["buyer"]["name"]
    kinds = Counter(
        event["kind"] for _, path, _, body in market.asked if path.endswith("/events") for event in body
    )
    assert kinds["impression"] >= 1
    assert (kinds["click"], kinds["basket"]) == (1, 1)
    assert people.counts["comments"] == 2
    for _, _, headers, _ in market.asked:
        assert headers["x-demo-crowd"] == "1"
    assert {headers.get("cookie") for _, path, headers, _ in market.asked if "communes" not in path} == {
        "visitor=demo1"
    }


async def test_an_order_without_an_answer_is_asked_again_under_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    market = FakeMarket()
    market.answers["orders"] = [httpx.ConnectError("gone"), httpx.Response(503), httpx.ReadTimeout("late")]
    async with visiting(market, monkeypatch) as people:
        await people._buy(BUYER, market.session, market.session["lineup"][0])
    assert len(market.orders()) == 4
    assert len({key for key, _ in market.orders()}) == 1
    assert people.counts["orders"] == 1


async def test_a_changed_price_is_agreed_to_under_a_new_key(monkeypatch: pytest.MonkeyPatch) -> None:
    market = FakeMarket()
    market.answers["orders"] = [httpx.Response(409, json={"code": "total_changed", "total": 77})]
    async with visiting(market, monkeypatch) as people:
        await people._buy(BUYER, market.session, market.session["lineup"][0])
    (first, _), (second, order) = market.orders()
    assert first != second
    assert order["shown_total"] == 77


@pytest.mark.parametrize("code", ["sold_out", "session_ended"])
async def test_a_refusal_is_taken(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    market = FakeMarket()
    market.answers["orders"] = [httpx.Response(409, json={"code": code})]
    async with visiting(market, monkeypatch) as people:
        await people._buy(BUYER, market.session, market.session["lineup"][0])
    assert len(market.orders()) == 1
    assert people.counts["refused_409"] == 1


async def test_real_sessions_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    market = FakeMarket()
    market.session["demo"] = False
    async with visiting(market, monkeypatch) as people:
        assert await people._on_air() == []
        await people._come_and_go(BUYER, "EAKNUEC", 0)
    assert {method for method, *_ in market.asked} == {"GET"}


@asynccontextmanager
async def gateway(behave: Callable[[ServerConnection, int], Any]) -> AsyncIterator[str]:
    """A socket server; `behave` gets the connection and its number."""
    came = 0

    async def handler(socket: ServerConnection) -> None:
        nonlocal came
        came += 1
        await behave(socket, came)

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/live/EAKNUEC?ticket=x"


async def test_a_broken_line_is_taken_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    async def behave(socket: ServerConnection, number: int) -> None:
        seen.append(number)
        await socket.send('{"type": "tick"}')
        if number == 1:
            socket.transport.abort()
        elif number == 2:
            await socket.close(1012)
        else:
            await socket.close(4410)

    market = FakeMarket()
    async with gateway(behave) as url, visiting(market, monkeypatch) as people:
        market.session["live_url"] = url
        await asyncio.wait_for(people._watch(BUYER, "EAKNUEC", url), 20)
    assert seen == [1, 2, 3], "twice again, and not after the session's end"
    assert people.counts["frames"] >= 2
    assert people.here == 0


async def test_a_market_that_is_away_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    market = FakeMarket()
    away: list[httpx.Response | Exception] = [httpx.ConnectError("away") for _ in range(3)]
    market.answers["live-sessions"] = away
    came = asyncio.Event()

    async def behave(socket: ServerConnection, number: int) -> None:
        came.set()
        await socket.wait_closed()

    stop = asyncio.Event()
    async with gateway(behave) as url, visiting(market, monkeypatch) as people:
        market.session["live_url"] = url
        monkeypatch.setattr(crowd, "arrivals_per_s", lambda scale, elapsed: 50.0)
        sending = asyncio.create_task(people._send_guests(stop))
        await asyncio.wait_for(came.wait(), 20)
        stop.set()
        await asyncio.wait_for(sending, 5)
        for visit in people._visits:
            visit.cancel()
        await asyncio.gather(*people._visits, return_exceptions=True)
    assert not away
    assert people.counts["unanswered"] >= 3
