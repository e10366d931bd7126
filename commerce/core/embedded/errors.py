"""What can go wrong with the engines, each with a sentence for the person at the terminal."""

from __future__ import annotations

from pathlib import Path


class EngineError(Exception):
    """An engine cannot be run. The text is one plain sentence."""


class FolderInUse(EngineError):
    """Another instance works in this data folder."""

    def __init__(self, folder: Path, holder: str) -> None:
        self.folder = folder
        super().__init__(
            f"The data folder {folder} is in use by {holder}. "
            "Stop that one first, or choose another --data-dir."
        )


class FolderUnusable(EngineError):
    """The data folder cannot be made, read or written."""

    def __init__(self, folder: Path, why: str) -> None:
        self.folder = folder
        super().__init__(
            f"The data folder {folder} cannot be used: {why}. Mend that, or choose another --data-dir."
        )


class EngineFailed(EngineError):
    """An engine ended again and again before it was ready."""

    def __init__(self, name: str, log: Path, last_lines: str) -> None:
        super().__init__(f"{name} does not start. The end of its log ({log}) says:\n{last_lines}")
