"""The web process: create_app() puts the market together; serve() runs it.

A module takes part by having an `api.py` (mounted under /api/v1) and a `pages.py` (mounted at /), each with
`ROUTES`; `live` also has a `home.py` of the market's own pages and an `office.py` of the commune's staff,
`orders` a `stall.py` of the farmer's, a `helping.py` of the helper's, `tracking.py` and
`wholesale_pages.py` of the buyer's.
`WEBHOOKS` in api.py are mounted outside /api/v1; `LIFESPANS` are entered at start, left at stop.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

import uvicorn
from litestar import Litestar, MediaType, Response, Router, get
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.types import ASGIApp, Receive, Scope, Send

from commerce.accounts import sms
from commerce.accounts.service import find_identity
from commerce.core import access, garbage, health, logging, static, web
from commerce.core.db import sessions
from commerce.core.html import STATIC, AnyRequest, page
from commerce.core.settings import Settings
from commerce.core.storage import Storage
from commerce.live.video import Pictures
from commerce.models import MODULES
from streaming.bus import Bus
from streaming.video.delivery import Delivery

PHOTOS = "/media/photos/"
MAX_BODY = 64 * 1024  # bytes; a photo upload says more at its own route


@get("/offline", opt=access.public)
async def offline(request: AnyRequest) -> Response[str]:
    """What the service worker shows without a network."""
    return page(request, "market/offline.html")


@get("/design", opt=access.public)
async def design(request: AnyRequest) -> Response[str]:
    """Every component on one page, for those who build screens."""
    return page(request, "market/components.html")


@get("/sw.js", opt=access.public, sync_to_thread=False)
def service_worker() -> Response[bytes]:
    """Served from the root, since a worker rules only what lies below its own address."""
    body = (STATIC / "js" / "sw.js").read_bytes()
    return Response(body, media_type="text/javascript", headers={"Cache-Control": "no-cache"})


@get("/manifest.webmanifest", opt=access.public, sync_to_thread=False)
def manifest() -> Response[bytes]:
    """What a phone needs to put the market on its home screen."""
    return Response((STATIC / "manifest.webmanifest").read_bytes(), media_type="application/manifest+json")


@get("/robots.txt", opt=access.public, sync_to_thread=False, media_type=MediaType.TEXT)
def robots() -> str:
    return "User-agent: *\nDisallow: /orders/\nDisallow: /api/\n"


class MediaFirst:
    """Playlists and segments go straight to the delivery: hundreds of requests a viewer and hour need no
    routing. Photos are the catalogue's."""

    def __init__(self, app: ASGIApp, delivery: Delivery) -> None:
        self.app, self.delivery = app, delivery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith("/media/") and not path.startswith(PHOTOS):
            await self.delivery(cast(Any, scope), cast(Any, receive), cast(Any, send))
        else:
            await self.app(scope, receive, send)


def collect(part: str, name: str) -> Iterable[Any]:
    """`name` of every module's `part` (api, pages …) that exists."""
    for module in MODULES:
        path = f"commerce.{module}.{part}"
        if find_spec(path) is not None:
            yield from getattr(import_module(path), name, [])


def create_app(settings: Settings) -> Litestar:
    """The Litestar application. Opens nothing yet; engines are reached when the app starts."""
    bus = Bus(settings.valkey_url)
    pictures = Pictures(settings)

    @asynccontextmanager
    async def engines(_: Litestar) -> AsyncIterator[None]:
        sessions.configure(settings.database_url)
        try:
            yield
        finally:
            await pictures.close()
            await bus.close()
            await sessions.close()

    app = Litestar(
        route_handlers=[
            *health.ROUTES,
            offline,
            design,
            service_worker,
            manifest,
            robots,
            *collect("pages", "ROUTES"),
            *collect("home", "ROUTES"),
            *collect("office", "ROUTES"),
            *collect("outside_pages", "ROUTES"),
            *collect("stall", "ROUTES"),
            *collect("helping", "ROUTES"),
            *collect("summary", "ROUTES"),
            *collect("tracking", "ROUTES"),
            *collect("wholesale_pages", "ROUTES"),
            *collect("api", "WEBHOOKS"),
            Router("/api/v1", route_handlers=[*collect("api", "ROUTES")]),
            *static.ROUTES,
        ],
        dependencies={
            "viewer": Provide(web.provide_viewer, sync_to_thread=False),
            "identity": Provide(web.provide_identity, sync_to_thread=False),
            "visitor": Provide(web.provide_visitor, sync_to_thread=False),
            "settings": Provide(web.provide_settings, sync_to_thread=False),
            "storage": Provide(web.provide_storage, sync_to_thread=False),
        },
        guards=[access.guard],
        exception_handlers={Exception: web.handle_error},
        lifespan=[engines, *collect("api", "LIFESPANS")],
        openapi_config=_openapi(),
        request_max_body_size=MAX_BODY,
        state=State(
            {"settings": settings, "storage": Storage(settings), "bus": bus, "sms": sms.provider(settings)}
            | {"pictures": pictures}
        ),
        logging_config=None,
        debug=False,
    )
    access.require_declarations(app)
    media = MediaFirst(app.asgi_handler, pictures.delivery)
    app.asgi_handler = web.RequestFrame(media, settings, find_identity)
    return app


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Chợ Phiên",
        version="1",
        description="Live commerce for the communes and wards of Đắk Lắk.",
        path="/api/v1/schema",
        render_plugins=[JsonRenderPlugin(path="/"), JsonRenderPlugin(path="/openapi.json")],
        components=Components(security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer")}),
    )


def serve(settings: Settings) -> None:
    """Run one web process until SIGTERM. Several may share the port; the kernel spreads connections."""
    logging.configure("web")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((settings.bind, settings.port))
    config = uvicorn.Config(
        create_app(settings),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        backlog=4096,
        server_header=False,
        proxy_headers=settings.production,
        forwarded_allow_ips="*" if settings.production else None,
        timeout_graceful_shutdown=5,
        timeout_keep_alive=30,
    )
    garbage.settle()
    uvicorn.Server(config).run(sockets=[listener])
