"""Other networks a commune speaks on: what may be read of its own Page or channel, by official interfaces.

Facebook (Graph API) and YouTube (Data API) let a program read the comments and figures of a live video for
its owner. TikTok gives no program that right, so there is nothing here for it: orders seen there are typed
in.

Each network is a class with the same few acts (`Network`); what it refuses is told by the errors below, which
say what to do, not what the network called it. Nothing here touches the database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Protocol

import httpx
import msgspec

TIMEOUT_S = 10.0


class Tokens(msgspec.Struct, frozen=True):
    """The right to read one account. `expires_at`: Unix seconds, 0 when the access token does not expire."""

    access: str
    refresh: str = ""
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Account:
    """A Page or channel its owner may connect."""

    id: str
    name: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A live video. `chat`: what its comments are read from."""

    id: str
    video: str
    chat: str


@dataclass(frozen=True, slots=True)
class Heard:
    """One comment. `author` is the network's id of who wrote it, empty where it does not say."""

    id: str
    author: str
    name: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Comments after a cursor, oldest first, and where to go on: at once (`more`) or after `wait_s`."""

    heard: Sequence[Heard]
    cursor: str
    wait_s: float
    more: bool = False
    over: bool = False
    """The broadcast has ended; nothing more will come."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What the network counted of a video, for everybody it showed it to; none where it does not say."""

    reach: int | None
    views: int | None


# ---- what can go wrong


class NetworkProblem(Exception):
    """Something the network said no to."""


class TokenGone(NetworkProblem):
    """The right to read has run out or was taken back: its owner must connect again."""


class NotAllowed(NetworkProblem):
    """The owner did not grant what is needed, or the network switched the program off."""


class SlowDown(NetworkProblem):
    """Asked too often; again after so many seconds, or, without a number, after a pause of ours."""

    def __init__(self, after_s: float | None = None) -> None:
        self.after_s = after_s
        super().__init__(f"slow down ({after_s} s)")


class QuotaSpent(NetworkProblem):
    """The day's allowance is used up."""


class BroadcastOver(NetworkProblem):
    """The broadcast, or its chat, is not there any more."""


class CursorLost(NetworkProblem):
    """The network no longer knows the place; read from the beginning, what is known is not stored twice."""


class Away(NetworkProblem):
    """No answer, or one that only says to come back."""


# ---- what a network can do


class Network(Protocol):
    name: ClassVar[str]
    cost: ClassVar[int]
    """Units of the daily allowance that one reading of comments takes; 0 where there is none."""
    allowance: int
    """Units a day."""

    def consent_url(self, state: str, back_to: str) -> str:
        """Where the owner is asked for the right to read."""
        ...

    async def accounts(self, code: str, back_to: str) -> list[Account]:
        """The Pages or channels of whoever came back with this code."""
        ...

    async def renew(self, tokens: Tokens) -> Tokens:
        """Tokens that are good for a while; the same ones where they still are."""
        ...

    async def broadcast(self, tokens: Tokens, account: str) -> Broadcast | None:
        """What the account has on air now."""
        ...

    async def comments(self, tokens: Tokens, broadcast: Broadcast, cursor: str) -> Batch: ...

    async def figures(self, tokens: Tokens, broadcast: Broadcast) -> Figures: ...


class Caller:
    """HTTP to one network: JSON in, JSON out; a network that does not answer is `Away`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        url: str,
        *,
        token: str = "",
        params: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
    ) -> tuple[httpx.Response, dict[str, Any]]:
        """The answer and its document, {} when it is none. The token travels in a header, so that no log of
        addresses holds it.
        """
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = await self._client.request(method, url, params=params, data=form, headers=headers)
        except httpx.HTTPError as error:
            raise Away(type(error).__name__) from error
        try:
            document = answer.json()
        except ValueError:
            document = {}
        return answer, document if isinstance(document, dict) else {}


def moment(text: str) -> datetime:
    """`2025-08-24T02:15:00+0000` and `2025-08-24T02:15:00.123456Z`. Raises `ValueError`."""
    return datetime.fromisoformat(text)


def count(value: Any) -> int | None:
    """A whole number that may be written as text; None for anything else."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return None
