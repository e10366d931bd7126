"""Complaints: opened with photos, answered in time or shown overdue, settled, objected to."""

from __future__ import annotations

import io
import itertools
import re
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from PIL import Image

from commerce.complaints.clocks import working_days_later
from commerce.complaints.models import COMPLAINT_STATES, ComplaintState
from commerce.complaints.pages import opening
from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories
from tests.orders.market import change, one, open_market
from tests.payments.ways import order

WORDS = "Hai trái bị sượng, không ăn được"


def picture(place: bool = True) -> bytes:
    """A photo as phones make them, with a place in it."""
    out = io.BytesIO()
    image = Image.new("RGB", (800, 600), "olive")
    exif = Image.Exif()
    if place:
        exif[0x010E] = "vuon nha toi"
        exif.get_ifd(0x8825)[2] = (12.0, 40.0, 0.0)
    image.save(out, "JPEG", exif=exif)
    return out.getvalue()


@pytest.fixture
async def made(client: httpx.AsyncClient, sessions: Sessions) -> dict[str, Any]:
    """A delivered order, paid in cash."""
    opening._buckets.clear()  # all tests come from one address
    await open_market(A1=50)
    placed = await order(client, "cod", A1=2)
    await staff(client, sessions)
    for act in ("packed", "send", "delivered"):
        assert (await client.post(f"/api/v1/orders/{placed['code']}/{act}", json={})).status_code == 200
    client.cookies.clear()
    return placed


async def staff(client: httpx.AsyncClient, sessions: Sessions, role: Role = Role.OFFICER) -> int:
    """Signs in somebody of the commune; a seller is the order's own."""
    async with sessions.begin() as db:
        person = await factories.person(db, role)
        client.cookies.set("sign_in", await factories.token(db, person))
    if role == Role.SELLER:
        await change("UPDATE seller SET person_id = :p", p=person)
    return person


async def complain(
    client: httpx.AsyncClient, made: dict[str, Any], photos: int = 1, **data: str
) -> httpx.Response:
    form = {"key": made["key"], "reason": "spoiled", "words": WORDS} | data
    files = [("photos", (f"{n}.jpg", picture(), "image/jpeg")) for n in range(photos)]
    address = f"/orders/{made['code']}/complain"
    if files:
        return await client.post(address, data=form, files=files)
    return await client.post(address, data=form)


async def opened(client: httpx.AsyncClient, made: dict[str, Any]) -> str:
    answer = await complain(client, made)
    assert answer.status_code == 303, answer.text[-2000:]
    return str(answer.headers["location"])


