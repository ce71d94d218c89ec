"""One transaction, asked for over HTTP: the whole shape, what is refused, and what is not known."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from chains.errors import TooManyTransfers
from chains.transactions import MAX_TRANSFERS, check_length
from chains.types import Head, Transaction, Transfer
from clients.python.amn_scanner_client import ScannerClient, ScannerRefused, ScannerUnavailable
from tests.api.conftest import KEY
from tests.harness import MERCHANT, USDT, Running
from tests.scanner.facts import a_hash

PATH = "/transactions/inspect"
TX, BLOCK = a_hash("paid out"), a_hash("block")


def a_transaction(*amounts: int, **changed: Any) -> Transaction:
    """Return a transaction on a chain that stands 9 blocks above it."""
    moved = tuple(
        Transfer(97, TX, f"key-{place}", place, 100, BLOCK, None, USDT.lower(), MERCHANT, amount, "0xb0")
        for place, amount in enumerate(amounts)
    )
    return replace(
        Transaction(TX, True, 100, BLOCK, moved, Head(109, a_hash("top"), 0), block_time=1735689600), **changed
    )


@pytest.fixture
def shown(daemon: Running, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the chain tells of the next transactions that are asked for, in order; an exception is raised."""
    found: list[Any] = []

    async def transaction(_tx_hash: str) -> Transaction | None:
        told = found.pop(0)
        if isinstance(told, Exception):
            raise told
        return told if told is None or isinstance(told, Transaction) else await told

    monkeypatch.setattr(daemon.worker.adapter, "transaction", transaction)
    return found


async def inspect(daemon: Running, **changed: Any) -> tuple[int, Any]:
    return await daemon.api.call("POST", PATH, {"chainId": 97, "txHash": TX, **changed})


async def test_a_transaction_is_told_with_what_it_moved_and_how_deep_it_is(daemon: Running, shown: list[Any]) -> None:
    shown.append(a_transaction(2**256 - 1, 0))

    status, answer = await inspect(daemon)

    moved = {"token": USDT.lower(), "sender": "0xb0", "destination": MERCHANT}
    assert (status, answer) == (
        200,
        {
            "chainId": 97,
            "txHash": TX,
            "found": True,
            "success": True,
            "blockNumber": 100,
            "blockHash": BLOCK,
            "blockTime": "2025-01-01T00:00:00.000Z",
            "depth": 10,
            "final": True,
            "transfers": [
                {"eventKey": "key-0", **moved, "amount": str(2**256 - 1)},
                {"eventKey": "key-1", **moved, "amount": "0"},
            ],
        },
    )


async def test_what_is_not_deep_enough_or_not_all_there_is_not_final(daemon: Running, shown: list[Any]) -> None:
    shown += [a_transaction(1, head=Head(101, a_hash("top"), 0)), a_transaction(1, is_complete=False)]

    early, partial = [(await inspect(daemon))[1] for _ in range(2)]

    assert [(each["found"], each["depth"], each["final"]) for each in (early, partial)] == [
        (True, 2, False),
        (True, 10, False),
    ]


async def test_an_unknown_transaction_is_not_found_and_nothing_is_said_of_it(daemon: Running, shown: list[Any]) -> None:
    shown.append(None)

    status, answer = await inspect(daemon, txHash=TX[:2] + TX[2:].upper())

    unknown = dict.fromkeys(("success", "blockNumber", "blockHash", "blockTime", "depth"))
    assert (status, answer) == (
        200,
        {"chainId": 97, "txHash": TX, "found": False, "final": False, "transfers": [], **unknown},
    )


async def test_as_many_transfers_as_are_told_fit_and_the_client_reads_them(daemon: Running, shown: list[Any]) -> None:
    shown.append(a_transaction(*range(1, MAX_TRANSFERS + 1)))

    async with ScannerClient.open(daemon.api.url, KEY, retry_delays=()) as client:
        seen = await client.inspect_transaction(97, TX)

    assert [transfer.amount for transfer in seen.transfers] == [*range(1, MAX_TRANSFERS + 1)]


async def test_one_more_is_refused_once_and_for_all(daemon: Running, shown: list[Any]) -> None:
    with pytest.raises(TooManyTransfers) as too_many:
        check_length(MAX_TRANSFERS + 1)
    shown += [too_many.value] * 2

    status, answer = await inspect(daemon)
    async with ScannerClient.open(daemon.api.url, KEY) as client:
        with pytest.raises(ScannerRefused, match="at most 5000 are told"):
            await client.inspect_transaction(97, TX)

    assert (status, answer["code"], answer["details"]) == (400, "invalid_request", {"field": "txHash"})
    assert shown == []


async def test_a_chain_that_does_not_answer_in_time_is_a_502(
    daemon: Running, shown: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scanner.inspections.INSPECT_S", 0.05)
    shown.append(asyncio.Event().wait())

    status, answer = await inspect(daemon)

    assert (status, answer["code"]) == (502, "chain_unavailable")


async def test_without_an_endpoint_it_is_a_502_and_never_not_found(daemon: Running) -> None:
    status, answer = await inspect(daemon)

    assert (status, answer["code"]) == (502, "chain_unavailable")
    async with ScannerClient.open(daemon.api.url, KEY, retry_delays=()) as client:
        with pytest.raises(ScannerUnavailable):
            await client.inspect_transaction(97, TX)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"txHash": TX[2:]}, "txHash"),
        ({"txHash": TX + "0"}, "txHash"),
        ({"txHash": TX + "\n"}, "txHash"),
        ({"txHash": f" {TX}"}, "txHash"),
        ({"txHash": "0x" + "٣" * 64}, "txHash"),
        ({"txHash": ""}, "txHash"),
        ({"txHash": "0" * 129}, "txHash"),
        ({"txHash": None}, "txHash"),
        ({"txHash": 5}, "txHash"),
        ({"txHash": [TX]}, "txHash"),
        ({"chainId": "97"}, "chainId"),
        ({"chainId": 97.0}, "chainId"),
        ({"chainId": True}, "chainId"),
        ({"chainId": 0}, "chainId"),
        ({"chainId": 2**53}, "chainId"),
        ({"chainId": 424242}, "chainId"),
        ({"hash": TX}, "hash"),
    ],
    ids=range(17),
)
async def test_what_names_no_transaction_is_refused_and_the_field_named(
    daemon: Running, changed: dict[str, Any], field: str
) -> None:
    status, answer = await inspect(daemon, **changed)

    assert (status, answer["details"]["field"]) == (400, field), answer
