"""A session sent on to other networks (Facebook, YouTube): any number, none of which can hurt another.

Each target gets the same parts as viewers do, from the next one a player could begin at. One that fails is
tried again, ever more slowly; one that cannot keep up begins again at the newest picture. Keys are sealed
wherever they lie and never logged.

The client is ours (`rtmp`) and not libavformat's, which holds Python's lock while it waits for a network: a
target that took the connection and then said nothing stopped every thread of the process, time-outs or not.
Nor does its `rtmps` get to see the options that ask for a certificate to be checked; ours is Python's TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import ipaddress
import logging
import socket
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from streaming.video.errors import VideoError
from streaming.video.flv import FlvWriter
from streaming.video.rtmp import COMMAND, Connection, ask_to_publish
from streaming.video.segmenter import Event, Init, Part
from streaming.video.wire import WireAway

if TYPE_CHECKING:  # commerce reads targets and seals from here and needs none of the media libraries
    from streaming.video.sessions import Sessions

log = logging.getLogger(__name__)

HELD_PARTS = 45  # fifteen seconds; a target further behind begins anew at the newest picture
RETRY_S = (1.0, 2.0, 5.0, 10.0, 30.0)
CONNECT_S = 10.0
TAKES_S = 10.0  # to take a third of a second of pictures
STEADY_S = 60.0  # after this long a target counts as good again
MOST_TARGETS = 10


class Target(msgspec.Struct, frozen=True):
    id: str
    address: str
    """rtmp:// or rtmps://, as the network gives it, without the key."""
    key: str

    def __repr__(self) -> str:
        return f"Target({self.id})"


class BadTarget(ValueError):
    """An address that cannot be sent to."""


def seal(secret: str, targets: Sequence[Target]) -> bytes:
    """Targets as they may be stored. Raises `BadTarget`."""
    if len(targets) > MOST_TARGETS:
        raise BadTarget("too many targets")
    for target in targets:
        parts = urlsplit(target.address)
        if parts.scheme not in ("rtmp", "rtmps") or not parts.hostname or not target.key.isprintable():
            raise BadTarget(target.id)
    return _box(secret).encrypt(msgspec.json.encode(list(targets)))


def unseal(secret: str, sealed: bytes) -> list[Target]:
    """Raises ValueError when it was not sealed with this secret."""
    try:
        return msgspec.json.decode(_box(secret).decrypt(sealed), type=list[Target])
    except (InvalidToken, msgspec.DecodeError) as error:
        raise ValueError("not sealed here") from error


def _box(secret: str) -> Fernet:
    return Fernet(urlsafe_b64encode(hmac.digest(secret.encode(), b"restream targets", hashlib.sha256)))


class Restreams:
    """All outgoing networks of one process's sessions."""

    def __init__(self, sessions: Sessions, secret: str, *, private_targets: bool = False) -> None:
        self._sessions, self._secret, self._private = sessions, secret, private_targets
        self._relays: dict[str, dict[str, Relay]] = {}
        self._fed: set[str] = set()
        sessions.on_targets = self.refresh
        sessions.on_given_up = self.drop
        sessions.targets = self.states

    def states(self, session: str) -> dict[str, str]:
        return {target: relay.state for target, relay in self._relays.get(session, {}).items()}

    async def refresh(self, session: str) -> None:
        """Reads which networks a session is to be sent to, and starts and stops what is needed."""
        owned = self._sessions.owned.get(session)
        if owned is None:
            return
        try:
            sealed = await self._sessions.wire.targets(session)
            wanted = unseal(self._secret, sealed) if sealed else []
        except (WireAway, ValueError):
            log.warning("targets of %s cannot be read; they stay as they are", session)
            return
        relays = self._relays.setdefault(session, {})
        for target, relay in list(relays.items()):
            if relay.target not in wanted:
                del relays[target]
                await relay.stop()
        for one in wanted:
            if one.id not in relays:
                relay = relays[one.id] = Relay(one, private=self._private, init=owned.stream.last_init)
                relay.start()
        if relays and session not in self._fed:
            self._fed.add(session)
            owned.stream.listeners.append(functools.partial(self._feed, session))

    def _feed(self, session: str, event: Event) -> None:
        for relay in self._relays.get(session, {}).values():
            relay.take(event)

    async def drop(self, session: str) -> None:
        self._fed.discard(session)
        relays = self._relays.pop(session, {})
        await asyncio.gather(*(relay.stop() for relay in relays.values()))


