"""Words on screens: gettext with the Vietnamese sentence as msgid, English as the translation.

The catalogues are read straight from the .po files at start, so that there is no compile step to forget.
"""

from __future__ import annotations

import io
from contextvars import ContextVar
from functools import cache
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LANGUAGES = ("vi", "en")
DEFAULT = "vi"
CATALOGUES = Path(__file__).parents[2] / "templates" / "locale"

current_language: ContextVar[str] = ContextVar("current_language", default=DEFAULT)


def N_(message: str) -> str:
    """Marks a sentence for the catalogues where it is written; it is translated where it is shown."""
    return message


@cache
def catalogue(lang: str) -> NullTranslations:
    path = CATALOGUES / lang / "LC_MESSAGES" / "messages.po"
    if not path.exists():
        return NullTranslations()
    with path.open("rb") as source:
        parsed = read_po(source, locale=lang)
    compiled = io.BytesIO()
    write_mo(compiled, parsed)
    compiled.seek(0)
    return Translations(fp=compiled)


def translate(message: str, lang: str | None = None) -> str:
    """The sentence in `lang` (the request's by default)."""
    return catalogue(lang or current_language.get()).gettext(message) if message else ""


def ntranslate(singular: str, plural: str, n: int, lang: str | None = None) -> str:
    return catalogue(lang or current_language.get()).ngettext(singular, plural, n)


def choose_language(cookie: str | None, accept: str | None) -> str:
    """The visitor's choice, else the first language of Accept-Language that is ours, else Vietnamese."""
    if cookie in LANGUAGES:
        return cookie
    for part in (accept or "").split(","):
        name = part.split(";")[0].strip().lower().split("-")[0]
        if name in LANGUAGES:
            return name
    return DEFAULT
