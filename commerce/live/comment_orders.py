"""Reading orders out of comments ("chốt đơn"): `A1 x2 0901234567`, `chốt 2 thùng mã a1 sđt 0901.234.567`.

Parts come in any order, with or without tone marks, with the letter o for 0, the phone maybe in a second
comment. A reading is a help for the helper who confirms it, never an order: whatever leaves a doubt says so
in `doubts`, and `sure` is for readings without any.

A sure reading leaves no word unexplained: it holds only words that orders are made of, unless a telephone
number shows that it is meant. So talk in words nobody thought of here leaves a doubt by itself.

How it works: the text is folded, telephone numbers and line-up codes are cut out first (they hold digits
that are no quantities), the rest becomes a row of tokens, and every code gets the quantity that stands on
the side where this writer puts quantities: `2 A1 3 B2` before, `A1 2 B2 3` after.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from commerce.core import phone as phones

QUANTITY_MOST = 9_999  # more by comment is a trader, who is asked to leave a wholesale enquiry


class Doubt(StrEnum):
    UNKNOWN_CODE = "unknown_code"
    NO_QUANTITY = "no_quantity"
    """Nothing says how many and nothing says that this is an order: one is assumed."""
    FRACTION = "fraction"
    SEVERAL_QUANTITIES = "several_quantities"
    SEVERAL_PHONES = "several_phones"
    REPEATED_CODE = "repeated_code"
    LOOSE_CODE = "loose_code"
    """`a 1`: a code or the words "anh, 1…"."""
    QUESTION = "question"
    REFUSAL = "refusal"
    CHANGED = "changed"
    """It asks for a change, or a later comment of the same buyer says another quantity."""
    WORDS = "words"
    """Words that orders are not made of: an earlier order told, a wish, a comparison."""
    UNIT = "unit"
    """Another unit than the one it is sold by: two boxes of what is sold by the kilogram."""
    WHOLESALE = "wholesale"
    """Tonnes: an enquiry of a trader."""
    ORDERED_BEFORE = "ordered_before"
    """The same buyer said the same before, and that is an order already."""
    ODD_NUMBER = "odd_number"
    """A long number that is neither phone nor price: most often a phone with a digit wrong."""


class ReadLine(msgspec.Struct, frozen=True):
    code: str
    quantity: int
    unit: str | None = None


class Reading(msgspec.Struct, frozen=True):
    lines: list[ReadLine] = []
    phone: str | None = None
    sure: bool = False
    doubts: list[str] = []
    more: bool = False
    """The writer wants this on top of an earlier order (`thêm`, `nữa`)."""


_UNITS = {
    "kg": "kg kgs ky ki kilo kylo can yen ta",
    "box": "thung hop bich tui goi lo chai hu set combo",
    "tonne": "tan",
    "piece": "trai qua cai con cay bo phan suat",
}
_KILOGRAMS = {"yen": 10, "ta": 100}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words.split()}
_UNIT_WORD = "|".join(sorted(_UNIT_OF, key=len, reverse=True))
_NUMBER_WORDS = {
    "mot": 1,
    "hai": 2,
    "ba": 3,
    "bon": 4,
    "tu": 4,
    "nam": 5,
    "sau": 6,
    "bay": 7,
    "tam": 8,
    "chin": 9,
    "muoi": 10,
}
_INTENT = re.compile(
    r"\b(?:chot|lay|mua|dat|order|oder|ord|ship|giao|cho (?:em|minh|chi|anh|co|chu|toi|e|m|c|a)|don)\b"
)
_REFUSAL = re.compile(
    r"\b(?:huy|bo don|(?:khong|ko|k|hok|kh|dung) (?:ai )?(?:lay|mua|dat|chot|can|ship)|khoi)\b|^thoi\b"
)
_QUESTION = re.compile(
    r"\?|\b(?:bao nhieu|bn|nhiu|nhieu tien|gia sao|hoi|duoc khong|dc ko|may (?:tien|trai|hop|ngay|kg|ky|gio)"
    r"|khac gi|la gi|nao|con hang|con may)\b|\bcon\b.*\b(?:khong|ko|hong|hok)\b"
    r"|\b(?:xin|bao|inbox|ib) gia\b|\b(?:khong|ko|hong|hok|hon|chua|ha)\W*$"
)
_CHANGE = re.compile(r"\b(?:doi|sua|hoac|hay|khoang|neu|nham|lon)\b")
_EARLIER = re.compile(
    r"\b(?:hom (?:qua|truoc|kia)|lan truoc|(?:da|moi|chua) (?:nhan|giao|thay|co)|khieu nai|tra lai|hoan tien"
    r"|toi dau|cua (?:em|minh|chi|anh|toi)|bi (?:hu|thoi|dap|suong|thieu|loi))\b"
)
_EACH = re.compile(r"\bmoi (?:loai|ma|thu|mon|cai)\b")
_MORE = re.compile(r"\b(?:them|nua)\b")
_MENTION = re.compile(r"@[\w.]+|\bhttps?:\S+|\bwww\.\S+")
_WHERETO = re.compile(r"\b(?:giao|ship|gui|ve|den|dia chi|dc)\b[^,\x01]*")
_ODD_NUMBER = re.compile(r"[0-9]{5}")
_WORDS_OF_ORDERS = """
    chot lay mua dat order oder ord don hang ship giao gui cho giup gium dum book can muon xin ung ho
    xa ba giu de lai tinh len vs chau bac phan em minh chi anh co chu toi con me ong di cau ban nha
    shop ad admin bi thu ten lan nhe nhen nghen hen da vang oi nua luon ne voi va cung ca them day roi
    thoi nay ma so loai mon moi sau rieng phe bo tieu mac mat gao luong sl tong sdt dt dien thoai tel
    phone zalo lh lien he goi alo cod ck chuyen khoan tien thanh toan khi nhan tra gia deal giam luc
    truoc dong vnd gio
