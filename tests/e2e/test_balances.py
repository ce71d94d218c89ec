"""Balances read from a real EVM chain are exact, at one block, and never invented."""

from __future__ import annotations

import pytest

from devnet.evm.anvil import Anvil
from tests.harness import MERCHANT, MULTICALL, USDT, Running

pytestmark = pytest.mark.anvil
HOLDER = "0x1000000000000000000000000000000000000001"


async def check(scanner: Running, **fields: object) -> tuple[int, dict[str, object]]:
    body = {"chainId": 97, "address": HOLDER, **fields}
    return await scanner.api.call("POST", "/balances/check", body)


@pytest.fixture(params=["with Multicall3", "without"], autouse=True)
async def aggregating(request: pytest.FixtureRequest, chain: Anvil) -> None:
    """Every balance is the same where Multicall3 is missing."""
    if request.param == "without":
        await chain.rpc("anvil_setCode", [MULTICALL, "0x"])


@pytest.mark.parametrize("named", [{"token": "USDT"}, {"tokenSymbol": "usdt"}, {"tokenAddress": USDT}])
async def test_a_token_balance_is_read_by_symbol_or_address(
    chain: Anvil, scanner: Running, named: dict[str, str]
) -> None:
    await chain.mined(await chain.transfer(USDT, HOLDER, 2**130 + 7))

    status, answer = await check(scanner, **named)

    assert status == 200, answer
    assert answer.pop("checkedAt")
    assert answer == {
        "chainId": 97,
        "chainType": "evm",
        "address": HOLDER,
        "tokenAddress": USDT,
        "tokenSymbol": "USDT",
        "decimals": 18,
        "balance": str(2**130 + 7),
        "blockNumber": await chain.height(),
    }


@pytest.mark.parametrize("name", ["native", "BNB", "bnb"])
async def test_the_native_coin_is_read(chain: Anvil, scanner: Running, name: str) -> None:
    await chain.rpc("anvil_setBalance", [HOLDER, hex(10**25 + 1)])

    status, answer = await check(scanner, token=name)

    assert status == 200, answer
    assert (answer["tokenAddress"], answer["tokenSymbol"], answer["decimals"]) == (None, "BNB", 18)
    assert answer["balance"] == str(10**25 + 1)


async def test_an_unlisted_tokens_labels_come_from_the_chain(chain: Anvil, scanner: Running) -> None:
    token = await chain.token("ODD", 3)

    status, answer = await check(scanner, tokenAddress=token)

    assert status == 200, answer
    assert (answer["tokenSymbol"], answer["decimals"], answer["balance"]) == ("ODD", 3, "0")


async def test_a_contract_that_tells_no_balance_is_an_error_and_not_zero(scanner: Running) -> None:
    status, answer = await check(scanner, tokenAddress=MERCHANT)

    assert status == 502
    assert str(answer["error"]).startswith("balance check failed: ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"chainId": None}, "chainId"),
        ({}, "tokenAddress or token is required"),
        ({"chainId": 999, "token": "USDT"}, "unsupported token USDT on chainId 999"),
        ({"token": "NOPE"}, "unsupported token NOPE on chainId 97"),
        ({"token": "USDT", "address": "0x12"}, "address"),
        ({"chainId": 56, "token": "USDT"}, "chainId 56 is not enabled"),
    ],
)
async def test_what_cannot_be_read_is_a_400_that_says_so(
    scanner: Running, fields: dict[str, object], message: str
) -> None:
    status, answer = await check(scanner, **fields)

    assert status == 400
    assert message in str(answer["error"])


async def test_a_missing_chain_is_named(scanner: Running) -> None:
    status, answer = await scanner.api.call("POST", "/balances/check", {"address": HOLDER, "token": "USDT"})

    assert (status, answer["error"]) == (400, "chainId is required")
