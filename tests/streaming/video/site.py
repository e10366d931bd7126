"""A web site for browsers: the real player and broadcaster, two bare pages, the real delivery."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright

from streaming.video.archive import Archive
from streaming.video.delivery import Delivery, Receive, Send
from streaming.video.process import VideoConfig
from streaming.video.studio import NoVideoProcess, Studio
from streaming.video.wire import Wire
from tests.browser import chromium
from tests.streaming.video import recordings
from tests.streaming.video.faults import FaultyLine
from tests.streaming.video.stage import SECRET, config_for, eventually

PAGES = Path(__file__).parent / "pages"
STATIC = Path(__file__).parents[3] / "templates" / "static"
CLOCK_FRAMES = 600  # twenty seconds, then the numbers begin anew
KINDS = {".html": "text/html; charset=utf-8", ".js": "text/javascript"}


def clock_file(folder: Path, size: tuple[int, int]) -> Path:
    """A film for Chromium's fake camera with the frame's number in every frame."""
    file = folder / "clock.mjpeg"
    with file.open("wb") as out:
        for number in range(CLOCK_FRAMES):
            image = recordings.picture(number, *size, square=size[0] // 20)
            jpeg = io.BytesIO()
            Image.fromarray(image).save(jpeg, "JPEG", quality=60)
            out.write(jpeg.getvalue())
    return file


@dataclass
class Site:
    url: str
    studio: Studio
    wire: Wire
    archive: Archive
    browser: Browser
    viewer_browser: Browser
    environ: dict[str, str]
    requests: list[str]
    line: FaultyLine
    """Between hosts and video processes."""

    async def page(self, path: str, *, host: bool = False) -> Page:
        browser = self.browser if host else self.viewer_browser
        context = await browser.new_context(viewport={"width": 360, "height": 800})
        if host:
            await context.grant_permissions(["camera", "microphone"], origin=self.url)
        page = await context.new_page()
        page.on("console", lambda message: print("console:", message.text))
        page.on("pageerror", lambda error: print("page error:", error))
        await page.goto(self.url + path)
        return page

    async def on_air(self, session: str) -> Page:
        """A host's page that is on air."""
        page = await self.page(f"/host.html?session={session}", host=True)
        await page.evaluate("cast.prepare()")
        await page.evaluate("cast.start()")
        await page.wait_for_function("window.state?.phase === 'on'", timeout=20_000)
        return page


def _app(delivery: Delivery, studio: Studio, requests: list[str], line: FaultyLine) -> Callable[..., Any]:
    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path.startswith("/media/"):
            requests.append(path)
            await delivery(scope, receive, send)
            return
        status, body, kind = 200, b"", "application/json"
        if path.startswith("/address/"):
            try:
                session = path.rpartition("/")[2]
                measuring = scope["query_string"] == b"measure"
                ask = studio.measure_address if measuring else studio.ingest_address
                address = await ask(session)
                body = json.dumps({"url": line.through(address)}).encode()
            except NoVideoProcess:
                status = 503
        else:
            file = STATIC / path.removeprefix("/static/") if path.startswith("/static/") else PAGES / path[1:]
            status, body = (200, file.read_bytes()) if file.is_file() else (404, b"")
            kind = KINDS.get(file.suffix, "application/octet-stream")
        headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@contextlib.asynccontextmanager
async def site(
    environ: dict[str, str], folder: Path, size: tuple[int, int] = (640, 360)
) -> AsyncIterator[Site]:
    config = config_for(environ)
    wire, archive = Wire(config.valkey_url), Archive(config.archive)
    await archive.ensure_bucket()
    studio, requests = Studio(wire, archive, SECRET), list[str]()
    delivery = Delivery(Wire(config.valkey_url), Archive(config.archive))
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        line = await stack.enter_async_context(FaultyLine())
        app = _app(delivery, studio, requests, line)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        playwright = await stack.enter_async_context(async_playwright())
        flags = ["--autoplay-policy=no-user-gesture-required", "--use-fake-ui-for-media-stream"]
        flags += ["--use-fake-device-for-media-stream"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        film = f"--use-file-for-fake-video-capture={clock_file(folder, size)}"
        program = chromium.find()
        host = await playwright.chromium.launch(executable_path=program, args=[*flags, film])
        viewer = await playwright.chromium.launch(executable_path=program, args=flags)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        yield Site(url, studio, wire, archive, host, viewer, environ, requests, line)
        await host.close()
        await viewer.close()
        await delivery.stop()
        server.should_exit = True
        await serving
    await wire.close()
    archive.close()


class VideoProcess:
    """A video process of its own, to be killed."""

    def __init__(self, config: VideoConfig) -> None:
        self.config = config
        self._start()

    def _start(self) -> None:
        code = (
            "import json,sys;from streaming.video.process import *;from streaming.video.archive import *;"
            "c=json.loads(sys.argv[1]);a=ArchiveSettings(**c.pop('archive'));"
            "c['allowed_origins']=tuple(c['allowed_origins']);serve(VideoConfig(archive=a,**c))"
        )
        self.process = subprocess.Popen([sys.executable, "-c", code, json.dumps(asdict(self.config))])

    async def ready(self, wire: Wire) -> None:
        address = self.config.address

        async def lives() -> bool:
            return any(process.address == address for process in await wire.processes())

        await eventually(lives, within_s=30)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def restart(self) -> None:
        self._start()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)