"""
_ORDER_WORDS = frozenset(_WORDS_OF_ORDERS.split())

_DIGIT = r"[ .\-()]{0,2}[0-9o]"
_PHONE = re.compile(
    r"(?<![0-9a-z])\(?(?:(?:\+ ?84|0084|84)\)?(?: ?\(0\))?|0|o)\)?"
    rf"(?:[ .\-()]{{0,2}}2(?:{_DIGIT}){{9}}|(?:{_DIGIT}){{9}})(?![0-9o])"
)
_BARE_PHONE = re.compile(r"\b(?:sdt|dt|so|tel|phone|zalo)[ :.]*([35789](?:[ .\-]?[0-9o]){8})(?![0-9])")
_CODE = re.compile(r"(?:(?<![0-9a-z])|(?<=[0-9]x))([a-wyz])([ .\-]?)([0-9][0-9o]?)(?=x ?[0-9]|[^0-9a-z]|$)")
_PRICE = re.compile(
    r"\b[0-9]{1,3}(?:[.,][0-9]{3})+(?: ?(?:d|dong|vnd))?\b"
    r"|\b[0-9]+ ?(?:k|nghin|ngan|ng|dong|vnd|d|tr|trieu|h|gio)\b|\b[0-9]+ ?%"
)
_FRACTION = re.compile(
    r"\b[0-9]+[.,][0-9]{1,2}(?![0-9])"  # 1,5
    rf"|\bnua(?= (?:{_UNIT_WORD})\b)|(?<![a-z])(?:{_UNIT_WORD}) ruoi\b"  # nửa ký, ký rưỡi
    r"|\b[0-9]+ ?(?:kg|ky|ki)[0-9]\b"  # 2kg5
    r"|\bchuc\b"  # ten, in some places twelve
)
_TOKEN = re.compile(
    rf"(?P<code>\x01[0-9]+\x02)"
    rf"|(?:x|sl|so luong|\*) ?:? ?(?P<times>[0-9]+)(?: ?(?P<times_unit>{_UNIT_WORD})\b)?"
    rf"|\b(?P<count>[0-9]+) ?(?:(?P<unit>{_UNIT_WORD})\b|(?P<x>x)(?![0-9a-z]))"
    rf"|\b(?P<word>{'|'.join(_NUMBER_WORDS)}) (?P<word_unit>{_UNIT_WORD})\b"
    rf"|(?P<asked>\b(?:lay|chot|mua|dat|them|cho|order|oder|ship) )?"
    rf"\b(?P<bare>[0-9]+)\b(?! ?(?:{_UNIT_WORD})\b)"
    rf"|(?P<other>[a-z]+)"
)


@dataclass(slots=True)
class _Amount:
    quantity: int
    unit: str | None
    at: int
    bare: bool = False
    used: bool = False


@dataclass(slots=True)
class _Code:
    code: str
    at: int
    amount: _Amount | None = None


def read(text: str, codes: Collection[str] | Mapping[str, str]) -> Reading | None:
    """What a comment orders from a line-up with these codes; None when it holds neither code nor phone.

    Given as a mapping, `codes` says by which unit each is sold, and another unit leaves a doubt.
    """
    folded = _fold(_MENTION.sub(" ", text))
    doubts: list[Doubt] = []
    phone, folded = _take_phone(folded, doubts)
    found, folded = _take_codes(folded, codes, doubts)
    if not found:
        meant = phone or (doubts and _INTENT.search(folded))
        return Reading(phone=phone, doubts=_names(doubts)) if meant else None
    rest = _PRICE.sub(" ", folded)
    items, amounts = _tokens(rest, found)
    doubts += _doubts_of_words(folded, rest, phone)
    _assign(items, amounts, bool(_EACH.search(folded)), doubts)
    lines = _lines(items, doubts)
    intent = bool(_INTENT.search(folded)) or phone is not None
    if not any(item.amount for item in items) and not intent:
        doubts.append(Doubt.NO_QUANTITY)
    if isinstance(codes, Mapping):
        doubts += _doubts_of_units(lines, codes)
    return Reading(lines, phone, not doubts, _names(doubts), bool(_MORE.search(folded)))


def join(readings: Iterable[Reading]) -> Reading | None:
    """One buyer's comments, oldest first, as one order: the same thing said twice counts once, `thêm` adds,
    another quantity replaces the earlier one and leaves a doubt; the last phone is the phone. Questions and
    bare codes say nothing beside a comment that says how many."""
    readings = list(readings)
    if any(reading.lines and not _is_idle(reading) for reading in readings):
        readings = [Reading(phone=r.phone) if _is_idle(r) else r for r in readings]
    lines: dict[str, ReadLine] = {}
    phone: str | None = None
    doubts: set[str] = set()
    for reading in readings:
        phone = reading.phone or phone
        if Doubt.REFUSAL in reading.doubts:
            lines.clear()
            doubts = {Doubt.REFUSAL.value}
            continue
        doubts.update(reading.doubts)
        for line in reading.lines:
            before = lines.get(line.code)
            if before is None or (before == line and not reading.more):
                lines[line.code] = line
            elif reading.more:
                lines[line.code] = ReadLine(line.code, before.quantity + line.quantity, before.unit)
            else:
                lines[line.code] = line
                doubts.add(Doubt.CHANGED.value)
    if not lines and phone is None:
        return None
    sure = bool(lines) and phone is not None and not doubts
    return Reading(list(lines.values()), phone, sure, sorted(doubts))


# ---- steps


def _is_idle(reading: Reading) -> bool:
    said = set(reading.doubts)
    return Doubt.REFUSAL not in said and not said.isdisjoint({Doubt.QUESTION, Doubt.NO_QUANTITY})


def _doubts_of_words(folded: str, rest: str, phone: str | None) -> Iterable[Doubt]:
    """`rest`: without prices as well."""
    if _QUESTION.search(folded):
        yield Doubt.QUESTION
    if _REFUSAL.search(folded):
        yield Doubt.REFUSAL
    if _CHANGE.search(folded):
        yield Doubt.CHANGED
    if _FRACTION.search(rest):
        yield Doubt.FRACTION
    if _ODD_NUMBER.search(rest):
        yield Doubt.ODD_NUMBER
    if _EARLIER.search(folded):
        yield Doubt.WORDS
    elif phone is None:
        words = re.findall(r"[a-z]{2,}", _WHERETO.sub(" ", rest))
        if any(w not in _ORDER_WORDS and w not in _UNIT_OF and w not in _NUMBER_WORDS for w in words):
            yield Doubt.WORDS


def _doubts_of_units(lines: list[ReadLine], units: Mapping[str, str]) -> Iterable[Doubt]:
    for line in lines:
        if line.unit == "tonne" and units[line.code] != "tonne":
            yield Doubt.WHOLESALE
        elif line.unit is not None and line.unit != units[line.code]:
            yield Doubt.UNIT


def _fold(text: str) -> str:
    """Lower case without marks; digits, the signs of numbers and question marks stay."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("đ", "d").replace("×", "x")
    bare = "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))
    return " ".join(re.sub(r"[^0-9a-z+.,*()?:%\- ]", " ", bare).split())


