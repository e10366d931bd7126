"""The session page in every state, what belongs to one visitor, and the host's pages without scripts."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import httpx
from sqlalchemy import select, update

from commerce.catalog.models import Product
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.live import pages, service
from commerce.live.models import Comment, Deal, LiveState
from commerce.live.rooms import rooms
from tests import factories
from tests.live import scene
from tests.live.test_api import bearer, ticket


def data(page: str) -> Any:
    found = re.search(r'<script type="application/json" id="session-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


async def test_the_page_holds_the_snapshot_and_each_visitors_own_ticket(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings
) -> None:
    made = await scene.on_air(sessions)
    await service.pin(made.host, made.code, "B1")
    seen = []
    for number, source in enumerate(("zalo", "facebook")):
        client.cookies.clear()
        answer = await client.get(f"/live/{made.code}?s={source}")
        assert answer.status_code == 200
        inside = data(answer.text)
        assert (inside["snapshot"]["pinned"]["code"], inside["snapshot"]["state"]) == ("B1", "live")
        assert [o["code"] for entry in inside["lineup"] for o in entry["offers"]] == ["A1", "A2", "B1"]
        known = ticket(settings, inside["live_url"])
        assert (known.visitor, known.source) == (answer.cookies["visitor"], source)
        key = re.search(r'name="order_key" value="([^"]+)"', answer.text)
        assert key is not None
        seen.append((known.visitor, key[1]))
        assert pages.LIVE_URL not in answer.text
        assert pages.ORDER_KEY not in answer.text
        assert number or rooms._rooms[made.code][1].bodies.keys() == {"vi"}
    assert len({visitor for visitor, _ in seen}) == len({key for _, key in seen}) == 2


async def test_a_known_visitor_keeps_the_name(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings
) -> None:
    made = await scene.on_air(sessions)
    client.cookies.set("visitor", "known-visitor-1")
    answer = await client.get(f"/live/{made.code}")
    assert "visitor" not in answer.cookies
    assert ticket(settings, data(answer.text)["live_url"]).visitor == "known-visitor-1"


async def test_sources_by_link_and_by_the_page_before(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings
) -> None:
    made = await scene.on_air(sessions)
    for query, referrer, source in (
        ("?s=zalo", "https://www.facebook.com/", "zalo"),
        ("?utm_source=TikTok", "", "tiktok"),
        ("?s=<script>", "", "script"),
        ("?s=" + "x" * 100, "", "x" * 32),
        ("", "https://m.facebook.com/story", "facebook"),
        ("", "https://www.tiktok.com/@ami", "tiktok"),
        ("", "https://example.org/bai-viet", "web"),
        ("", "http://127.0.0.1:8000/", "market"),
        ("", "http://[bad", "direct"),
        ("", "", "direct"),
    ):
        headers = {"Referer": referrer} if referrer else {}
        answer = await client.get(f"/live/{made.code}{query}", headers=headers)
        assert ticket(settings, data(answer.text)["live_url"]).source == source, (query, referrer)


async def test_every_state_has_its_page(client: httpx.AsyncClient, sessions: Sessions) -> None:
    coming = await scene.planned(sessions)
    far = await scene.planned(sessions, "24600")
    over = await scene.on_air(sessions, "24601")
    gone = await scene.on_air(sessions, "24602")
    off = await scene.planned(sessions, "24603")
    await service.edit_session(far.host, far.code, starts_at=clock.now() + timedelta(days=9))
    await service.stop(over.host, over.code)
    await service.takedown(gone.officer, gone.code, "Hàng không rõ nguồn gốc")
    await service.cancel(off.host, off.code)
    for made, status, state, socket in (
        (coming, 200, "scheduled", True),
        (far, 200, "scheduled", False),
        (over, 200, "ended", False),
        (gone, 410, "taken_down", False),
        (off, 200, "cancelled", False),
    ):
        answer = await client.get(f"/live/{made.code.lower()}")
        assert answer.status_code == status, state
        assert f"state-{state}" in answer.text
        assert bool(data(answer.text)["live_url"]) is socket
        assert ('name="order_key"' in answer.text) is (state == "scheduled")
        assert "no-store" in answer.headers["cache-control"]
    assert "Hàng không rõ nguồn gốc" in (await client.get(f"/live/{gone.code}")).text
    assert (await client.get("/live/KHONGCO")).status_code == 404


async def test_what_the_law_wants_shown_is_there(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    page = (await client.get(f"/live/{made.code}")).text
    for shown in ("0905000111", "thôn 1", "6001234567", "hợp tác xã", "95.000"):
        assert shown in page
    assert 'value="vietqr"' in page  # the seller has an account
    assert 'value="card"' not in page


async def test_a_comment_without_scripts_leads_back(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    answer = await client.post(f"/live/{made.code}/comments", data={"name": "Hoa", "text": "Ngon quá"})
    assert (answer.status_code, answer.headers["location"]) == (303, f"/live/{made.code}#talk")
    rooms.forget(made.code)
    assert "Ngon quá" in (await client.get(f"/live/{made.code}")).text
    empty = await client.post(f"/live/{made.code}/comments", data={"name": "Hoa", "text": ""})
    assert empty.status_code == 422


async def test_english_is_another_body(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await client.get(f"/live/{made.code}")
    english = await client.get(f"/live/{made.code}", headers={"Accept-Language": "en"})
    assert '<html lang="en">' in english.text
    assert rooms._rooms[made.code][1].bodies.keys() == {"vi", "en"}


async def test_the_signed_in_get_a_page_of_their_own(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    host = await bearer(sessions, made.host.person_id)
    assert (await client.get(f"/live/{made.code}", headers=host)).status_code == 200
    assert rooms._rooms[made.code][1].bodies == {}


# ---- the host's place


async def test_a_host_plans_and_runs_a_session_by_forms_alone(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings
) -> None:
    made = await scene.people_and_goods(sessions)
    host = await bearer(sessions, made.host.person_id)

    async def get(path: str) -> str:
        answer = await client.get(path, headers=host)
        assert answer.status_code == 200, (path, answer.text[-2000:])
        return answer.text

    async def post(path: str, **form: Any) -> str:
        answer = await client.post(path, data=form, headers=host)
        assert answer.status_code == 303, (path, answer.status_code, answer.text[-1500:])
        return answer.headers["location"]

    assert "Chưa có phiên nào" in await get("/host")
    assert 'name="title"' in await get("/host/new")
    soon = clock.local(clock.now() + timedelta(hours=1))
    plan = {"commune": made.commune, "title": "Sầu riêng", "day": f"{soon:%Y-%m-%d}", "time": f"{soon:%H:%M}"}
    refused = await client.post("/host/new", data=plan | {"title": "ab", "day": ""}, headers=host)
    assert refused.status_code == 422
    lineup = await post("/host/new", **plan)
    assert lineup == "/host/EAKNUEC/lineup"
    row = await scene.session_row(sessions, "EAKNUEC")
    assert abs((row.starts_at - soon).total_seconds()) < 61

    page = await get(lineup)
    assert f'value="{made.durian}:A"' in page
    chosen = [f"{made.durian}:B", f"{made.coffee}:"]
    assert await post(lineup, **{"offer": chosen, f"code-{made.coffee}:": "k5"}) == "/host/EAKNUEC"
    page = await get("/host/EAKNUEC")
    assert "Chưa đồng ý với nội quy" in page
    assert await post("/host/EAKNUEC/start") == "/host/EAKNUEC"
    assert (await scene.session_row(sessions, "EAKNUEC")).state == LiveState.SCHEDULED
    await post("/host/EAKNUEC/rules", accept="1")
    await post("/host/EAKNUEC/start")
    await post("/host/EAKNUEC/pin", product="K5")
    await post("/host/EAKNUEC/deals", product="A1", price="60000", quantity="5", minutes="10")
    page = await get("/host/EAKNUEC")
    inside = json.loads(re.search(r'id="console-data">(.*?)</script>', page, re.DOTALL)[1])  # type: ignore[index]
    assert inside["snapshot"]["pinned"]["code"] == "K5"
    assert [deal["price"] for deal in inside["snapshot"]["deals"]] == [60_000]
    assert ticket(settings, inside["staff_url"]).room == "EAKNUEC@host"
    presets = {item["code"]: [p["price"] for p in item["presets"]] for item in inside["lineup"]}
    assert presets == {"A1": [63_000, 56_000, 49_000], "K5": [135_000, 120_000, 105_000]}
    assert await get("/host/EAKNUEC/money") == "0\u00a0₫"
    await post("/host/EAKNUEC/stop-deal", product="A1")
    await post("/host/EAKNUEC/unpin")
    await post("/host/EAKNUEC/stop")
    async with sessions.read() as db:
        assert all(d.stopped_at for d in await db.scalars(select(Deal)))
    assert "Sầu riêng" in await get("/host")
    assert (await client.post("/host/EAKNUEC/dance", headers=host)).status_code == 404


async def test_a_bad_lineup_form_comes_back_with_its_fault(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.planned(sessions)
    host = await bearer(sessions, made.host.person_id)
    async with sessions.begin() as db:
        await db.execute(update(Product).values(state="review"))
    form = {"offer": [f"{made.durian}:A"]}
    answer = await client.post(f"/host/{made.code}/lineup", data=form, headers=host)
    assert answer.status_code == 422
    assert "đã được xã duyệt" in answer.text


async def test_the_console_hides_comments_and_masks_buyers(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    async with sessions.begin() as db:
        comment = Comment(live_session_id=row.id, visitor="v", name="Hoa", text="<i>xấu</i>")
        db.add(comment)
    host = await bearer(sessions, made.host.person_id)
    page = (await client.get(f"/host/{made.code}", headers=host)).text
    assert "&lt;i&gt;xấu&lt;/i&gt;" in page
    answer = await client.post(f"/host/{made.code}/comments/{comment.id}/hide", headers=host)
    assert answer.status_code == 303
    assert "xấu" not in (await client.get(f"/host/{made.code}", headers=host)).text


async def test_the_host_pages_are_for_hosts_of_the_commune(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    stranger = await bearer(sessions, made.stranger.person_id)
    async with sessions.begin() as db:
        nobody = {"Authorization": f"Bearer {await factories.token(db, await factories.person(db))}"}
    for path in (f"/host/{made.code}", f"/host/{made.code}/lineup", f"/host/{made.code}/money"):
        guest = await client.get(path)
        assert (guest.status_code, guest.headers["location"]) == (303, f"/login?next={path}")
        assert (await client.get(path, headers=stranger)).status_code == 403
        assert (await client.get(path, headers=nobody)).status_code == 403
    assert made.code not in (await client.get("/host", headers=stranger)).text
