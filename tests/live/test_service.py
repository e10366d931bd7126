"""What hosts, helpers and authorities may do with a session, and what is refused with a way out."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from commerce.accounts.models import Person, RoleGrant
from commerce.catalog.models import Product
from commerce.core import clock
from commerce.core.db import Sessions
from commerce.core.errors import Forbidden, Invalid, WrongState
from commerce.core.outbox import OutboxMessage
from commerce.core.roles import Identity
from commerce.live import queries, service
from commerce.live.checklist import checklist
from commerce.live.errors import (
    DealNotLower,
    DealTooMany,
    LineupFixed,
    NotReady,
    PapersMissing,
    SessionEnded,
    SessionNotFound,
    SessionNotLive,
    SessionTakenDown,
)
from commerce.live.models import (
    Comment,
    Deal,
    LineupItem,
    LiveCounter,
    LiveSession,
    LiveSessionHistory,
    LiveState,
    Pin,
)
from commerce.live.service import Offer
from tests import factories
from tests.live import scene
from tests.live.scene import Scene


async def scalar(sessions: Sessions, query: Any) -> Any:
    async with sessions.read() as db:
        return await db.scalar(query)


async def execute(sessions: Sessions, statement: Any) -> None:
    async with sessions.begin() as db:
        await db.execute(statement)


# ---- the state table


ALLOWED = {
    (LiveState.SCHEDULED, LiveState.LIVE),
    (LiveState.SCHEDULED, LiveState.CANCELLED),
    (LiveState.SCHEDULED, LiveState.TAKEN_DOWN),
    (LiveState.LIVE, LiveState.ENDED),
    (LiveState.LIVE, LiveState.TAKEN_DOWN),
    (LiveState.ENDED, LiveState.TAKEN_DOWN),
}


async def test_a_state_changes_through_its_table_every_pair(sessions: Sessions) -> None:
    async def move(session_id: int, before: LiveState, after: LiveState) -> None:
        async with sessions.begin() as db:
            await service.STATES.transition(db, session_id, before, after, by=host, reason="thử")

    async with sessions.begin() as db:
        host = await factories.person(db)
    for number, (before, after) in enumerate(itertools.product(LiveState, LiveState)):
        commune = f"25{number:03}"
        async with sessions.begin() as db:
            await factories.commune(db, commune, f"Xã số {number}")
            made = await factories.live_session(db, host, {}, state=before, commune_code=commune)
        history = select(LiveSessionHistory).where(LiveSessionHistory.subject_id == made)
        state = select(LiveSession.state).where(LiveSession.id == made)
        if (before, after) in ALLOWED:
            await move(made, before, after)
            line = await scalar(sessions, history)
            assert (line.before, line.after, line.by, line.reason) == (before, after, host, "thử")
            assert await scalar(sessions, state) == after
        else:
            with pytest.raises(WrongState):
                await move(made, before, after)
            assert await scalar(sessions, history) is None
            assert await scalar(sessions, state) == before


async def test_a_move_from_a_state_it_no_longer_has_is_refused(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    with pytest.raises(WrongState):
        async with sessions.begin() as db:
            await service.STATES.transition(db, row.id, LiveState.SCHEDULED, LiveState.CANCELLED)
    assert (await scene.session_row(sessions, made.code)).state == LiveState.LIVE


# ---- planning


async def test_a_session_gets_the_communes_name_as_its_code(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    soon = clock.now() + timedelta(hours=1)
    codes = [
        (
            await service.schedule_session(
                made.host, made.commune, title=f"Phiên số {n} của xã", starts_at=soon
            )
        ).code
        for n in range(3)
    ]
    assert codes == ["EAKNUEC", "EAKNUEC2", "EAKNUEC3"]
    assert await scalar(sessions, select(func.count()).select_from(LiveCounter)) == 3


BAD_PLANS: list[tuple[dict[str, Any], str]] = [
    ({"title": "abc"}, "title"),
    ({"title": "x" * 121}, "title"),
    ({"starts_at": clock.now() - timedelta(days=1)}, "starts_at"),
    ({"starts_at": clock.now() + timedelta(days=400)}, "starts_at"),
    ({"starts_at": clock.now().replace(tzinfo=None)}, "starts_at"),
    ({"code": "ea knuếc"}, "code"),
    ({"host_id": 999_999}, "host"),
]


async def test_a_bad_plan_names_its_field_and_leaves_nothing(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    plan: dict[str, Any] = {"title": "Phiên sầu riêng", "starts_at": clock.now() + timedelta(hours=1)}
    for change, field in BAD_PLANS:
        with pytest.raises(Invalid) as refused:
            await service.schedule_session(made.host, made.commune, **(plan | change))
        assert [error.field for error in refused.value.errors] == [field]
    assert await scalar(sessions, select(func.count(LiveSession.id))) == 0


async def test_a_helper_plans_for_the_host_and_cannot_be_the_host(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    soon = clock.now() + timedelta(hours=1)
    with pytest.raises(Invalid):
        await service.schedule_session(made.helper, made.commune, title="Phiên cà phê", starts_at=soon)
    planned = await service.schedule_session(
        made.helper, made.commune, title="Phiên cà phê", starts_at=soon, host_id=made.host.person_id
    )
    assert planned.host_id == made.host.person_id


async def test_a_taken_code_is_refused(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    with pytest.raises(Invalid) as refused:
        await service.schedule_session(
            made.host,
            made.commune,
            title="Phiên thứ hai",
            starts_at=clock.now() + timedelta(hours=1),
            code="EAKNUEC",
        )
    assert refused.value.errors[0].field == "code"


# ---- rights

ACTS: dict[str, Callable[[Identity, Scene], Awaitable[Any]]] = {
    "edit": lambda who, s: service.edit_session(who, s.code, title="Tên khác hẳn"),
    "lineup": lambda who, s: service.set_lineup(who, s.code, [Offer(s.durian, "A")]),
    "start": lambda who, s: service.start(who, s.code),
    "stop": lambda who, s: service.stop(who, s.code),
    "cancel": lambda who, s: service.cancel(who, s.code),
    "pin": lambda who, s: service.pin(who, s.code, "A1"),
    "unpin": lambda who, s: service.unpin(who, s.code),
    "deal": lambda who, s: service.open_deal(who, s.code, "A1", price=90_000, quantity=5),
    "stop_deal": lambda who, s: service.stop_deal(who, s.code, "A1"),
    "takedown": lambda who, s: service.takedown(who, s.code, "Bán hàng không đúng giấy tờ"),
    "hide": lambda who, s: service.hide_comment(who, s.code, 1),
}
OFFICERS_TOO = {"edit", "cancel", "takedown", "hide"}  # the office keeps the schedule


async def test_only_people_of_this_commune_may_act(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    nobody = scene.identity(made.host.person_id)  # whose grant was taken away
    for act, do in ACTS.items():
        refused = [made.stranger, nobody]
        if act != "takedown":
            refused.append(made.province)
        if act not in OFFICERS_TOO:
            refused.append(made.officer)
        for who in refused:
            with pytest.raises(Forbidden):
                await do(who, made)
    assert (await scene.session_row(sessions, made.code)).state == LiveState.LIVE


async def test_province_officer_and_admin_take_down(sessions: Sessions) -> None:
    for number, who in enumerate(("officer", "province", "admin")):
        made = await scene.on_air(sessions, commune=f"2450{number}")
        row = await service.takedown(
            getattr(made, who), made.code, "Sai quy định về ghi nhãn", "Sở Công Thương"
        )
        assert row.state == LiveState.TAKEN_DOWN
        assert (row.taken_down_reason, row.taken_down_issuer) == (
            "Sai quy định về ghi nhãn",
            "Sở Công Thương",
        )
        history = await scalar(
            sessions,
            select(LiveSessionHistory)
            .where(LiveSessionHistory.subject_id == row.id)
            .order_by(LiveSessionHistory.id.desc()),
        )
        assert history.by == getattr(made, who).person_id
        assert history.reason == "Sai quy định về ghi nhãn"


async def test_an_unknown_session_is_not_found(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    with pytest.raises(SessionNotFound):
        await service.pin(made.host, "KHONGCO", "A1")


async def test_nobody_accepts_the_rules_for_the_host(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    await execute(sessions, update(LiveSession).values(rules_accepted_at=None))
    for who in (made.helper, made.admin):
        with pytest.raises(Forbidden):
            await service.accept_rules(who, made.code)
    assert (await scene.session_row(sessions, made.code)).rules_accepted_at is None


# ---- the line-up


async def lineup(sessions: Sessions, code: str) -> list[tuple[str, str]]:
    async with sessions.read() as db:
        lines = await queries.lineup(db, await queries.by_code(db, code))
    return [(line.code, line.grade) for line in lines]


async def test_codes_are_proposed_a_letter_a_product_a_number_a_grade(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    assert await lineup(sessions, made.code) == [("A1", "A"), ("A2", "B"), ("B1", "")]


async def test_given_codes_are_kept_and_proposals_step_aside(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    offers = [Offer(made.coffee, code="a1"), Offer(made.durian, "A"), Offer(made.durian, "B", code="C7")]
    await service.set_lineup(made.host, made.code, offers)
    assert await lineup(sessions, made.code) == [("A1", ""), ("C1", "A"), ("C7", "B")]


async def test_every_bad_offer_is_named_and_the_old_lineup_stays(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    other = await scene.people_and_goods(sessions, "24600")
    await execute(sessions, update(Product).where(Product.code == made.coffee).values(state="review"))
    offers = [
        Offer(made.durian, "A"),
        Offer(made.durian, "A"),
        Offer(made.durian, "Z"),
        Offer(made.coffee),
        Offer(other.durian, "A"),
        Offer("KHONGCO"),
    ]
    with pytest.raises(Invalid) as refused:
        await service.set_lineup(made.host, made.code, offers)
    assert [e.field for e in refused.value.errors] == [f"items[{n}].product" for n in (1, 2, 3, 4, 5)]
    assert [code for code, _ in await lineup(sessions, made.code)] == ["A1", "A2", "B1"]


async def test_bad_short_codes_are_refused(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    for first, second in (("A1", "A1"), ("11", None), ("ABC", None), ("A100", None)):
        offers = [Offer(made.durian, "A", first), Offer(made.durian, "B", second)]
        with pytest.raises(Invalid) as refused:
            await service.set_lineup(made.host, made.code, offers)
        assert refused.value.errors[0].field.endswith(".code")


async def test_on_air_codes_keep_their_meaning(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    with pytest.raises(LineupFixed):  # A1 means durian of grade A tonight
        await service.set_lineup(made.host, made.code, [Offer(made.durian, "B", "A1")])
    with pytest.raises(LineupFixed):
        await service.set_lineup(made.host, made.code, [Offer(made.durian, "A", "D1")])
    await service.set_lineup(made.host, made.code, [Offer(made.coffee)])
    assert await lineup(sessions, made.code) == [("B1", "")]
    # What goes keeps its code, nobody else gets it, and it comes back under it.
    with pytest.raises(LineupFixed):
        await service.set_lineup(made.host, made.code, [Offer(made.durian, "B", "A1")])
    await service.set_lineup(made.host, made.code, [Offer(made.coffee), Offer(made.durian, "A")])
    assert await lineup(sessions, made.code) == [("B1", ""), ("A1", "A")]


async def test_what_leaves_the_table_loses_its_pin_and_deal(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await service.pin(made.host, made.code, "A1")
    await service.open_deal(made.host, made.code, "A1", price=80_000, quantity=10)
    await service.set_lineup(made.host, made.code, [Offer(made.coffee)])
    assert (await scene.session_row(sessions, made.code)).pinned_id is None
    assert await scalar(sessions, select(func.count(Pin.id)).where(Pin.until.is_(None))) == 0
    assert await scalar(sessions, select(func.count(Deal.id)).where(Deal.stopped_at.is_(None))) == 0


# ---- the checklist


async def test_start_names_every_unmet_condition_at_once(sessions: Sessions) -> None:
    made = await scene.people_and_goods(sessions)
    row = await service.schedule_session(
        made.host, made.commune, title="Phiên chưa xong", starts_at=clock.now() + timedelta(hours=1)
    )
    await execute(sessions, update(Person).values(identity_verified_at=None))
    await execute(sessions, text("DELETE FROM role_grant"))
    await execute(sessions, update(LiveSession).values(title=""))
    async with sessions.begin() as db:
        await factories.live_session(db, made.host.person_id, {}, state="live")
    with pytest.raises(NotReady) as refused:
        await service.start(made.host, row.code)
    names = [name for name, _ in refused.value.unmet]
    assert names == ["identity", "commune", "rules", "title", "lineup", "papers", "one_voice"]
    answer = refused.value.extra("vi")["unmet"]
    assert all(item["message"].startswith(("Danh", "Người", "Chưa", "Phiên", "Xã")) for item in answer)
    assert (await scene.session_row(sessions, row.code)).state == LiveState.SCHEDULED


BREAK = {
    "identity": update(Person).values(identity_verified_at=None),
    "commune": update(RoleGrant).values(commune_code="24600"),
    "rules": update(LiveSession).values(rules_accepted_at=None),
    "title": update(LiveSession).values(title="  "),
    "papers": update(Product).values(papers_checked_at=None),
    "products_of_commune": update(Product).where(Product.name == "Cà phê").values(commune_code="24600"),
}


async def test_each_condition_alone_holds_the_start_up(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    async with sessions.begin() as db:
        await factories.commune(db, "24600", "Ea Kly")
    for name, damage in BREAK.items():
        async with sessions.read() as db:  # never committed: each fault is alone
            await db.execute(damage)
            session = await queries.by_code(db, made.code)
            assert [c.name for c in await checklist(db, session.id) if not c.met] == [name]
    assert (await service.start(made.host, made.code)).state == LiveState.LIVE


async def test_a_product_in_review_does_not_count_as_papers(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    await execute(sessions, update(Product).values(state="paused"))
    with pytest.raises(NotReady) as refused:
        await service.start(made.host, made.code)
    assert [unmet for unmet, _ in refused.value.unmet] == ["papers"]


async def test_a_double_tap_on_start_is_one_start(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    first = await service.start(made.host, made.code)
    second = await service.start(made.helper, made.code)
    assert first.started_at == second.started_at
    assert await scalar(sessions, select(func.count(LiveSessionHistory.id))) == 1


# ---- on air


async def test_stop_ends_pins_and_deals_and_may_be_tapped_twice(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await service.pin(made.host, made.code, "A1")
    await service.open_deal(made.host, made.code, "B1", price=100_000, quantity=5)
    ended = await service.stop(made.host, made.code)
    again = await service.stop(made.helper, made.code)
    assert (ended.state, ended.pinned_id) == (LiveState.ENDED, None)
    assert again.ended_at == ended.ended_at
    assert await scalar(sessions, select(func.count(Deal.id)).where(Deal.stopped_at.is_(None))) == 0
    assert await scalar(sessions, select(func.count(Pin.id)).where(Pin.until.is_(None))) == 0
    for late in (
        service.pin(made.host, made.code, "A1"),
        service.open_deal(made.host, made.code, "A1", price=1_000, quantity=1),
        service.set_lineup(made.host, made.code, []),
        service.start(made.host, made.code),
        service.cancel(made.host, made.code),
    ):
        with pytest.raises((SessionEnded, WrongState)):
            await late


async def test_what_needs_a_live_session_is_refused_before_it(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    for early in (
        service.pin(made.host, made.code, "A1"),
        service.open_deal(made.host, made.code, "A1", price=1_000, quantity=1),
        service.stop(made.host, made.code),
    ):
        with pytest.raises(SessionNotLive):
            await early


async def test_after_a_takedown_nothing_moves(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    with pytest.raises(Invalid) as refused:
        await service.takedown(made.officer, made.code, "  ")
    assert refused.value.errors[0].field == "reason"
    first = await service.takedown(made.officer, made.code, "Hàng không rõ nguồn gốc")
    second = await service.takedown(made.province, made.code, "Lý do khác")
    assert second.taken_down_reason == first.taken_down_reason == "Hàng không rõ nguồn gốc"
    with pytest.raises(SessionTakenDown):
        await service.pin(made.host, made.code, "A1")
    with pytest.raises(SessionTakenDown):
        await service.start(made.host, made.code)


async def test_products_without_checked_papers_cannot_be_pinned(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    await execute(sessions, update(Product).where(Product.code == made.coffee).values(papers_checked_at=None))
    with pytest.raises(PapersMissing) as refused:
        await service.pin(made.host, made.code, "B1")
    assert "Cà phê" in refused.value.detail_text("vi")
    assert (await scene.session_row(sessions, made.code)).pinned_id is None
    with pytest.raises(Invalid):
        await service.pin(made.host, made.code, "Z9")


async def test_each_stretch_of_a_pin_is_one_row(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    for code in ("A1", "A1", "a2", "A1"):
        await service.pin(made.host, made.code, code)
    await service.unpin(made.host, made.code)
    await service.unpin(made.host, made.code)
    async with sessions.read() as db:
        rows = list(await db.scalars(select(Pin).order_by(Pin.id)))
        codes = dict((await db.execute(select(LineupItem.id, LineupItem.code))).all())
    assert [codes[row.item_id] for row in rows] == ["A1", "A2", "A1"]
    assert all(row.until is not None for row in rows)


async def test_deals_are_lower_than_the_price_and_within_the_stock(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    with pytest.raises(DealNotLower):
        await service.open_deal(made.host, made.code, "A1", price=scene.PRICE, quantity=1)
    with pytest.raises(DealTooMany) as refused:
        await service.open_deal(made.host, made.code, "A1", price=90_000, quantity=101)
    assert "100" in refused.value.detail_text("vi")
    with pytest.raises(Invalid) as invalid:
        await service.open_deal(made.host, made.code, "A1", price=0, quantity=0, minutes=0, per_buyer=0)
    assert [e.field for e in invalid.value.errors] == ["price", "quantity", "minutes", "per_buyer"]
    assert await scalar(sessions, select(func.count(Deal.id))) == 0


async def test_the_same_deal_tapped_twice_is_one_and_another_replaces_it(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    first = await service.open_deal(made.host, made.code, "A1", price=90_000, quantity=10)
    second = await service.open_deal(made.helper, made.code, "A1", price=90_000, quantity=10)
    assert first.id == second.id
    third = await service.open_deal(made.host, made.code, "A1", price=85_000, quantity=10)
    async with sessions.read() as db:
        lines = await queries.lineup(db, await queries.by_code(db, made.code))
    assert third.id != first.id
    assert [line.deal.price if line.deal else None for line in lines] == [85_000, None, None]
    await service.stop_deal(made.host, made.code, "A1")
    await service.stop_deal(made.host, made.code, "A1")
    async with sessions.read() as db:
        lines = await queries.lineup(db, await queries.by_code(db, made.code))
    assert [line.price_now for line in lines] == [95_000, 70_000, 150_000]


async def test_a_planned_session_may_be_renamed_moved_and_called_off(sessions: Sessions) -> None:
    made = await scene.planned(sessions)
    later = clock.now() + timedelta(days=2)
    row = await service.edit_session(made.host, made.code, title="  Tên   mới\u202e đây ", starts_at=later)
    assert (row.title, row.starts_at) == ("Tên mới đây", later)
    assert (await service.cancel(made.host, made.code, "Mưa to")).state == LiveState.CANCELLED
    assert (await service.cancel(made.host, made.code)).state == LiveState.CANCELLED
    with pytest.raises(SessionEnded):
        await service.start(made.host, made.code)


async def test_on_air_the_title_may_change_but_not_the_hour(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    assert (await service.edit_session(made.host, made.code, title="Tên mới đây")).title == "Tên mới đây"
    with pytest.raises(Invalid):
        await service.edit_session(made.host, made.code, starts_at=clock.now() + timedelta(hours=2))


# ---- news


async def test_every_change_leaves_its_news_in_the_same_transaction(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    row = await scene.session_row(sessions, made.code)
    async with sessions.begin() as db:
        comment = Comment(live_session_id=row.id, visitor="v", name="Hoa", text="chào")
        db.add(comment)
    await scene.clear_news(sessions)
    for act, parts in (
        (service.pin(made.host, made.code, "A1"), ["pin"]),
        (service.open_deal(made.host, made.code, "A1", price=90_000, quantity=5), ["deal"]),
        (service.set_lineup(made.host, made.code, [Offer(made.durian, "A")]), ["pin", "deal", "stock"]),
        (service.hide_comment(made.helper, made.code, comment.id), []),
        (service.stop(made.host, made.code), ["state", "pin", "deal"]),
    ):
        await act
        async with sessions.begin() as db:
            news = list(await db.scalars(select(OutboxMessage)))
        # The video side is told of a new state too, in a row of its own.
        moved = ["live.moved"] if "state" in parts else []
        assert [m.topic for m in news] == ["live.changed", *moved]
        assert news[0].payload["live_session_id"] == row.id
        assert news[0].payload["parts"] == parts
        if not parts:
            assert news[0].payload["hidden"] == [comment.id]
        await scene.clear_news(sessions)
    # What changes nothing tells nothing.
    await service.stop(made.host, made.code)
    await service.hide_comment(made.helper, made.code, comment.id)
    with pytest.raises(SessionEnded):
        await service.pin(made.host, made.code, "A1")
    assert await scalar(sessions, select(func.count(OutboxMessage.id))) == 0


async def test_a_comment_of_another_session_cannot_be_hidden(sessions: Sessions) -> None:
    made = await scene.on_air(sessions)
    other = await scene.on_air(sessions, "24600")
    row = await scene.session_row(sessions, other.code)
    async with sessions.begin() as db:
        comment = Comment(live_session_id=row.id, visitor="v", name="Hoa", text="chào")
        db.add(comment)
    with pytest.raises(Invalid):
        await service.hide_comment(made.host, made.code, comment.id)
    assert await scalar(sessions, select(Comment.hidden_at).where(Comment.id == comment.id)) is None
