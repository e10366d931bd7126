"""What stored words of the catalogue are called on screens."""

from __future__ import annotations

from typing import Any

from commerce.core.i18n import N_, translate
from commerce.core.money import Money, format_money

SELLERS = {"household": N_("Hộ gia đình"), "cooperative": N_("Hợp tác xã"), "company": N_("Công ty")}
INDUSTRIES = {
    "food": N_("Thực phẩm"),
    "drink": N_("Đồ uống"),
    "medicinal": N_("Dược liệu"),
    "handicraft": N_("Thủ công mỹ nghệ"),
    "ornamental": N_("Sinh vật cảnh"),
    "tourism": N_("Du lịch cộng đồng, sinh thái"),
}
PAPERS = {
    "safety": N_("Giấy an toàn thực phẩm"),
    "quality": N_("Phiếu kiểm nghiệm chất lượng"),
    "area_code": N_("Mã số vùng trồng"),
    "origin": N_("Giấy xác nhận nguồn gốc"),
    "other": N_("Giấy tờ khác"),
}
ACTS = {
    "registered": N_("mở gian hàng"),
    "seller_edited": N_("sửa thông tin gian hàng"),
    "listed": N_("đăng món {product}"),
    "revised": N_("sửa món {product}"),
    "price": N_("đổi giá {product}{grade}: {before} thành {price}"),
    "graded": N_("thêm giá {product}{grade}: {price}"),
    "retired": N_("thôi bán {product}{grade}"),
    "stock": N_("sửa số lượng {product}{grade}: còn {left}"),
    "paused": N_("tạm nghỉ bán {product}"),
    "resumed": N_("bán lại {product}"),
    "packed": N_("đóng gói đơn {order}"),
}
GRADE = N_(" loại {grade}")


def paper(kind: str) -> str:
    return translate(PAPERS.get(kind, kind))


def act(what: str, detail: dict[str, Any]) -> str:
    """What was done for a seller, as the rest of a sentence: "đăng món Sầu riêng: loại A 95.000 ₫"."""
    grade = detail.get("grade")
    values = {
        "product": detail.get("product", ""),
        "grade": translate(GRADE).format(grade=grade) if grade else "",
        "left": format_number(detail.get("left", detail.get("counted", 0))),
        "order": detail.get("order", ""),
        "price": format_money(Money(detail.get("price", 0))),
        "before": format_money(Money(detail.get("before", 0))),
    }
    text = translate(ACTS.get(what, what)).format(**values)
    offers = [
        " ".join(part for part in (one["name"], format_money(Money(one["price"]))) if part)
        for one in detail.get("offers", [])
    ]
    return f"{text}: {', '.join(offers)}" if offers else text


def format_number(value: int) -> str:
    return f"{value:,}".replace(",", ".")


def seller_kind(kind: str) -> str:
    return translate(SELLERS.get(kind, kind))


def industry(name: str) -> str:
    return translate(INDUSTRIES.get(name, name))
