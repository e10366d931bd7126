"""Pages with gaps: the same text plain and compressed, whatever goes into the gaps."""

from __future__ import annotations

import gzip

from hypothesis import given
from hypothesis import strategies as st

from commerce.core.spliced import STORED_MOST, Spliced

MARKS = ("@one@", "@two@")


@given(st.lists(st.text() | st.sampled_from(MARKS)), st.text(), st.text())
def test_compressed_and_plain_are_the_text_with_its_gaps_filled(parts: list[str], one: str, two: str) -> None:
    text = "".join(parts)
    whole = "".join({"@one@": one, "@two@": two}.get(part, part) for part in parts)
    if "@one@" in whole or "@two@" in "".join(part for part in parts if part not in MARKS):
        return  # parts that make a mark by chance
    page = Spliced(text, MARKS)
    values = {"@one@": one, "@two@": two}
    assert page.plain(values).decode() == whole
    assert gzip.decompress(page.gzip(values)).decode() == whole


def test_values_longer_than_a_block_and_empty_ones() -> None:
    page = Spliced("a@one@b@two@", MARKS)
    long = "đường dẫn " * STORED_MOST
    assert gzip.decompress(page.gzip({"@one@": long, "@two@": ""})).decode() == f"a{long}b"


def test_the_shared_part_is_small() -> None:
    page = Spliced("<li>Sầu riêng</li>" * 3000 + "@one@", MARKS)
    assert len(page.gzip({"@one@": "ws://…"})) < len(page.plain({"@one@": "ws://…"})) / 20


def test_it_can_be_used_again_and_again() -> None:
    page = Spliced("x@one@y", MARKS)
    first, second = page.gzip({"@one@": "1"}), page.gzip({"@one@": "2"})
    assert (gzip.decompress(first), gzip.decompress(second)) == (b"x1y", b"x2y")
