"""The catalogue asked with nonsense by somebody who may do everything: a clear no, never a crash."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
from litestar import Litestar

from commerce.core.db import Sessions
from commerce.core.roles import Role
from tests import factories

OURS = tuple(
    f"/api/v1/{part}" for part in ["products", "sellers", "register", "listings", "communes", "banks"]
)
NONSENSE: list[Any] = [
    *(None, True, -1, 0, 2**31, 2**63, 10**30, 1.5, [], {}, ["a"], {"a": 1}),
    *("", "\0", "a\0b", "x" * 10_000, "\ud800", "‮đảo", "<b>", "{x}", "%s", "9999-12-31", "2026-02-30"),
]
NUMBERS = ["1", "0", "-1", str(2**63), str(10**30), "abc", "%00", "%FF"]
ROUNDS = 12


def operations(app: Litestar) -> Iterator[tuple[str, str, list[str], dict[str, Any]]]:
    """(method, path, query fields, body fields) of our routes, as our own description gives them."""
    document = app.openapi_schema.to_schema()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        if not path.startswith(OURS):
            continue
        for method, operation in methods.items():
            asked = [field["name"] for field in operation.get("parameters", []) if field["in"] == "query"]
            content = operation.get("requestBody", {}).get("content", {})
            reference = next((kind["schema"].get("$ref", "") for kind in content.values()), "")
            body = schemas.get(reference.rsplit("/", 1)[-1], {}).get("properties", {})
            yield method.upper(), path, asked, body


async def test_nonsense_everywhere(app: Litestar, client: httpx.AsyncClient, sessions: Sessions) -> None:
    dice = random.Random(66)
    async with sessions.begin() as db:
        token = await factories.token(db, await factories.person(db, Role.ADMIN))
        await factories.product(db, await factories.seller(db), code="that-co")
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    answers: dict[int, int] = {}
    for (method, path, asked, body), _ in itertools.product(operations(app), range(ROUNDS)):
        for name in ("seller_id", "photo_id", "recognition_id"):
            path = path.replace(f"{{{name}}}", dice.choice(NUMBERS))
        path = path.replace("{code}", dice.choice(["that-co", "khong-co", "24505", "%00", "%ED%A0%80"]))
        words = [
            str(value).encode("utf-8", "surrogatepass") for value in dice.choices(NONSENSE, k=len(asked))
        ]
        query = "&".join(f"{name}={quote(word)}" for name, word in zip(asked, words, strict=True))
        filled = {name: dice.choice(NONSENSE) for name in body if dice.random() < 0.8}
        content = json.dumps(filled).encode() if body else b""
        answer = await client.request(method, f"{path}?{query}", headers=headers, content=content)
        answers[answer.status_code] = answers.get(answer.status_code, 0) + 1
        told = (method, path, query[:200], filled, answer.text[:300])
        assert answer.status_code < 500, told
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", told
            assert answer.json()["code"], told
            assert answer.json()["detail"], told
    assert answers.keys() & {404, 422}, "nonsense was refused at all"
