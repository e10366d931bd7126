"""What can go wrong with the books."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class RateKnown(MarketError):
    code = "rate_known"
    status = 409
    title = N_("Đã có mức này")
    detail = N_("Ngày này đã có một mức cho loại thuế ấy. Xin chọn ngày bắt đầu khác.")
