"""What the HTTP API promises: names of tokens, ids, baselines, destinations, and whom it answers without a key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from devnet.evm.anvil import CHAIN_ID, Anvil
from devnet.evm.faulty_rpc import FaultyRpc
from devnet.receiver import Receiver
from tests.harness import SECRET, USDC, USDT, Running, environment, intent_body, running

HOLDER = "0x1000000000000000000000000000000000000001"
PROXY = "0x0DfbEe143b42B41eFC5A6F87bFD1fFC78c2f0aC9"
UNLISTED = "0x" + "1f" * 20


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Running]:
    """A daemon whose chain answers nobody."""
    env = environment(tmp_path, "http://127.0.0.1:9", SCANNER_API_KEY="a-key", POLL_INTERVAL_SEC="3600")
    async with running(env) as found:
        yield found


def watch_body(**fields: Any) -> dict[str, Any]:
    return {
        "chainId": CHAIN_ID,
        "address": HOLDER,
        "token": "USDT",
        "callbackUrl": "http://127.0.0.1:9/hook",
        "callbackSecret": SECRET,
        **fields,
    }


# --- names of a token ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "named",
    [
        {"tokenAddress": USDT, "tokenSymbol": "USDT"},
        {"tokenAddress": USDT.lower(), "token": "usdt"},
        {"tokenAddress": USDT, "token": USDT.lower()},
        {"token": "USDT", "tokenSymbol": "usdt"},
        {"tokenAddress": USDT, "token": "USDT", "tokenSymbol": "Usdt"},
        {"tokenAddress": UNLISTED, "token": "0x" + UNLISTED[2:].upper()},
    ],
)
async def test_several_names_of_one_token_are_one_token(daemon: Running, named: dict[str, str]) -> None:
    body = intent_body(**{"token": None, **named})

    status, answer = await daemon.api.call("POST", "/intents", body)
    assert status == 200, answer
    expected = named.get("tokenAddress", USDT)
    assert answer["checkoutBlock"]["tokenAddress"].lower() == expected.lower()
    # However it is named later, it is the same request.
    again = {**body, "tokenAddress": expected, "token": None, "tokenSymbol": None}
    again = {name: value for name, value in again.items() if value is not None}
    assert (await daemon.api.call("POST", "/intents", again))[0] == 200

    status, answer = await daemon.api.call(
        "POST", "/balance-watches", watch_body(**{"token": None} | named, baselineBalance="0")
    )
    assert status == 200, answer


@pytest.mark.parametrize(
    "named",
    [
        {"tokenAddress": USDT, "tokenSymbol": "USDC"},
        {"tokenAddress": USDC, "token": "USDT"},
        {"token": "USDT", "tokenSymbol": "USDC"},
        {"tokenAddress": UNLISTED, "tokenSymbol": "USDT"},
        {"tokenAddress": USDT, "token": "USDT", "tokenSymbol": "USDC"},
        {"tokenAddress": USDT, "token": "DOGE"},
    ],
)
@pytest.mark.parametrize("path", ["/intents", "/balances/check", "/balance-watches"])
async def test_names_of_two_tokens_are_refused(daemon: Running, path: str, named: dict[str, str]) -> None:
    body = {
        "/intents": intent_body(token=None),
        "/balances/check": {"chainId": CHAIN_ID, "address": HOLDER},
        "/balance-watches": watch_body(token=None),
    }[path] | named

    status, answer = await daemon.api.call("POST", path, body)

    assert (status, answer["details"]["field"] in named) == (400, True), answer


@pytest.mark.parametrize("path", ["/balances/check", "/balance-watches"])
@pytest.mark.parametrize("token", ["native", "bnb"])
async def test_the_coin_has_no_address_beside_it(daemon: Running, path: str, token: str) -> None:
    body = watch_body(token=token, tokenAddress=USDT)
    if path == "/balances/check":
        body = {name: body[name] for name in ("chainId", "address", "token", "tokenAddress")}

    status, answer = await daemon.api.call("POST", path, body)

    assert (status, answer["details"]["field"]) == (400, "tokenAddress")


# --- confirmations ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "required"),
    [
        ({"confirmationsRequired": 77}, 77),
        ({"confirmations": 77, "confirmationsRequired": 77}, 77),
        ({"confirmationsRequired": 1}, 5),
    ],
)
async def test_the_depth_has_two_names(daemon: Running, asked: dict[str, int], required: int) -> None:
    body = intent_body(**asked)

    status, _ = await daemon.api.call("POST", "/intents", body)

    assert status == 200
    assert (await daemon.api.intent(body["intentId"]))["confirmationsRequired"] == required
    plain = intent_body(intentId=body["intentId"], confirmations=next(iter(asked.values())))
    assert (await daemon.api.call("POST", "/intents", plain))[0] == 200  # the same request by its other name


@pytest.mark.parametrize(
    "asked",
    [
        {"confirmations": 7, "confirmationsRequired": 8},
        {"confirmationsRequired": 0},
        {"confirmationsRequired": "7"},
        {"confirmationRequired": 7},
    ],
)
async def test_a_depth_that_is_not_one_number_is_refused(daemon: Running, asked: dict[str, Any]) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(**asked))

    assert (status, answer["code"]) == (400, "invalid_request")


# --- destinations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"destination": PROXY},
        {"destination": PROXY.lower(), "rail": "direct"},
        {"destination": USDT},
        {"destination": USDC.lower(), "token": "USDT", "rail": "direct"},
        {"destination": UNLISTED, "token": None, "tokenAddress": "0x" + UNLISTED[2:].upper()},
    ],
)
async def test_a_contract_that_would_keep_the_money_is_no_destination(daemon: Running, fields: dict[str, Any]) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(**fields))

    assert (status, answer["details"]["field"]) == (400, "destination")


# --- ids and texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["nl-1\n", "\nnl-1", "nl\r\n1", "tab\t", "nul\0", "\x85", "\u2028", "é", "a b", "", "x" * 129]
)
async def test_an_id_is_one_whole_word(daemon: Running, name: str) -> None:
    for path, body, field in (
        ("/intents", intent_body(intentId=name), "intentId"),
        ("/balance-watches", watch_body(watchId=name, baselineBalance="0"), "watchId"),
    ):
        status, answer = await daemon.api.call("POST", path, json.dumps(body).encode())
        assert (status, answer["details"]["field"]) == (400, field), answer
    assert (await daemon.api.get("/intents"))["intents"] == []


@pytest.mark.parametrize("spoilt", ["{}\n", "\r{}", "{}\0", "\x7f{}", "{}\x9b"])
@pytest.mark.parametrize(
    "field", ["destination", "token", "amount", "callbackUrl", "callbackSecret", "feeAddress", "expiresAt", "rail"]
)
async def test_no_field_carries_a_control_character(daemon: Running, field: str, spoilt: str) -> None:
    good = intent_body(feeAddress=HOLDER, expiresAt="2999-01-01T00:00:00Z", rail="proxy")
    body = {**good, field: spoilt.format(good[field])}

    status, answer = await daemon.api.call("POST", "/intents", json.dumps(body).encode())

    assert (status, answer["details"]["field"]) == (400, field), answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/intents?chainId=97%0A"),
        ("GET", "/intents?chainId=%0D97"),
        ("GET", "/intents?limit=5%00"),
        ("GET", "/intents?status=pending%0A"),
        ("GET", "/intents?cursor=WyJhIl0%0A"),
        ("GET", "/intents?cursor%0A=WyJhIl0"),
        ("GET", "/unmatched?reason=late%0A"),
        ("GET", "/intents/nl-1%0A"),
        ("DELETE", "/intents/nl-1%0A"),
        ("POST", "/intents/nl-1%0A/recheck"),
        ("GET", "/balance-watches/nl-1%0A"),
        ("POST", "/balance-watches/%09nl-1/stop"),
    ],
)
async def test_no_query_and_no_path_carries_a_control_character(daemon: Running, method: str, path: str) -> None:
    async with asyncio.timeout(10):
        status, answer = await daemon.api.call(method, path)

    assert (status, answer["code"]) == (400, "invalid_request"), answer


async def test_a_name_that_a_caller_made_up_is_cut_in_the_answer(daemon: Running) -> None:
    status, answer = await daemon.api.call("POST", "/intents", intent_body(**{"x" * 50_000: 1}))

    assert (status, len(json.dumps(answer)) < 1000) == (400, True)


# --- whom it answers without a key -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8080", 200),
        ("localhost", 200),
        ("LocalHost:1", 200),
        ("[::1]:8080", 200),
        ("127.8.8.8", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:8080", 403),
        ("evil.example:127", 403),
        ("10.0.0.1:8080", 403),
        ("192.168.0.1", 403),
        ("[::ffff:10.0.0.1]", 403),
        ("127.0.0.1@evil.example", 403),
        ("", 403),
    ],
)
async def test_without_a_key_only_this_machine_is_answered(tmp_path: Path, host: str, status: int) -> None:
    env = environment(tmp_path, "http://127.0.0.1:9", POLL_INTERVAL_SEC="3600")
    async with running(env) as daemon:
        found, answer = await daemon.api.call("GET", "/intents", headers={"Host": host})

    assert found == status
    assert status == 200 or (answer["code"] == "forbidden_host" and "SCANNER_API_KEY" in answer["error"])


async def test_with_a_key_every_name_is_answered(daemon: Running) -> None:
    assert (await daemon.api.call("GET", "/intents", headers={"Host": "scanner.example"}))[0] == 200


# --- baselines -------------------------------------------------------------------------------------------------


@pytest.mark.anvil
@pytest.mark.parametrize("token", ["USDT", "native"])
async def test_a_watch_without_a_baseline_starts_at_the_balance_of_that_moment(
    chain: Anvil, hooks: Receiver, tmp_path: Path, token: str
) -> None:
    await chain.mined(await chain.transfer(USDT, HOLDER, 41))
    await chain.rpc("anvil_setBalance", [HOLDER, hex(41)])
    await chain.mine(10)
    async with running(environment(tmp_path, chain.url)) as daemon:
        status, answer = await daemon.api.call(
            "POST", "/balance-watches", watch_body(token=token, callbackUrl=hooks.url())
        )

    watch = answer["watch"]
    assert (status, watch["baselineBalance"], watch["currentBalance"]) == (200, "41", "41")
    assert watch["lastCheckedAt"] is not None
    assert hooks.deliveries == []


@pytest.mark.anvil
@pytest.mark.parametrize("fault", ["down", "no contract", "unreadable"])
async def test_a_watch_whose_baseline_cannot_be_read_is_refused_and_works_once_the_node_is_back(
    chain: Anvil, tmp_path: Path, fault: str
) -> None:
    token = {"token": "USDT"} if fault == "down" else {"token": None, "tokenAddress": UNLISTED}
    if fault == "unreadable":
        await chain.rpc("anvil_setCode", [UNLISTED, "0x60026000526003601df3"])  # three bytes are no balance
    body = {name: value for name, value in watch_body(watchId="w-1", **token).items() if value is not None}
    async with FaultyRpc(chain.url) as rpc, running(environment(tmp_path, rpc.url)) as daemon:
        if fault == "down":
            rpc.fail(status=500)
        status, answer = await daemon.api.call("POST", "/balance-watches", body)
        assert (status, answer["code"]) == (502, "chain_unavailable"), answer
        assert (await daemon.api.call("GET", "/balance-watches/w-1"))[0] == 404

        rpc.heal()
        status, answer = await daemon.api.call("POST", "/balance-watches", {**body, "baselineBalance": "5"})
        assert (status, answer["watch"]["baselineBalance"]) == (200, "5")  # whoever brings its own needs no node
        rpc.fail(status=500)
        assert (await daemon.api.call("POST", "/balance-watches", body))[0] == 200  # stored: nobody is asked again
