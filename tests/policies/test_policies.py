"""Policies are versioned, a yes is kept with its version, the order of lists is published as it runs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select, text

import commerce.app  # noqa: F401 - every list of the market is known
from commerce.catalog import queries as catalog
from commerce.catalog.queries import Search
from commerce.core import ranking
from commerce.core.clock import now
from commerce.core.db import Sessions
from commerce.core.i18n import LANGUAGES
from commerce.core.ranking import Criterion
from commerce.core.roles import Role
from commerce.live import service as live
from commerce.policies import documents, service
from commerce.policies.models import PolicyAcceptance, PolicyVersion
from tests import factories
from tests.live.scene import identity


def test_a_published_text_is_never_changed() -> None:
    """If this fails: give the new text a file of its own, named by its day, and add it to index.json."""
    index = json.loads((documents.FOLDER / "index.json").read_text("utf-8"))
    found = {
        f"{path.parent.name}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for path in documents.FOLDER.glob("*/*.html")
    }
    assert found == index


@pytest.mark.parametrize("policy", documents.TITLES)
def test_every_version_is_there_in_every_language(policy: str) -> None:
    for one in documents.versions(policy):
        assert set(one.texts) == set(LANGUAGES), one.version
        assert all(text.count("<h2>") == one.texts["vi"].count("<h2>") for text in one.texts.values())


async def test_versions_are_published_once_with_their_moment(sessions: Sessions) -> None:
    await service.publish()
    async with sessions.begin() as db:
        before = {(row.policy, row.since) for row in await db.scalars(select(PolicyVersion))}
        assert await service.in_force(db, documents.RULES, now()) == documents.current("rules").version
    await service.publish()
    async with sessions.begin() as db:
        assert {(row.policy, row.since) for row in await db.scalars(select(PolicyVersion))} == before


async def test_a_yes_must_be_ticked_and_is_kept_with_version_and_moment(
    client: httpx.AsyncClient, sessions: Sessions
) -> None:
    version = documents.current("rules").version
    async with sessions.begin() as db:
        person = await factories.person(db, Role.SELLER)
        client.headers["Authorization"] = f"Bearer {await factories.token(db, person)}"
    page = await client.get("/rules")
    assert 'name="accept"' in page.text
    assert "checked" not in page.text
    address = f"/policies/rules/{version}"
    assert (await client.post(f"{address}/accept", data={})).status_code == 422
    await client.post(f"{address}/accept", data={"accept": "1"})
    await client.post(f"{address}/accept", data={"accept": "1"})
    async with sessions.read() as db:
        kept = (await db.scalars(select(PolicyAcceptance))).one()
    assert (kept.person_id, kept.policy, kept.version, kept.where) == (person, "rules", version, address)
    assert "Bạn đã đồng ý bản này" in (await client.get("/rules")).text
    assert (await client.get("/policies/rules/1999-01-01")).status_code == 404
    assert (await client.get("/policies/nothing/1999-01-01")).status_code == 404


async def test_a_host_accepts_the_newest_rulebook_before_a_session(sessions: Sessions) -> None:
    async with sessions.begin() as db:
        host = await factories.person(db, Role.HOST)
        await factories.live_session(db, host, {}, code="PHIEN", state="scheduled", rules_accepted_at=None)
    await live.accept_rules(identity(host, (Role.HOST, factories.EA_KNUEC)), "PHIEN")
    async with sessions.read() as db:
        kept = (await db.scalars(select(PolicyAcceptance))).one()
    assert (kept.person_id, kept.version) == (host, documents.current("rules").version)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_the_ranking_page_shows_every_list_and_weight(client: httpx.AsyncClient, language: str) -> None:
    page = (await client.get("/rules/ranking", headers={"Accept-Language": language})).text
    names = [one.name for one in ranking.ALL]
    assert len(names) == len(set(names))
    for one in ranking.ALL:
        assert f'id="h-{one.name}"' in page
        for name, criterion in one.criteria.items():
            assert f'data-criterion="{one.name}.{name}"' in page
            assert f"{criterion.weight:+d}" in page


async def test_the_weights_on_the_page_are_those_that_order_the_list(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sessions.begin() as db:
        phe = await factories.seller(db, name="Cà phê Bà Tư")
        await factories.product(db, phe, name="An sữa chua", search="an sua chua ca phe ba tu")
        other = await factories.seller(db, name="HTX Khác")
        await factories.product(db, other, name="Phê pha đậm vị Cà", search="phe pha dam vi ca htx khac")
        await db.execute(text("UPDATE product SET search = ' ' || search"))

    async def order() -> list[str]:
        async with sessions.read() as db:
            return [one.name for one in (await catalog.search_products(db, Search(q="ca phe"))).items]

    assert await order() == ["Phê pha đậm vị Cà", "An sữa chua"]
    heavier = dict(catalog.SEARCH.criteria) | {"typed": Criterion("", 9)}
    monkeypatch.setattr(ranking, "ALL", [])  # where the made-up one registers itself
    monkeypatch.setattr(catalog, "SEARCH", replace(catalog.SEARCH, criteria=heavier))
    assert await order() == ["An sữa chua", "Phê pha đậm vị Cà"]
