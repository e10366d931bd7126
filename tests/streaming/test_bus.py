from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator

import pytest

from streaming import protocol, visits
from streaming.bus import CHUNK, Bus, BusAway, Lost, Message, News, Restored
from streaming.protocol import Comment, Comments, Notice, Pin, Snapshot, State, Status, Stock, Tick
from streaming.visits import GatewayDied, Visit
from tests.streaming.stage import Books, ValkeyServer, eventually

DEAD_AFTER_MS = 900
SETTLE_MS = 300


def impatient(url: str) -> Bus:
    return Bus(url, dead_after_ms=DEAD_AFTER_MS, settle_ms=SETTLE_MS)


@pytest.fixture
async def bus(valkey_url: str) -> AsyncIterator[Bus]:
    async with other_bus(valkey_url) as made:
        yield made


@contextlib.asynccontextmanager
async def other_bus(url: str) -> AsyncIterator[Bus]:
    bus = impatient(url)
    try:
        yield bus
    finally:
        await bus.close()


@contextlib.asynccontextmanager
async def hearing(bus: Bus, *rooms: str) -> AsyncIterator[list[News]]:
    """What a listener to these rooms hears, from the moment it is up."""
    listener = bus.listen()
    heard: list[News] = []

    async def run() -> None:
        async for news in listener:
            heard.append(news)

    task = asyncio.create_task(run())
    for room in rooms:
        await listener.add(room)
    await eventually(lambda: Restored() in heard)
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def messages(heard: list[News]) -> list[Message]:
    return [news for news in heard if isinstance(news, Message)]


# Rooms


async def test_seq_rises_strictly_whoever_publishes(bus: Bus, valkey_url: str) -> None:
    async with other_bus(valkey_url) as second:
        published = await asyncio.gather(
            *(one.publish("X", Notice(text=str(i))) for i in range(100) for one in (bus, second))
        )
        assert len({p.seq for p in published}) == 200
        assert await bus.seq("X") == max(p.seq for p in published)
        assert (await bus.publish("X", Notice(text=""))).seq > max(p.seq for p in published)


async def test_seq_does_not_go_back_when_valkey_comes_up_empty(own_valkey: ValkeyServer) -> None:
    async with other_bus(own_valkey.url) as bus:
        await bus.put_snapshot("X", Snapshot(), 0)
        before = [await bus.publish("X", Notice(text="")) for _ in range(50)]
        assert all(p.complete for p in before)
        own_valkey.kill()
        with pytest.raises(BusAway):
            await bus.publish("X", Notice(text=""))
        own_valkey.start()
        after = await bus.publish("X", Notice(text=""))
        assert after.seq > before[-1].seq
        assert not after.complete  # so that the publisher puts the snapshot again
        await bus.put_snapshot("X", Snapshot(), await bus.seq("X"))
        assert (await bus.publish("X", Notice(text=""))).complete


async def test_a_message_goes_to_its_room_as_it_goes_to_viewers(bus: Bus) -> None:
    async with hearing(bus, "X", "X@host") as heard:
        first = await bus.publish("X", Pin(pinned={"code": 'A"1'}))
        await bus.publish("Y", Notice(text="not ours"))
        second = await bus.publish("X@host", Notice(text="for staff"))
        await eventually(lambda: len(messages(heard)) == 2)
        room, payload = messages(heard)[0]
        frame = protocol.decode(payload)
        assert room == "X"
        assert isinstance(frame, Pin)
        assert frame.pinned == {"code": 'A"1'}
        assert frame.seq == first.seq
        assert abs(frame.sent_ms - protocol.now_ms()) < 5000
        assert messages(heard)[1].room == "X@host"
        assert second.seq > first.seq


async def test_a_room_is_its_snapshot_and_what_happened_since(bus: Bus) -> None:
    assert await bus.get_snapshot("X") is None
    await bus.publish("X", Pin(pinned={"code": "old"}))
    base = Snapshot(state=State.LIVE, stock={"A1": 9}, orders=1, units=2, pinned={"code": "A1"})
    await bus.put_snapshot("X", base, await bus.seq("X"))
    one = Comment(id="1", name="n", text="t", at=1)
    await bus.publish("X", Comments(comments=[one]))
    await bus.publish("X", Comments(comments=[Comment(id="2", name="n", text="t", at=2)], hidden=["1"]))
    await bus.publish("X", Tick(viewers=7, orders=1, units=2))
    await bus.publish("X", Stock(stock={"A1": 8}, orders=2, units=3))
    last = await bus.publish("X", Status(state=State.ENDED, reason="hết hàng"))
    await bus.publish("X@host", Notice(text="staff only"))
    room = await bus.get_snapshot("X")
    assert room is not None
    assert room.seq >= last.seq
    assert (room.viewers, room.orders, room.units, room.stock) == (7, 2, 3, {"A1": 8})
    assert (room.pinned, room.state, room.reason) == ({"code": "A1"}, State.ENDED, "hết hàng")
    assert [c.id for c in room.comments] == ["2"]
    assert room.notice == ""
    assert await bus.get_snapshot("X@host") == room


