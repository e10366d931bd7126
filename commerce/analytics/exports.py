"""The exports: what screens show, every commune, every session, and the ministry's table, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.analytics.forecast import KINDS, Outlook
from commerce.analytics.measures import ALL, BY_KEY, CURVE_S, Totals, Unit, Value
from commerce.analytics.queries import CommuneFigures, Details, SessionFigures, totals_of
from commerce.analytics.reports import STATE_NAMES, Listed
from commerce.core.i18n import N_, translate
from commerce.core.tables import Table

NUMBER_FORMATS = {
    Unit.COUNT: "#,##0",
    Unit.RATIO: "0.00%",
    Unit.SECONDS: "#,##0.0",
    Unit.VND: "#,##0",
    Unit.PEOPLE: "#,##0.0",
}


def communes(
    found: Sequence[CommuneFigures],
    colours: dict[str, tuple[str, str]] | None = None,
    *,
    without: Sequence[str] = (),
) -> Table:
    """Every commune with every measure, those `without` left empty; `colours`: (colour, reasons) by code."""
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
            *(None if measure.key in without else measure.of(figures.totals) for measure in ALL),
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
        AND s.state <> 'taken_down' AND (CAST(:commune AS text) IS NULL OR r.commune_code = :commune)
    ORDER BY r.started_at
""")


async def sessions(db: AsyncSession, first: date, last: date, commune: str | None = None) -> Table:
    """Every counted session of the period, or of one commune, with every measure."""
    rows = (await db.execute(_SESSIONS, {"first": first, "last": last, "commune": commune})).all()
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


# ---- one session's tables


def session(figures: SessionFigures, details: Details) -> list[Table]:
    """Everything its page shows, a table each: the first is its measures."""
    return [
        _measures(figures.totals),
        _rows(
            "tung-phut",
            details.minutes,
            (
                ("at", N_("Phút")),
                ("peak", N_("Đông nhất cùng lúc")),
                ("watched_ms", N_("Thời gian xem (ms)")),
                ("came", N_("Lượt đến")),
                ("left", N_("Lượt rời đi")),
                *_BEACONS,
                *_SOLD,
                ("comments", N_("Bình luận")),
            ),
        ),
        _rows(
            "hang",
            details.items,
            (
                ("item_code", N_("Mã")),
                ("product", N_("Hàng")),
                ("grade", N_("Loại")),
                *_BEACONS,
                *_SOLD,
                ("net", N_("Doanh số thực")),
            ),
        ),
        _rows(
            "nguon",
            details.sources,
            (
                ("source", N_("Nguồn")),
                ("views", N_("Lượt xem")),
                ("viewers", N_("Người xem")),
                ("watched_ms", N_("Thời gian xem (ms)")),
                ("orders", N_("Đơn")),
                ("gmv", N_("Giá trị đặt hàng")),
            ),
        ),
        _rows(
            "ghim",
            details.pins,
            (("item_code", N_("Mã")), ("at", N_("Từ")), ("until", N_("Đến")), *_SOLD),
        ),
        _rows(
            "uu-dai",
            details.deals,
            (
                ("item_code", N_("Mã")),
                ("at", N_("Từ")),
                ("until", N_("Đến")),
                ("price", N_("Giá ưu đãi")),
                ("quantity", N_("Số lượng mở bán")),
                *_SOLD,
            ),
        ),
        Table(
            "xem-bao-lau",
            [translate(N_("Ít nhất (giây)")), translate(N_("Lượt xem"))],
            list(zip(CURVE_S, figures.curve, strict=False)),
        ),
    ]


_BEACONS = (
    ("impressions", N_("Lần thấy hàng")),
    ("clicks", N_("Lần chạm hàng")),
    ("baskets", N_("Lần bỏ giỏ")),
)
_SOLD = (("orders", N_("Đơn")), ("units", N_("Số lượng bán")), ("gmv", N_("Giá trị đặt hàng")))


def _measures(totals: Totals) -> Table:
    columns = (N_("Chỉ số"), N_("Giá trị"), N_("Cách tính"))
    kept = [measure for measure in ALL if measure.key != "sessions"]
    return Table(
        "chi-so",
        [translate(column) for column in columns],
        [
            [_header(measure.label(), measure.unit), measure.of(totals), translate(measure.definition)]
            for measure in kept
        ],
    )


def _rows(name: str, found: Sequence[Any], columns: Sequence[tuple[str, str]]) -> Table:
    """These columns of rollup rows, (column, heading); counts that are not there yet are 0."""
    rows = []
    for one in found:
        values = one._mapping
        rows.append([values[key] if key not in dict(_SOLD) else values[key] or 0 for key, _ in columns])
    return Table(name, [translate(heading) for _, heading in columns], rows)


# ---- the tables of other screens


def side_by_side(picked: Sequence[CommuneFigures], middle: Mapping[str, Value]) -> Table:
    """Some communes, a column each, and the median of all."""
    return Table(
        "so-sanh",
        [translate(N_("Chỉ số")), *(one.name for one in picked), translate(N_("Trung vị"))],
        [
            [
                _header(measure.label(), measure.unit),
                *(measure.of(one.totals) for one in picked),
                middle[measure.key],
            ]
            for measure in ALL
        ],
    )


def reports(found: Sequence[Listed]) -> Table:
    columns = (
        *(N_("Báo cáo"), N_("Mã xã"), N_("Xã, phường"), N_("Từ ngày"), N_("Đến ngày"), N_("Hạn nộp")),
        *(N_("Trạng thái"), N_("Bản")),
    )
    return Table(
        "bao-cao",
        [translate(column) for column in columns],
        [
            [
                *(one.title, one.commune_code, one.commune, one.first, one.last, one.due_on),
                *(translate(STATE_NAMES[one.state]), one.version),
            ]
            for one in found
        ],
    )


def outlooks(
    names: Mapping[str | None, str],
    told: Mapping[str, Mapping[str, Outlook | None]],
    coming: Mapping[str, datetime],
    products: Sequence[Mapping[str, Any]],
) -> list[Table]:
    """Each commune's next session and each product's week; empty cells: not enough data."""
    measures = [(kind, BY_KEY[kind].label()) for kind in KINDS]
    bounds = [translate(N_("từ")), translate(N_("đến"))]
    heads = [translate(one) for one in (N_("Mã xã"), N_("Xã, phường"), N_("Đã lên lịch"))]
    for _, label in measures:
        heads += [label, *(f"{label} ({bound})" for bound in bounds)]
    units = BY_KEY["units"].label()
    return [
        Table(
            "phien-toi",
            heads,
            [
                [code, names.get(code, ""), coming.get(code)]
                + [value for kind, _ in measures for value in _outlook(own.get(kind))]
                for code, own in sorted(told.items())
            ],
        ),
        Table(
            "hang-tuan-nay",
            [
                *(translate(one) for one in (N_("Hàng"), N_("Mã xã"), N_("Xã, phường"))),
                units,
                *(f"{units} ({bound})" for bound in bounds),
            ],
            [
                [
                    *(one["product"], one["commune"], names.get(one["commune"], "")),
                    *_outlook(one["outlook"]),
                ]
                for one in products
            ],
        ),
    ]


def _outlook(outlook: Outlook | None) -> tuple[int | None, ...]:
    if outlook is None:
        return None, None, None
    return round(outlook.expected), round(outlook.low), round(outlook.high)
