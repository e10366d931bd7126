"""What goes with a day's parcels on paper: the list to pack by, and a slip for each parcel.

A slip is A6, for ordinary printers, or 80 mm wide and as long as it needs to be, for thermal ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date

import segno
from fpdf.enums import XPos, YPos

from commerce.core import clock
from commerce.core.html import money, quantity
from commerce.core.i18n import N_, translate
from commerce.core.papers import Paper, Sheet
from commerce.fulfilment.carriers import goods_text
from commerce.fulfilment.queries import Parcel

A6 = (105.0, 148.0)
ROLL = 80.0
LONGEST = 600.0  # millimetres of roll; a parcel of fifty lines takes less


def packing_list(parcels: Sequence[Parcel], day: date, *, demo: bool) -> bytes:
    """What all parcels of the day need together, then each parcel."""
    title = translate(N_("Danh sách đóng gói ngày {day}")).format(day=f"{day:%d/%m/%Y}")
    paper = Paper(f"Chợ Phiên · {title}")
    if demo:
        paper.line_of(translate(N_("Chợ minh hoạ: đơn hàng là giả")), 9, "B")
    for seller_id in dict.fromkeys(one.seller.id for one in parcels):
        mine = [one for one in parcels if one.seller.id == seller_id]
        paper.line_of(f"{mine[0].seller.name} · {mine[0].seller_commune}", 11, "B", 0)
        paper.line_of(title, 16, "B", 2)
        needed: Counter[tuple[str, str, str]] = Counter()
        for one in mine:
            for product, grade, count, unit in one.goods:
                needed[product, grade, unit] += count
        heads = [translate(N_("Cần có")), translate(N_("Loại")), translate(N_("Số lượng"))]
        rows = [
            [product, grade or "–", quantity(count, unit)] for (product, grade, unit), count in needed.items()
        ]
        paper.table_of(heads, rows, (110, 24, 40))
        paper.ln(4)
        for number, one in enumerate(mine, start=1):
            _listed(paper, number, one)
        if seller_id != parcels[-1].seller.id:
            paper.add_page()
    if not parcels:
        paper.line_of(title, 16, "B", 2)
        paper.line_of(translate(N_("Không có gói nào.")))
    return bytes(paper.output())


def _listed(paper: Paper, number: int, parcel: Parcel) -> None:
    order = parcel.order
    if paper.will_page_break(30):
        paper.add_page()
    box = 4.5
    top = paper.get_y()
    paper.rect(paper.l_margin, top + 0.8, box, box)  # to be ticked by hand
    paper.set_x(paper.l_margin + box + 3)
    paper.set_font("Noto", "B", 11)
    paper.cell(0, 6, f"{number}. {order.code} · {order.buyer_name}", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
    left = paper.l_margin
    paper.set_left_margin(left + box + 3)
    paper.line_of("; ".join(goods_text(parcel)), 11, "", 0)
    where = parcel.address if parcel.addressed else translate(N_("CHƯA CÓ ĐỊA CHỈ: gọi người mua"))
    paper.line_of(f"{order.buyer_phone} · {where}", 9, "", 0)
    if order.note:
        paper.line_of(translate(N_("Lời nhắn: {note}")).format(note=order.note), 9, "", 0)
    paper.line_of(cash_text(parcel), 9, "B", 2)
    paper.set_left_margin(left)


def cash_text(parcel: Parcel) -> str:
    if parcel.cash:
        return translate(N_("Thu hộ {amount}")).format(amount=money(parcel.cash))
    return translate(N_("Đã trả tiền, không thu thêm"))


def slips_a6(parcels: Sequence[Parcel], *, demo: bool) -> bytes:
    paper = Sheet(A6)
    paper.set_margins(6, 6)
    paper.set_auto_page_break(True, margin=5)  # a parcel of many lines goes on on a second slip
    for parcel in parcels:
        paper.add_page()
        _slip(paper, parcel, 22, demo=demo)
    return _closed(paper, parcels)


def slips_80mm(parcels: Sequence[Parcel], *, demo: bool) -> bytes:
    paper = Sheet((ROLL, LONGEST))
    paper.set_margins(4, 4)
    paper.set_auto_page_break(False)
    for parcel in parcels:
        measured = Sheet((ROLL, LONGEST))
        measured.set_margins(4, 4)
        measured.set_auto_page_break(False)
        measured.add_page()
        _slip(measured, parcel, 20, demo=demo)
        paper.add_page(format=(ROLL, min(LONGEST, measured.get_y() + 8)))
        _slip(paper, parcel, 20, demo=demo)
    return _closed(paper, parcels)


def _closed(paper: Sheet, parcels: Sequence[Parcel]) -> bytes:
    if not parcels:
        paper.add_page()
        paper.line_of(translate(N_("Không có gói nào.")), 11)
    return bytes(paper.output())


def _slip(paper: Sheet, parcel: Parcel, code_size: float, *, demo: bool) -> None:
    """From whom, to whom, what is in it, what is to be collected."""
    order, seller = parcel.order, parcel.seller
    top, width = paper.get_y(), paper.epw - code_size - 2
    _square(paper, order.code, paper.w - paper.r_margin - code_size, top, code_size)
    paper.set_font("Noto", "", 8)
    sender = f"{translate(N_('Người gửi'))}: {seller.name}\n{seller.phone}\n{seller.address}"
    paper.multi_cell(width, 4, sender, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align="L")
    paper.set_y(max(paper.get_y(), top + code_size) + 1)
    paper.line_of(order.code, 13, "B", 0.5)
    _rule(paper)
    paper.line_of(translate(N_("Người nhận")), 8, "", 0)
    paper.line_of(order.buyer_name, 14, "B", 0)
    paper.line_of(order.buyer_phone, 14, "B", 0.5)
    where = parcel.address if parcel.addressed else translate(N_("CHƯA CÓ ĐỊA CHỈ: gọi người mua"))
    paper.line_of(where, 11, "", 1)
    _rule(paper)
    for line in goods_text(parcel):
        paper.line_of(line, 10, "B", 0)
    if order.note:
        paper.line_of(translate(N_("Lời nhắn: {note}")).format(note=order.note), 9, "", 0)
    paper.ln(1)
    _collected(paper, parcel)
    paper.line_of(translate(N_("Người nhận được xem hàng trước khi trả tiền.")), 8, "", 0)
    packed = f"{order.ship_on or clock.today():%d/%m/%Y}"
    made_up = " · " + translate(N_("minh hoạ")) if demo else ""
    paper.line_of(translate(N_("Gửi ngày {day}")).format(day=packed) + made_up, 8, "", 0)


def _collected(paper: Sheet, parcel: Parcel) -> None:
    paper.set_font("Noto", "B", 14)
    if parcel.cash:
        paper.set_fill_color(0)
        paper.set_text_color(255)
    paper.multi_cell(
        0,
        10,
        cash_text(parcel),
        border=1,
        align="C",
        fill=bool(parcel.cash),
        new_x=XPos.LMARGIN,
        new_y=YPos.NEXT,
    )
    paper.set_text_color(0)
    paper.ln(1.5)


def _rule(paper: Sheet) -> None:
    y = paper.get_y()
    paper.line(paper.l_margin, y, paper.w - paper.r_margin, y)
    paper.ln(1)


def _square(paper: Sheet, text: str, x: float, y: float, size: float) -> None:
    """A QR code of the order's code, drawn as rectangles: printers of any kind keep its edges."""
    rows = list(segno.make_qr(text, error="m").matrix)
    side = size / len(rows)
    paper.set_fill_color(0)
    for row, cells in enumerate(rows):
        start = 0
        while start < len(cells):
            if not cells[start]:
                start += 1
                continue
            end = start
            while end < len(cells) and cells[end]:
                end += 1
            paper.rect(x + start * side, y + row * side, (end - start) * side, side, style="F")
            start = end
