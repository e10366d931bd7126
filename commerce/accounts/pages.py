"""Sign-in page, language choice, the published rules."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody

from commerce.accounts import service
from commerce.accounts.api import client_address, sign_in_cookie
from commerce.core.errors import MarketError, NotFound
from commerce.core.i18n import LANGUAGES, current_language
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import LANGUAGE_COOKIE, SIGN_IN_COOKIE, AnyRequest, access, page, redirect

# Where each role's work is; the first that fits is where a person lands after signing in.
PLACES = [
    (Role.HOST, "/host"),
    (Role.HELPER, "/helper"),
    (Role.OFFICER, "/office"),
    (Role.SELLER, "/seller"),
    (Role.PROVINCE, "/province"),
    (Role.ADMIN, "/admin"),
]


class LoginForm(msgspec.Struct):
    phone: Annotated[str, msgspec.Meta(max_length=40)] = ""
    password: Annotated[str, msgspec.Meta(max_length=200)] = ""
    next: str = ""


def place_of(identity: Identity) -> str:
    return next((place for role, place in PLACES if identity.has(role)), "/")


@get("/login", opt=access.public)
async def login_page(
    request: AnyRequest, viewer: NamedDependency[Identity | None], next: FromQuery[str] = ""
) -> Response[str]:
    if viewer is not None:
        return redirect(next or place_of(viewer))
    return page(request, "accounts/login.html", next=next, phone="", error=None)


@post("/login", opt=access.public)
async def login_form(
    request: AnyRequest, data: URLEncodedBody[LoginForm], settings: NamedDependency[Settings]
) -> Response[str]:
    try:
        token, identity = await service.sign_in(
            data.phone,
            data.password,
            device=request.headers.get("user-agent", ""),
            address=client_address(request),
        )
    except MarketError as error:
        message = error.detail_text(current_language.get())
        return page(
            request,
            "accounts/login.html",
            status=error.status,
            next=data.next,
            phone=data.phone,
            error=message,
        )
    response = redirect(data.next or place_of(identity))
    response.set_cookie(sign_in_cookie(token, settings))
    return response


@post("/logout", opt=access.public)
async def logout_form(viewer: NamedDependency[Identity | None]) -> Response[str]:
    if viewer is not None:
        await service.sign_out(viewer)
    response = redirect("/")
    response.delete_cookie(SIGN_IN_COOKIE)
    return response


@get("/language/{lang:str}", opt=access.public)
async def choose_language(lang: FromPath[str], next: FromQuery[str] = "/") -> Response[str]:
    """Remembers the visitor's language for a year."""
    if lang not in LANGUAGES:
        raise NotFound
    response = redirect(next)
    response.set_cookie(Cookie(LANGUAGE_COOKIE, lang, max_age=365 * 86_400, samesite="lax"))
    return response


@get("/rules", opt=access.public)
async def rules(request: AnyRequest) -> Response[str]:
    return page(request, "market/rules.html")


@get("/privacy", opt=access.public)
async def privacy(request: AnyRequest) -> Response[str]:
    return page(request, "market/privacy.html")


ROUTES: list[Any] = [login_page, login_form, logout_form, choose_language, rules, privacy]
