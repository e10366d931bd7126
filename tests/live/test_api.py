"""Live sessions over JSON: the contract, rights, and a session from plan to end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.live import beacons, service
from commerce.live.rooms import rooms
from streaming import protocol
from streaming.bus import Bus
from streaming.tickets import Kind, Ticket, Tickets
from tests import factories
from tests.live import scene

API = "/api/v1/live-sessions"


async def bearer(sessions: Sessions, person_id: int) -> dict[str, str]:
    async with sessions.begin() as db:
        return {"Authorization": f"Bearer {await factories.token(db, person_id)}"}


def ticket(settings: Settings, url: str) -> Ticket:
    """The ticket in a socket's address, checked as a gateway does."""
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}" == settings.live_url
    room = parts.path.removeprefix("/live/")
    return Tickets(settings.secret_key).verify(parse_qs(parts.query)["ticket"][0], room)


async def test_a_session_from_plan_to_end(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    host = await bearer(sessions, made.host.person_id)

    async def send(method: str, path: str, **body: Any) -> httpx.Response:
        return await client.request(method, f"{API}{path}", json=body or None, headers=host)

    soon = (clock.now() + timedelta(minutes=5)).isoformat()
    plan = await send("POST", "", commune=made.commune, title="Sầu riêng hôm nay", starts_at=soon)
    assert plan.status_code == 201, plan.text
    code = plan.json()["code"]
    assert (code, plan.json()["state"]) == ("EAKNUEC", "scheduled")

    refused = await send("POST", f"/{code}/start")
    assert refused.status_code == 409
    assert refused.json()["code"] == "checklist"
    assert [u["condition"] for u in refused.json()["unmet"]] == ["rules", "lineup", "papers"]
    listed = (await send("GET", f"/{code}/checklist")).json()
    assert listed["ready"] is False
    assert [c["condition"] for c in listed["conditions"] if not c["met"]] == ["rules", "lineup", "papers"]

    items = [{"product": made.durian, "grade": "A"}, {"product": made.coffee}]
    table = await send("PUT", f"/{code}/lineup", items=items)
    assert [(line["code"], line["price"], line["stock"]) for line in table.json()["items"]] == [
        ("A1", 95_000, 100),
        ("B1", 150_000, 50),
    ]
    assert (await send("POST", f"/{code}/rules")).status_code == 200
    assert (await send("POST", f"/{code}/start")).json()["state"] == "live"
    assert (await send("POST", f"/{code}/start")).status_code == 200

    assert (await send("POST", f"/{code}/pin", product="B1")).status_code == 200
    deal = await send("POST", f"/{code}/deals", product="A1", price=80_000, quantity=5, minutes=10)
    assert deal.status_code == 201
    detail = (await client.get(f"{API}/{code}")).json()
    assert detail["snapshot"]["pinned"]["code"] == "B1"
    assert [d["price"] for d in detail["snapshot"]["deals"]] == [80_000]
    assert detail["lineup"][0]["deal"]["left"] == 5

    unpinned = await client.post(f"{API}/{code}/pin", json={"product": None}, headers=host)
    assert unpinned.status_code == 200
    assert (await send("DELETE", f"/{code}/deals/A1")).status_code == 204
    detail = (await client.get(f"{API}/{code}")).json()
    assert (detail["snapshot"]["pinned"], detail["snapshot"]["deals"]) == (None, [])

    assert (await send("POST", f"/{code}/stop")).json()["state"] == "ended"
    late = await send("POST", f"/{code}/pin", product="B1")
    assert (late.status_code, late.json()["code"]) == (409, "session_ended")
    detail = (await client.get(f"{API}/{code}")).json()
    assert (detail["state"], detail["live_url"]) == ("ended", "")


async def test_what_the_contract_promises_of_one_session(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings, bus: Bus
) -> None:
    made = await scene.on_air(sessions)
    await bus.publish(made.code, protocol.Tick(viewers=321, orders=0, units=0))
    await bus.put_snapshot(made.code, protocol.Snapshot(), await bus.seq(made.code))
    answer = await client.get(f"{API}/{made.code.lower()}", headers={"Referer": "https://l.zalo.me/x"})
    assert answer.status_code == 200
    detail = answer.json()
    promised = {"state", "title", "commune", "host", "playback_url", "live_url", "snapshot"}
    assert promised <= detail.keys()
    assert (detail["commune"]["code"], detail["host"]) == (made.commune, "Bí thư")
    snapshot = detail["snapshot"]
    assert {"viewers", "orders", "units", "pinned", "deals", "stock", "comments"} <= snapshot.keys()
    assert (snapshot["viewers"], snapshot["stock"]) == (321, {"A1": 100, "A2": 100, "B1": 50})
    protocol.decode(httpx.Response(200, json=snapshot).content)  # the frame of the socket, to the letter
    verified = ticket(settings, detail["live_url"])
    assert (verified.source, verified.kind) == ("zalo", Kind.VIEWER)
    assert verified.visitor == answer.cookies["visitor"]


async def test_lists_narrow_by_state_and_commune(client: httpx.AsyncClient, sessions: Sessions) -> None:
    live = await scene.on_air(sessions)
    coming = await scene.planned(sessions, "24600")
    over = await scene.on_air(sessions, "24601")
    gone = await scene.on_air(sessions, "24602")
    await service.stop(over.host, over.code)
    await service.takedown(gone.host, gone.code, "Sai quy định")

    async def codes(**query: str) -> list[str]:
        answer = await client.get(API, params=query)
        assert answer.status_code == 200, answer.text
        return [session["code"] for session in answer.json()]

    assert await codes() == [live.code, coming.code, over.code]
    assert await codes(state="live") == [live.code]
    assert await codes(state="scheduled") == [coming.code]
    assert await codes(state="ended", commune="24601") == [over.code]
    assert await codes(commune="24600") == [coming.code]
    assert await codes(commune="99999") == []
    bad = await client.get(API, params={"state": "asleep"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "state")


async def test_a_ticket_is_fresh_and_staff_sockets_are_for_staff(
    client: httpx.AsyncClient, sessions: Sessions, settings: Settings
) -> None:
    made = await scene.on_air(sessions)
    client.cookies.set("visitor", "a-visitor-of-mine")
    first = (await client.get(f"{API}/{made.code}/ticket?s=QR Tờ rơi")).json()
    assert first["state"] == "live"
    known = ticket(settings, first["live_url"])
    assert (known.room, known.visitor, known.source) == (made.code, "a-visitor-of-mine", "qr-t-r-i")
    for path in (f"{API}/{made.code}/ticket", f"{API}/{made.code}"):
        guest = await client.get(path, params={"staff": "1"})
        assert guest.status_code == 403
        stranger = await bearer(sessions, made.stranger.person_id)
        assert (await client.get(path, params={"staff": "1"}, headers=stranger)).status_code == 403
        helper = await bearer(sessions, made.helper.person_id)
        answer = await client.get(path, params={"staff": "1"}, headers=helper)
        seat = ticket(settings, answer.json()["live_url"])
        assert (seat.room, seat.kind) == (f"{made.code}@host", Kind.STAFF)


async def test_guests_and_strangers_change_nothing(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    stranger = await bearer(sessions, made.stranger.person_id)
    requests: list[tuple[str, str, Any]] = [
        ("POST", "", {"commune": made.commune, "title": "Phiên lạ", "starts_at": clock.now().isoformat()}),
        ("PATCH", f"/{made.code}", {"title": "Tên khác"}),
        ("PUT", f"/{made.code}/lineup", {"items": []}),
        ("POST", f"/{made.code}/start", None),
        ("POST", f"/{made.code}/stop", None),
        ("POST", f"/{made.code}/cancel", None),
        ("POST", f"/{made.code}/takedown", {"reason": "không thích"}),
        ("POST", f"/{made.code}/pin", {"product": "A1"}),
        ("POST", f"/{made.code}/deals", {"product": "A1", "price": 1_000, "quantity": 1}),
        ("DELETE", f"/{made.code}/deals/A1", None),
        ("POST", f"/{made.code}/comments/1/hide", None),
        ("POST", f"/{made.code}/rules", None),
        ("GET", f"/{made.code}/checklist", None),
    ]
    for method, path, body in requests:
        guest = await client.request(method, f"{API}{path}", json=body)
        assert (guest.status_code, guest.json()["code"]) == (401, "sign_in_needed"), path
        other = await client.request(method, f"{API}{path}", json=body, headers=stranger)
        assert (other.status_code, other.json()["code"]) == (403, "forbidden"), path
    row = await scene.session_row(sessions, made.code)
    assert (row.state, row.pinned_id) == ("live", None)


BAD_DEALS: list[tuple[dict[str, Any], str]] = [
    ({"product": "A1", "price": "rẻ", "quantity": 1}, "price"),
    ({"product": "A1", "quantity": 1}, "price"),
    ({"product": "A1", "price": -5, "quantity": 1}, "price"),
    ({"product": "A1", "price": 2**70, "quantity": 1}, "price"),
    ({"product": "Z9", "price": 1_000, "quantity": 1}, "product"),
]


async def test_bad_bodies_name_the_field(client: httpx.AsyncClient, sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    host = await bearer(sessions, made.host.person_id)
    for body, field in BAD_DEALS:
        answer = await client.post(f"{API}/{made.code}/deals", json=body, headers=host)
        assert answer.status_code in (409, 422), answer.text
        if answer.status_code == 422:
            assert answer.json()["errors"][0]["field"] == field


async def test_an_unknown_session_is_a_clear_404(client: httpx.AsyncClient, sessions: Sessions) -> None:
    for path in ("KHONGCO", "KHONGCO/ticket", "%3Cscript%3E", "x" * 300):
        answer = await client.get(f"{API}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text


async def test_events_are_taken_and_bad_ones_named(
    client: httpx.AsyncClient, sessions: Sessions, bus: Bus
) -> None:
    made = await scene.on_air(sessions)
    await bus.read(beacons.STREAM, "test", "me", block_ms=10)
    events = [
        {"kind": "impression", "product": "A1", "at": clock.unix_ms()},
        {"kind": "click", "product": "A1"},
    ]
    answer = await client.post(f"{API}/{made.code}/events", json=events)
    assert answer.status_code == 202, answer.text
    entries = await bus.read(beacons.STREAM, "test", "me", block_ms=100)
    found = [event for entry in entries for event in beacons.decode(entry.data)]
    assert [(e.session, e.kind, e.product) for e in found] == [
        (made.code, "impression", "A1"),
        (made.code, "click", "A1"),
    ]
    slow = clock.unix_ms() - 1_800_000  # a phone whose clock is half an hour behind
    late = [{"kind": "click", "product": "A1", "at": slow - 5_000}]
    answer = await client.post(f"{API}/{made.code}/events", params={"sent": slow}, json=late)
    assert answer.status_code == 202, answer.text
    entries = await bus.read(beacons.STREAM, "test", "me", block_ms=100)
    (event,) = beacons.decode(entries[-1].data)
    assert abs(event.at_ms - (slow + 1_795_000)) < 30_000
    for bad in ([{"kind": "bought", "product": "A1"}], [{"kind": "click", "product": "'; --"}], {"kind": 1}):
        answer = await client.post(f"{API}/{made.code}/events", json=bad)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text


async def test_what_is_remembered_is_read_again_after_a_second(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    made = await scene.on_air(sessions)
    path = f"{API}/{made.code}"
    assert (await client.get(path)).json()["snapshot"]["pinned"] is None
    await service.pin(made.host, made.code, "A1")  # in another process
    at, room = rooms._rooms[made.code]
    assert (await client.get(path)).json()["snapshot"]["pinned"] is None
    rooms._rooms[made.code] = (at - 1, room)
    assert (await client.get(path)).json()["snapshot"]["pinned"]["code"] == "A1"
