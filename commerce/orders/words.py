"""States and ways of paying in the words people read."""

from __future__ import annotations

from commerce.core.i18n import N_
from commerce.live.comment_orders import Doubt
from commerce.orders.models import OrderState
from commerce.payments.models import Method, PaymentState, RefundState

STATE = {
    OrderState.PLACED: N_("Đã đặt"),
    OrderState.CONFIRMED: N_("Người bán đã xác nhận"),
    OrderState.PACKED: N_("Đã đóng gói"),
    OrderState.SHIPPED: N_("Đang giao"),
    OrderState.DELIVERED: N_("Đã giao"),
    OrderState.REFUSED: N_("Không nhận hàng"),
    OrderState.CANCELLED: N_("Đã huỷ"),
    OrderState.EXPIRED: N_("Hết hạn chờ tiền"),
}

METHOD = {
    Method.COD: N_("Trả tiền khi nhận hàng"),
    Method.VIETQR: N_("Chuyển khoản VietQR"),
    Method.CARD: N_("Thẻ quốc tế"),
}

PAYMENT = {
    PaymentState.DUE: N_("chưa trả"),
    PaymentState.PARTIAL: N_("đã trả một phần"),
    PaymentState.PAID: N_("đã trả"),
    PaymentState.REFUNDED: N_("đã hoàn tiền"),
    PaymentState.CANCELLED: N_("không phải trả"),
}

REFUND = {
    RefundState.WANTED: N_("sẽ chuyển lại"),
    RefundState.SENT: N_("đang chuyển lại"),
    RefundState.DONE: N_("đã chuyển lại"),
    RefundState.FAILED: N_("chưa chuyển được, người bán đang xử lý"),
}

CANCEL_REASONS = (
    N_("Tôi đặt nhầm"),
    N_("Tôi muốn đổi món hoặc số lượng"),
    N_("Tôi đổi ý, không mua nữa"),
    N_("Lâu chưa thấy gửi"),
)

SOURCE = {
    "page": N_("Trang phiên"),
    "comment": N_("Bình luận"),
    "tiktok": "TikTok",
    "facebook": "Facebook",
    "youtube": "YouTube",
    "zalo": "Zalo",
    "phone": N_("Điện thoại"),
}

DOUBT = {
    Doubt.UNKNOWN_CODE: N_("có mã không bán trong phiên"),
    Doubt.NO_QUANTITY: N_("chưa rõ số lượng"),
    Doubt.FRACTION: N_("số lượng lẻ"),
    Doubt.SEVERAL_QUANTITIES: N_("nhiều số lượng khác nhau"),
    Doubt.SEVERAL_PHONES: N_("có hai số điện thoại"),
    Doubt.REPEATED_CODE: N_("một mã hai số lượng"),
    Doubt.LOOSE_CODE: N_("mã viết rời"),
    Doubt.QUESTION: N_("câu hỏi"),
    Doubt.REFUSAL: N_("không lấy nữa"),
    Doubt.CHANGED: N_("đổi ý"),
    Doubt.WORDS: N_("có lời chưa hiểu"),
    Doubt.UNIT: N_("khác đơn vị đang bán"),
    Doubt.WHOLESALE: N_("mua sỉ, tính bằng tấn"),
    Doubt.ORDERED_BEFORE: N_("giống đơn đã chốt"),
    Doubt.ODD_NUMBER: N_("số điện thoại có thể sai"),
}
