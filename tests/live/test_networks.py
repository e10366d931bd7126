"""Comments of a commune's Page and channel: read from stand-ins of both networks by the real clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import select, text

from commerce.analytics import outside as reach
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.settings import Settings
from commerce.core.storage import Storage
from commerce.live import candidates, outside, queries
from commerce.live.candidates import claim
from commerce.live.listening import Listener, allowance_renewed
from commerce.live.models import Comment, NetworkAccount, NetworkListening, NetworkQuota
from commerce.live.networks import Account, Tokens
from commerce.live.networks.settings import networks
from commerce.live.networks.simulator.server import create_simulator
from commerce.live.networks.simulator.state import FACEBOOK_PAGE, Networks, Video
from tests.live import scene as scenes
from tests.live.scene import Scene

PAGE, CHANNEL = "7001", "UC8001"
BASE = "http://networks.test"


@pytest.fixture
def world() -> Networks:
    made = Networks()
    made.add_page(PAGE, "Xã Ea Knuếc")
    made.add_channel(CHANNEL, "Ea Knuếc quê mình")
    return made


@pytest.fixture
def environ(environ: dict[str, str]) -> dict[str, str]:
    return environ | {"CHOPHIEN_NETWORKS_STAND_IN": BASE}


@pytest.fixture
async def listener(settings: Settings, world: Networks, sessions: Sessions) -> AsyncIterator[Listener]:
    made = new_listener(settings, world)
    yield made
    await made.close()


def new_listener(settings: Settings, world: Networks) -> Listener:
    transport = httpx.ASGITransport(create_simulator(world))  # type: ignore[arg-type]
    return Listener(settings, networks(settings, httpx.AsyncClient(transport=transport)))


@pytest.fixture
async def scene(sessions: Sessions) -> Scene:
    return await scenes.on_air(sessions)


async def connect(settings: Settings, scene: Scene, world: Networks, network: str) -> Video:
    """Connected, and live there."""
    if network == "facebook":
        account = Account(PAGE, "Xã Ea Knuếc", Tokens(world.grant("page", PAGE)))
        video = world.go_live(world.pages[PAGE])
    else:
        soon = int(clock.now().timestamp()) + 3600
        tokens = Tokens(world.grant("google", CHANNEL), world.grant("refresh", CHANNEL), soon)
        account = Account(CHANNEL, "Ea Knuếc quê mình", tokens)
        video = world.go_live(world.channels[CHANNEL])
    await outside.connect(settings.secret_key, scene.officer, scene.commune, network, account)
    return video


async def steps(listener: Listener, start: datetime | None = None, *, seconds: int = 40) -> int:
    """Run the listener as if so many seconds went by; returns how many comments came."""
    now = start or clock.now()
    return sum([await listener.step(now + timedelta(seconds=second)) for second in range(seconds)])


async def said(sessions: Sessions) -> list[Comment]:
    async with sessions.read() as db:
        return list(await db.scalars(select(Comment).order_by(Comment.id)))


async def listening(sessions: Sessions) -> NetworkListening:
    async with sessions.read() as db:
        return (await db.scalars(select(NetworkListening))).one()


@pytest.mark.parametrize("network", ["facebook", "youtube"])
async def test_comments_come_once_each_with_their_origin(
    network: str, settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, network)
    for number in range(2 * FACEBOOK_PAGE + 3):  # several pages of cursors
        world.say(video, f"hay quá {number}", name=f"Người {number}")
    assert await steps(listener, seconds=5) == 2 * FACEBOOK_PAGE + 3
    world.say(video, "chốt A1 x2 0901234567", name="Nguyễn Thị Hoa")
    assert await steps(listener, clock.now() + timedelta(seconds=60), seconds=10) == 1
    assert await steps(listener, clock.now() + timedelta(seconds=120), seconds=10) == 0  # nothing new

    rows = await said(sessions)
    assert len(rows) == len({row.external_id for row in rows}) == 2 * FACEBOOK_PAGE + 4
    assert {row.source for row in rows} == {network}
    async with sessions.read() as db:
        session = await queries.by_code(db, scene.code)
        shown = await queries.last_comments(db, session)
        waiting = await candidates.candidates(db, session.id)
        one = (await outside.status(db, scene.code))[0]
    assert shown[-1].origin == network
    assert shown[-1].name == "Nguyễn T. H."  # other people's public does not read whole names
    assert "0901234567" not in shown[-1].text
    assert [(one.origin, one.sure, [line.code for line in one.lines]) for one in waiting] == [
        (network, True, ["A1"])
    ]
    assert (one.state, one.problem, one.heard) == ("reading", "", 2 * FACEBOOK_PAGE + 4)
    claimed = await claim(scene.helper, scene.code, [rows[-1].id])
    assert (claimed.origin, claimed.reading.phone) == (network, "0901234567")


async def test_one_person_s_comments_there_join_into_one_order(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "facebook")
    world.say(video, "A1 x2", name="Y Moan", author="77")
    world.say(video, "sđt 0901.234.567", name="Y Moan", author="77")
    world.say(video, "B1 2kg 0907654321", name="Y Moan", author="78")  # a namesake
    await steps(listener, seconds=3)
    async with sessions.read() as db:
        session = await queries.by_code(db, scene.code)
        waiting = await candidates.candidates(db, session.id)
    assert sorted(len(one.comments) for one in waiting) == [1, 2]


async def test_a_new_worker_goes_on_where_the_last_one_died(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "facebook")
    for number in range(30):
        world.say(video, f"trước {number}")
    await steps(listener, seconds=3)
    asked = world.answered[f"/graph/v25.0/{video.id}/comments"]
    world.say(video, "sau")
    second = new_listener(settings, world)
    assert await second.step(clock.now() + timedelta(seconds=30)) == 1
    assert world.answered[f"/graph/v25.0/{video.id}/comments"] == asked + 1  # not from the beginning

    # Even from the beginning, as after a crash between answer and commit, nothing is stored twice.
    async with sessions.begin() as db:
        await db.execute(text("UPDATE network_listening SET cursor = '', next_at = now()"))
    assert await second.step(clock.now() + timedelta(seconds=60)) == 0
    assert len(await said(sessions)) == 31
    await second.close()


async def test_without_the_unique_id_the_same_would_come_twice(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    """The twin of the test above, with the guard taken away."""
    video = await connect(settings, scene, world, "facebook")
    world.say(video, "một lần thôi")
    await steps(listener, seconds=3)
    async with sessions.begin() as db:
        await db.execute(text("UPDATE comment SET external_id = NULL"))
        await db.execute(text("UPDATE network_listening SET cursor = '', next_at = now()"))
    assert await listener.step(clock.now() + timedelta(seconds=60)) == 1
    assert len(await said(sessions)) == 2


@pytest.mark.parametrize("network", ["facebook", "youtube"])
async def test_a_right_taken_back_is_told_and_mended_by_connecting_again(
    network: str, settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, network)
    world.say(video, "một")
    assert await steps(listener, seconds=3) == 1
    world.revoke(PAGE if network == "facebook" else CHANNEL)
    world.say(video, "hai")
    assert await steps(listener, clock.now() + timedelta(seconds=60), seconds=30) == 0
    before = sum(world.answered.values())
    assert await steps(listener, clock.now() + timedelta(seconds=120), seconds=30) == 0
    assert sum(world.answered.values()) == before  # a closed door is not knocked at
    async with sessions.read() as db:
        assert (await outside.connected(db, scene.commune))[network].problem == "expired"
        assert (await outside.status(db, scene.code))[0].problem == "expired"

    world.channels[CHANNEL].videos = [one for one in world.channels[CHANNEL].videos if one.live]
    await reconnect(settings, scene, world, network)
    assert await steps(listener, clock.now() + timedelta(seconds=180), seconds=3) == 1
    async with sessions.read() as db:
        assert (await outside.connected(db, scene.commune))[network].problem == ""


async def reconnect(settings: Settings, scene: Scene, world: Networks, network: str) -> None:
    of = PAGE if network == "facebook" else CHANNEL
    soon = int(clock.now().timestamp()) + 3600
    tokens = (
        Tokens(world.grant("page", of))
        if network == "facebook"
        else Tokens(world.grant("google", of), world.grant("refresh", of), soon)
    )
    await outside.connect(
        settings.secret_key, scene.officer, scene.commune, network, Account(of, "X", tokens)
    )


async def test_an_access_token_that_ends_is_renewed_and_kept(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = world.go_live(world.channels[CHANNEL])
    old = Tokens(world.grant("google", CHANNEL, lasts_s=-1), world.grant("refresh", CHANNEL), 1)
    await outside.connect(
        settings.secret_key, scene.officer, scene.commune, "youtube", Account(CHANNEL, "K", old)
    )
    world.say(video, "vẫn đọc được")
    assert await steps(listener, seconds=3) == 1
    async with sessions.read() as db:
        account = (await db.scalars(select(NetworkAccount))).one()
    kept = outside.opened_tokens(settings.secret_key, account.tokens)
    assert kept.access != old.access
    assert kept.refresh == old.refresh
    assert old.refresh not in account.tokens  # sealed at rest
    assert kept.access not in account.tokens


async def test_facebook_s_limit_is_obeyed(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    await connect(settings, scene, world, "facebook")
    now = clock.now()
    await steps(listener, now, seconds=10)
    world.hourly = world.hour_used  # the next one is too many: seven minutes
    await steps(listener, now + timedelta(seconds=20), seconds=10)
    row = await listening(sessions)
    assert (row.state, row.problem) == ("waiting", "slow")
    used = world.hour_used
    await steps(listener, now + timedelta(seconds=60), seconds=300)
    assert world.hour_used == used
    world.hourly += 1000
    await steps(listener, now + timedelta(seconds=500), seconds=10)
    assert (await listening(sessions)).state == "reading"


async def test_reading_slows_down_before_the_hour_s_limit(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    await connect(settings, scene, world, "facebook")
    world.hourly = 100
    now = clock.now()
    await steps(listener, now, seconds=60)
    world.hour_used = 0
    await steps(listener, now + timedelta(seconds=100), seconds=60)
    quick, world.hour_used = world.hour_used, 80
    await steps(listener, now + timedelta(seconds=200), seconds=60)
    assert 0 < world.hour_used - 80 < quick / 2


async def test_youtube_s_units_last_and_are_never_exceeded(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    await connect(settings, scene, world, "youtube")
    now = clock.now()
    await steps(listener, now, seconds=60)
    async with sessions.begin() as db:
        assert await db.scalar(select(NetworkQuota.used)) == world.day_used  # every question was counted
        await db.execute(text("UPDATE network_quota SET used = 9000"))
        await db.execute(text("UPDATE network_listening SET next_at = now()"))
    before = world.day_used
    await steps(listener, now + timedelta(seconds=60), seconds=120)
    # 1,000 units for two hours are 5 every 36 s.
    assert 10 <= world.day_used - before <= 25
    async with sessions.begin() as db:
        await db.execute(text("UPDATE network_quota SET used = 9997"))
        await db.execute(text("UPDATE network_listening SET next_at = now()"))
    before = world.day_used
    await steps(listener, now + timedelta(seconds=200), seconds=10)
    assert world.day_used == before
    row = await listening(sessions)
    assert row.problem == "quota"
    assert row.next_at == allowance_renewed(now)


async def test_youtube_itself_says_the_day_is_spent(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    await connect(settings, scene, world, "youtube")
    world.daily = 0
    await steps(listener, seconds=3)
    assert (await listening(sessions)).problem == "quota"


async def test_a_network_that_is_away_is_asked_less_and_less(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "facebook")
    now = clock.now()
    await steps(listener, now, seconds=2)
    world.away = True
    await steps(listener, now + timedelta(seconds=10), seconds=200)
    assert (await listening(sessions)).problem == "away"
    assert (await listening(sessions)).failures <= 7
    world.away = False
    world.say(video, "lại đây rồi")
    assert await steps(listener, now + timedelta(seconds=600), seconds=5) == 1
    assert (await listening(sessions)).problem == ""


async def test_a_broadcast_that_breaks_off_is_looked_for_again(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "youtube")
    now = clock.now()
    world.say(video, "một")
    assert await steps(listener, now, seconds=3) == 1
    video.live = False
    await steps(listener, now + timedelta(seconds=10), seconds=30)
    assert (await listening(sessions)).state == "looking"
    world.say(world.go_live(world.channels[CHANNEL]), "hai")
    assert await steps(listener, now + timedelta(seconds=60), seconds=30) == 1


async def test_a_lost_cursor_starts_anew(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    for network in ("facebook", "youtube"):
        world.say(await connect(settings, scene, world, network), "một")
    now = clock.now()
    assert await steps(listener, now, seconds=3) == 2
    async with sessions.begin() as db:
        await db.execute(text("UPDATE network_listening SET cursor = 'bm9uc2Vuc2U='"))
    for owned in (world.pages[PAGE], world.channels[CHANNEL]):
        world.say(owned.videos[0], "hai")
    assert await steps(listener, now + timedelta(seconds=30), seconds=30) == 2


async def test_what_was_said_before_the_session_or_after_it_is_not_taken(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "facebook")
    world.say(video, "sớm quá").at = clock.now() - timedelta(hours=2)
    world.say(video, "đúng lúc")
    await steps(listener, seconds=3)
    async with sessions.begin() as db:
        await db.execute(text("UPDATE live_session SET state = 'ended', ended_at = now()"))
    world.say(video, "muộn rồi")
    await steps(listener, clock.now() + timedelta(seconds=60), seconds=10)
    assert [row.text for row in await said(sessions)] == ["đúng lúc"]


async def test_a_muted_commenter_is_heard_no_more(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    video = await connect(settings, scene, world, "facebook")
    world.say(video, "quấy rối", author="9")
    await steps(listener, seconds=3)
    await candidates.mute(scene.helper, scene.code, (await said(sessions))[0].id)
    world.say(video, "quấy rối nữa", author="9")
    await steps(listener, clock.now() + timedelta(seconds=60), seconds=10)
    assert all(row.hidden_at for row in await said(sessions))


# ---- connecting


async def test_the_office_connects_a_page_on_the_network_s_own_screen(
    settings: Settings, sessions: Sessions, world: Networks, scene: Scene
) -> None:
    transport = httpx.ASGITransport(create_simulator(world))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport) as client:
        known = networks(settings, client)
        for network in ("facebook", "youtube"):
            back = f"{settings.public_url}/office/networks/{network}/back"
            url = outside.set_out(settings.secret_key, known, scene.officer, scene.commune, network, back)
            state, code = await agree(client, url, back)
            come_back = {"state": state, "code": code, "back_to": back}
            with pytest.raises(outside.NotConnected):  # somebody else's browser
                await outside.come_back(settings.secret_key, known, scene.admin, network, **come_back)
            with pytest.raises(outside.NotConnected):  # the owner said no
                await outside.come_back(
                    settings.secret_key, known, scene.officer, network, **come_back | {"code": ""}
                )
            assert (
                await outside.come_back(settings.secret_key, known, scene.officer, network, **come_back) == []
            )
            with pytest.raises(outside.NotConnected):  # a code works once
                await outside.come_back(settings.secret_key, known, scene.officer, network, **come_back)
    async with sessions.read() as db:
        found = await outside.connected(db, scene.commune)
    assert {name: one.account for name, one in found.items()} == {
        "facebook": "Xã Ea Knuếc",
        "youtube": "Ea Knuếc quê mình",
    }


async def agree(client: httpx.AsyncClient, url: str, back: str) -> tuple[str, str]:
    """The owner's yes: state and code as they come back."""
    shown = (await client.get(url)).text
    yes = shown.split('id="yes" href="')[1].split('"')[0].replace("&amp;", "&")
    assert yes.startswith(back)
    came = parse_qs(urlsplit(yes).query)
    return came["state"][0], came["code"][0]


