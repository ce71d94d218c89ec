"""TON addresses in every spelling people use, and the sentences they are refused with."""

from __future__ import annotations

import base64
import binascii
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.errors import InvalidAddress
from chains.ton.address import canonical_of, parse_address, show_address

USDT = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
RAW = "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE"


def friendly(tag: int, workchain: int = 0, digits: bytes = b"\x5e" * 32) -> str:
    body = bytes([tag, workchain & 0xFF]) + digits
    return base64.urlsafe_b64encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "big")).decode()


@pytest.mark.parametrize(
    "spelling",
    [
        USDT,
        USDT.replace("_", "/").replace("-", "+"),
        "UQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_p0p",
        RAW,
        RAW.lower(),
    ],
)
def test_every_spelling_of_an_address_has_one_raw_form(spelling):
    assert parse_address(spelling, testnet=False) == RAW


def test_an_address_of_the_masterchain_is_accepted():
    raw = "-1:" + "5E" * 32
    assert parse_address(friendly(0x11, -1), testnet=False) == raw
    assert parse_address(raw.lower(), testnet=False) == raw
    assert show_address(raw, testnet=False) == friendly(0x11, -1)


def test_lower_case_letters_of_a_friendly_address_are_another_address():
    with pytest.raises(InvalidAddress, match="checksum"):
        parse_address(USDT.lower(), testnet=False)


@pytest.mark.parametrize("place", range(48))
def test_a_mistyped_character_is_refused_wherever_it_is(place):
    wrong = "A" if USDT[place] != "A" else "B"
    with pytest.raises(InvalidAddress):
        parse_address(USDT[:place] + wrong + USDT[place + 1 :], testnet=False)


@pytest.mark.parametrize("tag", [0x91, 0xD1])
def test_an_address_of_the_test_network_is_refused_on_the_main_network_alone(tag):
    with pytest.raises(InvalidAddress, match="test network"):
        parse_address(friendly(tag), testnet=False)
    assert parse_address(friendly(tag), testnet=True) == "0:" + "5E" * 32


def test_an_address_of_the_main_network_is_accepted_on_the_test_network():
    assert parse_address(USDT, testnet=True) == RAW


@pytest.mark.parametrize(
    "text",
    [
        *("", "0:12", "0:", ":" + "5E" * 32, RAW + "0", "0x" + "5e" * 32, "0:" + "5E" * 31 + "5G", "0:" + "٣" * 64),
        *(USDT[:-1], USDT + "A", " " + USDT, USDT + "\n", USDT[:20] + "+" + USDT[21:], "T" * 48, friendly(0x12)),
    ],
)
def test_what_is_no_address_is_refused_with_a_sentence(text):
    with pytest.raises(InvalidAddress, match="address"):
        parse_address(text, testnet=False)


@pytest.mark.parametrize("text", ["1:" + "5E" * 32, "-2:" + "5E" * 32, "00:" + "5E" * 32, friendly(0x11, 7)])
def test_a_workchain_that_does_not_exist_is_refused(text):
    with pytest.raises(InvalidAddress, match="workchain"):
        parse_address(text, testnet=False)


def test_the_zero_address_cannot_receive_payments():
    with pytest.raises(InvalidAddress, match="zero address"):
        parse_address(friendly(0x11, 0, bytes(32)), testnet=False)


def test_an_address_is_shown_for_contracts_for_wallets_and_for_the_test_network():
    assert show_address(RAW, testnet=False) == USDT
    assert show_address(RAW, testnet=False, bounceable=False).startswith("UQ")
    assert show_address(RAW, testnet=True)[:2] == "kQ"


@given(st.binary(min_size=32, max_size=32).filter(any), st.sampled_from([0, -1]), st.booleans(), st.booleans())
def test_what_is_shown_is_read_back(digits, workchain, testnet, bounceable):
    raw = f"{workchain}:{digits.hex().upper()}"
    assert parse_address(show_address(raw, testnet=testnet, bounceable=bounceable), testnet=testnet) == raw


@given(st.text(max_size=70) | st.binary(max_size=70).map(lambda data: base64.b64encode(data).decode()))
def test_any_text_is_an_address_or_refused(text):
    with contextlib.suppress(InvalidAddress):
        assert canonical_of(parse_address(text, testnet=False)) is not None


@pytest.mark.parametrize("raw", [None, 5, "", USDT, "0:12", "3:" + "5E" * 32])
def test_what_the_service_sends_instead_of_an_address_is_none(raw):
    assert canonical_of(raw) is None
