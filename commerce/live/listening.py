"""Reading what people say about a session on the commune's own Page and channel, while it is on air.

Once a second the leading worker looks which accounts are due. Each is asked outside any transaction; what it
answers and how far that reached are stored together, so a worker that dies in between reads the same again
and stores nothing twice (a comment's id on its network is unique in the session). Nothing is remembered here:
the next worker goes on from the table.

Politeness: a network says how long to wait and is not asked earlier; when it refuses for being asked too
often, or is away, the pause doubles up to ten minutes. Where a day's allowance is counted in units (YouTube),
every question is counted, and the pause between two is so long that what is left would last two more hours;
so the allowance shrinks ever more slowly and is not spent before the session's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.settings import Settings
from commerce.live import comments, outside
from commerce.live.models import LiveSession, LiveState, NetworkAccount, NetworkListening, NetworkQuota
from commerce.live.networks import (
    Away,
    Batch,
    Broadcast,
    BroadcastOver,
    CursorLost,
    Figures,
    Network,
    NetworkProblem,
    NotAllowed,
    QuotaSpent,
    SlowDown,
    TokenGone,
    Tokens,
)
from commerce.live.networks.settings import http_client, networks

LOOK_EVERY_S = 15.0  # for a broadcast that has not begun
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0
LASTS_S = 7200.0  # what is left of a day's allowance must last so long
AT_ONCE = 40  # accounts asked in one step
PAGES = 20  # batches read in a row before others have their turn
PACIFIC = ZoneInfo("America/Los_Angeles")  # Google's day

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """One account to be read for one session."""

    id: int
    session: LiveSession
    account: NetworkAccount
    broadcast: Broadcast | None
    cursor: str
    failures: int


class Listener:
    """The worker's part that reads other networks."""

    def __init__(self, settings: Settings, known: Mapping[str, Network] | None = None) -> None:
        self._secret_key = settings.secret_key
        self._client = http_client()
        self.networks = networks(settings, self._client) if known is None else known

    async def run(self) -> None:
        """For ever, by the leader."""
        while True:
            try:
                await self.step()
            except Exception as error:  # PostgreSQL is away
                log.warning("not_listening", error=repr(error)[:200])
            await asyncio.sleep(1)

    async def close(self) -> None:
        await self._client.aclose()

    async def step(self, now: datetime | None = None) -> int:
        """Read whatever is due; returns how many new comments came."""
        if not self.networks:
            return 0
        now = now or clock.now()
        await _begin_listening(now)
        due = await _due(now)
        return sum(await asyncio.gather(*(self._read(one, now) for one in due)))

    async def _read(self, due: Due, now: datetime) -> int:
        network = self.networks.get(due.account.network)
        if network is None:
            return 0
        heard, one = 0, due
        for _ in range(PAGES):
            try:
                tokens = await self.tokens(network, due.account)
                if one.broadcast is None:
                    await self._look(network, tokens, one, now)
                    return heard
                await _use(network, network.cost, now)
                batch = await network.comments(tokens, one.broadcast, one.cursor)
            except NetworkProblem as problem:
                await _note(network, one, problem, now)
                return heard
            heard += await _store(network, one, batch, await _pause(network, batch, now), now)
            if not batch.more:
                return heard
            one = Due(one.id, one.session, one.account, one.broadcast, batch.cursor, 0)
        return heard

    async def tokens(self, network: Network, account: NetworkAccount) -> Tokens:
        """Good ones; renewed ones are stored first. Raises `NetworkProblem`."""
        known = outside.opened_tokens(self._secret_key, account.tokens)
        fresh = await network.renew(known)
        if fresh != known:
            account.tokens = outside.sealed_tokens(self._secret_key, fresh)
            async with sessions.begin() as db:
                stored = update(NetworkAccount).where(NetworkAccount.id == account.id)
                await db.execute(
                    stored.where(NetworkAccount.removed_at.is_(None)).values(tokens=account.tokens)
                )
        return fresh

    async def _look(self, network: Network, tokens: Tokens, one: Due, now: datetime) -> None:
        await _use(network, 1, now)
        found = await network.broadcast(tokens, one.account.external_id)
        values: dict[str, object] = {
            "state": outside.LOOKING,
            "next_at": now + timedelta(seconds=LOOK_EVERY_S),
        }
        if found is not None:
            values = {"state": outside.READING, "next_at": now, "broadcast": found.id}
            values |= {"video": found.video, "chat": found.chat}
        await _set(one.id, problem="", failures=0, **values)

    async def figures(self, account: NetworkAccount, broadcast: Broadcast, now: datetime) -> Figures | None:
        """What the network counted of a broadcast; none while it does not say or may not be asked."""
        network = self.networks.get(account.network)
        if network is None or account.problem or account.removed_at is not None:
            return None
        try:
            tokens = await self.tokens(network, account)
            await _use(network, 1, now)
            return await network.figures(tokens, broadcast)
        except (TokenGone, NotAllowed) as problem:
            await _refuse(account.id, problem)
        except NetworkProblem as problem:
            log.info("no_figures", network=account.network, because=repr(problem)[:200])
        return None


# ---- rows

_BEGIN = text("""
    INSERT INTO network_listening (live_session_id, account_id, state, next_at)
    SELECT s.id, a.id, 'looking', :now FROM live_session s
    JOIN network_account a ON a.commune_code = s.commune_code
    WHERE s.state = 'live' AND NOT s.rehearsal AND a.removed_at IS NULL
    ON CONFLICT DO NOTHING
""")


