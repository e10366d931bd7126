from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.tickets import Kind, TicketError, TicketExpired, TicketForged, Tickets, TicketWrongRoom

tickets = Tickets("a secret of the market")


def test_a_ticket_says_who_came_from_where() -> None:
    token = tickets.sign("EAKNUEC", "v-1_x", "zalo", Kind.STAFF)
    ticket = tickets.verify(token, "EAKNUEC")
    assert (ticket.room, ticket.visitor, ticket.source) == ("EAKNUEC", "v-1_x", "zalo")
    assert ticket.kind is Kind.STAFF
    assert len(token) < 120


def test_it_opens_its_room_only() -> None:
    token = tickets.sign("EAKNUEC", "v1")
    for room in ("EAKNUE", "EAKNUEC@host", "eaknuec", ""):
        with pytest.raises(TicketWrongRoom):
            tickets.verify(token, room)


def test_it_ends() -> None:
    with pytest.raises(TicketExpired):
        tickets.verify(tickets.sign("X", "v1", lifetime_s=0), "X")
    assert tickets.verify(tickets.sign("X", "v1", lifetime_s=5), "X")


def test_another_market_cannot_sign() -> None:
    with pytest.raises(TicketForged):
        tickets.verify(Tickets("another secret").sign("X", "v1"), "X")


@given(st.integers(0, 200), st.integers(1, 255))
def test_no_byte_of_it_can_be_changed(position: int, change: int) -> None:
    token = tickets.sign("EAKNUEC", "v1")
    position %= len(token) - 1  # the last letter holds bits that mean nothing
    altered = token[:position] + chr(ord(token[position]) ^ change) + token[position + 1 :]
    with pytest.raises(TicketForged):
        tickets.verify(altered, "EAKNUEC")


@given(st.text())
def test_anything_else_is_refused_as_forged(text: str) -> None:
    with pytest.raises(TicketError):
        tickets.verify(text, "EAKNUEC")


@pytest.mark.parametrize("room", ["", "a b", "X|Y", "X@", "X@HOST", "x" * 41, "Ea Knuếc"])
def test_only_plain_words_are_signed(room: str) -> None:
    with pytest.raises(ValueError, match="not a room"):
        tickets.sign(room, "v1")


@pytest.mark.parametrize(("visitor", "source"), [("", "zalo"), ("v|1", "zalo"), ("v1", ""), ("v1", "a b")])
def test_no_field_can_smuggle_another(visitor: str, source: str) -> None:
    with pytest.raises(ValueError, match="not a visitor or source"):
        tickets.sign("X", visitor, source)
