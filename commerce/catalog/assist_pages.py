"""Assisted mode on screen: the office's list, one seller's goods, and the page behind the farmer's link."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody
from sqlalchemy import select

from commerce.accounts.api import client_address
from commerce.accounts.errors import SmsUnavailable
from commerce.accounts.pages import faults_of
from commerce.accounts.queries import office_commune
from commerce.catalog import assisting, queries, service, words
from commerce.catalog.errors import NothingToConfirm
from commerce.catalog.forms import SellerFields
from commerce.catalog.models import ListingState, Seller, SellerKind
from commerce.catalog.rules import OFFICE as OFFICERS
from commerce.catalog.rules import locked_seller
from commerce.communes.models import Commune
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError, TooMany
from commerce.core.i18n import N_, translate
from commerce.core.limits import RateLimit
from commerce.core.roles import Identity
from commerce.core.settings import Settings
from commerce.core.web import AnyRequest, access, page, redirect

OFFICE = access.roles(*OFFICERS)

# A link has 144 bits; this only keeps a machine that tries from costing anything.
per_address = RateLimit(per_second=0.5, burst=30)


class SellerForm(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    kind: Annotated[str, msgspec.Meta(max_length=20)] = SellerKind.HOUSEHOLD
    phone: Annotated[str, msgspec.Meta(max_length=40)] = ""
    address: Annotated[str, msgspec.Meta(max_length=300)] = ""
    registration: Annotated[str, msgspec.Meta(max_length=60)] = ""
    bank_bin: Annotated[str, msgspec.Meta(max_length=10)] = ""
    bank_account: Annotated[str, msgspec.Meta(max_length=40)] = ""
    bank_holder: Annotated[str, msgspec.Meta(max_length=100)] = ""

    def fields(self) -> SellerFields:
        """Without an account nothing is said of one: money then comes by cash on delivery."""
        given = SellerFields(
            name=self.name,
            kind=self.kind,
            phone=self.phone,
            address=self.address,
            registration=self.registration,
        )
        if self.bank_account.strip():
            given.bank_bin, given.bank_account = self.bank_bin, self.bank_account
            given.bank_holder = self.bank_holder
        return given


# ---- the office's side


@get("/office/assist", opt=OFFICE, include_in_schema=False)
async def assist(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Whose word is waited for, who said no, all sellers of the commune, and what was done lately."""
    code = await office_commune(identity)
    async with sessions.read() as db:
        return page(
            request,
            "office/assist.html",
            commune=await db.get_one(Commune, code),
            waiting=await assisting.waiting(db, code),
            refusals=await assisting.refusals(db, code),
            sellers=list(
                await db.scalars(select(Seller).where(Seller.commune_code == code).order_by(Seller.sort_key))
            ),
            acts=await assisting.log(db, code, 30),
            act_text=words.act,
        )


