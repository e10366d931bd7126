"""Gateways as processes, and what is left when one of them, or Valkey, is killed."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from itertools import pairwise

from streaming.bus import Bus
from streaming.gateway import GatewayConfig
from streaming.protocol import Close, Notice, Pin, Snapshot, Tick
from tests.streaming.conftest import StartProcesses
from tests.streaming.stage import (
    ROOM,
    SECRET,
    Books,
    GatewayProcess,
    Ticker,
    ValkeyServer,
    Viewer,
    eventually,
    free_port,
    live_url,
    refused,
    viewers,
    wait_listening,
)

HEALED_S = 5.0


@contextlib.asynccontextmanager
async def own_bus(server: ValkeyServer) -> AsyncIterator[Bus]:
    made = Bus(server.url)
    try:
        yield made
    finally:
        await made.close()


async def test_one_of_four_gateways_is_killed(
    bus: Bus, valkey_url: str, start_processes: StartProcesses
) -> None:
    processes = await start_processes(4, valkey_url, bus)
    port = processes[0].config.port
    books = Books()
    async with Ticker(bus) as ticker:
        async with viewers([live_url(port, f"v{i}") for i in range(40)]) as opened:
            await eventually(lambda: ticker.counts[-1:] == [40], 8)
            await asyncio.sleep(0.5)
            processes[0].kill()
            await asyncio.sleep(0.3)
            orphans = [viewer for viewer in opened if viewer.code is not None]
            staying = [viewer for viewer in opened if viewer.code is None]
            assert orphans
            assert staying
            await eventually(lambda: ticker.counts[-1:] == [len(staying)], HEALED_S)
            seen = {viewer: len(viewer.seen(Tick)) for viewer in staying}
            await eventually(lambda: all(len(v.seen(Tick)) >= n + 2 for v, n in seen.items()))
            assert all(viewer.code is None for viewer in staying)
            # The kernel may still know the dead one's port for a moment.
            await asyncio.sleep(0.2)
            async with viewers([live_url(port, f"back{i}") for i in range(len(orphans))]):
                await eventually(lambda: ticker.counts[-1:] == [40], HEALED_S)
                await books.read(bus)
                # Those of the dead gateway are closed, those who live are open, nobody twice.
                assert len(books.visits) == 40 + len(orphans)
                assert len(books.open) == 40
        await eventually(lambda: ticker.counts[-1:] == [0], HEALED_S)
    await asyncio.sleep(0.5)
    await books.read(bus)
    assert books.open == []
    assert len({visit.visitor for visit in books.visits.values()}) == 40 + len(orphans)


async def test_valkey_is_killed_and_comes_up_empty(
    own_valkey: ValkeyServer, start_processes: StartProcesses
) -> None:
    async with own_bus(own_valkey) as bus, Ticker(bus) as ticker:
        [process, _] = await start_processes(2, own_valkey.url, bus)
        port = process.config.port
        books = Books()
        async with viewers([live_url(port, f"v{i % 9}") for i in range(10)]) as opened:
            await eventually(lambda: all(viewer.state.viewers == 9 for viewer in opened), 10)
            await books.read(bus)
            own_valkey.kill()
            gone = len(opened[0].frames)
            await eventually(lambda: all(viewer.state.stale for viewer in opened), 10)
            assert all(viewer.state.viewers == 9 for viewer in opened)
            # Nothing breaks meanwhile: the room is known, an unknown one is for later.
            async with viewers([live_url(port, "meanwhile")]) as [late]:
                assert (await late.wait(Snapshot)).pinned == {"code": "A1"}
            assert await refused(live_url(port, room="OTHER")) == Close.TRY_AGAIN
            await opened[9].close()
            own_valkey.start()
            began = len(ticker.counts)
            await eventually(
                lambda: all(v.state.viewers == 9 and not v.state.stale for v in opened[:9]), HEALED_S
            )
            # Until it was right it was unknown, never wrong.
            assert set(ticker.counts[began:]) <= {None, 9}
            await bus.publish(ROOM, Pin(pinned={"code": "B1"}))
            await eventually(lambda: all(v.state.pinned == {"code": "B1"} for v in opened[:9]))
            assert all(viewer.code is None for viewer in opened[:9])
            seqs = [f.seq for f in opened[0].frames[gone:] if not isinstance(f, Snapshot)]
            assert seqs == sorted(set(seqs))
        await eventually(lambda: ticker.counts[-1:] == [0], HEALED_S)
        await asyncio.sleep(0.5)
        await books.read(bus)
        assert books.open == []
        # One visit a socket: ten, and the one who came while nothing could be written down.
        assert len(books.visits) == 11


async def test_a_gateway_that_hung_is_taken_out_and_comes_back(
    bus: Bus, valkey_url: str, start_processes: StartProcesses
) -> None:
    [hanging] = await start_processes(1, valkey_url, bus)
    books = Books()
    async with Ticker(bus) as ticker:
        async with viewers([live_url(hanging.config.port, f"v{i}") for i in range(3)]) as opened:
            await eventually(lambda: ticker.counts[-1:] == [3], 8)
            hanging.signal(signal.SIGSTOP)
            await eventually(lambda: ticker.counts[-1:] == [0], HEALED_S + 1)
            hanging.signal(signal.SIGCONT)
            await eventually(lambda: ticker.counts[-1:] == [3], HEALED_S)
            await asyncio.sleep(0.5)
            await books.read(bus)
            assert len(books.visits) == 3
            assert len(books.open) == 3
            assert books.deaths
            assert all(viewer.code is None for viewer in opened)
        await asyncio.sleep(0.8)
        await books.read(bus)
    assert len(books.visits) == 3
    assert books.open == []
    assert all(visit.left_ms is not None for visit in books.visits.values())


async def test_sigterm_sends_everybody_away_and_ends_well(
    bus: Bus, valkey_url: str, start_processes: StartProcesses
) -> None:
    [process] = await start_processes(1, valkey_url, bus, drain_s=1.0)
    async with Ticker(bus), viewers([live_url(process.config.port, f"v{i}") for i in range(60)]) as opened:
        await asyncio.gather(*(viewer.wait(Snapshot) for viewer in opened))
        assert await asyncio.to_thread(process.stop) == 0
        codes = await asyncio.gather(*(viewer.wait_closed() for viewer in opened))
        assert set(codes) == {Close.RESTART}


async def test_two_machines_share_a_room_with_nothing_but_valkey(own_valkey: ValkeyServer) -> None:
    """Other ports, other processes, another name for the same Valkey; a third market beside them on the
    same Valkey hears nothing of it."""
    urls = [own_valkey.url, own_valkey.url.replace("valkey://127.0.0.1", "redis://localhost")]
    machines = [
        GatewayProcess(GatewayConfig(valkey_url=u, ticket_secret=SECRET, port=free_port())) for u in urls
    ]
    other = GatewayProcess(
        GatewayConfig(valkey_url=urls[0], ticket_secret=SECRET, port=free_port(), prefix="other")
    )
    stranger_bus = Bus(urls[0], "other")
    try:
        async with own_bus(own_valkey) as bus, Ticker(bus) as ticker, Ticker(stranger_bus):
            ports = [one.config.port for one in (*machines, other)]
            await asyncio.gather(*(wait_listening(port) for port in ports))
            async with viewers(live_url(port, f"v{port}") for port in ports) as [here, there, stranger]:
                await eventually(lambda: ticker.counts[-1:] == [2], 8)
                await bus.publish(ROOM, Notice(text="to all"))
                await asyncio.gather(here.wait(Notice), there.wait(Notice))
                assert here.seen(Notice) == there.seen(Notice)
                await stranger.wait(Tick, len(stranger.seen(Tick)) + 1)
                assert stranger.seen(Notice) == []
    finally:
        await stranger_bus.close()
        for process in (*machines, other):
            process.kill()


async def test_a_storm_of_joiners_all_get_in_and_the_seated_are_served(
    bus: Bus, valkey_url: str, start_processes: StartProcesses
) -> None:
    processes = await start_processes(2, valkey_url, bus)
    port = processes[0].config.port
    async with Ticker(bus) as ticker, viewers([live_url(port, "first")]) as [first]:
        await first.wait(Tick)
        opened: list[Viewer] = []
        for wave in range(4):
            urls = [live_url(port, f"s{wave}-{i}") for i in range(100)]
            opened += await asyncio.gather(*(Viewer.open(url) for url in urls))
        await eventually(lambda: all(viewer.seen(Snapshot) for viewer in opened), 20)
        await eventually(lambda: first.state.viewers == 401, 10)
        assert ticker.counts[-1] == 401
        assert max(b - a for a, b in pairwise(first.times)) < 5
        await asyncio.gather(*(viewer.close() for viewer in opened))
        await eventually(lambda: ticker.counts[-1:] == [1], HEALED_S)
