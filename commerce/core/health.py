"""Is this process alive, can it serve, how is it doing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from sqlalchemy import text

from commerce.core import access, background
from commerce.core.background import Background
from commerce.core.db import sessions
from commerce.core.html import AnyRequest

CHECK_WITHIN_S = 2.0
NAN = float("nan")  # what is not known now

WORKERS = Gauge("chophien_workers", "Worker processes heard lately")
LEADING = Gauge("chophien_workers_leading", "Workers that lead: one, or counts stand still")
TICK_AGE = Gauge("chophien_tick_age_seconds", "Since the counts of live sessions were told")
NEWS_WAITING = Gauge("chophien_news_waiting", "News not delivered yet")
NEWS_LATE = Gauge("chophien_news_late_seconds", "How long the oldest of them has been due")
NEWS_DEAD = Gauge("chophien_news_dead", "News given up")


class Health(msgspec.Struct):
    status: str


class Readiness(msgspec.Struct):
    ready: bool
    engines: dict[str, str]
    """Engine -> "ok" or what is wrong with it."""
    background: Background | None
    """Of the workers; none while PostgreSQL does not say."""


@get("/healthz", opt=access.public)
async def healthz() -> Health:
    """The process runs and answers; says nothing of the engines. What a load balancer should ask."""
    return Health("ok")


@get("/readyz", opt=access.public)
async def readyz(request: AnyRequest) -> Response[Readiness]:
    """200 when every engine answers within two seconds, else 503 naming the ones that do not. Workers are
    told of and decide nothing: pages are served and orders taken without them."""
    engines, behind = await asyncio.gather(ask_engines(request), _background())
    ready = all(answer == "ok" for answer in engines.values())
    return Response(Readiness(ready, engines, behind), status_code=200 if ready else 503)


@get("/metrics", opt=access.public)
async def metrics() -> Response[bytes]:
    """This process's figures, and those of the work behind the pages, in Prometheus' text format."""
    seen = await _background()
    WORKERS.set(seen.workers if seen else NAN)
    LEADING.set(seen.leading if seen else NAN)
    TICK_AGE.set(seen.tick_age_s if seen and seen.tick_age_s is not None else NAN)
    NEWS_WAITING.set(seen.news_waiting if seen else NAN)
    NEWS_LATE.set(seen.news_late_s if seen else NAN)
    NEWS_DEAD.set(seen.news_dead if seen else NAN)
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


async def _background() -> Background | None:
    with contextlib.suppress(Exception):
        return await asyncio.wait_for(background.look(), CHECK_WITHIN_S)
    return None


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
