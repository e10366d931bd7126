"""The stand-ins' HTTP.

/graph/v25.0/…          Facebook's Graph API            /dialog/v25.0/dialog/oauth    its consent page
/youtube/v3/…           YouTube's Data API              /google/consent, /google/token   Google's
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import json
import secrets
import time
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlencode

from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath

from commerce.live.networks.simulator.state import FACEBOOK_PAGE, YOUTUBE_PAGE, Networks, Said, Token

AnyRequest = Request[Any, Any, Any]
Answer = Response[Any]


class GraphError(Exception):
    def __init__(self, code: int, message: str, *, subcode: int | None = None, status: int = 400) -> None:
        self.code, self.message, self.subcode, self.status = code, message, subcode, status
        super().__init__(message)


class GoogleError(Exception):
    def __init__(self, status: int, reason: str, message: str = "") -> None:
        self.status, self.reason, self.message = status, reason, message or reason
        super().__init__(reason)


def _world(request: AnyRequest) -> Networks:
    world: Networks = request.app.state.world
    path = request.url.path
    world.answered[path] = world.answered.get(path, 0) + 1
    if world.away:
        raise HTTPException(status_code=503, detail="away")
    return world


def _bearer(request: AnyRequest) -> str:
    return str(request.headers.get("Authorization", "")).removeprefix("Bearer ").strip()


# ---- Facebook


def _graph(request: AnyRequest, *kinds: str) -> tuple[Networks, Token]:
    """The world and the caller's token. Raises `GraphError` as the Graph API does."""
    world = _world(request)
    given = _bearer(request) or request.query_params.get("access_token", "")
    token = world.tokens.get(given)
    if token is None:
        raise GraphError(190, "Invalid OAuth access token - Cannot parse access token", status=401)
    if token.revoked:
        raise GraphError(
            190,
            "Error validating access token: The session has been invalidated because the user changed "
            "their password or Facebook has changed the session for security reasons.",
            subcode=460,
            status=401,
        )
    if not token.good:
        raise GraphError(190, "Error validating access token: Session has expired.", subcode=463, status=401)
    proof = hmac.new(world.app_secret.encode(), given.encode(), hashlib.sha256).hexdigest()
    if request.query_params.get("appsecret_proof") != proof:
        raise GraphError(100, "Invalid appsecret_proof provided in the API argument")
    if token.kind not in kinds:
        raise GraphError(10, "Application does not have permission for this action", status=403)
    world.hour_used += 1
    if world.hour_used > world.hourly:
        raise GraphError(32, "Page request limit reached", status=403)
    return world, token


