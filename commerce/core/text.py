"""Vietnamese text: folding for search, slugs, and the order of the Vietnamese alphabet.

Folding drops what people leave out when they type in a hurry: case, tone marks wherever they sit
(`Hòa` and `Hoà`), the hats and horns of vowels, the bar of đ, and both apostrophes of Ê Đê names
(`Cư M'gar`, `Cư M’gar` -> `cu mgar`).

The embedded PostgreSQL has no ICU, so lists are sorted by a stored key made here: letters in alphabet
order first (a ă â b … d đ e ê …), then tones in dictionary order (level, huyền, hỏi, ngã, sắc, nặng).
"""

from __future__ import annotations

import re
import unicodedata

_APOSTROPHES = dict.fromkeys(map(ord, "'’‘ʼ`´"))
_ALPHABET = "aăâbcdđeêfghijklmnoôơpqrstuưvwxyz"
_RANK = {letter: index for index, letter in enumerate(_ALPHABET)}
_TONES = {"\u0300": 1, "\u0309": 2, "\u0303": 3, "\u0301": 4, "\u0323": 5}
_NOT_WORD = re.compile(r"[^a-z0-9]+")


def fold(text: str) -> str:
    """`Cà phê Cư M’gar` -> `ca phe cu mgar`: what search compares. Runs of other signs become one space."""
    lowered = text.translate(_APOSTROPHES).casefold().replace("đ", "d")
    bare = "".join(c for c in unicodedata.normalize("NFD", lowered) if not unicodedata.combining(c))
    return _NOT_WORD.sub(" ", bare).strip()


def search_text(*parts: str) -> str:
    """What a search box looks through: every part folded, each word after a space (`" hoa phu …"`).

    Words match from their beginning, so the query `ph` is looked up as `% ph%`. Names with an apostrophe
    are kept in both spellings people type: `cu mgar` and `cu m gar`.
    """
    spellings = dict.fromkeys(
        spelling
        for part in parts
        for spelling in (fold(part), fold(part.translate(dict.fromkeys(_APOSTROPHES, " "))))
        if spelling
    )
    return "".join(f" {spelling}" for spelling in spellings)


def slugify(text: str) -> str:
    """`Ea Knuếc` -> `ea-knuec`."""
    return fold(text).replace(" ", "-")


def sort_key(text: str) -> str:
    """A string whose plain byte order is the Vietnamese dictionary's order."""
    letters: list[str] = []
    tones: list[str] = []
    for char in unicodedata.normalize("NFC", text.translate(_APOSTROPHES).casefold()):
        parts = unicodedata.normalize("NFD", char)
        tone = next((_TONES[mark] for mark in parts if mark in _TONES), 0)
        letter = unicodedata.normalize("NFC", "".join(mark for mark in parts if mark not in _TONES))
        rank = _RANK.get(letter)
        if rank is not None:
            letters.append(chr(ord("A") + rank))
            tones.append(str(tone))
        elif letter.isdigit():
            letters.append(letter)
        elif letters and letters[-1] != " ":
            letters.append(" ")
    return "".join(letters).strip() + "\t" + "".join(tones)


def mask_phone(phone: str) -> str:
    """`0901234567` -> `090****567`: enough for the owner to know it, too little to call it."""
    return phone[:3] + "****" + phone[-3:] if len(phone) >= 7 else "****"


_PHONE_IN_TEXT = re.compile(
    r"(?<![0-9])(?:\+? ?84|0|[oO](?=[ .\-]?[0-9]))(?:[ .\-()]{0,2}[0-9oO]){8,10}(?![0-9])"
)


def mask_phones(text: str) -> str:
    """`A1 x2 0901.234.567` -> `A1 x2 090****567`: a comment as others may read it."""

    def masked(match: re.Match[str]) -> str:
        digits = re.sub(r"[^0-9oO]", "", match.group())
        return mask_phone(digits)

    return _PHONE_IN_TEXT.sub(masked, text)


def without_phones(text: str) -> str:
    """`thôn 3, 0901 234 567` -> `thôn 3, `."""
    return _PHONE_IN_TEXT.sub("", text)


def mask_name(name: str) -> str:
    """`Nguyễn Thị Hoa` -> `Nguyễn T. H.`: on screens that many see."""
    words = name.split()
    return " ".join([*words[:1], *(f"{word[0].upper()}." for word in words[1:])])


_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufeff]")


def clean(text: str) -> str:
    """What a person typed, in NFC, without control and direction-override characters, trimmed."""
    return _CONTROL.sub("", unicodedata.normalize("NFC", text)).strip()
