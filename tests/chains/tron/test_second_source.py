"""Where a second node is named, nothing is confirmed that it does not say as well, and both are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chains.errors import ChainMisconfigured
from chains.types import Transfer, VerificationOutcome
from devnet.tron.ledger import TronLedger
from devnet.tron.trongrid import TronGrid
from tests.chains.tron_world import SHOP, TronWorld, scan_all

CREDITED, NOT_YET = VerificationOutcome.CREDITED, VerificationOutcome.NOT_YET


async def paid(tron: TronWorld, adapter: Any) -> Transfer:
    after = tron.start()
    tron.ledger.transfer(SHOP, 1_000_000)
    tron.ledger.settle()
    (transfer,), _ = await scan_all(adapter, after)
    return transfer


async def test_what_both_say_is_confirmed_and_the_key_stays_with_the_first(tron: TronWorld) -> None:
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second=[second], key="a-key-of-ours")
    transfer = await paid(tron, adapter)

    (found,) = await adapter.verify([transfer], head=await adapter.head())

    assert (found.outcome, found.credited) == (CREDITED, 1_000_000)
    assert second.requests > 0
    assert {*second.keys} == {None}
    assert "a-key-of-ours" in first.keys
    assert adapter.condition().problems == ()
    assert [report.label.rpartition("#")[2] for report in adapter.condition().endpoints] == ["1", "1 second"]


LIES: dict[str, Callable[[TronGrid, str], Any]] = {
    "it failed": lambda grid, tx: grid.strange_receipts.update({tx: {"receipt": {"result": "REVERT"}}}),
    "it moved nothing of ours": lambda grid, tx: grid.strange_receipts.update({tx: {"log": []}}),
    "it was at another time": lambda grid, tx: grid.strange_receipts.update(
        {tx: {"blockTimeStamp": 1_600_000_000_000}}
    ),
    "it does not know it": lambda grid, tx: grid.unindexed.add(tx),
}


@pytest.mark.parametrize("who", ["first", "second"])
@pytest.mark.parametrize("lie", LIES)
async def test_what_two_do_not_say_alike_waits_and_both_are_named(tron: TronWorld, lie: str, who: str) -> None:
    first, second = await tron.grid(), await tron.grid()
    adapter = await tron.adapter(first, second=[second])
    transfer = await paid(tron, adapter)
    LIES[lie](first if who == "first" else second, transfer.tx_hash)

    (found,) = await adapter.verify([transfer], head=await adapter.head())

    assert found.outcome is NOT_YET
    assert found.why
    if lie in {"it failed", "it was at another time"}:
        assert adapter.endpoint in found.why
        assert f"{second.url.removeprefix('http://')}#1 second" in found.why
        assert found.why in adapter.condition().problems

    first.heal()
    second.heal()
    tron.now.seconds += 20
    (again,) = await adapter.verify([transfer], head=await adapter.head())
    assert again.outcome is CREDITED
    assert adapter.condition().problems == ()


async def test_while_the_second_is_away_nothing_is_confirmed(tron: TronWorld) -> None:
    second = await tron.grid()
    adapter = await tron.adapter(second=[second])
    transfer = await paid(tron, adapter)
    second.fail(status=503)

    (found,) = await adapter.verify([transfer], head=await adapter.head())

    assert found.outcome is NOT_YET
    assert (found.why or "").startswith("the second source cannot be asked: ")
    assert found.why in adapter.condition().problems


async def test_a_second_source_of_another_chain_says_nothing(tron: TronWorld) -> None:
    async with TronGrid(TronLedger(chain_id=0xCD8690DC)) as second:
        adapter = await tron.adapter(second=[second])
        transfer = await paid(tron, adapter)

        (found,) = await adapter.verify([transfer], head=await adapter.head())

    assert found.outcome is NOT_YET
    assert "serves chain 3448148188, expected chain 728126428" in (found.why or "")


@pytest.mark.parametrize(
    "spelling",
    [
        lambda url: url + "/jsonrpc",
        lambda url: url + "//",
        lambda url: url.replace("http://127.0.0.1", "HTTP://127.0.0.1."),
        lambda url: url.replace("http://", "http://user:password@"),
        lambda url: url + "/?key=1",
    ],
)
async def test_an_endpoint_is_no_second_source_of_itself(tron: TronWorld, spelling: Callable[[str], str]) -> None:
    grid = await tron.grid()
    with pytest.raises(ChainMisconfigured, match="would agree with itself"):
        await tron.adapter(grid, second=[grid], urls=[spelling(grid.url)])
