"""Hosts' browsers: numbered chunks of a recording over a WebSocket, acknowledged.

    page -> {"type": "hello", "recording": id, "first": n, "device": name, "take": bool, "mine": bool}
                                                        what it sends, its oldest chunk still held, and
                                                        whether it may push another device aside (`Sender`)
         <- {"type": "go", "next": n}                        send from chunk n on
         <- {"type": "again"}                                this one cannot be followed: begin a new one
    page -> binary: chunk number (4 bytes, big-endian), bytes
         <- {"type": "ack", "received": n, "stored": m}      every second at least; what is stored may be
                                                             forgotten, what was only received may be asked
                                                             for again by another process
    page -> {"type": "stop"}                                 the recording is complete
         <- {"type": "end", "code": …, "text": …}            and the line is closed: see `errors`

`/ingest/{session}/measure`, with a ticket for measuring, takes bytes and only counts them.

Recordings have random ids: a counter would begin again with every reload of the page and meet an older
recording of the same number.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from collections import Counter
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streaming.door import Origins, Proxies
from streaming.video.errors import ArchiveUnavailable, BadTicket, Busy, Malformed, TooLarge, VideoError
from streaming.video.recording import MAX_BURST, MAX_CHUNK, MAX_RATE
from streaming.video.sessions import Owned, Sender, Sessions
from streaming.video.stream import LiveStream
from streaming.video.tickets import SESSION, IngestTickets
from streaming.video.wire import News, WireAway

log = logging.getLogger(__name__)

CLOSE = {"bad_ticket": 4401, "replaced": 4409, "ended": 4410, "too_large": 4413, "unsupported": 4415,
         "moved": 4421, "occupied": 4423, "busy": 4429}  # fmt: skip
HELLO_S = 10.0
ACK_S = 0.5
PER_ADDRESS = 50
MEASURE_S = 0.3  # it hears at least so often what came
MEASURED = 16 << 20  # bytes a page may send to learn how fast its line is
_PATH = re.compile(r"/ingest/([^/]+)(/measure)?\Z")
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}\Z")


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    recording: str
    first: int = 0
    device: str = ""
    take: bool = False
    mine: bool = False


class Stop(msgspec.Struct, tag="stop", tag_field="type"):
    pass


class Bucket:
    """Bytes a sender may send: a rate, and a burst after a gap. Raises `TooLarge`."""

    def __init__(self, rate: int = MAX_RATE, burst: int = MAX_BURST) -> None:
        self.rate, self.burst, self.left, self.at = rate, burst, float(burst), time.monotonic()

    def take(self, size: int) -> None:
        now = time.monotonic()
        self.left = min(self.burst, self.left + (now - self.at) * self.rate) - size
        self.at = now
        if self.left < 0:
            raise TooLarge("rate")


class IngestServer:
    """`async with IngestServer(...)`: hosts are served as long as the block lasts."""

    def __init__(
        self,
        sessions: Sessions,
        tickets: IngestTickets,
        bind: str,
        port: int,
        *,
        origins: tuple[str, ...] = (),
        proxies: tuple[str, ...] = (),
    ) -> None:
        self.sessions, self.tickets = sessions, tickets
        self.bind, self.port = bind, port
        self._origins, self._proxies = Origins(origins), Proxies(proxies)
        self._addresses: Counter[str] = Counter()
        self._server: Any = None

    async def __aenter__(self) -> IngestServer:
        self._server = await serve(
            self._host,
            self.bind,
            self.port,
            process_request=self._admit,
            max_size=MAX_CHUNK + 64,
            max_queue=8,
            compression=None,
            ping_interval=5,
            ping_timeout=15,
            open_timeout=5,
            close_timeout=1,
            server_header=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Strangers are sent away before they cost anything; who has a reason to be told, is told later."""
        path = urlsplit(request.path).path
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "ok\n")
        if not _PATH.match(path):
            return connection.respond(HTTPStatus.NOT_FOUND, "not found\n")
        if not self._origins.allow(request.headers):
            return connection.respond(HTTPStatus.FORBIDDEN, "origin\n")
        if self._addresses[self._address(connection, request)] >= PER_ADDRESS:
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many\n")
        return None

    async def _host(self, connection: ServerConnection) -> None:
        assert connection.request
        address = self._address(connection, connection.request)
        self._addresses[address] += 1
        parts = urlsplit(connection.request.path)
        match = _PATH.match(parts.path)
        session, measuring = (match[1], bool(match[2])) if match else ("", False)
        visit = _Visit(self.sessions, connection, session)
        try:
            ticket = parse_qs(parts.query).get("ticket", [""])[0]
            if not SESSION.match(session):
                raise BadTicket("no session")
            self.tickets.verify(ticket, session, "measure" if measuring else "ingest")
            await (_measure(connection) if measuring else visit.serve())
        except VideoError as error:
            await self._refuse(visit, error)
        except (WireAway, ArchiveUnavailable):
            await visit.dismiss(Busy("engines"))
        except TimeoutError:
            await visit.dismiss(Malformed("no greeting"))
        except ConnectionClosed:
            pass
        finally:
            visit.leave()
            self._addresses[address] -= 1
            if not self._addresses[address]:
                del self._addresses[address]

    def _address(self, connection: ServerConnection, request: Request) -> str:
        """Of the host, also behind a proxy of ours."""
        peer = connection.remote_address
        address = str(peer[0]) if peer else ""
        return self._proxies.behind(address, request.headers) if address in self._proxies else address

    async def _refuse(self, visit: _Visit, error: VideoError) -> None:
        log.info("host of %s sent away: %s", visit.session[:64], error)
        await visit.dismiss(error)
        if visit.owned and error.code not in ("moved", "replaced", "occupied", "ended"):
            await visit.owned.stream.finish()
            with contextlib.suppress(WireAway):
                await self.sessions.wire.tell(
                    News(visit.session, "refused", code=error.code, text=error.text)
                )


