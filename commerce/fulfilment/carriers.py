"""The sheet that carriers take: one line a parcel, addresses of two levels.

Carriers' own forms still ask for a district, which no address has had since July 2025; their staff and their
upload screens take a sheet with province and commune in columns of their own, and the official codes beside
them for those who match by code.
"""

from __future__ import annotations

from collections.abc import Sequence

from commerce.core import clock
from commerce.core.html import quantity
from commerce.core.i18n import N_, translate
from commerce.core.tables import Table
from commerce.fulfilment.queries import Parcel

CARRIERS = ("Viettel Post", "VNPost", "GHN", "GHTK", "J&T Express")
"""Suggested when a parcel is sent; any other name may be written."""

COLUMNS = (
    *(N_("Mã đơn"), N_("Người nhận"), N_("Điện thoại"), N_("Thôn, đường, số nhà"), N_("Xã, phường")),
    *(N_("Mã xã"), N_("Tỉnh, thành phố"), N_("Mã tỉnh"), N_("Hàng hoá"), N_("Số kiện")),
    *(N_("Tiền thu hộ (₫)"), N_("Giá trị hàng (₫)"), N_("Lời nhắn"), N_("Người gửi")),
    *(N_("Điện thoại gửi"), N_("Địa chỉ gửi"), N_("Xã gửi"), N_("Ngày gửi")),
)
FORMATS = (*("" for _ in range(9)), "0", "#,##0", "#,##0")


def sheet(parcels: Sequence[Parcel], name: str) -> Table:
    """Of parcels that have an address; the others cannot be carried."""
    return Table(
        name, [translate(one) for one in COLUMNS], [_row(one) for one in parcels if one.addressed], FORMATS
    )


def _row(parcel: Parcel) -> list[object]:
    order, seller = parcel.order, parcel.seller
    ours = order.commune_code if order.commune_code.isdigit() else ""
    return [
        *(order.code, order.buyer_name, order.buyer_phone, order.street, parcel.commune, ours),
        *(parcel.province, order.province_code if order.province_code.isdigit() else ""),
        *("; ".join(goods_text(parcel)), 1, parcel.cash, order.total, order.note),
        *(seller.name, seller.phone, seller.address, parcel.seller_commune, order.ship_on or clock.today()),
    ]


def goods_text(parcel: Parcel) -> list[str]:
    """`2 kg Sầu riêng Dona loại A` of each line."""
    return [
        " ".join(part for part in (quantity(count, unit), product, grade_text(grade)) if part)
        for product, grade, count, unit in parcel.goods
    ]


def grade_text(grade: str) -> str:
    return translate(N_("loại {grade}")).format(grade=grade) if grade else ""
