"""The catalogues hold every sentence of code and templates, nothing else, and say it with the same fields."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Catalog, Message

from commerce.core.i18n import translate
from templates import words

FIELDS = re.compile(r"\{(\w*(?::[^}]*)?)\}")


def key(message: Message) -> str:
    return str(message.id if isinstance(message.id, str) else message.id[0])


def sentences(catalog: Catalog) -> dict[str, Message]:
    return {key(message): message for message in catalog if message.id}


@pytest.fixture(scope="module")
def written() -> dict[str, Message]:
    return sentences(words.extract())


def test_sentences_are_found_in_code_and_templates(written: dict[str, Message]) -> None:
    places = {name for message in written.values() for name, _ in message.locations}
    assert "commerce/core/errors.py" in places
    assert "templates/market/session.html" in places
    assert "Không tìm thấy" in written


@pytest.mark.parametrize("lang", words.TRANSLATED)
def test_nothing_is_missing_unused_or_empty(lang: str, written: dict[str, Message]) -> None:
    known = sentences(words.read(lang))
    missing = sorted(set(written) - set(known))
    unused = sorted(set(known) - set(written))
    empty = sorted(k for k, message in known.items() if not message.string or message.fuzzy)
    advice = "run `python -m templates.words`, then translate what is empty"
    assert not missing, f"{advice}: {missing}"
    assert not unused, f"{advice}: {unused}"
    assert not empty, f"not translated: {empty}"


@pytest.mark.parametrize("lang", words.TRANSLATED)
def test_translations_have_the_fields_of_their_sentence(lang: str) -> None:
    wrong = [
        k
        for k, message in sentences(words.read(lang)).items()
        if set(FIELDS.findall(k)) != set(FIELDS.findall(str(message.string)))
    ]
    assert not wrong


def test_no_lone_percent_sign_in_templates(written: dict[str, Message]) -> None:
    """Jinja's gettext formats every sentence with `%`: a lone one would break the page."""
    wrong = [
        k
        for k, message in written.items()
        if "%" in k.replace("%%", "") and any(name.endswith(".html") for name, _ in message.locations)
    ]
    assert not wrong


def test_a_sentence_is_said_in_both_languages() -> None:
    assert translate("Đặt hàng", "vi") == "Đặt hàng"
    assert translate("Đặt hàng", "en") == "Order"
