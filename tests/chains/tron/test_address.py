"""Tron addresses: base58 and hexadecimal are one, and why a text is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tronpy.keys import to_base58check_address, to_hex_address

from addresses.base58 import decode_check, encode_check
from chains.errors import InvalidAddress
from chains.tron.address import ZERO_ADDRESS, from_hex, parse_address, to_hex, topic
from devnet.tron.ledger import USDT

USDT_HEX = "a614f803b6fd780986a42c78ec9c7f77e6ded13c"


twenty = st.binary(min_size=20, max_size=20).filter(any)


def test_the_known_contract_is_spelt_as_everybody_spells_it():
    assert to_hex(USDT) == USDT_HEX
    assert from_hex(USDT_HEX) == USDT
    assert topic(USDT) == "0" * 24 + USDT_HEX
    assert ZERO_ADDRESS == "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"


@given(twenty)
def test_both_spellings_of_an_address_are_one_and_agree_with_tronpy(raw):
    canonical = parse_address("41" + raw.hex())
    assert canonical == parse_address("41" + raw.hex().upper()) == parse_address(canonical)
    assert canonical == to_base58check_address(b"\x41" + raw)
    assert "41" + to_hex(canonical) == to_hex_address(canonical)


@given(twenty, st.integers(0, 33), st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"))
def test_a_mistyped_character_is_never_accepted(raw, place, char):
    right = from_hex(raw.hex())
    wrong = right[:place] + char + right[place + 1 :]
    if wrong != right:
        with pytest.raises(InvalidAddress):
            parse_address(wrong)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0x" + USDT_HEX, "somebody's EVM address"),
        ("0x41" + USDT_HEX, "T and 33 base58 characters, or 41 and 40 hex digits"),
        (USDT_HEX, "T and 33 base58"),
        ("42" + USDT_HEX, "T and 33 base58"),
        ("41" + USDT_HEX[:-1], "T and 33 base58"),
        (USDT[:-1], "T and 33 base58"),
        (USDT + "j", "T and 33 base58"),
        (USDT.lower(), "T and 33 base58"),
        (" " + USDT, "T and 33 base58"),
        (USDT + "\n", "T and 33 base58"),
        ("", "T and 33 base58"),
        ("T" + "0" * 33, "T and 33 base58"),
        (USDT[:-1] + "k", "does not match its checksum"),
        (ZERO_ADDRESS, "the zero address"),
        ("41" + "0" * 40, "the zero address"),
        (encode_check(b"\x42" + bytes.fromhex(USDT_HEX)), "of another network"),
        ("T" + "٣" * 33, "T and 33 base58"),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text, sentence):
    with pytest.raises(InvalidAddress, match=sentence):
        parse_address(text)


@given(st.binary(max_size=40))
def test_base58_is_undone_by_reading_it(raw):
    assert decode_check(encode_check(raw)) == raw


@pytest.mark.parametrize("text", ["", "1", "0", "l", "abc", "z" * 65])
def test_what_carries_no_checksum_is_no_base58(text):
    with pytest.raises(ValueError, match=r"checksum|base58|long"):
        decode_check(text)