def _usage(world: Networks, page: str) -> dict[str, str]:
    share = min(100, world.hour_used * 100 // max(1, world.hourly))
    wait = 7 if world.hour_used > world.hourly else 0
    use = {"type": "pages", "call_count": share, "total_cputime": share // 3, "total_time": share // 2}
    return {
        "X-Business-Use-Case-Usage": json.dumps({page: [use | {"estimated_time_to_regain_access": wait}]}),
        "X-App-Usage": json.dumps({"call_count": share // 10, "total_time": 1, "total_cputime": 1}),
    }


def _cursor(number: int) -> str:
    return base64.urlsafe_b64encode(f"after:{number}".encode()).decode()


def _place(cursor: str) -> int:
    """Raises `ValueError` when it is none of ours."""
    word, _, number = base64.urlsafe_b64decode(cursor.encode()).decode().partition(":")
    if word != "after":
        raise ValueError(cursor)
    return int(number)


def _whole(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default


@get("/dialog/{version:str}/dialog/oauth", media_type=MediaType.HTML)
async def facebook_consent(request: AnyRequest, version: FromPath[str]) -> str:
    return _consent(request, "Facebook")


@get("/google/consent", media_type=MediaType.HTML)
async def google_consent(request: AnyRequest) -> str:
    return _consent(request, "Google")


def _consent(request: AnyRequest, who: str) -> str:
    """A page with yes and no; yes leads back with a code that works once."""
    world = _world(request)
    asked = request.query_params
    code = secrets.token_urlsafe(16)
    world.codes[code] = (str(asked.get("scope", "")), str(asked.get("redirect_uri", "")))
    back, state = str(asked.get("redirect_uri", "")), str(asked.get("state", ""))
    yes = f"{back}?{urlencode({'code': code, 'state': state})}"
    no = f"{back}?{urlencode({'error': 'access_denied', 'state': state})}"
    return (
        f"<!doctype html><meta charset=utf-8><title>{who} (mô phỏng)</title>"
        f"<h1>{who} (mô phỏng)</h1><p>Chợ Phiên muốn đọc: {html.escape(str(asked.get('scope', '')))}</p>"
        f'<p><a id="yes" href="{html.escape(yes)}">Đồng ý</a> '
        f'<a id="no" href="{html.escape(no)}">Không</a></p>'
    )


@get("/graph/{version:str}/oauth/access_token")
async def facebook_token(request: AnyRequest, version: FromPath[str]) -> dict[str, Any]:
    world = _world(request)
    asked = request.query_params
    if asked.get("client_secret") != world.app_secret:
        raise GraphError(1, "Error validating client secret.")
    if asked.get("grant_type") == "fb_exchange_token":
        short = world.tokens.get(str(asked.get("fb_exchange_token", "")))
        if short is None or not short.good:
            raise GraphError(190, "Error validating access token", subcode=463, status=401)
        return {"access_token": world.grant("user", "owner"), "token_type": "bearer", "expires_in": 5_184_000}
    code = world.codes.pop(str(asked.get("code", "")), None)
    if code is None or code[1] != asked.get("redirect_uri"):
        raise GraphError(100, "This authorization code has been used.", subcode=36009)
    return {"access_token": world.grant("user", "owner", lasts_s=3600), "token_type": "bearer"}


@get("/graph/{version:str}/me/accounts")
async def facebook_pages(request: AnyRequest, version: FromPath[str]) -> dict[str, Any]:
    world, _ = _graph(request, "user")
    pages = list(world.pages.values())
    data = [{"id": one.id, "name": one.name, "access_token": world.grant("page", one.id)} for one in pages]
    return {"data": data, "paging": {"cursors": {"before": _cursor(0), "after": _cursor(len(data))}}}


@get("/graph/{version:str}/{node:str}/live_videos")
async def facebook_live(request: AnyRequest, version: FromPath[str], node: FromPath[str]) -> Answer:
    world, token = _graph(request, "page")
    _own(token, node)
    found = [
        {"id": video.id, "status": "LIVE" if video.live else "VOD", "video": {"id": f"{video.id}9"}}
        for video in reversed(world.pages[node].videos)
    ]
    return Response({"data": found}, headers=_usage(world, node))


def _own(token: Token, page: str) -> None:
    if token.of != page:
        raise GraphError(
            10, "(#10) This endpoint requires the 'pages_read_engagement' permission", status=403
        )


@get("/graph/{version:str}/{node:str}/comments")
async def facebook_comments(request: AnyRequest, version: FromPath[str], node: FromPath[str]) -> Answer:
    world, token = _graph(request, "page")
    video = world.video(node)
    if video is None:
        raise GraphError(100, f"Unsupported get request. Object with ID '{node}' does not exist", subcode=33)
    _own(token, world.page_of(node))
    asked = request.query_params
    if asked.get("order") != "chronological" or asked.get("filter") != "stream":
        raise GraphError(100, "this stand-in reads comments in the order of time, replies included")
    try:
        start = _place(str(asked["after"])) if asked.get("after") else 0
    except ValueError as error:
        raise GraphError(100, "Invalid cursors values", subcode=1_487_007) from error
    most = min(_whole(str(asked.get("limit", "")), 25), FACEBOOK_PAGE)
    part = video.said[start : start + most]
    answer: dict[str, Any] = {"data": [_comment(one) for one in part]}
    if part:
        after = _cursor(start + len(part))
        answer["paging"] = {"cursors": {"before": _cursor(start), "after": after}}
        if start + len(part) < len(video.said):
            answer["paging"]["next"] = f"{request.url}&after={after}"
    return Response(answer, headers=_usage(world, token.of))


def _comment(one: Said) -> dict[str, Any]:
    found: dict[str, Any] = {"id": one.id, "message": one.text, "created_time": _second(one.at)}
    if one.author:
        found["from"] = {"id": one.author, "name": one.name}
    return found


def _second(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S+0000")


@get("/graph/{version:str}/{node:str}/video_insights")
async def facebook_figures(request: AnyRequest, version: FromPath[str], node: FromPath[str]) -> Answer:
    world, token = _graph(request, "page")
    video = world.video(node.removesuffix("9"))
    if video is None:
        raise GraphError(100, "Unsupported get request.", subcode=33)
    _own(token, world.page_of(video.id))
    metrics = {"total_video_impressions_unique": video.reach, "total_video_views": video.views}
    data = [
        {"name": name, "period": "lifetime", "values": [{"value": value}], "id": f"{node}/{name}/lifetime"}
        for name, value in metrics.items()
    ]
    return Response({"data": data}, headers=_usage(world, token.of))


def answer_graph_error(request: AnyRequest, error: GraphError) -> Answer:
    said: dict[str, Any] = {
        "message": error.message,
        "type": "OAuthException",
        "code": error.code,
        "fbtrace_id": "A" + secrets.token_hex(8),
    }
    if error.subcode is not None:
        said["error_subcode"] = error.subcode
    world: Networks = request.app.state.world
    return Response({"error": said}, status_code=error.status, headers=_usage(world, "0"))


# ---- Google


@post("/google/token", status_code=200)
async def google_token(request: AnyRequest) -> Answer:
    world = _world(request)
    asked = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
    if asked.get("client_secret") != world.app_secret:
        return Response({"error": "invalid_client"}, status_code=401)
    token = {"expires_in": world.lasts_s - 1, "token_type": "Bearer", "scope": "youtube.readonly"}
    if asked.get("grant_type") == "refresh_token":
        known = world.tokens.get(asked.get("refresh_token", ""))
        if known is None or not known.good or known.kind != "refresh":
            return _invalid_grant("Token has been expired or revoked.")
        access = world.grant("google", known.of, lasts_s=world.lasts_s)
        return Response(token | {"access_token": access})
    code = world.codes.pop(asked.get("code", ""), None)
    if code is None or code[1] != asked.get("redirect_uri"):
        return _invalid_grant("Malformed auth code.")
    owner = next(iter(world.channels), "")
    return Response(
        token
        | {
            "access_token": world.grant("google", owner, lasts_s=world.lasts_s),
            "refresh_token": world.grant("refresh", owner),
        }
    )


def _invalid_grant(why: str) -> Answer:
    return Response({"error": "invalid_grant", "error_description": why}, status_code=400)


def _youtube(request: AnyRequest, cost: int) -> tuple[Networks, Token]:
    world = _world(request)
    token = world.tokens.get(_bearer(request))
    if token is None or token.kind != "google" or not token.good:
        raise GoogleError(401, "authError", "Request had invalid authentication credentials.")
    world.day_used += cost
    if world.day_used > world.daily:
        raise GoogleError(403, "quotaExceeded", "The request cannot be completed: quota exceeded.")
    return world, token


@get("/youtube/v3/channels")
async def youtube_channels(request: AnyRequest) -> dict[str, Any]:
    world, token = _youtube(request, 1)
    mine = [one for one in world.channels.values() if one.id == token.of]
    return {
        "kind": "youtube#channelListResponse",
        "items": [{"id": one.id, "snippet": {"title": one.name}} for one in mine],
    }


@get("/youtube/v3/liveBroadcasts")
async def youtube_broadcasts(request: AnyRequest) -> dict[str, Any]:
    world, token = _youtube(request, 1)
    if sum(key in request.query_params for key in ("broadcastStatus", "id", "mine")) != 1:
        raise GoogleError(400, "incompatibleParameters", "Specify exactly one filter.")
    items = [
        {
            "id": video.id,
            "snippet": {"channelId": token.of, "liveChatId": f"chat-{video.id}", "title": "Phiên"},
        }
        for video in world.channels[token.of].videos
        if video.live
    ]
    return {"kind": "youtube#liveBroadcastListResponse", "items": items}


@get("/youtube/v3/liveChat/messages")
async def youtube_messages(request: AnyRequest) -> dict[str, Any]:
    world, _ = _youtube(request, 5)
    asked = request.query_params
    video = world.video(str(asked.get("liveChatId", "")).removeprefix("chat-"))
    if video is None:
        raise GoogleError(
            404, "liveChatNotFound", "The live chat that you are trying to retrieve cannot be found."
        )
    if not video.live:
        raise GoogleError(403, "liveChatEnded", "The live chat is no longer live.")
    try:
        start = _place(str(asked["pageToken"])) if asked.get("pageToken") else 0
    except ValueError as error:
        raise GoogleError(400, "pageTokenInvalid", "The page token is not valid.") from error
    part = video.said[start : start + YOUTUBE_PAGE]
    return {
        "kind": "youtube#liveChatMessageListResponse",
        "nextPageToken": _cursor(start + len(part)),
        "pollingIntervalMillis": world.polling_ms,
        "pageInfo": {"totalResults": len(video.said), "resultsPerPage": len(part)},
        "items": [_message(one) for one in part],
    }


def _message(one: Said) -> dict[str, Any]:
    return {
        "id": one.id,
        "snippet": {
            "type": "textMessageEvent",
            "publishedAt": one.at.isoformat(),
            "displayMessage": one.text,
            "textMessageDetails": {"messageText": one.text},
        },
        "authorDetails": {"channelId": one.author, "displayName": one.name},
    }


@get("/youtube/v3/videos")
async def youtube_videos(request: AnyRequest) -> dict[str, Any]:
    world, _ = _youtube(request, 1)
    video = world.video(str(request.query_params.get("id", "")))
    items = [{"id": video.id, "statistics": {"viewCount": str(video.views)}}] if video else []
    return {"kind": "youtube#videoListResponse", "items": items}


def answer_google_error(_: AnyRequest, error: GoogleError) -> Answer:
    one = {"message": error.message, "domain": "youtube", "reason": error.reason}
    body = {"error": {"code": error.status, "message": error.message, "errors": [one]}}
    return Response(body, status_code=error.status)


def create_simulator(world: Networks) -> Litestar:
    """Both stand-ins over one world; `app.state.world` is it."""
    app = Litestar(
        [
            *(facebook_consent, facebook_token, facebook_pages, facebook_live, facebook_comments),
            *(facebook_figures, google_consent, google_token, youtube_channels, youtube_broadcasts),
            *(youtube_messages, youtube_videos),
        ],
        exception_handlers={GraphError: answer_graph_error, GoogleError: answer_google_error},
        openapi_config=None,
        logging_config=None,
    )
    app.state.world = world
    app.state.began = time.time()
    return app
