"""The wire between processes, and the only file that knows Valkey.

Rooms
    `publish` gives a frame the next `seq` of its room, remembers it as the newest of its topic and
    hands it to every subscriber, in one script. `put_snapshot` lays a full state under those topics.
    A room's `seq` is max(last + 1, clock in ms): it never goes back, not even when Valkey comes up
    empty, and needs no counter to be restored. A staff room `X@host` shares the seq of room `X` and
    is heard by staff only.

Presence
    Every gateway reports, a few times a second, which visitors came and went. Valkey keeps for each
    room one set of visitors a gateway and the number of gateways that hold each visitor, so that the
    count is the length of one hash, whatever the number of tabs and gateways. Reports are idempotent.
    A gateway that has not reported for DEAD_AFTER_MS is taken out by whoever counts, in the script
    that counts: once, whole. A gateway that finds itself unknown reports all it has under a new name
    and then drops the old one; as a visitor counts once under any number of names, no dip is seen.

Streams
    Records that must be stored (visits, beacons) are appended in batches and read by groups; what a
    dead reader had taken is taken over by another. Entries are removed when acknowledged.

All keys begin with `{prefix}`: braces put them into one slot, so scripts also run on a cluster.
Every failure of the wire is raised as `BusAway`; nothing blocks longer than COMMAND_TIMEOUT_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from valkey.asyncio import BlockingConnectionPool, Valkey
from valkey.asyncio.client import PubSub
from valkey.exceptions import ResponseError, ValkeyError
from valkey.exceptions import TimeoutError as ValkeyTimeoutError

from streaming import protocol, visits
from streaming.protocol import AnyFrame, Snapshot

COMMAND_TIMEOUT_S = 2.0
LONGEST_BLOCK_MS = 5000
DEAD_AFTER_MS = 3000
"""A gateway reports every second; three missed reports are a death."""
SETTLE_MS = 2000
"""After a pause of the counting itself (Valkey or the ticker was away) nobody is declared dead and the
count is unknown for this long: every living gateway has reported again by then."""
CHUNK = 1000  # visitors in one report: about a millisecond of Valkey's time
KEPT_BATCHES = 60  # comment batches kept for snapshots
ROOM_TTL_S = 7 * 24 * 3600
STREAM_LENGTH = 50_000  # entries, if nobody reads: old ones go before memory does

_PUBLISH = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local last = math.max(tonumber(redis.call('HGET', KEYS[1], 'seq') or '0'), tonumber(ARGV[8]))
local seq = string.format('%.0f', math.max(last + 1, now))
local payload = ARGV[3] .. ',"seq":' .. seq .. ',"sent_ms":' .. ARGV[5] .. ARGV[4]
redis.call('HSET', KEYS[1], 'seq', seq)
if ARGV[2] == 'comments' then
  redis.call('RPUSH', KEYS[2], payload)
  redis.call('LTRIM', KEYS[2], -ARGV[7], -1)
  redis.call('EXPIRE', KEYS[2], ARGV[6])
elseif ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[2], payload)
end
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('PUBLISH', ARGV[1], payload)
return {seq, redis.call('HEXISTS', KEYS[1], 'snapshot')}
"""

_DROP = """
local function drop(gateway)
  local members = KEYS[3] .. gateway
  for _, visitor in ipairs(redis.call('SMEMBERS', members)) do
    if redis.call('HINCRBY', KEYS[1], visitor, -1) <= 0 then redis.call('HDEL', KEYS[1], visitor) end
  end
  redis.call('DEL', members)
  return redis.call('ZREM', KEYS[2], gateway)
end
"""

_REPORT = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local gateway, joined = ARGV[1], tonumber(ARGV[3])
if ARGV[2] == '0' and not redis.call('ZSCORE', KEYS[2], gateway) then return 0 end
redis.call('ZADD', KEYS[2], now, gateway)
local members = KEYS[3] .. gateway
for i = 4, 3 + joined do
  if redis.call('SADD', members, ARGV[i]) == 1 then redis.call('HINCRBY', KEYS[1], ARGV[i], 1) end
