"""Lines that are not as they should be. A TCP proxy on loopback that can be cut, can fall silent, and can be
slow, for hosts; and a browser's own thin line, for viewers."""

from __future__ import annotations

import asyncio
import contextlib
from urllib.parse import urlsplit

from playwright.async_api import CDPSession


class FaultyLine:
    """`through(address)` gives the address by which a WebSocket address is reached over this line."""

    def __init__(self) -> None:
        self.up = True
        """False: connections are refused and those that were open are reset."""
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.bytes_per_s = 0
        """Upwards; 0: as fast as it goes."""
        self._target = ("127.0.0.1", 0)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0

    async def __aenter__(self) -> FaultyLine:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def through(self, address: str) -> str:
        parts = urlsplit(address)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        return parts._replace(netloc=f"127.0.0.1:{self._port}").geturl()

    def cut(self) -> None:
        """Resets everything and takes nothing new, until `mend`."""
        self.up = False
        for writer in self._open:
            writer.transport.abort()
        for task in self._tasks:
            task.cancel()

    def mend(self) -> None:
        self.up = True

    def hush(self) -> None:
        """Connections stay open and nothing goes through, as when a phone walks out of reach."""
        self._flowing.clear()

    def speak(self) -> None:
        self._flowing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.up:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        for pair in ((reader, far_writer, True), (far_reader, writer, False)):
            task = asyncio.create_task(self._copy(*pair))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._open.add(pair[1])

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upwards: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(2_048 if upwards and self.bytes_per_s else 16_384):
                await self._flowing.wait()
                if upwards and self.bytes_per_s:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                writer.write(data)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


async def narrow(line: CDPSession, *, kbit: float, round_trip_ms: float) -> None:
    """The line of a browser's page, to it and from it."""
    bytes_per_s = kbit * 125
    await line.send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": round_trip_ms,
            "downloadThroughput": bytes_per_s,
            "uploadThroughput": bytes_per_s,
        },
    )
