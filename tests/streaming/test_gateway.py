"""One gateway, or two, inside the test's process: who is let in, what they are told, what is counted."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
from itertools import pairwise

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.server import ServerProtocol

from streaming.bus import Bus
from streaming.protocol import (
    AnyFrame,
    Close,
    Comment,
    Comments,
    Deal,
    Notice,
    Order,
    Pin,
    Resync,
    Snapshot,
    State,
    Status,
    Stock,
    Tick,
)
from streaming.tickets import Kind, Tickets
from streaming.viewer import FLOOD_BYTES, MAX_MESSAGE
from streaming.viewer import Viewer as SocketOfViewer
from streaming.visits import Visit
from tests.streaming.conftest import StartGateway
from tests.streaming.stage import (
    ROOM,
    SECRET,
    Books,
    Ticker,
    Viewer,
    eventually,
    live_url,
    refused,
    tickets,
    viewers,
)


async def put(bus: Bus, **state: object) -> None:
    snapshot = Snapshot(**({"state": State.LIVE} | state))  # type: ignore[arg-type]
    await bus.put_snapshot(ROOM, snapshot, await bus.seq(ROOM))


# What a viewer is told


async def test_a_snapshot_and_then_everything_that_happens(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus, pinned={"code": "A1"}, stock={"A1": 5})
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port)]) as [viewer]:
        first = await viewer.wait(Snapshot)
        assert (first.pinned, first.stock, first.state) == ({"code": "A1"}, {"A1": 5}, State.LIVE)
        told: list[AnyFrame] = [
            Pin(pinned={"code": "B1", "name": "Sầu riêng <b>"}),
            Deal(deals=[{"code": "B1", "price": 90_000}]),
            Stock(stock={"A1": 4}, orders=1, units=1),
            Comments(comments=[Comment(id="1", name="Ê Đê", text="</script>\u2028\x00", at=1)]),
            Notice(text="sắp mưa"),
            Status(state=State.LIVE),
        ]
        seqs = [(await bus.publish(ROOM, frame)).seq for frame in told]
        await viewer.wait(Status)
        assert [type(frame) for frame in viewer.frames[1:]] == [type(frame) for frame in told]
        assert [frame.seq for frame in viewer.frames[1:]] == seqs
        assert viewer.state.comments[0].text == "</script>\u2028\x00"
        assert first.seq < seqs[0]


async def test_who_comes_later_gets_the_room_as_it_is(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus, stock={"A1": 5})
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port)]):
        await bus.publish(ROOM, Stock(stock={"A1": 4}, orders=1, units=1))
        await bus.publish(ROOM, Tick(viewers=8, orders=1, units=1))
        await asyncio.sleep(0.1)
        async with viewers([live_url(gateway.config.port, "v2")]) as [late]:
            first = await late.wait(Snapshot)
            assert (first.stock, first.orders, first.viewers) == ({"A1": 4}, 1, 8)


async def test_ticks_come_every_second_also_when_nobody_ticks(
    bus: Bus, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.gateway.TICK_MISSING_S", 1.2)
    gateway = await start_gateway()
    async with Ticker(bus) as ticker, viewers([live_url(gateway.config.port)]) as [viewer]:
        await viewer.wait(Tick, 2)
        await ticker.stop()
        alive = len(viewer.frames)
        await eventually(lambda: any(f.stale for f in viewer.frames[alive:] if isinstance(f, Tick)), 8)
        await eventually(lambda: len([f for f in viewer.frames[alive:] if isinstance(f, Tick)]) >= 2, 12)
    seqs = [frame.seq for frame in viewer.frames]
    assert seqs == sorted(set(seqs))


async def test_a_room_put_anew_is_shown_only_if_it_differs(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus, stock={"A1": 5})
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port)]) as [viewer]:
        await viewer.wait(Snapshot)
        await put(bus, stock={"A1": 5})
        await asyncio.sleep(0.3)
        assert viewer.seen(Resync) == []
        await put(bus, stock={"A1": 3})
        await viewer.wait(Snapshot, 2)
        assert [type(frame) for frame in viewer.frames] == [Snapshot, Resync, Snapshot]
        assert viewer.state.stock == {"A1": 3}


async def test_staff_hear_orders_and_are_not_counted(bus: Bus, start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    port = gateway.config.port
    async with Ticker(bus) as ticker:
        urls = [live_url(port, "host", room=f"{ROOM}@host", kind=Kind.STAFF), live_url(port, "v1")]
        async with viewers(urls) as [host, viewer]:
            await host.wait(Snapshot)
            await eventually(lambda: ticker.counts[-1:] == [1], 8)
            order = Order(code="D1", name="N*** A", lines=[{"product": "A1", "quantity": 2}], total=9, at=1)
            await bus.publish(f"{ROOM}@host", order)
            await bus.publish(ROOM, Notice(text="all"))
            await host.wait(Notice)
            await viewer.wait(Notice)
            assert [frame.code for frame in host.seen(Order)] == ["D1"]
            assert viewer.seen(Order) == []
            await host.wait(Tick)
            assert ticker.counts[-1] == 1
    assert {visit.visitor for visit in await visits_of(bus)} == {"v1"}


async def visits_of(bus: Bus) -> list[Visit]:
    books = Books()
    await asyncio.sleep(0.6)
    await books.read(bus)
    return list(books.visits.values())


async def test_comments_keep_their_order_and_hidden_ones_vanish(
    bus: Bus, start_gateway: StartGateway
) -> None:
    await put(bus)
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port)]) as [viewer]:
        await viewer.wait(Snapshot)
        for batch in range(20):  # 500 comments in batches of 25
            comments = [
                Comment(id=str(25 * batch + i), name="n", text="<img src=x onerror=alert(1)>", at=batch)
                for i in range(25)
            ]
            await bus.publish(ROOM, Comments(comments=comments))
        await bus.publish(ROOM, Comments(hidden=["480", "499"]))
        await eventually(lambda: sum(len(f.comments) for f in viewer.seen(Comments)) == 500)
        told = [int(c.id) for f in viewer.seen(Comments) for c in f.comments]
        assert told == list(range(500))
        await eventually(lambda: any(f.hidden for f in viewer.seen(Comments)))
        assert {"480", "499"}.isdisjoint(c.id for c in viewer.state.comments)


# Who is let in


async def test_refusals_say_why_by_their_code(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    await bus.put_snapshot("OVER", Snapshot(state=State.ENDED), 0)
    await bus.put_snapshot("DOWN", Snapshot(state=State.TAKEN_DOWN), 0)
    port = (await start_gateway()).config.port
    expired = Tickets(SECRET).sign(ROOM, "v1", lifetime_s=-1)
    forged = Tickets("another").sign(ROOM, "v1")
    other = Tickets(SECRET).sign("OTHER", "v1")
    for ticket in (expired, forged, other, "", "x", tickets.sign(ROOM, "v1")[:-3]):
        url = f"ws://127.0.0.1:{port}/live/{ROOM}?ticket={ticket}"
        assert await refused(url) == Close.BAD_TICKET
    assert await refused(f"ws://127.0.0.1:{port}/live/{ROOM}") == Close.BAD_TICKET
    assert await refused(live_url(port, room="NOSUCH")) == Close.NO_SESSION
    assert await refused(f"ws://127.0.0.1:{port}/live/NOSUCH?ticket=x") == Close.NO_SESSION
    assert await refused(live_url(port, room="OVER")) == Close.ENDED
    assert await refused(live_url(port, room="DOWN")) == Close.ENDED
    # A viewer's ticket opens no staff room, a staff ticket no other.
    viewers_own = tickets.sign(ROOM, "v1")
    assert await refused(f"ws://127.0.0.1:{port}/live/{ROOM}@host?ticket={viewers_own}") == Close.BAD_TICKET


async def test_a_room_that_comes_up_later_is_found(bus: Bus, start_gateway: StartGateway) -> None:
    port = (await start_gateway()).config.port
    assert await refused(live_url(port)) == Close.NO_SESSION
    await put(bus)
    await asyncio.sleep(1.1)
    async with viewers([live_url(port)]) as [viewer]:
        await viewer.wait(Snapshot)


async def test_too_many_from_one_address_or_of_one_visitor(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    gateway = await start_gateway(per_address=5, per_visitor=2)
    port = gateway.config.port
    async with viewers([live_url(port, "an"), live_url(port, "an")]):
        assert await refused(live_url(port, "an")) == Close.TOO_MANY
        async with viewers([live_url(port, f"v{i}") for i in range(3)]) as others:
            assert await refused(live_url(port, "late")) == Close.TOO_MANY
            async with viewers([live_url(port, "load", kind=Kind.BENCH)]) as [load]:
                await load.wait(Snapshot)  # a load test comes from one address
            await others[0].close()
            async with viewers([live_url(port, "late")]) as [late]:
                await late.wait(Snapshot)


async def test_a_full_process_says_503_and_when_to_come_again(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    port = (await start_gateway(max_viewers=2)).config.port
    async with viewers([live_url(port, "a"), live_url(port, "b")]) as [first, _]:
        with pytest.raises(InvalidStatus) as caught:
            await connect(live_url(port, "c"))
        assert caught.value.response.status_code == 503
        assert 1 <= int(caught.value.response.headers["Retry-After"]) <= 10
        await first.close()
        async with viewers([live_url(port, "c")]) as [third]:
            await third.wait(Snapshot)


async def test_only_our_own_pages_may_open_sockets(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    gateway = await start_gateway(allowed_origins=("http://127.0.0.1:8000", "https://chophien.vn"))
    url = live_url(gateway.config.port)
    for origin in ("http://127.0.0.1:8000", "http://localhost:8000", "https://chophien.vn"):
        viewer = await Viewer.open(url, origin=origin)
        await viewer.wait(Snapshot)
        await viewer.close()
    for origin in ("https://evil.vn", "http://chophien.vn", "http://localhost:8001", "null"):
        with pytest.raises(InvalidStatus) as caught:
            await connect(url, origin=origin)  # type: ignore[arg-type]
        assert caught.value.response.status_code == 403


async def test_behind_a_proxy_it_is_the_address_behind_that_counts(
    bus: Bus, start_gateway: StartGateway
) -> None:
    await put(bus)
    trusting = await start_gateway(per_address=1, trusted_proxies=("127.0.0.0/8",))
    doubting = await start_gateway(per_address=1)

    async def come(port: int, forwarded: str) -> Viewer:
        return await Viewer.open(
            live_url(port, forwarded.replace(".", "-").replace(", ", "_")),
            additional_headers={"X-Forwarded-For": forwarded},
        )

    opened = [await come(trusting.config.port, address) for address in ("10.0.0.1", "10.0.0.2")]
    for viewer in opened:
        await viewer.wait(Snapshot)
    # What the client itself put in front is not believed.
    lying = await come(trusting.config.port, "10.0.0.9, 10.0.0.1")
    assert await lying.wait_closed() == Close.TOO_MANY
    opened.append(await come(doubting.config.port, "10.0.0.1"))
    await opened[-1].wait(Snapshot)
    untrusted = await come(doubting.config.port, "10.0.0.2")
    assert await untrusted.wait_closed() == Close.TOO_MANY
    for viewer in opened:
        await viewer.close()


async def test_operators_pages(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    gateway, other = await start_gateway(), await start_gateway()
    base = f"http://127.0.0.1:{gateway.config.port}"
    async with viewers([live_url(gateway.config.port)]), httpx.AsyncClient() as client:
        assert (await client.get(f"{base}/healthz")).text == "ok\n"
        assert (await client.get(f"{base}/")).status_code == 404
        assert (await client.get(f"{base}/live/{ROOM}?ticket=x")).status_code == 426
        assert (await client.post(f"{base}/live/{ROOM}?ticket=x")).status_code == 405

        async def both() -> bool:
            text = (await client.get(f"{base}/metrics")).text
            seated = f'chophien_gateway_viewers{{gateway="{gateway.attendance.gateway}"}} 1.0' in text
            return seated and f'gateway="{other.attendance.gateway}"' in text

        await eventually(both)


# The end


@pytest.mark.parametrize("end", [State.ENDED, State.TAKEN_DOWN])
async def test_at_the_end_everybody_is_told_and_then_closed(
    bus: Bus, start_gateway: StartGateway, end: State
) -> None:
    await put(bus)
    port = (await start_gateway()).config.port
    async with viewers([live_url(port, f"v{i}") for i in range(5)]) as opened:
        await asyncio.gather(*(viewer.wait(Snapshot) for viewer in opened))
        await bus.publish(ROOM, Status(state=end, reason="lý do"))
        codes = await asyncio.gather(*(viewer.wait_closed() for viewer in opened))
        assert set(codes) == {Close.ENDED}
        assert all(viewer.state.state is end and viewer.state.reason == "lý do" for viewer in opened)
        assert await refused(live_url(port)) == Close.ENDED


async def test_an_end_that_was_missed_is_made_up_for(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    port = (await start_gateway()).config.port
    async with viewers([live_url(port)]) as [viewer]:
        await viewer.wait(Snapshot)
        await put(bus, state=State.ENDED)
        assert await viewer.wait_closed() == Close.ENDED
        assert viewer.state.state is State.ENDED


async def test_a_gateway_that_stops_sends_everybody_away_and_leaves_nothing_open(
    bus: Bus, start_gateway: StartGateway
) -> None:
    gateway = await start_gateway(drain_s=0.5)
    async with (
        Ticker(bus) as ticker,
        viewers([live_url(gateway.config.port, f"v{i}") for i in range(60)]) as opened,
    ):
        await eventually(lambda: ticker.counts[-1:] == [60])
        await gateway.stop()
        codes = await asyncio.gather(*(viewer.wait_closed() for viewer in opened))
        assert set(codes) == {Close.RESTART}
        await eventually(lambda: ticker.counts[-1:] == [0], 3)
    books = Books()
    await books.read(bus)
    assert len(books.visits) == 60
    assert books.open == []


# Counting


async def test_a_visitor_with_three_tabs_on_two_gateways_is_one_viewer_with_three_visits(
    bus: Bus, start_gateway: StartGateway
) -> None:
    ports = [(await start_gateway()).config.port for _ in range(2)]
    async with Ticker(bus) as ticker:
        urls = [live_url(ports[i % 2], "an", source="zalo") for i in range(3)]
        async with viewers(urls) as tabs, viewers([live_url(ports[0], "binh", source="qr")]) as [binh]:
            await eventually(lambda: ticker.counts[-1:] == [2], 8)
            await eventually(lambda: binh.state.viewers == 2)
            await tabs[0].close()
            await tabs[1].close()
            await asyncio.sleep(1.5)
            assert ticker.counts[-1] == 2
            await tabs[2].close()
            await eventually(lambda: ticker.counts[-1:] == [1], 3)
        await eventually(lambda: ticker.counts[-1:] == [0], 3)
    books = Books()
    await books.read(bus)
    assert sorted((v.visitor, v.source, v.room) for v in books.visits.values()) == [
        ("an", "zalo", ROOM),
        ("an", "zalo", ROOM),
        ("an", "zalo", ROOM),
        ("binh", "qr", ROOM),
    ]
    assert books.open == []
    assert all(0 < visit.watched_s < 30 for visit in books.visits.values())


async def test_who_was_refused_is_not_a_visit(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    port = (await start_gateway()).config.port
    await refused(f"ws://127.0.0.1:{port}/live/{ROOM}?ticket=x")
    assert await visits_of(bus) == []


async def test_who_left_is_forgotten_without_the_garbage_collector(
    bus: Bus, start_gateway: StartGateway
) -> None:
    """A gateway hides what is old from the collector: anything it alone could free would stay for ever."""
    await put(bus)
    port = (await start_gateway()).config.port
    ours = [live_url(port, f"v{i}") for i in range(5)]
    gc.collect()
    gc.disable()
    try:
        async with viewers(ours) as opened:
            await asyncio.gather(*(viewer.wait(Snapshot) for viewer in opened))
            await refused(live_url(port, room="NOSUCH"))
            await refused(f"ws://127.0.0.1:{port}/live/{ROOM}?ticket=x")
            await sends_garbage(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"junk\r\n\r\n")
        await reader.read()
        writer.close()
        await asyncio.sleep(0.5)
        assert [one for one in gc.get_objects() if type(one) in (SocketOfViewer, ServerProtocol)] == []
    finally:
        gc.enable()


# Bad guests


async def test_the_others_do_not_notice_bad_guests(bus: Bus, start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    port = gateway.config.port
    async with Ticker(bus), viewers([live_url(port, "good")]) as [good]:
        await good.wait(Tick)
        await asyncio.gather(
            sends_garbage(port), sends_a_huge_message(port), floods(port), chatters(port), talks_no_http(port)
        )
        seen = len(good.seen(Tick))
        await good.wait(Tick, seen + 2)
        assert good.code is None
        gaps = [b - a for a, b in pairwise(good.times)]
        assert max(gaps) < 5
    await eventually(lambda: gateway.numbers()["viewers"] == 0)


async def sends_garbage(port: int) -> None:
    """Bytes that are no frames: a protocol error."""
    viewer = await Viewer.open(live_url(port, "garbage"))
    await viewer.wait(Snapshot)
    viewer.socket.transport.write(b"\xff" * 100)
    with contextlib.suppress(Exception):
        await viewer.wait_closed()
    assert viewer.code in (1002, 1006)


async def sends_a_huge_message(port: int) -> None:
    viewer = await Viewer.open(live_url(port, "huge"))
    await viewer.wait(Snapshot)
    with contextlib.suppress(Exception):
        await viewer.socket.send("x" * (MAX_MESSAGE + 1))
    assert await viewer.wait_closed() == 1009
    viewer = await Viewer.open(live_url(port, "huger"))
    await viewer.wait(Snapshot)
    with contextlib.suppress(Exception):
        await viewer.socket.send("x" * 10_000_000)
    assert await viewer.wait_closed() in (1006, 1009, Close.TOO_MANY)


async def floods(port: int) -> None:
    viewer = await Viewer.open(live_url(port, "flood"))
    await viewer.wait(Snapshot)
    with contextlib.suppress(Exception):
        for _ in range(100 * FLOOD_BYTES // 100):
            await viewer.socket.send("x" * 100)
    assert await viewer.wait_closed() in (1006, Close.TOO_MANY)


async def chatters(port: int) -> None:
    """A little talk is ignored, a ping is answered."""
    viewer = await Viewer.open(live_url(port, "chat"))
    for text in ("hello", "", json.dumps({"type": "order", "code": "A1"}), b"\x00\xff"):
        await viewer.socket.send(text)
    await asyncio.wait_for(await viewer.socket.ping(), 5)
    await viewer.wait(Tick)
    assert viewer.code is None
    await viewer.close()


async def talks_no_http(port: int) -> None:
    for junk in (b"\x16\x03\x01\x02\x00\x01\x00", b"\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(junk + b"\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 15)
        assert not answer.startswith(b"HTTP/1.1 101")
        writer.close()


async def test_who_reads_too_slowly_is_skipped_then_given_a_snapshot(
    bus: Bus, start_gateway: StartGateway
) -> None:
    await put(bus)
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port, "good")]) as [good]:
        slow = await raw_viewer(gateway.config.port, "slow")
        await fill(bus, lambda: gateway.numbers()["slow_now"] == 1)
        await bus.publish(ROOM, Pin(pinned={"code": "LAST"}))
        await eventually(lambda: good.state.pinned == {"code": "LAST"})
        assert good.seen(Resync) == []
        read = bytearray()

        async def caught_up() -> bool:
            with contextlib.suppress(BlockingIOError):
                while data := slow.recv(1 << 20):
                    read.extend(data)
            return gateway.numbers()["resynced"] == 1 and b'{"code":"LAST"}' in read

        await eventually(caught_up)
        assert read.count(b'"type":"resync"') == 1
        tail = read[read.index(b'"type":"resync"') :]
        assert b'"type":"snapshot"' in tail
        await bus.publish(ROOM, Notice(text="again with us"))

        async def told_again() -> bool:
            await caught_up()
            return b"again with us" in read

        await eventually(told_again)
        slow.close()


async def test_who_never_reads_is_cut_off(bus: Bus, start_gateway: StartGateway) -> None:
    await put(bus)
    gateway = await start_gateway(slow_s=1.0)
    async with viewers([live_url(gateway.config.port, "good")]) as [good]:
        never = await raw_viewer(gateway.config.port, "never")
        await fill(bus, lambda: gateway.numbers()["slow_now"] == 1)
        await eventually(lambda: gateway.numbers()["cut"].get("slow") == 1)
        await eventually(lambda: gateway.numbers()["viewers"] == 1)
        assert good.code is None
        never.close()


async def raw_viewer(port: int, visitor: str) -> socket.socket:
    """A socket with a small window that is not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    path = live_url(port, visitor).partition(str(port))[2]
    await loop.sock_sendall(
        sock,
        f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode(),
    )
    head = await loop.sock_recv(sock, 4096)
    assert b" 101 " in head
    return sock


