"""A person sees, takes along and erases what is kept about their number; nobody else does."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import insert, select, text

from commerce.accounts.errors import SmsUnavailable
from commerce.complaints.clocks import working_days_later
from commerce.core.db import Sessions
from commerce.core.roles import Role
from commerce.live.models import Comment
from commerce.orders.models import Order, WholesaleEnquiry
from commerce.privacy import data, service
from commerce.privacy.models import REQUEST_STATES, DataRequest, RequestState
from tests import factories
from tests.orders.market import open_market, order_body

PHONE = "0901234567"


class Outbox:
    """Holds what would have been sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.away = False

    async def send(self, phone: str, text: str) -> None:
        if self.away:
            raise SmsUnavailable
        self.sent.append((phone, text))

    @property
    def code(self) -> str:
        found = re.search(r"\d{6}", self.sent[-1][1])
        assert found
        return found[0]


@pytest.fixture
def sms(app: Litestar) -> Outbox:
    made = app.state.sms = Outbox()
    service_limits()
    return made


def service_limits() -> None:
    """All tests come from one address."""
    from commerce.privacy import pages

    pages.limit._buckets.clear()
    pages.proving._buckets.clear()


async def bought(client: httpx.AsyncClient, sessions: Sessions) -> str:
    """Code of an order of PHONE, with a comment and an enquiry beside it."""
    market = await open_market(A1=100)
    answer = await client.post(
        "/api/v1/live-sessions/EAKNUEC/orders", json=order_body(), headers={"Idempotency-Key": "k1-0123456"}
    )
    assert answer.status_code == 201, answer.text
    async with sessions.begin() as db:
        values = {"live_session_id": market.session_id, "visitor": "v", "name": "Hoa"}
        reading = {"phone": PHONE}
        await db.execute(insert(Comment).values(**values, text="A1 x1 0901234567", reading=reading))
        await db.execute(insert(Comment).values(**values, text="ngon quá", reading=None))
        await db.execute(
            insert(WholesaleEnquiry).values(
                commune_code=factories.EA_KNUEC, name="Hoa", phone=PHONE, kilograms=500
            )
        )
    return str(answer.json()["orders"][0]["code"])


async def ask(client: httpx.AsyncClient, wish: str = "see", **more: str) -> httpx.Response:
    return await client.post("/privacy/request", data={"phone": "0901 234 567", "wish": wish, **more})


async def open_page(client: httpx.AsyncClient, sms: Outbox, wish: str = "see") -> str:
    """The secret of the page, after the code from the message was typed in."""
    asked = await ask(client, wish)
    [path] = re.findall(r'action="(/privacy/request/\w+)"', asked.text)
    shown = await client.post(path, data={"code": sms.code})
    assert shown.status_code == 303
    return shown.headers["location"].partition("key=")[2]


