"""Where money came from and what became of it, in the words people read."""

from __future__ import annotations

from commerce.core.i18n import N_
from commerce.payments.models import Outcome

SOURCE = {
    "sepay": N_("ngân hàng báo (SePay)"),
    "payos": N_("ngân hàng báo (payOS)"),
    "stripe": N_("thẻ"),
    "hand": N_("ghi tay"),
    "carrier": N_("thu khi giao"),
}

OUTCOME = {
    Outcome.MATCHED: N_("đúng đơn"),
    Outcome.PARTIAL: N_("chưa đủ"),
    Outcome.EXCESS: N_("trả thừa, phải chuyển lại"),
    Outcome.LATE: N_("đến muộn, phải chuyển lại"),
    Outcome.UNMATCHED: N_("chưa rõ của đơn nào"),
    Outcome.SETTLED: N_("không phải tiền mua hàng"),
    Outcome.RETURNED: N_("đã chuyển trả"),
}
