"""A market small enough to be filmed: web, one video process and the worker's part for pictures in one event
loop, on the engines of the test; a commune with people, goods and a session ready to begin."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from commerce.app import create_app
from commerce.core.db import sessions
from commerce.core.outbox import Relay
from commerce.core.settings import Settings
from commerce.live.news import Newsroom
from commerce.live.replays import Assembler
from commerce.live.video import Pictures, archive_settings
from commerce.worker import topics
from streaming.bus import Bus
from streaming.video.process import VideoConfig, running
from tests import factories
from tests.browser import chromium
from tests.browser.conftest import ARGUMENTS, PHONE
from tests.live import scene
from tests.live.scene import Scene
from tests.streaming.video.stage import eventually, free_port


@dataclass
class Stand:
    url: str
    settings: Settings
    scene: Scene
    pictures: Pictures
    assembler: Assembler
    video: VideoConfig
    host: Browser
    """With a camera."""
    viewer: Browser
    token: str
    contexts: list[BrowserContext] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def phone(self, path: str, *, staff: bool = False, camera: bool = True) -> Page:
        browser = self.host if staff else self.viewer
        context = await browser.new_context(
            base_url=self.url, viewport=PHONE, has_touch=True, is_mobile=True, locale="vi-VN"
        )
        self.contexts.append(context)
        if staff:
            await context.add_cookies([{"name": "sign_in", "value": self.token, "url": self.url}])
            if camera:
                await context.grant_permissions(["camera", "microphone"], origin=self.url)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        await page.goto(path)
        return page


@contextlib.asynccontextmanager
async def web(settings: Settings) -> AsyncIterator[None]:
    """A web process on `settings.port`."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", settings.port))
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(settings),
                log_config=None,
                lifespan="on",
                timeout_graceful_shutdown=1,
                server_header=False,
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started, within_s=20)
        yield
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def work(settings: Settings) -> AsyncIterator[tuple[Pictures, Assembler]]:
    """The worker's part for pictures."""
    bus, pictures, stop = Bus(settings.valkey_url), Pictures(settings), asyncio.Event()
    newsroom = Newsroom(bus)
    assembler = Assembler(pictures, settings)
    relay = Relay(topics(newsroom, pictures.moved, pictures.outlets))
    parts = [
        asyncio.create_task(part)
        for part in (relay.run(stop), pictures.follow(stop), newsroom.mend(), assembler.run())
    ]
    yield pictures, assembler
    stop.set()
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)
    await newsroom.turn.close()
    await bus.close()
    await pictures.close()


def filmed(settings: Settings) -> tuple[Settings, VideoConfig]:
    """The same market on free ports, and its video process."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    made = dataclasses.replace(settings, port=port, public_url=url)
    config = VideoConfig(
        settings.valkey_url,
        archive_settings(settings),
        settings.secret_key,
        port=free_port(),
        rtmp_port=free_port(),
        allowed_origins=(url,),
        private_targets=True,
    )
    rtmp = {"RTMP_URL": f"rtmp://127.0.0.1:{config.rtmp_port}/live"}
    return dataclasses.replace(made, extra={**settings.extra, **rtmp}), config


@contextlib.asynccontextmanager
async def stand(settings: Settings) -> AsyncIterator[Stand]:
    """Everything above, and two browsers. Fails the test on a script error."""
    made, config = filmed(settings)
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(web(made))
        pictures, assembler = await stack.enter_async_context(work(made))
        await stack.enter_async_context(running(config))
        people = await scene.planned(sessions)
        async with sessions.begin() as db:
            token = await factories.token(db, people.host.person_id)
        playwright = await stack.enter_async_context(async_playwright())
        flags = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
        browsers = [
            await playwright.chromium.launch(executable_path=chromium.find(), args=flags) for _ in range(2)
        ]
        on_show = Stand(
            made.public_url, made, people, pictures, assembler, config, browsers[0], browsers[1], token
        )
        yield on_show
        for context in on_show.contexts:
            await context.close()
        for browser in browsers:
            await browser.close()
    assert not on_show.errors, on_show.errors
