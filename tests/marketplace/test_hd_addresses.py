"""Watch-only addresses are the wallet's own, private keys are refused, and no address comes twice."""

from __future__ import annotations

from functools import partial

import pytest
from bip32 import BIP32
from eth_account import Account
from eth_account.hdaccount import seed_from_mnemonic
from hypothesis import given, settings
from hypothesis import strategies as st

from addresses import parse
from marketplace.payments.hd_addresses import ExtendedKey, FixedAddresses, NotAnExtendedKey, evm_address

Account.enable_unaudited_hdwallet_features()
MNEMONIC = "test test test test test test test test test test test junk"
WALLET = BIP32.from_seed(seed_from_mnemonic(MNEMONIC, ""))
ACCOUNT = "m/44'/60'/0'"
XPUB = "xpub6Ce9NcJvTk36xtLSrJLZqE7wtgA5deCeYs7rSQtreh4cj6ByPtrg9sD7V2FNFLPnf8heNP3FGkeV9qwfzvZNSd54JoNXVsXFYSYwHsnJxqP"
XPRV = WALLET.get_xpriv_from_path(ACCOUNT)
TRON = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
TON = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
TON_RAW = "0:b113a994b5024a16719f69139328eb759596c38a25f59028b146fecdc3621dfe"


def wallets_own(index: int) -> str:
    return str(Account.from_mnemonic(MNEMONIC, account_path=f"{ACCOUNT}/0/{index}").address)


def test_the_key_of_these_tests_is_the_mnemonics() -> None:
    assert WALLET.get_xpub_from_path(ACCOUNT) == XPUB


@pytest.mark.parametrize(
    ("index", "address"),
    [
        (0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
        (1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
        (7, "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955"),
    ],
)
def test_known_addresses(index: int, address: str) -> None:
    assert evm_address(XPUB, index) == address


@settings(max_examples=15, deadline=None)  # deriving from a mnemonic takes thousands of hashes
@given(st.integers(0, 2**31 - 1))
def test_every_address_is_the_one_the_private_wallet_controls(index: int) -> None:
    assert evm_address(XPUB, index) == wallets_own(index)


@pytest.mark.parametrize("index", [-1, 2**31, 2**40])
def test_an_index_that_is_negative_or_hardened_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match="index"):
        evm_address(XPUB, index)


@pytest.mark.parametrize("key", [XPRV, WALLET.get_xpriv(), "tprv" + XPRV[4:], "zprv" + XPRV[4:]])
def test_a_private_key_is_refused_by_name_and_never_shown(key: str) -> None:
    with pytest.raises(NotAnExtendedKey, match="private key") as caught:
        evm_address(key, 0)

    assert key[4:] not in str(caught.value)


@pytest.mark.parametrize(
    "key",
    ["", "xpubs", XPUB[:-1], XPUB[:-1] + "1", XPUB + "\u00e9", MNEMONIC, "11" * 32, "zpub" + XPUB[4:]],
)
def test_what_is_no_extended_key_is_refused_and_never_shown(key: str) -> None:
    with pytest.raises(NotAnExtendedKey) as caught:
        ExtendedKey(key)

    assert not key or key not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_private_key_dressed_as_a_public_one_is_refused() -> None:
    secret = BIP32(WALLET.chaincode, WALLET.privkey).get_xpriv_bytes()
    with pytest.raises(NotAnExtendedKey):
        ExtendedKey(secret.hex())


def test_an_extended_key_gives_addresses_by_index_and_ends() -> None:
    source = ExtendedKey(XPUB)

    assert source.at(3) == wallets_own(3)
    assert source.at(2**31) is None


def test_an_extended_key_hides_in_a_repr() -> None:
    assert XPUB not in repr(ExtendedKey(XPUB))


def test_a_fixed_list_gives_each_address_once_and_ends() -> None:
    source = FixedAddresses([TRON, "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL"], partial(parse, "tron", testnet=False))

    assert [source.at(index) for index in range(3)] == [TRON, "TNPeeaaFB7K9cmo4uQpcU32zGK8G1NYqeL", None]


def test_a_fixed_list_has_no_negative_end() -> None:
    with pytest.raises(ValueError, match="index"):
        FixedAddresses([TRON], partial(parse, "tron", testnet=False)).at(-1)


def test_one_account_in_two_spellings_is_refused() -> None:
    with pytest.raises(ValueError, match="same account"):
        FixedAddresses([TON, TON_RAW], partial(parse, "ton", testnet=False))


def test_an_address_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot receive"):
        FixedAddresses([TON], partial(parse, "tron", testnet=False))
