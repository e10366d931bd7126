"""A Facebook Page through the Graph API.

Comments of a live video are read as its edge `comments` in the order of time, 100 at a time, with the cursor
of the last one seen; the same question with the same cursor brings what came since. Each answer says in a
header how much of the allowance of the hour is used, and reading slows down before it is spent. A Page token
made from a long-lived user token does not run out by itself; it dies when its owner changes the password,
leaves the Page or takes the right back, which the Graph API tells as error 190.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, ClassVar
from urllib.parse import urlencode

import httpx
import msgspec

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
    SlowDown,
    TokenGone,
    Tokens,
    count,
    moment,
)

API = "https://graph.facebook.com"
DIALOG = "https://www.facebook.com"
VERSION = "v25.0"
RIGHTS = ("pages_show_list", "pages_read_engagement", "pages_read_user_content", "read_insights")
PAGE = 100
EVERY_S = 4.0
BUSY, NEARLY_SPENT = 75, 95  # per cent of the hour's allowance
TOO_OFTEN = {4, 17, 32, 613, 80001, 80002}
COME_BACK = {1, 2}
REACH, VIEWS = "total_video_impressions_unique", "total_video_views"


class Facebook:
    name: ClassVar[str] = "facebook"
    cost: ClassVar[int] = 0
    allowance = 0

    def __init__(
        self,
        client: httpx.AsyncClient,
        app_id: str,
        app_secret: str,
        *,
        api: str = API,
        dialog: str = DIALOG,
    ) -> None:
        self._caller = Caller(client)
        self._app_id, self._secret = app_id, app_secret
        self._api, self._dialog = f"{api}/{VERSION}", f"{dialog}/{VERSION}"

    # ---- the right to read

    def consent_url(self, state: str, back_to: str) -> str:
        asked = {
            "client_id": self._app_id,
            "redirect_uri": back_to,
            "state": state,
            "scope": ",".join(RIGHTS),
            "response_type": "code",
        }
        return f"{self._dialog}/dialog/oauth?{urlencode(asked)}"

    async def accounts(self, code: str, back_to: str) -> list[Account]:
        program = {"client_id": self._app_id, "client_secret": self._secret}
        short = await self._get("/oauth/access_token", program | {"code": code, "redirect_uri": back_to})
        exchange = {"grant_type": "fb_exchange_token", "fb_exchange_token": short["access_token"]}
        person = (await self._get("/oauth/access_token", program | exchange))["access_token"]
        found: list[Account] = []
        after = ""
        while True:
            asked = {"fields": "id,name,access_token", "limit": str(PAGE)} | (
                {"after": after} if after else {}
            )
            answer = await self._get("/me/accounts", asked, person)
            found += [
                Account(page["id"], page["name"], Tokens(page["access_token"]))
                for page in answer.get("data", [])
                if page.get("access_token")
            ]
            paging = answer.get("paging", {})
            after = paging.get("cursors", {}).get("after", "")
            if "next" not in paging:
                return found

    async def renew(self, tokens: Tokens) -> Tokens:
        return tokens

    # ---- reading

    async def broadcast(self, tokens: Tokens, account: str) -> Broadcast | None:
        asked = {"fields": "id,status,video{id}", "broadcast_status": '["LIVE"]', "limit": "5"}
        answer = await self._get(f"/{account}/live_videos", asked, tokens.access)
        for live in answer.get("data", []):
            if live.get("status") == "LIVE":
                return Broadcast(live["id"], live.get("video", {}).get("id", live["id"]), live["id"])
        return None

    async def comments(self, tokens: Tokens, broadcast: Broadcast, cursor: str) -> Batch:
        asked = {
            "fields": "id,message,created_time,from{id,name}",
            "filter": "stream",
            "order": "chronological",
            "limit": str(PAGE),
        }
        if cursor:
            asked["after"] = cursor
        response, answer = await self._ask(f"/{broadcast.chat}/comments", asked, tokens.access, cursor=cursor)
        paging = answer.get("paging", {})
        return Batch(
            heard=[_heard(one) for one in answer.get("data", []) if one.get("message")],
            cursor=paging.get("cursors", {}).get("after", cursor),
            wait_s=_pause(response),
            more="next" in paging,
        )

    async def figures(self, tokens: Tokens, broadcast: Broadcast) -> Figures:
        # Without naming metrics all there are come: one that Facebook retires is then missing, not an error.
        answer = await self._get(f"/{broadcast.video}/video_insights", {}, tokens.access)
        found = {
            one.get("name"): count((one.get("values") or [{}])[-1].get("value"))
            for one in answer.get("data", [])
        }
        return Figures(reach=found.get(REACH), views=found.get(VIEWS))

    # ---- one question

    async def _get(self, path: str, params: dict[str, str], token: str = "") -> dict[str, Any]:
        return (await self._ask(path, params, token))[1]

    async def _ask(
        self, path: str, params: dict[str, str], token: str, *, cursor: str = ""
    ) -> tuple[httpx.Response, dict[str, Any]]:
        if token:  # shows that the token is used by the program it was given to
            proof = hmac.new(self._secret.encode(), token.encode(), hashlib.sha256).hexdigest()
            params = params | {"appsecret_proof": proof}
        response, answer = await self._caller.ask("GET", self._api + path, token=token, params=params)
        if response.is_success and "error" not in answer:
            return response, answer
        raise _problem(response, answer.get("error") or {}, had_cursor=bool(cursor))


def _heard(one: dict[str, Any]) -> Heard:
    author = one.get("from") or {}
    return Heard(
        one["id"], author.get("id", ""), author.get("name", ""), one["message"], moment(one["created_time"])
    )


def _problem(response: httpx.Response, error: dict[str, Any], *, had_cursor: bool) -> NetworkProblem:
    code, subcode = count(error.get("code")) or 0, count(error.get("error_subcode"))
    said = f"{code}/{subcode}: {error.get('message', '')}"[:200]
    if code in (102, 190):
        return TokenGone(said)
    if code in TOO_OFTEN:
        return SlowDown(_regained_after(response))
    if code in COME_BACK or response.status_code >= 500:
        return Away(said)
    if code == 10 or 200 <= code < 300:
        return NotAllowed(said)
    if code == 100:
        return BroadcastOver(said) if subcode == 33 or not had_cursor else CursorLost(said)
    return Away(f"{response.status_code} {said}")


def _usage(response: httpx.Response) -> list[dict[str, Any]]:
    """What the answer says of the allowance: of the program as a whole and of this Page."""
    found: list[Any] = []
    try:
        found.append(msgspec.json.decode(response.headers.get("X-App-Usage", "{}")))
        for uses in msgspec.json.decode(response.headers.get("X-Business-Use-Case-Usage", "{}")).values():
            found += uses
    except (msgspec.DecodeError, AttributeError, TypeError):
        return []
    return [one for one in found if isinstance(one, dict)]


def _regained_after(response: httpx.Response) -> float | None:
    minutes = [count(one.get("estimated_time_to_regain_access")) or 0 for one in _usage(response)]
    return max(minutes) * 60.0 if any(minutes) else None


def _pause(response: httpx.Response) -> float:
    """Longer the more of the hour's allowance is used."""
    shares = ("call_count", "total_time", "total_cputime")
    used = max((count(one.get(share)) or 0 for one in _usage(response) for share in shares), default=0)
    return EVERY_S * (1 if used < BUSY else 4 if used < NEARLY_SPENT else 15)