async def test_of_several_pages_one_is_chosen(
    settings: Settings, sessions: Sessions, world: Networks, scene: Scene
) -> None:
    world.add_page("7002", "Quán của tôi")
    transport = httpx.ASGITransport(create_simulator(world))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport) as client:
        known = networks(settings, client)
        back = f"{settings.public_url}/office/networks/facebook/back"
        url = outside.set_out(settings.secret_key, known, scene.officer, scene.commune, "facebook", back)
        state, code = await agree(client, url, back)
        offered = await outside.come_back(
            settings.secret_key, known, scene.officer, "facebook", state=state, code=code, back_to=back
        )
    assert [one.name for one in offered] == ["Quán của tôi", "Xã Ea Knuếc"]
    async with sessions.read() as db:
        assert await outside.connected(db, scene.commune) == {}
    with pytest.raises(outside.NotConnected):
        await outside.choose(settings.secret_key, scene.helper, "facebook", offered[1].choice)
    await outside.choose(settings.secret_key, scene.officer, "facebook", offered[1].choice)
    async with sessions.read() as db:
        assert (await outside.connected(db, scene.commune))["facebook"].account == "Xã Ea Knuếc"
    await outside.disconnect(scene.officer, scene.commune, "facebook")
    async with sessions.read() as db:
        assert await outside.connected(db, scene.commune) == {}
        assert (await db.scalars(select(NetworkAccount.tokens))).all() == [""]  # forgotten


