"""What several looks found, put together."""

from __future__ import annotations

from collections import Counter

import pytest

from chains.tron.scan.candidates import CandidateTransactions
from chains.tron.transfer_log import TransferLog
from devnet.tron.ledger import USDT
from tests.chains.tron_world import BUYER, SHOP

TX = "ab" * 32


def looked(*amounts: int) -> CandidateTransactions:
    events = [TransferLog(USDT, BUYER, SHOP, amount) for amount in amounts]
    return CandidateTransactions(1, told={TX: events})


@pytest.mark.parametrize(
    ("one", "other", "both"), [([7] * 3, [], [7] * 3), ([7] * 3, [7], [7] * 3), ([7], [7, 7, 8], [7, 7, 8])]
)
def test_of_equals_there_are_as_many_as_the_look_that_shows_most_of_them_shows(
    one: list[int], other: list[int], both: list[int]
) -> None:
    for first, second in ((one, other), (other, one)):
        found = CandidateTransactions(1)
        found.take(looked(*first))
        found.take(looked(*second))
        assert Counter(event.value for event in found.told[TX]) == Counter(both)
