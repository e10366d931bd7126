"""RTMP as OBS, Larix and ffmpeg speak it, as far as publishing needs it: the server's half and the client's.

A connection shakes hands, opens one stream and publishes H.264 and AAC into it. Everything a stranger says is
bounded: time, sizes, depth; and until `publish` was allowed nothing of it is kept.
(Adobe's RTMP specification 1.0; the messages' bodies are those of FLV, annex E.)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from streaming.video import amf
from streaming.video.errors import Malformed, TooLarge

HANDSHAKE = 1536
MAX_MESSAGE = 4 << 20
MAX_COMMAND = 64 << 10  # before publishing is allowed
MAX_CHUNK_SIZE = 1 << 20
MAX_STREAMS = 64  # chunk streams of one connection
OUR_CHUNK = 4096

SET_CHUNK, ABORT, ACK, CONTROL, WINDOW, BANDWIDTH, AUDIO, VIDEO = 1, 2, 3, 4, 5, 6, 8, 9
DATA3, COMMAND3, DATA, COMMAND = 15, 17, 18, 20
WINDOW_BYTES = 2_500_000
PING, PONG = b"\0\6", b"\0\7"


@dataclass(slots=True)
class Message:
    kind: int
    time_ms: int
    stream: int
    body: bytes


@dataclass(slots=True)
class _ChunkStream:
    """What a chunk header may leave out because the one before said it."""

    time: int = 0
    delta: int = 0
    size: int = 0
    kind: int = 0
    stream: int = 0
    extended: bool = False
    got: bytearray | None = None


class Connection:
    """Reads messages from and writes messages to one peer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._chunk = self._out_chunk = 128
        self._streams: dict[int, _ChunkStream] = {}
        self._received = 0
        self._told = 0
        self.longest = MAX_COMMAND

    async def shake_hands(self) -> None:
        """As the server."""
        begin = await self._read(1 + HANDSHAKE)
        if begin[0] != 3:
            raise Malformed("not RTMP")
        ours = bytes(8) + os.urandom(HANDSHAKE - 8)
        self._writer.write(b"\x03" + ours + begin[1:])
        await self._writer.drain()
        await self._read(HANDSHAKE)

    async def offer_hand(self) -> None:
        """As the client."""
        self._writer.write(b"\x03" + bytes(8) + os.urandom(HANDSHAKE - 8))
        await self._writer.drain()
        answer = await self._read(1 + 2 * HANDSHAKE)
        if answer[0] != 3:
            raise Malformed("not RTMP")
        self._writer.write(answer[1 : 1 + HANDSHAKE])
        await self._writer.drain()

    async def messages(self) -> AsyncIterator[Message]:
        """Messages in order; those about the transport are dealt with here. Ends with the connection."""
        while True:
            try:
                message = await self._message()
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            if message is None:
                continue
            if message.kind == SET_CHUNK:
                size = int.from_bytes(message.body[:4], "big") & 0x7FFFFFFF
                if not 1 <= size <= MAX_CHUNK_SIZE:
                    raise Malformed("chunk size")
                self._chunk = size
            elif message.kind == ABORT:
                self._streams.pop(int.from_bytes(message.body[:4], "big"), None)
            elif message.kind == CONTROL and message.body[:2] == PING:
                await self.send(CONTROL, PONG + message.body[2:6])
            elif message.kind not in (ACK, CONTROL, WINDOW, BANDWIDTH):
                yield message

    async def _message(self) -> Message | None:
        """Reads one chunk; the message if it was its last."""
        first = (await self._read(1))[0]
        number = first & 63
        if number < 2:
            more = await self._read(1 + number)
            number = 64 + more[0] + (more[1] << 8 if number else 0)
        state = self._streams.get(number)
        if state is None:
            if len(self._streams) >= MAX_STREAMS:
                raise Malformed("chunk streams")
            state = self._streams[number] = _ChunkStream()
        await self._header(state, first >> 6)
        if state.got is None:
            state.got = bytearray()
        if state.size > self.longest:
            raise TooLarge("message")
        state.got += await self._read(min(self._chunk, state.size - len(state.got)))
        await self._acknowledge()
        if len(state.got) < state.size:
            return None
        body, state.got = bytes(state.got), None
        return Message(state.kind, state.time, state.stream, body)

    async def _header(self, state: _ChunkStream, shape: int) -> None:
        begins = state.got is None
        stamp = 0
        if shape < 3:
            head = await self._read((11, 7, 3)[shape])
            stamp = int.from_bytes(head[:3], "big")
            state.extended = stamp == 0xFFFFFF
            if shape < 2:
                state.size, state.kind = int.from_bytes(head[3:6], "big"), head[6]
                state.got = None
                begins = True
            if shape == 0:
                state.stream = int.from_bytes(head[7:11], "little")
        if state.extended:
            stamp = int.from_bytes(await self._read(4), "big")
        if shape == 0:
            state.time, state.delta = stamp, 0
        elif begins:
            if shape < 3:
                state.delta = stamp
            state.time = state.time + state.delta & 0xFFFFFFFF

    async def _read(self, size: int) -> bytes:
        data = await self._reader.readexactly(size)
        self._received += size
        return data

    async def _acknowledge(self) -> None:
        if self._received - self._told >= WINDOW_BYTES // 2:
            self._told = self._received
            await self.send(ACK, (self._received & 0xFFFFFFFF).to_bytes(4, "big"))

    async def send(
        self, kind: int, body: bytes, stream: int = 0, *, number: int = 2, time_ms: int = 0
    ) -> None:
        """A message, in as many chunks as it needs."""
        late = min(time_ms, 0xFFFFFF)
        more = time_ms.to_bytes(4, "big") if late == 0xFFFFFF else b""
        head = (
            late.to_bytes(3, "big")
            + len(body).to_bytes(3, "big")
            + bytes((kind,))
            + stream.to_bytes(4, "little")
        )
        out = [bytes((number,)), head, more, body[: self._out_chunk]]
        for at in range(self._out_chunk, len(body), self._out_chunk):
            out += [bytes((0xC0 | number,)), more, body[at : at + self._out_chunk]]
        self._writer.write(b"".join(out))
        if kind == SET_CHUNK:
            self._out_chunk = int.from_bytes(body, "big")
        await self._writer.drain()

    async def command(self, *values: Any, stream: int = 0) -> None:
        await self.send(COMMAND, amf.encode(*values), stream, number=3)

    def abort(self) -> None:
        self._writer.transport.abort()

    async def welcome(self, transaction: float) -> None:
        """The answer to `connect`."""
        await self.send(WINDOW, WINDOW_BYTES.to_bytes(4, "big"))
        await self.send(BANDWIDTH, WINDOW_BYTES.to_bytes(4, "big") + b"\2")
        await self.send(SET_CHUNK, OUR_CHUNK.to_bytes(4, "big"))
        about = {"level": "status", "code": "NetConnection.Connect.Success", "description": "Welcome."}
        await self.command("_result", transaction, {"fmsVer": "FMS/3,0,1,123", "capabilities": 31}, about)

    async def status(self, code: str, description: str, level: str = "status") -> None:
        about = {"level": level, "code": code, "description": description}
        await self.command("onStatus", 0, None, about, stream=1)


