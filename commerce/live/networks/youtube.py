"""A YouTube channel through the Data API and its live chat.

A project has an allowance of units a day (10,000 unless Google grants more); one look at the chat costs 5.
Each answer says how long to wait at least; how much longer we wait, so that the day's units last, is decided
in `live.listening`, which counts them. Access tokens last an hour and are renewed with the refresh token.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx

from commerce.live.networks import (
    Account,
    Away,
    Batch,
    Broadcast,
    BroadcastOver,
    Caller,
    CursorLost,
    Figures,
    Heard,
    NetworkProblem,
    NotAllowed,
    QuotaSpent,
    SlowDown,
    TokenGone,
    Tokens,
    count,
    moment,
)

API = "https://www.googleapis.com/youtube/v3"
CONSENT = "https://accounts.google.com/o/oauth2/v2/auth"
TOKEN = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
RIGHT = "https://www.googleapis.com/auth/youtube.readonly"
ALLOWANCE = 10_000
MESSAGES = 500
EVERY_S = 5.0
RENEW_BEFORE_S = 120

_REASONS: dict[str, type[NetworkProblem]] = {
    "quotaExceeded": QuotaSpent,
    "dailyLimitExceeded": QuotaSpent,
    "rateLimitExceeded": SlowDown,
    "userRateLimitExceeded": SlowDown,
    "liveChatEnded": BroadcastOver,
    "liveChatDisabled": BroadcastOver,
    "liveChatNotFound": BroadcastOver,
    "pageTokenInvalid": CursorLost,
    "invalidPageToken": CursorLost,
    "authError": TokenGone,
    "youtubeSignupRequired": NotAllowed,
    "liveStreamingNotEnabled": NotAllowed,
    "insufficientPermissions": NotAllowed,
    "insufficientLivePermissions": NotAllowed,
    "forbidden": NotAllowed,
}


class YouTube:
    name: ClassVar[str] = "youtube"
    cost: ClassVar[int] = 5

    def __init__(
        self,
        client: httpx.AsyncClient,
        client_id: str,
        client_secret: str,
        *,
        api: str = API,
        consent: str = CONSENT,
        token: str = TOKEN,
        allowance: int = ALLOWANCE,
    ) -> None:
        self._caller = Caller(client)
        self._id, self._secret = client_id, client_secret
        self._api, self._consent, self._token = api, consent, token
        self.allowance = allowance

    # ---- the right to read

    def consent_url(self, state: str, back_to: str) -> str:
        asked = {
            "client_id": self._id,
            "redirect_uri": back_to,
            "response_type": "code",
            "scope": RIGHT,
            "access_type": "offline",
            "prompt": "consent",  # else a second connection brings no refresh token
            "state": state,
        }
        return f"{self._consent}?{urlencode(asked)}"

    async def accounts(self, code: str, back_to: str) -> list[Account]:
        tokens = await self._tokens(
            {"grant_type": "authorization_code", "code": code, "redirect_uri": back_to}, refresh=""
        )
        answer = await self._get("/channels", {"part": "snippet", "mine": "true"}, tokens)
        return [Account(one["id"], one["snippet"]["title"], tokens) for one in answer.get("items", [])]

    async def renew(self, tokens: Tokens) -> Tokens:
        if tokens.expires_at > time.time() + RENEW_BEFORE_S:
            return tokens
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh}
        return await self._tokens(form, refresh=tokens.refresh)

    async def _tokens(self, form: dict[str, str], *, refresh: str) -> Tokens:
        form = form | {"client_id": self._id, "client_secret": self._secret}
        response, answer = await self._caller.ask("POST", self._token, form=form)
        if response.is_success and answer.get("access_token"):
            ends = int(time.time()) + (count(answer.get("expires_in")) or 0)
            return Tokens(answer["access_token"], answer.get("refresh_token", refresh), ends)
        if answer.get("error") == "invalid_grant":
            raise TokenGone(answer.get("error_description", ""))
        if response.status_code < 500 and answer.get("error"):
            raise NotAllowed(str(answer["error"]))
        raise Away(str(response.status_code))

    # ---- reading

    async def broadcast(self, tokens: Tokens, account: str) -> Broadcast | None:
        asked = {"part": "id,snippet", "broadcastStatus": "active", "broadcastType": "all"}
        answer = await self._get("/liveBroadcasts", asked, tokens)
        for one in answer.get("items", []):
            chat = one["snippet"].get("liveChatId")
            if chat and one["snippet"].get("channelId", account) == account:
                return Broadcast(one["id"], one["id"], chat)
        return None

    async def comments(self, tokens: Tokens, broadcast: Broadcast, cursor: str) -> Batch:
        asked = {
            "liveChatId": broadcast.chat,
            "part": "id,snippet,authorDetails",
            "maxResults": str(MESSAGES),
        }
        if cursor:
            asked["pageToken"] = cursor
        answer = await self._get("/liveChat/messages", asked, tokens)
        said = [one for one in answer.get("items", []) if one["snippet"].get("type") == "textMessageEvent"]
        return Batch(
            heard=[_heard(one) for one in said],
            cursor=answer.get("nextPageToken", ""),
            wait_s=(count(answer.get("pollingIntervalMillis")) or EVERY_S * 1000) / 1000,
            over="offlineAt" in answer,
        )

    async def figures(self, tokens: Tokens, broadcast: Broadcast) -> Figures:
        answer = await self._get("/videos", {"part": "statistics", "id": broadcast.video}, tokens)
        for one in answer.get("items", []):
            # YouTube tells how often a video was watched, not how many people it was shown to.
            return Figures(reach=None, views=count(one.get("statistics", {}).get("viewCount")))
        raise BroadcastOver

    async def _get(self, path: str, params: dict[str, str], tokens: Tokens) -> dict[str, Any]:
        response, answer = await self._caller.ask("GET", self._api + path, token=tokens.access, params=params)
        if response.is_success and "error" not in answer:
            return answer
        raise _problem(response, answer.get("error") or {})


def _heard(one: dict[str, Any]) -> Heard:
    author = one.get("authorDetails") or {}
    snippet = one["snippet"]
    text = (snippet.get("textMessageDetails") or {}).get("messageText") or snippet.get("displayMessage", "")
    return Heard(
        one["id"],
        author.get("channelId", ""),
        author.get("displayName", ""),
        text,
        moment(snippet["publishedAt"]),
    )


def _problem(response: httpx.Response, error: dict[str, Any]) -> NetworkProblem:
    reasons = [one.get("reason", "") for one in error.get("errors", []) if isinstance(one, dict)]
    said = f"{response.status_code} {','.join(reasons)}: {error.get('message', '')}"[:200]
    for reason in reasons:
        if kind := _REASONS.get(reason):
            return kind() if kind is SlowDown else kind(said)
    match response.status_code:
        case 401:
            return TokenGone(said)
        case 403:
            return NotAllowed(said)
        case 404:
            return BroadcastOver(said)
        case 429:
            after = count(response.headers.get("Retry-After"))
            return SlowDown(float(after) if after is not None else None)
        case _:
            return Away(said)
