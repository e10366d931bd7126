"""The month's book on screen and as XLSX: a seller's, a commune's, the province's; and the table of rates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import msgspec
from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter, URLEncodedBody
from sqlalchemy import ColumnElement, false

from commerce.accounts.queries import office_commune
from commerce.catalog.models import Seller, SellerKind
from commerce.core import tables
from commerce.core.db import sessions
from commerce.core.errors import Invalid, MarketError, NotFound
from commerce.core.i18n import N_, current_language, translate
from commerce.core.roles import Identity, Role
from commerce.core.tables import Table
from commerce.core.web import AnyRequest, access, page, redirect
from commerce.orders.selling import own_seller
from commerce.settlement import queries, service
from commerce.settlement.queries import TAXES, WAYS, Month, Statement

READERS = access.roles(Role.SELLER, Role.OFFICER, Role.PROVINCE)
PROVINCE = access.roles(Role.PROVINCE)
NEEDED = {"seller": Role.SELLER, "office": Role.OFFICER, "province": Role.PROVINCE}

KINDS = {
    SellerKind.HOUSEHOLD: N_("Hộ kinh doanh"),
    SellerKind.COOPERATIVE: N_("Hợp tác xã"),
    SellerKind.COMPANY: N_("Công ty"),
}
MOVES = {
    "sold": N_("Bán"),
    "cancelled": N_("Huỷ, không nhận, hết hạn"),
    "refunded": N_("Hoàn tiền hàng đã bán"),
    "back": N_("Tiền chuyển lại người mua"),
    "paid cash": N_("Tiền mặt qua người giao"),
    "paid transfer": N_("Chuyển khoản, ngân hàng báo"),
    "paid hand": N_("Người bán ghi đã nhận"),
    "paid card": N_("Thẻ"),
    "tax vat": N_("Thuế giá trị gia tăng"),
    "tax pit": N_("Thuế thu nhập cá nhân"),
}
MonthQuery = Annotated[str, QueryParameter(name="month")]


@get([f"/{area}/book" for area in NEEDED], opt=READERS, include_in_schema=False)
async def book(
    request: AnyRequest, identity: NamedDependency[Identity], month: MonthQuery = ""
) -> Response[str]:
    """`/seller/book`, `/office/book`, `/province/book`: sums of a month, each explained by its lines."""
    area = request.url.path.split("/")[1]
    chosen = Month.parse(month)
    found = await _read(identity, area, chosen)
    return page(
        request,
        "seller/book.html",
        area=area,
        month=chosen,
        statements=found,
        total=_total(found),
        moves={kind: translate(name) for kind, name in MOVES.items()},
        ways=WAYS,
        taxes=TAXES,
    )


@get([f"/{area}/book/{{name:str}}" for area in NEEDED], opt=READERS, include_in_schema=False)
async def file(
    request: AnyRequest, name: FromPath[str], identity: NamedDependency[Identity]
) -> Response[bytes]:
    """`2026-11.xlsx`: sums, every move, every tax record."""
    words, _, ending = name.partition(".")
    chosen = Month.parse(words)
    if ending != "xlsx" or str(chosen) != words:
        raise NotFound
    found = await _read(identity, request.url.path.split("/")[1], chosen)
    async with sessions.read() as db:
        taxed = await queries.tax_lines(db, chosen, [one.seller_id for one in found])
    names = {one.seller_id: one.seller for one in found}
    return await tables.file(
        [sums_table(found), moves_table(found), tax_table(taxed, names)], "xlsx", f"so-thang-{chosen}"
    )


async def _read(identity: Identity, area: str, month: Month) -> list[Statement]:
    """Raises `NotFound` for a place that is not this person's."""
    if not identity.has(NEEDED[area], Role.ADMIN):
        raise NotFound
    async with sessions.read() as db:
        whose: ColumnElement[bool] | None = None
        if area == "seller":
            seller = await own_seller(db, identity)
            whose = Seller.id == seller.id if seller else false()
        elif area == "office":
            whose = Seller.commune_code == await office_commune(identity)
        return await queries.named(db, month, whose)


def _total(found: Sequence[Statement]) -> Statement:
    total = Statement(0)
    for one in found:
        total.sums.update(one.sums)
        total.counts.update(one.counts)
    return total