async def test_a_snapshot_does_not_overwrite_what_happened_while_it_was_made(bus: Bus) -> None:
    as_of = await bus.seq("X")
    made_from = Snapshot(pinned={"code": "A1"})
    await bus.publish("X", Pin(pinned={"code": "B1"}))  # committed after the rows were read
    await bus.put_snapshot("X", made_from, as_of)
    room = await bus.get_snapshot("X")
    assert room is not None
    assert room.pinned == {"code": "B1"}


async def test_without_as_of_it_would(bus: Bus) -> None:
    made_from = Snapshot(pinned={"code": "A1"})
    await bus.publish("X", Pin(pinned={"code": "B1"}))
    await bus.put_snapshot("X", made_from, await bus.seq("X"))  # asked too late
    room = await bus.get_snapshot("X")
    assert room is not None
    assert room.pinned == {"code": "A1"}


async def test_a_new_snapshot_keeps_the_viewers(bus: Bus) -> None:
    await bus.publish("X", Tick(viewers=7, orders=1, units=1))
    await bus.put_snapshot("X", Snapshot(orders=5), await bus.seq("X"))
    room = await bus.get_snapshot("X")
    assert room is not None
    assert (room.viewers, room.orders) == (7, 5)


async def test_a_forgotten_room_is_gone(bus: Bus) -> None:
    await bus.put_snapshot("X", Snapshot(), 0)
    await bus.forget("X")
    assert await bus.get_snapshot("X") is None


@pytest.mark.parametrize("room", ["", "a b", "X}", "X@", "x" * 41])
async def test_a_room_must_be_a_plain_word(bus: Bus, room: str) -> None:
    with pytest.raises(ValueError, match="not a room"):
        await bus.publish(room, Notice(text=""))


async def test_a_listener_mends_itself_and_says_so(own_valkey: ValkeyServer) -> None:
    async with other_bus(own_valkey.url) as bus, hearing(bus, "X", "Y") as heard:
        own_valkey.kill()
        await eventually(lambda: Lost() in heard)
        own_valkey.start()
        await eventually(lambda: heard[-1] == Restored(), 5)
        for room in ("X", "Y"):
            await bus.publish(room, Notice(text=room))
        await eventually(lambda: {m.room for m in messages(heard)} == {"X", "Y"})
        assert heard.index(Lost()) < len(heard) - 3


async def test_a_listener_notices_a_valkey_that_hangs(own_valkey: ValkeyServer) -> None:
    async with other_bus(own_valkey.url) as bus, hearing(bus, "X") as heard:
        own_valkey.hang()
        with pytest.raises(BusAway):
            await bus.ping()
        await eventually(lambda: Lost() in heard, 8)
        own_valkey.go_on()
        await eventually(lambda: heard[-1] == Restored(), 8)


async def test_subscribing_before_reading_misses_nothing(bus: Bus) -> None:
    await bus.put_snapshot("X", Snapshot(), 0)
    listener = bus.listen()
    heard: list[News] = []

    async def run() -> None:
        async for news in listener:
            heard.append(news)

    task = asyncio.create_task(run())
    stop = asyncio.Event()
    last = 0

    async def talk() -> None:
        nonlocal last
        for i in itertools.count():
            if stop.is_set():
                return
            last = (await bus.publish("X", Notice(text=str(i)))).seq

    talking = asyncio.create_task(talk())
    await asyncio.sleep(0.05)
    await listener.add("X")
    room = await bus.get_snapshot("X")
    await asyncio.sleep(0.05)
    stop.set()
    await talking
    assert room is not None
    await eventually(lambda: messages(heard) and protocol.decode(messages(heard)[-1].payload).seq == last)
    told = [frame for m in messages(heard) if isinstance(frame := protocol.decode(m.payload), Notice)]
    numbers = [int(frame.text) for frame in told if frame.seq > room.seq]
    assert numbers == list(range(int(room.notice) + 1, int(room.notice) + 1 + len(numbers)))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# Presence