async def stream_name(connection: Connection) -> str:
    """Plays the server until the peer wants to publish; what it wants to publish to. Raises `Malformed`."""
    async for message in connection.messages():
        if message.kind not in (COMMAND, COMMAND3):
            continue
        values = amf.decode(message.body[1:] if message.kind == COMMAND3 else message.body)
        if len(values) < 2 or not isinstance(values[0], str) or not isinstance(values[1], (int, float)):
            raise Malformed("command")
        name, transaction = values[0], values[1]
        if name == "connect":
            await connection.welcome(transaction)
        elif name == "createStream":
            await connection.command("_result", transaction, None, 1)
        elif name in ("releaseStream", "FCPublish", "getStreamLength", "_checkbw"):
            await connection.command("_result", transaction, None, None)
        elif name == "publish":
            wanted = values[3] if len(values) > 3 else ""
            return wanted.partition("?")[0] if isinstance(wanted, str) else ""
        elif name == "play":
            raise Malformed("only publishing is possible here")
    raise Malformed("left before publishing")


def is_leaving(message: Message) -> bool:
    """Does the peer say that its stream is over?"""
    if message.kind != COMMAND:
        return False
    values = amf.decode(message.body)
    return bool(values) and values[0] in ("FCUnpublish", "deleteStream", "closeStream")


async def ask_to_publish(connection: Connection, address: str, key: str) -> None:
    """Plays the client until the server takes what is published. Raises `Malformed` with its refusal."""
    app = urlsplit(address).path.strip("/")
    about = {
        "app": app,
        "type": "nonprivate",
        "flashVer": "FMLE/3.0 (compatible; ChoPhien)",
        "tcUrl": address,
    }
    await connection.send(SET_CHUNK, OUR_CHUNK.to_bytes(4, "big"))
    await connection.command("connect", 1, about)
    async for message in connection.messages():
        if message.kind not in (COMMAND, COMMAND3):
            continue
        values = amf.decode(message.body[1:] if message.kind == COMMAND3 else message.body)
        said, number, about_it = values[0], values[1] if len(values) > 1 else 0, values[-1]
        if said == "_error":
            raise Malformed(f"refused: {_code(about_it)}")
        if said == "_result" and number == 1:
            await connection.command("releaseStream", 2, None, key)
            await connection.command("FCPublish", 3, None, key)
            await connection.command("createStream", 4, None)
        elif said == "_result" and number == 4:
            stream = int(about_it) if isinstance(about_it, (int, float)) else 1
            await connection.command("publish", 5, None, key, "live", stream=stream)
        elif said == "onStatus":
            if _code(about_it) == "NetStream.Publish.Start":
                return
            raise Malformed(f"refused: {_code(about_it)}")
    raise Malformed("closed before publishing")


def _code(about: Any) -> str:
    code = about.get("code", "") if isinstance(about, dict) else ""
    return code[:60] if isinstance(code, str) and code.isprintable() else ""
