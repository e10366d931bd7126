"""Sign-in, one's own account, the accounts of a place, language choice."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, URLEncodedBody

from commerce.accounts import codes, queries, service
from commerce.accounts import identity as identity_checks
from commerce.accounts.api import client_address, sign_in_cookie
from commerce.accounts.errors import DocumentKnown, PhoneTaken, UnknownCommune, UnknownPerson, WrongPassword
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError, NotFound
from commerce.core.health import ask_engines
from commerce.core.i18n import LANGUAGES, N_, current_language, translate
from commerce.core.outbox import dead_messages
from commerce.core.roles import Identity, Role
from commerce.core.settings import Settings
from commerce.core.web import LANGUAGE_COOKIE, SIGN_IN_COOKIE, AnyRequest, access, page, redirect
from commerce.policies import service as policies
from commerce.policies.documents import TITLES

# Where each role's work is; the first that fits is where a person lands after signing in.
PLACES = [
    (Role.HOST, "/host"),
    (Role.HELPER, "/helper"),
    (Role.OFFICER, "/office"),
    (Role.SELLER, "/seller"),
    (Role.PROVINCE, "/province"),
    (Role.ADMIN, "/admin"),
]


ROLE_NAMES = {
    Role.HOST: N_("Người dẫn phiên"),
    Role.HELPER: N_("Trợ lý phiên"),
    Role.OFFICER: N_("Cán bộ xã"),
    Role.SELLER: N_("Người bán"),
    Role.PROVINCE: N_("Cán bộ tỉnh"),
    Role.ADMIN: N_("Quản trị"),
}


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
    return await _login(request, next=next)


async def _login(
    request: AnyRequest, *, next: str, phone: str = "", error: str | None = None, status: int = 200
) -> Response[str]:
    """The form; in a demo market also its made-up people."""
    demo = await queries.demo_people() if request.app.state.settings.demo else []
    names = {role: translate(ROLE_NAMES[role]) for role in Role}
    return page(
        request,
        "accounts/login.html",
        status=status,
        next=next,
        phone=phone,
        error=error,
        demo_logins=[(names[role], name, number) for role, name, number in demo],
    )


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
        return await _login(request, next=data.next, phone=data.phone, error=message, status=error.status)
    response = redirect(data.next or place_of(identity))
    response.set_cookie(sign_in_cookie(token, settings))
    return response


class CodeForm(msgspec.Struct):
    phone: Annotated[str, msgspec.Meta(max_length=40)] = ""
    code: Annotated[str, msgspec.Meta(max_length=20)] = ""
    next: str = ""


@post("/login/code", opt=access.public)
async def send_code(request: AnyRequest, data: URLEncodedBody[CodeForm]) -> Response[str]:
    """Sends a code to the phone and asks for it; the page is the same whether the phone has an account."""
    await codes.send_code(data.phone, request.app.state.sms)
    return page(request, "accounts/code.html", phone=data.phone, next=data.next, error=None)


@post("/login/code/check", opt=access.public)
async def check_code(
    request: AnyRequest, data: URLEncodedBody[CodeForm], settings: NamedDependency[Settings]
) -> Response[str]:
    try:
        token, identity = await codes.sign_in_with_code(
            data.phone,
            data.code,
            device=request.headers.get("user-agent", ""),
            address=client_address(request),
        )
    except MarketError as error:
        message = error.detail_text(current_language.get())
        return page(
            request,
            "accounts/code.html",
            status=error.status,
            phone=data.phone,
            next=data.next,
            error=message,
        )
    response = redirect(data.next or place_of(identity))
    response.set_cookie(sign_in_cookie(token, settings))
    return response


@get("/account", opt=access.signed_in)
async def account(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """The person's own devices and password."""
    return await _account(request, identity)


async def _account(
    request: AnyRequest,
    identity: Identity,
    *,
    status: int = 200,
    error: str | None = None,
    done: bool = False,
) -> Response[str]:
    async with sessions.read() as db:
        accepted = await policies.acceptances(db, identity.person_id)
    return page(
        request,
        "accounts/account.html",
        status=status,
        devices=await queries.devices(identity),
        accepted=accepted,
        policy_names={name: translate(title) for name, title in TITLES.items()},
        error=error,
        done=done,
    )


class PasswordForm(msgspec.Struct):
    old: Annotated[str, msgspec.Meta(max_length=200)] = ""
    new: Annotated[str, msgspec.Meta(max_length=200)] = ""


@post("/account/password", opt=access.signed_in, status_code=200)
async def change_password(
    request: AnyRequest, data: URLEncodedBody[PasswordForm], identity: NamedDependency[Identity]
) -> Response[str]:
    error, status = None, 200
    try:
        await service.change_password(identity, data.old, data.new)
    except Invalid as fault:
        error, status = fault.errors[0].text(current_language.get()), fault.status
    except WrongPassword:
        error, status = translate(N_("Mật khẩu hiện tại chưa đúng.")), 422
    return await _account(request, identity, status=status, error=error, done=error is None)


@post("/account/devices/{device:int}/out", opt=access.signed_in)
async def device_out(identity: NamedDependency[Identity], device: FromPath[int]) -> Response[str]:
    """Signs out one of the person's devices."""
    await service.sign_out(identity, device)
    return redirect("/account")


OFFICE = access.roles(Role.OFFICER, Role.PROVINCE)