async def _begin_listening(now: datetime) -> None:
    async with sessions.begin() as db:
        await db.execute(_BEGIN, {"now": now})


async def _due(now: datetime) -> list[Due]:
    async with sessions.read() as db:
        rows = await db.execute(
            select(NetworkListening, LiveSession, NetworkAccount)
            .join(LiveSession, LiveSession.id == NetworkListening.live_session_id)
            .join(NetworkAccount, NetworkAccount.id == NetworkListening.account_id)
            .where(
                LiveSession.state == LiveState.LIVE,
                NetworkListening.state != outside.OVER,
                NetworkListening.next_at <= now,
                NetworkAccount.removed_at.is_(None),
                NetworkAccount.problem == "",
            )
            .order_by(NetworkListening.next_at)
            .limit(AT_ONCE)
        )
        return [
            Due(row.id, session, account, broadcast_of(row), row.cursor, row.failures)
            for row, session, account in rows
        ]


def broadcast_of(row: NetworkListening) -> Broadcast | None:
    return Broadcast(row.broadcast, row.video, row.chat) if row.broadcast else None


async def _set(listening_id: int, **values: object) -> None:
    async with sessions.begin() as db:
        await db.execute(update(NetworkListening).where(NetworkListening.id == listening_id).values(**values))


async def _store(network: Network, one: Due, batch: Batch, pause_s: float, now: datetime) -> int:
    async with sessions.begin() as db:
        new = await comments.hear(db, one.session, network.name, batch.heard)
        await db.execute(
            update(NetworkListening)
            .where(NetworkListening.id == one.id)
            .values(
                state=outside.OVER if batch.over else outside.READING,
                cursor=batch.cursor,
                problem="",
                failures=0,
                heard=NetworkListening.heard + new,
                read_at=now,
                next_at=now if batch.more else now + timedelta(seconds=pause_s),
            )
        )
    return new


async def _note(network: Network, one: Due, problem: NetworkProblem, now: datetime) -> None:
    """Write down what went wrong and when to try again."""
    log.info("network_refused", network=network.name, session=one.session.code, because=repr(problem)[:200])
    failures = one.failures + 1
    pause = timedelta(seconds=min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10)))
    waiting = {"state": outside.WAITING, "failures": failures}
    match problem:
        case TokenGone() | NotAllowed():
            await _refuse(one.account.id, problem)
        case BroadcastOver():
            # A broadcast that broke off may come again under another id while the session runs.
            await _set(
                one.id,
                state=outside.LOOKING,
                broadcast="",
                chat="",
                cursor="",
                problem="",
                next_at=now + timedelta(seconds=LOOK_EVERY_S),
            )
        case CursorLost():
            await _set(one.id, cursor="", failures=failures, next_at=now + pause)
        case SlowDown(after_s=after) if after is not None:
            await _set(one.id, problem="slow", next_at=now + timedelta(seconds=after), **waiting)
        case SlowDown():
            await _set(one.id, problem="slow", next_at=now + pause, **waiting)
        case QuotaSpent():
            await _set(one.id, problem="quota", next_at=allowance_renewed(now), **waiting)
        case Away() | NetworkProblem():
            await _set(one.id, problem="away", next_at=now + pause, **waiting)


async def _refuse(account_id: int, problem: NetworkProblem) -> None:
    """Not asked any more until the office connects it again."""
    why = outside.EXPIRED if isinstance(problem, TokenGone) else outside.REFUSED
    async with sessions.begin() as db:
        await db.execute(update(NetworkAccount).where(NetworkAccount.id == account_id).values(problem=why))


# ---- a day's allowance


def _day(now: datetime) -> date:
    return now.astimezone(PACIFIC).date()


def allowance_renewed(now: datetime) -> datetime:
    """The next midnight on the US west coast, when Google begins to count anew."""
    local = now.astimezone(PACIFIC)
    return (local + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


async def _use(network: Network, units: int, now: datetime) -> None:
    """Count a question before it is asked. Raises `QuotaSpent` where it would go beyond the allowance."""
    if not network.allowance:
        return
    async with sessions.begin() as db:
        row = upsert(NetworkQuota).values(network=network.name, day=_day(now), used=units)
        used = await db.scalar(
            row.on_conflict_do_update(
                index_elements=["network", "day"],
                set_={"used": NetworkQuota.used + units},
                where=NetworkQuota.used + units <= network.allowance,
            ).returning(NetworkQuota.used)
        )
    if used is None or used > network.allowance:
        raise QuotaSpent("our own count")


_READERS = text("""
    SELECT count(*) FROM network_listening l JOIN network_account a ON a.id = l.account_id
    JOIN live_session s ON s.id = l.live_session_id
    WHERE a.network = :network AND s.state = 'live' AND l.state IN ('reading', 'waiting') AND a.problem = ''
""")


async def _pause(network: Network, batch: Batch, now: datetime) -> float:
    """Seconds to the next question: at least what the network asks for."""
    if not network.allowance:
        return batch.wait_s
    async with sessions.read() as db:
        used = await db.scalar(
            select(NetworkQuota.used).where(
                NetworkQuota.network == network.name, NetworkQuota.day == _day(now)
            )
        )
        readers = await db.scalar(_READERS, {"network": network.name})
    left = max(1, network.allowance - (used or 0))
    return max(batch.wait_s, network.cost * (readers or 1) * LASTS_S / left)