async def fill(bus: Bus, until: object) -> None:
    """Publish large frames until somebody's buffers are full."""
    assert callable(until)
    stock = {f"{'x' * 60}{i}": i for i in range(200)}
    for number in range(200):
        if until():
            return
        await bus.publish(ROOM, Stock(stock=stock, orders=number, units=number))
        await asyncio.sleep(0.26)  # the pacer lets news together that come closer
    raise AssertionError("the buffers never filled")


async def test_a_proxied_viewer_who_vanished_is_found_by_pings(bus: Bus, start_gateway: StartGateway) -> None:
    """The proxy still holds its connection to us, so nothing but an answer proves that somebody is there."""
    await put(bus)
    gateway = await start_gateway(trusted_proxies=("127.0.0.0/8",), ping_s=0.8)
    headers = {"X-Forwarded-For": "10.0.0.7"}
    there = await Viewer.open(live_url(gateway.config.port, "there"), additional_headers=headers)
    vanished = await raw_viewer(gateway.config.port, "vanished")  # reads, but answers no ping
    await there.wait(Snapshot)
    await eventually(lambda: gateway.numbers()["cut"].get("silent") == 1)
    await eventually(lambda: gateway.numbers()["viewers"] == 1)  # counted as cut a moment before it is gone
    await asyncio.sleep(1.5)
    assert there.code is None
    await there.close()
    vanished.close()


async def test_the_kernel_is_told_when_to_give_up_on_a_viewer(bus: Bus, start_gateway: StartGateway) -> None:
    """A direct viewer who vanished acknowledges nothing; every accepted socket inherits the limit."""
    await put(bus)
    gateway = await start_gateway()
    async with viewers([live_url(gateway.config.port)]) as [viewer]:
        await viewer.wait(Snapshot)
        [held] = gateway._connected
        sock = held.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000


async def test_who_does_not_finish_the_handshake_does_not_stay(
    bus: Bus, start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.gateway.HANDSHAKE_S", 0.5)
    gateway = await start_gateway()
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.config.port)
    writer.write(b"GET /live/X HTTP/1.1\r\n")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