class AccountForm(msgspec.Struct):
    phone: Annotated[str, msgspec.Meta(max_length=40)] = ""
    name: Annotated[str, msgspec.Meta(max_length=120)] = ""
    role: Annotated[str, msgspec.Meta(max_length=20)] = ""
    commune: Annotated[str, msgspec.Meta(max_length=10)] = ""


@get("/accounts", opt=OFFICE)
async def people(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Accounts of the communes one looks after: open, check identity, give a new password, close."""
    return await _people(request, identity)


@post("/accounts", opt=OFFICE, status_code=200)
async def open_account(
    request: AnyRequest, data: URLEncodedBody[AccountForm], identity: NamedDependency[Identity]
) -> Response[str]:
    try:
        password = await service.open_account(
            data.phone, data.name, data.role, data.commune or None, by=identity
        )
    except Invalid as error:
        faults = {fault.field: fault.text(current_language.get()) for fault in error.errors}
        return await _people(request, identity, status=error.status, form=data, errors=faults)
    except (PhoneTaken, UnknownCommune) as error:
        field = "phone" if isinstance(error, PhoneTaken) else "commune"
        faults = {field: error.detail_text(current_language.get())}
        return await _people(request, identity, status=error.status, form=data, errors=faults)
    return await _people(request, identity, password=(data.name, password))


@post("/accounts/{person:int}/password", opt=OFFICE, status_code=200)
async def reset_password(
    request: AnyRequest, identity: NamedDependency[Identity], person: FromPath[int]
) -> Response[str]:
    password = await service.reset_password(identity, person)
    name = next(account.name for account in await queries.accounts(identity) if account.id == person)
    return await _people(request, identity, password=(name, password))


class DocumentForm(msgspec.Struct):
    """What is typed while the document lies on the desk; its number is hashed and forgotten."""

    kind: Annotated[str, msgspec.Meta(max_length=20)] = ""
    number: Annotated[str, msgspec.Meta(max_length=40)] = ""
    verdict: Annotated[str, msgspec.Meta(max_length=10)] = ""
    note: Annotated[str, msgspec.Meta(max_length=600)] = ""

    def looked(self) -> identity_checks.Looked:
        return identity_checks.Looked(self.kind, self.number, self.verdict, self.note)


@get("/accounts/{person:int}/identity", opt=OFFICE)
async def identity_page(
    request: AnyRequest, identity: NamedDependency[Identity], person: FromPath[int]
) -> Response[str]:
    """The record of one person's identity, and the form for looking at a document."""
    return await _identity_page(request, identity, person, DocumentForm())


@post("/accounts/{person:int}/identity", opt=OFFICE)
async def verify_identity(
    request: AnyRequest,
    identity: NamedDependency[Identity],
    person: FromPath[int],
    data: URLEncodedBody[DocumentForm],
    settings: NamedDependency[Settings],
) -> Response[str]:
    try:
        await service.verify_identity(identity, person, settings.secret_key, data.looked())
    except (Invalid, DocumentKnown) as error:
        return await _identity_page(request, identity, person, data, error)
    return redirect(f"/accounts/{person}/identity")


async def _identity_page(
    request: AnyRequest,
    identity: Identity,
    person: int,
    form: DocumentForm,
    error: MarketError | None = None,
) -> Response[str]:
    found = next((one for one in await queries.accounts(identity) if one.id == person), None)
    if found is None:
        raise UnknownPerson
    async with sessions.read() as db:
        record = await identity_checks.checks(db, person_ids=[person])
    return page(
        request,
        "accounts/identity.html",
        status=error.status if error else 200,
        account=found,
        checks=record.get(("person", person), []),
        form=form,
        errors=faults_of(error),
    )


def faults_of(error: MarketError | None) -> dict[str, str]:
    """A sentence for each field; what belongs to no field is said at the document's number."""
    language = current_language.get()
    if isinstance(error, Invalid):
        return {fault.field: fault.text(language) for fault in error.errors}
    return {"number": error.detail_text(language)} if error else {}


@post("/accounts/{person:int}/active/{active:int}", opt=OFFICE)
async def set_active(
    identity: NamedDependency[Identity], person: FromPath[int], active: FromPath[int]
) -> Response[str]:
    await service.set_active(identity, person, bool(active))
    return redirect("/accounts")


async def _people(
    request: AnyRequest, identity: Identity, *, status: int = 200, **more: Any
) -> Response[str]:
    context: dict[str, Any] = {"form": AccountForm(), "errors": {}, "password": None} | more
    return page(
        request,
        "accounts/people.html",
        status=status,
        accounts=await queries.accounts(identity),
        roles=[role for role in Role if role in service.LOCAL_ROLES or identity.has(Role.ADMIN)],
        communes=sorted(queries.scope(identity) or ()),
        **context,
    )


@get("/admin", opt=access.roles(Role.ADMIN))
async def admin(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Are the engines well, is any news undelivered, who has an account."""
    engines = await ask_engines(request)
    async with sessions.read() as db:
        dead = await dead_messages(db)
    return page(
        request, "admin/index.html", engines=engines, dead=dead, accounts=await queries.accounts(identity)
    )


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
    response.set_cookie(Cookie(key=LANGUAGE_COOKIE, value=lang, max_age=365 * 86_400, samesite="lax"))
    return response


ROUTES: list[Any] = [
    login_page,
    login_form,
    send_code,
    check_code,
    account,
    change_password,
    device_out,
    people,
    open_account,
    reset_password,
    identity_page,
    verify_identity,
    set_active,
    admin,
    logout_form,
    choose_language,
]