class _Visit:
    """One connection of a host."""

    def __init__(self, sessions: Sessions, connection: ServerConnection, session: str) -> None:
        self.sessions, self.connection, self.session = sessions, connection, session
        self.owned: Owned | None = None
        self.closer = self.dismiss  # one bound method, so that it can be compared
        self._acknowledging: asyncio.Task[None] | None = None
        self._told = asyncio.Event()
        self._bucket = Bucket()
        self._recording = ""

    async def serve(self) -> None:
        hello = await self._hello(await asyncio.wait_for(self.connection.recv(), HELLO_S))
        sender = Sender("browser", hello.device[:64], take=hello.take, mine=hello.mine)
        self.owned = await self.sessions.open(self.session, sender, self.closer)
        stream = self.owned.stream
        await self._begin(stream, hello)
        stream.on_stored = self._told.set
        self._acknowledging = asyncio.create_task(self._acknowledge(stream))
        async for message in self.connection:
            if isinstance(message, bytes):
                if len(message) < 4:
                    raise Malformed("chunk without a number")
                self._bucket.take(len(message))
                self.owned.heard_at = time.monotonic()
                self.owned.bytes += len(message)
                await self._chunk(stream, int.from_bytes(message[:4], "big"), message[4:])
            elif isinstance(said := _said(message), Stop):
                await stream.finish()
                self.owned.release()
            elif said:
                await self._begin(stream, said)

    async def _hello(self, message: str | bytes) -> Hello:
        said = _said(message) if isinstance(message, str) else None
        if not isinstance(said, Hello):
            raise Malformed("no greeting")
        return said

    async def _begin(self, stream: LiveStream, hello: Hello) -> None:
        if not _ID.match(hello.recording) or hello.first < 0:
            raise Malformed("recording id")
        self._recording = hello.recording
        following = await stream.begin(hello.recording, "browser", hello.first)
        if following is None:
            await self._say({"type": "again"})
        else:
            await self._say({"type": "go", "next": following})

    async def _chunk(self, stream: LiveStream, number: int, data: bytes) -> None:
        try:
            await stream.chunk(self._recording, number, data)
        except ValueError as error:
            raise Malformed("a chunk is missing") from error

    async def _acknowledge(self, stream: LiveStream) -> None:
        """Tells what arrived. Its regular beat is also how the page knows that the line lives."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._told.wait(), ACK_S)
                self._told.clear()
                recording = stream.recording
                received = recording.next_chunk - 1 if recording else -1
                await self._say({"type": "ack", "received": received, "stored": stream.stored_chunk})

    async def _say(self, message: dict[str, Any]) -> None:
        await self.connection.send(msgspec.json.encode(message).decode())

    async def dismiss(self, error: VideoError) -> None:
        if self._acknowledging:
            self._acknowledging.cancel()
        with contextlib.suppress(ConnectionClosed):
            await self._say({"type": "end", "code": error.code, "text": error.text})
        await self.connection.close(CLOSE.get(error.code, 4400), error.code)

    def leave(self) -> None:
        if self._acknowledging:
            self._acknowledging.cancel()
        if self.owned:
            self.sessions.left(self.owned, self.closer)


async def _measure(connection: ServerConnection) -> None:
    """Takes bytes and says how many came, so that a page can choose what to send."""
    count = said = 0
    said_at = time.monotonic()
    async for message in connection:
        count += len(message)
        # A line so thin that this much never comes is to be measured too.
        if count - said >= 1 << 15 or time.monotonic() - said_at > MEASURE_S:
            said, said_at = count, time.monotonic()
            await connection.send(f'{{"bytes":{count}}}')
        if count > MEASURED:
            return


def _said(message: str | bytes) -> Hello | Stop | None:
    try:
        return msgspec.json.decode(message, type=Hello | Stop)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("message") from error
