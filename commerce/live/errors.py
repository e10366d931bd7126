"""What can go wrong around a live session."""

from __future__ import annotations

from typing import Any

from commerce.core.errors import MarketError, NotFound
from commerce.core.i18n import N_, translate


class SessionNotFound(NotFound):
    title = N_("Không tìm thấy phiên")
    detail = N_("Không có phiên nào mang mã {code}. Xin xem lại đường dẫn hoặc về trang chủ.")


class NotReady(MarketError):
    """The checklist before going live; every unmet condition is named, with its way out."""

    code = "checklist"
    status = 409
    title = N_("Chưa lên sóng được")
    detail = N_("Còn {count} việc phải làm xong trước khi lên sóng.")

    def __init__(self, unmet: list[tuple[str, str]]) -> None:
        """`unmet`: pairs of a stable name and a msgid saying what to do."""
        self.unmet = unmet
        super().__init__(count=len(unmet))

    def extra(self, lang: str) -> dict[str, Any]:
        return {
            "unmet": [
                {"condition": name, "message": translate(message, lang)} for name, message in self.unmet
            ]
        }


class SessionEnded(MarketError):
    code = "session_ended"
    status = 409
    title = N_("Phiên đã kết thúc")
    detail = N_("Phiên này đã kết thúc nên không làm việc này được nữa. Xin xem các phiên khác ở trang chủ.")


class SessionNotLive(MarketError):
    code = "not_live"
    status = 409
    title = N_("Phiên chưa lên sóng")
    detail = N_("Phiên này chưa lên sóng. Xin đợi đến giờ phát rồi làm lại.")


class SessionTakenDown(MarketError):
    code = "taken_down"
    status = 410
    title = N_("Phiên đã bị gỡ")
    detail = N_("Phiên này đã bị gỡ theo yêu cầu của cơ quan quản lý. Lý do: {reason}")


class PapersMissing(MarketError):
    """Products without checked quality papers cannot be pinned; the law asks for it."""

    code = "papers_missing"
    status = 409
    title = N_("Chưa đủ giấy tờ")
    detail = N_(
        "“{product}” chưa có giấy tờ chất lượng được xã kiểm tra nên chưa ghim được. "
        "Xin nhờ cán bộ xã kiểm tra giấy tờ trước."
    )


class CommentsSettled(MarketError):
    """Another helper, or another tap, was first."""

    code = "comments_settled"
    status = 409
    title = N_("Đã có người xử lý")
    detail = N_("Bình luận này đã được chốt hoặc bỏ qua. Danh sách vừa được làm mới.")


class LineupFixed(MarketError):
    """While on air a code keeps its meaning: buyers have it in their ears and on paper."""

    code = "lineup_fixed"
    status = 409
    title = N_("Đang lên sóng")
    detail = N_("Phiên đang lên sóng nên mã {item} không đổi sang món khác được. Xin dùng một mã mới.")


class DealNotLower(MarketError):
    code = "deal_not_lower"
    status = 409
    title = N_("Giá ưu đãi chưa thấp hơn")
    detail = N_("Giá ưu đãi phải thấp hơn giá đang bán ({price} đồng).")


class DealTooMany(MarketError):
    code = "deal_too_many"
    status = 409
    title = N_("Không đủ hàng")
    detail = N_("Chỉ còn {left} để bán. Xin đặt số lượng ưu đãi bằng hoặc ít hơn.")


class OutletNotFound(NotFound):
    title = N_("Không tìm thấy kênh")
    detail = N_("Kênh này không còn trong phiên. Xin tải lại trang.")


class RecordingNotFound(NotFound):
    title = N_("Không có bản ghi")
    detail = N_("Phiên này không có bản ghi hình, hoặc bản ghi đã được xoá.")


class RecordingHeld(MarketError):
    """Kept by law until an authority releases it."""

    code = "recording_held"
    status = 409
    title = N_("Bản ghi đang được giữ lại")
    detail = N_("Bản ghi này được giữ theo yêu cầu của cơ quan quản lý nên chưa xoá được.")


class RecordingKept(MarketError):
    """Only rehearsals are deleted on request; what the public saw is kept for its time."""

    code = "recording_kept"
    status = 409
    title = N_("Bản ghi phải được lưu giữ")
    detail = N_("Bản ghi của phiên bán hàng được lưu đến hết hạn theo luật. Chỉ bản phát thử xoá được ngay.")
