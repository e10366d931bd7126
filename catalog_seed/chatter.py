"""What the demo crowd says: remarks as people write them under a live session, and orders by comment."""

from __future__ import annotations

import random
import unicodedata

NAMES = (
    *("Lan Anh", "Tuấn Kiệt", "Mẹ Bống", "Ngọc Trâm", "Anh Dũng", "Cô Út", "Thu Hà", "Bảo Bình", "Chị Ba"),
    *("Hải Yến", "Minh Quân", "Mẹ Su", "Kim Chi", "Thanh Tâm", "Bé Na", "Phương Linh", "Gia Huy", "Dì Tư"),
    *(
        "Khánh Vy",
        "Quốc Bảo",
        "H'Ny",
        "Y Thịnh",
        "Mai Phương",
        "Thảo My",
        "Chú Năm",
        "Bích Ngọc",
        "Nhật Minh",
    ),
    *("Mẹ Tôm", "Diễm My", "Trung Kiên", "Hồng Nhung", "Út Hiền", "Tường Vi", "Đức Anh", "Bố Bin", "Sáu Lúa"),
)

REMARKS = (
    "Nhìn mê quá cả nhà ơi",
    "Sầu riêng này cơm vàng dữ",
    "Chào bí thư, chúc phiên đắt hàng ạ",
    "Hạng A với hạng B khác nhau chỗ nào vậy chị?",
    "Giao về Sài Gòn mấy ngày thì tới ạ",
    "Hà Nội có ship không shop",
    "Vườn nhìn thích ghê, cho xin ít gió",
    "Bao ăn không ạ, lỡ sượng thì sao",
    "Hôm trước mua rồi, ngon lắm mọi người",
    "Ủng hộ bà con mình",
    "Giá này là giá tại vườn luôn hả cô",
    "Có ăn thử được không bí thư ơi 😄",
    "Trái này mấy ký vậy",
    "cho hoi con hang khong a",
    "Mình ở Buôn Ma Thuột ghé vườn mua trực tiếp được không",
    "Quay gần gần cho coi gai với",
    "Để tủ lạnh được mấy ngày chị",
    "Nói tiếng Ê Đê đi chị ơi, dễ thương quá",
    "Cà phê có xay sẵn không ạ",
    "Mắc ca dễ tách không, nhà có con nhỏ",
    "Mật ong nguyên chất hay pha vậy ta",
    "tuyet voi qua",
    "❤️❤️❤️",
    "Xem từ đầu giờ, hay quá",
    "Có giấy kiểm tra gì không ạ",
    "Cho xem múi bên trong đi bí thư",
    "Mưa không mà nghe rào rào",
    "Bơ này sáp không chị",
    "Ship cod được kiểm hàng không",
    "Chia sẻ cho nhóm Zalo xóm rồi nha",
    "Lần đầu thấy bí thư bán hàng, ủng hộ",
    "Âm thanh nhỏ quá ạ",
    "Giờ nghe rõ rồi",
    "Tới mùa là nhớ Đắk Lắk",
    "Khăn thổ cẩm đẹp quá trời",
    "Bên mình có xuất khẩu không ạ",
    "Ngày mai có phiên nữa không",
    "Chuẩn bị nhận hàng thì báo trước giùm em",
    "Cô chú nông dân vất vả quá, thương",
    "Đặt rồi nha, chờ ship",
)

ORDERS = (
    "{code} x{n} {phone}",
    "chốt {n} {unit} {code} sđt {dotted}",
    "Cho em {n} {unit} {code} nha, {phone}",
    "chot {n}{unit} ma {lower} {phone}",
    "{code} {n}{unit} {intl}",
    "lấy {n} {unit} mã {lower}, sdt {phone}",
    "Chốt đơn {code} {n} {unit} giúp mình {dotted}",
    "{lower} x {n} sdt {phone} giao gio hanh chinh",
)

UNITS = {"kg": ("kg", "ký", "kí"), "box": ("hộp", "thùng"), "piece": ("cái", "chai"), "tonne": ("tấn",)}


def remark(dice: random.Random) -> str:
    return dice.choice(REMARKS)


def comment_order(dice: random.Random, code: str, unit: str, quantity: int, phone: str) -> str:
    """An order written into a comment, in one of the ways people write it."""
    text = dice.choice(ORDERS).format(
        code=code,
        lower=code.lower(),
        n=quantity,
        unit=dice.choice(UNITS.get(unit, ("cái",))),
        phone=phone,
        dotted=f"{phone[:4]}.{phone[4:7]}.{phone[7:]}",
        intl=f"+84{phone[1:]}",
    )
    return without_tones(text) if dice.random() < 0.3 else text


def without_tones(text: str) -> str:
    """As typed on a keyboard without Vietnamese letters."""
    bare = unicodedata.normalize("NFD", text.replace("đ", "d").replace("Đ", "D"))
    return "".join(char for char in bare if not unicodedata.combining(char))
