"""The policies as people read them, and how lists are ordered."""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, URLEncodedBody
from markupsafe import Markup

from commerce.core import ranking
from commerce.core.db import sessions
from commerce.core.errors import FieldError, Invalid, NotFound
from commerce.core.i18n import DEFAULT, N_, current_language, translate
from commerce.core.roles import Identity
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.policies import documents, service
from commerce.policies.documents import PRIVACY, RULES, TITLES, Document, current, document


@get("/rules", opt=access.public)
async def rules(request: AnyRequest, viewer: NamedDependency[Identity | None]) -> Response[str]:
    return await _page(request, current(RULES), viewer)


@get("/privacy", opt=access.public)
async def privacy(request: AnyRequest, viewer: NamedDependency[Identity | None]) -> Response[str]:
    return await _page(request, current(PRIVACY), viewer)


@get("/policies/{policy:str}/{version:str}", opt=access.public)
async def version(
    request: AnyRequest,
    policy: FromPath[str],
    version: FromPath[str],
    viewer: NamedDependency[Identity | None],
) -> Response[str]:
    """A version as it was published, also one that no longer counts."""
    return await _page(request, document(_known(policy), version), viewer)


@post("/policies/{policy:str}/{version:str}/accept", opt=access.signed_in, status_code=303)
async def accept(
    policy: FromPath[str],
    version: FromPath[str],
    data: URLEncodedBody[dict[str, str]],
    identity: NamedDependency[Identity],
) -> Response[str]:
    """A yes must be ticked; it is kept with the version and the moment."""
    if data.get("accept") != "1":
        raise Invalid(FieldError("accept", N_("Xin đọc rồi đánh dấu đồng ý.")))
    address = f"/policies/{_known(policy)}/{version}"
    await service.accept(identity, policy, version, where=address)
    return redirect(address)


@get("/rules/ranking", opt=access.public)
async def ranking_page(request: AnyRequest) -> Response[str]:
    """The criteria of every list, from the objects that order it."""
    return page(request, "policies/ranking.html", rankings=ranking.ALL)


def _known(policy: str) -> str:
    if policy not in TITLES:
        raise NotFound
    return policy


async def _page(request: AnyRequest, one: Document, viewer: Identity | None) -> Response[str]:
    accepted = None
    if viewer is not None:
        async with sessions.read() as db:
            mine = await service.acceptances(db, viewer.person_id)
        found = [yes.at for yes in mine if (yes.policy, yes.version) == (one.policy, one.version)]
        accepted = found[0] if found else None
    language = current_language.get()
    context: dict[str, Any] = {
        "policy": one.policy,
        "title": translate(TITLES[one.policy]),
        "version": one.version,
        "newest": one.version == current(one.policy).version,
        "text": Markup(one.texts.get(language, one.texts[DEFAULT])),  # noqa: S704 - a file of ours
        "others": [other.version for other in documents.versions(one.policy) if other.version != one.version],
        "accepted": accepted,
    }
    return page(request, "policies/document.html", **context)


ROUTES = [rules, privacy, version, accept, ranking_page]
