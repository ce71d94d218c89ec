"""Multicall3 written by hand, held against an ABI library that knows nothing of it."""

from __future__ import annotations

import pytest
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import ChainProtocolError
from chains.evm import multicall
from chains.types import BalanceKey

TOKEN = "0x" + "70" * 20
holders = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
holdings = st.lists(st.builds(BalanceKey, holders, st.none() | st.just(TOKEN)), max_size=60)
results = st.lists(
    st.tuples(st.booleans(), st.one_of(st.binary(min_size=32, max_size=32), st.binary(max_size=3), st.just(bytes(64)))),
    max_size=60,
)


def test_the_selectors_are_those_of_the_deployed_contract():
    assert multicall.AGGREGATE.hex() == "82ad56cb"
    assert multicall.COIN_BALANCE.hex() == "4d2301cc"
    assert multicall.BALANCE_OF.hex() == "70a08231"


@given(holdings)
def test_the_call_is_what_an_abi_library_writes(wanted):
    calls = []
    for holder, token in wanted:
        selector = multicall.COIN_BALANCE if token is None else multicall.BALANCE_OF
        calls.append((token or multicall.ADDRESS, True, selector + bytes(12) + bytes.fromhex(holder[2:])))
    expected = multicall.AGGREGATE + encode(["(address,bool,bytes)[]"], [calls])
    assert multicall.aggregate(wanted) == f"0x{expected.hex()}"


@given(results)
def test_every_answer_an_abi_library_writes_is_read(rows):
    answer = "0x" + encode(["(bool,bytes)[]"], [rows]).hex()
    expected = [int.from_bytes(data, "big") if ok and len(data) == 32 else None for ok, data in rows]
    assert multicall.amounts(answer, len(rows)) == expected


def test_a_row_that_borrows_the_bytes_of_another_is_refused():
    raw = bytearray(encode(["(bool,bytes)[]"], [[(True, n.to_bytes(32, "big")) for n in range(6)]]))
    raw[32 * (2 + 6) + 62] ^= 1  # the first row's bytes are said to begin where those of the third do
    with pytest.raises(ChainProtocolError, match="does not write"):
        multicall.amounts("0x" + bytes(raw).hex(), 6)


@given(results, st.data())
def test_a_bent_answer_is_read_as_an_abi_library_would_write_it_or_refused(rows, data):
    raw = bytearray(encode(["(bool,bytes)[]"], [rows]))
    for _ in range(data.draw(st.integers(1, 2))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    raw = raw[: data.draw(st.sampled_from([len(raw), len(raw) - 32, len(raw) - 1]))]
    try:
        (held,) = decode(["(bool,bytes)[]"], bytes(raw))
        expected = [int.from_bytes(data, "big") if ok and len(data) == 32 else None for ok, data in held]
        canonical = encode(["(bool,bytes)[]"], [held]) == bytes(raw) and len(held) == len(rows)
    except (DecodingError, ValueError, OverflowError):
        canonical = False
    if canonical:
        assert multicall.amounts("0x" + bytes(raw).hex(), len(rows)) == expected
    else:
        with pytest.raises(ChainProtocolError):
            multicall.amounts("0x" + bytes(raw).hex(), len(rows))


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=8), st.data())
def test_an_answer_of_words_alone_that_is_bent_is_never_another_balance(words, data):
    """Wherever a bit flips: in a balance it is that balance, anywhere else the answer is refused or a failed row."""
    raw = bytearray(encode(["(bool,bytes)[]"], [[(True, word) for word in words]]))
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = multicall.amounts("0x" + bytes(raw).hex(), len(words))
    except ChainProtocolError:
        return
    heads = 32 * (2 + len(words))
    in_word = place >= heads and (place - heads) % 128 >= 96
    for index, (amount, word) in enumerate(zip(found, words, strict=True)):
        touched = in_word and (place - heads) // 128 == index
        assert touched or amount in {None, int.from_bytes(word, "big")}


@pytest.mark.parametrize("answer", [None, 5, "", "0x", "0xzz", "0x00", "82ad56cb"])
def test_what_is_no_answer_is_an_error(answer):
    with pytest.raises(ChainProtocolError):
        multicall.amounts(answer, 1)


def test_an_answer_for_fewer_or_more_is_an_error():
    answer = "0x" + encode(["(bool,bytes)[]"], [[(True, bytes(32))]]).hex()
    for count in (0, 2):
        with pytest.raises(ChainProtocolError, match="1 of"):
            multicall.amounts(answer, count)
