"""What every figure of the market means: one definition each, from which screens, API and exports are made.

A figure is either counted by the rollup (`analytics.rollup`) or made here from counted ones. A ratio whose
divisor is zero does not exist: it is None, shown as a dash, never 0. Money is whole dong.

Rules that the short definitions leave open, and how they are read here:

- Times are whole milliseconds. "On air" is from the session's start to its end (to now while it runs).
- A visit counts if any of it lies on air, and only what lies on air is watched: an early tab left open on a
  page that still says "coming" is not an audience.
- Two tabs of one visitor at the same time are one view, and their common time is watched once.
- Within 30 s means up to and including 30 s; within 24 h up to and including 24 h.
- The same beacon twice (visitor, kind, item and moment alike) is one. Beacons count until 24 h after the end.
- A buyer is a phone number; it is counted and then forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from fractions import Fraction

from commerce.core.i18n import N_, translate

CONTINUES_MS = 30_000
"""A return within this time continues the view."""
EFFECTIVE_MS = 10_000
"""A view watched at least so long is effective."""
ATTRIBUTION = timedelta(hours=24)
"""How long after a visit an order still belongs to the session."""
ATTRIBUTION_MS = int(ATTRIBUTION.total_seconds() * 1000)
CURVE_S = (0, 10, 30, 60, 120, 180, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200)
"""Where the watch-time curve is taken: how many views lasted at least so many seconds."""


class Unit(StrEnum):
    COUNT = "count"
    RATIO = "ratio"
    """A share, 0.034: shown as 3,4 %."""
    SECONDS = "seconds"
    VND = "vnd"
    PEOPLE = "people"
    """A time-weighted average of people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What is counted, of one session or of a period of one commune.

    Over a period everything is the sum of its sessions, except `pcu` (the highest) and `viewers`, `reach`,
    `buyers` (each person once, see `analytics.recency`).
    """

    sessions: int = 0
    views: int = 0
    effective_views: int = 0
    viewers: int = 0
    reach: int = 0
    watched_ms: int = 0
    air_ms: int = 0
    pcu: int = 0
    impressions: int = 0
    clicks: int = 0
    baskets: int = 0
    orders: int = 0
    units: int = 0
    gmv: int = 0
    net: int = 0
    paid: int = 0
    buyers: int = 0
    by_helper: int = 0
    comments: int = 0


Value = int | float | None


@dataclass(frozen=True, slots=True)
class Measure:
    key: str
    name: str
    """msgid; `label()` is the translated name."""
    english: str
    definition: str
    """One sentence, msgid."""
    unit: Unit
    formula: Callable[[Totals], Value]
    rows: str = ""
    """msgid: the rows behind it, in words."""
    lower_is_better: bool = False

    def label(self, lang: str | None = None) -> str:
        return translate(self.name, lang)

    def of(self, totals: Totals) -> Value:
        return self.formula(totals)


def ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def whole(value: Fraction) -> int:
    """Rounded half up, as people round money by hand."""
    return int(value + Fraction(1, 2)) if value >= 0 else -int(-value + Fraction(1, 2))


def _gpm(t: Totals) -> int | None:
    return whole(Fraction(t.gmv * 1000, t.views)) if t.views else None


def _average_watch_time(t: Totals) -> float | None:
    return t.watched_ms / 1000 / t.views if t.views else None


VISITS = N_("Từng lượt kết nối (bảng visit), chỉ có mã ngẫu nhiên của trình duyệt.")
BEACONS = N_("Báo hiệu từ trang (bảng page_event): thẻ hàng được thấy, được chạm, bỏ vào giỏ.")
ORDERS = N_("Đơn hàng và lịch sử của đơn (bảng order, order_line, payment).")

ALL = (
    Measure(
        "sessions",
        N_("Số phiên"),
        "sessions",
        N_("Phiên đã phát xong trong kỳ; không tính phiên tập và phiên bị gỡ."),
        Unit.COUNT,
        lambda t: t.sessions,
        N_("Phiên đã kết thúc (bảng live_session)."),
    ),
    Measure(
        "reach",
        N_("Tiếp cận"),
        "reach",
        N_(
            "Số khách khác nhau có màn hình đã hiện phiên ở bất cứ đâu trên chợ (trang, thẻ, băng); "
            "tiếp cận ngoài chợ báo riêng."
        ),
        Unit.COUNT,
        lambda t: t.reach,
        VISITS,
    ),
    Measure(
        "views",
        N_("Lượt xem"),
        "views",
        N_("Một lần ghé: từ lúc người xem kết nối đến lúc rời; quay lại trong 30 giây là tiếp lượt cũ."),
        Unit.COUNT,
        lambda t: t.views,
        VISITS,
    ),
    Measure(
        "effective_views",
        N_("Lượt xem thật sự"),
        "effective views",
        N_("Lượt xem từ 10 giây trở lên."),
        Unit.COUNT,
        lambda t: t.effective_views,
        VISITS,
    ),
    Measure(
        "unique_viewers",
        N_("Người xem"),
        "unique viewers",
        N_("Số khách khác nhau có ít nhất một lượt xem."),
        Unit.COUNT,
        lambda t: t.viewers,
        VISITS,
    ),
    Measure(
        "pcu",
        N_("Đông nhất cùng lúc"),
        "peak concurrent viewers (PCU)",
        N_("Số người đang xem cùng lúc cao nhất."),
        Unit.COUNT,
        lambda t: t.pcu,
        VISITS,
    ),
    Measure(
        "acu",
        N_("Trung bình cùng lúc"),
        "average concurrent viewers (ACU)",
        N_("Số người đang xem cùng lúc, trung bình theo thời gian phát."),
        Unit.PEOPLE,
        lambda t: t.watched_ms / t.air_ms if t.air_ms else None,
        VISITS,
    ),
    Measure(
        "average_watch_time",
        N_("Thời gian xem trung bình"),
        "average watch time",
        N_("Tổng thời gian xem chia cho số lượt xem."),
        Unit.SECONDS,
        _average_watch_time,
        VISITS,
    ),
    Measure(
        "impressions",
        N_("Lần thấy hàng"),
        "product impressions",
        N_("Số lần thẻ sản phẩm được thấy."),
        Unit.COUNT,
        lambda t: t.impressions,
        BEACONS,
    ),
    Measure(
        "clicks",
        N_("Lần chạm hàng"),
        "product clicks",
        N_("Số lần thẻ sản phẩm được chạm."),
        Unit.COUNT,
        lambda t: t.clicks,
        BEACONS,
    ),
    Measure(
        "ctr",
        N_("Tỷ lệ chạm"),
        "CTR",
        N_("Lần chạm hàng chia cho lần thấy hàng."),
        Unit.RATIO,
        lambda t: ratio(t.clicks, t.impressions),
        BEACONS,
    ),
    Measure(
        "baskets",
        N_("Lần bỏ giỏ"),
        "baskets",
        N_("Số lần một sản phẩm được bỏ vào giỏ."),
        Unit.COUNT,
        lambda t: t.baskets,
        BEACONS,
    ),
    Measure(
        "orders",
        N_("Đơn"),
        "orders",
        N_("Đơn đã đặt, đến qua trang, đường dẫn hoặc mã của phiên, trong 24 giờ từ lần ghé đó."),
        Unit.COUNT,
        lambda t: t.orders,
        ORDERS,
    ),
    Measure(
        "units",
        N_("Số lượng bán"),
        "units",
        N_("Tổng số lượng hàng trong các đơn đã đặt."),
        Unit.COUNT,
        lambda t: t.units,
        ORDERS,
    ),
    Measure(
        "gmv",
        N_("Giá trị đặt hàng"),
        "GMV",
        N_("Giá trị các đơn đã đặt, trước khi trừ huỷ."),
        Unit.VND,
        lambda t: t.gmv,
        ORDERS,
    ),
    Measure(
        "net_sales",
        N_("Doanh số thực"),
        "net sales",
        N_("Giá trị đơn sau khi trừ đơn huỷ, hết hạn, bị từ chối nhận và tiền đã hoàn."),
        Unit.VND,
        lambda t: t.net,
        ORDERS,
    ),
    Measure(
        "paid",
        N_("Đơn đã trả tiền"),
        "paid orders",
        N_("Đơn mà người bán đã nhận đủ tiền."),
        Unit.COUNT,
        lambda t: t.paid,
        ORDERS,
    ),
    Measure(
        "buyers",
        N_("Người mua"),
        "buyers",
        N_("Số số điện thoại khác nhau đã đặt đơn."),
        Unit.COUNT,
        lambda t: t.buyers,
        ORDERS,
    ),
    Measure(
        "by_helper",
        N_("Đơn trợ lý nhập"),
        "orders entered by a helper",
        N_("Đơn do trợ lý nhập từ lời nói hoặc bình luận ở nơi khác; đã tính trong số đơn."),
        Unit.COUNT,
        lambda t: t.by_helper,
        ORDERS,
    ),
    Measure(
        "ctor",
        N_("Tỷ lệ chạm ra đơn"),
        "CTOR",
        N_("Đơn chia cho lần chạm hàng."),
        Unit.RATIO,
        lambda t: ratio(t.orders, t.clicks),
        ORDERS,
    ),
    Measure(
        "cvr",
        N_("Tỷ lệ mua"),
        "CVR",
        N_("Người mua chia cho người xem."),
        Unit.RATIO,
        lambda t: ratio(t.buyers, t.viewers),
        ORDERS,
    ),
    Measure(
        "gpm",
        N_("Giá trị trên 1.000 lượt xem"),
        "GPM",
        N_("Giá trị đặt hàng trên mỗi 1.000 lượt xem."),
        Unit.VND,
        _gpm,
        ORDERS,
    ),
)
"""In the order in which screens and exports show them."""

BY_KEY: Mapping[str, Measure] = {measure.key: measure for measure in ALL}


def values(totals: Totals) -> dict[str, Value]:
    """Every measure by its key, ratios to six places."""
    made = {measure.key: measure.of(totals) for measure in ALL}
    return {key: round(value, 6) if isinstance(value, float) else value for key, value in made.items()}
