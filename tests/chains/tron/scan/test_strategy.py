"""Which way to look for payments needs fewer calls."""

from __future__ import annotations

import pytest

from chains.tron.scan.strategy import ScanStrategy, choose_strategy


@pytest.mark.parametrize(
    ("destinations", "blocks", "way"),
    [
        (1, 25, ScanStrategy.ACCOUNTS),
        (24, 25, ScanStrategy.ACCOUNTS),
        (25, 25, ScanStrategy.BLOCKS),
        (1000, 5, ScanStrategy.BLOCKS),
        (1000, 28_800, ScanStrategy.ACCOUNTS),
        (1, 0, ScanStrategy.BLOCKS),
    ],
)
def test_the_way_with_fewer_calls_is_taken(destinations, blocks, way):
    assert choose_strategy(destinations=destinations, blocks=blocks) is way
