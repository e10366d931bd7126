"""Orders over JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from litestar import Litestar, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody, QueryParameter

from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, provide_settings, provide_visitor
from commerce.orders import service, shipping
from commerce.orders.desk import desk
from commerce.orders.queries import snapshots
from commerce.orders.wire import CancelRequest, OrderRequest, PurchaseAnswer, TrackedOrder

IdempotencyHeader = Annotated[str | None, HeaderParameter(name="Idempotency-Key")]


@post("/live-sessions/{code:str}/orders", opt=access.public, status_code=201)
async def place(
    request: AnyRequest,
    code: FromPath[str],
    data: JSONBody[OrderRequest],
    idempotency_key: IdempotencyHeader = None,
) -> PurchaseAnswer:
    """Order as a guest. Send the same `Idempotency-Key` again when unsure: it is one order.

    409 `sold_out` (every short line with what is left), `total_changed`, `session_ended`,
    `session_not_started`, `idempotency_conflict`; 422 `invalid`; 503 `busy` with Retry-After.
    """
    # Settings and visitor are asked for here: as dependencies they cost a task group each order.
    return await service.place_order(
        provide_settings(request),
        code,
        data,
        idempotency_key=idempotency_key,
        visitor=provide_visitor(request),
    )


@get("/orders/{code:str}", opt=access.public)
async def track(
    code: FromPath[str], settings: NamedDependency[Settings], key: Annotated[str, QueryParameter()] = ""
) -> TrackedOrder:
    """The order for the buyer who holds its key."""
    return await service.track_order(code, key, public_url=settings.public_url)


@post("/orders/{code:str}/cancel", opt=access.public, status_code=200)
async def cancel(
    code: FromPath[str],
    data: JSONBody[CancelRequest],
    settings: NamedDependency[Settings],
    key: Annotated[str, QueryParameter()] = "",
) -> TrackedOrder:
    """The buyer cancels, until the parcel is packed; the key comes in the body or the address."""
    return await service.cancel_order(code, data.key or key, data.reason, public_url=settings.public_url)


@asynccontextmanager
async def order_desk(_: Litestar) -> AsyncIterator[None]:
    """At the end, what waits at the desk is placed and answered before the database is let go."""
    try:
        yield
    finally:
        await desk.close()
        snapshots.forget()


ROUTES = [place, track, cancel, *shipping.ROUTES]
LIFESPANS = [order_desk]