def sums_table(found: Sequence[Statement]) -> Table:
    columns = [N_("Xã, phường"), N_("Người bán"), N_("Loại người bán"), N_("Số đơn bán"), N_("Bán (₫)")]
    columns += [N_("Huỷ, không nhận, hết hạn (₫)"), N_("Hoàn tiền hàng đã bán (₫)"), N_("Còn lại (₫)")]
    columns += (
        [MOVES[f"paid {way}"] for way in WAYS] + [MOVES["back"]] + [MOVES[f"tax {tax}"] for tax in TAXES]
    )
    rows = [
        [
            *(one.commune, one.seller, translate(KINDS[SellerKind(one.kind)]), one.counts["sold"]),
            *(one.sold, one.cancelled, one.refunded, one.net),
            *(one.sums[f"paid {way}"] for way in WAYS),
            one.back,
            *(one.sums[f"tax {tax}"] for tax in TAXES),
        ]
        for one in found
    ]
    numbers = len(columns) - 3
    return Table("so-thang", [translate(one) for one in columns], rows, ["", "", "", *["#,##0"] * numbers])


def moves_table(found: Sequence[Statement]) -> Table:
    columns = [N_("Lúc"), N_("Mã đơn"), N_("Người bán"), N_("Việc"), N_("Số tiền (₫)")]
    rows = [
        [move.at, move.order, one.seller, translate(MOVES[move.kind]), move.amount]
        for one in found
        for move in one.moves
    ]
    return Table("tung-viec", [translate(one) for one in columns], rows, ["", "", "", "", "#,##0"])


def tax_table(lines: Sequence[queries.TaxLine], names: dict[int, str]) -> Table:
    columns = [
        N_("Lúc"),
        N_("Người bán"),
        N_("Hàng"),
        N_("Thuế"),
        N_("Mức (%)"),
        N_("Doanh thu (₫)"),
        N_("Tiền thuế (₫)"),
    ]
    rows = [
        [
            *(line.at, names[line.seller_id], line.line, translate(MOVES[f"tax {line.tax}"])),
            *(line.basis_points / 100, line.base, line.amount),
        ]
        for line in lines
    ]
    return Table(
        "thue", [translate(one) for one in columns], rows, ["", "", "", "", "0.00", "#,##0", "#,##0"]
    )


# ---- rates


class RateForm(msgspec.Struct):
    tax: str = ""
    kind: str = ""
    percent: Annotated[str, msgspec.Meta(max_length=8)] = ""
    valid_from: str = ""
    source: Annotated[str, msgspec.Meta(max_length=400)] = ""


@get("/province/tax-rates", opt=PROVINCE, include_in_schema=False)
async def rates(request: AnyRequest) -> Response[str]:
    return await _rates(request, RateForm(), {}, 200)


@post("/province/tax-rates", opt=PROVINCE, include_in_schema=False, status_code=303)
async def add_rate(
    request: AnyRequest, data: URLEncodedBody[RateForm], identity: NamedDependency[Identity]
) -> Response[str]:
    """A new rate from a coming day on; what is in force stays as it is."""
    lang = current_language.get()
    try:
        day = date.fromisoformat(data.valid_from) if data.valid_from else date.min
        await service.add_rate(identity, data.tax, data.kind, basis_points(data.percent), day, data.source)
    except ValueError:
        return await _rates(request, data, {"valid_from": translate(N_("Xin chọn ngày."))}, 422)
    except Invalid as error:
        return await _rates(request, data, {one.field: one.text(lang) for one in error.errors}, error.status)
    except MarketError as error:
        return await _rates(request, data, {"valid_from": error.detail_text(lang)}, error.status)
    return redirect("/province/tax-rates")


def basis_points(percent: str) -> int:
    """`1,5` is 150; -1 for what is no such number. Never a float: rates are money's neighbours."""
    whole, _, part = percent.strip().replace(",", ".").partition(".")
    if not (whole.isascii() and whole.isdigit()) or len(part) > 2 or (part and not part.isdigit()):
        return -1
    return int(whole) * 100 + int(part.ljust(2, "0") or 0)


async def _rates(request: AnyRequest, form: RateForm, errors: dict[str, str], status: int) -> Response[str]:
    async with sessions.read() as db:
        found = await queries.rates(db)
    return page(
        request,
        "province/tax_rates.html",
        status=status,
        rates=found,
        taxes=[(tax, translate(name)) for tax, name in service.TAXES.items()],
        kinds=[(kind.value, translate(name)) for kind, name in KINDS.items()],
        form=form,
        errors=errors,
    )


ROUTES = [book, file, rates, add_rate]
