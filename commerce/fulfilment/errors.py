"""What can go wrong on the way to the buyer."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class NotPaidYet(MarketError):
    code = "not_paid_yet"
    status = 409
    title = N_("Chưa nhận đủ tiền")
    detail = N_("Đơn này trả trước và chưa nhận đủ tiền nên chưa gửi đi được.")


class AddressMissing(MarketError):
    code = "address_missing"
    status = 409
    title = N_("Đơn chưa có địa chỉ")
    detail = N_("Chưa gửi được vì đơn này chưa có địa chỉ nhận. Xin gọi người mua và ghi địa chỉ trước.")


class AlreadyReturned(MarketError):
    code = "already_returned"
    status = 409
    title = N_("Đã ghi trả về")
    detail = N_("Gói hàng này không đang trên đường trả về.")
