"""The exports: every commune, every session, and the ministry's table, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.measures import ALL, Unit
from commerce.analytics.queries import CommuneFigures, totals_of
from commerce.core.i18n import N_, translate
from commerce.core.tables import Table

NUMBER_FORMATS = {
    Unit.COUNT: "#,##0",
    Unit.RATIO: "0.00%",
    Unit.SECONDS: "#,##0.0",
    Unit.VND: "#,##0",
    Unit.PEOPLE: "#,##0.0",
}


def communes(found: Sequence[CommuneFigures], colours: dict[str, tuple[str, str]] | None = None) -> Table:
    """Every commune with every measure; `colours`: (colour, reasons) by code."""
    columns = [
        translate(N_("Mã xã")),
        translate(N_("Xã, phường")),
        translate(N_("Màu")),
        translate(N_("Lý do")),
    ]
    columns += [_header(measure.label(), measure.unit) for measure in ALL]
    columns.append(translate(N_("Phiên gần nhất")))
    rows = [
        [
            *(figures.code, figures.name, *(colours or {}).get(figures.code, ("", ""))),
            *(measure.of(figures.totals) for measure in ALL),
            figures.last_on,
        ]
        for figures in found
    ]
    formats = ["", "", "", "", *(NUMBER_FORMATS[measure.unit] for measure in ALL), ""]
    return Table("cac-xa", columns, rows, formats)


def _header(name: str, unit: Unit) -> str:
    if unit is Unit.SECONDS:
        return translate(N_("{name} (giây)")).format(name=name)
    return f"{name} (₫)" if unit is Unit.VND else name


_SESSIONS = text("""
    SELECT s.code, s.title, c.code AS commune_code, c.name AS commune, r.*
    FROM session_rollup r JOIN live_session s ON s.id = r.live_session_id
    JOIN commune c ON c.code = s.commune_code
    WHERE r.day BETWEEN :first AND :last AND s.ended_at IS NOT NULL AND NOT s.rehearsal
        AND s.state <> 'taken_down'
    ORDER BY r.started_at
""")


async def sessions(db: AsyncSession, first: date, last: date) -> Table:
    """Every counted session of the period with every measure."""
    rows = (await db.execute(_SESSIONS, {"first": first, "last": last})).all()
    measures = [measure for measure in ALL if measure.key != "sessions"]
    columns = [N_("Mã phiên"), N_("Phiên"), N_("Mã xã"), N_("Xã, phường"), N_("Bắt đầu"), N_("Kết thúc")]
    return Table(
        "cac-phien",
        [*map(translate, columns), *(_header(measure.label(), measure.unit) for measure in measures)],
        [
            [
                *(row.code, row.title, row.commune_code, row.commune, row.started_at, row.ended_at),
                *(measure.of(totals_of(row)) for measure in measures),
            ]
            for row in rows
        ],
        ["", "", "", "", "", "", *(NUMBER_FORMATS[measure.unit] for measure in measures)],
    )


# The ministry's table of OCOP data. Revenue is net sales of the year on this market only; a product without
# a current recognition has no place in it.
_OCOP = text("""
    SELECT p.code AS product, p.name, p.commune_code, x.name AS seller, y.stars, y.expires_on, y.withdrawn_on,
        coalesce(sum(i.net), 0)::bigint AS revenue
    FROM product p JOIN seller x ON x.id = p.seller_id
    JOIN LATERAL (
        SELECT stars, expires_on, withdrawn_on FROM recognition
        WHERE product_id = p.id AND granted_on <= :last ORDER BY granted_on DESC, id DESC LIMIT 1
    ) y ON true
    LEFT JOIN (
        SELECT g.product_id, i.net FROM item_rollup i JOIN grade g ON g.id = i.grade_id
        JOIN session_rollup r ON r.live_session_id = i.live_session_id
        JOIN live_session s ON s.id = i.live_session_id
        WHERE r.day BETWEEN :first AND :last AND NOT s.rehearsal
    ) i ON i.product_id = p.id
    WHERE p.state IN ('approved', 'paused')
    GROUP BY p.id, x.name, y.stars, y.expires_on, y.withdrawn_on ORDER BY p.commune_code, p.sort_key, p.code
""")


async def ptnt_ocop(db: AsyncSession, year: int, as_of: date) -> Table:
    """PTNT_OCOP of a year: column names are the ministry's."""
    values = {"first": date(year, 1, 1), "last": min(date(year, 12, 31), as_of)}
    rows = (await db.execute(_OCOP, values)).all()
    columns = (
        "MA_OCOP",
        "Ma_DonViHanhChinh",
        "Ma_ThoiGian",
        "Ma_SanPham",
        "TenSanPham",
        "XepHang",
        "ChuTheSXKD",
    )
    return Table(
        "PTNT_OCOP",
        (*columns, "DoanhThuNam", "TrangThai"),
        [
            [
                *(f"66-{row.commune_code}-{row.product}", row.commune_code, str(year), row.product, row.name),
                *(row.stars, row.seller, row.revenue, _ocop_state(row, as_of)),
            ]
            for row in rows
        ],
        ["", "", "", "", "", "0", "", "#,##0", ""],
    )


def _ocop_state(row: Any, as_of: date) -> str:
    if row.withdrawn_on is not None and row.withdrawn_on <= as_of:
        return translate(N_("Bị thu hồi"))
    return translate(N_("Hết hạn")) if row.expires_on < as_of else translate(N_("Còn hiệu lực"))