end
for i = 4 + joined, #ARGV do
  if redis.call('SREM', members, ARGV[i]) == 1 and redis.call('HINCRBY', KEYS[1], ARGV[i], -1) <= 0 then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
return 1
"""

_COUNT = (
    _DROP
    + """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local clock = redis.call('HMGET', KEYS[4], 'counted', 'settled')
local settled = tonumber(clock[2] or '0')
if now - tonumber(clock[1] or '0') > tonumber(ARGV[1]) then settled = now + tonumber(ARGV[2]) end
local function digits(number) return string.format('%.0f', number) end
redis.call('HSET', KEYS[4], 'counted', digits(now), 'settled', digits(settled))
if now < settled then return -1 end
local dead = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. digits(now - ARGV[1]), 'WITHSCORES')
for i = 1, #dead, 2 do
  drop(dead[i])
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[3], '*', 'data',
    '[{"type":"gateway_died","gateway":"' .. dead[i] .. '","room":"' .. ARGV[4]
    .. '","at_ms":' .. digits(dead[i + 1]) .. '}]')
end
return redis.call('HLEN', KEYS[1])
"""
)

_LEAVE = _DROP + "return drop(ARGV[1])"


class BusAway(Exception):
    """Valkey does not answer now. What was asked for may or may not have happened; ask again."""


class Published(NamedTuple):
    seq: int
    complete: bool
    """False: the bus has no snapshot of this room (Valkey came up empty); call `put_snapshot`."""


class Message(NamedTuple):
    """A frame published to a room, as it goes to viewers."""

    room: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    """The wire is down; messages may be missed from now on."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The wire is up, all rooms are subscribed again; read their snapshots for what was missed."""


News = Message | Lost | Restored


class Entry(NamedTuple):
    """One appended batch. `id` is unique in its stream for ever: (id, position) names a record."""

    id: str
    data: bytes


_ROOM = re.compile(r"[A-Za-z0-9_-]{1,40}(@[a-z]{1,10})?")


def staff_room(room: str) -> str:
    return f"{room}@host"


def base_room(room: str) -> str:
    return room.partition("@")[0]


