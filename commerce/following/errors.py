"""What can go wrong with following."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class NoPushHere(MarketError):
    """The browser's push service is none we know, or its keys cannot be used."""

    code = "no_push_here"
    status = 422
    title = N_("Máy này chưa nhận được thông báo")
    detail = N_("Trình duyệt này chưa nhận được thông báo của chợ. Bạn tải lịch phiên về máy để được nhắc.")
