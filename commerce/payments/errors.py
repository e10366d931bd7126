"""What can go wrong with money, one class each."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class NotSigned(MarketError):
    """A notice that does not prove where it comes from."""

    code = "not_signed"
    status = 401
    title = N_("Không xác minh được")
    detail = N_("Thông báo này không mang chữ ký hoặc mã bí mật đúng nên không được nhận.")


class NothingDue(MarketError):
    code = "nothing_due"
    status = 409
    title = N_("Không còn khoản phải thu")
    detail = N_("Đơn này đã nhận đủ tiền hoặc đã đóng, nên không ghi thêm được.")


class TooMuch(MarketError):
    """A refund beyond what was paid and not yet given back."""

    code = "refund_too_much"
    status = 409
    title = N_("Hoàn quá số đã trả")
    detail = N_("Chỉ còn hoàn được nhiều nhất {left_text}. Xin nhập số nhỏ hơn.")

    def __init__(self, left: int) -> None:
        self.left = left
        super().__init__(left_text=f"{left:,} ₫".replace(",", "."))


class PaymentUnavailable(MarketError):
    """The card company cannot be reached; nothing was charged."""

    code = "payment_unavailable"
    status = 503
    title = N_("Chưa mở được trang thẻ")
    detail = N_("Dịch vụ thẻ đang không trả lời. Bạn chưa bị trừ tiền. Xin thử lại sau ít phút.")
    retry_after = 10


class SentByCard(MarketError):
    """A card refund that nobody may send by hand as well."""

    code = "sent_by_card"
    status = 409
    title = N_("Tiền tự về thẻ")
    detail = N_("Khoản này trả bằng thẻ nên dịch vụ thẻ tự hoàn, không cần chuyển tay.")


class NotForCards(MarketError):
    """The card company takes no payment so small or so large."""

    code = "not_for_cards"
    status = 409
    title = N_("Thẻ không nhận số tiền này")
    detail = N_("Thẻ chỉ trả được từ 20.000 ₫ đến 99.999.999 ₫ mỗi đơn. Xin chọn cách trả tiền khác.")