class Relay:
    """One target: a connection, made again as long as it is wanted."""

    def __init__(self, target: Target, *, private: bool, init: Init | None) -> None:
        self.target, self.state = target, "waiting"
        self._private = private
        self._init = init
        self._parts: asyncio.Queue[Part | None] = asyncio.Queue(HELD_PARTS)
        self._behind = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def take(self, event: Event) -> None:
        """Never waits."""
        if isinstance(event, Init) and event.rendition == "main":
            self._init = event
            self._clear()
            self._parts.put_nowait(None)  # another format: another connection
        elif isinstance(event, Part) and event.rendition == "main":
            if self._parts.full():
                self._behind = True
                self._clear()
            if not self._behind or event.independent:
                if self._behind:
                    self._parts.put_nowait(None)
                self._behind = False
                self._parts.put_nowait(event)

    def _clear(self) -> None:
        while not self._parts.empty():
            self._parts.get_nowait()

    async def _run(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                if not await self._allowed():
                    self.state = "refused: private address"
                    return
                await self._once()
                failures = 0 if time.monotonic() - began > STEADY_S else failures
            except Exception as error:
                self.state = f"failed: {_words(error)}"
                failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
                log.info("target %s: %s", self.target.id, self.state)
                await asyncio.sleep(RETRY_S[min(failures, len(RETRY_S)) - 1])

    async def _allowed(self) -> bool:
        """A host must not reach into our own network by naming it as a target."""
        if self._private:
            return True
        parts = urlsplit(self.target.address)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(parts.hostname, parts.port or 1935, type=socket.SOCK_STREAM)
        except OSError:
            return True  # then connecting fails and says so
        return all(ipaddress.ip_address(entry[4][0]).is_global for entry in found)

    async def _once(self) -> None:
        """One connection, until another format comes. Raises when the other side ends it."""
        part: Part | None = await self._next_beginning()
        assert self._init
        self.state = "connecting"
        parts = urlsplit(self.target.address)
        secure = ssl.create_default_context() if parts.scheme == "rtmps" else None
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname, parts.port or (443 if secure else 1935), ssl=secure
            )
        connection = Connection(reader, writer)
        listening: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(CONNECT_S):
                await connection.offer_hand()
                await ask_to_publish(connection, self.target.address, self.target.key)
            listening = asyncio.create_task(_listen(connection, writer))
            flv = FlvWriter(self._init)
            messages = flv.headers()
            while part is not None:
                async with asyncio.timeout(TAKES_S):
                    for kind, time_ms, body in [*messages, *flv.part(part.data)]:
                        await connection.send(kind, body, 1, number=4, time_ms=time_ms)
                messages = []
                self.state = "sending"
                part = await self._parts.get()
            await connection.command("deleteStream", 6, None, 1)
        finally:
            if listening is not None:
                listening.cancel()
            connection.abort()

    async def _next_beginning(self) -> Part:
        while True:
            part = await self._parts.get()
            if part and part.independent and self._init and part.init == self._init.id:
                return part


def _words(error: Exception) -> str:
    """Never with an address or key in it."""
    if isinstance(error, VideoError):
        return error.detail[:80]
    return "no answer" if isinstance(error, TimeoutError) else type(error).__name__


async def _listen(connection: Connection, writer: asyncio.StreamWriter) -> None:
    """Answers pings. When the other side ends the stream, so does the sending."""
    with contextlib.suppress(VideoError, OSError):
        async for message in connection.messages():
            if message.kind == COMMAND and b"NetStream.Publish" in message.body and b"error" in message.body:
                break
    writer.transport.abort()
