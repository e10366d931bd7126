"""Is this process alive, can it serve, how is it doing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from commerce.core import access
from commerce.core.db import sessions
from commerce.core.html import AnyRequest

CHECK_WITHIN_S = 2.0


class Health(msgspec.Struct):
    status: str


class Readiness(msgspec.Struct):
    ready: bool
    engines: dict[str, str]
    """Engine -> "ok" or what is wrong with it."""


@get("/healthz", opt=access.public)
async def healthz() -> Health:
    """The process runs and answers; says nothing of the engines. What a load balancer should ask."""
    return Health("ok")


@get("/readyz", opt=access.public)
async def readyz(request: AnyRequest) -> Response[Readiness]:
    """200 when every engine answers within two seconds, else 503 naming the ones that do not."""
    engines = await ask_engines(request)
    ready = all(answer == "ok" for answer in engines.values())
    return Response(Readiness(ready, engines), status_code=200 if ready else 503)


@get("/metrics", opt=access.public, sync_to_thread=False)
def metrics() -> Response[bytes]:
    """This process's figures in Prometheus' text format."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def ask_engines(request: AnyRequest) -> dict[str, str]:
    """Engine -> "ok" or what is wrong with it, within two seconds."""
    checks: dict[str, Callable[[], Awaitable[object]]] = {
        "postgresql": _postgresql,
        "valkey": request.app.state.bus.ping,
        "s3": request.app.state.storage.check,
    }
    answers = await asyncio.gather(*(_ask(check) for check in checks.values()))
    return dict(zip(checks, answers, strict=True))


async def _postgresql() -> None:
    async with sessions.read() as db:
        await db.execute(text("SELECT 1"))


async def _ask(check: Callable[[], Awaitable[object]]) -> str:
    try:
        await asyncio.wait_for(check(), CHECK_WITHIN_S)
    except TimeoutError:
        return "no answer within 2 s"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "ok"


ROUTES = [healthz, readyz, metrics]
