"""States and ways of paying in the words people read."""

from __future__ import annotations

from commerce.core.i18n import N_
from commerce.orders.models import OrderState
from commerce.payments.models import Method, PaymentState

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
