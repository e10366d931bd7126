"""A commune's Page and channel on other networks: connected by its office, let go, and how reading them goes.

The owner grants the right on the network's own page and comes back with a code; what it is exchanged for is
sealed before it is stored. The way there and back carries a sealed note of who set out, so that nobody can
make an officer connect a stranger's Page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import msgspec
from cryptography.fernet import InvalidToken
from sqlalchemy import Row, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.core import clock
from commerce.core.db import sessions
from commerce.core.errors import MarketError, NotFound
from commerce.core.i18n import N_
from commerce.core.roles import Identity, Role
from commerce.core.seal import seal, unseal
from commerce.live.models import NetworkAccount, NetworkListening
from commerce.live.networks import Account, Away, Network, NetworkProblem, NotAllowed, Tokens
from commerce.live.networks.settings import NAMES

T = TypeVar("T")
CONNECTORS = (Role.OFFICER, Role.HOST)
WAY_LASTS_S = 900
_TOKENS, _WAY, _CHOICE = "network tokens", "network way", "network choice"

LOOKING, READING, WAITING, OVER = "looking", "reading", "waiting", "over"
EXPIRED, REFUSED = "expired", "not_allowed"


class NotConnected(MarketError):
    code = "network_not_connected"
    status = 409
    title = N_("Chưa nối được")
    detail = N_("{network} chưa cho phép đọc. Xin bấm nối lại và đồng ý mọi quyền được hỏi.")


class NetworkAway(MarketError):
    code = "network_away"
    status = 502
    title = N_("{network} chưa trả lời")
    detail = N_("{network} đang không trả lời. Xin thử lại sau vài phút; không có gì bị đổi.")

    def title_text(self, lang: str) -> str:
        return super().title_text(lang).format(**self.fields)


class NetworkNotSetUp(MarketError):
    code = "network_not_set_up"
    status = 409
    title = N_("Chưa cài đặt")
    detail = N_("Chợ chưa được khai báo với {network}. Xin nhờ người quản trị.")


class _Way(msgspec.Struct):
    """Who set out to connect what."""

    person: int
    commune: str
    network: str


class _Choice(msgspec.Struct):
    """One of several Pages that may be connected."""

    person: int
    commune: str
    network: str
    id: str
    name: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Offered:
    """A Page among several; `choice` is handed back to `choose`."""

    name: str
    choice: str


# ---- connecting


def set_out(
    secret_key: str,
    networks: Mapping[str, Network],
    identity: Identity,
    commune: str,
    name: str,
    back_to: str,
) -> str:
    """Where to send the officer. Raises `Forbidden`, `NotFound`, `NetworkNotSetUp`."""
    identity.must(commune, *CONNECTORS)
    way = _Way(identity.person_id, commune, name)
    return _network(networks, name).consent_url(seal(secret_key, _WAY, _packed(way)), back_to)


async def come_back(
    secret_key: str,
    networks: Mapping[str, Network],
    identity: Identity,
    name: str,
    *,
    state: str,
    code: str,
    back_to: str,
) -> list[Offered]:
    """The owner said yes: a single Page is connected at once; of several one is to be chosen, and they are
    returned. Raises `NotConnected` (they said no, or it took too long), `NetworkAway`.
    """
    network = _network(networks, name)
    way = _unpacked(secret_key, _WAY, state, _Way, name)
    if way.person != identity.person_id or way.network != name or not code:
        raise NotConnected(network=NAMES[name])
    identity.must(way.commune, *CONNECTORS)
    try:
        found = await network.accounts(code, back_to)
    except Away as error:
        raise NetworkAway(network=NAMES[name]) from error
    except NetworkProblem as error:
        raise NotConnected(network=NAMES[name]) from error
    if not found:
        raise NotConnected(network=NAMES[name])
    if len(found) == 1:
        await connect(secret_key, identity, way.commune, name, found[0])
        return []
    return [
        Offered(one.name, seal(secret_key, _CHOICE, _packed(_choice(way, one))))
        for one in sorted(found, key=lambda one: one.name)
    ]


def _choice(way: _Way, one: Account) -> _Choice:
    return _Choice(way.person, way.commune, way.network, one.id, one.name, one.tokens)


async def choose(secret_key: str, identity: Identity, name: str, choice: str) -> None:
    """Connect one of those offered. Raises `NotConnected`."""
    found = _unpacked(secret_key, _CHOICE, choice, _Choice, name)
    if found.person != identity.person_id or found.network != name:
        raise NotConnected(network=NAMES.get(name, name))
    account = Account(found.id, found.name, found.tokens)
    await connect(secret_key, identity, found.commune, name, account)


async def connect(secret_key: str, identity: Identity, commune: str, network: str, account: Account) -> int:
    """Keep the right to read; what was connected before makes room. A session on air is read at once."""
    identity.must(commune, *CONNECTORS)
    now = clock.now()
    async with sessions.begin() as db:
        kept = await db.scalar(
            select(NetworkAccount)
            .where(
                NetworkAccount.commune_code == commune,
                NetworkAccount.network == network,
                NetworkAccount.removed_at.is_(None),
            )
            .with_for_update()
        )
        sealed = sealed_tokens(secret_key, account.tokens)
        if kept is not None and kept.external_id == account.id:
            kept.name, kept.tokens, kept.problem = account.name, sealed, ""
            kept.connected_by, kept.connected_at = identity.person_id, now
            again = update(NetworkListening).where(
                NetworkListening.account_id == kept.id, NetworkListening.state != OVER
            )
            await db.execute(again.values(next_at=now, failures=0, problem=""))
            return kept.id
        if kept is not None:
            kept.removed_at, kept.tokens = now, ""
            await db.flush()
        made: int | None = await db.scalar(
            insert(NetworkAccount)
            .values(
                commune_code=commune,
                network=network,
                external_id=account.id,
                name=account.name[:200],
                tokens=sealed,
                connected_by=identity.person_id,
            )
            .returning(NetworkAccount.id)
        )
        assert made is not None
        return made


async def disconnect(identity: Identity, commune: str, network: str) -> None:
    """Forget the right to read; what was read stays. A second time changes nothing."""
    identity.must(commune, *CONNECTORS)
    async with sessions.begin() as db:
        await db.execute(
            update(NetworkAccount)
            .where(
                NetworkAccount.commune_code == commune,
                NetworkAccount.network == network,
                NetworkAccount.removed_at.is_(None),
            )
            .values(removed_at=clock.now(), tokens="")
        )


# ---- what screens show


@dataclass(frozen=True, slots=True)
class Connected:
    network: str
    account: str
    problem: str
    """`expired`, `not_allowed`, or empty."""
    connected_at: datetime
    connected_by: str


_CONNECTED = text("""
    SELECT a.network, a.name AS account, a.problem, a.connected_at, coalesce(p.name, '') AS connected_by
    FROM network_account a LEFT JOIN person p ON p.id = a.connected_by
    WHERE a.commune_code = :commune AND a.removed_at IS NULL
