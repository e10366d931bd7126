"""Folding, slugs and the Vietnamese order of names."""

from __future__ import annotations

import pytest

from commerce.core.text import clean, fold, mask_name, mask_phone, slugify, sort_key


@pytest.mark.parametrize(
    ("written", "typed"),
    [
        ("Cà phê", "ca phe"),
        ("Hòa Phú", "hoa phu"),
        ("Hoà Phú", "hoa phu"),
        ("Cư M'gar", "cu mgar"),
        ("Cư M’gar", "cu mgar"),
        ("Dliê Ya", "dlie ya"),
        ("Ea H'Leo", "ea hleo"),
        ("Đắk Lắk", "dak lak"),
        ("  BƯỞI   Năm-Roi ", "buoi nam roi"),
    ],
)
def test_folding_finds_what_people_type_in_a_hurry(written: str, typed: str) -> None:
    assert fold(written) == typed == fold(typed)


def test_folding_is_the_same_for_composed_and_decomposed_text() -> None:
    assert fold("Ea Knue\u0302\u0301c") == fold("Ea Knuếc") == "ea knuec"


def test_slugs() -> None:
    assert slugify("Cư M'gar") == "cu-mgar"
    assert slugify("Ea Knuếc") == "ea-knuec"


def test_names_sort_as_in_a_vietnamese_dictionary() -> None:
    ordered = [
        "An",
        "Ăn",
        "Ân",
        "Ba",
        "Bà",
        "Bả",
        "Bã",
        "Bá",
        "Bạ",
        "Da",
        "Đa",
        "Ea",
        "Ea H'Leo",
        "Ê",
        "O",
        "Ô",
        "Ơ",
    ]
    assert sorted(ordered, key=sort_key) == ordered


def test_letters_weigh_more_than_tones() -> None:
    assert sorted(["Bá B", "Bà C", "Ba A"], key=sort_key) == ["Ba A", "Bá B", "Bà C"]


def test_masks_leave_too_little_to_call() -> None:
    assert mask_phone("0901234567") == "090****567"
    assert mask_phone("113") == "****"
    assert mask_name("Nguyễn Thị Hoa") == "Nguyễn T. H."


def test_clean_takes_out_what_would_break_a_line() -> None:
    assert clean("  a\x00b\u202egnp\u2066  ") == "abgnp"
