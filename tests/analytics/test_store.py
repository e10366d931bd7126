"""The data store: keys that read, views without a person in them."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import text

from commerce.analytics import rollup, store
from commerce.core import db as core_db
from commerce.core.roles import Role
from tests.analytics import worlds
from tests.analytics.test_api import SignIn, played, sign_in

__all__ = ["sign_in"]


@pytest.fixture
async def key(client: httpx.AsyncClient, sign_in: SignIn) -> str:
    stage = await worlds.set_stage()
    await played(stage)
    for session_id in stage.session_ids:
        await rollup.roll_up_session(session_id)
    answer = await client.post(
        "/province/store", data={"name": "Kho dữ liệu tỉnh"}, headers=await sign_in(Role.PROVINCE)
    )
    assert answer.status_code == 200
    found = re.search(r"<code>(kho_[\w-]+)</code>", answer.text)
    assert found is not None
    return found[1]


async def test_a_key_reads_every_view(client: httpx.AsyncClient, key: str) -> None:
    for name in (*store.DIMENSIONS, *store.FACTS):
        answer = await client.get(f"/api/v1/store/{name}", headers={"X-Store-Key": key})
        assert answer.status_code == 200, answer.text
        assert answer.json()["next"] is None
    period = {"from": "2025-08-24", "to": "2025-08-24"}
    answer = await client.get("/api/v1/store/fact_session", params=period, headers={"X-Store-Key": key})
    (row,) = answer.json()["rows"]
    assert (row["commune_code"], row["views"], row["gmv"]) == ("24505", 4, 260_000)
    assert (await client.get("/api/v1/store/person", headers={"X-Store-Key": key})).status_code == 404


async def test_without_a_living_key_nothing_is_read(
    client: httpx.AsyncClient, key: str, sign_in: SignIn
) -> None:
    url = "/api/v1/store/dim_commune"
    assert (await client.get(url)).json()["code"] == "store_key_needed"
    assert (await client.get(url, headers={"X-Store-Key": "kho_x"})).status_code == 401
    province = await sign_in(Role.PROVINCE)
    assert (await client.post("/province/store/1/revoke", headers=province)).status_code == 303
    assert (await client.get(url, headers={"X-Store-Key": key})).status_code == 401


async def test_the_key_itself_is_not_kept(client: httpx.AsyncClient, key: str) -> None:
    async with core_db.sessions.read() as db:
        stored = (await db.execute(text("SELECT to_jsonb(k)::text FROM store_key k"))).scalars().all()
    assert stored
    assert not any(key in row for row in stored)


async def test_no_view_holds_a_person(sessions: core_db.Sessions) -> None:
    async with sessions.read() as db:
        columns = (
            await db.execute(
                text("SELECT column_name FROM information_schema.columns WHERE table_schema = 'store'")
            )
        ).scalars()
        names = set(columns)
    assert {"session_code", "commune_code", "day"} <= names
    assert not {name for name in names if re.search("visitor|phone|buyer_|person|host", name)}
