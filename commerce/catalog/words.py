"""What stored words of the catalogue are called on screens."""

from __future__ import annotations

from commerce.core.i18n import N_, translate

SELLERS = {"household": N_("Hộ gia đình"), "cooperative": N_("Hợp tác xã"), "company": N_("Công ty")}
INDUSTRIES = {
    "food": N_("Thực phẩm"),
    "drink": N_("Đồ uống"),
    "medicinal": N_("Dược liệu"),
    "handicraft": N_("Thủ công mỹ nghệ"),
    "ornamental": N_("Sinh vật cảnh"),
    "tourism": N_("Du lịch cộng đồng, sinh thái"),
}


def seller_kind(kind: str) -> str:
    return translate(SELLERS.get(kind, kind))


def industry(name: str) -> str:
    return translate(INDUSTRIES.get(name, name))