async def test_the_owner_of_the_number_sees_and_takes_along_everything(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    order = await bought(client, sessions)
    key = await open_page(client, sms)
    assert sms.sent[-1][0] == PHONE
    page = await client.get("/privacy/data", params={"key": key})
    assert order in page.text
    found: dict[str, Any] = (await client.get("/privacy/data.json", params={"key": key})).json()
    assert found["phone"] == PHONE
    assert [one["code"] for one in found["orders"]] == [order]
    assert found["orders"][0]["lines"][0]["quantity"] == 1
    assert found["orders"][0]["consent_at"]
    assert len(found["comments"]) == 1
    assert len(found["wholesale_enquiries"]) == 1
    async with sessions.read() as db:
        assert (await db.scalars(select(DataRequest.state))).all() == ["done"]


async def test_erasing_keeps_what_the_law_demands_and_says_so(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    order = await bought(client, sessions)
    key = await open_page(client, sms, "erase")
    untouched = await client.post("/privacy/data/erase", data={"key": key})  # not ticked
    assert "Đã xoá." not in untouched.text
    erased = await client.post("/privacy/data/erase", data={"key": key, "sure": "1"})
    assert "Đã xoá." in erased.text
    assert "3 năm" in erased.text
    assert order in erased.text
    async with sessions.begin() as db:
        assert await db.scalar(select(Order.buyer_phone)) == PHONE
        assert await db.scalar(select(WholesaleEnquiry.id)) is None
        said = set((await db.scalars(select(Comment.text))).all())
        assert said == {"", "ngon quá"}
        await db.execute(text("UPDATE \"order\" SET placed_at = now() - interval '4 years'"))
    await data.forget_old_buyers()
    async with sessions.read() as db:
        kept = (await db.scalars(select(Order))).one()
    assert (kept.buyer_name, kept.buyer_phone, kept.street) == ("", "", "")
    assert kept.total > 0


async def test_a_wrong_code_opens_nothing_and_five_close_the_request(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    await bought(client, sessions)
    asked = await ask(client)
    [path] = re.findall(r'action="(/privacy/request/\w+)"', asked.text)
    wrong = "000000" if sms.code != "000000" else "111111"
    for _ in range(service.TRIES):
        answer = await client.post(path, data={"code": wrong})
        assert answer.status_code == 401
    assert (await client.post(path, data={"code": sms.code})).status_code == 401
    assert (await client.get("/privacy/data", params={"key": "guess"})).status_code == 410
    assert (await client.get("/privacy/data.json", params={"key": ""})).status_code == 410


async def test_the_page_closes_after_half_an_hour(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    await bought(client, sessions)
    key = await open_page(client, sms)
    async with sessions.begin() as db:
        await db.execute(text("UPDATE data_request SET token_until = now() - interval '1 second'"))
    for method, path in (("GET", "/privacy/data"), ("GET", "/privacy/data.json")):
        assert (await client.request(method, path, params={"key": key})).status_code == 410
    assert (await client.post("/privacy/data/erase", data={"key": key, "sure": "1"})).status_code == 410
    async with sessions.read() as db:
        assert await db.scalar(select(WholesaleEnquiry.id)) is not None


async def test_without_messages_the_office_answers_within_its_clock(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    await bought(client, sessions)
    sms.away = True
    asked = await ask(client, "correct", words="Tên đúng là Hoà")
    assert "gọi lại" in asked.text
    async with sessions.begin() as db:
        request = (await db.scalars(select(DataRequest))).one()
        assert request.due_at == working_days_later(request.asked_at, 2) or (
            abs(request.due_at - working_days_later(request.asked_at, 2)) < timedelta(minutes=1)
        )
        near = await factories.token(db, await factories.person(db, Role.OFFICER))
        far = await factories.token(db, await factories.person(db, Role.OFFICER, commune_code="24490"))
        province = await factories.token(db, await factories.person(db, Role.PROVINCE))
    for token, sees in ((far, False), (near, True), (province, True)):
        client.headers["Authorization"] = f"Bearer {token}"
        listed = (await client.get("/office/data-requests")).text
        assert (PHONE in listed) is sees
    address = f"/office/data-requests/{request.code}"
    client.headers["Authorization"] = f"Bearer {far}"
    assert (await client.post(address, data={"how": "done", "words": "x"})).status_code == 403
    client.headers["Authorization"] = f"Bearer {near}"
    assert (await client.post(address, data={"how": "done"})).status_code == 422
    await client.post(address, data={"how": "done", "words": "Đã gọi, đã sửa tên"})
    assert PHONE not in (await client.get("/office/data-requests")).text
    async with sessions.read() as db:
        done = (await db.scalars(select(DataRequest))).one()
    assert (done.state, done.answer) == ("done", "Đã gọi, đã sửa tên")


def test_two_working_days_skip_the_week_end() -> None:
    friday = datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert working_days_later(friday, 2) == datetime(2026, 11, 24, 9, tzinfo=UTC)


async def test_the_signed_in_see_their_own_account_without_a_code(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    async with sessions.begin() as db:
        person = await factories.person(db, Role.HOST, name="H'Linh Êban")
        client.headers["Authorization"] = f"Bearer {await factories.token(db, person)}"
    shown = await client.post("/privacy/request/mine", data={"wish": "see"})
    page = await client.get(shown.headers["location"])
    assert "H&#39;Linh Êban" in page.text


async def test_a_number_is_asked_for_a_few_times_a_day(
    client: httpx.AsyncClient, sessions: Sessions, sms: Outbox
) -> None:
    for _ in range(service.PER_DAY):
        assert (await ask(client)).status_code == 200
    assert (await ask(client)).status_code == 429
    assert len(sms.sent) == service.PER_DAY


async def test_all_faults_are_named(client: httpx.AsyncClient, sessions: Sessions, sms: Outbox) -> None:
    answer = await client.post("/privacy/request", data={"phone": "1", "wish": "buy"})
    assert answer.status_code == 422
    assert answer.text.count('class="fault"') == 2
    assert not sms.sent


@pytest.mark.parametrize("after", RequestState)
@pytest.mark.parametrize("before", RequestState)
def test_a_closed_request_stays_closed(before: RequestState, after: RequestState) -> None:
    closed = {RequestState.DONE, RequestState.REFUSED}
    forward = list(RequestState).index(after) > list(RequestState).index(before)
    assert REQUEST_STATES.allows(before, after) == (before not in closed and forward)
