"""The order as a document to keep: everything that the law wants a buyer to have, as PDF."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from commerce.communes import provinces
from commerce.core import clock, tables
from commerce.core.db import sessions
from commerce.core.html import day, money, quantity
from commerce.core.i18n import N_, translate
from commerce.core.settings import Settings
from commerce.core.web import access
from commerce.orders import service, words
from commerce.orders.models import OrderState
from commerce.orders.queries import OrderView, order_by_key
from commerce.orders.terms import terms_of
from commerce.payments.models import Method, PaymentState, RefundState

if TYPE_CHECKING:
    from commerce.core.papers import Paper


@dataclass(frozen=True, slots=True)
class Summary:
    found: OrderView
    terms: dict[str, Any]
    place: str
    """Where it is delivered to."""


async def read_summary(code: str, key: str) -> Summary:
    """Raises `NotFound` for anybody but the holder of the key."""
    async with sessions.read() as db:
        found = await order_by_key(db, code, key)
        terms = await terms_of(db, found.order.id)
        order = found.order
        commune = order.commune_code
        if order.province_code == provinces.OURS and commune:
            commune = await service.commune_name(db, commune)
    province = provinces.NAMES.get(order.province_code, order.province_code)
    return Summary(found, terms, ", ".join(part for part in (order.street, commune, province) if part))


@get("/orders/{code:str}/summary.pdf", opt=access.public, include_in_schema=False)
async def summary(
    code: FromPath[str],
    settings: NamedDependency[Settings],
    key: Annotated[str, QueryParameter()] = "",
) -> Response[bytes]:
    """The order's summary, for the holder of its key, for as long as the order is kept."""
    found = await read_summary(code, key)
    body = await asyncio.to_thread(as_pdf, found, settings)
    return tables.attachment(body, f"don-hang-{code.upper()}.pdf", tables.PDF, shown=True)


def as_pdf(summary: Summary, settings: Settings) -> bytes:
    from commerce.core.papers import Paper

    order, seller = summary.found.order, summary.terms["seller"]
    title = translate(N_("Đơn hàng {code}")).format(code=order.code)
    paper = Paper(f"Chợ Phiên · {settings.public_url} · {title}")
    if order.demo:
        paper.line_of(translate(N_("Chợ minh hoạ: đơn hàng là giả")), 9, "B")
    paper.line_of(translate(N_("Hợp đồng mua bán từ xa")), 10, "", 0)
    paper.line_of(title, 18, "B", 0)
    placed = clock.local(order.placed_at)
    paper.line_of(
        translate(N_("Đặt lúc {time} ngày {day}. Tình trạng: {state}.")).format(
            time=f"{placed:%H:%M}",
            day=f"{placed:%d/%m/%Y}",
            state=translate(words.STATE[OrderState(order.state)]).lower(),
        ),
        10,
        "",
        4,
    )
    _facts(
        paper,
        N_("Người bán"),
        [
            (N_("Tên"), seller["name"]),
            (N_("Địa chỉ"), ", ".join(part for part in (seller["address"], seller["commune"]) if part)),
            (N_("Điện thoại"), seller["phone"]),
            (N_("Mã số thuế, đăng ký"), seller["registration"] or translate(N_("người bán chưa khai"))),
        ],
    )
    _facts(
        paper,
        N_("Người mua"),
        [
            (N_("Tên"), order.buyer_name),
            (N_("Điện thoại"), order.buyer_phone),
            (N_("Giao đến"), summary.place or translate(N_("chưa có địa chỉ"))),
            (N_("Lời nhắn"), order.note),
        ],
    )
    _goods(paper, summary)
    _facts(paper, N_("Trả tiền và giao hàng"), _paying(summary))
    _facts(
        paper,
        N_("Đổi trả và khiếu nại"),
        [
            (
                N_("Khi nhận"),
                translate(N_("Được xem hàng trước khi trả tiền; hàng sai, hỏng, thiếu thì từ chối nhận.")),
            ),
            (
                N_("Sau khi nhận"),
                translate(
                    N_(
                        "Khiếu nại ngay trên trang đơn hàng, kèm ảnh. Người bán hoặc cán bộ xã trả lời trong "
                        "2 ngày làm việc; hàng lỗi được đổi hoặc hoàn tiền."
                    )
                ),
            ),
            (N_("Huỷ đơn"), translate(N_("Được huỷ không mất gì khi người bán chưa đóng gói."))),
        ],
    )
    agreed = clock.local(order.consent_at)
    paper.line_of(
        translate(
            N_(
                "Người mua xác nhận đơn và đồng ý cho người bán dùng tên, điện thoại, địa chỉ để giao hàng "
                "lúc {time} ngày {day}. Chợ Phiên giữ dữ liệu đơn hàng 3 năm và không giữ tiền của người mua."
            )
        ).format(time=f"{agreed:%H:%M}", day=f"{agreed:%d/%m/%Y}"),
        9,
    )
    return bytes(paper.output())


