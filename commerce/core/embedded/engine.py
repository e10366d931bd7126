"""What the three engines have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from commerce.core.embedded.folder import DataFolder
from commerce.core.embedded.processes import Program


class Engine(ABC):
    """An engine in a data folder. `prepare` and `answers` may block; `program` and `environment` may not."""

    name: ClassVar[str]
    replaced_by: ClassVar[str]
    """The environment variable that names an outside server; if it is set, this engine is not started."""
    listeners: ClassVar[tuple[str, ...]]
    """Names of the ports it needs."""

    def __init__(self, folder: DataFolder, secrets: Mapping[str, str]) -> None:
        self.folder = folder
        self.secrets = secrets
        self.ports: dict[str, int] = {}

    def choose_ports(self) -> None:
        """Take the remembered ports, or new ones for those that somebody else has taken."""
        self.ports = self.folder.ports(self.listeners)

    @abstractmethod
    def prepare(self) -> None:
        """Make its folder ready; called once before its first start. Idempotent."""

    @abstractmethod
    def program(self) -> Program:
        """How to run it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it really serves: never true too early, False rather than an error while it does not."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """CHOPHIEN_* values by which the market's processes find it."""

    def tidy(self) -> None:  # noqa: B027 - most engines leave nothing behind
        """Remove what it left outside its folder; called after it has stopped."""