async def test_a_complaint_with_a_photo_is_answered_and_refunded(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    own = await opened(client, made)
    page = (await client.get(own)).text
    assert WORDS in page
    assert "Hạn trả lời" in page
    code = str(await one("SELECT code FROM complaint"))
    assert code in (await client.get(f"/orders/{made['code']}", params={"key": made["key"]})).text

    await staff(client, sessions, Role.SELLER)
    assert code in (await client.get("/seller/complaints")).text
    assert (await client.post(f"/complaints/{code}/desk", data={"words": "Xin lỗi chị"})).status_code == 303
    assert await one("SELECT state FROM complaint") == "answered"
    too_much = {"words": "Hoàn tiền ạ", "outcome": "refund", "amount": "370.001"}
    assert (await client.post(f"/complaints/{code}/desk", data=too_much)).status_code == 409
    assert await one("SELECT state FROM complaint") == "answered", "all of it or nothing"
    settled = {"words": "Hoàn một nửa ạ", "outcome": "refund", "amount": "185.000"}
    assert (await client.post(f"/complaints/{code}/desk", data=settled)).status_code == 303
    assert await one("SELECT amount || ' ' || state FROM refund") == "185000 wanted"
    again = await client.post(f"/complaints/{code}/desk", data=settled)
    assert again.status_code == 409, "settled once"
    client.cookies.clear()
    page = (await client.get(own)).text
    assert "Đã đồng ý hoàn tiền" in page
    assert "Hoàn một nửa" in page
    history = "SELECT string_agg(after, ' ' ORDER BY id) FROM complaint_history"
    assert await one(history) == "open answered refunded"


async def test_photos_lose_their_place_and_are_for_the_parties_alone(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    own = await opened(client, made)
    page = (await client.get(own)).text
    (shown,) = re.findall(r'<img src="(/complaints/[^"]+)"', page)
    kept = await client.get(shown.replace("&amp;", "&"))
    assert kept.status_code == 200
    assert "private" in kept.headers["cache-control"]
    with Image.open(io.BytesIO(kept.content)) as image:
        assert not image.getexif()
        assert image.format == "WEBP"
    bare = shown.partition("?")[0]
    assert (await client.get(bare)).status_code == 404
    assert (await client.get(f"{bare}?key=wrong")).status_code == 404
    await staff(client, sessions)
    assert (await client.get(bare)).status_code == 200
    async with sessions.begin() as db:
        stranger = await factories.token(db, await factories.person(db, Role.SELLER))
    client.cookies.set("sign_in", stranger)
    assert (await client.get(bare)).status_code == 403
    assert (await client.get(f"/media/photos/{bare.rpartition('/')[2]}")).status_code == 404


async def test_wrong_input_names_the_field_and_keeps_nothing(
    client: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    assert (await complain(client, made, words="")).status_code == 422
    assert (await complain(client, made, reason="")).status_code == 422
    assert (await complain(client, made, photos=4)).status_code == 422
    assert (await complain(client, made, key="wrong")).status_code == 404
    form = {"key": made["key"], "reason": "spoiled", "words": WORDS}
    fake = [("photos", ("a.jpg", b"<script>", "image/jpeg"))]
    broken = await client.post(f"/orders/{made['code']}/complain", data=form, files=fake)
    assert 400 <= broken.status_code < 500
    assert WORDS in broken.text, "what was written is not lost"
    assert await one("SELECT count(*) FROM complaint") == 0


async def test_three_at_once_are_enough(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    for _ in range(3):
        assert (await complain(client, made, photos=0)).status_code == 303
    assert (await complain(client, made, photos=0)).status_code == 409
    assert await one("SELECT count(*) FROM complaint") == 3


async def test_a_refusal_can_be_objected_to_and_then_the_office_decides(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    own = await opened(client, made)
    code, key = str(await one("SELECT code FROM complaint")), str(await one("SELECT key FROM complaint"))
    desk = f"/complaints/{code}/desk"
    refusal = {"words": "Hàng tốt khi gửi", "outcome": "refusal"}
    seller = await staff(client, sessions, Role.SELLER)
    assert (await client.post(desk, data={"outcome": "refusal"})).status_code == 422, "not without a reason"
    assert (await client.post(desk, data=refusal)).status_code == 303
    client.cookies.clear()
    more = await client.post(f"/complaints/{code}/add", data={"key": key, "words": "Tôi không đồng ý"})
    assert more.status_code == 303
    assert await one("SELECT state FROM complaint") == "open"
    async with sessions.begin() as db:
        client.cookies.set("sign_in", await factories.token(db, seller))
    assert (await client.post(desk, data=refusal)).status_code == 409
    await staff(client, sessions)
    assert (await client.post(desk, data=refusal)).status_code == 303
    assert "Không được chấp nhận" in (await client.get(own)).text


async def test_what_is_overdue_stands_out_at_the_office(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    await opened(client, made)
    await staff(client, sessions)
    assert "quá hạn" not in (await client.get("/office/complaints")).text
    await change("UPDATE complaint SET due_at = now() - interval '1 hour'")
    shown = (await client.get("/office/complaints")).text
    assert "row-overdue" in shown
    assert "quá hạn" in shown


async def test_a_viewer_complains_of_a_session_without_an_order(
    client: httpx.AsyncClient, made: dict[str, Any], sessions: Sessions
) -> None:
    form = {"name": "Chị Bảy", "phone": "0907 000 111", "reason": "misleading", "words": "Nói là hạng A"}
    assert (await client.get("/live/EAKNUEC/complain")).status_code == 200
    assert (await client.post("/live/EAKNUEC/complain", data=form | {"phone": "12"})).status_code == 422
    files = [("photos", ("a.jpg", picture(), "image/jpeg"))]
    answer = await client.post("/live/EAKNUEC/complain", data=form, files=files)
    assert answer.status_code == 303
    shown = (await client.get(answer.headers["location"])).text
    assert "Nói là hạng A" in shown
    assert '<img src="/complaints/' in shown
    code = str(await one("SELECT code FROM complaint"))
    await staff(client, sessions)
    assert "Chị Bảy" in (await client.get("/office/complaints")).text
    refund = {"words": "Hoàn tiền", "outcome": "refund", "amount": "1"}
    assert (await client.post(f"/complaints/{code}/desk", data=refund)).status_code == 409
    settled = {"words": "Xin lỗi, đã nhắc người dẫn", "outcome": "replacement"}
    assert (await client.post(f"/complaints/{code}/desk", data=settled)).status_code == 303


async def test_withdrawn_is_over(client: httpx.AsyncClient, made: dict[str, Any]) -> None:
    await opened(client, made)
    code, key = str(await one("SELECT code FROM complaint")), str(await one("SELECT key FROM complaint"))
    assert (await client.post(f"/complaints/{code}/withdraw", data={"key": "x"})).status_code == 404
    assert (await client.post(f"/complaints/{code}/withdraw", data={"key": key})).status_code == 303
    again = await client.post(f"/complaints/{code}/add", data={"key": key, "words": "Thôi đổi ý rồi"})
    assert again.status_code == 409


def test_every_pair_of_states() -> None:
    pairs = itertools.product(ComplaintState, repeat=2)
    allowed = {
        (before.value, after.value) for before, after in pairs if COMPLAINT_STATES.allows(before, after)
    }
    ends = {"refunded", "replaced", "refused", "withdrawn"}
    assert allowed == (
        {(before, after) for before in ("open", "answered") for after in ends}
        | {("open", "answered"), ("answered", "open"), ("refused", "open"), ("replaced", "open")}
    )


def test_clocks_count_working_days() -> None:
    friday = datetime(2026, 11, 20, 9, tzinfo=UTC)
    assert working_days_later(friday, 2) == datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert working_days_later(datetime(2026, 11, 21, 9, tzinfo=UTC), 1) == datetime(
        2026, 11, 23, 9, tzinfo=UTC
    )
