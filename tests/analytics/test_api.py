"""The analytics API: who may read what, and that it says what the rollups say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import httpx
import pytest

from commerce.analytics import rollup
from commerce.core import db as core_db
from commerce.core.roles import Role
from tests import factories
from tests.analytics import reference as ref
from tests.analytics import worlds

SignIn = Callable[..., Awaitable[dict[str, str]]]


@pytest.fixture
async def sign_in() -> SignIn:
    async def make(role: Role, commune_code: str = factories.EA_KNUEC) -> dict[str, str]:
        async with core_db.sessions.begin() as db:
            person = await factories.person(db, role, commune_code=commune_code)
            return {"Authorization": f"Bearer {await factories.token(db, person)}"}

    return make


async def played(stage: worlds.Stage) -> ref.World:
    """A small session that is over: three people, five views, an order by one and a helper's order."""
    first, second = stage.session_ids
    start = worlds.START
    world = ref.World(
        {
            first: ref.Session(first, start, start + 600_000, ["A1", "A2"]),
            second: ref.Session(second, start + worlds.DAY, start + worlds.DAY + 60_000, ["A1"]),
        }
    )
    for n, (session, visitor, source, came, left) in enumerate(
        [
            (first, "v1", "zalo", 0, 300_000),
            (first, "v2", "qr", 60_000, 120_000),
            (first, "v3", "qr", 60_000, 65_000),
            (first, "v3", "zalo", 200_000, 260_000),
            (second, "v1", "zalo", worlds.DAY, worlds.DAY + 30_000),
        ]
    ):
        world.visits.append(ref.Visit(session, visitor, source, start + came, start + left, str(n)))
    for n, kind in enumerate(["impression", "impression", "impression", "impression", "click"]):
        world.events.append(ref.Event(first, "v1", kind, "A1", start + 70_000 + n))
    world.orders.append(ref.Order(0, first, "v1", "0901", start + 100_000, [("A1", 2, 190_000)], paid=True))
    world.orders.append(ref.Order(0, first, "", "0902", start + 110_000, [("A2", 1, 70_000)], helper=True))
    async with core_db.sessions.begin() as db:
        await worlds.store(db, stage, world)
    return world


async def code_of(session_id: int) -> str:
    from sqlalchemy import select

    from commerce.live.models import LiveSession

    async with core_db.sessions.read() as db:
        code = await db.scalar(select(LiveSession.code).where(LiveSession.id == session_id))
    assert code is not None
    return code


async def test_a_session_says_its_measures_by_their_words(client: httpx.AsyncClient, sign_in: SignIn) -> None:
    stage = await worlds.set_stage()
    await played(stage)
    answer = await client.get(
        f"/api/v1/analytics/live-sessions/{await code_of(stage.session_ids[0])}",
        headers=await sign_in(Role.PROVINCE),
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    expected = {
        "views": 4, "effective_views": 3, "unique_viewers": 3, "reach": 3, "pcu": 3, "impressions": 4,
        "clicks": 1, "ctr": 0.25, "orders": 2, "units": 3, "gmv": 260_000, "net_sales": 260_000, "paid": 1,
        "buyers": 2, "by_helper": 1, "ctor": 2.0, "gpm": 65_000_000, "average_watch_time": 106.25,
    }  # fmt: skip
    assert {key: body["measures"][key] for key in expected} == expected
    assert body["measures"]["cvr"] == pytest.approx(2 / 3, abs=1e-6)
    assert body["measures"]["acu"] == pytest.approx(425 / 600, abs=1e-6)
    assert sum(minute["orders"] for minute in body["minutes"]) == 2
    assert {s["source"]: (s["views"], s["orders"]) for s in body["sources"]} == {
        "zalo": (2, 1),
        "qr": (2, 0),
        "helper": (0, 1),
    }
    assert [(p["code"], p["gmv"]) for p in body["products"]] == [("A1", 190_000), ("A2", 70_000)]
    assert body["attribution"] == {"visit": 1, "helper": 1}
    assert body["watch_curve"][:3] == [
        {"seconds": 0, "views": 4},
        {"seconds": 10, "views": 3},
        {"seconds": 30, "views": 3},
    ]


async def test_a_period_counts_everybody_once(client: httpx.AsyncClient, sign_in: SignIn) -> None:
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    url = "/api/v1/analytics/communes"
    headers = await sign_in(Role.PROVINCE)
    both = (await client.get(url, params={"from": "2025-08-24", "to": "2025-08-25"}, headers=headers)).json()
    (figures,) = [c for c in both["communes"] if c["code"] == factories.EA_KNUEC]
    assert figures["measures"]["sessions"] == 2
    assert figures["measures"]["views"] == 5
    assert figures["measures"]["unique_viewers"] == 3, "v1 came on both days and is one viewer"
    assert figures["last_session_on"] == "2025-08-25"
    second = (
        await client.get(url, params={"from": "2025-08-25", "to": "2025-08-25"}, headers=headers)
    ).json()
    (figures,) = [c for c in second["communes"] if c["code"] == factories.EA_KNUEC]
    assert figures["measures"]["unique_viewers"] == 1
    assert second["from"] == second["to"] == "2025-08-25"


async def test_people_of_a_commune_read_their_own_only(client: httpx.AsyncClient, sign_in: SignIn) -> None:
    stage = await worlds.set_stage()
    await played(stage)
    code = await code_of(stage.session_ids[0])
    own, other = await sign_in(Role.OFFICER), await sign_in(Role.OFFICER, "24490")
    path = f"/api/v1/analytics/live-sessions/{code}"
    assert (await client.get(path, headers=own)).status_code == 200
    refused = await client.get(path, headers=other)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    communes = (await client.get("/api/v1/analytics/communes", headers=other)).json()["communes"]
    assert [commune["code"] for commune in communes] == ["24490"]
    assert (await client.get(path, headers=await sign_in(Role.SELLER))).status_code == 403
    assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "gestern"}, "from"),
        ({"to": "2025-13-01"}, "to"),
        ({"from": "2025-08-25", "to": "2025-08-24"}, "from"),
        ({"from": "2020-01-01", "to": "2025-08-24"}, "from"),
    ],
)
async def test_a_period_that_is_none_is_refused_by_name(
    client: httpx.AsyncClient, sign_in: SignIn, params: dict[str, str], field: str
) -> None:
    answer = await client.get(
        "/api/v1/analytics/communes", params=params, headers=await sign_in(Role.PROVINCE)
    )
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["errors"]] == [field]


async def test_an_unknown_session_is_not_found(client: httpx.AsyncClient, sign_in: SignIn) -> None:
    answer = await client.get("/api/v1/analytics/live-sessions/NOPE", headers=await sign_in(Role.PROVINCE))
    assert answer.status_code == 404