class Bus:
    """One connection pool to the wire. Cheap to make, safe to share in one event loop."""

    def __init__(
        self,
        url: str,
        prefix: str = "chophien",
        *,
        dead_after_ms: int = DEAD_AFTER_MS,
        settle_ms: int = SETTLE_MS,
    ) -> None:
        """`url`: valkey://, valkeys://, redis:// or rediss://, with password and database. Whoever counts
        decides by its own two times when a gateway is dead."""
        self._dead_after_ms = dead_after_ms
        self._settle_ms = settle_ms
        self._prefix = "{" + prefix + "}"
        # What this publisher sent last in each room: a burst may run ahead of the clock, and an empty Valkey
        # that is back within that lead must not go below it.
        self._sent: dict[str, int] = {}
        url = re.sub(r"^redis", "valkey", url)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=16,
            timeout=COMMAND_TIMEOUT_S,
            socket_timeout=COMMAND_TIMEOUT_S,
            socket_connect_timeout=1.0,
            socket_keepalive=True,
        )
        # The client's annotations answer for its blocking twin, too: Any is what they come to.
        self._valkey: Any = Valkey(connection_pool=pool)
        # Subscriptions and blocking reads wait while nothing happens.
        self._waiting: Any = Valkey.from_url(
            url, socket_timeout=LONGEST_BLOCK_MS / 1000 + 2, socket_connect_timeout=1.0
        )
        self._publish = self._valkey.register_script(_PUBLISH)
        self._report = self._valkey.register_script(_REPORT)
        self._count = self._valkey.register_script(_COUNT)
        self._leave = self._valkey.register_script(_LEAVE)

    async def close(self) -> None:
        for client in (self._valkey, self._waiting):
            with contextlib.suppress(Exception):
                await client.aclose()
                await client.connection_pool.disconnect()

    async def ping(self) -> None:
        with _away():
            await self._valkey.ping()

    # Rooms

    async def publish(self, room: str, frame: AnyFrame) -> Published:
        """Send `frame` to all viewers of `room`; `X@host` reaches the staff of `X` only."""
        _check_room(room)
        head, tail = protocol.halves(frame)
        topic = "" if "@" in room or isinstance(frame, protocol.Resync) else protocol.topic(frame)
        with _away():
            seq, complete = await self._publish(
                keys=[self._room_key(room), self._comments_key(room)],
                args=[
                    self._channel(room),
                    topic,
                    head,
                    tail,
                    protocol.now_ms(),
                    ROOM_TTL_S,
                    KEPT_BATCHES,
                    self._sent.get(base_room(room), 0),
                ],
            )
        self._sent[base_room(room)] = int(seq)
        return Published(int(seq), bool(complete))

    async def seq(self, room: str) -> int:
        """The last seq of a room, 0 if it has none. Read it before reading what `put_snapshot` is made of."""
        with _away():
            return int(await self._valkey.hget(self._room_key(room), "seq") or 0)

    async def put_snapshot(self, room: str, snapshot: Snapshot, as_of: int) -> None:
        """Make `snapshot` the state of the room as it was at seq `as_of`; newer frames stay on top.

        Gateways read it again and show it to their viewers if it differs from what these have.
        `viewers` is not taken from it: only ticks know it.
        """
        snapshot = msgspec.structs.replace(snapshot, seq=as_of, sent_ms=protocol.now_ms())
        with _away():
            await self._valkey.hset(self._room_key(room), "snapshot", protocol.encode(snapshot))
        await self.publish(room, protocol.Resync())

    async def get_snapshot(self, room: str) -> Snapshot | None:
        """The room now; None if nobody has put a snapshot. A staff room has that of its room."""
        with _away():
            async with self._valkey.pipeline(transaction=True) as pipe:
                pipe.hgetall(self._room_key(room))
                pipe.lrange(self._comments_key(room), 0, -1)
                topics, batches = await pipe.execute()
        if b"snapshot" not in topics:
            return None
        seq = int(topics.pop(b"seq"))
        base = protocol.decode(topics.pop(b"snapshot"))
        if not isinstance(base, Snapshot):
            raise TypeError(f"not a snapshot: {base}")
        frames = [protocol.decode(data) for data in (*topics.values(), *batches)]
        for frame in sorted(frames, key=lambda f: f.seq):
            base = base.after(frame)
            if isinstance(frame, protocol.Tick):  # however old: nothing else knows the viewers
                base = msgspec.structs.replace(base, viewers=frame.viewers, stale=frame.stale)
        return msgspec.structs.replace(base, seq=seq)

    async def forget(self, room: str) -> None:
        """Remove all that is kept of a room; its gateways keep what they have until they are empty."""
        with _away():
            await self._valkey.delete(
                self._room_key(room), self._comments_key(room), *self._presence_keys(room)
            )

    def listen(self) -> Listener:
        return Listener(self)

    # Presence

    async def report(
        self, gateway: str, room: str, joined: Sequence[str], left: Sequence[str], *, first: bool = False
    ) -> bool:
        """Tell who came to and went from `gateway`; also its sign of life for this room.

        False: the gateway is not known (it was taken for dead, or Valkey came up empty) and nothing
        was noted. `first` makes it known. At most CHUNK visitors in all.
        """
        with _away():
            known = await self._report(
                keys=self._presence_keys(room)[:3],
                args=[gateway, int(first), len(joined), *joined, *left],
            )
        return bool(known)

    async def leave(self, gateway: str, room: str) -> None:
        """Take a gateway and all its visitors out of a room."""
        with _away():
            await self._leave(keys=self._presence_keys(room)[:3], args=[gateway])

    async def viewers(self, rooms: Iterable[str]) -> dict[str, int | None]:
        """Distinct visitors in each room, None while unknown. To be called every second by one process:
        this is also what takes dead gateways out."""
        asked = list(rooms)
        with _away():
            async with self._valkey.pipeline(transaction=False) as pipe:
                for room in asked:
                    await self._count(
                        keys=[*self._presence_keys(room), self._stream_key(visits.VISITS)],
                        args=[self._dead_after_ms, self._settle_ms, STREAM_LENGTH, room],
                        client=pipe,
                    )
                counts = await pipe.execute()
        return {room: None if count < 0 else int(count) for room, count in zip(asked, counts, strict=True)}

    async def put_gateway(self, gateway: str, stats: bytes) -> None:
        """What a gateway says of itself, JSON with `at_ms`, for metrics and load tests."""
        with _away():
            await self._valkey.hset(f"{self._prefix}:gateways", gateway, stats)

    async def gateways(self, newer_than_ms: int = 10_000) -> dict[str, dict[str, Any]]:
        """What living gateways said last; those silent for longer are forgotten."""
        with _away():
            rows = await self._valkey.hgetall(f"{self._prefix}:gateways")
            stats = {name.decode(): msgspec.json.decode(data) for name, data in rows.items()}
            limit = protocol.now_ms() - newer_than_ms
            if gone := [name for name, row in stats.items() if row["at_ms"] < limit]:
                await self._valkey.hdel(f"{self._prefix}:gateways", *gone)
        return {name: row for name, row in stats.items() if row["at_ms"] >= limit}

    # Streams

    async def append(self, stream: str, data: bytes) -> str:
        """Append one batch; returns its id."""
        with _away():
            entry: bytes = await self._valkey.xadd(
                self._stream_key(stream), {"data": data}, maxlen=STREAM_LENGTH, approximate=True
            )
        return entry.decode()

    async def read(
        self,
        stream: str,
        group: str,
        consumer: str,
        *,
        count: int = 100,
        block_ms: int = 1000,
        reclaim_after_ms: int = 15_000,
    ) -> list[Entry]:
        """The next batches for this consumer, first those that another reader took and never
        acknowledged. Each is given again until `ack`: store by record id, then acknowledge."""
        key = self._stream_key(stream)
        with _away():
            try:
                return await self._read(key, group, consumer, count, block_ms, reclaim_after_ms)
            except ResponseError as error:
                if "NOGROUP" not in str(error):  # a new stream, or Valkey came up empty
                    raise
                with contextlib.suppress(ResponseError):  # somebody else was quicker
                    await self._valkey.xgroup_create(key, group, id="0", mkstream=True)
                return await self._read(key, group, consumer, count, block_ms, reclaim_after_ms)

    async def _read(
        self, key: str, group: str, consumer: str, count: int, block_ms: int, reclaim_after_ms: int
    ) -> list[Entry]:
        claimed = await self._valkey.xautoclaim(
            key, group, consumer, min_idle_time=reclaim_after_ms, count=count
        )
        if claimed[1]:
            return _entries(claimed[1])
        found = await self._waiting.xreadgroup(
            group, consumer, {key: ">"}, count=count, block=min(block_ms, LONGEST_BLOCK_MS)
        )
        return _entries(found[0][1]) if found else []

    async def ack(self, stream: str, group: str, ids: Sequence[str]) -> None:
        """Done with these entries: they are removed."""
        if not ids:
            return
        key = self._stream_key(stream)
        with _away():
            async with self._valkey.pipeline(transaction=True) as pipe:
                pipe.xack(key, group, *ids)
                pipe.xdel(key, *ids)
                await pipe.execute()

    async def backlog(self, stream: str) -> int:
        """Batches not acknowledged yet."""
        with _away():
            return int(await self._valkey.xlen(self._stream_key(stream)))

    # Keys

    def _room_key(self, room: str) -> str:
        return f"{self._prefix}:room:{base_room(room)}"

    def _comments_key(self, room: str) -> str:
        return f"{self._prefix}:comments:{base_room(room)}"

    def _stream_key(self, stream: str) -> str:
        return f"{self._prefix}:stream:{stream}"

    def _channel(self, room: str) -> str:
        return f"{self._prefix}:to:{room}"

    def _presence_keys(self, room: str) -> list[str]:
        """Gateways that hold each visitor; last report of each gateway; begin of the names of the
        gateways' own sets; when it was counted."""
        start = f"{self._prefix}:presence:{room}"
        return [f"{start}:visitors", f"{start}:gateways", f"{start}:of:", f"{start}:clock"]


