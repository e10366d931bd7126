"""The catalogues of sentences: what is written in code and templates, and what is translated.

`python -m templates.words` brings every catalogue up to date: new sentences are added empty, those that
are no longer used are dropped, translations are kept. The tests fail while one is missing, unused or empty.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "templates" / "locale"
TRANSLATED = ("en",)
KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "N_": None,
    "translate": None,
    "gettext": None,
    "ntranslate": (1, 2),
    "ngettext": (1, 2),
}


def extract() -> Catalog:
    """Every sentence marked in code and templates, with the files it stands in."""
    with (LOCALE / "babel.cfg").open(encoding="utf-8") as config:
        methods, options = parse_mapping_cfg(config)  # type: ignore[no-untyped-call]
    found = Catalog(fuzzy=False)
    rows = extract_from_dir(
        ROOT, method_map=methods, options_map=options, keywords=KEYWORDS, directory_filter=_ours
    )
    for name, _line, message, _comments, _context in rows:
        found.add(message, locations=[(Path(name).as_posix(), 0)])
    return found


def _ours(directory: str | os.PathLike[str]) -> bool:
    """Not hidden folders, nor what packages brought."""
    name = Path(directory).name
    return not name.startswith((".", "_")) and name not in ("node_modules", "vendor", "tests")


def path_of(lang: str) -> Path:
    return LOCALE / lang / "LC_MESSAGES" / "messages.po"


def read(lang: str) -> Catalog:
    """The catalogue as it is; an empty one when there is none yet."""
    path = path_of(lang)
    if not path.exists():
        return Catalog(locale=lang)
    with path.open("rb") as source:
        return read_po(source, locale=lang)


def update(lang: str) -> tuple[int, int]:
    """Writes the catalogue anew; returns how many sentences it has and how many are not translated yet."""
    known = read(lang)
    fresh = Catalog(locale=lang, fuzzy=False, header_comment=f"# Chợ Phiên, {lang}. The keys are Vietnamese.")
    fresh.mime_headers = [("Content-Type", "text/plain; charset=utf-8")]
    for message in extract():
        if not message.id:
            continue
        old = known.get(message.id if isinstance(message.id, str) else message.id[0])
        fresh.add(message.id, old.string if old else "", locations=message.locations)
    path = path_of(lang)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        write_po(target, fresh, width=0, sort_output=True, include_lineno=False)
    return len(fresh), sum(1 for message in fresh if message.id and not message.string)


def main() -> int:
    for lang in TRANSLATED:
        total, empty = update(lang)
        click.echo(f"{path_of(lang).relative_to(ROOT)}: {total} sentences, {empty} to translate")
    return 0


if __name__ == "__main__":
    sys.exit(main())
