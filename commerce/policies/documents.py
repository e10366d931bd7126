"""The market's policies: files of this repository, one a version and language, never changed once published.

templates/policies/{policy}/{version}.{lang}.html; the version is the day it was written, the newest counts.
templates/policies/index.json holds the hash of every published text, so that a change of one is noticed
before it is shipped: a new text is a new file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from commerce.core.errors import NotFound
from commerce.core.i18n import DEFAULT, N_

FOLDER = Path(__file__).parents[2] / "templates" / "policies"
RULES = "rules"
PRIVACY = "privacy"
TITLES = {RULES: N_("Quy chế chợ"), PRIVACY: N_("Dữ liệu của bạn")}


@dataclass(frozen=True, slots=True)
class Document:
    policy: str
    version: str
    texts: dict[str, str]
    """By language; HTML of ours."""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.texts[DEFAULT].encode()).hexdigest()


@cache
def versions(policy: str) -> list[Document]:
    """The newest first."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((FOLDER / policy).glob("*.html"), reverse=True):
        version, lang, _ = path.name.split(".")
        found.setdefault(version, {})[lang] = path.read_text("utf-8")
    return [Document(policy, version, texts) for version, texts in found.items()]


def current(policy: str) -> Document:
    return versions(policy)[0]


def document(policy: str, version: str) -> Document:
    """Raises `NotFound`."""
    for one in versions(policy):
        if one.version == version:
            return one
    raise NotFound