class Listener:
    """One subscription to any number of rooms that mends itself. Iterate over it in one task."""

    PING_S = 1.0
    DEAF_S = 3.0  # no answer to pings for this long is a dead wire
    BACKOFF_S = (0.05, 0.5)

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._rooms: dict[str, asyncio.Future[None]] = {}
        self._pubsub: PubSub | None = None
        self._start = f"{bus._prefix}:to:"

    async def add(self, room: str) -> None:
        """Hear a room; returns when nothing published from now on can be missed. Raises `BusAway`; the
        room is then subscribed with the others when the wire is back."""
        _check_room(room)
        future = self._rooms.setdefault(room, asyncio.get_running_loop().create_future())
        if self._pubsub is not None:
            with _away():
                await self._pubsub.subscribe(self._bus._channel(room))
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await asyncio.shield(future)
        except TimeoutError as error:
            raise BusAway("no answer to a subscription") from error

    async def discard(self, room: str) -> None:
        if self._rooms.pop(room, None) is not None and self._pubsub is not None:
            with contextlib.suppress(BusAway), _away():
                await self._pubsub.unsubscribe(self._bus._channel(room))

    async def __aiter__(self) -> AsyncIterator[News]:
        delay, most = self.BACKOFF_S
        while True:
            connected = False
            try:
                async for news in self._connection():
                    connected = True
                    delay = self.BACKOFF_S[0]
                    yield news
            except BusAway:
                if connected:
                    yield Lost()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
            delay = min(delay * 2, most)

    async def _connection(self) -> AsyncIterator[News]:
        """News of one connection: `Restored` once all rooms are confirmed, then messages until it breaks."""
        loop = asyncio.get_running_loop()
        pubsub = self._bus._waiting.pubsub()
        try:
            unconfirmed = {"", *self._rooms}  # the channel of no room: a connection must have one
            with _away():
                await pubsub.subscribe(*(self._start + room for room in unconfirmed))
                self._pubsub = pubsub  # from here on `add` subscribes itself
                if late := self._rooms.keys() - unconfirmed:
                    unconfirmed |= late
                    await pubsub.subscribe(*(self._start + room for room in late))
            heard = loop.time()
            while True:
                with _away():
                    message = await pubsub.get_message(timeout=self.PING_S)
                    if message is None:
                        if loop.time() - heard > self.DEAF_S:
                            raise ValkeyTimeoutError("the subscription is deaf")
                        await pubsub.ping()
                        continue
                heard = loop.time()
                if message["type"] == "pong":
                    continue
                room = message["channel"].decode().removeprefix(self._start)
                if message["type"] == "message":
                    yield Message(room, message["data"])
                elif message["type"] == "subscribe":
                    self._confirm(room)
                    if unconfirmed:
                        unconfirmed.discard(room)
                        if not unconfirmed:
                            yield Restored()
        finally:
            self._pubsub = None
            with contextlib.suppress(Exception):
                await pubsub.aclose()

    def _confirm(self, room: str) -> None:
        future = self._rooms.get(room)
        if future is not None and not future.done():
            future.set_result(None)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """Turns every failure of the wire into `BusAway`; a command of ours that Valkey refuses stays loud.

    The client awaits `asyncio.wait_for`, which on Python 3.11 loses a cancellation that comes in the same
    moment as the result; a background task would then run on for ever. It is raised here.
    """
    task = asyncio.current_task()
    cancelled = task.cancelling() if task else 0
    failure: BusAway | None = None
    try:
        yield
    except ResponseError:
        raise
    except (ValkeyError, OSError) as error:
        failure = BusAway(str(error))
        failure.__cause__ = error
    if task and task.cancelling() > cancelled:
        raise asyncio.CancelledError
    if failure:
        raise failure


def _check_room(room: str) -> None:
    if not _ROOM.fullmatch(room):
        raise ValueError(f"not a room: {room!r}")


def _entries(rows: Iterable[tuple[bytes, dict[bytes, bytes] | None]]) -> list[Entry]:
    return [Entry(entry.decode(), fields[b"data"]) for entry, fields in rows if fields]