# ---- figures


async def test_figures_are_read_apart_and_take_each_other_s_place(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    for network in ("facebook", "youtube"):
        await connect(settings, scene, world, network)
    page, channel = world.pages[PAGE].videos[0], world.channels[CHANNEL].videos[0]
    page.reach, page.views, channel.views = 700_000, 150_000, 4_000
    now = clock.now()
    await steps(listener, now, seconds=2)  # finds the broadcasts
    assert await reach.read_figures(listener, now=now) == 2
    assert await reach.read_figures(listener, now=now + timedelta(seconds=30)) == 0
    assert await figures(sessions) == {"facebook": (700_000, 150_000), "youtube": (None, 4_000)}
    page.views = 160_000
    assert await reach.read_figures(listener, now=now + timedelta(minutes=6)) == 2
    assert (await figures(sessions))["facebook"] == (700_000, 160_000)
    async with sessions.begin() as db:
        assert len((await db.execute(text("SELECT id FROM outside_reach"))).all()) == 2
        await db.execute(text("UPDATE live_session SET state = 'ended', ended_at = now()"))
        await db.execute(text("UPDATE outside_reach SET withdrawn_at = now() WHERE network = 'youtube'"))
    page.views = 170_000
    assert await reach.read_figures(listener, now=now + timedelta(minutes=20)) == 2
    assert await reach.read_figures(listener, now=now + timedelta(minutes=40)) == 0
    assert await figures(sessions) == {"facebook": (700_000, 170_000)}  # what was withdrawn stays away


async def figures(sessions: Sessions) -> dict[str, tuple[int | None, int | None]]:
    async with sessions.read() as db:
        session = await db.scalar(text("SELECT id FROM live_session"))
        return {one.network: (one.reach, one.views) for one in await reach.of_session(db, session)}


async def test_a_screenshot_goes_before_an_api(
    settings: Settings, sessions: Sessions, world: Networks, listener: Listener, scene: Scene
) -> None:
    await connect(settings, scene, world, "facebook")
    world.pages[PAGE].videos[0].views = 10
    now = clock.now()
    await steps(listener, now, seconds=2)
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 32
    await reach.report(
        scene.host, Storage(settings), scene.code, network="facebook", reach=500, views=90, proof=png
    )
    assert await reach.read_figures(listener, now=now + timedelta(minutes=6)) == 1
    assert await figures(sessions) == {"facebook": (500, 90)}
