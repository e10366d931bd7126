"""What every request passes: its id, language, visitor, signed-in person, and the rendering of errors.

One exception handler turns every error into a page, a fragment (HTMX) or problem+json, by who asks.
Unknown errors are logged with their traceback and answered 500 without details.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import structlog
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from commerce.core import access
from commerce.core.errors import (
    Busy,
    FieldError,
    Forbidden,
    Invalid,
    MarketError,
    NotFound,
    SignInNeeded,
    TooLarge,
)
from commerce.core.html import AnyRequest, page, redirect
from commerce.core.i18n import N_, choose_language, current_language
from commerce.core.outage import is_outage
from commerce.core.roles import Identity
from commerce.core.settings import Settings
from commerce.core.storage import Storage

__all__ = [
    "AnyRequest",
    "RequestFrame",
    "access",
    "handle_error",
    "page",
    "provide_identity",
    "provide_settings",
    "provide_storage",
    "provide_viewer",
    "provide_visitor",
    "redirect",
]

VISITOR_COOKIE = "visitor"
SIGN_IN_COOKIE = "sign_in"
LANGUAGE_COOKIE = "lang"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")

REQUESTS = Counter("chophien_requests_total", "HTTP requests", ["method", "status"])
SECONDS = Histogram(
    "chophien_request_seconds",
    "Time to answer",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

log = structlog.get_logger()

FindIdentity = Callable[[str], Awaitable[Identity | None]]


class MethodNotAllowed(MarketError):
    code = "method_not_allowed"
    status = 405
    title = N_("Không dùng được cách này")
    detail = N_("Địa chỉ này không nhận kiểu yêu cầu vừa gửi.")


class BadRequest(MarketError):
    code = "bad_request"
    status = 400
    title = N_("Không đọc được yêu cầu")
    detail = N_("Nội dung gửi lên không đúng định dạng (cần JSON mã hoá UTF-8). Xin kiểm tra rồi gửi lại.")


class Unexpected(MarketError):
    code = "internal"
    status = 500
    title = N_("Có lỗi ngoài dự tính")
    detail = N_("Lỗi đã được ghi lại. Xin thử lại; nếu vẫn bị, hãy báo mã {request_id} cho cán bộ xã.")


class CrossSite(Forbidden):
    code = "cross_site"
    detail = N_("Yêu cầu đến từ một trang khác nên không được nhận. Xin mở lại trang của chợ rồi làm lại.")


class RequestFrame:
    """Around the whole application, so that unknown addresses pass it too: id, language, visitor and identity
    into the scope's state; security headers out."""

    def __init__(self, app: ASGIApp, settings: Settings, find_identity: FindIdentity) -> None:
        self.app = app
        self.settings = settings
        self.find_identity = find_identity
        self.headers = [
            (name.lower().encode(), value.encode()) for name, value in _security_headers(settings).items()
        ]
        self.visitor_attributes = f"; HttpOnly; Max-Age={400 * 86_400}; Path=/; SameSite=lax" + (
            "; Secure" if settings.production else ""
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        request: AnyRequest = Request(scope)
        request_id = _given_id(request.headers.get("x-request-id")) or secrets.token_urlsafe(9)
        language = choose_language(
            request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language")
        )
        token = current_language.set(language)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        state = scope["state"]
        state["request_id"] = request_id
        state["identity"] = None
        status = 500

        async def send_framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._finish_headers(message, state, request_id)
            await send(message)

        try:
            refuse_cross_site(request, self.settings)
            bearer = _token(request)
            if bearer:
                state["identity"] = await self.find_identity(bearer)
            await self.app(scope, receive, send_framed)
        except Exception as error:
            # Errors before the route is reached (ours or the database's) are rendered here as well.
            response = handle_error(request, error)
            await response.to_asgi_response(None, request)(scope, receive, send_framed)
        finally:
            elapsed = time.perf_counter() - started
            REQUESTS.labels(request.method, status).inc()
            SECONDS.observe(elapsed)
            if (status >= 500 and status != 503) or elapsed > 1:  # "busy" is counted, not logged one by one
                log.warning(
                    "request",
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(elapsed * 1000),
                )
            current_language.reset(token)
            structlog.contextvars.unbind_contextvars("request_id")

    def _finish_headers(
        self, message: HTTPResponseStartEvent, state: dict[str, Any], request_id: str
    ) -> None:
        """Works on the raw list: Litestar's header object costs more than the rest of a small request."""
        headers = list(message["headers"])
        given = {name.lower() for name, _ in headers}
        headers.append((b"x-request-id", request_id.encode()))
        headers += [header for header in self.headers if header[0] not in given]
        if "new_visitor" in state:
            cookie = f"{VISITOR_COOKIE}={state['new_visitor']}{self.visitor_attributes}"
            headers.append((b"set-cookie", cookie.encode()))
        message["headers"] = headers


def _given_id(text: str | None) -> str | None:
    return text if text and _ID.fullmatch(text) else None


def _token(request: AnyRequest) -> str | None:
    authorization = request.headers.get("authorization", "")
    if authorization.startswith("Bearer "):
        return authorization[7:].strip()
    return request.cookies.get(SIGN_IN_COOKIE)


def refuse_cross_site(request: AnyRequest, settings: Settings) -> None:
    """A form on another site cannot act with our cookies. Programs send no such header.

    Raises `CrossSite`.
    """
    if request.method in SAFE_METHODS or not request.cookies:
        return
    if request.headers.get("sec-fetch-site") in ("same-origin", "none"):
        return
    origin = request.headers.get("origin")
    if origin is None and "sec-fetch-site" not in request.headers:
        return
    allowed = {urlsplit(settings.public_url).netloc, request.headers.get("host", "")}
    if origin is None or urlsplit(origin).netloc not in allowed:
        raise CrossSite


def _security_headers(settings: Settings) -> dict[str, str]:
    sockets = (
        f"{settings.live_url} {settings.extra.get('VIDEO_URL', '')}" if settings.production else "ws: wss:"
    )
    media = settings.extra.get("MEDIA_URL", "")
    csp = (
        f"default-src 'self'; img-src 'self' data: blob: {media}; media-src 'self' blob: {media}; "
        f"connect-src 'self' {media} {sockets}; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'self' https:; frame-ancestors 'none'"
    )
    headers = {
        "Content-Security-Policy": csp,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "strict-origin-when-cross-origin",
        "Permissions-Policy": "camera=(self), microphone=(self), geolocation=(self)",
    }
    if settings.production:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    return headers


# ---- dependencies every handler may name


def provide_viewer(request: AnyRequest) -> Identity | None:
    identity: Identity | None = request.scope["state"].get("identity")
    return identity


def provide_identity(request: AnyRequest) -> Identity:
    identity = provide_viewer(request)
    if identity is None:
        raise SignInNeeded
    return identity


def provide_visitor(request: AnyRequest) -> str:
    """A random id of this browser, for honest counts only; made on first use and set as a cookie."""
    state = request.scope["state"]
    known = _given_id(request.cookies.get(VISITOR_COOKIE)) or state.get("new_visitor")
    if known is None:
        known = state["new_visitor"] = secrets.token_urlsafe(12)
    return str(known)


def provide_settings(request: AnyRequest) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def provide_storage(request: AnyRequest) -> Storage:
    storage: Storage = request.app.state.storage
    return storage


# ---- errors


def handle_error(request: AnyRequest, error: Exception) -> Response[Any]:
    """The one place where an error becomes an answer."""
    known = as_market_error(error)
    state = request.scope["state"]
    request_id = state.get("request_id", "")
    if known is None:
        log.error("unexpected", path=request.scope["path"], exc_info=error)
        known = Unexpected(request_id=request_id)
    headers = {"Cache-Control": "no-store"}
    if known.retry_after is not None:
        headers["Retry-After"] = str(known.retry_after)
    if wants_json(request):
        return _problem(known, request_id, headers)
    if isinstance(known, SignInNeeded) and request.method in SAFE_METHODS:
        return redirect(f"/login?next={request.scope['path']}")
    name = "errors/fragment.html" if request.headers.get("hx-request") else "errors/page.html"
    lang = current_language.get()
    problem = {
        "status": known.status,
        "code": known.code,
        "title": known.title_text(lang),
        "detail": known.detail_text(lang),
        "request_id": request_id,
        "errors": [],
        "unmet": [],
        **known.extra(lang),
    }
    return page(request, name, status=known.status, headers=headers, problem=problem)


def wants_json(request: AnyRequest) -> bool:
    path = request.scope["path"]
    if path.startswith(("/api/", "/webhooks/")) or path in ("/readyz", "/healthz"):
        return True
    accept = request.headers.get("accept", "")
    return "json" in accept and "html" not in accept


def _problem(error: MarketError, request_id: str, headers: dict[str, str]) -> Response[Any]:
    lang = current_language.get()
    body = {
        "type": f"urn:chophien:{error.code}",
        "title": error.title_text(lang),
        "status": error.status,
        "detail": error.detail_text(lang),
        "code": error.code,
        "request_id": request_id,
        **error.extra(lang),
    }
    return Response(body, media_type="application/problem+json", status_code=error.status, headers=headers)


def as_market_error(error: Exception) -> MarketError | None:
    """What we know to say about an error; None for a real surprise."""
    if isinstance(error, MarketError):
        return error
    if isinstance(error, ValidationException):
        return _invalid(error)
    if isinstance(error, HTTPException):
        known = {
            404: NotFound,
            405: MethodNotAllowed,
            413: TooLarge,
            400: BadRequest,
            401: SignInNeeded,
            403: Forbidden,
        }
        kind = known.get(error.status_code)
        return kind() if kind else None
    if isinstance(error, UnicodeDecodeError | msgspec.DecodeError):
        return BadRequest()
    if is_outage(error):
        log.warning("outage", error=repr(error)[:300])
        return Busy()
    return None


_MISSING = re.compile(r"missing required field `([^`]+)`")
_PATH = re.compile(r" - at `\$?\.?([^`]*)`")
_EXPECTED = re.compile(r"Expected `([^`]+)`")
_KINDS = {
    "int": N_("Cần một số nguyên."),
    "str": N_("Cần một dòng chữ."),
    "bool": N_("Cần đúng hoặc sai (true/false)."),
    "array": N_("Cần một danh sách."),
    "object": N_("Cần một nhóm thông tin."),
}


def field_error(message: str, where: str = "") -> FieldError:
    """msgspec's sentence about a body as ours: which field, and what is wanted."""
    path = _PATH.search(message)
    field = path.group(1) if path else where
    missing = _MISSING.search(message)
    if missing:
        field = f"{field}.{missing.group(1)}" if field else missing.group(1)
        return FieldError(field, N_("Chưa có thông tin này."))
    expected = _EXPECTED.search(message)
    if expected:
        kind = expected.group(1).split(" ")[0].split("|")[0]
        if kind in _KINDS:
            return FieldError(field, _KINDS[kind])
    return FieldError(field, N_("Giá trị không nhận được."))


def _field_name(key: str) -> str:
    """Litestar calls the body `data`; the caller does not."""
    return "" if key == "data" else key.removeprefix("data.")


def _invalid(error: ValidationException) -> MarketError:
    faults = error.extra if isinstance(error.extra, list) else []
    fields = [
        field_error(str(fault.get("message", "")), _field_name(str(fault.get("key", ""))))
        for fault in faults
        if isinstance(fault, dict)
    ]
    if not fields:
        if "decod" in str(error.detail).lower() or "malformed" in str(error.detail).lower():
            return BadRequest()
        fields = [field_error(str(error.detail))]
    return Invalid(*fields)
