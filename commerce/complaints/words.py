"""Reasons and states of complaints in the words people read."""

from __future__ import annotations

from commerce.complaints.models import ComplaintState, Reason
from commerce.core.i18n import N_

REASON = {
    Reason.SPOILED: N_("Hàng hỏng, dập, hết hạn"),
    Reason.WRONG: N_("Giao sai hàng, sai loại"),
    Reason.SHORT: N_("Giao thiếu"),
    Reason.LATE: N_("Giao trễ, không giao"),
    Reason.MISLEADING: N_("Không đúng lời giới thiệu trong phiên"),
    Reason.OTHER: N_("Chuyện khác"),
}
STATE = {
    ComplaintState.OPEN: N_("Chờ trả lời"),
    ComplaintState.ANSWERED: N_("Đã trả lời, đang giải quyết"),
    ComplaintState.REFUNDED: N_("Đã đồng ý hoàn tiền"),
    ComplaintState.REPLACED: N_("Đã đồng ý đổi hàng, sửa sai"),
    ComplaintState.REFUSED: N_("Không được chấp nhận"),
    ComplaintState.WITHDRAWN: N_("Người mua đã rút"),
}
SIDE = {"buyer": N_("Người mua"), "seller": N_("Người bán"), "office": N_("Văn phòng xã")}