@get("/office/assist/new", opt=OFFICE, include_in_schema=False)
async def new_seller(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """A stall for a farmer who comes to the office."""
    await office_commune(identity)
    return await _new_seller(request, SellerForm())


@post("/office/assist/new", opt=OFFICE, include_in_schema=False)
async def open_stall(
    request: AnyRequest, data: URLEncodedBody[SellerForm], identity: NamedDependency[Identity]
) -> Response[str]:
    try:
        made = await service.register_seller(identity, await office_commune(identity), data.fields())
    except Invalid as error:
        return await _new_seller(request, data, error)
    return redirect(f"/office/assist/{made.id}")


async def _new_seller(
    request: AnyRequest, form: SellerForm, error: MarketError | None = None
) -> Response[str]:
    async with sessions.read() as db:
        banks = [(bank.bin or "", bank.short_name) for bank in await queries.banks_for_transfer(db)]
    return page(
        request,
        "office/assist_new.html",
        status=error.status if error else 200,
        form=form,
        errors=faults_of(error),
        kinds=[(kind.value, words.seller_kind(kind)) for kind in SellerKind],
        banks=banks,
    )


@get("/office/assist/{seller:int}", opt=OFFICE, include_in_schema=False)
async def assist_one(
    request: AnyRequest,
    seller: FromPath[int],
    identity: NamedDependency[Identity],
    sent: Annotated[str, QueryParameter()] = "",
) -> Response[str]:
    """One seller's goods, worked by the office in their name. `sent`: how the message to the phone went."""
    async with sessions.read() as db:
        found = await locked_seller(db, identity, seller)
        identity.must(found.commune_code, *OFFICERS)
        waiting = [one for one in await assisting.waiting(db, found.commune_code) if one.seller_id == seller]
        return page(
            request,
            "office/assist_one.html",
            seller=found,
            kind=words.seller_kind(found.kind),
            approved=found.state == ListingState.APPROVED,
            products=await queries.listings(db, seller_id=seller),
            waiting=waiting[0] if waiting else None,
            acts=await assisting.log_of(db, seller),
            act_text=words.act,
            fault=None,
            fault_text="",
            tap_key=lambda: secrets.token_urlsafe(9),
            told=SENT.get(sent),
        )


SENT = {
    "yes": ("ok", N_("Đã gửi tin nhắn có liên kết đến máy của người bán.")),
    "no": ("bad", N_("Chưa gửi được tin nhắn. Xin thử lại sau ít phút.")),
    "often": ("warn", N_("Đã gửi nhiều tin trong một giờ. Xin gọi điện nhắc người bán, rồi gửi lại sau.")),
    "none": ("ok", N_("Người bán đã trả lời mọi việc. Không cần gửi thêm tin nhắn.")),
}


@post("/office/assist/{seller:int}/ask", opt=OFFICE, include_in_schema=False)
async def ask(
    request: AnyRequest,
    seller: FromPath[int],
    identity: NamedDependency[Identity],
    settings: NamedDependency[Settings],
) -> Response[str]:
    """Sends the link; the page then says how it went."""
    sent = "yes"
    try:
        await assisting.ask(identity, seller, request.app.state.sms, settings.public_url)
    except SmsUnavailable:
        sent = "no"
    except TooMany:
        sent = "often"
    except NothingToConfirm:
        sent = "none"
    return redirect(f"/office/assist/{seller}?sent={sent}")


# ---- the farmer's side


class Word(msgspec.Struct):
    agreed: Annotated[str, msgspec.Meta(max_length=3)] = ""
    note: Annotated[str, msgspec.Meta(max_length=600)] = ""


PRIVATE = {"Referrer-Policy": "no-referrer"}
"""The address is the key: it goes to no other site."""


@get("/confirm/{token:str}", opt=access.public, include_in_schema=False)
async def confirm_page(request: AnyRequest, token: FromPath[str]) -> Response[str]:
    """What was done in the farmer's name. Opening it answers nothing: phones look at links by themselves."""
    per_address.take(client_address(request))
    return await _confirm(request, token)


@post("/confirm/{token:str}", opt=access.public, include_in_schema=False, status_code=200)
async def confirm(request: AnyRequest, token: FromPath[str], data: URLEncodedBody[Word]) -> Response[str]:
    """Yes or no, once."""
    per_address.take(client_address(request))
    if data.agreed not in ("yes", "no"):
        return await _confirm(request, token, translate(N_("Xin chọn đồng ý hay không.")))
    agreed = data.agreed == "yes"
    seller = await assisting.answer(token, agreed=agreed, note=data.note)
    return page(request, "office/confirmed.html", headers=PRIVATE, seller=seller, agreed=agreed)


async def _confirm(request: AnyRequest, token: str, fault: str = "") -> Response[str]:
    shown = await assisting.shown(token)
    async with sessions.read() as db:
        commune = await db.get_one(Commune, shown.commune_code)
        pages: list[Any] = [
            await queries.product_page(db, code, on_sale_only=False) for code in shown.products
        ]
    return page(
        request,
        "office/confirm.html",
        status=422 if fault else 200,
        headers=PRIVATE,
        shown=shown,
        commune=commune,
        pages=pages,
        act_text=words.act,
        fault=fault,
    )


ROUTES = [assist, new_seller, open_stall, assist_one, ask, confirm_page, confirm]
