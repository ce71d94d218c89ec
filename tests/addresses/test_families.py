"""One implementation of addresses: strict where money is sent, tolerant where accounts are compared."""

from __future__ import annotations

import base64
import binascii
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addresses import InvalidAddress, canonical, canonical_tx_hash, listed_form, parse, same
from addresses.evm import to_checksum

EVM = "0x8589427373D6D84E98730D7795D8f6f8731FDA16"
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
TRON_HEX = "41a614f803b6fd780986a42c78ec9c7f77e6ded13c"
TON = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
TON_RAW = "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE"
TEXTS = st.text(max_size=70) | st.binary(max_size=70).map(lambda data: base64.b64encode(data).decode())
FAMILIES = st.sampled_from(["evm", "tron", "ton"])


def friendly(tag: int, workchain: int = 0, digits: bytes = b"\x5e" * 32) -> str:
    body = bytes([tag, workchain & 0xFF]) + digits
    return base64.urlsafe_b64encode(body + binascii.crc_hqx(body, 0).to_bytes(2, "big")).decode()


@pytest.mark.parametrize(
    ("address", "family", "form"),
    [
        (EVM, "evm", EVM.lower()),
        (EVM.lower(), "evm", EVM.lower()),
        ("0x" + "0" * 40, "evm", "0x" + "0" * 40),
        (TRON, "tron", TRON),
        (TRON_HEX, "tron", TRON),
        (TRON_HEX.upper(), "tron", TRON),
        ("0x" + TRON_HEX, "tron", TRON),
        (TON, "ton", TON_RAW),
        ("UQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_p0p", "ton", TON_RAW),
        ("kQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_ntm", "ton", TON_RAW),
        (TON.replace("_", "/"), "ton", TON_RAW),
        (TON_RAW.lower(), "ton", TON_RAW),
        ("-1:" + "a" * 64, "ton", "-1:" + "A" * 64),
    ],
)
def test_every_spelling_has_one_canonical_form(address: str, family: str, form: str) -> None:
    assert canonical(family, address) == form
    assert listed_form(address) == form
    assert same(family, address, form)


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("", "evm"),
        (EVM[:-1], "evm"),
        (EVM + "\n", "evm"),
        (TRON, "evm"),
        (TRON[:-1] + "u", "tron"),
        (TRON.lower(), "tron"),
        (EVM, "tron"),
        ("T" + "z" * 33, "tron"),
        ("TxeQyGyJa63ho3Loe7KMVQEiAoGCjsUGkb", "tron"),  # a good checksum under another prefix
        (TON[:-1] + "t", "ton"),
        ("A" * 48, "ton"),
        ("5:" + "a" * 64, "ton"),
        (friendly(0x11, 5), "ton"),
        (EVM, "ton"),
        (EVM, "solana"),
    ],
)
def test_what_is_no_address_of_the_family_has_no_form_and_equals_nothing(address: str, family: str) -> None:
    assert canonical(family, address) is None
    assert not same(family, address, address)


@pytest.mark.parametrize(
    ("family", "address", "why"),
    [
        ("evm", EVM.replace("D8f6", "d8f6"), "checksum"),
        ("evm", EVM.replace("D6D84E", "D6d84E"), "checksum"),
        ("evm", "0x" + "0" * 40, "zero address"),
        ("evm", "0x" + "0" * 39 + "1", "precompiled"),
        ("evm", "0x" + "0" * 37 + "100", "precompiled"),
        ("evm", "0x" + "0" * 37 + "fFf", "checksum|precompiled"),
        ("tron", EVM, "EVM address"),
        ("tron", "0x" + TRON_HEX, "33 base58"),
        ("tron", "41" + "0" * 40, "zero address"),
        ("tron", "41" + "0" * 39 + "9", "precompiled"),
        ("tron", "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb", "zero address"),
        ("tron", TRON[:-1] + "u", "checksum"),
        ("ton", friendly(0x91), "test network"),
        ("ton", friendly(0xD1), "test network"),
        ("ton", friendly(0x11, 5), "workchain"),
        ("ton", "5:" + "a" * 64, "workchain"),
        ("ton", "1:" + "a" * 64, "workchain"),
        ("ton", "-2:" + "a" * 64, "workchain"),
        ("ton", friendly(0x11, 0, bytes(32)), "zero address"),
        ("ton", friendly(0x51, -1, bytes(32)), "zero address"),
        ("ton", "0:" + "0" * 64, "zero address"),
        ("ton", "-1:" + "0" * 64, "zero address"),
        ("ton", TON[:-1] + "t", "checksum"),
        ("ton", friendly(0x12), "48 characters"),
    ],
)
def test_money_is_not_sent_where_nobody_can_take_it(family: str, address: str, why: str) -> None:
    with pytest.raises(InvalidAddress, match=why):
        parse(family, address, testnet=False)


@pytest.mark.parametrize(
    ("family", "address", "form"),
    [
        ("evm", EVM, EVM.lower()),
        ("evm", "0x" + EVM[2:].upper(), EVM.lower()),
        ("evm", "0x0000000000000000000000000000000000001010", "0x0000000000000000000000000000000000001010"),
        ("tron", TRON, TRON),
        ("tron", TRON_HEX, TRON),
        ("ton", TON, TON_RAW),
        ("ton", "-1:" + "5" * 64, "-1:" + "5" * 64),
    ],
)
def test_an_address_that_can_receive_is_accepted(family: str, address: str, form: str) -> None:
    assert parse(family, address, testnet=False) == form


def test_the_mark_of_the_test_network_is_right_on_the_test_network() -> None:
    assert parse("ton", friendly(0x91), testnet=True) == "0:" + "5E" * 32


@pytest.mark.parametrize(
    ("family", "text", "form"),
    [
        ("evm", "0x" + "AB" * 32, "0x" + "ab" * 32),
        ("evm", "AB" * 32, None),
        ("evm", "0X" + "ab" * 32, None),
        ("evm", "0x" + "ab" * 32 + "\n", None),
        ("tron", "AB" * 32, "ab" * 32),
        ("tron", "0x" + "ab" * 32, None),
        ("ton", "AB" * 32, "ab" * 32),
        ("ton", base64.b64encode(b"\xfb" * 32).decode(), "fb" * 32),
        ("ton", base64.urlsafe_b64encode(b"\xfb" * 32).decode().rstrip("="), "fb" * 32),
        ("ton", "+" + "-" * 42, None),
        ("ton", "", None),
    ],
)
def test_a_transaction_hash_has_one_spelling(family: str, text: str, form: str | None) -> None:
    assert canonical_tx_hash(family, text) == form


@given(TEXTS, FAMILIES)
def test_no_text_breaks_it(text: str, family: str) -> None:
    form = canonical(family, text)
    assert form is None or canonical(family, form) == form
    with contextlib.suppress(InvalidAddress):
        assert parse(family, text, testnet=False) == form


@given(st.binary(min_size=20, max_size=20).filter(lambda raw: int.from_bytes(raw, "big") >= 0x1000), st.integers(0, 39))
def test_one_letter_in_the_wrong_case_is_noticed(raw: bytes, place: int) -> None:
    spelt = to_checksum("0x" + raw.hex())
    at = place + 2
    changed = spelt[:at] + spelt[at].swapcase() + spelt[at + 1 :]
    uniform = changed[2:] in (changed[2:].lower(), changed[2:].upper())
    if changed != spelt and not uniform:
        with pytest.raises(InvalidAddress, match="checksum"):
            parse("evm", changed, testnet=False)
