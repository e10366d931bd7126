"""One socket of one viewer.

The WebSocket protocol is the `websockets` library's, used through its Sans-I/O server: its asyncio layer
keeps a task, timers and queues for every connection, which are for programs that talk with each client.
Here nobody talks: a viewer is written to by the pacer and otherwise only watched. Measured with 8,000
connections: 5 KB and 0.11 ms of CPU to accept one this way, 12 KB and 0.40 ms with the asyncio layer.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from websockets.frames import Frame
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

if TYPE_CHECKING:
    from streaming.gateway import Gateway
    from streaming.rooms import Slice

MAX_MESSAGE = 1024  # bytes; a viewer has nothing to say
FLOOD_BYTES = 8 * 1024  # in FLOOD_S: a thousand pings
FLOOD_S = 10.0
WRITE_BUFFER = 32 * 1024  # bytes that may wait in the process, beyond the kernel's own buffer

_logger = logging.getLogger("streaming.viewer")
_logger.setLevel(logging.WARNING)  # the library logs every connection below that


class Viewer(asyncio.Protocol):
    """Its life: handshaking, seated (`place` is set), leaving (closing handshake), gone."""

    __slots__ = (
        "_flood_from",
        "_received",
        "address",
        "counts_for_address",
        "file",
        "gateway",
        "heard_at",
        "pinged_at",
        "place",
        "proxied",
        "slow_since",
        "transport",
        "visit",
        "ws",
    )

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.ws = ServerProtocol(max_size=MAX_MESSAGE, logger=_logger)
        self.transport: asyncio.Transport
        self.place: Slice | None = None
        self.file = -1
        """Its file descriptor, once it is seated."""
        self.address = ""
        self.proxied = False
        self.counts_for_address = False
        self.visit = ""
        """Its id in presence and visits; staff and the refused have none."""
        self.slow_since = 0.0
        """Since when its buffer is over the limit, in loop time; 0 if it is not."""
        self.heard_at = 0.0
        self.pinged_at = 0.0
        self._received = 0
        self._flood_from = 0.0

    # From the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(WRITE_BUFFER)
        self.gateway.arrived(self)

    def data_received(self, data: bytes) -> None:
        if self._floods(len(data)):
            self.gateway.flooded(self)
            return
        self.ws.receive_data(data)
        for event in self.ws.events_received():
            if isinstance(event, Request):
                self.gateway.requested(self, event)
            elif not isinstance(event, Frame):  # pragma: no cover
                raise TypeError(event)
        self._flush()
        if self.ws.state is not OPEN and self.ws.close_expected():
            self.gateway.leaving(self)

    def eof_received(self) -> bool:
        return False  # a half-closed socket cannot finish a closing handshake: let it close

    def connection_lost(self, _error: Exception | None) -> None:
        self.gateway.lost(self)

    def pause_writing(self) -> None:
        self.gateway.became_slow(self)

    def resume_writing(self) -> None:
        self.gateway.caught_up(self)

    # For the gateway

    def accept(self, request: Request) -> bool:
        """Answer the handshake; false if the request was not a good one and got an HTTP error."""
        self.ws.send_response(self.ws.accept(request))
        self._flush()
        return self.ws.state is OPEN

    def respond(self, response: Response) -> None:
        """Answer by plain HTTP and close."""
        self.ws.send_response(response)
        self._flush()

    def close(self, code: int, reason: str) -> None:
        """Begin the closing handshake; `Gateway.leaving` sees to its end."""
        if self.ws.state is OPEN:
            self.ws.send_close(code, reason)
            self._flush()

    def ping(self) -> None:
        self.ws.send_ping(b"")
        self._flush()

    def forget(self) -> None:
        """Break the circles of the protocol with its running parser and with the errors it has kept, so
        that all is freed at once."""
        self.ws.parser.close()
        self.ws.parser_exc = self.ws.handshake_exc = None

    def _flush(self) -> None:
        if (waiting := self.ws.data_to_send()) and self.place is not None:
            self.place.set_apart(self)
        for data in waiting:
            if data:
                self.transport.write(data)
            else:  # the protocol's sign for the end of the stream
                self.transport.close()

    def _floods(self, size: int) -> bool:
        now = self.heard_at = asyncio.get_running_loop().time()
        if now - self._flood_from > FLOOD_S:
            self._flood_from, self._received = now, 0
        self._received += size
        return self._received > FLOOD_BYTES
