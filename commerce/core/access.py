"""Who may use a route. Deny by default: a handler that does not say so keeps the app from starting.

    @get("/p/{code:str}", opt=access.public)
    @post("/{code:str}/pin", opt=access.roles(Role.HOST, Role.HELPER))

Rights within one commune are the service functions' business (`Identity.must`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from commerce.core.errors import Forbidden, SignInNeeded
from commerce.core.roles import Identity, Role

KEY = "access"


class RoleNeeded(Forbidden):
    """Refused at the door: the route is for other roles. What a service refuses stays `forbidden`."""

    code = "role_needed"


public: dict[str, Any] = {KEY: "public"}
signed_in: dict[str, Any] = {KEY: "signed_in"}
signature: dict[str, Any] = {KEY: "signature"}
"""Programs that prove themselves by a signature in the request (webhooks); the handler checks it."""


def roles(*allowed: Role) -> dict[str, Any]:
    """Any of these, and administrators."""
    return {KEY: frozenset({*allowed, Role.ADMIN})}


async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raises `SignInNeeded` or `RoleNeeded`. Async because Litestar would run it in a thread otherwise."""
    rule = handler.opt.get(KEY)
    if rule in ("public", "signature") or is_framework(handler):
        return
    identity: Identity | None = connection.scope["state"].get("identity")
    if identity is None:
        raise SignInNeeded
    if rule == "signed_in":
        return
    if not isinstance(rule, frozenset) or not identity.has(*rule):
        raise RoleNeeded


def is_framework(handler: BaseRouteHandler) -> bool:
    """Litestar's own: static files, the OpenAPI document and OPTIONS answers."""
    return str(getattr(handler.fn, "__module__", "")).startswith("litestar.")


def undeclared(app: Litestar) -> Iterable[str]:
    """Routes that do not state who may use them."""
    for route in app.routes:
        for handler in getattr(route, "route_handlers", [getattr(route, "route_handler", None)]):
            if handler is not None and not is_framework(handler) and KEY not in handler.opt:
                yield f"{route.path} ({handler})"


def require_declarations(app: Litestar) -> None:
    """Called when the app is put together; raises with every undeclared route."""
    missing = sorted(set(undeclared(app)))
    if missing:
        raise RuntimeError("routes that do not say who may use them: " + ", ".join(missing))
