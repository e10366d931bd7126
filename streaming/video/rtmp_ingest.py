"""OBS and Larix: an RTMP server that lets in who holds the session's stream key, and nobody else.

The key is checked here, against the secret and the generation that counts (`tickets`, `wire`). When the wire
does not answer, nobody is let in: a check that fails open is none. Keys are never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter

from streaming.video.errors import BadTicket, Busy, VideoError
from streaming.video.flv import FlvReader
from streaming.video.ingest import Bucket
from streaming.video.recording import Recording
from streaming.video.rtmp import MAX_MESSAGE, Connection, Message, is_leaving, stream_name
from streaming.video.sessions import Owned, Sender, Sessions
from streaming.video.tickets import IngestTickets
from streaming.video.wire import News, WireAway

log = logging.getLogger(__name__)

PUBLISH_WITHIN_S = 10.0
SILENT_S = 15.0
PER_ADDRESS = 10
CONNECTIONS = 200
WRONG_KEYS = 5  # from one address within WRONG_FOR_S; then it waits
WRONG_FOR_S = 60.0


class RtmpServer:
    """`async with RtmpServer(...)`. Several processes may share the port."""

    def __init__(self, sessions: Sessions, tickets: IngestTickets, bind: str, port: int) -> None:
        self.sessions, self.tickets = sessions, tickets
        self.bind, self.port = bind, port
        self._addresses: Counter[str] = Counter()
        self._wrong: dict[str, list[float]] = {}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> RtmpServer:
        self._server = await asyncio.start_server(
            self._connected, self.bind, self.port, limit=1 << 20, reuse_port=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = str(writer.get_extra_info("peername", ("",))[0])
        self._addresses[address] += 1
        try:
            if self._addresses[address] <= PER_ADDRESS and self._addresses.total() <= CONNECTIONS:
                await _Publisher(self, Connection(reader, writer), address).serve()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass
        except VideoError as error:
            log.info("RTMP peer sent away: %s", error)
        except Exception:
            log.exception("an RTMP connection failed")
        finally:
            self._addresses[address] -= 1
            self._addresses += Counter()  # drops what is zero
            writer.transport.abort()

    async def session_of(self, key: str, address: str) -> str:
        """The session that a stream key opens. Raises `BadTicket`."""
        now = time.monotonic()
        wrong = [at for at in self._wrong.get(address, []) if at > now - WRONG_FOR_S]
        self._wrong = {a: times for a, times in self._wrong.items() if times[-1] > now - WRONG_FOR_S}
        if len(wrong) >= WRONG_KEYS:
            raise BadTicket("too many wrong keys")
        try:
            session, generation = self.tickets.verify_stream_key(key)
            if await self.sessions.wire.allowed_generation(session) != generation:
                raise BadTicket("rotated key")
        except BadTicket:
            self._wrong[address] = [*wrong, now]
            raise
        except WireAway as error:
            raise BadTicket("cannot check") from error
        return session


class _Publisher:
    """One connection."""

    def __init__(self, server: RtmpServer, connection: Connection, address: str) -> None:
        self.server, self.connection, self.address = server, connection, address
        self.owned: Owned | None = None
        self.recording: Recording | None = None
        self.closer = self.dismiss
        self._task = asyncio.current_task()
        self._reader = FlvReader()

    async def serve(self) -> None:
        async with asyncio.timeout(PUBLISH_WITHIN_S):
            await self.connection.shake_hands()
            key = await stream_name(self.connection)
        try:
            session = await self.server.session_of(key, self.address)
            self.owned = await self.server.sessions.open(session, Sender("rtmp"), self.closer, fetch=True)
        except (VideoError, WireAway) as error:
            refusal = error if isinstance(error, VideoError) else Busy("wire")
            await self.connection.status("NetStream.Publish.BadName", refusal.code, "error")
            await asyncio.sleep(0.2)  # lets the answer out before the line is closed
            raise refusal from error
        await self.connection.status("NetStream.Publish.Start", "on air")
        self.connection.longest = MAX_MESSAGE
        try:
            await self._publish(self.owned)
        except VideoError as error:
            with contextlib.suppress(WireAway):
                news = News(session, "refused", code=error.code, text=error.text, source="rtmp")
                await self.server.sessions.wire.tell(news)
            raise
        finally:
            self.server.sessions.left(self.owned, self.closer)
            if self.owned.stream.recording is self.recording:
                await self.owned.stream.finish()

    async def _publish(self, owned: Owned) -> None:
        bucket = Bucket()
        messages = self.connection.messages()
        while True:
            message: Message | None = await asyncio.wait_for(anext(messages, None), SILENT_S)
            if message is None or is_leaving(message):
                return
            bucket.take(len(message.body))
            owned.heard_at = time.monotonic()
            owned.bytes += len(message.body)
            packets, fresh = self._reader.take(message)
            if fresh and self._reader.tracks:
                self.recording = await owned.stream.begin_packets(
                    secrets.token_urlsafe(12), "rtmp", self._reader.tracks
                )
            if packets and self.recording:
                await owned.stream.packets(self.recording, packets)

    async def dismiss(self, error: VideoError) -> None:
        """Another host took over, or the session is over."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self.connection.status("NetStream.Unpublish.Success", error.code)
        if self._task and self._task is not asyncio.current_task():
            self._task.cancel()
