"""Goods that farmers here usually list: one tap fills in what is the same for everybody.

The words become the product's own words and may be changed; they are content, said in Vietnamese.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usual:
    """`step`: by how many dong the big price buttons go; `price`: where they begin."""

    key: str
    name: str
    unit: str
    industry: str
    art: str
    price: int
    step: int
    shelf_life: str
    grades: tuple[str, ...] = ("",)
    fresh: bool = False


ABC = ("A", "B", "C")
USUAL = (
    Usual("durian", "Sầu riêng", "kg", "food", "durian", 90_000, 5_000, "5 ngày sau khi cắt", ABC, True),
    Usual("coffee", "Cà phê rang xay", "box", "drink", "coffee", 150_000, 5_000, "12 tháng, để nơi khô ráo"),
    Usual("pepper", "Hồ tiêu đen", "kg", "food", "pepper", 180_000, 5_000, "24 tháng, để nơi khô ráo"),
    Usual("avocado", "Bơ sáp", "kg", "food", "avocado", 40_000, 1_000, "5 ngày từ khi hái", ("A", "B"), True),
    Usual("macadamia", "Mắc ca sấy", "kg", "food", "macadamia", 220_000, 5_000, "12 tháng, đậy kín"),
    Usual("honey", "Mật ong hoa cà phê", "box", "food", "honey", 250_000, 5_000, "24 tháng, tránh nắng"),
    Usual("passion", "Chanh dây", "kg", "food", "passion", 25_000, 1_000, "7 ngày sau khi hái", ("",), True),
    Usual("rice", "Gạo", "kg", "food", "rice", 25_000, 1_000, "6 tháng, để nơi khô ráo"),
    Usual("beef", "Bò một nắng", "kg", "food", "beef", 480_000, 10_000, "6 tháng trong ngăn đá"),
    Usual("wine", "Rượu cần", "piece", "drink", "wine", 350_000, 10_000, "12 tháng, để nơi mát"),
    Usual("brocade", "Khăn thổ cẩm", "piece", "handicraft", "brocade-cloth", 300_000, 10_000, ""),
)
