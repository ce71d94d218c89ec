"""Which of the transactions that a hosted provider names are looked at, and in which order."""

from __future__ import annotations

from marketplace.payments.hosted.hosted_provider import next_to_look_at
from marketplace.store.told_transactions import ToldTransaction


def test_what_waits_longest_is_looked_at_first_in_whatever_order_it_is_told() -> None:
    names = [f"0x{number:03x}" for number in range(500)]
    settled = [ToldTransaction(each, 0, 1, {}, 1) for each in names[:200]]
    looked = [ToldTransaction(each, 0, 50) for each in names[200:300]]
    real = ToldTransaction("0xfff", 40)
    later = [ToldTransaction(each, 60) for each in names[300:]]

    chosen = next_to_look_at([*later, *settled, real, *looked])

    assert chosen[0] == real
    assert (len(chosen), set(looked) <= set(chosen[1:])) == (200, True)