def _facts(paper: Paper, title: str, facts: list[tuple[str, str]]) -> None:
    paper.line_of(translate(title), 12, "B", 0.5)
    left = paper.l_margin
    for name, value in facts:
        if not value:
            continue
        paper.set_font("Noto", "", 10)
        y = paper.get_y()
        paper.cell(42, 5.5, translate(name))
        paper.set_left_margin(left + 42)
        paper.set_xy(left + 42, y)
        paper.line_of(value, 10, "", 0)
        paper.set_left_margin(left)
        paper.set_x(left)
    paper.ln(3)


def _goods(paper: Paper, summary: Summary) -> None:
    """Each line with what the law wants said of goods: quantity, quality, origin, shelf life, price."""
    paper.line_of(translate(N_("Hàng hoá")), 12, "B", 0.5)
    heads = [N_("Hàng"), N_("Số lượng"), N_("Đơn giá"), N_("Thành tiền")]
    rows = []
    for line in summary.found.lines:
        facts = summary.terms["goods"].get(str(line.grade_id), {})
        grade = translate(N_("loại {grade}")).format(grade=line.grade_name) if line.grade_name else ""
        stars = facts.get("stars")
        said = [
            " ".join(part for part in (line.product_name, grade) if part),
            translate(N_("Mã {code}")).format(code=line.item_code),
            translate(N_("OCOP {n} sao")).format(n=stars) if stars else "",
            translate(N_("Xuất xứ: {origin}")).format(origin=facts["origin"]) if facts.get("origin") else "",
            translate(N_("Hạn dùng: {shelf}")).format(shelf=facts["shelf_life"])
            if facts.get("shelf_life")
            else "",
        ]
        rows.append(
            [
                "\n".join(part for part in said if part),
                *(quantity(line.quantity, line.unit), money(line.unit_price), money(line.amount)),
            ]
        )
    rows.append([translate(N_("Tổng tiền hàng")), "", "", money(summary.found.order.total)])
    paper.table_of([translate(head) for head in heads], rows, (86, 28, 30, 30))
    paper.ln(4)


def _paying(summary: Summary) -> list[tuple[str, str]]:
    order, payment = summary.found.order, summary.found.payment
    back = sum(one.amount for one in summary.found.refunds if one.state == RefundState.DONE)
    facts = [
        (N_("Cách trả tiền"), translate(words.METHOD[Method(payment.method)])),
        (N_("Tình trạng"), translate(words.PAYMENT[PaymentState(payment.state)])),
        (N_("Đã trả"), money(payment.paid) if payment.paid else ""),
        (N_("Đã hoàn lại"), money(back) if back else ""),
        (
            N_("Phí giao hàng"),
            translate(N_("Chưa gồm trong tổng tiền. Người bán báo và bạn đồng ý trước khi gửi.")),
        ),
    ]
    if order.ship_on:
        facts.append((N_("Ngày gửi"), day(order.ship_on)))
    return facts


ROUTES = [summary]
