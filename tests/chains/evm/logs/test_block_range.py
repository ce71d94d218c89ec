"""How many blocks to ask for: grown and shrunk by the answers."""

from __future__ import annotations

import pytest

from chains.evm.logs.block_range import INITIAL_BLOCKS, MAX_ROWS, BlockRangeLimiter
from chains.evm.logs.queries import block_window
from chains.rpc.provider_errors import ErrorAdvice, ErrorKind


@pytest.mark.parametrize("span", [1, 2, 3, 2000])
@pytest.mark.parametrize("reread", [0, 1, 5, 200])
@pytest.mark.parametrize("after", [0, 3, 5000])
def test_a_page_always_moves_on_and_leaves_no_gap(span, reread, after):
    first, last = block_window(after, 9000, span, reread)
    assert 0 <= first <= after + 1 <= last
    assert last - first + 1 <= span


def test_a_page_never_passes_the_head():
    assert block_window(10, 12, 2000, 5) == (6, 12)


def test_a_span_grows_after_a_few_quick_answers_up_to_its_limit():
    span = BlockRangeLimiter.limited(5000)
    span.size = 2000
    for _ in range(9):
        span.answered(blocks=span.size, rows=0, seconds=0.1)
    assert span.size == 5000


@pytest.mark.parametrize(("reread", "first"), [(3, 98), (60, 41), (150, 0)])
def test_what_is_read_again_is_not_crowded_out_by_the_short_start(reread, first):
    span = BlockRangeLimiter.limited(None)
    assert block_window(100, 105, span.size_with_reread(reread), reread) == (first, 105)


def test_what_is_read_again_yields_to_what_a_node_refuses():
    span = BlockRangeLimiter.limited(None)
    span.refused(blocks=120, advice=ErrorAdvice(ErrorKind.BLOCKS, 20, fixed=True))
    assert span.size_with_reread(60) == 10
    assert BlockRangeLimiter.limited(30).size_with_reread(60) == 30


def test_short_pages_near_the_head_say_nothing_about_longer_ones():
    span = BlockRangeLimiter.limited(None)
    for _ in range(10):
        span.answered(blocks=5, rows=0, seconds=0.1)
    assert span.size == INITIAL_BLOCKS


@pytest.mark.parametrize(("rows", "seconds"), [(MAX_ROWS + 1, 0.1), (0, 10.1)])
def test_a_long_or_slow_answer_shrinks_the_next_question(rows, seconds):
    span = BlockRangeLimiter(size=2000)
    span.answered(blocks=2000, rows=rows, seconds=seconds)
    assert span.size == 1000


def test_the_nodes_own_rule_is_never_tried_to_exceed():
    span = BlockRangeLimiter.limited(None)
    span.refused(blocks=2000, advice=ErrorAdvice(ErrorKind.BLOCKS, 500, fixed=True))
    for _ in range(50):
        span.answered(blocks=span.size, rows=0, seconds=0.1)
    assert span.size == 500


@pytest.mark.parametrize("advice", [None, 2000, 9000])
def test_useless_advice_is_not_followed(advice):
    span = BlockRangeLimiter(size=2000)
    span.refused(blocks=2000, advice=ErrorAdvice(ErrorKind.BLOCKS, advice, fixed=True))
    assert span.size == 1000
