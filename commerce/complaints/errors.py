"""What can go wrong with a complaint."""

from __future__ import annotations

from commerce.core.errors import MarketError
from commerce.core.i18n import N_


class TooManyComplaints(MarketError):
    code = "too_many_complaints"
    status = 409
    title = N_("Đã có khiếu nại đang xem")
    detail = N_("Đơn này đã có {most} khiếu nại chưa xong. Xin viết thêm vào khiếu nại đang mở.")


class OfficeDecides(MarketError):
    code = "office_decides"
    status = 409
    title = N_("Để văn phòng xã quyết định")
    detail = N_("Người mua không đồng ý với lần từ chối trước. Lần này cán bộ xã xem và quyết định.")


class NoOrder(MarketError):
    code = "no_order"
    status = 409
    title = N_("Không có đơn để hoàn tiền")
    detail = N_("Khiếu nại này về một phiên chợ, không có đơn hàng nào để hoàn tiền.")
