"""Addresses of the registries are checked at start, by the checksum of their family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from addresses import parse
from tests.config.test_catalog import entry, load, refusal, token

TRON = {"chainId": 728126428, "chainType": "tron", "rpcEnv": "TRONGRID_URL"}
TON = {"chainId": 1100, "chainType": "ton", "rpcEnv": "TONCENTER_URL"}
TRON_USDT = "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6t"
TON_USDT = "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDs"
TON_RAW = "0:B113A994B5024A16719F69139328EB759596C38A25F59028B146FECDC3621DFE"
EVM = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"
WRONG = {
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6u": "checksum",
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj6": "a Tron address is T",
    "tr7nhqjekqxgtci8q8zy4pl8otszgjlj6t": "a Tron address is T",
    "TR7NHqjeKQxGTCi8q8ZY4pL8otSzgjLj0t": "a Tron address is T",
    "T" + "z" * 33: "checksum",
    "TZJozAg1ruapycCicgz31GxvYJ1G1qELV7": "of another network",
    EVM: "EVM address",
    TON_USDT: "a Tron address is T",
    "": "at least 1 character",
}
WRONG_TON = {
    "EQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_sDt": "checksum",
    TON_USDT.lower(): "checksum",
    TON_USDT[:-1]: "a TON address is 48",
    "kQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_ntm": "test network",
    "1:" + "0" * 64: "workchain",
    "EQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAVKh": "workchain",  # workchain 1
    "MQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAXmP": "a TON address is 48",  # a tag nobody uses
    TRON_USDT: "a TON address is 48",
    EVM: "a TON address is 48",
}


@pytest.mark.parametrize(("text", "why"), WRONG.items())
def test_a_wrong_tron_address_is_a_start_up_error_that_names_the_entry(tmp_path: Path, text: str, why: str) -> None:
    in_chains = refusal(tmp_path, chains=[entry(), entry(proxyAddress=text, **TRON)])
    assert in_chains.startswith("supported-chains.json: $[1].proxyAddress: ")
    assert why in in_chains
    chains = [entry(), entry(proxyAddress=TRON_USDT, **TRON)]
    in_tokens = refusal(tmp_path, chains, [token(), token(chainId=728126428, address=text)])
    assert in_tokens.startswith("tokens.json: $[1].address: ")
    assert why in in_tokens


@pytest.mark.parametrize(("text", "why"), WRONG_TON.items())
def test_a_wrong_ton_address_is_a_start_up_error_that_names_the_entry(tmp_path: Path, text: str, why: str) -> None:
    in_chains = refusal(tmp_path, chains=[entry(), entry(proxyAddress=text, **TON)])
    assert in_chains.startswith("supported-chains.json: $[1].proxyAddress: ")
    assert why in in_chains
    chains = [entry(), entry(proxyAddress=TON_USDT, **TON)]
    in_tokens = refusal(tmp_path, chains, [token(), token(chainId=1100, address=text)])
    assert in_tokens.startswith("tokens.json: $[1].address: ")
    assert why in in_tokens


@pytest.mark.parametrize(
    ("family", "first", "second"),
    [
        (TON, TON_USDT, "UQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_p0p"),
        (TON, TON_USDT, TON_RAW),
        (TON, TON_RAW, TON_RAW.lower()),
        (TRON, TRON_USDT, TRON_USDT),
    ],
)
def test_one_token_in_two_spellings_is_listed_twice(
    tmp_path: Path, family: dict[str, Any], first: str, second: str
) -> None:
    chains = [entry(proxyAddress=first, **family)]
    tokens = [
        token(chainId=family["chainId"], address=first),
        token(chainId=family["chainId"], address=second, symbol="X"),
    ]
    assert refusal(tmp_path, chains, tokens) == (
        f"tokens.json: $[1].address: is listed twice for chain {family['chainId']}"
    )


def test_an_address_of_the_test_network_is_right_for_a_chain_of_the_test_network(tmp_path: Path) -> None:
    address = "kQCxE6mUtQJKFnGfaROTKOt1lZbDiiX1kCixRv7Nw2Id_ntm"
    chain = entry(proxyAddress=address, testnet=True, **TON)

    catalog = load(tmp_path, [chain], [token(chainId=1100, address=address)])

    assert catalog.chains[1100].proxy_address == address


@pytest.mark.parametrize(
    ("family", "zero"),
    [
        ({}, "0x" + "0" * 40),
        (TRON, "T9yD14Nj9j7xAB4dbGeiX9h8unkKHxuWwb"),
        (TON, "0:" + "0" * 64),
        (TON, "EQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAM9c"),
    ],
)
def test_the_zero_address_is_no_contract(tmp_path: Path, family: dict[str, Any], zero: str) -> None:
    said = refusal(tmp_path, chains=[entry(proxyAddress=zero, **family)])
    assert said == "supported-chains.json: $[0].proxyAddress: the zero address cannot receive payments"


def test_a_mistyped_character_anywhere_is_noticed() -> None:
    for good, family in ((TRON_USDT, "tron"), (TON_USDT, "ton"), (EVM, "evm")):
        parse(family, good, testnet=False)
        for place in range(2, len(good)):
            for other in "2aZ":
                bad = good[:place] + other + good[place + 1 :]
                if bad.lower() != good.lower():
                    with pytest.raises(ValueError, match=r"checksum|address is"):
                        parse(family, bad, testnet=False)