class Crowd:
    """Gateways as the bus sees them: reports by hand."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.alive: set[str] = set()

    async def report(self, gateway: str, *joined: str, left: tuple[str, ...] = ()) -> bool:
        first = gateway not in self.alive
        self.alive.add(gateway)
        return await self.bus.report(gateway, "X", joined, left, first=first)

    async def count(self) -> int | None:
        return (await self.bus.viewers(["X"]))["X"]

    async def is_empty(self) -> bool:
        return await self.count() == 0

    async def settle(self) -> None:
        """Count until counts are given; those alive report meanwhile."""
        async with asyncio.timeout(5):
            while await self.count() is None:
                await asyncio.gather(*(self.bus.report(g, "X", [], []) for g in self.alive))
                await asyncio.sleep(0.1)


@pytest.fixture
async def crowd(bus: Bus) -> Crowd:
    return Crowd(bus)


async def test_a_visitor_counts_once_on_any_number_of_gateways(crowd: Crowd) -> None:
    await crowd.report("g1", "an", "binh")
    await crowd.report("g2", "binh", "chi")
    await crowd.settle()
    assert await crowd.count() == 3
    await crowd.report("g2", left=("binh",))
    assert await crowd.count() == 3
    await crowd.report("g1", left=("binh",))
    assert await crowd.count() == 2


async def test_many_rooms_are_counted_at_once(bus: Bus) -> None:
    rooms = [f"R{i}" for i in range(102)]
    assert await bus.viewers([]) == {}
    assert await bus.viewers(rooms) == dict.fromkeys(rooms)
    for number, room in enumerate(rooms):
        await bus.report("g1", room, [f"v{i}" for i in range(number % 5)], [], first=True)
    await asyncio.sleep(SETTLE_MS / 1000 + 0.1)
    assert await bus.viewers(rooms) == {room: number % 5 for number, room in enumerate(rooms)}


async def test_a_report_may_be_repeated(crowd: Crowd) -> None:
    await crowd.report("g1", "an")
    await crowd.settle()
    for _ in range(3):
        await crowd.report("g1", "an", "binh")
    assert await crowd.count() == 2
    for _ in range(3):
        await crowd.report("g1", left=("an", "never here"))
    assert await crowd.count() == 1


async def test_the_count_is_unknown_at_first(crowd: Crowd) -> None:
    assert await crowd.count() is None
    await crowd.report("g1", "an")
    await crowd.settle()
    assert await crowd.count() == 1


async def test_a_dead_gateway_is_taken_out_once_by_whoever_counts(
    crowd: Crowd, bus: Bus, valkey_url: str
) -> None:
    await crowd.report("dying", "an", "binh")
    await crowd.report("well", "binh")
    await crowd.settle()
    crowd.alive.discard("dying")
    before = protocol.now_ms()
    async with other_bus(valkey_url) as second:
        for _ in range(DEAD_AFTER_MS // 250 + 4):
            await bus.report("well", "X", [], [])
            counts = await asyncio.gather(bus.viewers(["X"]), second.viewers(["X"]))
            await asyncio.sleep(0.25)
    assert list(counts) == [{"X": 1}, {"X": 1}]
    records = await Books().read(bus)
    deaths = [record for record in records if isinstance(record, GatewayDied)]
    assert [(d.gateway, d.room) for d in deaths] == [("dying", "X")]
    assert before - DEAD_AFTER_MS < deaths[0].at_ms <= before + 500


async def test_a_gateway_taken_for_dead_is_told_so(crowd: Crowd, bus: Bus) -> None:
    await crowd.report("slow", "an")
    await crowd.settle()
    await eventually(crowd.is_empty)
    assert not await bus.report("slow", "X", ["binh"], [])
    assert await crowd.count() == 0
    assert await bus.report("slow.2", "X", ["an", "binh"], [], first=True)
    assert await crowd.count() == 2


async def test_telling_all_under_a_new_name_shows_no_dip(crowd: Crowd, bus: Bus) -> None:
    everybody = [f"v{i}" for i in range(3 * CHUNK)]
    for start in range(0, len(everybody), CHUNK):
        await crowd.report("g.1", *everybody[start : start + CHUNK])
    await crowd.settle()
    counts = set()
    for start in range(0, len(everybody), CHUNK):
        await crowd.report("g.2", *everybody[start : start + CHUNK])
        counts.add(await crowd.count())
    await bus.leave("g.1", "X")
    counts.add(await crowd.count())
    assert counts == {len(everybody)}


async def test_nobody_is_declared_dead_after_a_pause_of_the_counting(crowd: Crowd, bus: Bus) -> None:
    """Valkey or the ticker was away: the gateways' last reports are old, but they live."""
    await crowd.report("g1", "an")
    await crowd.settle()
    await asyncio.sleep(DEAD_AFTER_MS / 1000 + 0.3)  # no count, no report
    assert await crowd.count() is None
    await crowd.report("g1", "binh")
    await asyncio.sleep(SETTLE_MS / 1000 + 0.1)
    assert await crowd.count() == 2


