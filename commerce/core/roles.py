"""Who may do what: the roles, and the signed-in person as the rest of the code sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from commerce.core.errors import Forbidden


class Role(StrEnum):
    HOST = "host"  # commune secretary
    HELPER = "helper"
    OFFICER = "officer"  # commune staff
    SELLER = "seller"
    PROVINCE = "province"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in person: `grants` are pairs of role and commune code (None: the whole province)."""

    person_id: int
    sign_in_id: int
    name: str
    phone: str
    grants: frozenset[tuple[Role, str | None]]

    @property
    def roles(self) -> frozenset[Role]:
        return frozenset(role for role, _ in self.grants)

    def has(self, *roles: Role) -> bool:
        return not self.roles.isdisjoint(roles)

    def communes(self, *roles: Role) -> frozenset[str | None]:
        """Where the person holds one of `roles`; None in it means everywhere."""
        return frozenset(commune for role, commune in self.grants if role in roles)

    def may(self, commune: str, *roles: Role) -> bool:
        """One of `roles` in this commune, or administrator."""
        places = self.communes(*roles)
        return commune in places or None in places or Role.ADMIN in self.roles

    def must(self, commune: str, *roles: Role) -> None:
        """Raises `Forbidden` unless `may`."""
        if not self.may(commune, *roles):
            raise Forbidden
