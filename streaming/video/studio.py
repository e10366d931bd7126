"""What the market asks of the video side. `commerce` uses this and `delivery`, and nothing else of it.

A session here is only a name. Who may be its host, when it is on air and when it is over is the market's
decision; it says so with the methods below.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from streaming.video.archive import Archive, prefix
from streaming.video.tickets import LIFETIME_S, IngestTickets
from streaming.video.wire import News, Order, Wire, now_ms


class NoVideoProcess(Exception):
    """No video process lives; a host cannot be let in now."""


class Gone(msgspec.Struct):
    """The mark of a takedown. It holds no reason: that is the market's record."""

    at_ms: int


class Studio:
    """Safe to share in one event loop. Every method raises `WireAway` when Valkey does not answer."""

    def __init__(self, wire: Wire, archive: Archive, secret: str) -> None:
        self.wire, self.archive = wire, archive
        self._tickets = IngestTickets(secret)

    async def ingest_address(self, session: str, lifetime_s: int = LIFETIME_S) -> str:
        """Where the host's page connects, with its ticket. Ask again before every attempt to connect: when a
        process dies, another one takes its sessions. Raises `NoVideoProcess`."""
        address = await self._place(session)
        return f"{address}/ingest/{session}?ticket={self._tickets.sign(session, lifetime_s)}"

    async def measure_address(self, session: str, lifetime_s: int = LIFETIME_S) -> str:
        """Where a page finds out how fast its line is, also before the session is on air. Raises
        `NoVideoProcess`."""
        address = await self._place(session)
        ticket = self._tickets.sign(session, lifetime_s, "measure")
        return f"{address}/ingest/{session}/measure?ticket={ticket}"

    async def _place(self, session: str) -> str:
        address = await self.wire.place(session)
        if address is None:
            raise NoVideoProcess
        return address

    async def stream_key(self, session: str, generation: int) -> str:
        """The key for OBS, and from now on the only one of this session that counts. A higher generation
        rotates it. Show it to the host alone and never log it."""
        key = self._tickets.stream_key(session, generation)
        await self.wire.allow_stream_key(session, generation)
        return key

    async def end(self, session: str) -> None:
        """The session is over: the host is sent away, the playlists get their end."""
        await self.wire.close_session(session, "ended")
        await self._tell_owner(Order(session, "end"))

    async def reopen(self, session: str) -> None:
        """Lets a host in again after `end`: a rehearsal repeated, a session ended by mistake."""
        await self.wire.reopen(session)

    async def take_down(self, session: str) -> None:
        """Every public address of the session answers 410 within two seconds. The bytes stay, unseen: whether
        they are kept or deleted is another decision. A CDN in front asks again within `delivery.CDN_S`; one
        that does not know CDN-Cache-Control must be purged by its own means."""
        await self.archive.put(prefix(session) + "gone.json", msgspec.json.encode(Gone(now_ms())))
        await self.wire.close_session(session, "gone")
        await self._tell_owner(Order(session, "takedown"))

    async def _tell_owner(self, order: Order) -> None:
        """The owner stores what it holds and then takes the session off air; without one, it is off now."""
        owner = await self.wire.owner(order.session)
        await self.wire.order(order)
        if not any(process.address == owner for process in await self.wire.processes()):
            await self.wire.off_air(order.session)

    async def put_back(self, session: str) -> None:
        """Undoes a takedown; the session stays over."""
        await self.archive.delete([prefix(session) + "gone.json"])
        await self.wire.reopen(session)
        await self.wire.close_session(session, "ended")

    async def send_to(self, session: str, sealed: bytes) -> None:
        """All networks a session is sent on to, as `restream.seal` made them; how each does is in
        `News.targets`."""
        await self.wire.put_targets(session, sealed)

    async def status(self, session: str) -> News | None:
        """How the session's picture and sound were within the last half minute."""
        return await self.wire.status(session)

    def news(self) -> AsyncIterator[News]:
        """News of all sessions from now on, about one a second each. Ends with `WireAway`: begin again."""
        return self.wire.news()
