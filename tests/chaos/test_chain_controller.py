"""What the token itself moved is told apart for each payment of a transaction."""

from __future__ import annotations

from tests.chaos.chain_controller import paired
from tests.chaos.facts import ChainTransfer

TOKEN, OTHER, SHOP, BUYER = "0xa1", "0xa2", "0xb1", "0xb2"


def event(index: int, amount: int, *, tx: str = "tx") -> ChainTransfer:
    return ChainTransfer(7, index, tx, TOKEN, SHOP, amount, f"topic {index}")


def log(index: int, amount: int, *, tx: str = "tx", token: str = TOKEN, to: str = SHOP) -> ChainTransfer:
    return ChainTransfer(7, index, tx, token, to, amount, credited=amount)


def credited(events: list[ChainTransfer], moved: list[ChainTransfer]) -> list[int | None]:
    return [one.credited for one in paired(events, moved)]


def test_each_event_has_what_was_moved_since_the_one_before() -> None:
    moved = [log(0, 400), log(2, 700), log(5, 9)]
    assert credited([event(3, 700), event(1, 400)], moved) == [400, 700]


def test_an_event_after_which_the_token_moved_has_nothing() -> None:
    assert credited([event(0, 400), event(3, 400)], [log(2, 400)]) == [None, 400]


def test_one_movement_stands_behind_one_event() -> None:
    assert credited([event(1, 400), event(2, 400)], [log(0, 400)]) == [400, None]


def test_what_another_token_transaction_or_payee_got_counts_for_nothing() -> None:
    moved = [log(0, 400, token=OTHER), log(1, 400, to=BUYER), log(2, 400, tx="another")]
    assert credited([event(3, 400)], moved) == [None]


def test_what_a_token_kept_is_seen() -> None:
    assert credited([event(2, 400)], [log(0, 396), log(1, 4, to=BUYER)]) == [396]