def _take_phone(text: str, doubts: list[Doubt]) -> tuple[str | None, str]:
    numbers: list[str] = []

    def cut(match: re.Match[str]) -> str:
        written = match.group(match.lastindex or 0).replace("o", "0")
        number = phones.normalise(re.sub(r"[ .\-()]", "", written))
        if number is None:
            return match.group()
        if number not in numbers:
            numbers.append(number)
        return " , "

    rest = _BARE_PHONE.sub(cut, _PHONE.sub(cut, text))
    if len(numbers) > 1:
        doubts.append(Doubt.SEVERAL_PHONES)
        return None, rest
    return (numbers[0] if numbers else None), rest


def _take_codes(text: str, codes: Collection[str], doubts: list[Doubt]) -> tuple[list[str], str]:
    """Codes found, in order; each is replaced in the text by a mark that no other pattern reads."""
    found: list[str] = []

    def cut(match: re.Match[str]) -> str:
        letter, gap, number = match.groups()
        code = f"{letter}{number.replace('o', '0')}".upper()
        named = bool(re.search(r"\bma (?:so )?$", text[: match.start()]))
        if code not in codes:
            if not gap or named:
                doubts.append(Doubt.UNKNOWN_CODE)
            return match.group() if gap else " "
        if gap == " " and not named:
            if re.match(rf" ?(?:{_UNIT_WORD})\b", text[match.end() :]):
                return match.group()  # "a 2 kg": a person and a quantity
            doubts.append(Doubt.LOOSE_CODE)
        found.append(code)
        return f" \x01{len(found) - 1}\x02 "

    rest = _CODE.sub(cut, text)
    return found, rest


