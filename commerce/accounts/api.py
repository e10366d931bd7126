"""Sign-in for programs and pages alike."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from commerce.accounts import service
from commerce.core.roles import Identity
from commerce.core.settings import Settings
from commerce.core.web import SIGN_IN_COOKIE, AnyRequest, access


class Login(msgspec.Struct):
    phone: Annotated[str, msgspec.Meta(max_length=40)]
    password: Annotated[str, msgspec.Meta(max_length=200)]


class GrantOut(msgspec.Struct):
    role: str
    commune: str | None


class SignedIn(msgspec.Struct):
    token: str
    """Send it as `Authorization: Bearer …`."""
    name: str
    roles: list[GrantOut]


class Me(msgspec.Struct):
    name: str
    phone: str
    roles: list[GrantOut]


def sign_in_cookie(token: str, settings: Settings) -> Cookie:
    return Cookie(
        key=SIGN_IN_COOKIE,
        value=token,
        max_age=int(service.SIGN_IN_LASTS.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=settings.production,
    )


def client_address(request: AnyRequest) -> str:
    """The caller's address; behind a proxy uvicorn has already put the forwarded one here."""
    return request.client.host if request.client else ""


def grants_out(identity: Identity) -> list[GrantOut]:
    return [GrantOut(role, commune) for role, commune in sorted(identity.grants, key=str)]


@post("/login", opt=access.public, status_code=200)
async def login(
    request: AnyRequest, data: JSONBody[Login], settings: NamedDependency[Settings]
) -> Response[SignedIn]:
    """Sets the cookie and returns the same token for programs. 401 `wrong_password`, 429 `too_many_tries`."""
    token, identity = await service.sign_in(
        data.phone,
        data.password,
        device=request.headers.get("user-agent", ""),
        address=client_address(request),
    )
    answer = SignedIn(token, identity.name, grants_out(identity))
    return Response(answer, cookies=[sign_in_cookie(token, settings)])


@post("/logout", opt=access.signed_in, status_code=204)
async def logout(identity: NamedDependency[Identity]) -> Response[None]:
    """Ends this device's sign-in."""
    await service.sign_out(identity)
    response: Response[None] = Response(None, status_code=204)
    response.delete_cookie(SIGN_IN_COOKIE)
    return response


@get("/me", opt=access.signed_in)
async def me(identity: NamedDependency[Identity]) -> Me:
    """Who the caller is and what they may do."""
    return Me(identity.name, identity.phone, grants_out(identity))


ROUTES = [login, logout, me]
