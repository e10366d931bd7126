"""What video processes, web processes and the market tell each other; the only file here that knows Valkey.

Processes   Each video process says once a second that it lives, where hosts reach it and how busy it is.
Sessions    A session belongs to one process (its owner) while that lives; `place` says where a host should
            go. Nothing is lost with Valkey: owners say again what they own, and the truth is in S3.
Pictures    With every part the owner publishes the whole state of the session (`Live`) and the bytes of the
            part. Pub/sub and not HTTP between processes: it works from any number of machines with nothing
            but the Valkey address in common, needs no port, is the fastest way to all of them, and a process
            that has no viewer of a session gets nothing of it. Who comes late asks (`want`) and is told.
            Nothing of it is stored in Valkey, so neither its memory nor its log grows with the pictures.
News        What the console should know: on air, resolution, bit rate, loudness, gaps, the end.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
from valkey.asyncio import Valkey
from valkey.exceptions import ValkeyError

from streaming.video.playlist import Live

ALIVE_MS = 4000
OWNED_MS = 6000
ON_AIR_S = 6 * 3600
STATUS_S = 30
CLOSED_S = 7 * 24 * 3600
TIMEOUT_S = 2.0


class WireAway(Exception):
    """Valkey does not answer now."""


class Process(msgspec.Struct):
    """A living video process. `address` is also its name, so that after a restart it is the same one."""

    address: str
    """Where hosts connect: ws:// or wss://, without the path."""
    streams: int = 0
    """Copied ones; a transcoded one counts for several."""
    capacity: int = 40
    at_ms: int = 0


class Lost(NamedTuple):
    """Sessions that a process has to give up."""

    taken: list[str]
    closed: list[str]


class Update(msgspec.Struct):
    """One message of the owner of a session."""

    live: Live
    part: tuple[str, str, bytes] | None = None
    """(rendition, name, bytes)"""


class News(msgspec.Struct):
    """What a console may show of a session's video. Figures are those of the last second."""

    session: str
    kind: Literal["on_air", "stats", "gap", "refused", "ended"]
    at_ms: int = 0
    width: int = 0
    height: int = 0
    frames_per_s: float = 0
    kbit_per_s: int = 0
    level_db: float = -90
    brightness: float = -1
    """Mean of the newest poster, 0 to 255; -1: not known."""
    gap_s: float = 0
    key_every_s: float = 0
    """Longest segment so far: above 2 a console should ask for more key frames."""
    transcoded: bool = False
    source: str = ""
    code: str = ""
    """Why, from `errors`."""
    text: str = ""
    """The same for a person."""
    targets: dict[str, str] = {}
    """State of each outgoing network: connecting, sending, or why not."""


class Order(msgspec.Struct):
    """What the market or another process asks of a session's owner."""

    session: str
    act: Literal["want", "end", "release", "takedown", "targets"]