def _tokens(text: str, found: list[str]) -> tuple[list[_Code], list[_Amount]]:
    items: list[_Code] = []
    amounts: list[_Amount] = []
    for at, token in enumerate(_TOKEN.finditer(text)):
        part = token.groupdict()
        if part["code"]:
            items.append(_Code(found[int(part["code"][1:-1])], at))
        elif part["times"]:
            amounts.append(_amount(int(part["times"]), part["times_unit"], at))
        elif part["count"]:
            amounts.append(_amount(int(part["count"]), part["unit"], at))
        elif part["word"]:
            amounts.append(_amount(_NUMBER_WORDS[part["word"]], part["word_unit"], at))
        elif part["bare"]:
            amounts.append(_Amount(int(part["bare"]), None, at, bare=not part["asked"]))
    return items, amounts


def _amount(number: int, unit: str | None, at: int) -> _Amount:
    return _Amount(number * _KILOGRAMS.get(unit or "", 1), _UNIT_OF.get(unit or ""), at)


def _assign(items: list[_Code], amounts: list[_Amount], each: bool, doubts: list[Doubt]) -> None:
    """Give each code its quantity; a bare number counts only right beside a code."""
    places = {item.at for item in items}
    usable = [a for a in amounts if each or not a.bare or a.at - 1 in places or a.at + 1 in places]
    if any(not 0 < a.quantity <= QUANTITY_MOST for a in usable):
        doubts.append(Doubt.NO_QUANTITY)
        usable = [a for a in usable if 0 < a.quantity <= QUANTITY_MOST]
    if not usable:
        if amounts:
            doubts.append(Doubt.NO_QUANTITY)  # there is a number, but whose?
        return
    if each and len(usable) == 1:
        usable[0].used = True
        for item in items:
            item.amount = usable[0]
        return
    if each:
        doubts.append(Doubt.SEVERAL_QUANTITIES)
    before_first = usable[0].at < items[0].at
    edges = [-1, *(item.at for item in items), 1_000_000]
    for i, item in enumerate(items, start=1):
        ahead = [a for a in usable if edges[i - 1] < a.at < item.at and not a.used]
        after = [a for a in usable if item.at < a.at < edges[i + 1] and not a.used]
        near = (ahead[-1:] or after[:1]) if before_first else (after[:1] or ahead[-1:])
        if near:
            item.amount = near[0]
            near[0].used = True
    if any(not a.used and not a.bare for a in usable):
        doubts.append(Doubt.SEVERAL_QUANTITIES)


def _lines(items: list[_Code], doubts: list[Doubt]) -> list[ReadLine]:
    lines: dict[str, ReadLine] = {}
    counted = {item.code for item in items if item.amount}
    if counted and any(item.code not in counted for item in items):
        doubts.append(Doubt.NO_QUANTITY)  # "A1 2kg A2"
    for item in items:
        if item.code in counted and item.amount is None:
            continue  # "A1 A1 2kg": named twice, counted once
        line = ReadLine(
            item.code,
            item.amount.quantity if item.amount else 1,
            item.amount.unit if item.amount else None,
        )
        if item.code in lines and lines[item.code] != line:
            doubts.append(Doubt.REPEATED_CODE)
        lines[item.code] = line
    return list(lines.values())


def _names(doubts: Iterable[Doubt]) -> list[str]:
    return sorted({doubt.value for doubt in doubts})