# Streams


async def test_batches_are_read_in_order_and_go_when_acknowledged(bus: Bus) -> None:
    ids = [await bus.append("s", str(i).encode()) for i in range(5)]
    entries = await bus.read("s", "books", "a", count=10)
    assert [(e.id, e.data) for e in entries] == [(one, str(i).encode()) for i, one in enumerate(ids)]
    await bus.ack("s", "books", ids[:3])
    assert await bus.backlog("s") == 2
    assert await bus.read("s", "books", "a", block_ms=10) == []  # the rest is still ours to finish
    await bus.ack("s", "books", ids[3:])
    assert await bus.backlog("s") == 0


async def test_what_a_dead_reader_took_is_taken_over(bus: Bus) -> None:
    await bus.append("s", b"1")
    assert len(await bus.read("s", "books", "dead")) == 1
    assert await bus.read("s", "books", "heir", block_ms=10) == []
    again = await eventually(lambda: bus.read("s", "books", "heir", block_ms=10, reclaim_after_ms=200), 3)
    assert [entry.data for entry in again] == [b"1"]


async def test_two_readers_share(bus: Bus) -> None:
    for i in range(20):
        await bus.append("s", str(i).encode())
    shares = await asyncio.gather(*(bus.read("s", "books", name, count=10) for name in "ab"))
    assert sorted(int(entry.data) for share in shares for entry in share) == list(range(20))


async def test_a_reader_finds_its_way_after_valkey_came_up_empty(own_valkey: ValkeyServer) -> None:
    async with other_bus(own_valkey.url) as bus:
        await bus.read("s", "books", "a", block_ms=10)
        own_valkey.kill()
        with pytest.raises(BusAway):
            await bus.read("s", "books", "a", block_ms=10)
        own_valkey.start()
        await bus.append("s", b"1")
        entries = await eventually(lambda: bus.read("s", "books", "a", block_ms=10))
        assert [entry.data for entry in entries] == [b"1"]


def test_the_books_are_the_same_in_any_order_and_with_repetitions() -> None:
    def visit(gateway: str, left: int | None) -> Visit:
        return Visit(
            id="a", room="X", visitor="v", source="qr", gateway=gateway, joined_ms=1000, left_ms=left
        )

    told: list[visits.Record] = [
        visit("g.1", None),
        GatewayDied(gateway="g.1", room="X", at_ms=5000),
        visit("g.2", None),
    ]
    for order in itertools.permutations(told * 2):
        books = Books()
        books.enter(order)
        assert len(books.open) == 1  # g.2 lives: g.1 was taken for dead
    for order in itertools.permutations([*told, visit("g.2", 9000)]):
        books = Books()
        books.enter(order)
        assert [books.ended(v) for v in books.visits.values()] == [9000]
        assert [v.watched_s for v in books.visits.values()] == [8.0]


def test_records_come_back_as_they_were() -> None:
    records: list[visits.Record] = [
        Visit(id="a", room="X", visitor="v", source="qr", gateway="g", joined_ms=1),
        GatewayDied(gateway="g", room="X", at_ms=2),
    ]
    assert visits.decode(visits.encode(records)) == records


async def test_a_task_that_uses_the_bus_can_always_be_cancelled(bus: Bus) -> None:
    """Python 3.11's wait_for, which the client uses, may lose a cancellation; a worker would not stop."""

    async def work() -> None:
        while True:
            await bus.ping()

    for step in range(300):
        tasks = [asyncio.create_task(work()) for _ in range(4)]
        await asyncio.sleep(step % 10 / 5000)
        for task in tasks:
            task.cancel()
        _, running = await asyncio.wait(tasks, timeout=5)
        for task in running:
            task.cancel()
        assert not running