class Wire:
    """One connection pool. Cheap to make, safe to share in one event loop."""

    def __init__(self, url: str, prefix: str = "chophien") -> None:
        self._prefix = "{" + prefix + "}:video"
        self.url = re.sub(r"^redis", "valkey", url)
        # The client's annotations answer for its blocking twin, too: Any is what they come to.
        self._valkey: Any = Valkey.from_url(
            self.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=1.0, max_connections=64
        )

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._valkey.aclose()

    # Processes and sessions

    async def beat(self, process: Process, owned: Sequence[str]) -> Lost:
        """Says that the process lives and what it owns; what is owned is on air until it is ended.

        Returns which of it is not its own any more: taken over while this process was away, or closed by an
        order that was not heard.
        """
        process.at_ms = now_ms()
        with _away():
            async with self._valkey.pipeline(transaction=False) as pipe:
                pipe.hset(self._key("processes"), process.address, msgspec.json.encode(process))
                for session in owned:
                    pipe.get(self._key("owner", session))
                    pipe.exists(self._key("closed", session))
                _, *found = await pipe.execute()
            me = process.address.encode()
            taken = [s for s, owner in zip(owned, found[::2], strict=True) if owner not in (None, me)]
            closed = [s for s, exists in zip(owned, found[1::2], strict=True) if exists and s not in taken]
            async with self._valkey.pipeline(transaction=False) as pipe:
                for session in owned:
                    if session not in taken:
                        pipe.set(self._key("owner", session), process.address, px=OWNED_MS)
                        pipe.set(self._key("on-air", session), "1", ex=ON_AIR_S)
                await pipe.execute()
        return Lost(taken, closed)

    async def leave(self, process: Process) -> None:
        with _away():
            await self._valkey.hdel(self._key("processes"), process.address)

    async def processes(self) -> list[Process]:
        """Those that live, least busy first."""
        with _away():
            rows = await self._valkey.hgetall(self._key("processes"))
        found = [msgspec.json.decode(row, type=Process) for row in rows.values()]
        living = [process for process in found if process.at_ms > now_ms() - ALIVE_MS]
        return sorted(
            living, key=lambda process: (process.streams / max(1, process.capacity), process.address)
        )

    async def owner(self, session: str) -> str | None:
        with _away():
            found: bytes | None = await self._valkey.get(self._key("owner", session))
        return found.decode() if found else None

    async def place(self, session: str) -> str | None:
        """The address a host should send to: its session's owner if that lives, else the least busy process.

        None when no video process lives.
        """
        living = await self.processes()
        owner = await self.owner(session)
        if any(process.address == owner for process in living):
            return owner
        return living[0].address if living else None

    async def claim(self, session: str, address: str) -> bool:
        """Makes a process the owner of a session; False when another living one is."""
        key = self._key("owner", session)
        with _away():
            if await self._valkey.set(key, address, nx=True, px=OWNED_MS):
                return True
            owner = await self._valkey.get(key)
        if owner in (None, address.encode()):
            return True
        if any(process.address.encode() == owner for process in await self.processes()):
            return False
        with _away():
            await self._valkey.set(key, address, px=OWNED_MS)
        return True

    async def disown(self, session: str, address: str) -> None:
        with _away():
            if await self._valkey.get(self._key("owner", session)) == address.encode():
                await self._valkey.delete(self._key("owner", session))

    async def on_air(self, session: str) -> bool:
        """Until it was ended and its owner, if there is one, has stored the last of it."""
        keys = [self._key(kind, session) for kind in ("on-air", "closed", "owner")]
        with _away():
            on_air, closed, owner = await self._valkey.mget(keys)
        return bool(on_air and (owner or not closed))

    async def off_air(self, session: str) -> None:
        with _away():
            await self._valkey.delete(self._key("on-air", session))

    # Ends, takedowns, stream keys

    async def close_session(self, session: str, why: Literal["ended", "gone"]) -> None:
        """From now on no host is let in; `gone` also hides the media."""
        with _away():
            if why == "gone":
                await self._valkey.set(self._key("closed", session), why, ex=CLOSED_S)
            else:
                await self._valkey.set(self._key("closed", session), why, ex=CLOSED_S, nx=True)

    async def reopen(self, session: str) -> None:
        with _away():
            await self._valkey.delete(self._key("closed", session))

    async def closed(self, session: str) -> str:
        """ "ended", "gone" or ""."""
        with _away():
            found: bytes | None = await self._valkey.get(self._key("closed", session))
        return found.decode() if found else ""

    async def allow_stream_key(self, session: str, generation: int, lifetime_s: int = ON_AIR_S * 2) -> None:
        with _away():
            await self._valkey.set(self._key("key", session), generation, ex=lifetime_s)

    async def allowed_generation(self, session: str) -> int:
        """The generation of the stream key that counts; 0: none."""
        with _away():
            return int(await self._valkey.get(self._key("key", session)) or 0)

    async def put_targets(self, session: str, sealed: bytes, lifetime_s: int = ON_AIR_S * 2) -> None:
        """Addresses of other networks, sealed by `restream.seal`; told to the owner."""
        with _away():
            await self._valkey.set(self._key("targets", session), sealed, ex=lifetime_s)
        await self.order(Order(session, "targets"))

    async def targets(self, session: str) -> bytes | None:
        with _away():
            found: bytes | None = await self._valkey.get(self._key("targets", session))
        return found

    # Messages

    async def publish(self, update: Update) -> None:
        with _away():
            await self._valkey.publish(self._key("live", update.live.session), msgspec.msgpack.encode(update))

    async def order(self, order: Order) -> None:
        with _away():
            await self._valkey.publish(self._key("orders"), msgspec.json.encode(order))

    async def tell(self, news: News) -> None:
        """Publishes news and keeps the newest for who asks later."""
        news.at_ms = now_ms()
        data = msgspec.json.encode(news)
        with _away():
            async with self._valkey.pipeline(transaction=False) as pipe:
                pipe.set(self._key("status", news.session), data, ex=STATUS_S)
                pipe.publish(self._key("news"), data)
                await pipe.execute()

    async def status(self, session: str) -> News | None:
        """The newest news of a session, at most half a minute old."""
        with _away():
            found = await self._valkey.get(self._key("status", session))
        return msgspec.json.decode(found, type=News) if found else None

    async def news(self) -> AsyncIterator[News]:
        """All news of all sessions from now on. Ends with `WireAway` when the wire breaks: begin again."""
        async for data in self._hear(self._key("news")):
            if data:
                yield msgspec.json.decode(data, type=News)

    async def orders(self) -> AsyncIterator[Order | None]:
        """Orders to owners from now on; first None once they are heard."""
        async for data in self._hear(self._key("orders")):
            yield msgspec.json.decode(data, type=Order) if data else None

    async def updates(self, session: str) -> AsyncIterator[Update | None]:
        """What the owner of a session says from now on; first None once it is heard."""
        async for data in self._hear(self._key("live", session)):
            yield msgspec.msgpack.decode(data, type=Update) if data else None

    async def _hear(self, channel: str) -> AsyncIterator[bytes | None]:
        client: Any = Valkey.from_url(self.url, socket_timeout=15.0, socket_connect_timeout=1.0)
        try:
            with _away():
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(channel)
                    while True:
                        message = await pubsub.get_message(timeout=5.0)
                        if message is None:
                            await pubsub.ping()
                        elif message["type"] == "subscribe":
                            yield None
                        elif message["type"] == "message":
                            yield message["data"]
        finally:
            with contextlib.suppress(Exception):
                await client.aclose()

    def _key(self, kind: str, session: str = "") -> str:
        return f"{self._prefix}:{kind}:{session}" if session else f"{self._prefix}:{kind}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextlib.contextmanager
def _away() -> Iterator[None]:
    try:
        yield
    except (TimeoutError, ValkeyError, OSError) as error:
        raise WireAway(type(error).__name__) from error
