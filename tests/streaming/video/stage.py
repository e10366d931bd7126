"""A video process, the delivery of a web process, and a host, in one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from streaming.video.archive import Archive, ArchiveSettings
from streaming.video.delivery import Delivery
from streaming.video.process import VideoConfig, running
from streaming.video.sessions import Sessions
from streaming.video.studio import Studio
from streaming.video.wire import Wire
from tests.streaming.video.recordings import Recording

SECRET = "a secret of the tests, thirty-two letters at least"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Stage:
    """All that a test needs. `url` is where viewers fetch."""

    url: str
    config: VideoConfig
    wire: Wire
    archive: Archive
    studio: Studio
    http: httpx.AsyncClient
    session: str
    sessions: Sessions | None = None

    async def text(self, path: str, **kwargs: Any) -> str:
        answer = await self.http.get(f"{self.url}/media/{self.session}/{path}", **kwargs)
        assert answer.status_code == 200, (path, answer.status_code, answer.text)
        return answer.text

    async def status_code(self, path: str, **kwargs: Any) -> int:
        answer = await self.http.get(f"{self.url}/media/{self.session}/{path}", **kwargs)
        return answer.status_code


def config_for(environ: dict[str, str], **changes: Any) -> VideoConfig:
    archive = ArchiveSettings(
        environ["CHOPHIEN_S3_ENDPOINT"],
        environ["CHOPHIEN_S3_ACCESS_KEY"],
        environ["CHOPHIEN_S3_SECRET_KEY"],
        environ["CHOPHIEN_S3_BUCKET"],
    )
    values: dict[str, Any] = {"port": free_port(), "rtmp_port": free_port(), **changes}
    return VideoConfig(environ["CHOPHIEN_VALKEY_URL"], archive, SECRET, **values)


@contextlib.asynccontextmanager
async def web(delivery: Delivery) -> AsyncIterator[str]:
    """The delivery on a port of its own; its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(delivery, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        await delivery.stop()
        server.should_exit = True
        await task


@contextlib.asynccontextmanager
async def stage(environ: dict[str, str], *, process: bool = True, **changes: Any) -> AsyncIterator[Stage]:
    config = config_for(environ, **changes)
    wire, archive = Wire(config.valkey_url), Archive(config.archive)
    await archive.ensure_bucket()
    delivery = Delivery(Wire(config.valkey_url), Archive(config.archive))
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(web(delivery))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=20))
        studio = Studio(wire, archive, SECRET)
        made = Stage(url, config, wire, archive, studio, http, f"T{secrets.token_hex(4)}")
        if process:
            made.sessions = await stack.enter_async_context(running(config))
            await eventually(lambda: wire.processes())
        yield made
    await wire.close()
    archive.close()


async def eventually(ask: Callable[[], Any], within_s: float = 10) -> Any:
    """Asks until the answer is true, and returns it."""
    until = time.monotonic() + within_s
    while True:
        answer = ask()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < until, "it did not happen"
        await asyncio.sleep(0.05)


@dataclass
class Host:
    """A host's page without a page: sends a recording in chunks as time passes, holds what is not stored."""

    stage: Stage
    recording: Recording
    chunk_s: float = 0.2
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    device: str = ""
    take: bool = False
    mine: bool = False
    at: int = 0
    """The next chunk to be recorded."""
    received: int = -1
    stored: int = -1
    ends: list[dict[str, Any]] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    held: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seconds = self.recording.frames / self.recording.fps
        size = int(len(self.recording.data) / seconds * self.chunk_s)
        self.chunks = self.recording.chunks(size)

    async def address(self) -> str:
        return await self.stage.studio.ingest_address(self.stage.session)

    @contextlib.asynccontextmanager
    async def line(self, address: str = "") -> AsyncIterator[ClientConnection]:
        """A connection on which the server has said what it wants."""
        async with connect(address or await self.address(), compression=None) as socket_:
            first = min(self.held, default=self.at)
            hello = {"type": "hello", "recording": self.id, "first": first, "device": self.device}
            hello |= {"take": self.take, "mine": self.mine}
            await socket_.send(msgspec.json.encode(hello).decode())
            listening = asyncio.create_task(self._listen(socket_))
            try:
                yield socket_
            finally:
                listening.cancel()

    async def _listen(self, socket_: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in socket_:
                said = msgspec.json.decode(message)
                if said["type"] == "ack":
                    self.received, self.stored = said["received"], said["stored"]
                    for number in [n for n in self.held if n <= self.stored]:
                        del self.held[number]
                else:
                    self.said.append(said)
                    if said["type"] == "end":
                        self.ends.append(said)

    async def go(self) -> int | None:
        """The first chunk the server wants; None: a new recording."""
        answer = await eventually(lambda: self.said and self.said.pop(0))
        assert answer["type"] in ("go", "again"), answer
        return answer["next"] if answer["type"] == "go" else None

    async def send(self, socket_: ClientConnection, number: int) -> None:
        await socket_.send(number.to_bytes(4, "big") + self.held[number])

    async def record(self, socket_: ClientConnection | None, count: int, *, pace: float = 1.0) -> None:
        """Records `count` more chunks and sends them, or only holds them when there is no line."""
        for _ in range(count):
            self.held[self.at] = self.chunks[self.at]
            self.at += 1
            if socket_:
                await self.send(socket_, self.at - 1)
            await asyncio.sleep(self.chunk_s * pace)

    async def stop(self, socket_: ClientConnection) -> None:
        await socket_.send('{"type":"stop"}')


def media_lines(playlist: str) -> list[str]:
    """The addresses in a playlist."""
    return [line for line in playlist.splitlines() if line and not line.startswith("#")]
