"""What can go wrong with an order, one class each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


@dataclass(frozen=True, slots=True)
class ShortLine:
    """A line that cannot be met: what was wanted and what is left to sell."""

    product: str
    name: str
    wanted: int
    left: int


class SoldOut(MarketError):
    """At least one line is short; all short lines are listed and nothing was ordered."""

    code = "sold_out"
    status = 409
    title = N_("Hết hàng")
    detail = N_("Chưa đặt được vì không đủ hàng: {short}. Xin giảm số lượng hoặc chọn món khác rồi đặt lại.")

    def __init__(self, lines: Sequence[ShortLine]) -> None:
        self.lines = list(lines)
        super().__init__()

    def detail_text(self, lang: str) -> str:
        self.fields = {
            "short": ", ".join(f"{line.product} ({line.left}/{line.wanted})" for line in self.lines)
        }
        return super().detail_text(lang)

    def extra(self, lang: str) -> dict[str, Any]:
        return {
            "lines": [
                {"product": line.product, "name": line.name, "wanted": line.wanted, "left": line.left}
                for line in self.lines
            ]
        }


class NoShippingDay(MarketError):
    """No day within season and packing capacity takes all of it; nothing was ordered."""

    code = "no_shipping_day"
    status = 409
    title = N_("Chưa có ngày gửi hàng")
    detail = N_(
        "Chưa đặt được: không còn ngày nào gói kịp chừng này trong mùa ({short}). "
        "Xin đặt ít hơn, hoặc để lại lời mua sỉ nếu cần nhiều."
    )

    def __init__(self, lines: Sequence[ShortLine]) -> None:
        self.lines = list(lines)
        super().__init__(short=", ".join(f"{line.product}: {line.left}/{line.wanted}" for line in lines))

    def extra(self, lang: str) -> dict[str, Any]:
        return {
            "lines": [
                {"product": line.product, "name": line.name, "wanted": line.wanted, "left": line.left}
                for line in self.lines
            ]
        }


class TotalChanged(MarketError):
    """The buyer was shown another total than the prices that hold now make."""

    code = "total_changed"
    status = 409
    title = N_("Giá đã thay đổi")
    detail = N_("Tổng tiền bây giờ là {total_text}. Xin xem lại và xác nhận để đặt theo giá mới.")

    def __init__(self, total: int, prices: Sequence[tuple[str, int]]) -> None:
        self.total = total
        self.prices = list(prices)
        super().__init__(total_text=f"{total:,} ₫".replace(",", "."))

    def extra(self, lang: str) -> dict[str, Any]:
        return {
            "total": self.total,
            "lines": [{"product": code, "unit_price": price} for code, price in self.prices],
        }


class SessionRehearsal(MarketError):
    code = "rehearsal"
    status = 409
    title = N_("Phiên phát thử")
    detail = N_("Đây là phiên phát thử nên không bán hàng. Xin xem các phiên đang phát ở trang chủ.")


class SessionEnded(MarketError):
    code = "session_ended"
    status = 409
    title = N_("Phiên đã kết thúc")
    detail = N_("Phiên chợ này không còn nhận đơn. Xin xem các phiên đang mở ở trang chủ.")


class SessionNotStarted(MarketError):
    code = "session_not_started"
    status = 409
    title = N_("Phiên chưa bắt đầu")
    detail = N_("Phiên chợ này chưa mở nên chưa nhận đơn. Xin quay lại đúng giờ phát.")


class IdempotencyConflict(MarketError):
    code = "idempotency_conflict"
    status = 409
    title = N_("Trùng mã gửi")
    detail = N_(
        "Mã Idempotency-Key này đã dùng cho một đơn khác. Xin tạo mã mới cho mỗi đơn, "
        "và chỉ gửi lại mã cũ khi gửi lại đúng đơn cũ."
    )


class IdempotencyKeyNeeded(MarketError):
    code = "idempotency_key_needed"
    status = 400
    title = N_("Thiếu mã gửi")
    detail = N_(
        "Yêu cầu đặt hàng phải có tiêu đề Idempotency-Key: 1 đến 200 ký tự ASCII, mỗi đơn một mã mới. "
        "Nhờ vậy gửi lại khi mạng yếu không thành hai đơn."
    )


class NotCancellable(MarketError):
    code = "not_cancellable"
    status = 409
    title = N_("Không huỷ được nữa")
    detail = N_("Đơn đã được đóng gói hoặc gửi đi. Xin gọi người bán để được giúp.")
