"""A crowd for load tests: one process that holds thousands of viewers' sockets and reads what comes.

Lean on purpose, so that on one machine the gateways are measured and not this: no client library, no
object for a frame; a read is one recv_into and a look at the first bytes. It answers pings and notices
closing frames as a browser would. Run as `python -m streaming.crowd`; see `Orders` for what it is told on
its standard input, one JSON line each, and `Tally` for what it answers.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import time
from array import array
from collections.abc import Iterator

import msgspec

from streaming.door import file_limit
from streaming.metrics import cpu_seconds
from streaming.tickets import Kind, Tickets

SOCKETS_AN_ADDRESS = 10_000  # below the usual range of local ports
OPENING = 128  # handshakes at once
OPEN_TIMEOUT_S = 120.0
MAX_DELAY_MS = 60_000
_BIND_LATER = 24  # IP_BIND_ADDRESS_NO_PORT: pick the port when the destination is known
_REQUEST = (
    "GET /live/{room}?ticket={ticket} HTTP/1.1\r\nHost: {host}\r\n"
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Orders(msgspec.Struct, kw_only=True, tag_field="do", tag="open"):
    """Open `count` sockets. Without a room: plain TCP, no handshake, for the floor."""

    host: str
    port: int
    count: int
    number: int
    """Of this process among the crowd: decides source addresses and visitor names."""
    room: str = ""
    secret: str = ""
    rate: float = 0.0
    """Sockets a second at most; 0: as fast as they are taken."""


class Watch(msgspec.Struct, kw_only=True, tag_field="do", tag="watch"):
    """Read until `end` (Unix seconds) and tally what was seen from `begin` on."""

    begin: float
    end: float


class Tally(msgspec.Struct, kw_only=True):
    held: int = 0
    refused: int = 0
    dropped: int = 0
    frames: int = 0
    bytes: int = 0
    delays: dict[int, int] = {}
    """Milliseconds from `sent_ms` to here: how many ticks."""
    longest_silence_s: float = 0.0
    """Longest time a socket was without a tick, from begin to end."""
    opened_s: float = 0.0
    closed: dict[str, int] = {}
    """Closing codes, HTTP statuses and errors of those refused or dropped."""
    cpu_s: float = 0.0


class Crowd:
    def __init__(self) -> None:
        file_limit()
        self.sockets: dict[int, socket.socket] = {}
        self.poll = select.epoll()
        self.buffer = bytearray(1 << 18)
        self.view = memoryview(self.buffer)
        self.rest: dict[int, bytes] = {}
        """Bytes of frames that have not come in whole."""
        self.last_tick: dict[int, float] = {}
        self.tally = Tally()
        self.delays = array("L", bytes(8 * (MAX_DELAY_MS + 1)))
        self.counting = False

    # Coming

    def open(self, orders: Orders) -> Tally:
        began = time.monotonic()
        self.tally = Tally()
        opening: dict[int, bytes] = {}
        requests = self._requests(orders)
        more = True
        while (more or opening) and time.monotonic() - began < OPEN_TIMEOUT_S:
            while more and len(opening) < OPENING and self._may_open(orders, began, len(opening)):
                request = next(requests, None)
                if request is None:
                    more = False
                    break
                self._connect(orders, request, opening)
            for fd, events in self.poll.poll(0.01, 1024):
                if fd in opening:
                    self._handshake(fd, events, opening, plain=not orders.room)
                else:
                    self._read(fd)
        for fd in list(opening):
            self._refused(fd, opening, "timeout")
        self.tally.held = len(self.sockets)
        self.tally.refused += self.tally.dropped
        self.tally.dropped = 0
        self.tally.opened_s = time.monotonic() - began
        return self.tally

    def _may_open(self, orders: Orders, began: float, opening: int) -> bool:
        if not orders.rate:
            return True
        done = len(self.sockets) + self.tally.refused + opening
        return done < (time.monotonic() - began) * orders.rate

    def _requests(self, orders: Orders) -> Iterator[bytes]:
        if not orders.room:
            yield from (b"" for _ in range(orders.count))
            return
        tickets = Tickets(orders.secret)
        for i in range(orders.count):
            ticket = tickets.sign(orders.room, f"bench-{orders.number}-{i}", "bench", Kind.BENCH)
            host = f"{orders.host}:{orders.port}"
            yield _REQUEST.format(room=orders.room, ticket=ticket, host=host).encode()

    def _connect(self, orders: Orders, request: bytes, opening: dict[int, bytes]) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        fd = sock.fileno()
        self.sockets[fd] = sock
        opening[fd] = request
        try:
            if orders.host.startswith("127."):
                index = len(self.sockets) // SOCKETS_AN_ADDRESS
                sock.setsockopt(socket.IPPROTO_IP, _BIND_LATER, 1)
                sock.bind((f"127.{100 + index}.{orders.number // 250}.{1 + orders.number % 250}", 0))
            with contextlib.suppress(BlockingIOError):
                sock.connect((orders.host, orders.port))
        except OSError as error:
            self._refused(fd, opening, type(error).__name__)
            return
        self.poll.register(fd, select.EPOLLIN | (select.EPOLLOUT if request else 0))
        if not request:  # plain: the connection is all there is to wait for
            self.poll.modify(fd, select.EPOLLOUT)

    def _handshake(self, fd: int, events: int, opening: dict[int, bytes], *, plain: bool) -> None:
        sock = self.sockets[fd]
        try:
            if events & select.EPOLLOUT:
                if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, "connect")
                self.poll.modify(fd, select.EPOLLIN)
                if plain:
                    del opening[fd]
                    self.last_tick[fd] = time.time()
                else:
                    sock.send(opening[fd])
                return
            data = self.rest.pop(fd, b"") + sock.recv(1 << 16)
        except OSError as error:
            self._refused(fd, opening, type(error).__name__)
            return
        head, end, rest = data.partition(b"\r\n\r\n")
        if not data or (end and not head.startswith(b"HTTP/1.1 101")):
            self._refused(fd, opening, head[9:12].decode() or "closed")
        elif not end:
            self.rest[fd] = data
        else:
            del opening[fd]
            self.last_tick[fd] = time.time()
            self._frames(fd, rest)

    def _refused(self, fd: int, opening: dict[int, bytes], why: str) -> None:
        opening.pop(fd, None)
        self.tally.refused += 1
        self._gone(fd, why)

    def _gone(self, fd: int, why: str) -> None:
        self.tally.closed[why] = self.tally.closed.get(why, 0) + 1
        self.sockets.pop(fd).close()
        self.rest.pop(fd, None)
        self.last_tick.pop(fd, None)

    # Watching

    def watch(self, watch: Watch) -> Tally:
        self.tally = Tally()
        self._read_until(watch.begin)
        self.delays = array("L", bytes(8 * (MAX_DELAY_MS + 1)))
        self.tally.frames = self.tally.bytes = 0
        self.last_tick = dict.fromkeys(self.sockets, watch.begin)
        cpu = cpu_seconds()
        self.counting = True
        self._read_until(watch.end)
        self.counting = False
        silence = max((watch.end - at for at in self.last_tick.values()), default=0.0)
        self.tally.longest_silence_s = max(self.tally.longest_silence_s, silence)
        self.tally.held = len(self.sockets)
        self.tally.delays = {ms: n for ms, n in enumerate(self.delays) if n}
        self.tally.cpu_s = cpu_seconds() - cpu
        return self.tally

    def _read_until(self, end: float) -> None:
        while (left := end - time.time()) > 0:
            for fd, _ in self.poll.poll(min(left, 0.1), 4096):
                self._read(fd)

    def _read(self, fd: int) -> None:
        try:
            size = self.sockets[fd].recv_into(self.buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if size == 0:
            self.tally.dropped += 1
            self._gone(fd, "closed")
        elif fd in self.rest:
            self._frames(fd, self.rest.pop(fd) + self.buffer[:size])
        else:
            self._frames(fd, self.buffer, size)

    def _frames(self, fd: int, data: bytes | bytearray, size: int = -1) -> None:
        """Count the frames in `data`; what is not whole is kept for later."""
        end = len(data) if size < 0 else size
        at = 0
        while at + 2 <= end:
            length, body = data[at + 1], at + 2
            if length == 126:
                length, body = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, body = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            if body + length > end:
                break
            self._frame(fd, data[at], data, body, length)
            at = body + length
        if at < end and fd in self.sockets:
            self.rest[fd] = bytes(data[at:end])

    def _frame(self, fd: int, opcode: int, data: bytes | bytearray, body: int, length: int) -> None:
        if opcode == 0x81:
            self.tally.frames += 1
            self.tally.bytes += length
            if data.startswith(b'{"type":"tick"', body):
                self._tick(fd, data, body)
        elif opcode == 0x88:
            code = str(struct.unpack_from("!H", data, body)[0]) if length >= 2 else "1005"
            self.tally.dropped += 1
            self._gone(fd, code)
        elif opcode == 0x89:
            with contextlib.suppress(OSError):
                self.sockets[fd].send(b"\x8a\x80\x00\x00\x00\x00")

    def _tick(self, fd: int, data: bytes | bytearray, body: int) -> None:
        now = time.time()
        silence = now - self.last_tick[fd]
        self.last_tick[fd] = now
        if self.counting:
            self.tally.longest_silence_s = max(self.tally.longest_silence_s, silence)
            at = data.index(b'"sent_ms":', body) + 10
            delay = int(now * 1000) - int(data[at : at + 13])
            self.delays[min(max(delay, 0), MAX_DELAY_MS)] += 1

    def read_while_waiting(self, other: int) -> None:
        """Go on reading until there is something to read from `other`."""
        self.poll.register(other, select.EPOLLIN)
        while other not in (ready := [fd for fd, _ in self.poll.poll(-1, 4096)]):
            for fd in ready:
                self._read(fd)
        self.poll.unregister(other)


def main() -> None:
    crowd = Crowd()
    decoder = msgspec.json.Decoder(Orders | Watch)
    pipe = sys.stdin.buffer
    while True:
        crowd.read_while_waiting(pipe.fileno())
        line = pipe.readline()
        if not line:
            break  # whoever gave the orders is gone; so are we
        orders = decoder.decode(line)
        tally = crowd.open(orders) if isinstance(orders, Orders) else crowd.watch(orders)
        sys.stdout.buffer.write(msgspec.json.encode(tally) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
