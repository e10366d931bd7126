"""What can go wrong with requests about data."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class RequestClosed(MarketError):
    code = "request_closed"
    status = 410
    title = N_("Trang này đã hết hạn")
    detail = N_("Trang dữ liệu chỉ mở được 30 phút sau khi nhập mã. Xin gửi yêu cầu mới.")
