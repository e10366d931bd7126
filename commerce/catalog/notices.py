"""What the law wants said beside certain goods, wherever they are offered. Not legal advice.

Vietnam: food that claims to protect health must say that it is no medicine (Decree 15/2018/NĐ-CP);
alcohol is not sold to anybody under 18, and its harm is said (Law 44/2019/QH14, articles 5 and 12).
"""

from __future__ import annotations

import re

from commerce.core.i18n import N_
from commerce.core.text import fold

NO_MEDICINE = N_("Sản phẩm này không phải là thuốc và không có tác dụng thay thế thuốc chữa bệnh.")
ALCOHOL = N_(
    "Uống rượu, bia có hại cho sức khoẻ. Không bán cho người dưới 18 tuổi. Đã uống thì không lái xe."
)

_ALCOHOL = re.compile(r"\b(ruou|bia|vang|wine)\b")


def notices(industry: str, name: str) -> list[str]:
    """Sentences (msgids) for a product of this industry and name."""
    found = []
    if industry == "medicinal":
        found.append(NO_MEDICINE)
    if industry == "drink" and _ALCOHOL.search(fold(name)):
        found.append(ALCOHOL)
    return found
