"""Paper as PDF, with a font that has all Vietnamese letters.

fpdf takes longer to load than the rest of the market: import this module where a paper is made.
"""

from __future__ import annotations

from collections.abc import Sequence

from fpdf import FPDF
from fpdf.enums import XPos, YPos

from commerce.core.html import STATIC

FONTS = STATIC / "fonts"


class Sheet(FPDF):
    """A document in our font, page by page; `size` by name or in millimetres."""

    def __init__(self, size: str | tuple[float, float] = "A4") -> None:
        super().__init__(format=size)
        self.add_font("Noto", "", FONTS / "NotoSans-Regular.ttf")
        self.add_font("Noto", "B", FONTS / "NotoSans-Bold.ttf")

    def line_of(self, text: str, size: float = 10, style: str = "", gap: float = 1.5) -> None:
        self.set_font("Noto", style, size)
        self.multi_cell(0, size * 0.5 + 1, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(gap)


class Paper(Sheet):
    """A4 with numbered pages and a foot."""

    def __init__(self, foot: str) -> None:
        super().__init__("A4")
        self.foot = foot
        self.set_auto_page_break(True, margin=20)
        self.set_margins(18, 16)
        self.add_page()

    def footer(self) -> None:
        self.set_y(-14)
        self.set_font("Noto", "", 8)
        self.cell(0, 6, f"{self.foot}   {self.page_no()}/{{nb}}", align="C")

    def table_of(self, heads: Sequence[str], rows: Sequence[Sequence[str]], widths: tuple[int, ...]) -> None:
        """`widths` in millimetres; all columns but the first are numbers."""
        self.set_font("Noto", "", 9)
        align = ("LEFT", *("RIGHT" for _ in widths[1:]))
        with self.table(col_widths=widths, text_align=align, line_height=5.5, padding=0.6) as table:
            for line in (heads, *rows):
                row = table.row()
                for cell in line:
                    row.cell(cell)