""")


async def connected(db: AsyncSession, commune: str) -> dict[str, Connected]:
    """By network."""
    rows = await db.execute(_CONNECTED, {"commune": commune})
    return {row.network: Connected(*row) for row in rows}


_STATUS = text("""
    SELECT a.network, a.name AS account, coalesce(nullif(a.problem, ''), l.problem, '') AS problem,
        coalesce(l.state, 'looking') AS state, coalesce(l.heard, 0) AS heard, l.read_at, l.next_at
    FROM live_session s JOIN network_account a ON a.commune_code = s.commune_code AND a.removed_at IS NULL
    LEFT JOIN network_listening l ON l.account_id = a.id AND l.live_session_id = s.id
    WHERE s.code = :code ORDER BY a.network
""")


async def status(
    db: AsyncSession, code: str
) -> Sequence[Row[tuple[str, str, str, str, int, datetime, datetime]]]:
    """How reading goes for one session: network, account, problem, state, heard, read_at, next_at."""
    return (await db.execute(_STATUS, {"code": code.upper()})).all()


# ---- sealing


def sealed_tokens(secret_key: str, tokens: Tokens) -> str:
    return seal(secret_key, _TOKENS, msgspec.json.encode(tokens).decode())


def opened_tokens(secret_key: str, sealed: str) -> Tokens:
    """Raises `NotAllowed` when the market's key has changed."""
    try:
        return msgspec.json.decode(unseal(secret_key, _TOKENS, sealed), type=Tokens)
    except InvalidToken as error:
        raise NotAllowed("sealed with another key") from error


def _packed(note: msgspec.Struct) -> str:
    return msgspec.json.encode(note).decode()


def _unpacked(secret_key: str, purpose: str, sealed: str, kind: type[T], name: str) -> T:
    try:
        return msgspec.json.decode(unseal(secret_key, purpose, sealed, lasts=WAY_LASTS_S), type=kind)
    except (InvalidToken, msgspec.DecodeError) as error:
        raise NotConnected(network=NAMES.get(name, name)) from error


def _network(networks: Mapping[str, Network], name: str) -> Network:
    if name not in NAMES:
        raise NotFound
    if name not in networks:
        raise NetworkNotSetUp(network=NAMES[name])
    return networks[name]
